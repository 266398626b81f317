"""Generations of an index: pin one to read it, commit the next, collect those that nobody needs.

A generation exists when its manifest has its name, and it gets it by ``link``, which fails if the name is taken: a
commit is there whole or not at all, and two writers can't both win. Readers hold a shared ``flock`` on the manifest
they read; whoever collects takes the exclusive one first, so files vanish only when no process, living or dead, reads
them.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import weakref
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from xtrkit.errors import (
    IndexDamagedError,
    IndexExistsError,
    IndexFormatError,
    IndexLockedError,
    InputError,
    StorageError,
)
from xtrkit.forks import tell_of_forks
from xtrkit.storage.files import NewFile, check_size, damaged, discard, flush, let_go, storage_errors
from xtrkit.storage.locks import fcntl
from xtrkit.storage.manifest import LARGEST_MANIFEST, Manifest, decoded, encoded, manifest_name

WRITER_LOCK = "writer.lock"
KEPT = 2
"""Newest generations that collecting leaves: the newest, and one to go back to if it turns out to be damaged."""

MANIFEST_NAME = re.compile(r"manifest-(\d{12})\.json", re.ASCII)
OWN_NAME = re.compile(
    r"s\d{12}-[0-9a-f]{8}\.(vectors\.safetensors|docs\.sqlite|dead-\d{12}-[0-9a-f]{8}"
    r"|words-[0-9a-f]{8}\.safetensors)"
    r"|codec-\d{12}-[0-9a-f]{8}\.safetensors|sources-\d{12}-[0-9a-f]{8}\.json|tmp-[0-9a-f]{8}",
    re.ASCII,
)
"""Files that collecting may remove if no manifest names them; it never touches others."""


def new_segment_name(generation: int, tail: str | None = None) -> str:
    """A name that no segment had before; it ends with eight hexadecimal digits, by chance where none are given."""
    return f"s{generation:012d}-{tail or secrets.token_hex(4)}"


def new_codec_name(generation: int, tail: str | None = None) -> str:
    """A name that no codec's file had before; its digits as those of :func:`new_segment_name`."""
    return f"codec-{generation:012d}-{tail or secrets.token_hex(4)}.safetensors"


def new_sources_name(generation: int) -> str:
    """A name that no file of sources had before."""
    return f"sources-{generation:012d}-{secrets.token_hex(4)}.json"


def new_tombstones_name(segment: str, generation: int) -> str:
    """A name that no file of tombstones had before, not even one that a killed writer left."""
    return f"{segment}.dead-{generation:012d}-{secrets.token_hex(4)}"


def words_name(segment: str) -> str:
    """The name of the file of words that is written with a segment, whose own name nobody had before."""
    return f"{segment}.words-{segment[-8:]}.safetensors"


def new_words_name(segment: str) -> str:
    """A name that no file of a segment's words had before."""
    return f"{segment}.words-{secrets.token_hex(4)}.safetensors"


def generations(directory: Path) -> list[int]:
    """The numbers of the generations that have a manifest, ascending.

    Raises:
        StorageError: the directory can't be read.
    """
    with storage_errors(directory, "listing it"):
        found = [MANIFEST_NAME.fullmatch(name) for name in os.listdir(directory)]
    return sorted(int(match[1]) for match in found if match)


