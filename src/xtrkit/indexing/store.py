"""The files of an index. Nothing else in xtrkit opens them.

::

    INDEX/
      manifest.json     format, counts, the encoder's identity, and size and sha256 of every other file
      vectors.f16       (M, d) float16 token vectors, little-endian, document after document; mapped, never loaded
      lengths.i32       (N,) int32, how many token vectors each document has
      passages.sqlite   ids and texts

An index is written into a sibling directory that is renamed when everything is on disk: what bears the name of an
index is complete, and a build that fails or is killed leaves the old state. Paths inside are relative, so an index
can be moved and copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.errors import IndexExistsError, IndexFormatError, InputError
from xtrkit.indexing.passages import Passages, PassageWriter
from xtrkit.values import EncoderIdentity, FloatArray, offsets_of

FORMAT = "xtrkit-index"
FORMAT_VERSION = 1
VECTORS, LENGTHS, PASSAGES, MANIFEST = "vectors.f16", "lengths.i32", "passages.sqlite", "manifest.json"


@dataclass(frozen=True, eq=False)
class Store:
    """An opened index.

    Attributes:
        path: its directory.
        halves: (M, d) float16 token vectors, mapped from disk.
        offsets: (N + 1,) where each document's token vectors begin and end.
        passages: ids and texts.
        encoder: which encoder made the vectors, if one did.
        size: bytes on disk.
    """

    path: Path
    halves: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.int64]
    passages: Passages
    encoder: EncoderIdentity | None
    size: int

    @classmethod
    def open(cls, path: Path) -> Store:
        """Map a finished index, after checking that its files are those that its manifest names.

        Raises:
            IndexFormatError: there is no index, it is damaged, or a newer xtrkit wrote it.
        """
        manifest = _read_manifest(path)
        try:
            n, m, dim = (int(manifest[key]) for key in ("documents", "tokens", "dim"))
            record = manifest["encoder"]
            encoder = None if record is None else EncoderIdentity(**record)
            sizes = {name: int(manifest["files"][name]["size"]) for name in (VECTORS, LENGTHS, PASSAGES)}
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(path / MANIFEST, f"it lacks {error}") from error
        for name, size in sizes.items():
            _check_size(path / name, size)
        if sizes[VECTORS] != 2 * m * dim or sizes[LENGTHS] != 4 * n:
            raise _damaged(path / MANIFEST, "its counts do not fit its files")
        offsets = offsets_of(np.fromfile(path / LENGTHS, dtype="<i4").astype(np.int64))
        if offsets[-1] != m or (np.diff(offsets) < 1).any():
            raise _damaged(path / LENGTHS, "document lengths do not add up to the tokens")
        passages = Passages(path / PASSAGES)
        if passages.count != n:
            raise _damaged(path / PASSAGES, f"it holds {passages.count} passages instead of {n}")
        halves = np.memmap(path / VECTORS, dtype="<f2", mode="r", shape=(m, dim))
        size = sum(sizes.values()) + (path / MANIFEST).stat().st_size
        return cls(path, halves, offsets, passages, encoder, size)


def write_store(
    path: Path,
    batches: Iterable[Iterable[FloatArray]],
    *,
    ids: Iterable[str] | None,
    texts: Iterable[str] | None,
    encoder: EncoderIdentity | None,
    overwrite: bool,
    advance: Callable[[int], None],
) -> None:
    """Write an index, holding one batch in memory at a time.

    Args:
        path: directory to make.
        batches: the documents' (m, d) token vectors, some documents at a time, in order.
        ids: the documents' ids, unique; None numbers them "0", "1", ….
        texts: their texts; None where there are none.
        encoder: which encoder made the vectors.
        overwrite: replace an index that is there already, once the new one is complete.
        advance: told how many documents each batch had.

    Raises:
        IndexExistsError: something is at ``path`` and may not be overwritten.
        InputError: a document has no vectors, vectors of another dimension, or numbers that are not finite; ids are
            not unique strings, or there are fewer ids or texts than documents, or more.
    """
    check_free(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{path.name}.building-", dir=path.parent))
    try:
        manifest = _write_files(building, batches, ids, texts, advance)
        manifest["encoder"] = None if encoder is None else asdict(encoder)
        (building / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        building.chmod(0o755)
        _put_in_place(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def check_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken, before any work is done.

    Raises:
        IndexExistsError: there is something; with ``overwrite``, something that isn't an index.
    """
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise IndexExistsError(f"{path} exists already: choose another place, or overwrite it on purpose.")
    if not (path / MANIFEST).is_file():
        raise IndexExistsError(f"{path} exists and is not an index, so it is not overwritten: choose another place.")


