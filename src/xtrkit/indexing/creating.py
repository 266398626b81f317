"""Embeddings in, a new index out: it is made in a hidden sibling directory and gets its name when it is complete."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from xtrkit.errors import IndexExistsError, InputError, StorageError, missing_extra
from xtrkit.forks import begun_here
from xtrkit.indexing.centroids import Assign, CentroidTree
from xtrkit.indexing.codec import BITS, check_bits, codec_named, name_of
from xtrkit.indexing.compressed_format import write_quantiser
from xtrkit.indexing.documents import Batches, Incoming, spool_documents
from xtrkit.indexing.postings import train
from xtrkit.indexing.segments import write_segment
from xtrkit.indexing.sources import Sources, write_sources
from xtrkit.indexing.spool import Spool, claim, clear, remove, workplace_of
from xtrkit.indexing.store import DEFAULT_BITS, EXACT_BITS, Properties
from xtrkit.indexing.workers import check_threads
from xtrkit.progress import Reporter
from xtrkit.storage.files import flush, storage_errors
from xtrkit.storage.generations import WriterLock, collect, commit, generations, new_codec_name, new_segment_name
from xtrkit.storage.manifest import Manifest
from xtrkit.values import EncoderIdentity, Pooling, Splitting

BUILDING = "index"
"""Directory in the workplace that becomes the index."""


def creator() -> str:
    """Which program writes."""
    return f"xtrkit {version('xtrkit')}"


@dataclass(frozen=True)
class Making:
    """How an index is made.

    Attributes:
        nbits: 16 keeps vectors as float16; 1, 2, 4 or 8 compress them to so many bits a dimension.
        codec: how they are compressed: "grid", or "buckets" as ColBERTv2 and PLAID do.
        overwrite: replace an index that is there already, once the new one is complete.
        device: a device of torch's that tokens are assigned to centroids on; None is the CPU, without torch.
        n_documents: how many documents there will be, if that is known, to tell the time left.
        splitting: how long documents are cut into passages, which the index remembers; None where they are not.
        sources: which files the documents were read from, as far as they were read from files.
        threads: how many compute; as many as there are cores to use where None is given. The index is the same.
        pooling: how token vectors that are alike become one (:mod:`xtrkit.indexing.pooling`); None keeps all.
        dim: how many dimensions codes keep; None keeps all.
        encoded_by: what encodes the documents, for the index to remember; a run that was stopped is gone on with only
            by the same.
        nprobe: how many clusters XTR opens for a query token where the caller doesn't say; None: as many as usual.
    """

    nbits: int = DEFAULT_BITS
    codec: str = "grid"
    overwrite: bool = False
    device: str | None = None
    n_documents: int | None = None
    splitting: Splitting | None = None
    sources: Sources = ()
    threads: int | None = None
    pooling: Pooling | None = None
    dim: int | None = None
    encoded_by: str | None = None
    nprobe: int | None = None

    def __post_init__(self) -> None:
        if self.nbits not in (*BITS, EXACT_BITS):
            raise InputError(f"nbits must be 1, 2, 4 or 8, or 16 for an exact index, got {self.nbits!r}.")
        codec_named(self.codec, self.bits)
        if self.dim is not None:
            if self.nbits == EXACT_BITS:
                raise InputError(
                    "An exact index keeps vectors as they are: leave dim out, or give nbits of 1, 2, 4 or 8."
                )
            if isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim % 8 or not 8 <= self.dim <= 4096:
                raise InputError(f"dim must be a multiple of 8, from 8 to 4096, got {self.dim!r}.")
        check_threads(self.threads)

    @property
    def bits(self) -> int:
        """Bits of a codec; of an exact index, which has none, those that one would have."""
        return DEFAULT_BITS if self.nbits == EXACT_BITS else self.nbits

    def check_dim(self, dim: int) -> None:
        """Refuse dimensions that an index can't have.

        Raises:
            InputError: they can't be compressed to so many bits, or are fewer than shall be kept.
        """
        if self.dim is not None and self.dim > dim:
            raise InputError(
                f"The vectors have {dim} dimensions, of which {self.dim} can't be kept: give dim of up to {dim}."
            )
        if self.nbits != EXACT_BITS:
            check_bits(self.nbits, self.dim or dim)

    def code_dim(self, dim: int) -> int | None:
        """How many of so many dimensions codes keep; None where they keep all."""
        return None if self.dim == dim else self.dim


def write_store(
    path: Path,
    batches: Batches,
    incoming: Incoming,
    *,
    encoder: EncoderIdentity | None,
    making: Making,
    reporter: Reporter,
) -> None:
    """Write an index, holding one batch in memory at a time.

    Args:
        path: directory to make.
        batches: the documents' (m, d) token vectors, some documents at a time, in order; or what gives them from a
            document's number on: then an attempt that is stopped leaves what it has, and the next goes on with it.
        incoming: the documents' passages.
        encoder: which encoder made the vectors.
        making: bits, codec, and the like.
        reporter: told about the progress.

    Raises:
        IndexExistsError: something is at ``path`` and may not be overwritten.
        IndexLockedError: another process is building the same index, or changing the one to be overwritten.
        InputError: a document has no vectors, vectors of another dimension, or numbers that are not finite; ids are
            not unique strings, or there are fewer passages than documents, or more.
        StorageError: the index could not be written.
    """
    assignment_on(making.device)  # refuses before any work is done
    path = path.resolve()  # a symlink's target is replaced, not the link; "." has a name
    check_free(path, overwrite=making.overwrite)
    with storage_errors(path.parent, "making it"):
        path.parent.mkdir(parents=True, exist_ok=True)
    resumable, workplace = callable(batches), workplace_of(path)
    origin = [
        None if encoder is None else asdict(encoder),
        making.pooling and asdict(making.pooling),
        making.encoded_by,
    ]
    identity = json.dumps(origin, sort_keys=True)
    process = os.getpid()
    with claim(workplace):
        spool = Spool(workplace, identity, durable=resumable)
        try:
            with spool:
                spool_documents(
                    spool,
                    batches,
                    incoming,
                    check_dim=making.check_dim,
                    pooling=making.pooling,
                    reporter=reporter,
                    n_documents=making.n_documents,
                )
                manifest = _write_files(workplace / BUILDING, spool, encoder, making, reporter)
                sources = write_sources(workplace / BUILDING, 1, making.sources)
                manifest = replace(manifest, sources=sources)
            put_in_place(workplace / BUILDING, manifest, path, overwrite=making.overwrite)
        except BaseException:
            if begun_here(process) and not (resumable and spool.committed):
                clear(workplace)
            raise
        clear(workplace)


def assignment_on(device: str | None) -> Assign:
    """How tokens find their centroids: by the tree of centroids, or on a device.

    Raises:
        InputError: there is no such device.
        MissingExtraError: a device needs torch, which isn't installed.
    """
    if device is None:
        return CentroidTree.assign
    try:
        from xtrkit.indexing.assign_torch import assign_on
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise missing_extra("Building on a device", "torch") from error
    return assign_on(device)


def _write_files(
    building: Path,
    spool: Spool,
    encoder: EncoderIdentity | None,
    making: Making,
    reporter: Reporter,
) -> Manifest:
    """Write all files of a first generation but its manifest."""
    make_empty(building)
    name, encoded_by = new_segment_name(1), (making.encoded_by,) if making.encoded_by else ()
    if making.nbits == EXACT_BITS:
        segment, _ = write_segment(building, name, spool, spool.documents(), None, reporter=reporter)
        properties = Properties(
            spool.dim,
            EXACT_BITS,
            encoder=encoder,
            splitting=making.splitting,
            pooling=making.pooling,
            encoded_by=encoded_by,
            nprobe=making.nprobe,
        )
        return Manifest(1, creator(), properties.record(), None, (segment,))
    codec, threads = codec_named(making.codec, making.bits), 1 if making.device else making.threads
    code_dim, assign = making.code_dim(spool.dim), assignment_on(making.device)
    quantiser, assigned = train(spool, codec, code_dim=code_dim, reporter=reporter, assign=assign, threads=threads)
    file = write_quantiser(building, new_codec_name(1), quantiser)
    segment, error = write_segment(
        building,
        name,
        spool,
        spool.documents(),
        quantiser,
        assigned=assigned,
        reporter=reporter,
        threads=making.threads,
    )
    properties = Properties(
        spool.dim,
        codec.bits,
        name_of(codec),
        encoder,
        spool.n_tokens,
        error / max(spool.n_tokens, 1),
        splitting=making.splitting,
        pooling=making.pooling,
        code_dim=code_dim,
        encoded_by=encoded_by,
        nprobe=making.nprobe,
    )
    return Manifest(1, creator(), properties.record(), file, (segment,))


def make_empty(building: Path) -> Path:
    """Make an empty directory in which an index is made."""
    with storage_errors(building, "making it"):
        remove(building)
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
    if not path.is_dir() or not generations(path):
        raise IndexExistsError(f"{path} exists and is not an index, so it is not overwritten: choose another place.")


def put_in_place(building: Path, manifest: Manifest, path: Path, *, overwrite: bool) -> None:
    """Make an index of files that are written: a new directory, or the next generation of the one that is there.

    Readers of the old one keep it until they look for a newer generation.

    Raises:
        IndexExistsError: somebody put something there in the meantime.
        IndexLockedError: somebody is changing the index that is there.
        StorageError: the disk refused.
    """
    check_free(path, overwrite=overwrite)
    if os.path.lexists(path):
        with WriterLock(path):
            with storage_errors(path, "overwriting it"):
                for file in manifest.files:
                    os.link(building / file.name, path / file.name)
            commit(path, replace(manifest, generation=generations(path)[-1] + 1))
            collect(path, keep=1)
        return
    commit(building, manifest)
    try:
        building.rename(path)  # fails where another index or anything else got there first
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise _taken(path) from error
        raise StorageError(f"{path}: naming it failed ({error.strerror}).") from error
    flush(path.parent)


def _taken(path: Path) -> IndexExistsError:
    return IndexExistsError(
        f"{path} exists already: choose another place, or replace it with --overwrite (overwrite=True)."
    )
