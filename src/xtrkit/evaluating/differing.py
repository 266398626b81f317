"""Where two systems differ, query by query: which ones lose most, where their relevant documents went, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from xtrkit.errors import InputError
from xtrkit.evaluating.drawing import figure_and_axis, save
from xtrkit.evaluating.measuring import Row
from xtrkit.evaluation.collection import TestCollection
from xtrkit.hits import Hit
from xtrkit.recipes import Recipe
from xtrkit.retriever import Retriever

SHOWN = 3
"""Documents that are shown of each ranking."""


class Placed(NamedTuple):
    """A document in two rankings.

    Attributes:
        document: its id.
        grade: as it is judged; None where it isn't.
        first: its rank in the one, from 1; None where it isn't found.
        second: that in the other.
    """

    document: str
    grade: int | None
    first: int | None
    second: int | None


class QueryDifference(NamedTuple):
    """How two systems answered one query.

    Attributes:
        query: its id.
        text: what was asked.
        first: the measure of the one.
        second: that of the other.
        relevant: the relevant documents, those first that either ranks highest.
        best: the best documents of both, one ranking after the other, those that are relevant left out.
    """

    query: str
    text: str
    first: float
    second: float
    relevant: list[Placed]
    best: list[Placed]


def row_named(rows: Sequence[Row], name: str) -> Row:
    """The row of a system.

    Raises:
        InputError: there is none of that name.
    """
    check_named([row.system for row in rows], [name])
    return next(row for row in rows if row.system == name)


def check_named(systems: Sequence[str], names: Sequence[str]) -> None:
    """Refuse names that no system bears.

    Raises:
        InputError: there is none of a name.
    """
    for name in names:
        if name not in systems:
            raise InputError(f"No system is called {name!r}: there are {', '.join(map(repr, systems))}.")


def worst(first: Row, second: Row, measure: str, test: TestCollection, n: int) -> list[QueryDifference]:
    """The queries in which the second system is furthest below the first; none in which it isn't below.

    Args:
        first: what is held against.
        second: what may have lost.
        measure: what by.
        test: what was asked.
        n: how many queries.
    """
    ones, others = first.of_each[measure], second.of_each[measure]
    losing = sorted(
        (query for query in ones if others[query] < ones[query]), key=lambda query: others[query] - ones[query]
    )
    return [_difference(query, first, second, measure, test) for query in losing[:n]]


def why(
    retriever: Retriever, recipes: Mapping[str, Recipe], difference: QueryDifference, names: Sequence[str], k: int
) -> dict[str, Hit]:
    """For each of some systems that are recipes of an index, the best relevant document that it found, explained.

    Where it found none, its best document.

    Args:
        retriever: the index and its encoder.
        recipes: {system: recipe}; systems that are none of these can't be explained.
        difference: of which query.
        names: of the systems.
        k: how deep they searched.
    """
    relevant = {placed.document for placed in difference.relevant}
    found: dict[str, Hit] = {}
    for name in names:
        if name in recipes:
            hits = retriever.search(difference.text, k, recipe=recipes[name], explain=True)
            shown = [hit for hit in hits if document_of(hit) in relevant] or list(hits)
            if shown:
                found[name] = shown[0]
    return found


def document_of(hit: Hit) -> str:
    """The document that a hit is, or is part of."""
    return hit.id if hit.part is None else hit.part.document


def draw(first: Row, second: Row, measure: str, path: Path) -> None:
    """A picture of the differences: a bar a query, those in which the second gains on the left.

    Raises:
        InputError: matplotlib writes no file of that suffix.
        MissingExtraError: matplotlib isn't installed.
    """
    differences = sorted(
        (second.of_each[measure][query] - value for query, value in first.of_each[measure].items()), reverse=True
    )
    figure, axis = figure_and_axis((8, 3.6))
    colours = ["tab:blue" if value > 0 else "tab:orange" for value in differences]
    axis.bar(range(len(differences)), differences, width=1.0, color=colours)
    gained, lost = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set(
        title=f"{second.system} against {first.system}: higher in {gained}, lower in {lost}, "
        f"equal in {len(differences) - gained - lost}",
        xlabel="queries, by their difference",
        ylabel=f"difference in {measure}",
    )
    axis.grid(alpha=0.3, axis="y")
    save(figure, path)


def _difference(query: str, first: Row, second: Row, measure: str, test: TestCollection) -> QueryDifference:
    ranks = [
        {document: rank for rank, (document, _) in enumerate(row.run.get(query, ()), 1)} for row in (first, second)
    ]
    grades = first.qrels.get(query, {}) | second.qrels.get(query, {})

    def placed(document: str) -> Placed:
        return Placed(document, grades.get(document), ranks[0].get(document), ranks[1].get(document))

    relevant = [placed(document) for document, grade in grades.items() if grade > 0]
    relevant.sort(key=lambda one: min(rank or 10**9 for rank in (one.first, one.second)))
    best = dict.fromkeys(
        document
        for row in (first, second)
        for document, _ in row.run.get(query, ())[:SHOWN]
        if grades.get(document, 0) <= 0
    )
    return QueryDifference(
        query,
        test.queries.get(query, ""),
        first.of_each[measure][query],
        second.of_each[measure][query],
        relevant,
        [placed(document) for document in best],
    )
