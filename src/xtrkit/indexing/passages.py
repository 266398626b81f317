"""Passages of an index: those of its segments, numbered through, without the dead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.filters import compiled
from xtrkit.passage import Passage
from xtrkit.storage.passage_file import PassageFile
from xtrkit.values import Mask


class Passages:
    """Ids, texts and metadata by number or by id; safe to share between threads."""

    def __init__(self, files: Sequence[PassageFile], live: Sequence[Mask]) -> None:
        """Put segments one after the other.

        Args:
            files: one file a segment.
            live: for each segment which of its documents are alive; an empty mask where all are.
        """
        self._files, self._live = list(files), list(live)
        self._firsts = np.cumsum([0, *(file.count for file in files)])

    def __len__(self) -> int:
        """Living documents."""
        counts = zip(self._files, self._live, strict=True)
        return sum(int(live.sum()) if len(live) else file.count for file, live in counts)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def ids(self, numbers: Iterable[int]) -> list[str]:
        """The ids of some documents, in the order asked for."""
        places = [self._place(number) for number in numbers]
        names: dict[PassageFile, dict[int, str]] = {}
        for file in {file for file, _ in places}:
            inside = [number for owner, number in places if owner is file]
            names[file] = dict(zip(inside, file.ids(inside), strict=True))
        return [names[file][number] for file, number in places]

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        """Some documents with texts and metadata, in the order asked for.

        Raises:
            InputError: no document has one of these numbers.
        """
        places = [self._place(number) for number in numbers]
        found: dict[tuple[PassageFile, int], Passage] = {}
        for file in {file for file, _ in places}:
            inside = [number for owner, number in places if owner is file]
            found |= {(file, number): passage for number, passage in zip(inside, file.passages(inside), strict=True)}
        return [found[place] for place in places]

    def number(self, identifier: str) -> int:
        """The number of the living document with an id.

        Raises:
            InputError: no document has this id.
        """
        found = self.numbers([identifier])
        if identifier not in found:
            raise InputError(f"No document of this index has the id {identifier!r}.")
        return found[identifier]

    def numbers(self, identifiers: Sequence[str]) -> dict[str, int]:
        """The numbers of the living documents with some ids; ids that are not there are left out."""
        found: dict[str, int] = {}
        for start, file, live in zip(self._firsts.tolist(), self._files, self._live, strict=False):
            for identifier, number in file.numbers(identifiers).items():
                if not len(live) or live[number]:
                    found[identifier] = start + number
        return found

    def of_document(self, document: str) -> list[int]:
        """The numbers of the living passages of a document, in order: cut out of it, or with its id."""
        found = list(self.numbers([document]).values())
        for start, file, live in zip(self._firsts.tolist(), self._files, self._live, strict=False):
            found += [start + number for number in file.of_documents([document]) if not len(live) or live[number]]
        return sorted(set(found))

    def all_ids(self) -> Iterator[str]:
        """The id of every living document, in order of number."""
        return (passage.id for _, passage in self.living())

    def living(self, *, texts: bool = False) -> Iterator[tuple[int, Passage]]:
        """Number and passage of every living document."""
        for start, file, live in zip(self._firsts.tolist(), self._files, self._live, strict=False):
            for number, passage in enumerate(file.all_passages(texts=texts)):
                if not len(live) or live[number]:
                    yield start + number, passage

    def matching(self, where: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
        """(N,) which documents meet a condition on their metadata, the dead ones among them.

        Raises:
            InputError: this is no condition.
        """
        condition = compiled(where)
        return np.concatenate([file.matching(condition.sql, condition.values) for file in self._files])

    def _place(self, number: int) -> tuple[PassageFile, int]:
        if not 0 <= number < self._firsts[-1]:
            raise InputError(f"No document has the number {number}: there are 0 to {self._firsts[-1] - 1}.")
        segment = int(np.searchsorted(self._firsts, number, side="right")) - 1
        return self._files[segment], int(number - self._firsts[segment])
