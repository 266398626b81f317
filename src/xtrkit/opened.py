"""An index that is open: one generation of it, and what it holds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.changing import checked_ids
from xtrkit.indexing.merging import LivingRows, Source
from xtrkit.indexing.sources import Sources, read_sources
from xtrkit.indexing.store import Store
from xtrkit.passage import Passage
from xtrkit.search.engine import Engine
from xtrkit.search.opening import engine_of
from xtrkit.values import EncoderIdentity, FloatArray, Pooling, Splitting


class OpenedIndex:
    """One generation of an index, memory-mapped. It stays as it is, whatever writers do, until :meth:`refresh`."""

    def __init__(self, store: Store, device: str | None = None) -> None:
        self._device = device
        self._view = (store, engine_of(store, device))

    @classmethod
    def open(cls, path: str | Path, *, generation: int | None = None, device: str | None = None) -> Self:
        """Map an index that is on disk. It stays as it is, whatever writers do, until :meth:`refresh` is called.

        Args:
            path: its directory.
            generation: which of its generations; the newest where this is left out.
            device: "cuda" or another device of torch's on which a compressed index is searched; by default the CPU,
                without torch.

        Raises:
            IndexFormatError: there is none, it is damaged, or a newer xtrkit wrote it.
            InputError: there is no such generation (any more), or no such device.
            StorageError: it can't be read.
            MissingExtraError: a device needs torch, which isn't installed.
        """
        return cls(Store.open(Path(path).absolute(), generation), device)

    def refresh(self) -> bool:
        """Move to the newest generation; return whether there was a newer one. Searches at work end with the old one.

        Raises:
            IndexFormatError: it is damaged; this index stays at its generation then.
            StorageError: it can't be read.
        """
        store = Store.open(self.path, before=self._store)
        if store.generation <= self.generation:
            store.pin.close()
            return False
        self._view = (store, engine_of(store, self._device))
        return True

    def snapshot(self) -> Self:
        """This index at its present generation: a later :meth:`refresh` of this one does not move it."""
        view = object.__new__(type(self))  # a copy would be pickled, and opened again
        view.__dict__.update(self.__dict__)
        return view

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._store.close()

    def cpu_seconds(self) -> float:
        """What those who search it have computed so far, whatever it was: this process, on all its threads."""
        return time.process_time()

    @property
    def _store(self) -> Store:
        return self._view[0]

    @property
    def _engine(self) -> Engine:
        return self._view[1]

    def __len__(self) -> int:
        """Number of living documents."""
        return len(self._store.passages)

    @property
    def generation(self) -> int:
        """The number of this generation; every commit makes one."""
        return self._store.generation

    @property
    def n_segments(self) -> int:
        """Number of segments."""
        return len(self._store.segments)

    @property
    def n_clusters(self) -> int:
        """Number of clusters, C; 1 for an exact index, which is one that is always open."""
        quantiser = self._store.quantiser
        return 1 if quantiser is None else quantiser.n_clusters

    @property
    def n_tokens(self) -> int:
        """Number of token vectors, M."""
        return self._engine.n_tokens

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return self._engine.dim

    @property
    def storage(self) -> str:
        """How the vectors are kept, such as "float16" or "4 bits, grid"."""
        return self._engine.storage

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end, counted document after document."""
        return self._engine.document_offsets

    @property
    def path(self) -> Path:
        """Directory of the index."""
        return self._store.path

    @property
    def encoder(self) -> EncoderIdentity | None:
        """Which encoder made the vectors; None where the caller brought them."""
        return self._store.properties.encoder

    @property
    def encoded_by(self) -> tuple[str, ...]:
        """What its documents were encoded by: libraries, devices and precisions, as far as it is known."""
        return self._store.properties.encoded_by

    @property
    def splitting(self) -> Splitting | None:
        """How its documents were cut into passages, and how those that are added will be; None where they are not."""
        return self._store.properties.splitting

    @property
    def nprobe(self) -> int | None:
        """How many clusters XTR opens for a query token where the caller doesn't say; None: as many as usual."""
        return self._store.properties.nprobe

    @property
    def pooling(self) -> Pooling | None:
        """How token vectors that are alike were put together, and are of those that are added; None: not at all."""
        return self._store.properties.pooling

    @property
    def code_dim(self) -> int:
        """How many dimensions of a token vector are kept; ``dim`` where all are."""
        return self._store.properties.code_dim or self.dim

    def sources(self) -> Sources:
        """Which files its documents were read from, as they were then.

        Raises:
            IndexDamagedError: the file that says so is damaged.
        """
        return read_sources(self.path, self._store.pin.manifest.sources)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._store.size

    def ids(self) -> Iterator[str]:
        """Every living document's id, in order of number."""
        return self._store.passages.all_ids()

    def passages(self) -> Iterator[Passage]:
        """Every living passage in order of number, without its text."""
        return (passage for _, passage in self._store.passages.living())

    def metadata_fields(self) -> list[str]:
        """The names of the metadata fields that living passages have."""
        return self._store.passages.fields()

    def passage(self, number: int) -> Passage:
        """The passage with a number, 0 … N - 1: id, text, metadata, and which part of which document it is."""
        return self.passages_of([number])[0]

    def ids_of(self, numbers: Sequence[int]) -> list[str]:
        """The ids of the passages with some numbers, in the order asked for."""
        return self._store.passages.ids(numbers)

    def passages_of(self, numbers: Sequence[int]) -> list[Passage]:
        """The passages with some numbers, in the order asked for."""
        return self._store.passages.passages(numbers)

    def get(self, ids: Iterable[str] = (), *, documents: Iterable[str] = ()) -> list[Passage]:
        """Passages by id, in the order asked for.

        Args:
            ids: ids of passages.
            documents: ids of documents, whose passages come in the order of their texts behind those of ``ids``.

        Raises:
            InputError: one is not there.
        """
        names, passages = checked_ids(ids), self._store.passages
        found = passages.numbers(names)
        for name in names:
            if name not in found:
                raise passages.no_such_id(name)
        numbers = [found[name] for name in names]
        for document in checked_ids(documents):
            of_document = passages.of_document(document)
            if not of_document:
                raise InputError(f"No passage of this index belongs to a document {document!r}.")
            numbers += of_document
        return passages.passages(numbers)

    def number(self, identifier: str) -> int:
        """The number of the document with an id.

        Raises:
            InputError: no document has this id.
        """
        return self._store.passages.number(identifier)

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """The numbers of the documents with some ids; ids that are not there are left out."""
        return self._store.passages.numbers(ids)

    def vectors(self, number: int) -> FloatArray:
        """The (m, d) token vectors of the document with a number; decompressed where they are compressed."""
        return self._engine.vectors(number)

    @property
    def has_words(self) -> bool:
        """Whether it has texts, and so words, to search."""
        return any(segment.words for segment in self._store.segments)

    def check_fields(self, fields: Sequence[str]) -> None:
        """Refuse metadata fields that no living passage has.

        Raises:
            InputError: one is none; the message names those that there are.
        """
        self._store.passages.check_fields(fields)

    def living_rows(self) -> LivingRows:
        """The token vectors of all living documents, to be read block after block; decompressed where need be."""
        return LivingRows([Source(segment, segment.living) for segment in self._store.segments], self.dim)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by path: the other process opens this generation, or the newest where it is gone by then."""
        return reopened, (type(self), self.path, self.generation, self._device)


def reopened(kind: type[OpenedIndex], path: Path, generation: int, device: str | None) -> OpenedIndex:
    """An index that was pickled: at the generation that it had, or the newest where that is gone."""
    try:
        return kind.open(path, generation=generation, device=device)
    except InputError:  # it is gone; or there is no such device, which is told again
        return kind.open(path, device=device)
