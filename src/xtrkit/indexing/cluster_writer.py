"""Changing a cluster: each document goes to one shard, and all shards' new generations become one of the cluster.

A document whose id is there already stays in its shard, so that ids are unique over the cluster; others go to the shard
with the fewest tokens. Shards commit first, the cluster after them: who dies in between has changed nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from xtrkit.errors import IndexLockedError, InputError, StorageError
from xtrkit.forks import begun_here
from xtrkit.indexing.changing import Batch, Located, Standing, Writer, WriteSummary
from xtrkit.indexing.creating import creator
from xtrkit.indexing.sources import Sources, sources_after
from xtrkit.indexing.store import Properties
from xtrkit.indexing.writer import STAGED_BYTES, IndexWriter, collect_compacted, compact, compacted
from xtrkit.passage import document_of
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.generations import WriterLock
from xtrkit.storage.shards import (
    ClusterManifest,
    ClusterPin,
    ShardFacts,
    cluster_generations,
    collect_cluster,
    facts_of,
    is_cluster,
    write_cluster,
)


class ClusterWriter(Writer):
    """Changes a cluster; use it in a ``with``, at whose end everything is committed at once."""

    def __init__(self, path: Path, reporter: Reporter = SILENT) -> None:
        """Take the right to change a cluster.

        Raises:
            IndexLockedError: another writer has it.
            IndexFormatError: there is no cluster, or it is damaged.
            StorageError: it can't be read.
        """
        self.path = path.absolute()
        ClusterPin(self.path).close()  # no lock is made where there is no cluster
        self._lock = WriterLock(self.path)
        self._writers: list[IndexWriter] = []
        try:
            self._pin = ClusterPin(self.path)
        except BaseException:
            self._lock.close()
            raise
        try:
            for shard in self._pin.cluster.shards:
                self._writers.append(IndexWriter(self.path / shard.name, reporter, base=shard.generation))
        except BaseException:
            for writer in self._writers:
                writer.close()
            self._pin.close()
            self._lock.close()
            raise
        self._tokens = [writer.standing().tokens for writer in self._writers]
        self._touched: set[str] = set()
        self._sources: Sources | None = None

    def ids_of_documents(self, documents: Sequence[str]) -> dict[str, list[str]]:
        """The ids of living passages of some documents, by document: cut out of it, or with its id and of none."""
        found: dict[str, list[str]] = {}
        for writer in self._writers:
            for document, ids in writer.ids_of_documents(documents).items():
                found.setdefault(document, []).extend(ids)
        return found

    def set_encoded_by(self, encoded_by: str) -> None:
        """Say what encodes the documents that are added; the shards that get some remember it with the commit."""
        for writer in self._writers:
            writer.set_encoded_by(encoded_by)

    def set_sources(self, sources: Sources) -> None:
        """Say with the commit which files the documents were read from; else those of changed documents are stale."""
        self._sources = sources

    @property
    def _opened(self) -> Properties:
        return self._writers[0]._opened

    def _located(self, names: Sequence[str]) -> Located:
        """What each shard has."""
        places = [writer._located(names) for writer in self._writers]
        return Located({name for of_shard in places for name in of_shard.there}, places)

    def _kill(self, names: Sequence[str], located: Located) -> None:
        self._touched.update(document_of(name) for name in names)
        for writer, of_shard in zip(self._writers, located.places, strict=True):
            writer._kill([name for name in names if name in of_shard.there], of_shard)

    def _stage(self, batch: Batch, located: Located) -> None:
        self._touched.update(passage.document for passage in batch.passages)
        owners = self._owners(batch, located)
        for shard, (writer, of_shard) in enumerate(zip(self._writers, located.places, strict=True)):
            taken = [(passage, vectors) for passage, vectors in zip(*batch, strict=True) if owners[passage.id] == shard]
            if taken:
                writer._stage(Batch(*(list(column) for column in zip(*taken, strict=True))), of_shard)
        if sum(writer.staged_bytes for writer in self._writers) > STAGED_BYTES:
            try:
                for writer in self._writers:
                    writer.seal()
            except BaseException:
                self.close()
                raise

    def _owners(self, batch: Batch, located: Located) -> dict[str, int]:
        """{id: shard}: where it is already, or where the fewest tokens are; new passages of a document lie together."""
        owners = {name: shard for shard, of_shard in enumerate(located.places) for name in of_shard.there}
        documents: dict[str, int] = {}
        for passage, vectors in zip(*batch, strict=True):
            if passage.id not in owners:
                smallest = min(range(len(self._tokens)), key=self._tokens.__getitem__)
                owners[passage.id] = documents.setdefault(passage.document, smallest)
            self._tokens[owners[passage.id]] += len(vectors)
        return owners

    def _commit(self) -> WriteSummary:
        before = self._pin.cluster
        standings, shards = [], tuple[ShardFacts, ...]()
        for shard, writer in zip(before.shards, self._writers, strict=True):
            writer.seal()
            standing = writer.standing()
            done = writer.commit()
            standings.append(standing._replace(segments=done.segments))
            same = done.generation == shard.generation
            shards += (shard if same else facts_of(self.path, shard.name, done.generation),)
        standing = together(standings)
        if shards == before.shards:
            return standing.summary(before.generation, self.counts)
        generation = cluster_generations(self.path)[-1] + 1
        sources = sources_after(self.path, generation, before.sources, self._sources, self._touched)
        write_cluster(self.path, ClusterManifest(generation, creator(), before.codec, shards, sources))
        return standing.summary(generation, self.counts)

    def _let_go(self) -> None:
        for writer in self._writers:
            writer.close()
        self._pin.close()
        collect_cluster(self.path)


def writer_of(path: Path, reporter: Reporter = SILENT) -> Writer:
    """What changes an index, be it one directory or a cluster.

    Raises:
        InputError: it is a shard of a cluster.
        IndexLockedError: another writer is at work.
        IndexFormatError: there is no index, or it is damaged.
    """
    return ClusterWriter(path, reporter) if is_cluster(path) else IndexWriter(path, reporter)


def together(standings: Sequence[Standing]) -> Standing:
    """What shards hold, as one index."""
    return Standing(
        Properties.together([one.properties for one in standings]),
        sum(one.documents for one in standings),
        sum(one.tokens for one in standings),
        sum(one.segments for one in standings),
    )


def compact_any(path: Path, *, retrain: bool | None = None, reporter: Reporter = SILENT) -> WriteSummary:
    """Make one segment of all of an index, or of each shard of a cluster, without the dead.

    Args:
        path: the index.
        retrain: as in :func:`xtrkit.indexing.writer.compact`; the centroids of a cluster stay, since its shards share
            them.
        reporter: told about the progress.

    Raises:
        InputError: new centroids are wanted for a cluster.
        IndexDamagedError: a file is damaged; nothing was changed.
        IndexLockedError: another writer is at work.
        StorageError: the disk refused.
    """
    if not is_cluster(path):
        return compact(path, retrain=retrain, reporter=reporter)
    if retrain:
        raise InputError(
            "The shards of a cluster share their centroids, which stay as they are: build it anew for new ones (xtrkit "
            "cluster build)."
        )
    found: list[Standing] = []

    def change(shards: Sequence[ShardFacts]) -> list[ShardFacts]:
        changed = []
        for shard in shards:
            done = compacted(path / shard.name, False, reporter, shard.generation)
            found.append(done.standing)
            same = done.summary.generation == shard.generation
            changed.append(shard if same else facts_of(path, shard.name, done.summary.generation))
        return changed

    generation = change_shards(path, change, keep=1)
    return together(found).summary(generation)


def collect_compacted_any(path: Path, generation: int) -> None:
    """As :func:`xtrkit.indexing.writer.collect_compacted`, of a cluster, too."""
    if not is_cluster(path):
        collect_compacted(path, generation)
        return
    with suppress(IndexLockedError, StorageError), WriterLock(path):
        if cluster_generations(path)[-1] == generation:
            collect_cluster(path, keep=1)


def change_shards(path: Path, change: Callable[[Sequence[ShardFacts]], Sequence[ShardFacts]], *, keep: int) -> int:
    """Make a generation of a cluster with other shards, or other generations of them, but the same documents.

    Args:
        path: the cluster.
        change: gives the new shards, of the old ones; where they are the same, there is no new generation.
        keep: how many of the newest generations stay on disk.

    Returns:
        the generation.

    Raises:
        IndexLockedError: a writer is at work.
        StorageError: the disk refused.
    """
    path = path.absolute()
    ClusterPin(path).close()
    process = os.getpid()
    with WriterLock(path):
        pinned = ClusterPin(path)
        try:
            before = pinned.cluster
            shards = tuple(change(before.shards))
            if shards == before.shards:
                return before.generation
            generation = cluster_generations(path)[-1] + 1
            write_cluster(path, before._replace(generation=generation, created_by=creator(), shards=shards))
            return generation
        finally:
            pinned.close()
            if begun_here(process):
                collect_cluster(path, keep)