class Pin:
    """A generation that stays on disk as long as this is open; use it in a ``with``, or close it.

    Attributes:
        directory: the index.
        manifest: what the generation holds.
    """

    def __init__(self, directory: Path, generation: int) -> None:
        """Pin a generation, and look whether its files are there.

        Raises:
            FileNotFoundError: it was collected.
            IndexDamagedError: its manifest, or the size of one of its files, is not what was written.
            StorageError: it can't be read.
        """
        self.directory = directory
        path = directory / manifest_name(generation)
        descriptor = lock_shared(path)
        self._finalizer = weakref.finalize(self, let_go, descriptor)
        try:
            with storage_errors(path, "reading"):
                content = os.pread(descriptor, LARGEST_MANIFEST, 0)
            self.manifest = decoded(content, path)
            for file in self.manifest.files:
                check_size(directory, file)
        except BaseException:
            self.close()
            raise

    def directories(self) -> list[Path]:
        """The directory of each segment, in order."""
        return [self.directory] * len(self.manifest.segments)

    @property
    def size(self) -> int:
        """Bytes that the generation takes on disk."""
        manifest = self.directory / manifest_name(self.manifest.generation)
        return sum(file.size for file in self.manifest.files) + manifest.stat().st_size

    def __enter__(self) -> Pin:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the generation go."""
        self._finalizer()


def lock_shared(path: Path) -> int:
    """Hold a manifest, so that it stays as long as the descriptor is open.

    Raises:
        FileNotFoundError: it was collected.
        StorageError: it can't be read.
    """
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not os.fstat(descriptor).st_nlink:
            raise FileNotFoundError(path)  # collected between the two calls
    except OSError as error:
        if descriptor >= 0:
            let_go(descriptor)
        if isinstance(error, FileNotFoundError):
            raise
        raise StorageError(f"{path}: reading failed ({error.strerror or error}).") from error
    return descriptor


def pin(directory: Path, generation: int | None = None) -> Pin:
    """Pin a generation, the newest where none is asked for.

    Raises:
        InputError: there is no such generation.
        IndexFormatError: there is no index, or a newer xtrkit wrote it.
        IndexDamagedError: it is damaged; the message names the newest generation that isn't.
        StorageError: it can't be read.
    """
    for _ in range(1000):
        found = existing(directory)
        wanted = found[-1] if generation is None else generation
        try:
            return Pin(directory, wanted)
        except FileNotFoundError as error:
            if generation is not None:
                there = ", ".join(map(str, found))
                raise InputError(f"{directory} has no generation {wanted} (any more): there are {there}.") from error
        except IndexDamagedError as error:
            raise IndexDamagedError(f"{error}{_way_back(directory, found, wanted)}") from error
    raise damaged(directory / manifest_name(found[-1]), "it is listed but can't be opened")


def existing(directory: Path) -> list[int]:
    """The numbers of an index's generations, one at least, ascending.

    Raises:
        IndexFormatError: there is no index.
        StorageError: the directory can't be read.
    """
    with storage_errors(directory, "reading"):
        there = directory.is_dir()
    if not there:
        if os.path.lexists(directory):
            raise IndexFormatError(
                f"There is no index at {directory}, but a file: name one, or make one elsewhere (xtrkit index)."
            )
        raise IndexFormatError(f"There is nothing at {directory}: make one with `xtrkit index COLLECTION {directory}`.")
    found = generations(directory)
    if found:
        return found
    if any(name.startswith("cluster-") for name in os.listdir(directory)):
        raise IndexFormatError(
            f"{directory} is a cluster of shards: this is done to an index that is not one, or to the copy of a shard "
            "(xtrkit cluster status tells which there are)."
        )
    if (directory / "manifest.json").is_file():
        raise IndexFormatError(
            f"{directory} has format version 1, which was never released and which this xtrkit does not read: "
            "build the index anew."
        )
    raise IndexFormatError(
        f"There is no index at {directory}, which has no manifest: name one, or make one elsewhere (xtrkit index)."
    )


def _way_back(directory: Path, found: list[int], broken: int) -> str:
    """What to do about a damaged generation."""
    for generation in reversed([number for number in found if number != broken]):
        try:
            Pin(directory, generation).close()
        except (OSError, IndexFormatError, StorageError):
            continue
        return (
            f" Generation {generation} is intact: `xtrkit repair {directory} --rollback {generation}` goes back to it."
        )
    return " No other generation is intact: build the index anew, or bring back a copy."


class WriterLock:
    """The right to change an index, held by one process at a time; the kernel frees it when the process dies."""

    def __init__(self, directory: Path) -> None:
        """Take the right.

        Raises:
            IndexLockedError: another writer has it.
            StorageError: the lock's file can't be made.
        """
        path = directory / WRITER_LOCK
        with storage_errors(path, "locking it"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                let_go(descriptor)
                raise IndexLockedError(
                    f"Another process, or another writer of this one, is changing the index at {directory}: "
                    "wait until it has finished."
                ) from error
            except BaseException:
                let_go(descriptor)
                raise
        self._finalizer = weakref.finalize(self, let_go, descriptor)
        tell_of_forks(self)

    def after_fork(self) -> None:
        """Leave the right to the parent: a child that kept the descriptor would hold it beyond the parent's end."""
        self._finalizer()

    @property
    def held(self) -> bool:
        """Whether this process has the right; a child of the one that took it has not."""
        return self._finalizer.alive

    def __enter__(self) -> WriterLock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the right back."""
        self._finalizer()


def commit(directory: Path, manifest: Manifest) -> None:
    """Make a generation, all of whose files are written and flushed. When this returns, it survives a power cut.

    Raises:
        IndexLockedError: another writer committed this generation.
        StorageError: the disk refused; whether the generation is there must be looked up by opening the index.
    """
    commit_file(directory, manifest_name(manifest.generation), manifest.generation, encoded(manifest))


def commit_file(directory: Path, name: str, generation: int, content: bytes) -> None:
    """Put the file in place that makes a generation, unless there is one of its name.

    Raises:
        IndexLockedError: another writer committed this generation.
        StorageError: the disk refused; whether the generation is there must be looked up.
    """
    path, temporary = directory / name, f"tmp-{secrets.token_hex(4)}"
    flush(directory)
    with NewFile(directory, temporary) as file:
        file.write(content)
        file.finish()
    try:
        with storage_errors(path, "committing it"):
            try:
                os.link(directory / temporary, path)
            except FileExistsError as error:
                raise IndexLockedError(
                    f"Another writer committed generation {generation} of {directory}: open it and try again."
                ) from error
        flush(directory)
    finally:
        discard(directory / temporary)


def collect(directory: Path, keep: int | AbstractSet[int] = KEPT) -> list[str]:
    """Remove generations that nobody reads, but for those to be kept, and files that no manifest names.

    The caller holds the writer's lock. What can't be removed now is left for the next time.

    Args:
        directory: the index.
        keep: how many of the newest generations stay, or the numbers of those that do.

    Returns:
        the names that were removed.
    """
    removed = []
    try:
        found = generations(directory)
        kept = found[-keep:] if isinstance(keep, int) else keep
        for generation in found:
            if generation not in kept and remove_manifest(directory / manifest_name(generation)):
                removed.append(manifest_name(generation))
        named = {file.name for number in generations(directory) for file in _manifest_of(directory, number).files}
        for name in os.listdir(directory):
            if OWN_NAME.fullmatch(name) and name not in named:
                (directory / name).unlink()
                removed.append(name)
    except (OSError, StorageError, IndexFormatError):
        pass  # what was committed stays committed: a generation that can't be read keeps all files
    return removed


def remove_manifest(path: Path) -> bool:
    """Remove a manifest, unless a reader holds it; whether it is gone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            return True
    finally:
        let_go(descriptor)
    return False


