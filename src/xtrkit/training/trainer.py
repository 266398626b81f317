"""sentence-transformers' trainer of late-interaction encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from sentence_transformers import MultiVectorEncoder, MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
from sentence_transformers.base.modules.dense import Dense

from xtrkit.training.careful import Careful, Report, arguments_of, make_optimizer, watched
from xtrkit.training.dev import DevEvaluator
from xtrkit.training.inputs import Batches
from xtrkit.training.objectives import LateInteractionLoss
from xtrkit.training.recipes import TrainingRecipe


class Trainer(Careful, MultiVectorEncoderTrainer):  # type: ignore[misc]
    """``MultiVectorEncoderTrainer`` with a rate of its own for the projection."""

    recipe: TrainingRecipe

    def create_optimizer(self, *arguments: Any) -> Any:
        """The optimizer of the recipe."""
        if self.optimizer is None:
            projections = [p for module in self.model if isinstance(module, Dense) for p in module.parameters()]
            self.optimizer = make_optimizer(self.model, self.recipe, projections, self.recipe.projection_rate)
        return self.optimizer


class Parts(NamedTuple):
    """What a trainer works with.

    Attributes:
        model: what is trained, and saved.
        embedder: what makes token embeddings of a batch: the model, or its upper layers.
        batches: makes batches of examples.
        evaluator: measures on the dev set; None where there is none.
    """

    model: MultiVectorEncoder
    embedder: torch.nn.Module
    batches: Batches
    evaluator: DevEvaluator | None


def make_trainer(parts: Parts, recipe: TrainingRecipe, folder: Path, report: Callable[[Report], None]) -> Trainer:
    """The trainer of a run, whose checkpoints go to ``folder``."""
    model, evaluator = parts.model, parts.evaluator
    n_examples = len(parts.batches.data.examples)
    arguments = arguments_of(recipe, n_examples, folder, dev=evaluator is not None, device=model.device)
    trainer = Trainer(
        model=model,
        args=MultiVectorEncoderTrainingArguments(**arguments),
        train_dataset=Dataset.from_dict({"example": list(range(n_examples))}),
        loss=LateInteractionLoss(parts.embedder, recipe),
        data_collator=parts.batches,
        evaluator=evaluator,
    )
    watched(trainer, recipe, report)
    return trainer
