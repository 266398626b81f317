"""Documents on their way into an index: checked one by one, and written down in the spool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, islice, repeat
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.spool import Spool
from xtrkit.progress import Reporter
from xtrkit.values import FloatArray, Ragged

Batches = Iterable[Iterable[FloatArray]] | Callable[[int], Iterable[Iterable[FloatArray]]]
"""Token vectors of documents, some documents at a time; or what gives them from a document's number on."""

T = TypeVar("T")


def spool_documents(
    spool: Spool,
    batches: Batches,
    ids: Iterable[str] | None,
    texts: Iterable[str] | None,
    *,
    check_dim: Callable[[int], None],
    reporter: Reporter,
    n_documents: int | None,
) -> None:
    """Check documents one by one and write them down.

    Where ``batches`` can be asked for documents from a number on, the spool keeps those of an earlier attempt as far as
    their ids and texts are those of the input.

    Args:
        spool: where they go.
        batches: their token vectors.
        ids: their ids; None numbers them.
        texts: their texts; None where there are none.
        check_dim: refuses dimensions that the index can't have.
        reporter: told about the progress.
        n_documents: how many there will be, if that is known.

    Raises:
        InputError: a document, an id or a text can't be used, or their numbers differ.
    """
    names = map(str, count()) if ids is None else iter(ids)
    contents: Iterator[str | None] = repeat(None) if texts is None else iter(texts)
    if callable(batches):
        names, contents = _gone_on_with(spool, names, contents)
        if spool.count:
            check_dim(spool.dim)
            reporter.note(f"{spool.count:,} passages of an interrupted run are there already: going on from there.")
        batches = batches(spool.count)
    with reporter.phase("Encoding", n_documents, "passages", spool.count) as advance:
        for batch in batches:
            documents = list(batch)
            if not documents:
                continue
            batch_ids = _take(names, len(documents), "ids", spool.count)
            batch_texts = _take(contents, len(documents), "texts", spool.count)
            halves: list[npt.NDArray[np.float16]] = []
            for name, document in zip(batch_ids, documents, strict=True):
                halves.append(checked(name, document, spool.dim or (halves[0].shape[1] if halves else 0), check_dim))
            spool.append(Ragged.from_arrays(halves), batch_ids, batch_texts)
            advance(len(documents))
    if not spool.count:
        raise InputError("There are no documents to index: give at least one.")
    _check_spent(names if ids is not None else None, "ids", spool.count)
    _check_spent(contents if texts is not None else None, "texts", spool.count)
    spool.flush()


def _gone_on_with(
    spool: Spool, names: Iterator[str], contents: Iterator[str | None]
) -> tuple[Iterator[str], Iterator[str | None]]:
    """Let the spool keep what the input begins with; the ids and texts from there on."""
    same = 0
    for stored in spool.documents():
        name, content = list(islice(names, 1)), list(islice(contents, 1))
        if [*name, *content] != [*stored]:
            names, contents = chain(name, names), chain(content, contents)
            break
        same += 1
    spool.keep(same)
    return names, contents


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


def _check_spent(source: Iterator[object] | None, what: str, documents: int) -> None:
    if source is not None and next(source, None) is not None:
        raise InputError(f"There are more {what} than the {documents} documents: give one for each document.")
