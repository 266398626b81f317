"""Ids, texts, metadata and words that lie with the shards, numbered through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.cluster.engine import Shards, owned
from xtrkit.cluster.messages import HostFacts
from xtrkit.errors import InputError
from xtrkit.indexing.filters import Condition
from xtrkit.indexing.passages import Passages
from xtrkit.passage import Passage
from xtrkit.values import offsets_of

AT_A_TIME = 4096
"""Passages that are fetched at a time where all are gone through."""


class ShardedPassages(Passages):
    """The passages of all shards, as if they were one index's."""

    def __init__(self, shards: Shards, facts: Sequence[HostFacts]) -> None:
        super().__init__([], [])
        self._shards, self._living_documents = shards, sum(one.living for one in facts)
        self._firsts = offsets_of(np.array([one.shard.documents for one in facts], dtype=np.int64)).tolist()

    def over(self, shards: Shards) -> ShardedPassages:
        """The same, asked of other processes that have the same shards."""
        passages = copy(self)
        passages._shards = shards
        return passages

    def __len__(self) -> int:
        """Living documents."""
        return self._living_documents

    def close(self) -> None:
        """The shards close their files."""

    def ids(self, numbers: Iterable[int]) -> list[str]:
        """The ids of some documents, in the order asked for."""
        found: list[str] = self._routed("ids", numbers)
        return found

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        """Some documents with texts and metadata, in the order asked for."""
        found: list[Passage] = self._routed("passages", numbers)
        return found

    def numbers(self, identifiers: Sequence[str]) -> dict[str, int]:
        """The numbers of the living documents with some ids; ids that are not there are left out."""
        found: dict[str, int] = {}
        for first, of_shard in zip(self._firsts, self._ask("numbers", list(identifiers)), strict=False):
            found |= {identifier: first + number for identifier, number in of_shard.items()}
        return found

    def of_document(self, document: str) -> list[int]:
        """The numbers of a document's living passages, in order."""
        parts = zip(self._firsts, self._ask("of_document", document), strict=False)
        return [first + number for first, of_shard in parts for number in of_shard]

    def living(self, *, texts: bool = False) -> Iterator[tuple[int, Passage]]:
        """Number and passage of every living document."""
        for shard, (first, last) in enumerate(pairwise(self._firsts)):
            for begin in range(0, last - first, AT_A_TIME):
                end = min(begin + AT_A_TIME, last - first)
                for number, passage in self._shards.ask_those("living", {shard: (begin, end, texts)})[shard]:
                    yield first + number, passage

    def fields(self) -> list[str]:
        """The names of the metadata fields that living passages have."""
        return sorted({name for of_shard in self._ask("fields") for name in of_shard})

    def any_meets(self, condition: Condition) -> bool:
        """Whether a living passage meets a condition."""
        return any(self._ask("any_meets", condition))

    def meeting(self, condition: Condition) -> npt.NDArray[np.bool_]:
        """It is the shards that look (:meth:`xtrkit.cluster.host.ShardHost.allow`)."""
        raise NotImplementedError

    def _ask(self, method: str, *arguments: object) -> list[Any]:
        return self._shards.ask(method, [arguments] * (len(self._firsts) - 1))

    def _routed(self, method: str, numbers: Iterable[int]) -> list[Any]:
        """Something of each of some documents, in their order."""
        wanted = np.array(list(numbers), dtype=np.int64)
        for number in wanted.tolist():
            if not 0 <= number < self._firsts[-1]:
                raise InputError(f"No document has the number {number}: there are 0 to {self._firsts[-1] - 1}.")
        places = dict(owned(wanted, self._firsts))
        asks = {shard: ((wanted[here] - self._firsts[shard]).tolist(),) for shard, here in places.items()}
        found: dict[int, Any] = {}
        for shard, answers in self._shards.ask_those(method, asks).items():
            found |= dict(zip(places[shard].tolist(), answers, strict=True))
        return [found[place] for place in range(len(wanted))]
