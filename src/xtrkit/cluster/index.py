"""A cluster's index: what :class:`xtrkit.Index` is to one directory, asked of shards that run elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from xtrkit.cluster.engine import ShardedEngine, Shards
from xtrkit.cluster.exact_engine import ExactShardedEngine
from xtrkit.cluster.messages import Held, HostFacts
from xtrkit.cluster.passages import ShardedPassages
from xtrkit.cluster.places import Place
from xtrkit.cluster.shard import LostLookError
from xtrkit.errors import InputError
from xtrkit.index import Index, Where
from xtrkit.indexing.changing import Writer, WriteSummary
from xtrkit.indexing.compressed_format import Quantiser
from xtrkit.indexing.filters import compiled
from xtrkit.indexing.index_checking import Report
from xtrkit.indexing.merging import LivingRows
from xtrkit.indexing.store import Properties, opened_quantiser, properties_of
from xtrkit.lexical.bm25 import Totals, weights_of
from xtrkit.lexical.terms import terms
from xtrkit.scoring.ranking import best_first
from xtrkit.search.engine import Found, Ranked
from xtrkit.search.scaling import AnyScale
from xtrkit.storage.shards import ClusterManifest, ClusterPin
from xtrkit.storage.transport.remote_cluster import RemotePin
from xtrkit.subsets import Subset, mask_of
from xtrkit.values import Mask

T = TypeVar("T")
OpenShards = Callable[[ClusterManifest], Shards]

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
        quantiser: what the shards share; None where they are exact.
        shards: the shards.
        facts: what each of them says of itself.
        engine: searches them.
    """

    path: Path
    pin: ClusterPin | RemotePin
    properties: Properties
    passages: ShardedPassages
    quantiser: Quantiser | None
    shards: Shards
    facts: tuple[HostFacts, ...]
    engine: ShardedEngine | ExactShardedEngine

    @classmethod
    def open(cls, place: Place, opened: OpenShards) -> RemoteStore:
        """The newest generation.

        Raises:
            IndexFormatError: it is damaged.
        """
        pin = place.pin()
        try:
            properties = properties_of(pin)
            quantiser = opened_quantiser(pin.directories()[0], pin.manifest, properties)
            shards = opened(pin.cluster)
            facts = tuple(shards.ask("describe", [()] * len(pin.cluster.shards)))
        except BaseException:
            pin.close()
            raise
        of_shards = [one.shard for one in facts]
        engine = (
            ExactShardedEngine(properties.dim, shards, of_shards)
            if quantiser is None
            else ShardedEngine(quantiser, shards, of_shards)
        )
        return cls(place.path, pin, properties, ShardedPassages(shards, facts), quantiser, shards, facts, engine)

    def over(self, shards: Shards) -> RemoteStore:
        """The same, asking other processes that have the same shards."""
        passages, engine = self.passages.over(shards), self.engine.over(shards)
        return replace(self, passages=passages, shards=shards, engine=engine)

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
    """Searched as an index is, with the same ranking and the same scores."""

    def __init__(self, place: Place, opened: OpenShards) -> None:
        """Open the newest generation of a cluster.

        Args:
            place: where the cluster lies.
            opened: opens a generation of its shards, each as a :class:`~xtrkit.cluster.host.ShardHost`.

        Raises:
            IndexDamagedError: the directory is not what was written.
        """
        self._place, self._opened = place, opened
        self._view = _view(RemoteStore.open(place, opened))
        self._device = None

    def refresh(self) -> bool:
        """Move to the newest generation once all shards have opened it; return whether there was a newer one.

        Searches at work end with the old one: each is answered by one generation.

        Raises:
            IndexFormatError: it is damaged; this index stays at its generation then.
            XtrkitError: a shard can't be asked; as above.
        """
        if self._place.newest() <= self.generation:
            return False
        self._view = _view(RemoteStore.open(self._place, self._opened))
        return True

    def writer(self, *, progress: bool = False) -> Writer:
        """Change the cluster, in the directory where it lies."""
        self._place.check_here()
        return super().writer(progress=progress)

    def compact(self, *, retrain: bool | None = None, progress: bool = False) -> WriteSummary:
        """Make one segment of each shard, without what was deleted, and move to it."""
        self._place.check_here()
        return super().compact(retrain=retrain, progress=progress)

    def verify(self, *, full: bool = False) -> Report:
        """Look whether the newest generation is what was written."""
        self._place.check_here()
        return super().verify(full=full)

    def backup(self, target: str | Path) -> int:
        """Copy this generation into a new directory."""
        self._place.check_here()
        return super().backup(target)

    def snapshot(self) -> Self:
        """This index at its present generation, asked of the same process of each shard."""
        index = super().snapshot()
        shards = self._remote.shards.chosen()
        if shards is not self._remote.shards:
            index._view = _view(self._remote.over(shards))
        return index

    def __reduce__(self) -> tuple[Any, ...]:
        """Not to be pickled.

        Raises:
            InputError: always.
        """
        raise InputError("A cluster on Ray can't be sent to another process: open it there, at the same address.")

    @property
    def _remote(self) -> RemoteStore:
        store: Any = self._view[0]
        return store  # type: ignore[no-any-return]

    def cpu_seconds(self) -> float:
        """What this process and those of the shards have computed so far; asking for it is part of it."""
        remote = self._remote
        seconds: list[float] = remote.shards.ask("cpu_seconds", [()] * len(remote.facts))
        return super().cpu_seconds() + sum(seconds)

    @property
    def n_segments(self) -> int:
        """Number of shards."""
        return len(self._remote.facts)

    @property
    def n_clusters(self) -> int:
        """Number of clusters, C; 1 for exact shards."""
        quantiser = self._remote.quantiser
        return 1 if quantiser is None else quantiser.n_clusters

    @property
    def has_words(self) -> bool:
        """Whether it has texts, and so words, to search."""
        return any(one.has_words for one in self._remote.facts)

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
        passages, engine = self._remote.passages, self._remote.engine
        mask: Mask | None = None
        if subset is not None:
            mask = mask_of(subset, len(self.document_offsets) - 1, passages.numbers_named)
        if where is None:
            return engine.allow(mask)
        passages.check(where)
        return engine.allow(mask, compiled(where))

    def _words_found(self, query: str, k: int, subset: Subset | None, where: Where | None) -> Ranked:
        """As :meth:`search_words`, as document numbers; words are weighed by the documents of all shards."""
        return _begun_again(lambda: self._words_once(query, k, subset, where))

    def _words_once(self, query: str, k: int, subset: Subset | None, where: Where | None) -> Ranked:
        if not self.has_words:
            raise InputError("This index has no texts, so there are no words to look for: search without fusion.")
        held: Held | None = self._mask(subset, where)
        shards, all_facts, times = self._remote.shards, self._remote.facts, Counter(terms(query))
        asked = [(list(times),)] * len(all_facts)
        having = np.sum([np.zeros(len(times), np.int64), *shards.ask("having", asked)], axis=0).tolist()
        totals = Totals(*(sum(one) for one in zip(*(facts.totals for facts in all_facts), strict=True)))
        message = (weights_of(times, having, totals), totals.mean, k, held and held.name)
        parts: list[Ranked] = shards.ask("words", [message] * len(all_facts))
        firsts = self._remote.engine.first_documents
        documents = [part.documents + first for part, first in zip(parts, firsts, strict=False)]
        return Ranked(*best_first(np.concatenate(documents), np.concatenate([part.scores for part in parts]), k))


def _view(store: RemoteStore) -> Any:
    """What an index holds: what is stored, and what searches it."""
    return store, AnyScale(store.engine)


def _begun_again(search: Callable[[], T]) -> T:
    """What a search finds; one that met a shard that died, and with it what the shard had kept, begins again."""
    for _ in range(TRIES - 1):
        try:
            return search()
        except LostLookError:
            continue
    return search()
