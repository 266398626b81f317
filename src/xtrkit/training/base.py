"""BASE -> the model to train: a late-interaction checkpoint as it is, or a plain encoder with a new projection."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

from xtrkit.encoding.checkpoints import (
    COLXTR,
    NATIVE,
    PYLATE,
    PYLATE_CLASSES,
    STANFORD,
    UNPROJECTED,
    UR2N,
    XTR,
    Layout,
)
from xtrkit.encoding.default import MINI, ORIGINAL, is_default
from xtrkit.encoding.load import find_checkpoint
from xtrkit.encoding.modules import build_model, quiet
from xtrkit.errors import ModelError
from xtrkit.training.inputs import TextInputs
from xtrkit.training.recipes import TrainingRecipe

_PCA_TEXTS, _PCA_BATCH = 1024, 32


def load_base(name: str, recipe: TrainingRecipe, device: str | None = None) -> tuple[MultiVectorEncoder, bool]:
    """The model to train.

    Args:
        name: "all-MiniLM-L6-v2", a directory or a hub name: of a late-interaction checkpoint in one of
            xtrkit's layouts, whose treatment of texts and projection stay; or of a plain encoder (BERT, T5, a
            single-vector model of sentence-transformers), which gets a projection and what the recipe says of markers,
            casing and lengths.
        recipe: as above; its seed decides a random projection.
        device: "cpu", "cuda", …; by default what torch finds.

    Returns:
        the model, and whether its projection is new, hence random.

    Raises:
        ModelError: no such model, or one that can't be trained.
    """
    directory = base_directory(name)
    layout = _projected_layout(directory)
    if layout is not None:
        model = build_model(directory, layout, device)
        transformer: Transformer = model[0]
        expansion = transformer.query_expansion
        if expansion is None or expansion["strategy"] != "fixed":
            transformer.query_length = min(recipe.query_length, transformer.query_length or recipe.query_length)
        transformer.document_length = min(recipe.document_length, transformer.document_length or recipe.document_length)
        return model, False
    if not (directory / "config.json").is_file():
        raise ModelError(f"{directory} holds no model that can be trained: there is no config.json.")
    return _with_projection(build_model(directory, UNPROJECTED, device), recipe, directory), True


def fit_projection(model: MultiVectorEncoder, texts: Sequence[str], seed: int, *, balanced: bool = False) -> None:
    """Turn a new projection into the directions in which the base's token embeddings of some documents differ most.

    The eigenvectors of their second moments (nothing is subtracted, as similarities are inner products): of all
    projections to that many dimensions, these keep most of the similarities that the base has already. ``balanced``
    lets each piece of the vocabulary count alike, however often it occurs: what tells rare words apart, which retrieval
    lives on, would else be outweighed by what tells frequent ones apart.
    """
    (projection,) = (module for module in model if isinstance(module, Dense))
    inputs, transformer = TextInputs(model, texts), model[0]
    sample = np.random.default_rng(seed).permutation(len(texts))[:_PCA_TEXTS].tolist()
    counts = _piece_counts(inputs, sample) if balanced else None
    moments = torch.zeros(projection.in_features, projection.in_features, dtype=torch.float64)
    model.eval()
    for first in range(0, len(sample), _PCA_BATCH):
        with torch.inference_mode():
            features = inputs.features("document", sample[first : first + _PCA_BATCH])
            features = {key: value.to(model.device) for key, value in features.items()}
            mask = features["attention_mask"].bool()
            rows = F.normalize(transformer(dict(features))["token_embeddings"][mask].float(), dim=-1)
            if counts is not None:
                rows = rows / counts[features["input_ids"][mask].cpu()].sqrt().to(rows)[:, None]
            moments += (rows.T @ rows).cpu().double()
    _, directions = torch.linalg.eigh(moments)  # in ascending order of their share
    best = directions.flip(1)[:, : projection.out_features].T
    # An eigenvector is as good as its negative: make the largest entry positive, so that runs agree.
    signs = best.gather(1, best.abs().argmax(dim=1, keepdim=True)).sign()
    with torch.no_grad():
        projection.linear.weight.copy_(best * signs)


def _piece_counts(inputs: TextInputs, sample: list[int]) -> torch.Tensor:
    """(pieces,) how often each piece of the vocabulary is in some documents, up to the last that occurs."""
    counts = torch.zeros(0)
    for first in range(0, len(sample), _PCA_BATCH):
        features = inputs.features("document", sample[first : first + _PCA_BATCH])
        found = torch.bincount(features["input_ids"][features["attention_mask"].bool()], minlength=len(counts)).float()
        found[: len(counts)] += counts
        counts = found
    return counts


def base_directory(name: str) -> Path:
    """The directory of a base by its name.

    Raises:
        ModelError: there is no such model, or only for encoding.
    """
    if is_default(name):
        raise ModelError(
            f"{MINI} comes as an export in int8, which can't be trained further: start from {ORIGINAL}, as it did."
        )
    return find_checkpoint(name)


def _projected_layout(directory: Path) -> Layout | None:
    """Which late-interaction layout a checkpoint has; None for a plain encoder."""
    for layout in (NATIVE, PYLATE, PYLATE_CLASSES, STANFORD, UR2N, COLXTR):
        if layout.holds(directory):
            return layout
    has_projection = any((directory / folder).is_dir() for folder in ("1_Dense", "2_Dense"))
    return XTR if has_projection and XTR.holds(directory) else None


def _with_projection(plain: MultiVectorEncoder, recipe: TrainingRecipe, directory: Path) -> MultiVectorEncoder:
    """A plain encoder's transformer with the recipe's treatment of texts, a random projection, and a mask."""
    transformer: Transformer = plain[0]
    tokenizer = transformer.tokenizer
    window = _window(transformer)
    transformer.query_length = min(recipe.query_length, window)
    transformer.document_length = min(recipe.document_length, window)
    if recipe.lower_case:
        transformer.do_lower_case = True
    if transformer.do_lower_case:
        transformer.config_keys = [*transformer.config_keys, "do_lower_case"]  # see encoding/modules.py
    if recipe.expand_queries:
        if tokenizer.mask_token is None:
            raise ModelError(f"{directory} has no [MASK] to expand queries with: train it with --no-expand-queries.")
        transformer.query_expansion = {"strategy": "fixed", "attend": False, "length": transformer.query_length}
    skiplist = list(string.punctuation) if recipe.skip_punctuation else None
    modules: list[Any] = [
        transformer,
        _random_projection(transformer, recipe),
        MultiVectorMask(skiplist_words=skiplist),
    ]
    if recipe.normalize:
        modules.append(Normalize(module_input_name="token_embeddings"))
    prompts = {"query": _known(recipe.query_prompt, tokenizer), "document": _known(recipe.document_prompt, tokenizer)}
    with quiet():  # it warns of skipped signs that a vocabulary does not have
        return MultiVectorEncoder(
            modules=modules,
            prompts=prompts,
            device=str(plain.device),
            similarity_fn_name="meanmaxsim" if recipe.scores == "xtr" or recipe.mean else "maxsim",
        )


def _random_projection(transformer: Transformer, recipe: TrainingRecipe) -> Dense:
    """Orthonormal rows, which change the angles between token embeddings as little as a random projection can."""
    width = transformer.get_embedding_dimension()
    if recipe.dim > width:
        raise ModelError(
            f"The base has {width}-dimensional token embeddings, too few for a projection to {recipe.dim}."
        )
    generator = torch.Generator().manual_seed(recipe.seed)
    rows, _ = torch.linalg.qr(torch.randn(width, recipe.dim, generator=generator))
    return Dense(
        in_features=width,
        out_features=recipe.dim,
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=rows.T.contiguous(),
        module_input_name="token_embeddings",
    )


def _known(prompt: str, tokenizer: Any) -> str:
    """A marker such as ``[unused0]`` only where the vocabulary has it; any other text as it is."""
    marker = prompt.strip()
    is_marker = marker.startswith("[") and marker.endswith("]")
    return "" if is_marker and marker not in tokenizer.get_vocab() else prompt


def _window(transformer: Transformer) -> int:
    """Most tokens that the encoder can take."""
    stated = [transformer.tokenizer.model_max_length, getattr(transformer.config, "max_position_embeddings", None)]
    return min(int(length) for length in (*stated, 512) if length)
