"""Adding, updating and deleting: one writer, one commit, one generation.

A batch is checked whole before anything of it counts. What a writer writes is invisible until it commits; a writer that
fails, is killed, or leaves its ``with`` by an exception, changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import IndexLockedError, StorageError
from xtrkit.forks import begun_here
from xtrkit.indexing.changing import DRIFT_LIMIT, GROWTH_LIMIT, Batch, Located, Standing, Writer, WriteSummary
from xtrkit.indexing.codec import codec_named
from xtrkit.indexing.compressed_format import Quantiser, write_quantiser
from xtrkit.indexing.creating import creator
from xtrkit.indexing.merging import LivingRows, Source, check_sources, living_passages, merge
from xtrkit.indexing.postings import train
from xtrkit.indexing.segments import RowsInMemory, write_segment
from xtrkit.indexing.sources import Sources, sources_after
from xtrkit.indexing.store import OpenedSegment, Properties, Store, open_segment
from xtrkit.passage import Passage, document_of
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.files import FileFacts
from xtrkit.storage.generations import (
    WriterLock,
    collect,
    commit,
    existing,
    new_codec_name,
    new_segment_name,
    new_tombstones_name,
    pin,
)
from xtrkit.storage.manifest import Manifest
from xtrkit.storage.shards import check_no_shard
from xtrkit.storage.tombstones import write_tombstones
from xtrkit.values import Mask, Ragged

STAGED_BYTES = 1 << 28
"""Token vectors that a writer holds in memory; beyond that it writes a segment and goes on."""

MOST_CHANGED = 0.25
"""Tokens that died in a segment or came after it, for each living one of it: beyond that a commit makes one segment of
it and all after it. Both cost searches; so there are few segments, and tokens are seldom written again."""


class IndexWriter(Writer):
    """Changes an index; use it in a ``with``, at whose end everything is committed at once."""

    def __init__(self, path: Path, reporter: Reporter = SILENT, *, base: int | None = None) -> None:
        """Take the right to change an index.

        Args:
            path: the index.
            reporter: told about the progress.
            base: for a shard of a cluster, the generation that the cluster has; later ones, of writers that died before
                the cluster was committed, are passed over. What may be removed the cluster knows.

        Raises:
            InputError: the index is a shard of a cluster, and is not changed through it.
            IndexLockedError: another writer has it.
            IndexFormatError: there is no index, or it is damaged.
            StorageError: it can't be read.
        """
        path = path.absolute()
        if base is None:
            check_no_shard(path)
            pin(path).close()  # no lock is made where there is no index
        self.path, self._reporter, self._of_cluster = path, reporter, base is not None
        self._lock = WriterLock(path)
        try:
            self._store = Store.open(path, base)
        except BaseException:
            self._lock.close()
            raise
        self._generation = existing(path)[-1] + 1
        self._segments: list[OpenedSegment] = list(self._store.segments)
        self._dead = [set(np.flatnonzero(~segment.live).tolist()) for segment in self._segments]
        self._staged: dict[str, tuple[Passage, npt.NDArray[np.float16]]] = {}
        self._staged_bytes, self._changed = 0, False
        self._new_tokens, self._new_error = 0, 0.0
        self._touched: set[str] = set()
        self._sources: Sources | None = None
        self._encoded_by: str | None = None

    def ids_of_documents(self, documents: Sequence[str]) -> dict[str, list[str]]:
        """The ids of living passages of some documents, by document: cut out of it, or with its id and of none."""
        wanted = set(documents)
        found: dict[str, list[str]] = {}
        for passage, _ in self._staged.values():
            if passage.document in wanted:
                found.setdefault(passage.document, []).append(passage.id)
        for segment, dead in zip(self._segments, self._dead, strict=True):
            for number, passage in segment.passages.of_documents(documents).items():
                if number not in dead:
                    found.setdefault(passage.document, []).append(passage.id)
            for document, number in segment.passages.wholes(documents).items():
                if number not in dead:
                    found.setdefault(document, []).append(document)
        return found

    def set_encoded_by(self, encoded_by: str) -> None:
        """Say what encodes the documents that are added; the index remembers it with the commit."""
        self._encoded_by = encoded_by

    def set_sources(self, sources: Sources) -> None:
        """Say with the commit which files the documents were read from; else those of changed documents are stale."""
        self._sources = sources

    @property
    def generation(self) -> int:
        """The generation that is changed."""
        return self._store.generation

    @property
    def staged_bytes(self) -> int:
        """Token vectors in memory."""
        return self._staged_bytes

    def seal(self) -> None:
        """Write what is in memory as a segment.

        Raises:
            StorageError: the disk refused.
        """
        if not self._staged:
            return
        passages, halves = zip(*self._staged.values(), strict=True)
        rows = RowsInMemory(Ragged.from_arrays(halves))
        facts, error = write_segment(
            self.path,
            new_segment_name(self._generation),
            rows,
            passages,
            self._store.quantiser,
            reporter=self._reporter,
        )
        self._new_tokens += rows.n_tokens
        self._new_error += error
        self._segments.append(open_segment(self.path, facts, self._store.properties, self._store.quantiser))
        self._dead.append(set())
        self._staged, self._staged_bytes = {}, 0

    def standing(self) -> Standing:
        """What the index holds, with what was sealed and without what was deleted."""
        sources = self._living()
        return Standing(
            self._properties() if self._changed else self._store.properties,
            sum(int(np.count_nonzero(source.living)) for source in sources),
            sum(_living_tokens(*source) for source in sources),
            len(sources),
        )

    @property
    def _opened(self) -> Properties:
        return self._store.properties

    def _let_go(self) -> None:
        if not self._of_cluster:
            collect(self.path)
        self._store.close()

    def _commit(self) -> WriteSummary:
        self.seal()
        if not self._changed:
            return self.standing().summary(self.generation, self.counts)
        self._drop_dead_segments()
        kept, tail = _tail(self._living())
        segments = [self._with_tombstones(source) for source in kept]
        if tail:
            segments.append(
                merge(self.path, self._generation, tail, self._store.quantiser, self._opened.dim, self._reporter)
            )
        codec, standing = self._store.pin.manifest.codec, self.standing()._replace(segments=len(segments))
        record = standing.properties.record()
        manifest = Manifest(self._generation, creator(), record, codec, tuple(segments), self._written_sources())
        commit(self.path, manifest)
        return standing.summary(self._generation, self.counts)

    def _written_sources(self) -> FileFacts | None:
        return sources_after(
            self.path, self._generation, self._store.pin.manifest.sources, self._sources, self._touched
        )

    def _located(self, names: Sequence[str]) -> Located:
        """The numbers of living documents with some ids, a set for each segment."""
        there, places = {name for name in names if name in self._staged}, []
        for segment, dead in zip(self._segments, self._dead, strict=True):
            found = segment.passages.numbers(names) if names else {}
            alive = {name: number for name, number in found.items() if number not in dead}
            places.append(set(alive.values()))
            there |= alive.keys()
        return Located(there, places)

    def _kill(self, names: Sequence[str], located: Located) -> None:
        self._changed = self._changed or bool(located.there)
        for dead, killed in zip(self._dead, located.places, strict=True):
            dead |= killed
        self._touched.update(document_of(name) for name in names)
        for name in names:
            if name in self._staged:
                self._staged_bytes -= self._staged.pop(name)[1].nbytes

    def _stage(self, batch: Batch, located: Located) -> None:
        self._kill([passage.id for passage in batch.passages], located)
        self._changed = self._changed or bool(batch.passages)
        self._touched.update(passage.document for passage in batch.passages)
        for passage, vectors in zip(batch.passages, batch.halves, strict=True):
            self._staged[passage.id] = (passage, vectors)
            self._staged_bytes += vectors.nbytes
        if self._staged_bytes > STAGED_BYTES and not self._of_cluster:
            try:
                self.seal()
            except BaseException:
                self.close()
                raise

    def _living(self) -> list[Source]:
        return [
            Source(segment, self._live(segment, dead)) for segment, dead in zip(self._segments, self._dead, strict=True)
        ]

    def _drop_dead_segments(self) -> None:
        """Leave out segments without living documents, but for one where there is no other."""
        alive = [len(dead) < segment.facts.documents for segment, dead in zip(self._segments, self._dead, strict=True)]
        if not any(alive):
            alive[-1] = True
        self._segments = [segment for segment, keep in zip(self._segments, alive, strict=True) if keep]
        self._dead = [dead for dead, keep in zip(self._dead, alive, strict=True) if keep]

    def _live(self, segment: OpenedSegment, dead: set[int]) -> Mask:
        live = np.ones(segment.facts.documents, dtype=np.bool_)
        live[list(dead)] = False
        return live

    def _with_tombstones(self, source: Source) -> Any:
        segment, live = source
        before = segment.live if len(segment.live) else np.ones_like(live)
        if np.array_equal(live, before):
            return segment.facts
        dead = np.flatnonzero(~live).astype(np.uint32)
        name = new_tombstones_name(segment.facts.name, self._generation)
        return replace(segment.facts, dead=len(dead), tombstones=write_tombstones(self.path, name, dead))

    def _properties(self) -> Properties:
        before = self._store.properties.also_by(self._encoded_by)
        if self._store.quantiser is None:
            return before
        tokens = before.added_tokens + self._new_tokens
        error = before.added_tokens * before.added_error + self._new_error
        return replace(before, added_tokens=tokens, added_error=error / max(tokens, 1))


def _living_tokens(segment: OpenedSegment, live: Mask) -> int:
    return LivingRows([Source(segment, live)], 0).n_tokens


def _tail(sources: Sequence[Source]) -> tuple[list[Source], list[Source]]:
    """Segments that stay, and those at the end that become one, if one of them has changed too much."""
    first, later = len(sources), 0
    for number in reversed(range(len(sources))):
        living = _living_tokens(*sources[number])
        if later + sources[number].segment.facts.tokens - living > MOST_CHANGED * living:
            first = number
        later += living
    return list(sources[:first]), list(sources[first:])


def compact(path: Path, *, retrain: bool | None = None, reporter: Reporter = SILENT) -> WriteSummary:
    """Make one segment of all, without the dead; the generations before it are removed once nobody reads them.

    Args:
        path: the index.
        retrain: find new centroids for a compressed index; None does so where the error has drifted beyond
            ``DRIFT_LIMIT`` or the tokens have grown beyond ``GROWTH_LIMIT``.
        reporter: told about the progress.

    Raises:
        IndexDamagedError: a file is damaged; nothing was changed.
        IndexLockedError: another writer is at work.
        StorageError: the disk refused.
    """
    check_no_shard(path)
    pin(path).close()
    process = os.getpid()
    with WriterLock(path):
        try:
            return compacted(path, retrain, reporter).summary
        finally:
            if begun_here(process):
                collect(path, keep=1)


def collect_compacted(path: Path, generation: int) -> None:
    """Remove what a compaction had to leave because its caller was reading it; where this fails, later writers do it.

    Args:
        path: the index.
        generation: the one that the compaction made; nothing is removed where there is a newer one.
    """
    with suppress(IndexLockedError, StorageError), WriterLock(path):
        if existing(path)[-1] == generation:
            collect(path, keep=1)


class Compacted(NamedTuple):
    """What a compaction made: what its caller is told, and what the index holds."""

    summary: WriteSummary
    standing: Standing


def compacted(path: Path, retrain: bool | None, reporter: Reporter, base: int | None = None) -> Compacted:
    """As :func:`compact`, for who has the right to change the index and removes what is no longer needed.

    Args:
        path: the index.
        retrain: as there.
        reporter: as there.
        base: the generation that is compacted; the newest where it is left out.
    """
    store = Store.open(path, base)
    sources = [Source(segment, segment.living) for segment in store.segments]
    documents = sum(int(np.count_nonzero(source.living)) for source in sources)
    properties, codec, generation = store.properties, store.pin.manifest.codec, store.generation
    standing = Standing(properties, documents, LivingRows(sources, properties.dim).n_tokens, 1)
    if retrain is None:
        retrain = standing.drift > DRIFT_LIMIT or standing.growth > GROWTH_LIMIT
    retrain = retrain and store.quantiser is not None and standing.tokens > 0
    if len(sources) > 1 or not sources[0].living.all() or retrain:
        generation = existing(path)[-1] + 1
        if retrain:
            properties, codec, segment = _retrain(path, generation, sources, properties, reporter)
        else:
            segment = merge(path, generation, sources, store.quantiser, properties.dim, reporter)
        commit(
            path,
            Manifest(generation, creator(), properties.record(), codec, (segment,), store.pin.manifest.sources),
        )
    store.close()
    standing = standing._replace(properties=properties)
    return Compacted(standing.summary(generation, retrained=bool(retrain)), standing)


def _retrain(
    path: Path, generation: int, sources: Sequence[Source], properties: Properties, reporter: Reporter
) -> tuple[Properties, FileFacts, Any]:
    check_sources(sources)
    rows = LivingRows(sources, properties.dim)
    quantiser: Quantiser
    codec = codec_named(str(properties.codec), properties.bits)
    quantiser, assigned = train(rows, codec, code_dim=properties.code_dim, reporter=reporter)
    file = write_quantiser(path, new_codec_name(generation), quantiser)
    segment, error = write_segment(
        path,
        new_segment_name(generation),
        rows,
        living_passages(sources),
        quantiser,
        assigned=assigned,
        reporter=reporter,
    )
    tokens = rows.n_tokens
    trained = replace(properties, trained_tokens=tokens, trained_error=error / tokens, added_tokens=0, added_error=0.0)
    return trained, file, segment
