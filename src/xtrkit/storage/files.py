"""Files that are written once: created, written, flushed to disk, and never changed or renamed over afterwards.

So a file that is mapped can't shrink under its reader, a copy made while a writer works holds whole files, and a
checksum stays true. Whatever the operating system refuses becomes a :class:`~xtrkit.errors.StorageError` that names the
file; a failed flush is never tried again, since Linux may have dropped the pages and would report success.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from xtrkit.errors import IndexDamagedError, StorageError
from xtrkit.forks import begun_here

BLOCK = 1 << 20


class FileFacts(NamedTuple):
    """What a manifest says of a file.

    Attributes:
        name: its name in the index's directory.
        size: bytes.
        sha256: hexadecimal.
    """

    name: str
    size: int
    sha256: str


@contextmanager
def storage_errors(path: Path, action: str) -> Iterator[None]:
    """Turn what the operating system refuses into a StorageError that names the file."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: {action} failed ({error.strerror or error}). Nothing that was committed before is lost; "
            "mend the disk and try again."
        ) from error


class NewFile:
    """A file on its way: hashed while it is written; use it in a ``with``.

    Until :meth:`finish` has returned, leaving the ``with`` removes the file.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._path, self._process = directory / name, os.getpid()
        self._hash, self._size, self._finished = hashlib.sha256(), 0, False
        with storage_errors(self._path, "creating it"):
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._finished:
            with suppress(OSError):
                os.close(self._descriptor)
            if begun_here(self._process):
                discard(self._path)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes, all of them.

        Raises:
            StorageError: they could not be written.
        """
        view = memoryview(data)
        self._hash.update(view)
        self._size += len(view)
        with storage_errors(self._path, "writing"):
            while view:
                view = view[os.write(self._descriptor, view) :]

    def finish(self) -> FileFacts:
        """Wait until the file's content is on disk; its name is there when the directory was flushed too.

        Raises:
            StorageError: the disk could not take it.
        """
        with storage_errors(self._path, "flushing it to disk"):
            os.fsync(self._descriptor)
        self._finished = True
        let_go(self._descriptor)
        return FileFacts(self._path.name, self._size, self._hash.hexdigest())


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """A place for a temporary file in an index's directory: removed afterwards, and collected if a kill came between.

    Raises:
        StorageError: something could not be written there.
    """
    path, process = directory / f"tmp-{secrets.token_hex(4)}", os.getpid()
    try:
        with storage_errors(path, "writing"):
            yield path
    finally:
        if begun_here(process):
            discard(path)


def let_go(descriptor: int) -> None:
    """Close a descriptor that nothing was written through: it is closed even if the system reports an error."""
    with suppress(OSError):
        os.close(descriptor)


def flush(path: Path) -> None:
    """Wait until a file or the names in a directory are on disk.

    Raises:
        StorageError: the disk could not take them.
    """
    with storage_errors(path, "flushing it to disk"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            let_go(descriptor)


def discard(path: Path) -> None:
    """Remove a file that no manifest names; if that fails, the next collection tries again."""
    with suppress(OSError):
        path.unlink()


def facts_of(path: Path) -> FileFacts:
    """Size and hash of a file, read whole.

    Raises:
        StorageError: it can't be read.
    """
    digest, size = hashlib.sha256(), 0
    buffer = bytearray(BLOCK)
    with storage_errors(path, "reading"), path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
            size += count
    return FileFacts(path.name, size, digest.hexdigest())


def check_size(directory: Path, facts: FileFacts) -> None:
    """Refuse a file that is missing or of another size than was written.

    Raises:
        IndexDamagedError: it is.
    """
    path = directory / facts.name
    with storage_errors(path, "looking at it"):
        actual = path.stat().st_size if path.is_file() else None
    if actual is None:
        raise damaged(path, "it is missing")
    if actual != facts.size:
        raise damaged(path, f"it has {actual} bytes instead of {facts.size}")


def check_content(directory: Path, facts: FileFacts) -> None:
    """Read a file whole and refuse it if it isn't what was written.

    Raises:
        IndexDamagedError: it isn't.
        StorageError: it can't be read.
    """
    check_size(directory, facts)
    if facts_of(directory / facts.name).sha256 != facts.sha256:
        raise damaged(directory / facts.name, "its content is not what was written: another sha256")


def damaged(path: Path, why: str) -> IndexDamagedError:
    """The error for a file that isn't what was written."""
    return IndexDamagedError(f"{path} is damaged ({why}): `xtrkit verify {path.parent}` tells what can be done.")
