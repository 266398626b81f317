"""The rerankers that can be trained: a monoT5 of any T5 that generates, a cross-encoder of any encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util import get_device_name
from torch import nn
from transformers import AutoTokenizer

from xtrkit.encoding.checkpoints import CROSS_ENCODER, MONOT5, UR2N, check_not_pickled, read_object
from xtrkit.encoding.modules import check_all_weights_read, check_tokenizer, quiet, said_in_a_sentence
from xtrkit.encoding.t5 import FULL_PRECISION, LOCAL
from xtrkit.errors import InputError, ModelError
from xtrkit.reranking.base import Reranker
from xtrkit.reranking.cross_encoder import CrossEncoderReranker
from xtrkit.reranking.monot5 import MonoT5
from xtrkit.reranking.one_step import fused
from xtrkit.training.base import base_directory
from xtrkit.training.reranker_recipes import RerankerRecipe


class TrainableReranker(Protocol):
    """A reranker while it learns.

    Attributes:
        model: what the trainer trains and keeps.
    """

    model: Any

    @property
    def reranker(self) -> Reranker:
        """The same model, as what it will be used as."""

    def prepared(self, query: str, documents: Sequence[str]) -> list[Any]:
        """The query with each document, as :meth:`scores` takes it."""

    def length(self, one: Any) -> int:
        """About how long something prepared is; what is alike shares a batch."""

    def scores(self, prepared: Sequence[Any]) -> torch.Tensor:
        """(N,) float32 scores, with gradients."""

    def save(self, path: Path) -> None:
        """Write a directory that ``load_reranker`` opens."""


def load_trainable(name: str, recipe: RerankerRecipe, device: str | None = None) -> TrainableReranker:
    """The model to train.

    Args:
        name: a directory or a hub name: of a T5 with its decoder, for a monoT5; of an encoder or a cross-encoder, for a
            cross-encoder.
        recipe: as above.
        device: "cpu", "cuda", …; by default what torch finds.

    Raises:
        ModelError: no such model, or one that can't be trained so.
        InputError: ``top_layers`` or ``max_length`` doesn't fit the model.
    """
    directory = base_directory(name)
    if not (directory / "config.json").is_file():
        raise ModelError(f"{directory} holds no model that can be trained: there is no config.json.")
    made = TrainableMonoT5 if recipe.architecture == "monot5" else TrainableCrossEncoder
    return made(name, directory, recipe, device)


class TrainableMonoT5:
    """A T5 that learns to answer "true" or "false"; the score is the difference of the two logits."""

    def __init__(self, name: str, directory: Path, recipe: RerankerRecipe, device: str | None) -> None:
        if not MONOT5.holds(directory):
            raise ModelError(f"{directory} {_no_monot5(directory)}: give a T5 or mT5 that generates, such as flan-t5.")
        self.reranker = MonoT5.load(
            name, directory, MONOT5, device=device, tokens=recipe.tokens, max_length=recipe.max_length
        )
        self.model = self.reranker.model
        self._tokenizer_files = directory  # reranking has the tokenizer read texts otherwise than it came
        set_dropout(self.model, recipe.dropout)
        fused(self.model)  # a sixth of a training step on a CPU
        if recipe.top_layers:
            _freeze_below(self.model, recipe.top_layers)
        if recipe.recompute:
            _recompute(self.model)

    def prepared(self, query: str, documents: Sequence[str]) -> list[Any]:
        """The tokens of each prompt."""
        return list(self.reranker.prompts.ids(query, documents))

    def length(self, one: Any) -> int:
        """Tokens."""
        return len(one)

    def scores(self, prepared: Sequence[Any]) -> torch.Tensor:
        """(N,) logit(true) - logit(false), whose order is that of log P(true)."""
        logits = self.reranker.logits(prepared).float()
        return logits[:, 1] - logits[:, 0]

    def save(self, path: Path) -> None:
        """Write the model and its tokenizer's own files."""
        self.model.save_pretrained(str(path))
        AutoTokenizer.from_pretrained(self._tokenizer_files, **LOCAL).save_pretrained(str(path))


class TrainableCrossEncoder:
    """An encoder with one output for query and document in one sequence, as sentence-transformers has it."""

    def __init__(self, name: str, directory: Path, recipe: RerankerRecipe, device: str | None) -> None:
        if "Conditional" in str(read_object(directory / "config.json").get("architectures")):
            raise ModelError(f"{directory} is a T5 with a decoder: train it with the recipe monot5.")
        with said_in_a_sentence(directory, CROSS_ENCODER):  # without a word of a head that is new
            check_not_pickled(directory)
            self.model = CrossEncoder(
                str(directory),
                num_labels=1,
                max_length=recipe.max_length,
                device=device or get_device_name(),
                model_kwargs=dict(FULL_PRECISION),
                **LOCAL,
            )
            check_tokenizer(directory, self.model.tokenizer, self.model.model)
            if CROSS_ENCODER.holds(directory):
                check_all_weights_read(directory, self.model.model)
        self._tokenizer_files = directory
        self.reranker = CrossEncoderReranker(name, self.model, device=device)
        set_dropout(self.model, recipe.dropout)
        if recipe.recompute:
            _recompute(self.model[0].model)

    def prepared(self, query: str, documents: Sequence[str]) -> list[Any]:
        """The two texts, as reranking has them."""
        return self.reranker.pairs(query, documents)

    def length(self, one: Any) -> int:
        """Characters."""
        return sum(map(len, one))

    def scores(self, prepared: Sequence[Any]) -> torch.Tensor:
        """(N,) outputs."""
        with quiet():
            features = self.model.preprocess(list(prepared))
        features = {key: value.to(self.model.device) for key, value in features.items() if torch.is_tensor(value)}
        outputs: torch.Tensor = self.model(features)["scores"]
        return outputs.view(-1).float()

    def save(self, path: Path) -> None:
        """Write a directory of sentence-transformers."""
        self.model.save_pretrained(str(path), create_model_card=False)
        tokenizer = AutoTokenizer.from_pretrained(self._tokenizer_files, **LOCAL)
        tokenizer.model_max_length = self.model.tokenizer.model_max_length
        tokenizer.save_pretrained(str(path))


def set_dropout(model: nn.Module, share: float) -> None:
    """Leave this share of activations out wherever a model leaves some out."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        for name in ("dropout", "attention_dropout"):  # some attentions keep a number
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, share)


def _recompute(model: Any) -> None:
    """Have activations computed a second time; transformers calls that by another name since 5.24."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()


def _freeze_below(model: Any, top_layers: int) -> None:
    blocks = model.encoder.block
    if not 1 <= top_layers <= len(blocks):
        raise InputError(f"top_layers (--top-layers) must be 1 to {len(blocks)} for this model, got {top_layers}.")
    for module in (model.shared, *blocks[: len(blocks) - top_layers]):
        module.requires_grad_(False)
    # A position bias that all blocks share is the first one's; the embeddings may be copies.
    for stack in (model.encoder, model.decoder):
        stack.embed_tokens.requires_grad_(False)


def _no_monot5(directory: Path) -> str:
    kinds = read_object(directory / "config.json").get("architectures")
    if UR2N.holds(directory):
        return "is a UR²N, whose branch would be lost"
    if read_object(directory / "config.json").get("model_type") not in ("t5", "mt5"):
        return f"is no T5 but {kinds}"
    return f"has no decoder, or something else than one in it ({kinds})"
