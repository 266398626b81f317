"""The files of an index. Nothing else in xtrkit opens them.

::

    INDEX/
      manifest.json     format, counts, the encoder's identity, and size and sha256 of every other file
      passages.sqlite   ids and texts
      vectors.f16       exact index: (M, d) float16 token vectors, little-endian, document after document
      lengths.i32       exact index: (N,) int32, how many token vectors each document has
      compressed.json,  compressed index: see compressed_format.py
      *.bin

Arrays are mapped, never loaded.

An index is written below a hidden sibling directory (``spool.py``) and renamed when everything is on disk: what bears
the name of an index is complete, and a build that fails or is killed leaves the old state. Paths inside are relative,
so an index can be moved and copied.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from xtrkit.errors import IndexExistsError, IndexFormatError, InputError
from xtrkit.indexing.codec import BITS, check_bits, codec_named
from xtrkit.indexing.compressed_format import HEADER, CompressedTokens, open_compressed
from xtrkit.indexing.documents import Batches, spool_documents
from xtrkit.indexing.passages import Passages, write_passages
from xtrkit.indexing.postings import UNORDERED, build, write_chunks
from xtrkit.indexing.spool import Spool, claimed, cleared, discarded, workplace_of
from xtrkit.indexing.stanford import StanfordIndex
from xtrkit.progress import Reporter
from xtrkit.values import EncoderIdentity, TokenVectors, offsets_of

FORMAT = "xtrkit-index"
FORMAT_VERSION = 1
VECTORS, LENGTHS, PASSAGES, MANIFEST = "vectors.f16", "lengths.i32", "passages.sqlite", "manifest.json"
EXACT_BITS = 16
BUILDING = "index"
"""Directory in the workplace that becomes the index."""
REPLACED = "replaced"
"""Directory in the workplace where an index that is overwritten goes before it is removed."""


@dataclass(frozen=True, eq=False)
class Store:
    """An opened index.

    Attributes:
        path: its directory.
        tokens: its token vectors, exact or compressed.
        passages: ids and texts.
        encoder: which encoder made the vectors, if one did.
        size: bytes on disk.
    """

    path: Path
    tokens: TokenVectors | CompressedTokens
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
            n, m, dim, bits = (int(manifest[key]) for key in ("documents", "tokens", "dim", "bits"))
            record = manifest["encoder"]
            encoder = None if record is None else EncoderIdentity(**record)
            sizes = {str(name): int(facts["size"]) for name, facts in manifest["files"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(path / MANIFEST, f"it lacks {error}") from error
        needed = {PASSAGES, VECTORS, LENGTHS} if bits == EXACT_BITS else {PASSAGES, HEADER}
        if not needed <= sizes.keys():
            raise _damaged(path / MANIFEST, f"it lacks {min(needed - sizes.keys())}")
        for name, size in sizes.items():
            _check_size(path / name, size)
        tokens = _open_exact(path, m, dim) if bits == EXACT_BITS else open_compressed(path)
        offsets = tokens.offsets if isinstance(tokens, TokenVectors) else tokens.document_offsets
        if (offsets[-1], len(offsets) - 1) != (m, n):
            raise _damaged(path / MANIFEST, "its counts do not fit its files")
        passages = Passages(path / PASSAGES)
        if passages.count != n:
            raise _damaged(path / PASSAGES, f"it holds {passages.count} passages instead of {n}")
        size = sum(sizes.values()) + (path / MANIFEST).stat().st_size
        return cls(path, tokens, passages, encoder, size)


def _open_exact(path: Path, m: int, dim: int) -> TokenVectors:
    if (path / VECTORS).stat().st_size != 2 * m * dim:
        raise _damaged(path / MANIFEST, "its counts do not fit its files")
    offsets = offsets_of(np.fromfile(path / LENGTHS, dtype="<i4").astype(np.int64))
    if offsets[-1] != m or (np.diff(offsets) < 1).any():
        raise _damaged(path / LENGTHS, "document lengths do not add up to the tokens")
    return TokenVectors(np.memmap(path / VECTORS, dtype="<f2", mode="r", shape=(m, dim)), offsets)


def write_store(
    path: Path,
    batches: Batches,
    *,
    ids: Iterable[str] | None,
    texts: Iterable[str] | None,
    encoder: EncoderIdentity | None,
    nbits: int,
    codec: str,
    overwrite: bool,
    reporter: Reporter,
    n_documents: int | None,
) -> None:
    """Write an index, holding one batch in memory at a time.

    Args:
        path: directory to make.
        batches: the documents' (m, d) token vectors, some documents at a time, in order; or what gives them from a
            document's number on: then an attempt that is stopped leaves what it has, and the next goes on with it.
        ids: the documents' ids, unique; None numbers them "0", "1", ….
        texts: their texts; None where there are none.
        encoder: which encoder made the vectors.
        nbits: 16 keeps vectors as float16; 1, 2, 4 or 8 compress them to so many bits a dimension.
        codec: how they are compressed.
        overwrite: replace an index that is there already, once the new one is complete.
        reporter: told about the progress.
        n_documents: how many documents there will be, if that is known.

    Raises:
        IndexExistsError: something is at ``path`` and may not be overwritten.
        IndexLockedError: another process is building the same index.
        InputError: a document has no vectors, vectors of another dimension, or numbers that are not finite; ids are
            not unique strings, or there are fewer ids or texts than documents, or more.
    """
    if nbits not in (*BITS, EXACT_BITS):
        raise InputError(f"nbits must be 1, 2, 4 or 8, or 16 for an exact index, got {nbits!r}.")
    compression = None if nbits == EXACT_BITS else codec_named(codec, nbits)
    path = path.resolve()  # a symlink's target is replaced, not the link; "." has a name
    check_free(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    resumable, workplace = callable(batches), workplace_of(path)
    identity = None if encoder is None else asdict(encoder)
    with claimed(workplace):
        if (workplace / REPLACED).exists() and not os.path.lexists(path):
            (workplace / REPLACED).rename(path)  # a kill came between the two renames that replace an index
            check_free(path, overwrite=overwrite)
        spool = Spool(workplace, json.dumps(identity, sort_keys=True), durable=resumable)
        try:
            with spool:
                spool_documents(
                    spool,
                    batches,
                    ids,
                    texts,
                    check_dim=lambda dim: None if compression is None else check_bits(nbits, dim),
                    reporter=reporter,
                    n_documents=n_documents,
                )
                building = _fresh(workplace)
                write_passages(building / PASSAGES, spool.documents())
                if compression is None:
                    _write_exact(building, spool, reporter)
                else:
                    build(spool, building, workplace, compression, reporter=reporter)
                _write_manifest(building, spool.count, spool.n_tokens, spool.dim, nbits, identity)
            _put_in_place(building, path, overwrite=overwrite)
        except BaseException:
            if not (resumable and spool.committed):
                cleared(workplace)
            raise
        cleared(workplace)


def write_stanford(
    path: Path,
    source: StanfordIndex,
    *,
    passages: Iterable[tuple[str, str | None]] | None,
    overwrite: bool,
    reporter: Reporter,
) -> None:
    """Write an index of the centroids, buckets and codes of a Stanford index; nothing is compressed anew.

    Args:
        path: directory to make.
        source: the other index.
        passages: id and text of each passage, in the other index's order; None numbers them.
        overwrite: replace an index that is there already, once the new one is complete.
        reporter: told about the progress.

    Raises:
        IndexExistsError: something is at ``path`` and may not be overwritten.
        IndexLockedError: another process is building the same index.
        IndexFormatError: the other index is damaged.
        InputError: there are fewer passages in it than were given, or more.
    """
    path = path.resolve()
    check_free(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    workplace = workplace_of(path)
    with claimed(workplace):
        try:
            building = _fresh(workplace)
            lengths = write_chunks(source, building, workplace / UNORDERED, reporter)
            write_passages(building / PASSAGES, _exactly(passages, len(lengths)))
            _write_manifest(building, len(lengths), int(lengths.sum()), source.dim, source.codec.bits, None)
            _put_in_place(building, path, overwrite=overwrite)
        finally:
            cleared(workplace)


def _exactly(passages: Iterable[tuple[str, str | None]] | None, count: int) -> Iterator[tuple[str, str | None]]:
    """So many passages and no more; numbered ones where there are none."""
    given = ((str(number), None) for number in range(count)) if passages is None else iter(passages)
    taken = 0
    for taken, passage in enumerate(islice(given, count), start=1):  # noqa: B007
        yield passage
    if taken < count or next(given, None) is not None:
        raise InputError(
            f"The collection has {'fewer' if taken < count else 'more'} passages than the {count:,} of the index: "
            "give the one that it was made of."
        )


def _fresh(workplace: Path) -> Path:
    """An empty directory that becomes the index."""
    building = workplace / BUILDING
    discarded(building)
    building.mkdir()
    return building


def check_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken, before any work is done.

    Raises:
        IndexExistsError: there is something; with ``overwrite``, something that isn't an index.
        InputError: nothing can be written there.
    """
    if not os.path.lexists(path):
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise InputError(f"{folder} is no folder that can be written to: put the index elsewhere.")
        return
    if not overwrite:
        raise _taken(path)
    if not (path / MANIFEST).is_file():
        raise IndexExistsError(f"{path} exists and is not an index, so it is not overwritten: choose another place.")


