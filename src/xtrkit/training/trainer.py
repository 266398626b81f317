"""sentence-transformers' trainer, which stops where the loss is NaN or infinite, and reports as it goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from sentence_transformers import MultiVectorEncoder, MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
from sentence_transformers.base.modules.dense import Dense
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from xtrkit.errors import TrainingError
from xtrkit.training.dev import MEASURE, DevEvaluator
from xtrkit.training.inputs import Batches
from xtrkit.training.objectives import LateInteractionLoss
from xtrkit.training.recipes import TrainingRecipe

KEY = f"eval_{MEASURE}"


class Report(NamedTuple):
    """How a training stands.

    Attributes:
        step: optimiser steps that are done.
        steps: of how many.
        loss: mean since the last report; None where there is none.
        dev: nDCG@10 on the dev set, just measured; None where it was not.
    """

    step: int
    steps: int
    loss: float | None = None
    dev: float | None = None


class Trainer(MultiVectorEncoderTrainer):  # type: ignore[misc]
    """``MultiVectorEncoderTrainer`` that stops where the loss is NaN or infinite."""

    recipe: TrainingRecipe
    optimizer: Any
    _micro = 0

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One batch, forwards and backwards.

        Raises:
            TrainingError: the loss is not a number; the weights are still those of the last good step.
        """
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(value := float(loss)):
            kept = get_last_checkpoint(self.args.output_dir)
            raise TrainingError(
                f"The loss is {value} at batch {self._batch()} (step {self.state.global_step + 1}): try a lower "
                f"--learning-rate or a higher --temperature. "
                + (f"The last good checkpoint is {kept}." if kept else "There is no checkpoint yet.")
            )
        self._micro += 1
        return loss

    def _batch(self) -> int:
        """The number of the batch, counted from 1, over interruptions."""
        accumulated = int(self.args.gradient_accumulation_steps)
        return int(self.state.global_step) * accumulated + self._micro % accumulated + 1

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add no card: the model gets xtrkit's own."""

    def create_optimizer(self, *arguments: Any) -> Any:
        """The optimizer of the recipe, with a rate of its own for the projection."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.model, self.recipe)
        return self.optimizer


def make_optimizer(model: MultiVectorEncoder, recipe: TrainingRecipe) -> torch.optim.Optimizer:
    """AdamW or Adafactor over what learns; biases and norms don't decay."""
    projections = {id(p) for module in model if isinstance(module, Dense) for p in module.parameters()}
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in learning if (id(p) in projections) == new and (p.ndim > 1) == decays],
            "lr": recipe.learning_rate * (recipe.projection_rate if new else 1.0),
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for new in (False, True)
        for decays in (False, True)
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        made: torch.optim.Optimizer = Adafactor(groups, scale_parameter=False, relative_step=False)
        return made
    return torch.optim.AdamW(groups, eps=1e-8)


class _Reporter(TrainerCallback):  # type: ignore[misc]
    """Passes losses and dev figures on."""

    def __init__(self, report: Callable[[Report], None]) -> None:
        self._report = report

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        logs = logs or {}
        if "loss" in logs or KEY in logs:
            self._report(Report(state.global_step, state.max_steps, logs.get("loss"), logs.get(KEY)))


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
    steps = recipe.n_steps(n_examples)
    every = min(recipe.eval_steps or max(1, steps // 10), steps)
    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate,
        warmup_steps=math.ceil(recipe.warmup * steps),
        lr_scheduler_type="constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule,
        max_grad_norm=recipe.clip,
        seed=recipe.seed,
        data_seed=recipe.seed,
        bf16=recipe.bf16,
        dataloader_drop_last=True,
        dataloader_pin_memory=model.device.type == "cuda",
        use_cpu=model.device.type == "cpu",
        logging_steps=max(1, min(10, steps // 10)),
        logging_nan_inf_filter=False,
        eval_strategy="no" if evaluator is None else "steps",
        eval_steps=every,
        eval_on_start=evaluator is not None,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=evaluator is not None,
        metric_for_best_model=KEY if evaluator is not None else None,
        greater_is_better=True if evaluator is not None else None,
        disable_tqdm=True,
        report_to="none",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"example": list(range(n_examples))}),
        loss=LateInteractionLoss(parts.embedder, recipe),
        data_collator=parts.batches,
        evaluator=evaluator,
    )
    trainer.recipe = recipe
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(_Reporter(report))
    return trainer
