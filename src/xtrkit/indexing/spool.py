"""The spool: what a build has taken in so far, on disk, so that a build that was killed goes on where it stopped.

Encoding a collection takes hours, everything after it minutes. So the token vectors, ids and texts of a build are
written down as they come, in a hidden directory beside the index that is to be (``.NAME.building``), and what bears an
index's name is only made of them when all are there.

::

    .NAME.building/
      lock              held with flock by the process that builds
      documents.sqlite  passage and number of token vectors of each document, and whose vectors they are
      rows.f16          (M, d) float16 token vectors, little-endian, document after document

A document is safely on disk when its row in SQLite was committed, and that happens after the vectors were flushed:
vectors beyond the last commit are cut off.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.errors import IndexLockedError, InputError, StorageError
from xtrkit.forks import keep_for_ever, tell_of_forks
from xtrkit.passage import Part, Passage
from xtrkit.storage.arrays import append_array
from xtrkit.storage.files import let_go, storage_errors
from xtrkit.storage.locks import fcntl
from xtrkit.values import Ragged

LOCK, DOCUMENTS, ROWS = "lock", "documents.sqlite", "rows.f16"
VERSION = "2"
FLUSH_SECONDS = 5.0
"""Documents are committed so often: what a kill can cost beside the batch at work."""

BLOCK = 1 << 15
"""Rows that are read at a time."""

SCHEMA = """
CREATE TABLE documents (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, passage TEXT, tokens INTEGER NOT NULL);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def workplace_of(path: Path) -> Path:
    """Where the index at a path is built."""
    return path.parent / f".{path.name}.building"


@contextmanager
def claim(workplace: Path) -> Iterator[None]:
    """Make a directory, or take what a killed process left, for this process alone.

    Raises:
        IndexLockedError: another process works there.
    """
    with _refusals(workplace):
        claimed = _Claim(_lock(workplace))
    try:
        yield
    finally:
        claimed.close()