def _write_exact(directory: Path, spool: Spool, reporter: Reporter) -> None:
    with (
        (directory / VECTORS).open("wb") as vectors,
        reporter.phase("Writing the index", spool.n_tokens, "tokens") as advance,
    ):
        for _, rows in spool.blocks():
            vectors.write(rows.data)
            advance(len(rows))
    (directory / LENGTHS).write_bytes(spool.lengths().astype("<i4").tobytes())


def _write_manifest(
    directory: Path, documents: int, tokens: int, dim: int, nbits: int, encoder: dict[str, Any] | None
) -> None:
    manifest = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "created_by": f"xtrkit {version('xtrkit')}",
        "documents": documents,
        "tokens": tokens,
        "dim": dim,
        "bits": nbits,
        "files": {
            file.name: {"size": file.stat().st_size, "sha256": _sha256(file)} for file in sorted(directory.iterdir())
        },
        "encoder": encoder,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _put_in_place(building: Path, path: Path, *, overwrite: bool) -> None:
    """Give a finished index its name; an index that was there before goes only now, and comes back if that fails."""
    for written in (*building.iterdir(), building):
        _flush(written)
    check_free(path, overwrite=overwrite)  # again: somebody may have put something there in the meantime
    if os.path.lexists(path):
        replaced = building.parent / REPLACED
        path.rename(replaced)
        try:
            building.rename(path)
        except OSError:
            replaced.rename(path)
            raise
        discarded(replaced)
    else:
        try:
            building.rename(path)  # fails where another index or anything else got there first
        except OSError as error:
            raise _taken(path) from error
    _flush(path.parent)


def _taken(path: Path) -> IndexExistsError:
    return IndexExistsError(
        f"{path} exists already: choose another place, or replace it with --overwrite (overwrite=True)."
    )


def _flush(path: Path) -> None:
    """Wait until a file, or the entries of a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "There is nothing" if not path.exists() else "There is no index"
        raise IndexFormatError(f"{what} at {path}: make one with `xtrkit index COLLECTION {path}`.") from error
    except PermissionError:
        raise  # not damage: whoever may read it will find it whole
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
