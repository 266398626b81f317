"""The model card: what a model was trained on, how, and how well it did; beside it the same for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xtrkit.encoding.default import ORIGINAL
from xtrkit.training.recipes import TrainingRecipe

NOT_STATED = "not stated"
_KNOWN_AS = {ORIGINAL: f"sentence-transformers/{ORIGINAL}"}


@dataclass(frozen=True)
class Facts:
    """What a card says.

    Attributes:
        base: name of the model that was trained.
        recipe: how.
        sources: (name, examples) of each data set.
        licences: {data set: licence} as far as the caller said.
        licence: of the model itself, as far as the caller said.
        dim: dimensions of a token vector.
        steps: optimiser steps that were made.
        dev: what the dev set was, and None where there was none.
        curve: (step, nDCG@10) on the dev set.
        best: the step whose weights were kept.
        versions: of the libraries.
    """

    base: str
    recipe: TrainingRecipe
    sources: Sequence[tuple[str, int]]
    licences: Mapping[str, str]
    licence: str | None
    dim: int
    steps: int
    dev: str | None
    curve: Sequence[tuple[int, float]]
    best: int
    versions: Mapping[str, str] = field(default_factory=dict)


def write_card(folder: Path, facts: Facts) -> None:
    """Write ``README.md`` and ``training.json``."""
    (folder / "README.md").write_text(_text(facts), encoding="utf-8")
    (folder / "training.json").write_text(
        json.dumps(asdict(facts), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _text(facts: Facts) -> str:
    base = _KNOWN_AS.get(facts.base, facts.base)
    tags = ["sentence-transformers", "multi-vector", "late-interaction", "xtrkit", facts.recipe.name]
    head = ["---", *([f"license: {json.dumps(facts.licence)}"] if facts.licence else [])]
    head += [f"base_model: {json.dumps(base)}", "pipeline_tag: sentence-similarity", "tags:"]
    head += [f"- {tag}" for tag in tags] + ["---"]
    parts = [
        "\n".join(head),
        f"# A late-interaction encoder, trained with the recipe {facts.recipe.name}",
        f"{facts.dim} dimensions a token, from `{base}`. Licence of this model: {facts.licence or NOT_STATED}.",
        '```python\nimport xtrkit\n\nencoder = xtrkit.load_encoder("this-directory")\n```',
        "## Data",
        _table(
            ("data set", "examples", "licence"),
            [(name, f"{n:,}", facts.licences.get(name, NOT_STATED)) for name, n in facts.sources],
        ),
        "## Figures",
        _figures(facts),
        "## Recipe",
        f"{facts.steps:,} optimiser steps. Everything that was chosen:",
        _table(("field", "value"), [(name, str(value)) for name, value in asdict(facts.recipe).items()]),
        "Made with " + ", ".join(f"{name} {version}" for name, version in facts.versions.items()) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _figures(facts: Facts) -> str:
    if facts.dev is None:
        return "It was trained without a dev set; the weights are those of the last step."
    lead = f"nDCG@10 on {facts.dev}. The weights are those of step {facts.best}."
    return lead + "\n\n" + _table(("step", "nDCG@10"), [(str(step), f"{value:.4f}") for step, value in facts.curve])


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