def _manifest_of(directory: Path, generation: int) -> Manifest:
    path = directory / manifest_name(generation)
    return decoded(path.read_bytes(), path)


def roll_back(directory: Path, generation: int) -> int:
    """Make a generation that holds what an older one held; return its number. The caller holds the writer's lock.

    Raises:
        InputError: there is no such generation.
        IndexDamagedError: it is damaged too.
        StorageError: the disk refused.
    """
    with pin(directory, generation) as pinned:
        number = generations(directory)[-1] + 1
        commit(directory, replace(pinned.manifest, generation=number))
    return number


def back_up(directory: Path, target: Path, generation: int | None = None) -> int:
    """Copy one generation into a new directory while writers work; return its number.

    Raises:
        IndexExistsError: something is at ``target`` already.
        StorageError: the copy could not be written.
    """
    with pin(directory, generation) as pinned:
        name = manifest_name(pinned.manifest.generation)
        if os.path.lexists(target):
            raise IndexExistsError(f"{target} exists already: choose another place for the copy.")
        with storage_errors(target, "copying"):
            target.mkdir()
            for copied in [*(file.name for file in pinned.manifest.files), name]:
                shutil.copyfile(directory / copied, target / copied)
                flush(target / copied)
        flush(target)
        flush(target.absolute().parent)
    return pinned.manifest.generation
