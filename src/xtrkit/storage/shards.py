"""An index in several directories: a cluster manifest names the shards, and which generation of each.

The directory of a cluster holds ``cluster-GENERATION.json``, two lines of JSON as a manifest has them, and the shards,
each an ordinary index. A cluster's generation is there when its manifest is, which is written last; what it names is
pinned while it is read, as any generation is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from xtrkit.errors import IndexDamagedError, IndexExistsError, IndexFormatError, InputError
from xtrkit.storage.files import damaged, flush, storage_errors
from xtrkit.storage.generations import Pin, back_up
from xtrkit.storage.manifest import FILE_NAME, SHA256, Manifest, canonical, checksum_line, manifest_name
from xtrkit.whole_file import write_whole

FORMAT, VERSION = "xtrkit-cluster", 1
NAME = re.compile(r"cluster-(\d{12})\.json", re.ASCII)
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
    """

    generation: int
    created_by: str
    codec: str | None
    shards: tuple[ShardFacts, ...]


def is_cluster(directory: Path) -> bool:
    """Whether a directory holds a cluster."""
    return bool(cluster_generations(directory)) if directory.is_dir() else False


def write_cluster(directory: Path, manifest: ClusterManifest) -> None:
    """Write a generation of a cluster, all of whose shards are written. When this returns, it survives a power cut."""
    record = {
        "format": FORMAT,
        "version": VERSION,
        **manifest._asdict(),
        "shards": [shard._asdict() for shard in manifest.shards],
    }
    line = canonical(record)
    path = directory / cluster_name(manifest.generation)
    with storage_errors(path, "writing"):
        write_whole(path, (line + checksum_line(line)).decode())
        flush(path)
    flush(directory)


def read_cluster(directory: Path, generation: int | None = None) -> ClusterManifest:
    """Read a generation of a cluster, the newest where none is named.

    Raises:
        InputError: there is no such generation.
        IndexDamagedError: it is not what was written.
        IndexFormatError: there is no cluster, or a newer xtrkit wrote it.
        StorageError: it can't be read.
    """
    found = cluster_generations(directory) if directory.is_dir() else []
    if not found:
        raise IndexFormatError(f"There is no cluster at {directory}: make one of an index with xtrkit cluster split.")
    wanted = found[-1] if generation is None else generation
    if wanted not in found:
        raise InputError(f"{directory} has no generation {wanted}: there are {', '.join(map(str, found))}.")
    path = directory / cluster_name(wanted)
    with storage_errors(path, "reading"):
        content = path.read_bytes()[:LARGEST]
    line = content.partition(b"\n")[0] + b"\n"
    if content != line + checksum_line(line):
        raise damaged(path, "its content is not what was written: another sha256")
    try:
        record = json.loads(line)
        if record["format"] != FORMAT:
            raise ValueError(f"it does not say that this is a {FORMAT}")
        if record["version"] != VERSION:
            raise IndexFormatError(
                f"{directory} has cluster format {record['version']!r}, this xtrkit reads {VERSION}: use the xtrkit "
                "that wrote it, or split the index anew."
            )
        return _manifest(record, wanted)
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


class ClusterPin:
    """A generation of a cluster that stays on disk as long as this is open.

    Attributes:
        directory: the cluster.
        manifest: what the generation holds, as if it were one index.
        pins: of the shards, in order.
        size: bytes that it takes on disk.
    """

    def __init__(self, directory: Path, generation: int | None = None) -> None:
        """Pin a generation, and look whether its shards are those that it names.

        Raises:
            InputError: there is no such generation.
            IndexDamagedError: a shard is missing, of another generation or of another codec, or a file is not what was
                written.
            StorageError: it can't be read.
        """
        self.directory = directory
        cluster = read_cluster(directory, generation)
        self.pins: list[Pin] = []
        try:
            for shard in cluster.shards:
                self.pins.append(pin_shard(directory, shard, cluster.codec))
        except BaseException:
            self.close()
            raise
        first = self.pins[0].manifest
        segments = tuple(segment for pin in self.pins for segment in pin.manifest.segments)
        self.manifest = Manifest(cluster.generation, cluster.created_by, first.properties, first.codec, segments)

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
        for pin in self.pins:
            pin.close()


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
        cluster = read_cluster(directory, pinned.manifest.generation)
        with storage_errors(target, "copying"):
            target.mkdir()
        for shard in cluster.shards:
            back_up(directory / shard.name, target / shard.name, shard.generation)
        write_cluster(target, cluster)
        flush(target.absolute().parent)
    return cluster.generation


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
    if facts_of(directory, shard.name, shard.generation).manifest != shard.manifest:
        pin.close()
        raise IndexDamagedError(
            f"The shard {path} is not the one that the cluster was made of: its generation {shard.generation} has "
            "another manifest. Bring that one back, or split the index anew."
        )
    found = None if pin.manifest.codec is None else pin.manifest.codec.sha256
    if found != codec:
        pin.close()
        raise IndexDamagedError(
            f"The shard {path} has another codec than the cluster: its codes mean something else. Split the index anew."
        )
    return pin


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
    return ClusterManifest(generation, created_by, codec, shards)


def _shard(record: dict[str, Any]) -> ShardFacts:
    shard = ShardFacts(**record)
    if not isinstance(shard.name, str) or not FILE_NAME.fullmatch(shard.name) or not SHA256.fullmatch(shard.manifest):
        raise ValueError(f"{record!r} is no shard")
    if type(shard.generation) is not int or shard.generation < 1:
        raise ValueError(f"{shard.generation!r} is no generation")
    return shard


def names_of(n: int) -> Sequence[str]:
    """The names of the directories of so many shards."""
    return [f"shard-{number:04d}" for number in range(n)]
