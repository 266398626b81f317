"""Documents on their way into an index: checked one by one, their ids and texts written down as they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.passages import PassageWriter
from xtrkit.values import FloatArray, Ragged


class DocumentStream:
    """Batches of documents as float16, each checked; use it in a ``with`` and iterate it once.

    Attributes:
        dim: d, known when the first document has passed.
    """

    def __init__(
        self,
        batches: Iterable[Iterable[FloatArray]],
        ids: Iterable[str] | None,
        texts: Iterable[str] | None,
        passages_path: Path,
        advance: Callable[[int], None],
    ) -> None:
        self._batches = batches
        self._ids = None if ids is None else iter(ids)
        self._texts = None if texts is None else iter(texts)
        self._passages = PassageWriter(passages_path)
        self._advance = advance
        self._lengths: list[npt.NDArray[np.int64]] = []
        self.dim = 0

    def __enter__(self) -> DocumentStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self._passages.close()

    def __iter__(self) -> Iterator[Ragged]:
        """Checked batches.

        Raises:
            InputError: a document, an id or a text can't be used, or their numbers differ.
        """
        for batch in self._batches:
            documents = list(batch)
            if not documents:
                continue
            ids = self._next_ids(len(documents))
            texts = _take(self._texts, len(documents), "texts", self._passages.count) if self._texts else None
            halves = Ragged.from_arrays([self._checked(*named) for named in zip(ids, documents, strict=True)])
            self._lengths.append(np.asarray(halves.lengths, dtype=np.int64))
            yield halves
            self._passages.add(ids, texts or [None] * len(ids))
            self._advance(len(documents))
        if not self._passages.count:
            raise InputError("There are no documents to index: give at least one.")
        _check_spent(self._ids, "ids", self._passages.count)
        _check_spent(self._texts, "texts", self._passages.count)

    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) how many token vectors each document had."""
        return np.concatenate(self._lengths)

    def _next_ids(self, count: int) -> list[str]:
        if self._ids is None:
            return [str(self._passages.count + i) for i in range(count)]
        return _take(self._ids, count, "ids", self._passages.count)

    def _checked(self, name: str, document: FloatArray) -> npt.NDArray[np.float16]:
        """A document as float16, if it could be searched."""
        if not isinstance(document, np.ndarray) or not np.issubdtype(document.dtype, np.floating):
            got = document.dtype if isinstance(document, np.ndarray) else type(document).__name__
            raise InputError(f"Document {name!r}: expected an array of floating-point numbers, got {got}.")
        if document.ndim != 2 or 0 in document.shape:
            raise InputError(
                f"Document {name!r}: expected token vectors of shape (tokens, dimensions) with at least one token, "
                f"got shape {document.shape}."
            )
        self.dim = self.dim or int(document.shape[1])
        if document.shape[1] != self.dim:
            raise InputError(
                f"Document {name!r} has vectors of {document.shape[1]} dimensions, those before had {self.dim}."
            )
        with np.errstate(over="ignore"):
            halves = np.ascontiguousarray(document, dtype="<f2")
        if not np.isfinite(halves).all():
            raise InputError(
                f"Document {name!r} has NaN, infinity or a number beyond ±65504 among its token vectors: "
                "check the encoder that made them."
            )
        return halves


def _take(source: Iterator[str], count: int, what: str, before: int) -> list[str]:
    taken = list(islice(source, count))
    if len(taken) < count:
        raise InputError(f"There are {before + len(taken)} {what}, but more documents: give one for each document.")
    return taken


def _check_spent(source: Iterator[str] | None, what: str, documents: int) -> None:
    if source is not None and next(source, None) is not None:
        raise InputError(f"There are more {what} than the {documents} documents: give one for each document.")
