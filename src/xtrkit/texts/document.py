"""What reading gives: documents, and what could not be read.

A document is a text as it was read, before it is cut into passages (:mod:`xtrkit.texts.splitting`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from xtrkit.passage import Metadata, Part

EXAMPLES, SHOWN = 3, 10
"""Names and problems that people are shown; programs get them all."""


@dataclass(frozen=True)
class Fields:
    """Where records keep what: the columns of a table, the keys of JSON objects and of dicts.

    Attributes:
        id: which field is the id; None finds "_id", "id" and their like.
        text: which is the text; None finds "text" and its like.
        title: which is put before the text; None finds "title". "" for none.
        metadata: which become metadata; "all" are those that are neither id, text nor title. A title that is named here
            is kept there, too.
        encoding: of text files; a byte order mark decides where there is one.
    """

    id: str | None = None
    text: str | None = None
    title: str | None = None
    metadata: tuple[str, ...] | Literal["all"] = "all"
    encoding: str = "utf-8"


PLAIN_FIELDS = Fields()


class Section(NamedTuple):
    """A part of a document that stands for itself: a page, or what follows a heading.

    Attributes:
        first, last: where it begins and ends in the document's text, in characters.
        metadata: what its passages have beside the document's own, such as {"page": 3} or {"headings": "A > B"}.
    """

    first: int
    last: int
    metadata: Metadata


class Document(NamedTuple):
    """A text as it was read.

    Attributes:
        id: the caller's id, or the path below the folder.
        text: all of it.
        metadata: what its passages have.
        sections: where it is cut first, in order, none overlapping; empty where it is one piece.
        part: which part of which document it is already, where a :class:`~xtrkit.Passage` was given that is one.
        where: where it was read, for messages: "corpus.jsonl, line 3".
    """

    id: str
    text: str
    metadata: Metadata | None = None
    sections: tuple[Section, ...] = ()
    part: Part | None = None
    where: str = ""


class Problem(NamedTuple):
    """A file or a record that can't be read.

    Attributes:
        where: "notes/a.txt" or "corpus.jsonl, line 3".
        problem: a sentence: what was got, what was expected, what to do.
    """

    where: str
    problem: str


class Skipped(NamedTuple):
    """A file that was passed over.

    Attributes:
        file: its path.
        reason: why, in a few words that files have in common: "hidden", "no reader for .png".
    """

    file: str
    reason: str


@dataclass
class ReadingReport:
    """What was read, passed over and refused; it grows while a collection is gone through.

    Attributes:
        files: {kind: how many files of it were read}, such as {"Markdown": 12, "PDF": 3}; empty where no file was.
        documents: documents that were given on.
        skipped: files that were passed over, and why.
        bad: what can't be read; with ``skip_bad`` it is left out.
        empty: where documents were that have nothing in them to be found; they are left out.
        notes: what was taken for what, and what was dropped, a sentence each: "The first line of a.tsv was taken for
            the names of its columns."
    """

    files: dict[str, int] = field(default_factory=dict)
    documents: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    bad: list[Problem] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """What a person wants to know of it: nothing where all that was there was read."""
        told = []
        if self.files:
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(self.files.items(), key=_by_number))
            number = sum(self.files.values())
            told.append(f"Read {number:,} file{'s' * (number > 1)}: {kinds}.")
        if self.skipped:
            reasons: dict[str, list[str]] = {}
            for file, reason in self.skipped:
                reasons.setdefault(reason, []).append(file)
            listed = "; ".join(f"{len(files):,} {reason} ({_some(files)})" for reason, files in reasons.items())
            told.append(f"Passed over {len(self.skipped):,}: {listed}.")
        if self.bad:
            told.append(f"Left out {len(self.bad):,} that can't be read:")
            told += [f"  {where}: {problem}" for where, problem in self.bad[:SHOWN]]
            told += [f"  … and {len(self.bad) - SHOWN:,} more."] if len(self.bad) > SHOWN else []
        if self.empty:
            told.append(f"Left out {len(self.empty):,} with nothing in them to be found ({_some(self.empty)}).")
        return [*told, *self.notes]

    def as_json(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "files": dict(self.files),
            "documents": self.documents,
            "skipped": [one._asdict() for one in self.skipped],
            "bad": [one._asdict() for one in self.bad],
            "empty": list(self.empty),
            "notes": list(self.notes),
        }


def _by_number(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:EXAMPLES])
    return f"{shown}, …" if len(names) > EXAMPLES else shown


class Source(Protocol):
    """Where documents come from.

    Attributes:
        report: what was read, passed over and noted; a new one each time the source is gone through. What is done with
            its documents (``documents``, ``bad`` and ``empty``) is written into it by whoever goes through it.
    """

    report: ReadingReport

    def __iter__(self) -> Iterator[Document | Problem]:
        """Documents in a stable order; problems stand where the document would, and the next one follows."""
        ...


class SourceFile(NamedTuple):
    """A file that is read.

    Attributes:
        name: its path below the folder, with slashes; ids begin with it, or are it.
        path: where it lies.
        kind: what it is read as: "Markdown", "JSON lines".
        problem: why it can't be read, where that shows without opening it.
    """

    name: str
    path: Path
    kind: str
    problem: str = ""


class Reading(NamedTuple):
    """What those who read files are told.

    Attributes:
        fields: where records keep what.
        report: what they write notes into.
        alone: this is the one file that was asked for, not one of a folder's.
    """

    fields: Fields
    report: ReadingReport
    alone: bool = False
