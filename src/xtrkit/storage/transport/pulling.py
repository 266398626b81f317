"""From a store to a directory: a cluster, some of its shards, or an index."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xtrkit.errors import IndexDamagedError, IndexExistsError, IndexFormatError, InputError
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.files import check_size, storage_errors
from xtrkit.storage.generations import MANIFEST_NAME, OWN_NAME, WRITER_LOCK, collect, generations
from xtrkit.storage.manifest import Manifest, decoded, manifest_name
from xtrkit.storage.shards import NAME as CLUSTER_NAME
from xtrkit.storage.shards import (
    SHARD_NAME,
    ClusterManifest,
    ShardFacts,
    cluster_generations,
    collect_cluster,
    decoded_cluster,
)
from xtrkit.storage.transport import Transfer
from xtrkit.storage.transport.arriving import Arriving, not_there, other_content
from xtrkit.storage.transport.store import FILES, Remote, address


class Head(NamedTuple):
    """The manifest that makes a generation in a store.

    Attributes:
        name: of its file.
        generation: its number.
        newest: whether there is none after it.
        content: its bytes.
        made: what it says, of a cluster or an index.
    """

    name: str
    generation: int
    newest: bool
    content: bytes
    made: ClusterManifest | Manifest


def pull(
    url: str,
    directory: str | Path,
    generation: int | None = None,
    shards: Sequence[str | int] | None = None,
    reporter: Reporter = SILENT,
) -> Transfer:
    """Bring a generation of a cluster, or of an index, into a local directory; files that are there already stay.

    With some shards alone, the directory is that of a machine which has these, and the others are elsewhere. As after a
    commit, older generations go, but for the one before and those that somebody reads.

    Args:
        url: the place that it was pushed to.
        directory: where it goes: a new directory, or one that it was pulled into before.
        generation: which one; None is the newest.
        shards: the numbers, from 0, or names of the shards; None is all.
        reporter: told about the progress.

    Raises:
        IndexDamagedError: a file that arrived is not what was pushed, or is missing in the store.
        IndexExistsError: the directory has something else, or another content of this generation.
        IndexFormatError: there is no cluster and no index, or one of a newer xtrkit.
        InputError: there is no such generation or shard, or the URL can't be used.
        MissingExtraError: what speaks to the store isn't installed.
        StorageError: the store can't be reached, or the disk refused.
    """
    directory, remote = Path(directory).absolute(), Remote(url)
    head = head_of(remote, generation)
    if isinstance(head.made, Manifest):
        if shards is not None:
            raise InputError(f"{remote.url} has an index, which has no shards: pull all of it.")
        return _pulled_index(remote, directory, head, head.made, reporter)
    return _pulled_cluster(remote, directory, head, _chosen(head.made, shards), reporter)


def pull_shard(url: str, cache: str | Path, shard: ShardFacts, reporter: Reporter = SILENT) -> Path:
    """Bring one shard's generation into a cache of this machine, if it isn't there; return the shard's directory.

    Processes that pull the same shard at the same time wait for the first. A shard that is there is found without
    asking the store. Older generations go, but for the one before and those that somebody reads.

    Args:
        url: the place that its cluster was pushed to.
        cache: a directory for the shards of any clusters, which is made if it isn't there.
        shard: what the cluster's manifest says of it.
        reporter: told about the progress.

    Raises:
        IndexDamagedError: a file that arrived is not what was pushed, or is missing in the store.
        IndexExistsError: the cache has another content of this generation.
        InputError: the URL can't be used.
        MissingExtraError: what speaks to the store isn't installed.
        StorageError: the store can't be reached, or the disk refused.
    """
    directory = cached(cache, url) / shard.name
    if _complete(directory, shard):
        return directory
    remote = Remote(url)
    content, manifest = manifest_of(remote, shard)
    arriving = Arriving(remote, Transfer(shard.generation, (shard.name,)), reporter)
    with (
        arriving.changing(directory),
        reporter.phase(f"Pulling {shard.name}", bytes_of([manifest]), "bytes") as arriving.advance,
    ):
        arriving.index(directory, manifest, content)
        if generations(directory)[-1] == shard.generation:
            collect(directory)
    return directory


def _pulled_index(remote: Remote, directory: Path, head: Head, manifest: Manifest, reporter: Reporter) -> Transfer:
    _check_place(directory, cluster=False)
    arriving = Arriving(remote, Transfer(head.generation), reporter)
    with (
        arriving.changing(directory),
        reporter.phase("Pulling", bytes_of([manifest]), "bytes") as arriving.advance,
    ):
        arriving.index(directory, manifest, head.content)
        if head.newest:
            collect(directory)
    return arriving.made


def _pulled_cluster(
    remote: Remote, directory: Path, head: Head, shards: Sequence[ShardFacts], reporter: Reporter
) -> Transfer:
    _check_place(directory, cluster=True)
    arriving = Arriving(remote, Transfer(head.generation, tuple(shard.name for shard in shards)), reporter)
    found = [(directory / shard.name, *manifest_of(remote, shard)) for shard in shards]
    total = bytes_of([manifest for _, _, manifest in found])
    with arriving.changing(directory), reporter.phase("Pulling", total, "bytes") as arriving.advance:
        arriving.check_free(directory / head.name, head.content)
        for place, content, manifest in found:
            with arriving.changing(place):
                arriving.index(place, manifest, content)
        assert isinstance(head.made, ClusterManifest)
        if head.made.sources is not None:
            arriving.file(directory, head.made.sources)
        arriving.manifest(directory, head.name, head.generation, head.content)
        if head.newest:
            collect_cluster(directory)
    return arriving.made


def head_of(remote: Remote, generation: int | None) -> Head:
    """The manifest that makes a generation in a store, of the newest where none is named.

    Raises:
        IndexDamagedError: it is not what was pushed.
        IndexFormatError: there is none, or one of a newer xtrkit.
        InputError: there is no such generation, or the URL is that of a file.
        StorageError: the store can't be reached.
    """
    names = remote.listed()
    is_cluster = any(CLUSTER_NAME.fullmatch(name) for name in names)
    matches = [(CLUSTER_NAME if is_cluster else MANIFEST_NAME).fullmatch(name) for name in names]
    found = {int(match[1]): match[0] for match in matches if match}
    if not found:
        raise IndexFormatError(
            f"There is no cluster and no index at {remote.url}: look whether the URL is right, or push one there "
            "(xtrkit push DIR URL)."
        )
    if FILES not in names:
        raise InputError(
            f"{remote.url} is a cluster or an index itself, not a place that one was pushed to: open it, copy it "
            "(xtrkit backup), or push it to a place of its own first."
        )
    wanted = max(found) if generation is None else generation
    if wanted not in found:
        there = ", ".join(map(str, sorted(found)))
        raise InputError(f"{remote.url} has no generation {wanted}: there are {there}.")
    name = found[wanted]
    content = remote.read(name) or b""
    try:
        made = decoded_cluster(content, Path(name), wanted) if is_cluster else decoded(content, Path(name))
    except IndexDamagedError as error:
        raise IndexDamagedError(
            f"{remote.where(name)} is not what was pushed ({error.__cause__ or 'its own sha256 is another'}): remove "
            "it there, and push the generation again (xtrkit push)."
        ) from error
    return Head(name, wanted, wanted == max(found), content, made)


def manifest_of(remote: Remote, shard: ShardFacts) -> tuple[bytes, Manifest]:
    """The manifest of a shard's generation, which the cluster's names by its hash: its file, and what it says.

    Raises:
        IndexDamagedError: it is not what was pushed, or is missing.
        IndexFormatError: a newer xtrkit wrote it.
        StorageError: the store can't be reached.
    """
    name = manifest_name(shard.generation)
    where = f"{remote.where(address(shard.manifest))} ({shard.name}/{name})"
    content = remote.read(address(shard.manifest))
    if content is None:
        raise not_there(where)
    found = hashlib.sha256(content).hexdigest()
    if found != shard.manifest:
        raise other_content(where, found, shard.manifest)
    return content, decoded(content, Path(name))


def cached(cache: str | Path, url: str) -> Path:
    """Where a cache has what comes from a URL."""
    return Path(cache).absolute() / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


def bytes_of(manifests: Sequence[Manifest]) -> int:
    """What the files of some generations take."""
    return sum(file.size for manifest in manifests for file in manifest.files)


def _chosen(cluster: ClusterManifest, wanted: Sequence[str | int] | None) -> list[ShardFacts]:
    """Shards by number or name, in the cluster's order."""
    if wanted is None:
        return list(cluster.shards)
    names = [shard.name for shard in cluster.shards]
    numbers = {str(number): number for number in range(len(names))} | {name: names.index(name) for name in names}
    unknown = [one for one in wanted if str(one) not in numbers]
    if unknown or not wanted:
        got = f"got {unknown[0]!r}" if unknown else "none is named"
        raise InputError(f"Shards are named 0 to {len(names) - 1}, or {names[0]} to {names[-1]}: {got}.")
    return [cluster.shards[number] for number in sorted({numbers[str(one)] for one in wanted})]


