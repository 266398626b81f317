"""Documents on their way into an index: checked one by one, and written down in the spool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, islice, repeat
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.spool import Spool
from xtrkit.progress import Reporter
from xtrkit.storage.passages import Fields, Part, Passage, checked_passage
from xtrkit.values import FloatArray, Ragged

Batches = Iterable[Iterable[FloatArray]] | Callable[[int], Iterable[Iterable[FloatArray]]]
"""Token vectors of documents, some documents at a time; or what gives them from a document's number on."""

T = TypeVar("T")


class Inputs:
    """Ids, texts and metadata of documents, side by side.

    Each is an iterable with an entry for each document, or None where there are none; ids are then numbers.
    """

    def __init__(
        self,
        ids: Iterable[str] | None,
        texts: Iterable[str] | None,
        metadata: Iterable[Fields | None] | None = None,
        parts: Iterable[Part | None] | None = None,
    ) -> None:
        """Put them side by side.

        Raises:
            InputError: one is a single string, or nothing that has entries.
        """
        given = {"ids": ids, "texts": texts, "metadata": metadata, "parts": parts}
        for what, source in given.items():
            if source is not None and (isinstance(source, str | bytes) or not isinstance(source, Iterable)):
                raise InputError(
                    f"There must be a list of {what}, one for each document, got {source!r:.40} of type "
                    f"{type(source).__name__}."
                )
        self._given = {what: source is not None for what, source in given.items()}
        self._sources: dict[str, Iterator[Any]] = {
            what: repeat(None) if source is None else iter(source) for what, source in given.items()
        }
        if ids is None:
            self._sources["ids"] = map(str, count())

    def take(self, number: int, before: int) -> list[Passage]:
        """The next passages, ``number`` of them.

        Raises:
            InputError: there are not as many, or one can't be stored.
        """
        columns = [_take(source, number, what, before) for what, source in self._sources.items()]
        return [checked_passage(Passage(*row)) for row in zip(*columns, strict=True)]

    def skip(self, stored: Iterable[Passage]) -> int:
        """Pass over what is stored already; how many passages of the input that was."""
        same = 0
        for passage in stored:
            row = [list(islice(source, 1)) for source in self._sources.values()]
            if [value for values in row for value in values] != [*passage]:
                self._sources = {
                    what: chain(values, source)
                    for values, (what, source) in zip(row, self._sources.items(), strict=True)
                }
                break
            same += 1
        return same

    def check_spent(self, documents: int) -> None:
        """Refuse input that goes on beyond the documents.

        Raises:
            InputError: it does.
        """
        for what, source in self._sources.items():
            if self._given[what] and next(source, self) is not self:
                raise InputError(f"There are more {what} than the {documents} documents: give one for each document.")


def spool_documents(
    spool: Spool,
    batches: Batches,
    inputs: Inputs,
    *,
    check_dim: Callable[[int], None],
    reporter: Reporter,
    n_documents: int | None,
) -> None:
    """Check documents one by one and write them down.

    Where ``batches`` can be asked for documents from a number on, the spool keeps those of an earlier attempt as far as
    their ids, texts and metadata are those of the input.

    Args:
        spool: where they go.
        batches: their token vectors.
        inputs: their ids, texts and metadata.
        check_dim: refuses dimensions that the index can't have.
        reporter: told about the progress.
        n_documents: how many there will be, if that is known.

    Raises:
        InputError: a document, an id or a text can't be used, or their numbers differ.
    """
    if callable(batches):
        spool.keep(inputs.skip(spool.documents()))
        if spool.count:
            check_dim(spool.dim)
            reporter.note(f"{spool.count:,} passages of an interrupted run are there already: going on from there.")
        batches = batches(spool.count)
    with reporter.phase("Encoding", n_documents, "passages", spool.count) as advance:
        for batch in batches:
            documents = list(batch)
            if not documents:
                continue
            passages = inputs.take(len(documents), spool.count)
            halves: list[npt.NDArray[np.float16]] = []
            for passage, document in zip(passages, documents, strict=True):
                dim = spool.dim or (halves[0].shape[1] if halves else 0)
                halves.append(checked(passage.id, document, dim, check_dim))
            spool.append(Ragged.from_arrays(halves), passages)
            advance(len(documents))
    if not spool.count:
        raise InputError("There are no documents to index: give at least one.")
    inputs.check_spent(spool.count)
    spool.flush()


def checked(
    name: str, document: FloatArray, dim: int, check_dim: Callable[[int], None] = lambda dim: None
) -> npt.NDArray[np.float16]:
    """A document as float16, if it could be searched.

    Args:
        name: its id, for messages.
        document: (m, d) token vectors.
        dim: d of the documents before; 0 where this is the first.
        check_dim: refuses dimensions that the index can't have.

    Raises:
        InputError: it has no tokens, other dimensions, or vectors that are not finite or zero.
    """
    if not isinstance(document, np.ndarray) or not np.issubdtype(document.dtype, np.floating):
        got = document.dtype if isinstance(document, np.ndarray) else type(document).__name__
        raise InputError(f"Document {name!r}: expected an array of floating-point numbers, got {got}.")
    if document.ndim != 2 or 0 in document.shape:
        raise InputError(
            f"Document {name!r}: expected token vectors of shape (tokens, dimensions) with at least one token, "
            f"got shape {document.shape}."
        )
    if not dim:
        check_dim(document.shape[1])
    elif document.shape[1] != dim:
        raise InputError(f"Document {name!r} has vectors of {document.shape[1]} dimensions, those before had {dim}.")
    with np.errstate(over="ignore"):
        halves = np.ascontiguousarray(document, dtype="<f2")
    if not np.isfinite(halves).all():
        raise InputError(
            f"Document {name!r} has NaN, infinity or a number beyond ±65504 among its token vectors: "
            "check the encoder that made them."
        )
    zeros = ~halves.any(axis=1)
    if zeros.any():
        raise InputError(
            f"Document {name!r} has a token vector of zeros (token {int(zeros.argmax())}): leave padding out, "
            "it would count as a token."
        )
    return halves


def _take(source: Iterator[T], count: int, what: str, before: int) -> list[T]:
    taken = list(islice(source, count))
    if len(taken) < count:
        raise InputError(f"There are {before + len(taken)} {what}, but more documents: give one for each document.")
    return taken