class _Claim:
    """The lock's descriptor, which a forked child closes, or it would hold the lock beyond its parent's end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        tell_of_forks(self)

    def close(self) -> None:
        """Let the lock go."""
        if self._descriptor is not None:
            let_go(self._descriptor)
            self._descriptor = None

    def after_fork(self) -> None:
        """Leave it to the parent."""
        self.close()


def _lock(workplace: Path) -> int:
    while True:
        workplace.mkdir(exist_ok=True)
        try:
            descriptor = os.open(workplace / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # whoever was here has just tidied up
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (workplace / LOCK).stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError as error:
            let_go(descriptor)
            raise IndexLockedError(
                f"Another process is building this index (it works in {workplace}): wait for it, or choose another "
                "place for this one."
            ) from error
        let_go(descriptor)


def clear(workplace: Path) -> None:
    """Remove a claimed directory; its lock goes last."""
    with _refusals(workplace):
        for entry in workplace.iterdir():
            if entry.name != LOCK:
                remove(entry)
        (workplace / LOCK).unlink()
    with suppress(OSError):  # the next builder is there already
        workplace.rmdir()


def remove(path: Path) -> None:
    """Remove a file, or a directory with what is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Spool:
    """Documents of a build on disk; appended to by one thread, read when all are there.

    Attributes:
        dim: d, 0 before the first document.
        count: documents.
        n_tokens: their token vectors, M.
        committed: documents that survive a kill.
    """

    def __init__(self, workplace: Path, origin: str, *, durable: bool) -> None:
        """Open the spool in a claimed directory.

        Args:
            workplace: the directory.
            origin: who makes the vectors. A durable spool of the same origin is continued, any other is thrown away.
            durable: make documents survive a kill.
        """
        self._workplace, self._durable, self._own = workplace, durable, True
        with _refusals(workplace):
            self._open(workplace, f"{VERSION} {origin}", durable=durable)
        tell_of_forks(self)

    def after_fork(self) -> None:
        """Leave the files to the parent: a connection that is closed would undo what the parent has not committed."""
        keep_for_ever(self._connection)
        self._own = False

    def _open(self, workplace: Path, origin: str, *, durable: bool) -> None:
        if not durable or not _of_origin(workplace / DOCUMENTS, origin):
            for entry in list(workplace.iterdir()):
                if entry.name != LOCK:
                    remove(entry)
        new = not (workplace / DOCUMENTS).exists()
        self._connection = sqlite3.connect(workplace / DOCUMENTS, isolation_level=None)
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        self._rows = (workplace / ROWS).open("ab", buffering=0)
        if new:
            self._connection.executescript(SCHEMA)
            self._connection.execute("INSERT INTO facts VALUES ('origin', ?)", (origin,))
        (self.count, self.n_tokens) = self._connection.execute(
            "SELECT count(*), coalesce(sum(tokens), 0) FROM documents"
        ).fetchone()
        found = self._connection.execute("SELECT value FROM facts WHERE name = 'dim'").fetchone()
        self.dim = int(found[0]) if found else 0
        self._connection.execute("BEGIN")
        self.keep(self.count if self._rows.tell() >= 2 * self.n_tokens * self.dim else 0)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._durable and any(exception):
            self._save()
        self.close()

    def _save(self) -> None:
        """Have on disk what was taken in whole, whatever stops the run: the next attempt goes on from there."""
        with suppress(OSError, sqlite3.Error, StorageError):
            self._connection.execute("DELETE FROM documents WHERE number >= ?", (self._whole,))
            self.flush()
            self.committed = self._whole

    def close(self) -> None:
        """Close the files; documents that were not flushed are forgotten."""
        if self._own:
            self._rows.close()
            self._connection.close()

    def keep(self, count: int) -> None:
        """Forget all but the first ``count`` documents."""
        self._connection.execute("DELETE FROM documents WHERE number >= ?", (count,))
        (self.n_tokens,) = self._connection.execute("SELECT coalesce(sum(tokens), 0) FROM documents").fetchone()
        self.count = count
        if not count:
            self._connection.execute("DELETE FROM facts WHERE name = 'dim'")
            self.dim = 0
        self._rows.truncate(2 * self.n_tokens * self.dim)
        self._rows.seek(0, os.SEEK_END)
        self._whole = count
        self.flush()

    def append(self, documents: Ragged, passages: Sequence[Passage]) -> None:
        """Take in documents as float16.

        Raises:
            InputError: an id was there before.
        """
        self._check_own()
        with _refusals(self._workplace):
            self._append(documents, passages)

    def _append(self, documents: Ragged, passages: Sequence[Passage]) -> None:
        if not self.dim:
            self.dim = documents.dim
            self._connection.execute("INSERT INTO facts VALUES ('dim', ?)", (str(self.dim),))
        for passage, length in zip(passages, documents.lengths.tolist(), strict=True):
            self._insert(passage, length)
        append_array(self._rows, np.asarray(documents.rows, dtype="<f2"))
        self._whole = self.count
        if self._durable and time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def _insert(self, passage: Passage, length: int) -> None:
        row = (self.count, passage.id, json.dumps(passage[1:], ensure_ascii=False), length)
        try:
            self._connection.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", row)
        except sqlite3.IntegrityError as error:
            raise InputError(f"The id {passage.id!r} comes twice: ids must be unique.") from error
        self.count += 1
        self.n_tokens += length

    def flush(self) -> None:
        """Have everything so far on disk: the vectors first, then the documents that they belong to."""
        self._check_own()
        with _refusals(self._workplace):
            self._flush()

    def _check_own(self) -> None:
        if not self._own:
            raise InputError("This index is built by the process that this one was forked from: leave it to that one.")

    def _flush(self) -> None:
        if self._durable:
            os.fsync(self._rows.fileno())
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")
        self.committed = self.count
        self._flushed = time.monotonic()

    def documents(self) -> Iterator[Passage]:
        """The passage of each document, in order."""
        for identifier, passage in self._connection.execute("SELECT id, passage FROM documents ORDER BY number"):
            text, fields, part = json.loads(passage)
            yield Passage(identifier, text, fields, None if part is None else Part(*part))

    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) how many token vectors each document has."""
        rows = self._connection.execute("SELECT tokens FROM documents ORDER BY number")
        return np.fromiter((length for (length,) in rows), dtype=np.int64, count=self.count)

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[np.float16]]]:
        """The token vectors, block after block: which they are, and the (B, d) vectors.

        They are read and not mapped: mapped pages would count as memory of the process.
        """
        return blocks_of(self._workplace / ROWS, "<f2", self.dim)


def blocks_of(path: Path, dtype: str, width: int) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Read a file of rows of numbers, ``BLOCK`` rows at a time: which they are, and the (B, width) rows.

    Raises:
        StorageError: it can't be read.
    """
    first = 0
    with storage_errors(path, "reading"), path.open("rb") as file:
        while buffer := file.read(BLOCK * width * np.dtype(dtype).itemsize):
            rows = np.frombuffer(buffer, dtype=dtype).reshape(-1, width)
            yield slice(first, first + len(rows)), rows
            first += len(rows)


@contextmanager
def _refusals(workplace: Path) -> Iterator[None]:
    """Turn what the operating system or SQLite refuses into a StorageError."""
    try:
        yield
    except (OSError, sqlite3.DatabaseError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise StorageError(f"{workplace}: writing in it failed ({why}). Mend the disk and try again.") from error


def _of_origin(path: Path, origin: str) -> bool:
    """Whether there is a readable spool of this origin."""
    if not path.is_file():
        return False
    connection = sqlite3.connect(path)
    try:
        found = connection.execute("SELECT value FROM facts WHERE name = 'origin'").fetchone()
        (intact,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()
    return bool(found == (origin,) and intact == "ok")
