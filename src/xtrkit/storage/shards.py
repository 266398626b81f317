"""An index in several directories: a cluster manifest names the shards, and which generation of each.

The directory of a cluster holds ``cluster-GENERATION.json``, two lines of JSON as a manifest has them, and the shards,
each an ordinary index. A cluster's generation is there when its manifest is, which is written last and gets its name as
a manifest does; what it names is pinned while it is read, as any generation is. Generations of a shard that no cluster
manifest names are those of writers that died, and are removed by the next that commits.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import weakref
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from xtrkit.errors import IndexDamagedError, IndexExistsError, IndexFormatError, InputError, StorageError
from xtrkit.storage.files import FileFacts, check_size, damaged, flush, let_go, storage_errors
from xtrkit.storage.generations import (
    KEPT,
    OWN_NAME,
    WRITER_LOCK,
    Pin,
    back_up,
    collect,
    commit_file,
    generations,
    lock_shared,
    pin,
    remove_manifest,
)
from xtrkit.storage.manifest import (
    FILE_NAME,
    SHA256,
    Manifest,
    canonical,
    checksum_line,
    file_of,
    file_record,
    manifest_name,
)

FORMAT, VERSION = "xtrkit-cluster", 2
NAME = re.compile(r"cluster-(\d{12})\.json", re.ASCII)
SHARD_NAME = re.compile(r"shard-(\d{4,})", re.ASCII)
LARGEST = 1 << 24


class ShardFacts(NamedTuple):
    """What a cluster manifest says of a shard.

    Attributes:
        name: of its directory, in that of the cluster.
        generation: which of its generations belongs to the cluster's.
        manifest: sha256 of that generation's manifest.
    """

    name: str
    generation: int
    manifest: str


class ClusterManifest(NamedTuple):
    """One generation of a cluster.

    Attributes:
        generation: its number, from 1.
        created_by: which program wrote it.
        codec: sha256 of the codec that all shards share; None where they keep vectors as they are.
        shards: the shards, in the order in which documents are numbered.
        sources: the file, in the cluster's directory, that says which files the documents were read from; None where
            that is not known.
    """

    generation: int
    created_by: str
    codec: str | None
    shards: tuple[ShardFacts, ...]
    sources: FileFacts | None = None


def is_cluster(directory: Path) -> bool:
    """Whether a directory holds a cluster."""
    return bool(cluster_generations(directory)) if directory.is_dir() else False


def write_cluster(directory: Path, manifest: ClusterManifest) -> None:
    """Make a generation of a cluster, all of whose shards are written. When this returns, it survives a power cut.

    Raises:
        IndexLockedError: another writer committed this generation.
        StorageError: the disk refused; whether the generation is there must be looked up.
    """
    commit_file(directory, cluster_name(manifest.generation), manifest.generation, encoded_cluster(manifest))


def encoded_cluster(manifest: ClusterManifest) -> bytes:
    """A cluster manifest's file."""
    record = {
        "format": FORMAT,
        "version": VERSION,
        **manifest._asdict(),
        "shards": [shard._asdict() for shard in manifest.shards],
        "sources": file_record(manifest.sources),
    }
    line = canonical(record)
    return line + checksum_line(line)


def read_cluster(directory: Path, generation: int | None = None) -> ClusterManifest:
    """Read a generation of a cluster, the newest where none is named.

    Raises:
        InputError: there is no such generation.
        IndexDamagedError: it is not what was written.
        IndexFormatError: there is no cluster, or a newer xtrkit wrote it.
        StorageError: it can't be read.
    """
    wanted = newest_or(directory, generation)
    path = directory / cluster_name(wanted)
    with storage_errors(path, "reading"):
        content = path.read_bytes()[:LARGEST]
    return decoded_cluster(content, path, wanted)


def newest_or(directory: Path, generation: int | None) -> int:
    """A generation that has a cluster manifest, the newest where none is asked for.

    Raises:
        InputError: there is no such generation.
        IndexFormatError: there is no cluster.
        StorageError: the directory can't be read.
    """
    found = cluster_generations(directory) if directory.is_dir() else []
    if not found:
        raise IndexFormatError(f"There is no cluster at {directory}: make one of an index with xtrkit cluster split.")
    wanted = found[-1] if generation is None else generation
    if wanted not in found:
        raise InputError(f"{directory} has no generation {wanted} (any more): there are {', '.join(map(str, found))}.")
    return wanted


def decoded_cluster(content: bytes, path: Path, generation: int) -> ClusterManifest:
    """A cluster manifest from the content of its file.

    Args:
        content: the file's bytes.
        path: where it was, for messages.
        generation: the one that its name says.

    Raises:
        IndexDamagedError: it is not what was written.
        IndexFormatError: a newer xtrkit wrote it.
    """
    line = content.partition(b"\n")[0] + b"\n"
    if content != line + checksum_line(line):
        raise damaged(path, "its content is not what was written: another sha256")
    try:
        record = json.loads(line)
        if record["format"] != FORMAT:
            raise ValueError(f"it does not say that this is a {FORMAT}")
        if record["version"] != VERSION:
            raise IndexFormatError(
                f"{path.parent} has cluster format {record['version']!r}, this xtrkit reads {VERSION}: use the xtrkit "
                "that wrote it, or split the index anew."
            )
        return _manifest(record, generation)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


