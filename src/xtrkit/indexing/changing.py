"""What changes an index: additions, updates and deletions, each batch checked whole before anything of it counts.

What the changes are written to is a subclass's business: one index (:mod:`xtrkit.indexing.writer`), or the shards of a
cluster (:mod:`xtrkit.indexing.cluster_writer`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.documents import Incoming, checked_documents
from xtrkit.indexing.pooling import pooled
from xtrkit.indexing.sources import Sources
from xtrkit.indexing.store import Properties
from xtrkit.passage import Passage
from xtrkit.storage.generations import WriterLock
from xtrkit.values import FloatArray, Ragged

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
            f"tokens ×{self.growth:.1f}): `xtrkit compact INDEX` finds new ones, for a cluster `xtrkit cluster build`."
        )

    def as_json(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**vars(self), "advice": self.advice}


class Counts(NamedTuple):
    """What a writer has done so far, as :class:`WriteSummary` counts it."""

    added: int
    updated: int
    deleted: int


class Standing(NamedTuple):
    """What an index holds.

    Attributes:
        properties: what holds for all of it.
        documents, tokens: living ones.
        segments: its segments.
    """

    properties: Properties
    documents: int
    tokens: int
    segments: int

    @property
    def drift(self) -> float:
        """Mean energy of the residuals of added tokens over that of the tokens that centroids were found for."""
        properties = self.properties
        if not properties.added_tokens or not properties.trained_error:
            return 1.0
        return properties.added_error / properties.trained_error

    @property
    def growth(self) -> float:
        """Living tokens over those that centroids were found for."""
        return self.tokens / self.properties.trained_tokens if self.properties.trained_tokens else 1.0

    def summary(self, generation: int, counts: Counts | None = None, *, retrained: bool = False) -> WriteSummary:
        """What a commit did that led here."""
        return WriteSummary(
            generation,
            *(counts or (0, 0, 0)),
            self.documents,
            self.segments,
            self.drift,
            self.growth,
            retrained=retrained,
        )


class Batch(NamedTuple):
    """Documents, checked.

    Attributes:
        passages: their passages.
        halves: (m, d) token vectors of each.
    """

    passages: Sequence[Passage]
    halves: Sequence[npt.NDArray[np.float16]]


class Located(NamedTuple):
    """Which of some ids living documents have.

    Attributes:
        there: these ids.
        places: where they are, as the writer tells it.
    """

    there: set[str]
    places: Any


class Writer(ABC):
    """Changes an index; use it in a ``with``, at whose end everything is committed at once.

    Attributes:
        path: the index.
        summary: what the commit did; None before.
    """

    path: Path
    summary: WriteSummary | None = None
    _lock: WriterLock | None
    _added = _updated = _deleted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None and self._lock and self._lock.held:
            self.commit()
        self.close()

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
        there = self._located(names).there
        found = self.ids_of_documents([*wholes, *(name for name in names if name not in there)])
        if not missing_ok:
            _check_there(names, there | found.keys())
            for document in wholes:
                if document not in found:
                    raise InputError(f"No passage of this index belongs to a document {document!r}.")
        names = list(dict.fromkeys([*names, *(name for of_one in found.values() for name in of_one)]))
        located = self._located(names)
        self._deleted += len(located.there)
        self._kill(names, located)

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        return Counts(self._added, self._updated, self._deleted)

    def commit(self) -> WriteSummary:
        """Make all changes so far the next generation. When this returns, they survive a power cut.

        Raises:
            StorageError: the disk refused: the index is as it was, unless the message says that this is uncertain.
        """
        self._check_open()
        try:
            self.summary = self._commit()
            return self.summary
        finally:
            self.close()  # after an error nobody goes on with what may be half written

    def close(self) -> None:
        """Give up what was not committed; in a forked child that is still the parent's, and nothing happens."""
        if self._lock and self._lock.held:
            self._let_go()
            self._lock.close()
            self._lock = None

    @abstractmethod
    def ids_of_documents(self, documents: Sequence[str]) -> dict[str, list[str]]:
        """The ids of living passages of some documents, by document: cut out of it, or with its id and of none."""

    @abstractmethod
    def set_encoded_by(self, encoded_by: str) -> None:
        """Say what encodes the documents that are added; the index remembers it with the commit."""

    @abstractmethod
    def set_sources(self, sources: Sources) -> None:
        """Say with the commit which files the documents were read from; else those of changed documents are stale."""

    @property
    @abstractmethod
    def _opened(self) -> Properties:
        """What holds for all of the index, as it was opened."""

    @abstractmethod
    def _located(self, names: Sequence[str]) -> Located:
        """Which of some ids living documents have, and where those are."""

    @abstractmethod
    def _kill(self, names: Sequence[str], located: Located) -> None:
        """Delete the documents with some ids."""

    @abstractmethod
    def _stage(self, batch: Batch, located: Located) -> None:
        """Take in documents in the place of those that were located."""

    @abstractmethod
    def _commit(self) -> WriteSummary: ...

    @abstractmethod
    def _let_go(self) -> None:
        """Close what is open, but for the lock."""

    def _take(
        self, given: Iterable[str | Passage], embeddings: Iterable[FloatArray] | Ragged, *, must_exist: bool
    ) -> None:
        self._check_open()
        batch = _checked(given, embeddings, self._opened)
        names = [passage.id for passage in batch.passages]
        located = self._located(names)
        if must_exist:
            _check_there(names, located.there)
        self._updated += len(located.there)
        self._added += len(names) - len(located.there)
        self._stage(batch, located)

    def _check_open(self) -> None:
        if not self._lock:
            raise InputError("This writer has committed or given up: open another with index.writer().")
        if not self._lock.held:
            raise InputError(
                "This writer belongs to the process that this one was forked from: change the index there, or open "
                "another writer here when that one is closed."
            )


def _checked(
    given: Iterable[str | Passage], embeddings: Iterable[FloatArray] | Ragged, properties: Properties
) -> Batch:
    if not isinstance(embeddings, Iterable):
        raise InputError(f"Embeddings come as a list of (m, d) arrays, got {type(embeddings).__name__}.")
    incoming, documents = Incoming(_passages(given)), list(embeddings)
    passages = incoming.take(len(documents))
    incoming.check_spent()
    names = [passage.id for passage in passages]
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise InputError(f"The id {twice!r} comes twice in a batch: ids must be unique.")
    if not names:
        return Batch(passages, [])
    return Batch(passages, list(pooled(checked_documents(names, documents, properties.dim), properties.pooling)))


def _check_there(names: Sequence[str], there: Iterable[str]) -> None:
    for name in names:
        if name not in there:
            raise InputError(f"No document of this index has the id {name!r}.")


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
