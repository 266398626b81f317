"""What all trainers have in common: they stop where the loss is NaN or infinite, and report as they go."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from xtrkit.errors import TrainingError
from xtrkit.training.card import MEASURE
from xtrkit.training.optimisation import Optimisation

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


class Careful:
    """Mixed into a ``transformers.Trainer``: stops where the loss is no number, and takes the recipe's optimizer."""

    args: Any
    state: Any
    model: Any
    recipe: Optimisation
    optimizer: Any
    _micro = 0

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One batch, forwards and backwards.

        Raises:
            TrainingError: the loss is not a number; the weights are still those of the last good step.
        """
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
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
        """The optimizer of the recipe."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(self.model, self.recipe)
        return self.optimizer


def make_optimizer(
    model: torch.nn.Module, recipe: Optimisation, new: Iterable[torch.nn.Parameter] = (), new_rate: float = 1.0
) -> torch.optim.Optimizer:
    """AdamW or Adafactor over what learns; biases and norms don't decay.

    Args:
        model: what learns.
        recipe: rates and decay.
        new: parameters that begin anew, with a learning rate of their own.
        new_rate: what their rate is multiplied with.
    """
    fresh = {id(parameter) for parameter in new}
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in learning if (id(p) in fresh) == is_new and (p.ndim > 1) == decays],
            "lr": recipe.learning_rate * (new_rate if is_new else 1.0),
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for is_new in (False, True)
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


def arguments_of(
    recipe: Optimisation, n_examples: int, folder: Path, *, dev: bool, device: torch.device
) -> dict[str, Any]:
    """What the arguments of every trainer say.

    Args:
        recipe: what is learnt, and how.
        n_examples: how many examples there are.
        folder: where checkpoints go.
        dev: whether there is a dev set.
        device: what the model is on.
    """
    steps = recipe.n_steps(n_examples)
    every = min(recipe.eval_steps or max(1, steps // 10), steps)
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.accumulate,
        "learning_rate": recipe.learning_rate,
        "warmup_steps": math.ceil(recipe.warmup * steps),
        "lr_scheduler_type": "constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule,
        "max_grad_norm": recipe.clip,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "bf16": recipe.bf16,
        "dataloader_drop_last": True,
        "dataloader_pin_memory": device.type == "cuda",
        "use_cpu": device.type == "cpu",
        "logging_steps": max(1, min(10, steps // 10)),
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if dev else "no",
        "eval_steps": every,
        "eval_on_start": dev,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": dev,
        "metric_for_best_model": KEY if dev else None,
        "greater_is_better": True if dev else None,
        "disable_tqdm": True,
        "report_to": "none",
    }


def watched(trainer: Any, recipe: Optimisation, report: Callable[[Report], None]) -> Any:
    """Have a trainer report to ``report`` alone."""
    trainer.recipe = recipe
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(_Reporter(report))
    return trainer
