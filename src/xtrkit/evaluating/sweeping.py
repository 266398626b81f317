"""Which setting is worth its price: quality and CPU time of many recipes, on one index and one test collection.

Each query is searched for alone, on one thread, and what the process computed meanwhile, with those of a cluster's
shards, is its time: what a server pays for it, but for encoding, which no setting changes. A point is on the Pareto
front where none is better and cheaper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from xtrkit.evaluating.drawing import figure_and_axis, save
from xtrkit.evaluating.measuring import IndexedDocuments, Row, rankings_of, row_of_index
from xtrkit.evaluation.collection import TestCollection
from xtrkit.evaluation.measures import depth_of
from xtrkit.recipes import Recipe
from xtrkit.retriever import Retriever
from xtrkit.search.engine import Ranking
from xtrkit.values import Ragged

WARMING = 5
"""Queries that are searched for before any is timed."""


@dataclass(frozen=True)
class Point:
    """One setting and what it gave.

    Attributes:
        setting: {field of the recipe: value}, of the fields that the sweep changes.
        recipe: all of it.
        row: its figures.
        cpu_ms: median CPU time of a query, in milliseconds.
        cpu_ms_95: the time that one query in twenty exceeds.
        on_front: whether no other setting is better by the first measure and no dearer.
    """

    setting: Mapping[str, Any]
    recipe: Recipe
    row: Row
    cpu_ms: float
    cpu_ms_95: float
    on_front: bool = False

    @property
    def name(self) -> str:
        """The setting in words."""
        return ", ".join(
            str(value) if field == "scoring" else f"{field} {value}" for field, value in self.setting.items()
        )


def grid(base: Recipe, choices: Mapping[str, Sequence[Any]]) -> list[tuple[dict[str, Any], Recipe]]:
    """Every combination of some choices, each as what differs between them and as a recipe, without repetitions.

    MaxSim imputes nothing and has no k′, XTR takes no candidates: combinations that differ in these alone are one.

    Args:
        base: what is not chosen.
        choices: {field of the recipe: values}.

    Raises:
        InputError: a value can't be used.
    """
    found: dict[Recipe, dict[str, Any]] = {}
    told = [field for field, values in choices.items() if len(values) > 1] or list(choices)
    for values in product(*choices.values()):
        setting = dict(zip(choices, values, strict=True))
        idle = ("k_prime", "imputation") if setting.get("scoring", base.scoring) == "maxsim" else ("candidates",)
        setting = {field: value for field, value in setting.items() if field not in idle}
        found.setdefault(base.but(**setting), {field: setting[field] for field in told if field in setting})
    return [(setting, recipe) for recipe, setting in found.items()]


def sweep(
    retriever: Retriever,
    test: TestCollection,
    settings: Sequence[tuple[Mapping[str, Any], Recipe]],
    measures: Sequence[str],
    *,
    embeddings: Ragged,
    documents: IndexedDocuments,
    advance: Callable[[int], None] = lambda n: None,
) -> Iterator[Point]:
    """Measure settings, one after the other.

    Args:
        retriever: the index with its encoder.
        test: queries and judgements.
        settings: as :func:`grid` gives them.
        measures: names of measures; the first decides which settings are on the front.
        embeddings: of the queries, in their order.
        documents: those of the index.
        advance: called with the number of queries that have been answered.
    """
    index, depth = retriever.index.snapshot(), depth_of(measures)
    for setting, recipe in settings:
        seconds = np.zeros(len(embeddings))
        for n in range(min(WARMING, len(embeddings))):
            index.search(embeddings[n], depth + 1, recipe=recipe, threads=1)

        def search(numbers: Sequence[int], k: int, recipe: Recipe = recipe, seconds: Any = seconds) -> list[Ranking]:
            found = []
            for n in numbers:
                begin = index.cpu_seconds()
                found.append(index.search(embeddings[n], k, recipe=recipe, threads=1))
                seconds[n] += index.cpu_seconds() - begin
                if k == depth + 1:  # those that are asked again are counted already
                    advance(1)
            return found

        rankings = rankings_of(search, len(embeddings), depth + 1, index, documents)
        run = dict(zip(test.queries, rankings, strict=True))
        row = row_of_index(", ".join(map(str, setting.values())), run, test, measures, float(seconds.sum()), index)
        middle, high = np.quantile(1000 * seconds, [0.5, 0.95])
        yield Point(setting, recipe, row, float(middle), float(high))


def with_front(points: Sequence[Point], measure: str) -> list[Point]:
    """Points, the cheapest first, each with whether it is on the Pareto front."""
    best, found = -np.inf, []
    for point in sorted(points, key=lambda one: (one.cpu_ms, -one.row.measures[measure])):
        on_front = point.row.measures[measure] > best
        best = max(best, point.row.measures[measure])
        found.append(replace(point, on_front=on_front))
    return found


def cheapest(points: Sequence[Point], measure: str, within: float) -> Point:
    """The cheapest setting that loses no more than ``within`` against the best."""
    best = max(point.row.measures[measure] for point in points)
    return min(
        (point for point in points if point.row.measures[measure] >= best - within), key=lambda point: point.cpu_ms
    )


def draw(points: Sequence[Point], measure: str, path: Path, chosen: Point) -> None:
    """A picture of quality against CPU time: points with their names, the front as a line, the chosen one ringed.

    Raises:
        InputError: matplotlib writes no file of that suffix.
        MissingExtraError: matplotlib isn't installed.
    """
    figure, axis = figure_and_axis((9, 5))
    front = [point for point in points if point.on_front]
    highest = max(point.cpu_ms for point in points)
    quality = [point.row.measures[measure] for point in front]
    axis.plot([point.cpu_ms for point in front], quality, color="tab:blue", linewidth=1, label="Pareto front")
    for point in points:
        x, y = point.cpu_ms, point.row.measures[measure]
        axis.scatter(x, y, color="tab:blue" if point.on_front else "tab:gray", s=24, zorder=3)
        if point.on_front:
            left = 2 * x > highest  # where there is room
            axis.annotate(
                point.name, (x, y), xytext=(-5 if left else 5, -10), textcoords="offset points", fontsize=7,
                ha="right" if left else "left",
            )  # fmt: skip
    axis.scatter(
        chosen.cpu_ms, chosen.row.measures[measure], s=140, facecolors="none", edgecolors="tab:red", label="chosen"
    )
    axis.set_xscale("log")
    axis.set(xlabel="CPU time of a query, median, ms", ylabel=measure)
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    save(figure, path)
