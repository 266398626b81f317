"""From a directory to a store: the files that are not there yet, then the manifest, if nobody wrote one of its name."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from xtrkit.errors import IndexExistsError
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.files import FileFacts, check_content
from xtrkit.storage.generations import MANIFEST_NAME
from xtrkit.storage.manifest import manifest_name
from xtrkit.storage.shards import NAME as CLUSTER_NAME
from xtrkit.storage.shards import ClusterPin, cluster_name, pin_any
from xtrkit.storage.transport import Transfer
from xtrkit.storage.transport.store import FILES, Remote, address


def push(directory: str | Path, url: str, generation: int | None = None, reporter: Reporter = SILENT) -> Transfer:
    """Copy a generation of a cluster, or of an index, to a store.

    Of two who push different content as the same generation one wins, and the other is told. What was pushed before is
    not copied again; files that went missing in the store are.

    Args:
        directory: the cluster, or the index.
        url: the place: a directory, or a URL that fsspec knows, such as ``s3://bucket/folder``.
        generation: which one; None is the newest.
        reporter: told about the progress.

    Raises:
        IndexExistsError: the store has another content of this generation, or an index where this is a cluster.
        IndexFormatError: there is no cluster and no index, or it is damaged.
        InputError: there is no such generation, or the URL can't be used.
        MissingExtraError: what speaks to the store isn't installed.
        StorageError: the store refused, or can't be reached.
    """
    directory, remote = Path(directory), Remote(url)
    with closing(pin_any(directory, generation)) as pinned:
        number = pinned.manifest.generation
        if not isinstance(pinned, ClusterPin):
            files = [(directory, file) for file in pinned.manifest.files]
            return _pushed(remote, directory, Transfer(number), files, reporter)
        files = [(one.directory, file) for one in pinned.pins for file in one.manifest.files]
        if pinned.cluster.sources is not None:
            files.append((directory, pinned.cluster.sources))
        for shard in pinned.cluster.shards:
            path = directory / shard.name / manifest_name(shard.generation)
            files.append((path.parent, FileFacts(path.name, path.stat().st_size, shard.manifest)))
        names = tuple(shard.name for shard in pinned.cluster.shards)
        return _pushed(remote, directory, Transfer(number, names), files, reporter)


def _pushed(
    remote: Remote, directory: Path, made: Transfer, files: Sequence[tuple[Path, FileFacts]], reporter: Reporter
) -> Transfer:
    """Push files, and the manifest that names them; ``made`` knows which that is."""
    name = (cluster_name if made.shards else manifest_name)(made.generation)
    content, there = (directory / name).read_bytes(), remote.listed()
    _check_kind(remote, directory, there, cluster=bool(made.shards))
    if name in there:
        _check_same(remote, name, remote.read(name), content)
    have, missing = remote.sizes(), []
    for place, file in {file.sha256: (place, file) for place, file in files}.values():
        copied = have.get(file.sha256) != file.size
        made = made.and_a_file(file.size, copied=copied)
        missing += [(place, file)] if copied else []
    with reporter.phase("Pushing", made.copied_bytes, "bytes") as advance:
        for place, file in missing:
            check_content(place, file)
            remote.put(place / file.name, address(file.sha256), advance)
    if name not in there:
        _check_same(remote, name, remote.put_if_absent(name, made.generation, content), content)
    return made.and_a_file(len(content), copied=name not in there)


def _check_kind(remote: Remote, directory: Path, there: Sequence[str], *, cluster: bool) -> None:
    """Refuse to put a cluster where an index is, the other way round, and either into one that was not pushed."""
    if FILES not in there and any(CLUSTER_NAME.fullmatch(name) or MANIFEST_NAME.fullmatch(name) for name in there):
        raise IndexExistsError(f"{remote.url} is a cluster or an index itself: push to a place of its own.")
    if any((MANIFEST_NAME if cluster else CLUSTER_NAME).fullmatch(name) for name in there):
        kinds = ("an index", "a cluster") if cluster else ("a cluster", "an index")
        raise IndexExistsError(f"{remote.url} has {kinds[0]}, and {directory} is {kinds[1]}: push to another place.")


def _check_same(remote: Remote, name: str, found: bytes | None, content: bytes) -> None:
    """Refuse to push a generation that the store has with another content."""
    if found != content:
        raise IndexExistsError(
            f"{remote.where(name)} is there with another content, and what was pushed is never changed: push to "
            "another place, or pull what is there and change that."
        )
