"""Documents as they are, uncut, for baselines, training and reranking; and the error for those that can't be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from xtrkit.errors import CollectionError, InputError
from xtrkit.passage import Passage, checked_passage
from xtrkit.texts.document import Problem
from xtrkit.texts.reading import Source

SHOWN = 5
"""Problems that an error shows; the rest is counted, and ``problems`` has them all."""


def whole_passages(source: Source) -> Iterator[Passage]:
    """The documents of a source as they are, uncut.

    Raises:
        CollectionError: one can't be read.
    """
    for item in source:
        if isinstance(item, Problem):
            raise refusal([item])
        try:
            yield checked_passage(Passage(item.id, item.text, item.metadata, item.part))
        except InputError as error:
            raise refusal([Problem(item.where, str(error))]) from error


def check_unique(passages: Iterable[Passage]) -> int:
    """Go through passages once, so that a mistake in the last line shows before any work; return how many there are.

    Raises:
        CollectionError: an id comes twice, or there is none.
    """
    ids: set[str] = set()
    for passage in passages:
        if passage.id in ids:
            raise CollectionError(f"The id {passage.id!r} comes twice in the collection: make ids unique.")
        ids.add(passage.id)
    if not ids:
        raise CollectionError("The collection has no passages: expected at least one.")
    return len(ids)


def refusal(bad: Sequence[Problem]) -> CollectionError:
    """The error for what can't be read."""
    lines = [f"{where}: {problem}" if where else problem for where, problem in bad]
    if len(lines) == 1:
        return CollectionError(lines[0], problems=bad)
    shown = [*lines[:SHOWN], *([f"… and {len(lines) - SHOWN:,} more."] if len(lines) > SHOWN else [])]
    listed = "\n  ".join(shown)
    return CollectionError(
        f"{len(lines):,} files or records can't be read:\n  {listed}\n"
        "Mend them, or go on without them: --skip-bad (skip_bad=True).",
        problems=bad,
    )
