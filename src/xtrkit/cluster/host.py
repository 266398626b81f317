"""What a shard's process holds: its index, opened, for token vectors, words, ids, texts and metadata."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xtrkit.cluster.exact_shard import ExactShard
from xtrkit.cluster.messages import Allow, HostFacts
from xtrkit.cluster.shard import AnyShard, Shard
from xtrkit.indexing.filters import Condition
from xtrkit.indexing.store import Store
from xtrkit.passage import Passage
from xtrkit.scoring.ranking import best_first
from xtrkit.search.engine import Ranked
from xtrkit.storage.shards import ShardFacts, check_same


class ShardHost:
    """One generation of a shard's index; what is asked of its token vectors, its shard answers, compressed or exact."""

    def __init__(self, path: Path, shard: ShardFacts, before: ShardHost | None = None) -> None:
        """Open it.

        Args:
            path: the shard's directory.
            shard: what the cluster manifest says of it.
            before: an opened generation of it, whose segments need not be opened again.

        Raises:
            IndexFormatError: it is missing, or damaged, or another than the cluster's.
        """
        self._store: Store = Store.open(path, shard.generation, None if before is None else before._store)
        check_same(path, shard)
        kind = ExactShard if self._store.quantiser is None else Shard
        self._shard: AnyShard = kind(self._store.corpus())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)

    def ready(self) -> bool:
        """Whether it answers."""
        return True

    def cpu_seconds(self) -> float:
        """What its process has computed so far."""
        return time.process_time()

    def describe(self) -> HostFacts:
        """What a coordinator must know."""
        store = self._store
        has_words = any(segment.words for segment in store.segments)
        if has_words:
            store.words.check()
        return HostFacts(self._shard.facts(), len(store.passages), has_words, store.words.totals)

    def allow(self, ask: Allow) -> int:
        """Keep a filter, with what of its condition is met here; tell how many documents it lets through."""
        mask = ask.mask
        if ask.condition is not None:
            meeting = self._store.passages.meeting(Condition(*ask.condition))
            mask = meeting if mask is None else mask & meeting
        return self._shard.allow(ask._replace(mask=mask))

    def words(self, weights: Mapping[str, np.float32], mean: float, k: int, allowed: str | None) -> Ranked:
        """The k best documents by weighted terms."""
        scores, mask = self._store.words.weighted(weights, mean), self._shard.allowed(allowed)
        having = scores > 0
        documents = np.flatnonzero(having & mask if len(mask) else having)
        return Ranked(*best_first(documents, scores[documents].astype(np.float64), k))

    def having(self, terms: Sequence[str]) -> list[int]:
        """How many living documents have each of some terms."""
        return self._store.words.having(terms)

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """The ids of some documents."""
        return self._store.passages.ids(numbers)

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        """Some documents with texts and metadata."""
        return self._store.passages.passages(numbers)

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """The numbers of the living documents with some ids; ids that are not there are left out."""
        return self._store.passages.numbers(ids)

    def of_document(self, document: str) -> list[int]:
        """The numbers of a document's living passages."""
        return self._store.passages.of_document(document)

    def fields(self) -> list[str]:
        """The names of the metadata fields that living passages have."""
        return self._store.passages.fields()

    def any_meets(self, condition: Condition) -> bool:
        """Whether a living passage meets a condition."""
        return self._store.passages.any_meets(Condition(*condition))

    def living(self, first: int, last: int, texts: bool) -> list[tuple[int, Passage]]:
        """Numbers and passages of the living documents among some numbers."""
        numbers = [number for number in range(first, last) if self._shard.findable[number]]
        found = zip(numbers, self._store.passages.passages(numbers), strict=True)
        return [(number, passage if texts else passage._replace(text=None)) for number, passage in found]

    def close(self) -> None:
        """Close the files."""
        self._store.close()
