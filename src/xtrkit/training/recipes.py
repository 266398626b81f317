"""How each system is trained, as frozen values. Knows no torch.

==============  ==================  ========================================  =====================================
recipe          scores              loss                                      source
==============  ==================  ========================================  =====================================
``xtr``         f_XTR               cross-entropy, all documents in the batch  Lee et al. 2023, §3.1
``colbert``     mean sum-of-max     the same                                  its baseline (§2.1): comparable to xtr
``colbertv2``   sum of maxima       KL to a teacher + cross-entropy over       Santhanam et al. 2022, §3.1
                                    other queries' documents
``ur2n``        f_XTR               as ``xtr``; top layer and projection only  UR²N, COLING 2025
==============  ==================  ========================================  =====================================

What the papers give for thousands of TPU hours (XTR: 50,000 steps at batch 256) is not what a laptop needs: lengths,
objective and k_train are theirs; steps, batch, learning rate and temperature are for fine-tuning a small encoder. Any
field can be overridden: ``XTR_TRAINING.but(k_train=128)``, ``--k-train 128``, or a YAML file.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from xtrkit.errors import InputError

Scores = Literal["xtr", "maxsim"]
Contrast = Literal["all", "others", "none"]
Distillation = Literal["kl", "margin_mse", "none"]
Init = Literal["pca", "balanced", "random"]


LEAST_STEPS = 20
"""What a few hundred examples need to be learnt from; where a dev set gets worse, the best weights are kept."""


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything that decides what is learnt, beside the base model and the data.

    Attributes:
        name: the recipe that this is, or was made from.
        scores: "xtr" lets document tokens compete for retrieval (eq. 2), "maxsim" takes each query token's best (1).
        k_train: document tokens that each query token retrieves from the batch; at most as many as there are. XTR only.
        negative: what a retrieved similarity below 0 is worth: "clip0" nothing, "keep" what it is. XTR only.
        mean: divide sums of maxima by the number of query tokens; MaxSim only (XTR divides by Z).
        temperature: scores are divided by it before the softmax; 1 is the paper's.
        contrast: negatives of the cross-entropy: "all" documents of the batch; "others", ColBERTv2's, leaves out a
            query's own negatives, which the teacher judges; "none" leaves out the cross-entropy.
        distillation: "kl" matches a query's own documents to the teacher's distribution, "margin_mse" to its margins.
        distillation_weight: what the distillation loss is multiplied with before it is added.
        distillation_alpha: what the teacher's scores are multiplied with.
        negatives: hard negatives of each query in a batch; data with more of them are sampled, with fewer of them
            filled up with other queries' documents.
        mask_false_negatives: leave documents out of the cross-entropy that the data call relevant to the query.
        query_length: most tokens of a query, markers included.
        document_length: most tokens of a document, markers included.
        dim: dimensions of the projection that a plain encoder gets; a late-interaction checkpoint keeps its own.
        projection_init: "pca" of the base's token embeddings on training documents; "balanced", the same with every
            piece of the vocabulary counting alike, however frequent; or "random".
        normalize: make token embeddings unit vectors; of plain encoders.
        lower_case: lower-case texts before the tokenizer; of plain encoders.
        query_prompt: put before queries; of plain encoders.
        document_prompt: put before documents; of plain encoders.
        expand_queries: fill queries up with [MASK] to ``query_length``; of plain encoders that have a [MASK].
        skip_punctuation: keep no vectors of punctuation in documents; of plain encoders.
        steps: optimiser steps; 0 goes by ``epochs``.
        epochs: passes over the data; 0 makes one, or as many as ``LEAST_STEPS`` steps take.
        batch_size: queries in a step, on each device.
        accumulate: batches whose gradients make one step. Negatives come from one batch alone.
        learning_rate: of the peak.
        projection_rate: what the learning rate of the projection is multiplied with.
        optimizer: "adamw" or "adafactor".
        warmup: share of steps in which the learning rate rises.
        schedule: "linear" or "cosine" or "constant", after the warm-up.
        weight_decay: AdamW's.
        clip: largest norm of the gradient.
        seed: of shuffling, sampling, dropout and random projections.
        bf16: compute the encoder in bfloat16, the activations of frozen layers too; weights and scores stay float32.
        top_layers: how many of the upper layers are learnt, beside the projection; 0 learns all layers.
        rows_per_forward: texts that go through the encoder at a time.
        recompute: compute activations a second time in the backward pass: slower, in much less memory.
        gather: score against the documents of all devices.
        eval_steps: steps between two looks at the dev set, each with a checkpoint; 0 is ten looks in all.
    """

    name: str = "xtr"
    scores: Scores = "xtr"
    k_train: int = 256
    negative: Literal["clip0", "keep"] = "clip0"
    mean: bool = True
    temperature: float = 0.05
    contrast: Contrast = "all"
    distillation: Distillation = "none"
    distillation_weight: float = 1.0
    distillation_alpha: float = 1.0
    negatives: int = 1
    mask_false_negatives: bool = True
    query_length: int = 64
    document_length: int = 256
    dim: int = 128
    projection_init: Init = "pca"
    normalize: bool = True
    lower_case: bool = False
    query_prompt: str = ""
    document_prompt: str = ""
    expand_queries: bool = False
    skip_punctuation: bool = False
    steps: int = 0
    epochs: int = 0
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 1e-4
    projection_rate: float = 1.0
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
    gather: bool = False
    eval_steps: int = 0

    def __post_init__(self) -> None:
        hints = get_type_hints(TrainingRecipe)
        for field in fields(self):
            _check_field(field.name, getattr(self, field.name), hints[field.name])
        if self.contrast == "none" and self.distillation == "none":
            raise InputError("contrast and distillation are both 'none', so nothing would be learnt: choose one.")

    def n_steps(self, n_examples: int) -> int:
        """How many optimiser steps a training on ``n_examples`` makes."""
        batches = n_examples // self.batch_size
        if self.steps:
            return self.steps
        if self.epochs:
            return max(1, self.epochs * batches // self.accumulate)
        return max(LEAST_STEPS, batches // self.accumulate)

    @property
    def needs_teacher(self) -> bool:
        """Whether the data must have scores of a teacher."""
        return self.distillation != "none"

    def but(self, **changes: Any) -> TrainingRecipe:
        """This recipe with some fields changed.

        Raises:
            InputError: a name is not a field, or a value can't be used.
        """
        for name in changes:
            if name not in TrainingRecipe.__dataclass_fields__:
                known = ", ".join(field.name for field in fields(TrainingRecipe))
                raise InputError(f"A training recipe has no {name!r}: there are {known}.")
        return replace(self, **changes)


_AT_LEAST_ONE = (
    "k_train",
    "query_length",
    "document_length",
    "dim",
    "batch_size",
    "accumulate",
    "rows_per_forward",
)
_POSITIVE = ("temperature", "learning_rate", "projection_rate", "clip", "distillation_alpha", "distillation_weight")


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

XTR_TRAINING = TrainingRecipe()
COLBERT_TRAINING = TrainingRecipe(name="colbert", scores="maxsim")
COLBERTV2_TRAINING = TrainingRecipe(
    name="colbertv2", scores="maxsim", mean=False, temperature=1.0, contrast="others", distillation="kl", negatives=63,
    query_length=32, document_length=180, query_prompt="[unused0] ", document_prompt="[unused1] ", expand_queries=True,
    skip_punctuation=True, batch_size=32, learning_rate=1e-5, warmup=0.05,
)  # fmt: skip
UR2N_TRAINING = TrainingRecipe(
    name="ur2n", k_train=52, temperature=1.0, query_length=32, document_length=180, projection_init="random",
    normalize=False, query_prompt="Query: ", document_prompt="Document: ", batch_size=24, learning_rate=1e-3,
    top_layers=1,
)  # fmt: skip

RECIPES = {recipe.name: recipe for recipe in (XTR_TRAINING, COLBERT_TRAINING, COLBERTV2_TRAINING, UR2N_TRAINING)}


def recipe_named(name: str) -> TrainingRecipe:
    """One of ``RECIPES``.

    Raises:
        InputError: there is none of this name.
    """
    if name not in RECIPES:
        raise InputError(f"Unknown recipe {name!r}: use {', '.join(RECIPES)}.")
    return RECIPES[name]


def parsed(name: str, text: str) -> Any:
    """A field's value from a text, such as a command line has; one of the wrong kind stays a text, to be refused."""
    import yaml

    try:
        return coerced(name, yaml.safe_load(text))
    except yaml.YAMLError:
        return text


def coerced(name: str, value: Any) -> Any:
    """Make 1e-4 a number, which YAML reads as a text."""
    if get_type_hints(TrainingRecipe).get(name) is float and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def read_overrides(path: Path) -> dict[str, Any]:
    """Fields of a recipe from a YAML file, ``field: value`` a line.

    Raises:
        InputError: the file can't be read, or doesn't hold such pairs.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise InputError(f"The recipe file {path} can't be read ({reason}).") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f"The recipe file {path} should hold fields such as 'k_train: 128', one a line.")
    return {name: coerced(name, value) for name, value in content.items()}
