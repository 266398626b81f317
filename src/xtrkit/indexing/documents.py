"""Documents on their way into an index: checked one by one, and written down in the spool."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.halves import to_halves
from xtrkit.indexing.pooling import pooled
from xtrkit.indexing.spool import Spool
from xtrkit.passage import Metadata, Part, Passage, checked_passage
from xtrkit.progress import Reporter
from xtrkit.values import FloatArray, Pooling, Ragged, as_floats

MOST_LOST = 0.01
"""How much rounding to float16 may change a token vector, ‖x − x′‖ / ‖x‖."""

HALF_STEP, SMALLEST_NORMAL = 2.0**-25, 2.0**-14
NOT_FINITE = 0x7C00
"""Bits of float16 from which on a number without its sign is infinite, or none."""

SAFE_PEAK = 4e-6
"""Where the largest of d numbers is above SAFE_PEAK · √d, rounding changes a vector by less than ``MOST_LOST``."""

Batches = Iterable[Iterable[FloatArray]] | Callable[[int], Iterable[Iterable[FloatArray]]]
"""Token vectors of documents, some documents at a time; or what gives them from a document's number on."""


def joined(
    ids: Iterable[str] | None,
    texts: Iterable[str] | None,
    metadata: Iterable[Metadata | None] | None,
    parts: Iterable[Part | None] | None,
) -> Incoming:
    """Columns as passages: each an iterable with an entry for each document, or None; ids are then numbers.

    Raises:
        InputError: one is a single string, nothing that has entries, or shorter than another.
    """
    columns = {"ids": ids, "texts": texts, "metadata": metadata, "parts": parts}
    for what, column in columns.items():
        if column is not None and (isinstance(column, str | bytes) or not isinstance(column, Iterable)):
            raise InputError(
                f"There must be a list of {what}, one for each document, got {column!r:.40} of type "
                f"{type(column).__name__}."
            )
    given = {what: iter(column) for what, column in columns.items() if column is not None}
    return Incoming(_joined(given), next(iter(given))) if given else Incoming(None)


def _joined(columns: Mapping[str, Iterator[Any]]) -> Iterator[Passage]:
    end = object()
    for number in count():
        row: dict[str, Any] = {what: next(column, end) for what, column in columns.items()}
        ended = [what for what, value in row.items() if value is end]
        if len(ended) == len(row):
            return
        if ended:
            longer = next(what for what in row if what not in ended)
            raise InputError(f"There are {number} {ended[0]}, but more {longer} than that: give one for each document.")
        yield Passage(row.get("ids", str(number)), row.get("texts"), row.get("metadata"), row.get("parts"))


class Incoming:
    """Passages on their way in, checked one by one.

    Attributes:
        taken: how many were taken.
    """

    def __init__(self, passages: Iterable[Passage] | None, what: str = "passages") -> None:
        """Begin with the first.

        Args:
            passages: the passages; None numbers documents that have nothing but vectors.
            what: what there is one of for each document, for messages.
        """
        self._endless, self._what, self.taken = passages is None, what, 0
        self._passages: Iterator[Passage] = map(_numbered, count()) if passages is None else iter(passages)

    def take(self, number: int) -> list[Passage]:
        """The next passages, ``number`` of them.

        Raises:
            InputError: there are not as many, or one can't be stored.
        """
        found = [checked_passage(passage) for passage in islice(self._passages, number)]
        self.taken += len(found)
        if len(found) < number:
            raise InputError(f"There are {self.taken} {self._what}, but more documents: give one for each document.")
        return found

    def skip(self, stored: Iterable[Passage]) -> int:
        """Pass over what is stored already; how many passages that was."""
        for known in stored:
            passage = next(self._passages, None)
            if passage is None:
                break
            if checked_passage(passage) != known:
                self._passages = chain([passage], self._passages)
                break
            self.taken += 1
        return self.taken

    def check_spent(self) -> None:
        """Refuse passages beyond the documents.

        Raises:
            InputError: there are some.
        """
        if not self._endless and next(self._passages, None) is not None:
            raise InputError(
                f"There are more {self._what} than the {self.taken} documents: give one for each document."
            )


def _numbered(number: int) -> Passage:
    return Passage(str(number))