def _write_files(
    directory: Path,
    batches: Iterable[Iterable[FloatArray]],
    ids: Iterable[str] | None,
    texts: Iterable[str] | None,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    lengths: list[npt.NDArray[np.int32]] = []
    dim, hashed = 0, hashlib.sha256()
    passages = PassageWriter(directory / PASSAGES)
    id_source = map(str, range(2**63)) if ids is None else iter(ids)
    text_source = None if texts is None else iter(texts)
    try:
        with (directory / VECTORS).open("wb") as vectors:
            for batch in batches:
                documents = list(batch)
                names = _take(id_source, len(documents), "ids", passages.count)
                stored = _take(text_source, len(documents), "texts", passages.count) if text_source else names
                for name, document in zip(names, documents, strict=True):
                    dim = _check_document(name, document, dim)
                    halves = _to_halves(name, document)
                    hashed.update(halves.data)
                    vectors.write(halves.data)
                lengths.append(np.array([len(document) for document in documents], dtype=np.int32))
                passages.add(names, stored if text_source else [None] * len(names))
                advance(len(documents))
            _flush(vectors.fileno())
        if not passages.count:
            raise InputError("There are no documents to index: give at least one.")
        _check_spent(None if ids is None else id_source, "ids", passages.count)
        _check_spent(text_source, "texts", passages.count)
    finally:
        passages.close()
    all_lengths = np.concatenate(lengths).astype("<i4")
    (directory / LENGTHS).write_bytes(all_lengths.tobytes())
    digests = {
        VECTORS: hashed.hexdigest(),
        LENGTHS: _sha256(directory / LENGTHS),
        PASSAGES: _sha256(directory / PASSAGES),
    }
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "created_by": f"xtrkit {version('xtrkit')}",
        "documents": passages.count,
        "tokens": int(all_lengths.sum(dtype=np.int64)),
        "dim": dim,
        "files": {
            name: {"size": (directory / name).stat().st_size, "sha256": digest} for name, digest in digests.items()
        },
    }


def _check_document(name: str, document: FloatArray, dim: int) -> int:
    """Refuse what could not be searched; return the dimension that all documents must have."""
    if not isinstance(document, np.ndarray) or not np.issubdtype(document.dtype, np.floating):
        got = document.dtype if isinstance(document, np.ndarray) else type(document).__name__
        raise InputError(f"Document {name!r}: expected an array of floating-point numbers, got {got}.")
    if document.ndim != 2 or 0 in document.shape:
        raise InputError(
            f"Document {name!r}: expected token vectors of shape (tokens, dimensions) with at least one token, "
            f"got shape {document.shape}."
        )
    if dim and document.shape[1] != dim:
        raise InputError(f"Document {name!r} has vectors of {document.shape[1]} dimensions, those before had {dim}.")
    return int(document.shape[1])


def _to_halves(name: str, document: FloatArray) -> npt.NDArray[np.float16]:
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


def _put_in_place(building: Path, path: Path) -> None:
    """Give a finished index its name; an index that was there before goes only now."""
    for file in building.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        _flush(descriptor)
        os.close(descriptor)
    if os.path.lexists(path):
        replaced = Path(tempfile.mkdtemp(prefix=f".{path.name}.replaced-", dir=path.parent))
        path.rename(replaced / path.name)
        building.rename(path)
        shutil.rmtree(replaced)
    else:
        building.rename(path)


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "There is nothing" if not path.exists() else "There is no index"
        raise IndexFormatError(f"{what} at {path}: make one with `xtrkit index COLLECTION {path}`.") from error
    except (OSError, ValueError) as error:
        raise _damaged(path / MANIFEST, str(error)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(path / MANIFEST, f"it does not say that this is a {FORMAT}")
    if manifest.get("version") != FORMAT_VERSION:
        raise IndexFormatError(
            f"{path} has format version {manifest.get('version')}, this xtrkit reads version {FORMAT_VERSION}: "
            "use the xtrkit that wrote it, or build the index anew."
        )
    return manifest


def _check_size(path: Path, size: int) -> None:
    actual = path.stat().st_size if path.is_file() else None
    if actual is None:
        raise _damaged(path, "it is missing")
    if actual != size:
        raise _damaged(path, f"it has {actual} bytes instead of {size}")


def _damaged(path: Path, why: str) -> IndexFormatError:
    return IndexFormatError(f"{path} is damaged ({why}): build the index anew.")
