"""Passages of an index: those of its segments, numbered through, without the dead."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.filters import (
    LISTS,
    STORED,
    Condition,
    Demand,
    compiled,
    ids_named_in,
    no_such_field,
    no_such_kind,
    there,
)
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
        self._firsts = [0, *accumulate(file.count for file in files)]
        self._met: set[tuple[str, tuple[str, ...]]] = set()

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
        wanted = list(numbers)
        if len(self._files) == 1 and wanted and min(wanted) >= 0 and max(wanted) < self._firsts[-1]:
            return self._files[0].ids([int(number) for number in wanted])
        places = [self._place(number) for number in wanted]
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
            raise self.no_such_id(identifier)
        return found[identifier]

    def no_such_id(self, identifier: str) -> InputError:
        """What is said of an id that no living passage has, which may be that of a document."""
        parts = len(self.of_document(identifier))
        if parts:
            return InputError(
                f"{identifier!r} is the id of a document that was cut into {parts} passages, not of a passage: "
                f"get(documents=[{identifier!r}]) gives all of them."
            )
        return InputError(f"No document of this index has the id {identifier!r}.")

    def numbers_named(self, names: Sequence[str]) -> list[int]:
        """The numbers of living passages that names stand for: a passage's id, or that of a document cut into some.

        Raises:
            InputError: a name is neither.
        """
        found, numbers = self.numbers(names), []
        for name in names:
            of_name = [found[name]] if name in found else self.of_document(name)
            if not of_name:
                raise self.no_such_id(name)
            numbers += of_name
        return numbers

    def numbers(self, identifiers: Sequence[str]) -> dict[str, int]:
        """The numbers of the living documents with some ids; ids that are not there are left out."""
        found: dict[str, int] = {}
        for start, file, live in zip(self._firsts, self._files, self._live, strict=False):
            for identifier, number in file.numbers(identifiers).items():
                if not len(live) or live[number]:
                    found[identifier] = start + number
        return found

    def of_document(self, document: str) -> list[int]:
        """The numbers of a document's living passages, in order: cut out of it, or with its id and of no document."""
        found = []
        for start, file, live in zip(self._firsts, self._files, self._live, strict=False):
            inside = [*file.of_documents([document]), *file.wholes([document]).values()]
            found += [start + number for number in inside if not len(live) or live[number]]
        return sorted(found)

    def all_ids(self) -> Iterator[str]:
        """The id of every living document, in order of number."""
        return (passage.id for _, passage in self.living())

    def living(self, *, texts: bool = False) -> Iterator[tuple[int, Passage]]:
        """Number and passage of every living document."""
        for start, file, live in zip(self._firsts, self._files, self._live, strict=False):
            for number, passage in enumerate(file.all_passages(texts=texts)):
                if not len(live) or live[number]:
                    yield start + number, passage

    def matching(self, where: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
        """(N,) which documents meet a condition on their metadata, the dead ones among them.

        Raises:
            InputError: this is no condition, or it names a field that no living passage has, or compares one with a
                kind of value that it never holds.
        """
        self.check(where)
        return self.meeting(compiled(where))

    def check(self, where: Mapping[str, Any]) -> None:
        """Refuse a condition that can't be met as it stands.

        Raises:
            InputError: as in :meth:`matching`.
        """
        condition = compiled(where)
        for demand in condition.demands:
            self._check_met(demand)
        for field, names in ids_named_in(where):
            found = bool(self.numbers(names)) or (field == "$document" and any(map(self.of_document, names)))
            if not found and len(self):
                what = "passage" if field == "$id" else "document"
                raise InputError(f"No {what} of this index has the id {names[0]!r}, which the filter's {field} names.")

    def meeting(self, condition: Condition) -> npt.NDArray[np.bool_]:
        """(N,) which documents meet a condition, the dead ones among them."""
        return np.concatenate([file.matching(condition.sql, condition.values) for file in self._files])

    def fields(self) -> list[str]:
        """The names of the metadata fields that living passages have."""
        found: set[str] = set()
        for file, live in zip(self._files, self._live, strict=True):
            if not len(live):
                found |= file.fields()
                continue
            for number, passage in enumerate(file.all_passages()):
                found |= (passage.metadata or {}).keys() if live[number] else set()
        return sorted(found)

    def check_fields(self, fields: Sequence[str]) -> None:
        """Refuse fields that no living passage has.

        Raises:
            InputError: one is none.
        """
        for field in fields:
            possible = field.isprintable() and not set(field) & set('"\\')
            if not (possible and (self.any_meets(there(field)) or not len(self))):
                raise no_such_field(field, self.fields(), "the facets name")

    def _check_met(self, demand: Demand) -> None:
        key = (demand.field, demand.kinds)
        if key in self._met or self.any_meets(there(*key)) or not len(self):
            self._met.add(key)
        elif not self.any_meets(there(demand.field)):
            raise no_such_field(demand.field, self.fields())
        else:
            held = [kind for kind in (*STORED, LISTS) if self.any_meets(there(demand.field, (kind,)))]
            raise no_such_kind(demand, held)

    def any_meets(self, condition: Condition) -> bool:
        """Whether a living passage meets a condition."""
        files = zip(self._files, self._live, strict=True)
        return any(file.any_matching(condition.sql, condition.values, live) for file, live in files)

    def _place(self, number: int) -> tuple[PassageFile, int]:
        if not 0 <= number < self._firsts[-1]:
            raise InputError(f"No document has the number {number}: there are 0 to {self._firsts[-1] - 1}.")
        segment = bisect_right(self._firsts, number) - 1
        return self._files[segment], int(number - self._firsts[segment])