def spool_documents(
    spool: Spool,
    batches: Batches,
    incoming: Incoming,
    *,
    check_dim: Callable[[int], None],
    pooling: Pooling | None,
    reporter: Reporter,
    n_documents: int | None,
) -> None:
    """Check documents one by one and write them down.

    Where ``batches`` can be asked for documents from a number on, the spool keeps those of an earlier attempt as far as
    their passages are those of the incoming.

    Args:
        spool: where they go.
        batches: their token vectors.
        incoming: their passages.
        check_dim: refuses dimensions that the index can't have.
        pooling: how token vectors that are alike become one; None keeps all.
        reporter: told about the progress.
        n_documents: how many there will be, if that is known.

    Raises:
        InputError: a document, an id or a text can't be used, or their numbers differ.
    """
    if callable(batches):
        spool.keep(incoming.skip(spool.documents()))
        if spool.count:
            check_dim(spool.dim)
            reporter.note(f"{spool.count:,} passages of an interrupted run are there already: going on from there.")
        batches = batches(spool.count)
    if not isinstance(batches, Iterable):
        raise InputError(f"Documents come as batches, lists of (m, d) arrays, got {type(batches).__name__}.")
    with reporter.phase("Encoding", n_documents, "passages", spool.count) as advance:
        for batch in batches:
            if not isinstance(batch, Iterable):
                raise InputError(f"A batch of documents is a list of (m, d) arrays, got {type(batch).__name__}.")
            documents = list(batch)
            if not documents:
                continue
            passages = incoming.take(len(documents))
            names = [passage.id for passage in passages]
            spool.append(pooled(checked_documents(names, documents, spool.dim, check_dim), pooling), passages)
            advance(len(documents))
    if not spool.count:
        raise InputError("There are no documents to index: give at least one.")
    incoming.check_spent()
    spool.flush()


def checked_documents(
    names: Sequence[str],
    documents: Sequence[FloatArray],
    dim: int,
    check_dim: Callable[[int], None] = lambda dim: None,
) -> Ragged:
    """Documents as float16, if they could be searched: :func:`checked`, all together where nothing is the matter.

    Args:
        names: their ids, for messages.
        documents: (m, d) token vectors of each; one at least.
        dim: d of the documents before; 0 where these are the first.
        check_dim: refuses dimensions that the index can't have.

    Raises:
        InputError: one of them could not; the first one is named.
    """
    if not dim and _is_plain(documents[0]) and documents[0].shape[1]:
        check_dim(documents[0].shape[1])
        dim = documents[0].shape[1]
    if dim and all(_is_plain(document) and document.shape[1] == dim for document in documents):
        rows, lengths = np.concatenate(documents), np.array([len(document) for document in documents])
        halves = to_halves(rows)
        if lengths.min() > 0 and _is_sound(halves):
            return Ragged(halves, lengths)
    one_by_one: list[npt.NDArray[np.float16]] = []
    for name, document in zip(names, documents, strict=True):
        one_by_one.append(checked(name, document, dim, check_dim))
        dim = dim or one_by_one[0].shape[1]
    return Ragged.from_arrays(one_by_one)


def _is_plain(document: object) -> bool:
    """Whether there is nothing to convert: an array of NumPy's, of an ordinary kind, two-dimensional."""
    return type(document) is np.ndarray and document.dtype.char in "efd" and document.ndim == 2


def _is_sound(halves: npt.NDArray[np.float16]) -> bool:
    """Whether all numbers are finite, and so large where a vector's are largest that rounding does not matter."""
    peaks = (halves.view(np.uint16) & np.uint16(0x7FFF)).max(axis=1)  # bits are in the order of the numbers' sizes
    least = np.float16(2 * SAFE_PEAK * math.sqrt(halves.shape[1])).view(np.uint16)
    return bool(peaks.max() < NOT_FINITE and peaks.min() >= least)


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
        InputError: it has no tokens, other dimensions, or vectors that are not finite, zero, or too small for float16.
    """
    rounded_before = getattr(document, "dtype", None) == np.float16
    document = as_floats(document, f"Document {name!r}")
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
    peaks = np.abs(document).max(axis=1)
    if not peaks.all():
        raise InputError(
            f"Document {name!r} has a token vector of zeros (token {int(peaks.argmin())}): leave padding out, "
            "it would count as a token."
        )
    if peaks.min() < SAFE_PEAK * math.sqrt(document.shape[1]):
        _check_rounding(name, document.astype(np.float64), halves, rounded_before=rounded_before)
    return halves


def _check_rounding(name: str, document: FloatArray, halves: npt.NDArray[np.float16], *, rounded_before: bool) -> None:
    """Refuse token vectors of which float16 keeps too little; its numbers are 6e-8 apart where they are smallest."""
    peaks = np.abs(document).max(axis=1)  # of numbers as small as 1e-300 there are no squares
    lengths = peaks * np.linalg.norm(document / peaks[:, np.newaxis], axis=1)
    lost = peaks * np.linalg.norm((document - halves) / peaks[:, np.newaxis], axis=1)
    if rounded_before:  # what was lost then can be estimated: a third of half a step in each small number, squared
        small = np.count_nonzero((document != 0) & (np.abs(document) < SMALLEST_NORMAL), axis=1)
        lost = HALF_STEP * np.sqrt(small / 3)
    worst = int((lost / lengths).argmax())
    if lost[worst] > MOST_LOST * lengths[worst]:
        raise InputError(
            f"Document {name!r} has a token vector of length {lengths[worst]:.2g} (token {worst}), too small for "
            f"float16: rounding changes it by {lost[worst] / lengths[worst]:.0%}. Multiply the vectors of all "
            "documents by one number, so that they are about 1 long: scores scale with them, rankings stay."
        )
