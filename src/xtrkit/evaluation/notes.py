"""What stands behind a figure that its name does not say: what was missing, came twice, was dropped, or was guessed.

A :class:`Note` says it twice: as facts, for programs, and as a sentence, which is printed below the table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any, NamedTuple

EXAMPLES = 3
"""How many examples a note names."""


class Note(NamedTuple):
    """Something that must be known to read a figure.

    Attributes:
        kind: what it is about, such as "missing_documents"; no two notes of one evaluation are of one kind.
        facts: {name: number, or list of examples}.
        sentence: the same for people.
    """

    kind: str
    facts: dict[str, Any]
    sentence: str


def notes_as_json(notes: Iterable[Note]) -> dict[str, dict[str, Any]]:
    """{kind: facts and sentence}."""
    return {note.kind: {**note.facts, "sentence": note.sentence} for note in notes}


def counted(n: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 query", "1,200 queries"."""
    more = plural or (f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s")
    return f"{n:,} {noun if n == 1 else more}"


def examples_of(names: Iterable[Any]) -> list[Any]:
    """The first few."""
    return list(islice(names, EXAMPLES))


def quoted(names: Collection[str]) -> str:
    """The first few, in brackets: "('d1', 'd2', 'd3', …)"."""
    return f"({listed(names)})"


def listed(names: Collection[str], most: int = EXAMPLES) -> str:
    """The first ones, quoted: "'d1', 'd2', …"."""
    shown = [repr(name) for name in islice(names, most)]
    return ", ".join([*shown, "…"] if len(names) > len(shown) else shown)
