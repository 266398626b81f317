"""``models.ColBERT``: texts into token vectors, with the ``is_query`` of PyLate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xtrkit.asking import check_query
from xtrkit.compat.saying import all_without_meaning
from xtrkit.encoding.load import load_encoder
from xtrkit.errors import InputError, missing_extra
from xtrkit.values import FloatArray

_SETTLED = "the checkpoint says it"
_LOADING = "models are found as xtrkit.load_encoder finds them"
OF_MODELS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(
        ("embedding_size", "query_prefix", "document_prefix", "do_query_expansion", "attend_to_expansion_tokens",
         "skiplist_words", "similarity_fn_name", "prompts", "default_prompt_name"), (None, _SETTLED),
    ),
    **dict.fromkeys(
        ("cache_folder", "revision", "token", "use_auth_token", "model_kwargs", "tokenizer_kwargs", "config_kwargs",
         "model_card_data"), (None, _LOADING),
    ),
    **dict.fromkeys(("trust_remote_code", "local_files_only"), (False, _LOADING)),
    "bias": (False, _SETTLED),
    "truncation": (True, "texts are cut off at the model's window"),
    "truncate_dim": (None, "vectors have the dimensions of the model"),
}  # fmt: skip
OF_ENCODING: dict[str, tuple[Any, str]] = {
    "prompt_name": (None, _SETTLED),
    "prompt": (None, _SETTLED),
    "precision": ("float32", "vectors are float32 until an index compresses them"),
    "padding": (False, "each text has as many vectors as it has tokens"),
    "device": (None, "it is the one that the model was loaded for"),
    "normalize_embeddings": (True, "token vectors are as the model was trained to give them"),
    "pool_factor": (1, "it is indexes that pool: xtrkit.Index.create takes a pool_factor"),
    "protected_tokens": (1, "it is indexes that pool: xtrkit.Index.create takes protected_tokens"),
}


TEXTS = "Texts come as a text, a list of texts, or a list of such lists"


class ColBERT:
    """An encoder: the one that comes with xtrkit, or any that :func:`xtrkit.load_encoder` loads."""

    def __init__(
        self,
        model_name_or_path: str | Path = "default",
        device: str | None = None,
        query_length: int | None = None,
        document_length: int | None = None,
        **more: Any,
    ) -> None:
        """Load a model.

        Args:
            model_name_or_path: a name or a directory.
            device: of torch's, where the model is no exported one.
            query_length: most tokens of a query; the checkpoint's own where it is left out.
            document_length: most tokens of a document; likewise.
            **more: PyLate's other arguments, which the checkpoint settles.

        Raises:
            ModelError: there is no such model.
            InputError: an argument is unknown, or a length can't be had.
        """
        all_without_meaning(more, OF_MODELS, "ColBERT(…)")
        self.encoder = load_encoder(
            model_name_or_path, device=device, query_length=query_length, document_length=document_length
        )

    def encode(
        self,
        sentences: Any,
        *,
        is_query: bool = True,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        **more: Any,
    ) -> Any:
        """Token vectors: (tokens, dimensions) of a text, a list of such of a list, and so on inwards.

        Args:
            sentences: a text, a list of texts, or a list of such lists.
            is_query: whether they are queries.
            batch_size: texts encoded together.
            show_progress_bar: show one.
            convert_to_numpy: without it, tensors of torch.
            convert_to_tensor: tensors of torch.
            **more: PyLate's other arguments, which the checkpoint settles.

        Raises:
            InputError: something is no text, or a query has nothing in it.
            MissingExtraError: tensors are asked for, and torch isn't installed.
        """
        all_without_meaning(more, OF_ENCODING, "encode(…)")
        if not isinstance(sentences, str):
            if not isinstance(sentences, Iterable):
                raise InputError(f"{TEXTS}, got {sentences!r:.40} of type {type(sentences).__name__}.")
            sentences = list(sentences)
        if not isinstance(sentences, str) and sentences and not isinstance(sentences[0], str):
            options: dict[str, Any] = {
                "is_query": is_query, "batch_size": batch_size, "show_progress_bar": show_progress_bar,
                "convert_to_numpy": convert_to_numpy, "convert_to_tensor": convert_to_tensor,
            }  # fmt: skip
            return [self.encode(_checked(inner), **options) for inner in sentences]
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        for text in texts:
            if is_query:
                check_query(text)
            elif not isinstance(text, str):
                raise InputError(f"Texts must be strings, got {text!r:.40} of type {type(text).__name__}.")
        encode = self.encoder.encode_queries if is_query else self.encoder.encode_documents
        rows: Sequence[Any] = list(encode(texts, batch_size=batch_size, progress=bool(show_progress_bar)))
        if convert_to_tensor or not convert_to_numpy:
            rows = [_tensor(of_text) for of_text in rows]
        return rows[0] if isinstance(sentences, str) else rows


def _checked(inner: Any) -> Any:
    """A list in a list of lists."""
    if not isinstance(inner, list | tuple) or not all(isinstance(text, str) for text in inner):
        raise InputError(f"{TEXTS}, got {inner!r:.40} in a list.")
    return inner


def _tensor(rows: FloatArray) -> Any:
    try:
        import torch
    except ImportError as error:
        raise missing_extra("Tensors of torch", "torch") from error
    return torch.from_numpy(rows)
