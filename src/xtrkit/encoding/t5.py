"""The T5 encoders: XTR and mXTR, T5-ColBERT, ColXTR, and the retrieval branch of UR²N, by their layout's values."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

from xtrkit.encoding.checkpoints import COLXTR, UR2N, Layout, read_object, weights_file
from xtrkit.encoding.tensors import read_projection, stated_width
from xtrkit.encoding.treatment import Treatment
from xtrkit.encoding.ur2n import read_branch
from xtrkit.errors import ModelError

LOCAL = {"local_files_only": True, "trust_remote_code": False}
FULL_PRECISION = {**LOCAL, "dtype": torch.float32}


class SequenceMean(torch.nn.Module):
    """ColXTR's last token: ``</s>`` gets the sum of the text's vectors, itself included, over the longest length.

    PrimeQA pads every text to the longest length before it takes the mean, so that the padding counts in the divisor;
    so it does here, where nothing is padded that far.
    """

    forward_kwargs = frozenset({"task"})

    def __init__(self, lengths: Any) -> None:
        super().__init__()
        self._lengths = lengths  # of the Transformer, where a caller may change them

    def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        """Replace the vector of the last real token of each text."""
        vectors, mask = features["token_embeddings"], features["attention_mask"]
        length = self._lengths.query_length if task == "query" else self._lengths.document_length
        mean = (vectors * mask.unsqueeze(-1)).sum(dim=1) / length
        last = mask.sum(dim=1) - 1
        vectors = vectors.clone()
        vectors[torch.arange(len(vectors)), last] = mean
        return {**features, "token_embeddings": vectors}

    def save(self, *arguments: Any, **options: Any) -> None:
        """Refuse: sentence-transformers has no module that does this, and would open a copy without it."""
        raise ModelError(
            "A ColXTR can't be saved as a MultiVectorEncoder of sentence-transformers, which has no module for its "
            "sequence mean: keep the checkpoint as it is."
        )


def build_t5(directory: Path, layout: Layout, device: str | None) -> MultiVectorEncoder:
    """A T5 encoder, its projection, and what the layout says of lengths, prefixes, casing and normalisation."""
    weights_file(directory, "the T5 encoder")
    _check_tokenizer_can_be_read(directory)
    values = layout.treatment
    width = stated_width(directory, "d_model")
    branch = read_branch(directory, width) if layout == UR2N else None
    if branch is not None:
        values = branch.treatment
        weight = branch.projection
    elif layout == COLXTR:
        weight = read_projection(directory, width, "bottleneck.weight")
    else:
        weight = _read_2_dense(directory, width)
    transformer = Transformer(
        str(directory),
        model_kwargs=dict(FULL_PRECISION),
        processor_kwargs=dict(LOCAL),
        config_kwargs=dict(LOCAL),
        query_length=values.query_length,
        document_length=values.document_length,
        do_lower_case=bool(values.lower_case),
    )
    if branch is not None:
        branch.put_into(transformer.model.encoder)
    return MultiVectorEncoder(
        modules=[transformer, _projection(weight), *_after_projection(values, transformer)],
        device=device,
        prompts={"query": values.query_prefix or "", "document": values.document_prefix or ""},
        similarity_fn_name="meanmaxsim" if values.reduction == "mean" else "maxsim",
    )


def _after_projection(values: Treatment, transformer: Transformer) -> list[torch.nn.Module]:
    modules: list[torch.nn.Module] = [SequenceMean(transformer)] if values.sequence_mean else []
    modules.append(MultiVectorMask())
    if values.normalise:
        modules.append(Normalize(module_input_name="token_embeddings"))
    return modules


def _projection(weight: torch.Tensor) -> Dense:
    return Dense(
        in_features=weight.shape[1],
        out_features=weight.shape[0],
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=weight,
        module_input_name="token_embeddings",
    )


def _check_tokenizer_can_be_read(directory: Path) -> None:
    has_pieces = (directory / "spiece.model").is_file() and find_spec("sentencepiece") is not None
    if not has_pieces and not (directory / "tokenizer.json").is_file():
        raise ModelError(
            f"{directory / 'tokenizer.json'} is missing: fetch the checkpoint again, or read its spiece.model instead "
            "after pip install sentencepiece."
        )


def _read_2_dense(directory: Path, width: int) -> torch.Tensor:
    """XTR's projection, in a folder of its own."""
    # Converted copies number their folders without the pooling, hence 1_Dense.
    folder = next((directory / name for name in ("2_Dense", "1_Dense") if (directory / name).is_dir()), None)
    if folder is None:
        raise ModelError(
            f"{directory / '2_Dense'} is missing: it should hold XTR's projection of {width}-dimensional token "
            "embeddings (linear.weight). Fetch the checkpoint again, with all its folders; a plain T5 has no "
            "projection, and a random one would give meaningless rankings."
        )
    config = read_object(folder / "config.json")
    activation = str(config.get("activation_function", "Identity"))
    if config.get("bias") or not activation.endswith("Identity"):
        raise ModelError(
            f"{folder / 'config.json'} describes a projection with a bias or an activation ({activation}): XTR's is "
            "linear without a bias. Save the model as a MultiVectorEncoder of sentence-transformers instead."
        )
    return read_projection(folder, width)
