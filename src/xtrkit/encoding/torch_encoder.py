"""The encoder that runs on torch: any late-interaction checkpoint, through sentence-transformers' modules."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.base.modules import Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from tokenizers import Tokenizer

from xtrkit.encoding.base import EncodedChunk, Task, Token
from xtrkit.encoding.batching import batches_of
from xtrkit.encoding.checkpoints import Layout, content_hash, identified
from xtrkit.encoding.modules import build_model, check_device_survived, quiet
from xtrkit.encoding.new_directory import new_directory
from xtrkit.encoding.spans import cleaned, located
from xtrkit.encoding.text_encoder import Opening, TextEncoder, check_texts
from xtrkit.encoding.users_text import UsersText
from xtrkit.errors import InputError
from xtrkit.progress import progress_bar
from xtrkit.values import EncoderIdentity, FloatArray, Ragged

Features = dict[str, Any]

# Tokenizers without a limit say so with an astronomic number; attention over that many tokens would not fit.
_UNLIMITED = 100_000
_LENGTH_WHERE_UNLIMITED = 512
_AS_TEXT = {"split_special_tokens": True, "verbose": False}


class TorchEncoder(TextEncoder):
    """An :class:`~xtrkit.encoding.base.Encoder` over a sentence-transformers ``MultiVectorEncoder``.

    Attributes:
        model: the ``MultiVectorEncoder``.
        query_length: most tokens of a query, markers and [MASK]s included.
        document_length: most tokens of a document, markers included.

    Everywhere, ``batch_size`` counts texts of 128 tokens: of longer ones fewer share a batch, of shorter ones more.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        layout: Layout,
        *,
        device: str | None = None,
        query_length: int | None = None,
        document_length: int | None = None,
    ) -> None:
        super().__init__(Opening(name, device, None, query_length, document_length))
        self._directory, self._layout = directory, layout
        self.model = build_model(directory, layout, device)
        self._transformer: Transformer = self.model[0]
        plain = Tokenizer.from_str(self._transformer.tokenizer.backend_tokenizer.to_str())
        self._texts = UsersText(plain, {task: self.model.prompts.get(task) or "" for task in get_args(Task)})
        self._plain = self._texts.apply(plain)
        self._process = os.getpid()
        self.query_length = self._set_query_length(query_length)
        self.document_length = self._set_document_length(document_length)

    @cached_property
    def content(self) -> str:
        """sha256 over the checkpoint's files that decide its embeddings."""
        return content_hash(self._directory)

    @cached_property
    def identity(self) -> EncoderIdentity:
        """Which model this is; hashes the checkpoint's files at the first call."""
        return EncoderIdentity(
            name=self.opening.name,
            layout=self._layout.name,
            fingerprint=identified(self.content, f"{self._layout.name} {self.query_length} {self.document_length}"),
            dim=self.model.get_embedding_dimension(),
            query_length=self.query_length,
            document_length=self.document_length,
        )

    @property
    def computed_by(self) -> str:
        """What documents are encoded by, for an index to remember: library, version, device and precision."""
        return f"torch {torch.__version__}, {self.model.device}, fp32"

    def save(self, path: str | Path) -> None:
        """Write the model so that ``load_encoder`` and ``sentence_transformers.MultiVectorEncoder`` both open it.

        Raises:
            InputError: something is at ``path`` already.
            ModelError: sentence-transformers can't say what this model does (ColXTR).
        """
        with new_directory(Path(path)) as building, quiet():
            self.model.save_pretrained(str(building), create_model_card=False)

    def _encode(self, texts: Sequence[str], task: Task, batch_size: int, progress: bool) -> EncodedChunk:
        check_texts(texts, batch_size)
        check_device_survived(self.opening.name, self.model.device, self._process)
        prepared, lengths = self._prepare(texts, task)
        found: list[FloatArray] = [np.empty(0)] * len(prepared)
        bar = progress_bar(f"Encoding {'queries' if task == 'query' else 'documents'}", len(prepared), shown=progress)
        with bar as advance:
            for batch in self._batches(lengths, task, batch_size):
                for place, rows in zip(batch, self._forward([prepared[i] for i in batch], task), strict=True):
                    found[place] = rows
                advance(len(batch))
        truncated = int((lengths > self._limit(task)).sum())
        return EncodedChunk(Ragged.from_arrays(found, self.model.get_embedding_dimension()), truncated)

    def _batches(self, lengths: npt.NDArray[np.int64], task: Task, batch_size: int) -> Iterator[npt.NDArray[np.intp]]:
        """The places of the texts of each batch: of like length, so that little is padding; the longest first."""
        padded = np.clip(lengths, 1, self._limit(task))
        if task == "query" and self._transformer.query_expansion is not None:
            padded = np.maximum(padded, self._transformer.query_expansion["length"])
        return batches_of(padded, batch_size)

    def _forward(self, prepared: list[str], task: Task) -> list[FloatArray]:
        """One batch through the model: a (tokens, d) array a text."""
        # Batch by batch, so that a thread with a query need not wait for another's whole collection.
        with quiet(), torch.inference_mode():
            features = self._preprocess(prepared, task)
            kept = self._kept(features, task)
            features = {key: _to(value, self.model.device) for key, value in features.items()}
            vectors = self.model(features, task=task)["token_embeddings"].cpu().numpy()
        return [rows[mask] for rows, mask in zip(vectors, kept.numpy(), strict=True)]

    @property
    def _users_text(self) -> UsersText:
        return self._texts

    def _counted(self, text: str, task: Task) -> int:
        return int(self._token_counts([self._as_tokenised(text)], task)[0])

    def _pieces(self, text: str) -> tuple[list[str], list[int]]:
        with self._reading_text() as tokenizer:
            ids = tokenizer(self._as_tokenised(text), add_special_tokens=False, **_AS_TEXT)["input_ids"]
            return tokenizer.convert_ids_to_tokens(ids), ids

    def _tokens(self, text: str, task: Task) -> list[Token]:
        text = self._beginning(text, task)
        prepared, lengths = self._prepare([text], task)
        with quiet():
            features = self._preprocess(prepared, task, with_spans=True)
            kept = self._kept(features, task)[0].tolist()
        pieces = self._transformer.tokenizer.convert_ids_to_tokens(features["input_ids"][0].tolist())
        spans = features["offset_mapping"][0].tolist() if lengths[0] else []
        # [MASK]s may follow the tokens that the tokenizer knows of; they stand for no characters.
        spans += [(0, 0)] * (len(pieces) - len(spans))
        kept_tokens = ((piece, span) for piece, span, keep in zip(pieces, spans, kept, strict=True) if keep)
        return list(located(text, kept_tokens, prompt=self._prompt(task), lower_case=self._transformer.do_lower_case))

    def _as_tokenised(self, text: str) -> str:
        # The tokenizer lower-cases, too, but character by character, which misses the final sigma of Greek.
        return cleaned(text).lower() if self._transformer.do_lower_case else cleaned(text)

    def _prepare(self, texts: Sequence[str], task: Task) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Texts as the tokenizer should get them, and (N,) how many tokens each has before anything is cut off.

        Of long ones it is no more than certainly has more tokens than fit.
        """
        prepared = [self._as_tokenised(self._beginning(text, task)) for text in texts]
        lengths = self._token_counts(prepared, task)
        # A tokenizer without special tokens makes nothing of an empty text, which should have a vector all the same.
        return [text if length else "." for text, length in zip(prepared, lengths, strict=True)], lengths

    def _limit(self, task: Task) -> int:
        expansion = self._transformer.query_expansion
        if task == "document" or expansion is None:
            return self.query_length if task == "query" else self.document_length
        # A query is not cut off before its [MASK]s end.
        return int(
            expansion["length"] if expansion["strategy"] == "fixed" else max(self.query_length, expansion["length"])
        )

    def _prompt(self, task: Task) -> str:
        return self._texts.prompts[task]

    @contextmanager
    def _reading_text(self) -> Iterator[Any]:
        """The tokenizer, to which all that users write is text; one thread at a time."""
        tokenizer = self._transformer.tokenizer
        with quiet():
            before, tokenizer._tokenizer = tokenizer._tokenizer, self._plain
            try:
                yield tokenizer
            finally:
                tokenizer._tokenizer = before

    def _token_counts(self, prepared: list[str], task: Task) -> npt.NDArray[np.int64]:
        """(N,) how many tokens each text has, markers included, before anything is cut off."""
        if not prepared:
            return np.zeros(0, dtype=np.int64)
        prompt = self._prompt(task)
        with self._reading_text() as tokenizer:
            ids = tokenizer([prompt + text for text in prepared], **_AS_TEXT)["input_ids"]
        return np.array([len(tokens) for tokens in ids], dtype=np.int64)

    def _preprocess(self, prepared: list[str], task: Task, *, with_spans: bool = False) -> Features:
        options = {"split_special_tokens": True, **({"return_offsets_mapping": True} if with_spans else {})}
        with self._reading_text():
            features: Features = self.model.preprocess(
                prepared, prompt=self._prompt(task) or None, task=task, processing_kwargs={"text": options}
            )
        features["input_ids"] = torch.from_numpy(self._texts.ids(features["input_ids"].numpy()))
        return features

    def _kept(self, features: Features, task: Task) -> torch.Tensor:
        """(texts, tokens) which tokens have a vector: sentence-transformers' own mask, but never an empty row."""
        tokens = features["attention_mask"].bool()
        masked: Features = {
            key: features.get(key) for key in ("input_ids", "attention_mask", "query_expansion_positions")
        }
        for module in self.model:
            if isinstance(module, MultiVectorMask):
                masked = module(masked, task=task)
        kept = masked["attention_mask"].bool()
        return torch.where(kept.any(dim=1, keepdim=True), kept, tokens)

    def _set_query_length(self, length: int | None) -> int:
        """Put the length of queries in force; [MASK] expansion to a fixed length goes by it, too."""
        transformer, expansion = self._transformer, self._transformer.query_expansion
        if length is not None:
            self._check_length("query_length", length, "query")
            transformer.query_length = length
            if expansion is not None:
                floor = length if expansion["strategy"] == "fixed" else min(length, expansion["length"])
                transformer.query_expansion = {**expansion, "length": floor}
        elif expansion is not None and expansion["strategy"] == "fixed":
            transformer.query_length = expansion["length"]
        else:
            transformer.query_length = transformer.query_length or self._own_length()
        return int(transformer.query_length)

    def _set_document_length(self, length: int | None) -> int:
        if length is not None:
            self._check_length("document_length", length, "document")
        self._transformer.document_length = length or self._transformer.document_length or self._own_length()
        return int(self._transformer.document_length)

    def _own_length(self) -> int:
        stated = int(self._transformer.tokenizer.model_max_length)
        return stated if stated < _UNLIMITED else _LENGTH_WHERE_UNLIMITED

    def _check_length(self, what: str, length: int, task: Task) -> None:
        markers = self._counted("", task)
        most = getattr(self._transformer.config, "max_position_embeddings", None) or _UNLIMITED
        if not markers < length <= most:
            raise InputError(
                f"{what} must be from {markers + 1} ({markers} markers and a token of text) to {most} for this model, "
                f"got {length}."
            )


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value
