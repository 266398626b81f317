"""Adding, updating and deleting: one writer, one commit, one generation.

A batch is checked whole before anything of it counts. What a writer writes is invisible until it commits; a writer that
fails, is killed, or leaves its ``with`` by an exception, changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import IndexLockedError, InputError, StorageError
from xtrkit.forks import begun_here
from xtrkit.indexing.codec import codec_named
from xtrkit.indexing.compressed_format import Quantiser, write_quantiser
from xtrkit.indexing.creating import creator
from xtrkit.indexing.documents import Incoming, checked_documents
from xtrkit.indexing.merging import LivingRows, Source, check_sources, living_passages, merge
from xtrkit.indexing.postings import train
from xtrkit.indexing.segments import RowsInMemory, write_segment
from xtrkit.indexing.sources import Sources, read_sources, stale, write_sources
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
from xtrkit.storage.tombstones import write_tombstones
from xtrkit.values import FloatArray, Mask, Ragged

STAGED_BYTES = 1 << 28
"""Token vectors that a writer holds in memory; beyond that it writes a segment and goes on."""

MOST_CHANGED = 0.25
"""Tokens that died in a segment or came after it, for each living one of it: beyond that a commit makes one segment of
it and all after it. Both cost searches; so there are few segments, and tokens are seldom written again."""

DRIFT_LIMIT = 1.25
"""Mean energy of residuals of added tokens over that of the tokens that centroids were made for; see ``compact``."""

GROWTH_LIMIT = 2.0
"""Living tokens over the tokens that centroids were made for; see ``compact``."""


@dataclass(frozen=True)
class WriteSummary:
    """What a commit did.

    Attributes:
        generation: the generation that it made.
        added: documents with new ids.
        updated: documents that replaced one of the same id.
        deleted: documents that were deleted.
        documents: living documents now.
        segments: segments now.
        drift: mean energy of the residuals of tokens added since centroids were found, over that of the tokens that
            they were found for; 1 where nothing was added, and for an exact index.
        growth: living tokens over those that centroids were found for; 1 for an exact index.
        retrained: whether new centroids were found.
    """

    generation: int
    added: int
    updated: int
    deleted: int
    documents: int
    segments: int
    drift: float
    growth: float
    retrained: bool = False

    @property
    def advice(self) -> str | None:
        """What to do about centroids that no longer fit; None where they do."""
        if self.drift <= DRIFT_LIMIT and self.growth <= GROWTH_LIMIT:
            return None
        return (
            f"The centroids fit the added tokens less well than those they were found for (error ×{self.drift:.2f}, "
            f"tokens ×{self.growth:.1f}): `xtrkit compact INDEX` finds new ones."
        )

    def as_json(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**vars(self), "advice": self.advice}


class Counts(NamedTuple):
    """What a writer has done so far, as :class:`WriteSummary` counts it."""

    added: int
    updated: int
    deleted: int


class IndexWriter:
    """Changes an index; use it in a ``with``, at whose end everything is committed at once.

    Attributes:
        summary: what the commit did; None before.
    """

    summary: WriteSummary | None = None

    def __init__(self, path: Path, reporter: Reporter = SILENT) -> None:
        """Take the right to change an index.

        Raises:
            IndexLockedError: another writer has it.
            IndexFormatError: there is no index, or it is damaged.
            StorageError: it can't be read.
        """
        path = path.absolute()
        pin(path).close()  # no lock is made where there is no index
        self._path, self._reporter = path, reporter
        self._lock: WriterLock | None = WriterLock(path)
        try:
            self._store = Store.open(path)
        except BaseException:
            self._lock.close()
            raise
        self._generation = self._store.generation + 1
        self._segments: list[OpenedSegment] = list(self._store.segments)
        self._dead = [set(np.flatnonzero(~segment.live).tolist()) for segment in self._segments]
        self._staged: dict[str, tuple[Passage, npt.NDArray[np.float16]]] = {}
        self._staged_bytes = self._added = self._updated = self._deleted = 0
        self._new_tokens, self._new_error = 0, 0.0
        self._touched: set[str] = set()
        self._sources: Sources | None = None

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None and self._lock and self._lock.held:
            self.commit()
        self.close()

    def close(self) -> None:
        """Give up what was not committed; in a forked child that is still the parent's, and nothing happens."""
        if self._lock and self._lock.held:
            collect(self._path)
            self._store.close()
            self._lock.close()
            self._lock = None

    def add(self, passages: Iterable[str | Passage], embeddings: Iterable[FloatArray] | Ragged) -> None:
        """Add documents; one with an id that is there already takes its place.

        Args:
            passages: the documents' passages, ids unique; of a document that has no more than an id, the id.
            embeddings: (m, d) token vectors of each.

        Raises:
            InputError: something can't be used; nothing of the batch was taken then.
            StorageError: the disk refused; the writer can't go on then.
        """
        self._take(passages, embeddings, must_exist=False)

    def update(self, passages: Iterable[str | Passage], embeddings: Iterable[FloatArray] | Ragged) -> None:
        """As :meth:`add`, but every id must be there.

        Raises:
            InputError: one isn't, or something can't be used; nothing of the batch was taken then.
        """
        self._take(passages, embeddings, must_exist=True)

    def delete(self, ids: Iterable[str] = (), *, documents: Iterable[str] = (), missing_ok: bool = False) -> None:
        """Delete passages.

        Args:
            ids: ids of passages; one that no passage has may be that of a document that was cut into passages: it
                stands for all of them.
            documents: ids of documents: the passages that were cut out of them, however many, and the passages with
                these ids that were cut out of none.
            missing_ok: pass over ids that are not there.

        Raises:
            InputError: an id or a document isn't there (unless ``missing_ok``); nothing was deleted then.
        """
        self._check_open()
        names, wholes = list(dict.fromkeys(checked_ids(ids))), list(dict.fromkeys(checked_ids(documents)))
        _, there = self._places(names)
        found = self.ids_of_documents([*wholes, *(name for name in names if name not in there)])
        if not missing_ok:
            self._check_there(names, there | found.keys())
            for document in wholes:
                if document not in found:
                    raise InputError(f"No passage of this index belongs to a document {document!r}.")
        names = list(dict.fromkeys([*names, *(name for of_one in found.values() for name in of_one)]))
        places, there = self._places(names)
        self._deleted += len(there)
        self._kill(names, places)

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

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        return Counts(self._added, self._updated, self._deleted)

    def set_sources(self, sources: Sources) -> None:
        """Say with the commit which files the documents were read from; else those of changed documents are stale."""
        self._sources = sources

    def commit(self) -> WriteSummary:
        """Make all changes so far the next generation. When this returns, they survive a power cut.

        Raises:
            StorageError: the disk refused: the index is as it was, unless the message says that this is uncertain.
        """
        self._check_open()
        try:
            return self._commit()
        finally:
            self.close()  # after an error nobody goes on with what may be half written

    def _commit(self) -> WriteSummary:
        self._seal()
        if not (self._added or self._updated or self._deleted):
            self.summary = self._summary(self._store.generation, self._store.properties, len(self._segments))
            return self.summary
        self._drop_dead_segments()
        sources = [
            Source(segment, self._live(segment, dead)) for segment, dead in zip(self._segments, self._dead, strict=True)
        ]
        kept, tail = _tail(sources)
        segments = [self._with_tombstones(source) for source in kept]
        if tail:
            properties = self._store.properties
            segments.append(
                merge(self._path, self._generation, tail, self._store.quantiser, properties.dim, self._reporter)
            )
        properties = self._properties()
        before = self._store.pin.manifest
        commit(
            self._path,
            Manifest(
                self._generation, creator(), properties.record(), before.codec, tuple(segments), self._written_sources()
            ),
        )
        self.summary = self._summary(self._generation, properties, len(segments))
        return self.summary

    def _written_sources(self) -> FileFacts | None:
        """The file of sources of the new generation: that of the old one where nothing in it has changed."""
        kept = self._store.pin.manifest.sources
        if self._sources is None and kept is not None:
            before = read_sources(self._path, kept)
            after = stale(before, self._touched)
            if after == before:
                return kept
            self._sources = after
        return None if self._sources is None else write_sources(self._path, self._generation, self._sources)

    def _take(
        self, given: Iterable[str | Passage], embeddings: Iterable[FloatArray] | Ragged, *, must_exist: bool
    ) -> None:
        self._check_open()
        if not isinstance(embeddings, Iterable):
            raise InputError(f"Embeddings come as a list of (m, d) arrays, got {type(embeddings).__name__}.")
        incoming, documents = Incoming(_passages(given)), list(embeddings)
        passages = incoming.take(len(documents))
        incoming.check_spent()
        names = [passage.id for passage in passages]
        if len(set(names)) < len(names):
            twice = next(name for number, name in enumerate(names) if name in names[:number])
            raise InputError(f"The id {twice!r} comes twice in a batch: ids must be unique.")
        dim = self._store.properties.dim
        halves = checked_documents(names, documents, dim) if names else ()
        places, there = self._places(names)
        if must_exist:
            self._check_there(names, there)
        self._kill(names, places)
        self._updated += len(there)
        self._added += len(names) - len(there)
        self._touched.update(passage.document for passage in passages)
        for passage, vectors in zip(passages, halves, strict=True):
            self._staged[passage.id] = (passage, vectors)
            self._staged_bytes += vectors.nbytes
        if self._staged_bytes > STAGED_BYTES:
            try:
                self._seal()
            except BaseException:
                self.close()
                raise

    def _places(self, names: Sequence[str]) -> tuple[list[set[int]], set[str]]:
        """Where living documents with some ids are in each segment, and which ids are there at all."""
        there, places = {name for name in names if name in self._staged}, []
        for segment, dead in zip(self._segments, self._dead, strict=True):
            found = segment.passages.numbers(names) if names else {}
            alive = {name: number for name, number in found.items() if number not in dead}
            places.append(set(alive.values()))
            there |= alive.keys()
        return places, there

    def _check_there(self, names: Sequence[str], there: set[str]) -> None:
        for name in names:
            if name not in there:
                raise InputError(f"No document of this index has the id {name!r}.")

    def _kill(self, names: Sequence[str], places: Sequence[set[int]]) -> None:
        for dead, killed in zip(self._dead, places, strict=True):
            dead |= killed
        self._touched.update(document_of(name) for name in names)
        for name in names:
            if name in self._staged:
                self._staged_bytes -= self._staged.pop(name)[1].nbytes

    def _seal(self) -> None:
        """Write what is staged as a segment."""
        if not self._staged:
            return
        passages, halves = zip(*self._staged.values(), strict=True)
        rows = RowsInMemory(Ragged.from_arrays(halves))
        facts, error = write_segment(
            self._path,
            new_segment_name(self._generation),
            rows,
            passages,
            self._store.quantiser,
            reporter=self._reporter,
        )
        self._new_tokens += rows.n_tokens
        self._new_error += error
        self._segments.append(open_segment(self._path, facts, self._store.properties, self._store.quantiser))
        self._dead.append(set())
        self._staged, self._staged_bytes = {}, 0

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
        return replace(segment.facts, dead=len(dead), tombstones=write_tombstones(self._path, name, dead))

    def _properties(self) -> Properties:
        before = self._store.properties
        if self._store.quantiser is None:
            return before
        tokens = before.added_tokens + self._new_tokens
        error = before.added_tokens * before.added_error + self._new_error
        return replace(before, added_tokens=tokens, added_error=error / max(tokens, 1))

    def _summary(self, generation: int, properties: Properties, segments: int) -> WriteSummary:
        documents = sum(
            segment.facts.documents - len(dead) for segment, dead in zip(self._segments, self._dead, strict=True)
        )
        tokens = sum(
            _living_tokens(segment, self._live(segment, dead))
            for segment, dead in zip(self._segments, self._dead, strict=True)
        )
        drift, growth = _drift_and_growth(properties, tokens)
        return WriteSummary(generation, self._added, self._updated, self._deleted, documents, segments, drift, growth)

    def _check_open(self) -> None:
        if not self._lock:
            raise InputError("This writer has committed or given up: open another with index.writer().")
        if not self._lock.held:
            raise InputError(
                "This writer belongs to the process that this one was forked from: change the index there, or open "
                "another writer here when that one is closed."
            )