def _check_place(directory: Path, *, cluster: bool) -> None:
    """Refuse a directory that has something else than what is pulled, or the beginning of it."""
    with storage_errors(directory, "looking at it"):
        if not os.path.lexists(directory):
            return
        if not directory.is_dir():
            raise IndexExistsError(f"{directory} is a file: name a new directory.")
        names = os.listdir(directory)
    shards = any(CLUSTER_NAME.fullmatch(name) or SHARD_NAME.fullmatch(name) for name in names)
    manifests = any(MANIFEST_NAME.fullmatch(name) for name in names)
    begun = all(OWN_NAME.fullmatch(name) or SHARD_NAME.fullmatch(name) or name == WRITER_LOCK for name in names)
    own, other = (cluster_generations(directory), manifests) if cluster else (manifests, shards)
    if other or not (own or begun):
        what = "cluster" if cluster else "index"
        raise IndexExistsError(
            f"{directory} has something else than that {what}: name a new directory, or the one that it was pulled "
            "into before."
        )


def _complete(directory: Path, shard: ShardFacts) -> bool:
    """Whether a shard's generation is there, by the sizes of its files."""
    path = directory / manifest_name(shard.generation)
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != shard.manifest:
            return False
        for file in decoded(content, path).files:
            check_size(directory, file)
    except (OSError, IndexFormatError):
        return False
    return True
