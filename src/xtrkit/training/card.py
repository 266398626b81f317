"""The model card: what a model was trained on, how, and how well it did; beside it the same for programs.

Knows no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xtrkit.encoding.default import ORIGINAL
from xtrkit.training.optimisation import Optimisation

MEASURE, SECOND = "nDCG@10", "RR@10"
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
        about: "late-interaction encoder" or "reranker".
        dim: dimensions of a token vector; None where there are none.
        steps: optimiser steps that were made.
        dev: what the dev set was, and None where there was none.
        curve: (step, nDCG@10) on the dev set.
        best: the step whose weights were kept.
        second: (step, RR@10) on the dev set, where that was measured.
        baseline: {measure: figure} of BM25 on the dev set, where its best were reranked.
        versions: of the libraries.
    """

    base: str
    recipe: Optimisation
    sources: Sequence[tuple[str, int]]
    licences: Mapping[str, str]
    licence: str | None
    about: str
    dim: int | None
    steps: int
    dev: str | None
    curve: Sequence[tuple[int, float]]
    best: int
    second: Sequence[tuple[int, float]] = ()
    baseline: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def write_card(folder: Path, facts: Facts) -> None:
    """Write ``README.md`` and ``training.json``."""
    (folder / "README.md").write_text(_text(facts), encoding="utf-8")
    (folder / "training.json").write_text(
        json.dumps(asdict(facts), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _text(facts: Facts) -> str:
    base = _KNOWN_AS.get(facts.base, facts.base)
    encodes = facts.dim is not None
    kind = ("multi-vector", "late-interaction") if encodes else ("text-ranking", "reranker")
    tags = ["sentence-transformers" if encodes else "transformers", *kind, "xtrkit", facts.recipe.name]
    task = "sentence-similarity" if encodes else "text-ranking"
    head = ["---", *([f"license: {json.dumps(facts.licence)}"] if facts.licence else [])]
    head += [f"base_model: {json.dumps(base)}", f"pipeline_tag: {task}", "tags:"]
    head += [f"- {tag}" for tag in tags] + ["---"]
    opened = 'encoder = xtrkit.load_encoder("this-directory")'
    if not encodes:
        opened = 'retriever = xtrkit.Retriever.open("idx", reranker="this-directory")'
    size = f"{facts.dim} dimensions a token, from" if encodes else "From"
    parts = [
        "\n".join(head),
        f"# A {facts.about}, trained with the recipe {facts.recipe.name}",
        f"{size} `{base}`. Licence of this model: {facts.licence or NOT_STATED}.",
        f"```python\nimport xtrkit\n\n{opened}\n```",
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
    lead = f"{MEASURE} on {facts.dev}. The weights are those of step {facts.best}."
    second, names = dict(facts.second), [MEASURE, *([SECOND] if facts.second else [])]
    rows = [(f"{step}", f"{value:.4f}", *([f"{second[step]:.4f}"] if second else [])) for step, value in facts.curve]
    if facts.baseline:
        rows.insert(0, ("BM25", *(f"{facts.baseline[name]:.4f}" for name in names)))
    return lead + "\n\n" + _table(("step", *names), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