def _passages(given: Iterable[str | Passage]) -> Iterator[Passage]:
    if given is None:
        raise InputError("Give an id for each document, got None: ids tell which documents are replaced.")
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InputError(
            f"There must be a list of passages or ids, one for each document, got {given!r:.40} of type "
            f"{type(given).__name__}."
        )
    for one in given:
        yield one if isinstance(one, Passage) else Passage(one)


def checked_ids(ids: Iterable[str]) -> list[str]:
    """Ids as a list.

    Raises:
        InputError: they are a single string, or not all strings.
    """
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InputError(f"Ids are given as a list, got {ids!r:.40} of type {type(ids).__name__}.")
    names = list(ids)
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"Ids must be strings, got {name!r} of type {type(name).__name__}.")
    return names


def _living_tokens(segment: OpenedSegment, live: Mask) -> int:
    return LivingRows([Source(segment, live)], 0).n_tokens


def _drift_and_growth(properties: Properties, tokens: int) -> tuple[float, float]:
    if not properties.trained_tokens:
        return 1.0, 1.0
    growth = tokens / properties.trained_tokens
    if not properties.added_tokens or not properties.trained_error:
        return 1.0, growth
    return properties.added_error / properties.trained_error, growth


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
    pin(path).close()
    process = os.getpid()
    with WriterLock(path):
        try:
            return _compact(path, retrain, reporter)
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


