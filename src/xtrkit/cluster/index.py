"""A cluster's index: what :class:`xtrkit.Index` is to one directory, asked of shards that run elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from xtrkit.cluster.engine import ShardedEngine, Shards
from xtrkit.cluster.messages import Held, HostFacts
from xtrkit.cluster.passages import ShardedPassages
from xtrkit.cluster.shard import LostLookError
from xtrkit.errors import InputError
from xtrkit.index import Index, Where
from xtrkit.indexing.filters import compiled
from xtrkit.indexing.merging import LivingRows
from xtrkit.indexing.store import Properties, opened_quantiser
from xtrkit.lexical.bm25 import Totals, weights_of
from xtrkit.lexical.terms import terms
from xtrkit.scoring.ranking import best_first
from xtrkit.search.engine import Found, Ranked
from xtrkit.search.scaling import AnyScale
from xtrkit.storage.shards import ClusterPin
from xtrkit.subsets import Subset, mask_of
from xtrkit.values import Mask

T = TypeVar("T")

TRIES = 10
"""How often a search is begun that meets shards that were started again meanwhile."""


@dataclass(frozen=True, eq=False)
class RemoteStore:
    """What a coordinator holds of an index: no token, no text.

    Attributes:
        path: the cluster's directory.
        pin: keeps its generation on disk.
        properties: what holds for all shards.
        passages: ids, texts and metadata, asked of the shards.
    """

    path: Path
    pin: ClusterPin
    properties: Properties
    passages: ShardedPassages

    @property
    def generation(self) -> int:
        """Which generation of the cluster it is."""
        return self.pin.manifest.generation

    @property
    def size(self) -> int:
        """Bytes that it takes on disk."""
        return self.pin.size

    def close(self) -> None:
        """Let the generation go."""
        self.pin.close()


class ClusterIndex(Index):
    """Searched as an index is, with the same ranking and the same scores; it is not changed in place."""

    def __init__(self, path: Path, shards: Shards, facts: Sequence[HostFacts]) -> None:
        """Put shards together.

        Args:
            path: the cluster's directory.
            shards: its shards, each of which holds a :class:`~xtrkit.cluster.host.ShardHost`.
            facts: what each of them says of itself.

        Raises:
            IndexDamagedError: the directory is not what was written.
        """
        pin = ClusterPin(path)
        properties = Properties.of(pin.manifest, path)
        quantiser = opened_quantiser(pin.directories()[0], pin.manifest, properties)
        if quantiser is None:
            raise InputError(f"{path} keeps exact vectors, which are searched in one process: leave out the address.")
        self._shards, self._facts, self._quantiser = shards, tuple(facts), quantiser
        self._sharded = ShardedEngine(quantiser, shards, [one.shard for one in facts])
        store: Any = RemoteStore(path, pin, properties, ShardedPassages(shards, facts))
        self._view = (store, AnyScale(self._sharded))
        self._device = None

    def refresh(self) -> bool:
        """A cluster's generation stays as it is; open the cluster again."""
        return False

    def cpu_seconds(self) -> float:
        """What this process and those of the shards have computed so far; asking for it is part of it."""
        seconds: list[float] = self._shards.ask("cpu_seconds", [()] * len(self._facts))
        return super().cpu_seconds() + sum(seconds)

    @property
    def n_segments(self) -> int:
        """Number of shards."""
        return len(self._facts)

    @property
    def n_clusters(self) -> int:
        """Number of clusters, C."""
        return self._quantiser.n_clusters

    @property
    def has_words(self) -> bool:
        """Whether it has texts, and so words, to search."""
        return any(one.has_words for one in self._facts)

    def living_rows(self) -> LivingRows:
        """The vectors are with the shards.

        Raises:
            InputError: always.
        """
        raise InputError("Vectors of a cluster are exported in one process: open its directory without an address.")

    def _found(self, *arguments: Any, **named: Any) -> Iterator[Found]:
        search = super()._found
        return iter(_begun_again(lambda: list(search(*arguments, **named))))

    def _mask(self, subset: Subset | None, where: Where | None) -> Any:
        """A filter that the shards keep; None where all may be found."""
        if subset is None and where is None:
            return None
        passages: ShardedPassages = self._store.passages  # type: ignore[assignment]
        mask: Mask | None = None
        if subset is not None:
            mask = mask_of(subset, len(self.document_offsets) - 1, passages.numbers_named)
        if where is None:
            return self._sharded.allow(mask)
        passages.check(where)
        return self._sharded.allow(mask, compiled(where))

    def _words_found(self, query: str, k: int, subset: Subset | None, where: Where | None) -> Ranked:
        """As :meth:`search_words`, as document numbers; words are weighed by the documents of all shards."""
        return _begun_again(lambda: self._words_once(query, k, subset, where))

    def _words_once(self, query: str, k: int, subset: Subset | None, where: Where | None) -> Ranked:
        if not self.has_words:
            raise InputError("This index has no texts, so there are no words to look for: search without fusion.")
        held: Held | None = self._mask(subset, where)
        times = Counter(terms(query))
        asked = [(list(times),)] * len(self._facts)
        having = np.sum([np.zeros(len(times), np.int64), *self._shards.ask("having", asked)], axis=0).tolist()
        totals = Totals(*(sum(one) for one in zip(*(facts.totals for facts in self._facts), strict=True)))
        message = (weights_of(times, having, totals), totals.mean, k, held and held.name)
        parts: list[Ranked] = self._shards.ask("words", [message] * len(self._facts))
        documents = [part.documents + first for part, first in zip(parts, self._sharded.first_documents, strict=False)]
        return Ranked(*best_first(np.concatenate(documents), np.concatenate([part.scores for part in parts]), k))


def _begun_again(search: Callable[[], T]) -> T:
    """What a search finds; one that met a shard that died, and with it what the shard had kept, begins again."""
    for _ in range(TRIES - 1):
        try:
            return search()
        except LostLookError:
            continue
    return search()