class ClusterPin:
    """A generation of a cluster that stays on disk as long as this is open.

    Attributes:
        directory: the cluster.
        cluster: its manifest.
        manifest: what the generation holds, as if it were one index.
        pins: of the shards, in order.
        size: bytes that it takes on disk.
    """

    def __init__(self, directory: Path, generation: int | None = None) -> None:
        """Pin a generation, the newest where none is named, and look whether its shards are those that it names.

        Raises:
            InputError: there is no such generation.
            IndexDamagedError: a shard is missing, of another generation or of another codec, or a file is not what was
                written.
            StorageError: it can't be read.
        """
        self.directory = directory
        self.cluster, descriptor = _locked(directory, generation)
        self._finalizer = weakref.finalize(self, let_go, descriptor)
        self.pins: list[Pin] = []
        try:
            for shard in self.cluster.shards:
                self.pins.append(pin_shard(directory, shard, self.cluster.codec))
            if self.cluster.sources is not None:
                check_size(directory, self.cluster.sources)
        except BaseException:
            self.close()
            raise
        first = self.pins[0].manifest
        self.manifest = Manifest(
            self.cluster.generation,
            self.cluster.created_by,
            first.properties,
            first.codec,
            tuple(segment for pin in self.pins for segment in pin.manifest.segments),
            self.cluster.sources,
        )

    @property
    def size(self) -> int:
        """Bytes that it takes on disk."""
        return (
            sum(pin.size for pin in self.pins)
            + (self.directory / cluster_name(self.manifest.generation)).stat().st_size
        )

    def directories(self) -> list[Path]:
        """The directory of each segment, in order."""
        return [pin.directory for pin in self.pins for _ in pin.manifest.segments]

    def close(self) -> None:
        """Let the generation go."""
        for pinned in self.pins:
            pinned.close()
        self._finalizer()


def pin_any(directory: Path, generation: int | None = None) -> Pin | ClusterPin:
    """Pin a generation of an index or of a cluster, the newest where none is named.

    Raises:
        InputError: there is no such generation.
        IndexFormatError: there is neither, it is damaged, or a newer xtrkit wrote it.
        StorageError: it can't be read.
    """
    return ClusterPin(directory, generation) if is_cluster(directory) else pin(directory, generation)


def _locked(directory: Path, generation: int | None) -> tuple[ClusterManifest, int]:
    """A cluster manifest, and the descriptor that keeps it, and with it what it names, from being collected."""
    for _ in range(1000):
        wanted = newest_or(directory, generation)
        try:
            descriptor = lock_shared(directory / cluster_name(wanted))
        except FileNotFoundError:
            continue  # collected meanwhile: there is a newer one, or the one that was asked for is told to be gone
        try:
            return read_cluster(directory, wanted), descriptor
        except BaseException:
            let_go(descriptor)
            raise
    raise damaged(directory / cluster_name(wanted), "it is listed but can't be opened")


def collect_cluster(directory: Path, keep: int = KEPT) -> None:
    """Remove generations of a cluster that nobody reads, but for the newest, and what no cluster manifest names.

    The caller holds the writer's lock of the cluster. What can't be removed now is left for the next time.

    Args:
        directory: the cluster.
        keep: how many of the newest generations stay.
    """
    with suppress(OSError, StorageError, IndexFormatError):  # one that can't be read keeps all
        for generation in cluster_generations(directory)[:-keep]:
            remove_manifest(directory / cluster_name(generation))
        left = [read_cluster(directory, generation) for generation in cluster_generations(directory)]
        named = {one.sources.name for one in left if one.sources is not None}
        for name in os.listdir(directory):
            if OWN_NAME.fullmatch(name) and name not in named:
                (directory / name).unlink()
            elif SHARD_NAME.fullmatch(name):
                kept = {shard.generation for one in left for shard in one.shards if shard.name == name}
                collect(directory / name, kept)
                if not kept:
                    _remove_shard(directory / name)


def _remove_shard(directory: Path) -> None:
    """Remove the directory of a shard that no manifest names; files that are not a shard's stay, and so does it."""
    if not generations(directory):
        with suppress(OSError):
            (directory / WRITER_LOCK).unlink(missing_ok=True)
            directory.rmdir()


def check_no_shard(path: Path) -> None:
    """Refuse to change a shard of a cluster otherwise than through the cluster, which would know nothing of it.

    Raises:
        InputError: it is one.
    """
    path = path.resolve()  # a link to a shard is that shard
    if not SHARD_NAME.fullmatch(path.name) or not is_cluster(path.parent):
        return
    if any(shard.name == path.name for shard in read_cluster(path.parent).shards):
        raise InputError(f"{path} is a shard of the cluster {path.parent}: change the cluster, which knows its ids.")


