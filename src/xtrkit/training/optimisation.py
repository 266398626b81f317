"""What every recipe says of optimisation, and how its fields are checked. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, get_args, get_type_hints

from xtrkit.errors import InputError

LEAST_STEPS = 20
"""What a few hundred examples need to be learnt from; where a dev set gets worse, the best weights are kept."""


@dataclass(frozen=True)
class Optimisation:
    """How a model learns, whatever it learns.

    Attributes:
        name: the recipe that this is, or was made from.
        negatives: hard negatives of each query in a batch; data with more of them are sampled, with fewer of them
            filled up with other queries' documents.
        temperature: scores are divided by it before the softmax.
        steps: optimiser steps; 0 goes by ``epochs``.
        epochs: passes over the data; 0 makes one, or as many as ``LEAST_STEPS`` steps take.
        batch_size: queries in a step, on each device.
        accumulate: batches whose gradients make one step. Negatives come from one batch alone.
        learning_rate: of the peak.
        optimizer: "adamw" or "adafactor".
        warmup: share of steps in which the learning rate rises.
        schedule: "linear" or "cosine" or "constant", after the warm-up.
        weight_decay: AdamW's.
        clip: largest norm of the gradient.
        seed: of shuffling, sampling, dropout and random projections.
        bf16: compute the encoder in bfloat16, the activations of frozen layers too; weights and scores stay float32.
        top_layers: how many of the encoder's upper layers are learnt, beside what comes after them; 0 learns all.
        rows_per_forward: texts that go through the encoder at a time.
        recompute: compute activations a second time in the backward pass: slower, in much less memory.
        eval_steps: steps between two looks at the dev set, each with a checkpoint; 0 is ten looks in all.
    """

    name: str
    negatives: int = 1
    temperature: float = 1.0
    steps: int = 0
    epochs: int = 0
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 1e-4
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    warmup: float = 0.1
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.01
    clip: float = 2.0
    seed: int = 12345
    bf16: bool = False
    top_layers: int = 0
    rows_per_forward: int = 32
    recompute: bool = False
    eval_steps: int = 0

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            _check_field(field.name, getattr(self, field.name), hints[field.name])

    @property
    def needs_teacher(self) -> bool:
        """Whether the data must have scores of a teacher."""
        raise NotImplementedError

    def n_steps(self, n_examples: int) -> int:
        """How many optimiser steps a training on ``n_examples`` makes."""
        batches = n_examples // self.batch_size
        if self.steps:
            return self.steps
        if self.epochs:
            return max(1, self.epochs * batches // self.accumulate)
        return max(LEAST_STEPS, batches // self.accumulate)

    def but(self, **changes: Any) -> Self:
        """This recipe with some fields changed.

        Raises:
            InputError: a name is not a field, or a value can't be used.
        """
        for name in changes:
            if name not in self.__dataclass_fields__:
                known = ", ".join(field.name for field in fields(self))
                raise InputError(f"The recipe {self.name} has no {name!r}: there are {known}.")
        return replace(self, **changes)


_AT_LEAST_ONE = (
    "k_train",
    "query_length",
    "document_length",
    "dim",
    "batch_size",
    "accumulate",
    "rows_per_forward",
    "max_length",
)
_POSITIVE = (
    "temperature",
    "learning_rate",
    "projection_rate",
    "clip",
    "distillation_alpha",
    "distillation_weight",
    "teacher_weight",
)


def _check_field(name: str, value: Any, kind: Any) -> None:
    """Refuse a value of the wrong kind or out of range."""
    if choices := get_args(kind):
        if value not in choices:
            raise InputError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")
    elif not (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))) and not (
        kind is float and isinstance(value, int) and not isinstance(value, bool)
    ):
        raise InputError(f"{name} must be {_KINDS[kind]}, got {value!r}.")
    if name in _POSITIVE and not 0 < value < float("inf"):
        raise InputError(f"{name} must be above 0, got {value!r}.")
    if kind is int and value < (name in _AT_LEAST_ONE):
        raise InputError(f"{name} must be at least {int(name in _AT_LEAST_ONE)}, got {value!r}.")
    if name == "warmup" and not 0 <= value < 1:
        raise InputError(f"warmup is a share of all steps, from 0 to below 1, got {value!r}.")


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