def _compact(path: Path, retrain: bool | None, reporter: Reporter) -> WriteSummary:
    store = Store.open(path)
    sources = [Source(segment, segment.living) for segment in store.segments]
    properties, codec = store.properties, store.pin.manifest.codec
    tokens, generation = LivingRows(sources, properties.dim).n_tokens, store.generation
    drift, growth = _drift_and_growth(properties, tokens)
    if retrain is None:
        retrain = drift > DRIFT_LIMIT or growth > GROWTH_LIMIT
    retrain = retrain and store.quantiser is not None and tokens > 0
    if len(sources) > 1 or not sources[0].living.all() or retrain:
        generation += 1
        if retrain:
            properties, codec, segment = _retrain(path, generation, sources, properties, reporter)
        else:
            segment = merge(path, generation, sources, store.quantiser, properties.dim, reporter)
        commit(
            path,
            Manifest(generation, creator(), properties.record(), codec, (segment,), store.pin.manifest.sources),
        )
    drift, growth = _drift_and_growth(properties, tokens)
    documents = sum(int(np.count_nonzero(source.living)) for source in sources)
    store.close()
    return WriteSummary(generation, 0, 0, 0, documents, 1, drift, growth, retrained=bool(retrain))


def _retrain(
    path: Path, generation: int, sources: Sequence[Source], properties: Properties, reporter: Reporter
) -> tuple[Properties, FileFacts, Any]:
    check_sources(sources)
    rows = LivingRows(sources, properties.dim)
    quantiser: Quantiser
    quantiser, assigned = train(rows, codec_named(str(properties.codec), properties.bits), reporter=reporter)
    codec = write_quantiser(path, new_codec_name(generation), quantiser)
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
    return trained, codec, segment
