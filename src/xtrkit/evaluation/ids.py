"""Ids are compared without the white space around them, on every side: judgements, queries, index, corpus."""

from __future__ import annotations

import re
from collections import Counter

from xtrkit.evaluation.notes import Note, counted, examples_of, quoted

INVISIBLE = "\u200b\u2060\ufeff"
"""What a text editor leaves around ids, besides white space: zero-width spaces and byte order marks."""
_AROUND = re.compile(rf"\A[\s{INVISIBLE}]+|[\s{INVISIBLE}]+\Z")


def trimmed(identifier: str) -> str:
    """An id without white space around it."""
    return identifier.strip() if identifier.isascii() else _AROUND.sub("", identifier)


class Trimming:
    """Trims ids, and remembers which ones that changed, and which not."""

    def __init__(self) -> None:
        self.changed: dict[str, str] = {}
        self.plain: set[str] = set()

    def __call__(self, identifier: str) -> str:
        """The id without white space around it."""
        bare = trimmed(identifier)
        if bare == identifier:
            self.plain.add(bare)
        else:
            self.changed[identifier] = bare
        return bare

    def notes(self, kind: str, place: str, *, alone: bool = True) -> list[Note]:
        """What trimming changed, and which ids it made the same.

        Args:
            kind: what the ids are of, for the note's kind: "index".
            place: where they are, for its sentence: "in the index".
            alone: all ids are of one place; of two, it is as it should be that some become the same.
        """
        if not self.changed:
            return []
        times = Counter(self.changed.values())
        same = [bare for bare, n in times.items() if alone and (n > 1 or bare in self.plain)]
        sentence = (
            f"White space around {counted(len(self.changed), 'id')} {place} was passed over {quoted(self.changed)}"
        )
        if same:
            sentence += f"; without it {counted(len(same), 'id')} came twice {quoted(same)}, taken for one and the same"
        facts = {
            "ids": len(self.changed),
            "examples": examples_of(self.changed),
            "same": len(same),
            "same_examples": examples_of(same),
        }
        return [Note(f"trimmed_ids_of_{kind}", facts, f"{sentence}.")]