def back_up_cluster(directory: Path, target: Path, generation: int | None = None) -> int:
    """Copy one generation of a cluster into a new directory; return its number.

    The copy is a cluster when all of it is there: the cluster manifest is written last.

    Raises:
        IndexExistsError: something is at ``target`` already.
        IndexDamagedError: a shard is not what the cluster was made of.
        StorageError: the copy could not be written.
    """
    with closing(ClusterPin(directory, generation)) as pinned:
        if os.path.lexists(target):
            raise IndexExistsError(f"{target} exists already: choose another place for the copy.")
        cluster = pinned.cluster
        with storage_errors(target, "copying"):
            target.mkdir()
        for shard in cluster.shards:
            back_up(directory / shard.name, target / shard.name, shard.generation)
        if cluster.sources is not None:
            with storage_errors(target, "copying"):
                shutil.copyfile(directory / cluster.sources.name, target / cluster.sources.name)
            flush(target / cluster.sources.name)
        write_cluster(target, cluster)
        flush(target.absolute().parent)
    return cluster.generation


def roll_back_cluster(directory: Path, generation: int) -> int:
    """Make a generation that holds what an older one held; return its number. The caller holds the writer's lock.

    Raises:
        InputError: there is no such generation.
        IndexDamagedError: it is damaged too.
        StorageError: the disk refused.
    """
    with closing(ClusterPin(directory, generation)) as pinned:
        number = cluster_generations(directory)[-1] + 1
        write_cluster(directory, pinned.cluster._replace(generation=number))
    return number


def facts_of(directory: Path, name: str, generation: int) -> ShardFacts:
    """What a cluster manifest says of a shard that is written."""
    content = (directory / name / manifest_name(generation)).read_bytes()
    return ShardFacts(name, generation, hashlib.sha256(content).hexdigest())


def pin_shard(directory: Path, shard: ShardFacts, codec: str | None) -> Pin:
    """Pin a shard's generation, and look whether it is the one that a cluster manifest names.

    Raises:
        IndexDamagedError: it is missing, of another generation or of another codec, or a file is not what was written.
        StorageError: it can't be read.
    """
    path = directory / shard.name
    try:
        pin = Pin(path, shard.generation)
    except FileNotFoundError as error:
        what = "is missing" if not path.is_dir() else f"has no generation {shard.generation} (any more)"
        raise IndexDamagedError(
            f"The shard {path} {what}: bring it back, or split the index anew (xtrkit cluster split)."
        ) from error
    try:
        check_same(path, shard)
    except BaseException:
        pin.close()
        raise
    found = None if pin.manifest.codec is None else pin.manifest.codec.sha256
    if found != codec:
        pin.close()
        raise IndexDamagedError(
            f"The shard {path} has another codec than the cluster: its codes mean something else. Split the index anew."
        )
    return pin


def check_same(path: Path, shard: ShardFacts) -> None:
    """Look whether a shard's generation is the one that a cluster manifest names.

    Args:
        path: the shard's directory.
        shard: what the cluster manifest says.

    Raises:
        IndexDamagedError: it is not.
    """
    if facts_of(path.parent, path.name, shard.generation).manifest != shard.manifest:
        raise IndexDamagedError(
            f"The shard {path} is not the one that the cluster was made of: its generation {shard.generation} has "
            "another manifest. Bring that one back, or split the index anew."
        )


def cluster_generations(directory: Path) -> list[int]:
    """The numbers of the generations that have a cluster manifest, ascending.

    Raises:
        StorageError: the directory can't be read.
    """
    with storage_errors(directory, "listing it"):
        found = [NAME.fullmatch(name) for name in os.listdir(directory)]
    return sorted(int(match[1]) for match in found if match)


def cluster_name(generation: int) -> str:
    """The file name of a generation's cluster manifest."""
    return f"cluster-{generation:012d}.json"


def _manifest(record: dict[str, Any], generation: int) -> ClusterManifest:
    shards = tuple(_shard(shard) for shard in record["shards"])
    codec, created_by = record["codec"], record["created_by"]
    if record["generation"] != generation or not shards or not isinstance(created_by, str):
        raise ValueError("it has no shards, or is that of another generation")
    if codec is not None and not (isinstance(codec, str) and SHA256.fullmatch(codec)):
        raise ValueError(f"{codec!r} is no sha256")
    if len({shard.name for shard in shards}) != len(shards):
        raise ValueError("a shard is named twice")
    sources = None if record["sources"] is None else file_of(record["sources"])
    return ClusterManifest(generation, created_by, codec, shards, sources)


def _shard(record: dict[str, Any]) -> ShardFacts:
    shard = ShardFacts(**record)
    if not isinstance(shard.name, str) or not FILE_NAME.fullmatch(shard.name) or not SHA256.fullmatch(shard.manifest):
        raise ValueError(f"{record!r} is no shard")
    if type(shard.generation) is not int or shard.generation < 1:
        raise ValueError(f"{shard.generation!r} is no generation")
    return shard


def names_of(n: int, taken: Iterable[str] = ()) -> Sequence[str]:
    """The names of the directories of so many shards, behind those that were given before."""
    numbers = [int(match[1]) for name in taken if (match := SHARD_NAME.fullmatch(name))]
    first = max(numbers, default=-1) + 1
    return [f"shard-{number:04d}" for number in range(first, first + n)]
