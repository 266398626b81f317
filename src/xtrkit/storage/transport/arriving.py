"""Files that come from a store: hashed on their way, and named as they should be when they are what was pushed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO

from xtrkit.errors import IndexDamagedError, IndexExistsError, IndexLockedError
from xtrkit.progress import SILENT, Advance, Reporter
from xtrkit.storage.files import BLOCK, FileFacts, discard, flush, storage_errors
from xtrkit.storage.generations import WriterLock, commit_file
from xtrkit.storage.manifest import Manifest, manifest_name
from xtrkit.storage.transport import Transfer
from xtrkit.storage.transport.store import Remote, address


class Arriving:
    """Brings files here, and counts them.

    Attributes:
        made: what was done so far.
        advance: told how many bytes there are more of.
    """

    def __init__(self, remote: Remote, made: Transfer, reporter: Reporter = SILENT) -> None:
        self._remote, self._reporter = remote, reporter
        self.made = made
        self.advance: Advance = lambda amount: None

    def index(self, directory: Path, manifest: Manifest, content: bytes) -> None:
        """Bring one generation of an index: its files, then its manifest. The caller has the directory's lock.

        Raises:
            IndexDamagedError: a file is not what was pushed, or is missing.
            IndexExistsError: another content of this generation is there.
            StorageError: the store can't be reached, or the disk refused.
        """
        name = manifest_name(manifest.generation)
        self.check_free(directory / name, content)
        for file in manifest.files:
            self.file(directory, file)
        self.manifest(directory, name, manifest.generation, content)

    def file(self, directory: Path, file: FileFacts) -> None:
        """Bring a file, unless it is there. The caller has the directory's lock.

        Raises:
            IndexDamagedError: it is not what was pushed, or is missing.
            StorageError: the store can't be reached, or the disk refused.
        """
        path = directory / file.name
        there = path.is_file() and path.stat().st_size == file.size
        if there:
            self.advance(file.size)
        else:
            _fetch(self._remote, directory, file, self.advance)
        self.made = self.made.and_a_file(file.size, copied=not there)

    def manifest(self, directory: Path, name: str, generation: int, content: bytes) -> None:
        """Make a generation of what has arrived. The caller has the directory's lock.

        Raises:
            IndexExistsError: another content of this generation is there.
            StorageError: the disk refused.
        """
        self.check_free(directory / name, content)
        there = (directory / name).exists()
        if not there:
            commit_file(directory, name, generation, content)
        self.made = self.made.and_a_file(len(content), copied=not there)

    @contextmanager
    def changing(self, directory: Path) -> Iterator[None]:
        """Make a directory, if it isn't there, and have the right to change it, waited for while somebody else has it.

        Raises:
            StorageError: the disk refused.
        """
        with storage_errors(directory, "making it"):
            directory.mkdir(parents=True, exist_ok=True)
        for attempt in count():
            try:
                lock = WriterLock(directory)
                break
            except IndexLockedError:
                if not attempt:
                    self._reporter.note(f"Another process is at work on {directory}: waiting for it.")
                time.sleep(0.05)
        with lock:
            yield

    def check_free(self, path: Path, content: bytes) -> None:
        """Refuse to mix two histories.

        Raises:
            IndexExistsError: the generation is there with another content.
            StorageError: it can't be read.
        """
        with storage_errors(path, "reading"):
            if path.exists() and path.read_bytes() != content:
                raise IndexExistsError(
                    f"{path} is not that of {self._remote.url}: it came from elsewhere, or was changed here. Pull into "
                    "a new directory."
                )


def _fetch(remote: Remote, directory: Path, file: FileFacts, advance: Advance) -> None:
    """Bring a file under a name of its own, and give it its right one when its content is right and on disk.

    The name is the same for whoever pulls the file, so that what an interrupted pull left is gone on with; the lock of
    the directory keeps two apart.
    """
    there = address(file.sha256)
    partial, where = directory / f"tmp-{file.sha256[:8]}", f"{remote.where(there)} ({file.name})"
    _check_size(where, remote.size(there), file)
    with storage_errors(partial, "writing"), open(partial, "a+b") as out:
        digest, begun = _begun(out, file.size)
        advance(begun)
        for block in remote.blocks(there, begun, file.size):
            digest.update(block)
            out.write(block)
            advance(len(block))
        out.flush()
        size = out.tell()
    if size == file.size and digest.hexdigest() == file.sha256:
        flush(partial)
        with storage_errors(directory / file.name, "writing"):
            os.replace(partial, directory / file.name)
        return
    discard(partial)
    advance(-size)
    if begun:  # what was left of another pull may be what is wrong
        _fetch(remote, directory, file, advance)
        return
    _check_size(where, size, file)
    raise other_content(where, digest.hexdigest(), file.sha256)


def _check_size(where: str, size: int | None, file: FileFacts) -> None:
    """Refuse what a store has of a file if that is nothing, or cut off."""
    if size is None:
        raise not_there(where)
    if size != file.size:
        raise not_there(where, f"has {size:,} bytes instead of {file.size:,}")


def _begun(out: BinaryIO, most: int) -> tuple[hashlib._Hash, int]:
    """The hash and the size of what is there of a file; if that is too much, it goes."""
    if out.seek(0, os.SEEK_END) > most:
        out.truncate(0)
    out.seek(0)
    digest = hashlib.sha256()
    while block := out.read(BLOCK):
        digest.update(block)
    return digest, out.tell()


def not_there(where: str, but: str = "is not there (any more)") -> IndexDamagedError:
    """The error for what a store should have, and hasn't, or not all of it."""
    return IndexDamagedError(f"{where} {but}: push the generation again (xtrkit push), then pull again.")


def other_content(where: str, found: str, expected: str) -> IndexDamagedError:
    """The error for what isn't what was pushed."""
    return IndexDamagedError(
        f"{where} arrived with another content, sha256 {found} instead of {expected}, and was thrown away: pull again; "
        "if that says the same, remove it there and push the generation again (xtrkit push)."
    )
