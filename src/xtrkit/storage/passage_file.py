"""Ids, metadata and texts of a segment: one SQLite file inside it, each row with a checksum of its own.

The file is built without a journal (nobody reads it before a manifest names it), flushed, and from then on opened as
immutable: no locks, no recovery, no writing. Nothing in it is trusted: its schema must be the one below to the letter,
rows are compared with their CRC-32 before they are shown, and a statement that takes more steps than the number of
passages explains is stopped.
"""

from __future__ import annotations

import json
import os
import sqlite3
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from xtrkit.errors import IndexDamagedError, InputError, StorageError
from xtrkit.forks import ForkLock, begun_here, keep_for_ever, tell_of_forks
from xtrkit.passage import Part, Passage
from xtrkit.storage.files import FileFacts, damaged, discard, facts_of, flush, storage_errors

T = TypeVar("T")
V = TypeVar("V")

META = (
    "CREATE TABLE meta (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, fields TEXT, "
    "document TEXT, first INTEGER, last INTEGER, text_crc INTEGER, crc INTEGER NOT NULL)"
)
OF_DOCUMENT = "CREATE INDEX of_document ON meta (document) WHERE document IS NOT NULL"
TEXTS = "CREATE TABLE texts (number INTEGER PRIMARY KEY, text TEXT NOT NULL)"
SCHEMA = [
    ("table", "meta", "meta", META),
    ("index", "sqlite_autoindex_meta_1", "meta", None),
    ("index", "of_document", "meta", OF_DOCUMENT),
    ("table", "texts", "texts", TEXTS),
]
ROW = "number, id, fields, document, first, last, text_crc, crc"
STEPS_BETWEEN_CHECKS = 10_000
STEPS_PER_PASSAGE = 400
STEPS_PER_BYTE = 10
"""Steps over the values of lists, of which a passage may have any number: they take a byte or more each."""

WRITTEN_AT_A_TIME = 1000
LOOKED_UP = 500
"""Rows that are looked up at a time: SQLite takes so many variables in any version."""

IDS_KEPT = 20_000
"""Ids that are remembered, some megabytes: reading and checking those of a hundred hits takes a third of a search."""

CONDITIONS_KEPT = 64
"""Conditions whose matches are remembered: a byte for each passage and condition."""


class RowProblem(NamedTuple):
    """What is wrong with a file of passages, and the ids that are affected, if they can be told."""

    text: str
    ids: list[str]


def _parts_of(values: Sequence[V]) -> Iterator[tuple[Sequence[V], str]]:
    """Values, as many at a time as are looked up at a time, and the marks that stand for them in SQL."""
    for first in range(0, len(values), LOOKED_UP):
        part = values[first : first + LOOKED_UP]
        yield part, ", ".join("?" * len(part))


def _crc(*values: object) -> int:
    return zlib.crc32("\0".join(["" if value is None else f"={value}" for value in values]).encode())


def _as_hashed(value: bytes | int | None) -> bytes:
    """What :func:`_crc` makes of a value, as it is read."""
    if value is None:
        return b""
    return b"=" + value if isinstance(value, bytes) else b"=%d" % value


def write_passages(directory: Path, name: str, passages: Iterable[Passage]) -> FileFacts:
    """Write passages, numbered from 0 in their order.

    Raises:
        InputError: an id comes twice.
        StorageError: the file could not be written.
    """
    path, process = directory / name, os.getpid()
    with storage_errors(path, "creating it"):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    try:
        try:
            _fill(path, passages)
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"{path}: writing failed ({error}). Nothing that was committed before is lost; mend the disk and try "
                "again."
            ) from error
        flush(path)
        return facts_of(path)
    except BaseException:
        if begun_here(process):
            discard(path)
        raise


def _fill(path: Path, passages: Iterable[Passage]) -> None:
    connection, process = sqlite3.connect(path, isolation_level=None), os.getpid()
    try:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        connection.execute(META)
        connection.execute(OF_DOCUMENT)
        connection.execute(TEXTS)
        numbered = enumerate(passages)
        while some := list(islice(numbered, WRITTEN_AT_A_TIME)):
            _insert(connection, some)
        connection.execute("COMMIT")
    finally:
        if begun_here(process):
            connection.close()
        else:
            keep_for_ever(connection)


def _insert(connection: sqlite3.Connection, passages: Sequence[tuple[int, Passage]]) -> None:
    before = connection.total_changes
    try:
        connection.executemany("INSERT INTO meta VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (_row(*one) for one in passages))
    except sqlite3.IntegrityError as error:
        identifier = passages[connection.total_changes - before][1].id
        raise InputError(f"The id {identifier!r} comes twice: ids must be unique.") from error
    texts = ((number, passage.text) for number, passage in passages if passage.text is not None)
    connection.executemany("INSERT INTO texts VALUES (?, ?)", texts)


def _row(number: int, passage: Passage) -> tuple[Any, ...]:
    """What is stored of a passage beside its text."""
    identifier, text, metadata, part = passage
    stored = json.dumps(dict(metadata), ensure_ascii=False, sort_keys=True) if metadata else None
    text_crc = None if text is None else _crc(number, text)
    row = (number, identifier, stored, *(part or (None, None, None)), text_crc)
    return (*row, _crc(*row))


class PassageFile:
    """Reads the passages of a segment; safe to share between threads."""

    def __init__(self, path: Path, count: int) -> None:
        """Open a file.

        Args:
            path: the file.
            count: how many passages it must hold.

        Raises:
            IndexDamagedError: it isn't a file of passages, or holds another number of them.
        """
        self.path, self.count = path, count
        self._lock, self._closed = ForkLock(), False
        self._matching: dict[tuple[object, ...], npt.NDArray[np.bool_]] = {}
        self._ids: dict[int, str] = {}
        with storage_errors(path, "reading"):
            path.open("rb").close()  # SQLite would call a file that may not be read a damaged one
        self._open()
        tell_of_forks(self)
        found = self._all("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid")
        if [tuple(_text(value) for value in row) for row in found] != SCHEMA:
            raise damaged(path, "its tables are not those of passages")
        ((first, last),) = self._all("SELECT (SELECT min(number) FROM meta), (SELECT max(number) FROM meta)")
        if (first, last) != ((0, count - 1) if count else (None, None)):
            raise damaged(path, f"it does not hold the passages 0 to {count - 1}")

    def _open(self) -> sqlite3.Connection:
        # immutable: the file never changes, so SQLite needs no locks and no journal.
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: opening it failed ({error}).") from error
        self._connection: sqlite3.Connection | None = connection
        self._finalizer = weakref.finalize(self, connection.close)
        connection.text_factory = bytes
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "query_only = ON", "mmap_size = 0"):
            self._all(f"PRAGMA {pragma}")
        return connection

    def after_fork(self) -> None:
        """Do without the parent's connection, which SQLite lets no child use: the file is opened again when need be."""
        if self._connection is not None:
            keep_for_ever(self._connection)
            self._finalizer.detach()
            self._connection = None

    def close(self) -> None:
        """Close the file; it closes by itself when nobody holds these passages any more."""
        self._closed = True
        self._finalizer()

    def passages(self, numbers: Sequence[int]) -> list[Passage]:
        """Some passages with their texts, in the order asked for.

        Raises:
            IndexDamagedError: a row is missing, or not what was written.
        """
        found: dict[int, Passage] = {}
        for part, marks in _parts_of(numbers):
            statement = f"SELECT {ROW}, text FROM meta LEFT JOIN texts USING (number) WHERE number IN ({marks})"
            for row in self._all(statement, part, steps=len(part)):
                passage, text = self._passage(row[:-1]), self._checked_text(row[:-1], row[-1])
                found[int(row[0])] = passage._replace(text=text)
        return self._in_order(found, numbers)

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """The ids of some passages, in the order asked for.

        Raises:
            IndexDamagedError: a row is missing, or not what was written.
        """
        self._check_open()
        remembered = self._ids
        found = {number: remembered[number] for number in numbers if number in remembered}
        for part, marks in _parts_of([number for number in numbers if number not in found]):
            rows = self._all(f"SELECT {ROW} FROM meta WHERE number IN ({marks})", part, steps=len(part))
            read = {row[0]: self._checked(row)[0] for row in rows}
            if len(remembered) + len(read) > IDS_KEPT:
                remembered = self._ids = {}  # another thread may still read the old one
            remembered |= read
            found |= read
        return self._in_order(found, numbers)

    def _in_order(self, found: Mapping[int, T], numbers: Sequence[int]) -> list[T]:
        for number in numbers:
            if number not in found:
                raise damaged(self.path, f"passage {number} is missing")
        return [found[number] for number in numbers]

    def number(self, identifier: str) -> int | None:
        """The number of the passage with an id; None where there is none."""
        for row in self._all(f"SELECT {ROW} FROM meta WHERE id = ?", (identifier,)):
            passage = self._passage(row)
            if passage.id != identifier:
                raise damaged(self.path, f"looking for {identifier!r} leads to {passage.id!r}")
            return int(row[0])
        return None

    def numbers(self, identifiers: Sequence[str]) -> dict[str, int]:
        """The numbers of the passages with some ids; ids that are not there are left out."""
        found: dict[str, int] = {}
        for part, marks in _parts_of(identifiers):
            rows = self._all(f"SELECT {ROW} FROM meta WHERE id IN ({marks})", part, steps=len(part))
            found |= {self._checked(row)[0]: int(row[0]) for row in rows}
        if not found.keys() <= set(identifiers):
            raise damaged(self.path, "looking for ids leads to others")
        return found

    def wholes(self, identifiers: Sequence[str]) -> dict[str, int]:
        """The numbers of the passages with some ids that were not cut out of a document; others are left out."""
        found: dict[str, int] = {}
        for part, marks in _parts_of(identifiers):
            rows = self._all(f"SELECT {ROW} FROM meta WHERE id IN ({marks})", part, steps=len(part))
            found |= {passage.id: int(row[0]) for row in rows if (passage := self._passage(row)).part is None}
        if not found.keys() <= set(identifiers):
            raise damaged(self.path, "looking for ids leads to others")
        return found

    def of_documents(self, documents: Sequence[str]) -> dict[int, Passage]:
        """The passages that were cut out of some documents, by number, without texts: looked up, not sought."""
        found: dict[int, Passage] = {}
        for part, marks in _parts_of(documents):
            rows = self._all(f"SELECT {ROW} FROM meta WHERE document IN ({marks})", part, steps=len(part))
            found |= {int(row[0]): self._passage(row) for row in rows}
        if not {passage.document for passage in found.values()} <= set(documents):
            raise damaged(self.path, "looking for documents leads to others")
        return found

    def matching(self, condition: str, values: Sequence[str | int | float]) -> npt.NDArray[np.bool_]:
        """(N,) which passages meet an SQL condition on ``fields``; remembered for the last conditions.

        Args:
            condition: SQL of our own making; what users give comes in ``values``.
            values: what stands for each ``?``.
        """
        key = (condition, *((type(value), value) for value in values))
        mask = self._matching.pop(key, None)
        if mask is None:
            steps = self._steps_over_values(1 + len(values))
            rows = self._all(f"SELECT {ROW} FROM meta WHERE {condition}", values, steps)
            for row in rows:
                self._checked(row)
            mask = np.zeros(self.count, dtype=np.bool_)
            mask[[int(row[0]) for row in rows]] = True
        self._matching[key] = mask
        while len(self._matching) > CONDITIONS_KEPT:
            self._matching.pop(next(iter(self._matching)), None)
        return mask

    def any_matching(self, condition: str, values: Sequence[str | int | float], live: npt.NDArray[np.bool_]) -> bool:
        """Whether a living passage meets an SQL condition; quick where one of the first does.

        Args:
            condition: as in :meth:`matching`.
            values: as in :meth:`matching`.
            live: (N,) which passages are alive; empty where all are.
        """
        statement = f"SELECT {ROW} FROM meta WHERE {condition} LIMIT 1"
        for row in self._all(statement, values, self._steps_over_values(1 + len(values))):
            self._checked(row)
            return not len(live) or bool(live[row[0]]) or bool((self.matching(condition, values) & live).any())
        return False

    def fields(self) -> set[str]:
        """The names of all metadata fields, those of dead passages among them."""
        statement = "SELECT DISTINCT one.key FROM meta, json_each(meta.fields) AS one"
        return {self._text(0, name) for (name,) in self._all(statement, (), self._steps_over_values(2))}

    def _steps_over_values(self, values: int) -> int:
        """How many times the steps of all passages a statement over the values in lists may take."""
        of_passages = 10 * STEPS_BETWEEN_CHECKS + STEPS_PER_PASSAGE * self.count
        return values * (1 + STEPS_PER_BYTE * self.path.stat().st_size // of_passages)

    def all_passages(self, *, texts: bool = False) -> Iterator[Passage]:
        """Every passage, in order of number; some hundred texts are in memory at a time."""
        at_a_time = LOOKED_UP if texts else STEPS_BETWEEN_CHECKS
        for first in range(0, self.count, at_a_time):
            last = min(first + at_a_time, self.count)
            what = "text FROM meta LEFT JOIN texts USING (number)" if texts else "NULL FROM meta"
            rows = self._all(f"SELECT {ROW}, {what} WHERE number >= ? AND number < ? ORDER BY number", (first, last))
            if [row[0] for row in rows] != list(range(first, last)):
                raise damaged(self.path, "passages are missing")
            for row in rows:
                passage = self._passage(row[:-1])
                yield passage._replace(text=self._checked_text(row[:-1], row[-1])) if texts else passage

    def problems(self, *, full: bool = True) -> list[RowProblem]:
        """What SQLite's own check and, with ``full``, every row's checksum say; empty where all is well."""
        check = "integrity_check" if full else "quick_check"
        try:
            found = [_text(row[0]) or "" for row in self._all(f"PRAGMA {check}", steps=20)]
        except (IndexDamagedError, StorageError) as error:
            found = [str(error)]
        problems = [] if found == ["ok"] else [RowProblem(text, []) for text in found]
        for first in range(0, self.count if full else 0, STEPS_BETWEEN_CHECKS):
            try:
                rows = self._all(
                    f"SELECT {ROW}, text FROM meta LEFT JOIN texts USING (number) WHERE number >= ? AND number < ?",
                    (first, first + STEPS_BETWEEN_CHECKS),
                )
            except (IndexDamagedError, StorageError) as error:
                problems.append(RowProblem(str(error), []))
                continue
            if len(rows) != min(STEPS_BETWEEN_CHECKS, self.count - first):
                problems.append(RowProblem(str(damaged(self.path, "passages are missing")), []))
            problems += [problem for row in rows for problem in self._row_problem(row[:-1], row[-1])]
        return [*problems, *(self._texts_without_passages() if full else [])]

    def _texts_without_passages(self) -> list[RowProblem]:
        try:
            found = self._all("SELECT 1 FROM texts WHERE number NOT IN (SELECT number FROM meta) LIMIT 1", steps=20)
        except (IndexDamagedError, StorageError) as error:
            return [RowProblem(str(error), [])]
        return [RowProblem(str(damaged(self.path, "there are texts without passages")), [])] if found else []

    def _row_problem(self, row: tuple[Any, ...], text: object) -> list[RowProblem]:
        """What is wrong with a row, if anything is."""
        identifier: list[str] = []
        try:
            identifier = [self._checked(row)[0]]
            self._checked_text(row, text)
        except IndexDamagedError as error:
            return [RowProblem(str(error), identifier)]
        return []

    def _checked_text(self, row: tuple[Any, ...], stored: object) -> str | None:
        number, text_crc = row[0], row[-2]
        text = None if stored is None else self._text(number, stored)
        if text_crc != (None if text is None else _crc(number, text)):
            raise damaged(self.path, f"the text of passage {number} is not what was written")
        return text

    def _passage(self, row: tuple[Any, ...]) -> Passage:
        """What a row says, without the text."""
        identifier, fields, document = self._checked(row)
        part = None if document is None else Part(document, row[4], row[5])
        return Passage(identifier, None, json.loads(fields) if fields else None, part)

    def _checked(self, row: tuple[Any, ...]) -> tuple[str, str | None, str | None]:
        """Id, fields and document of a row that is what was written."""
        number, identifier, fields, document, *_, crc = row
        try:
            if zlib.crc32(b"\0".join([_as_hashed(value) for value in row[:-1]])) == crc:
                texts = (identifier, fields, document)
                identifier, fields, document = [None if value is None else value.decode() for value in texts]
                return identifier or "", fields, document
        except (TypeError, ValueError, AttributeError):  # a value of another kind, or no UTF-8
            pass
        raise damaged(self.path, f"passage {number} is not what was written")

    def _text(self, number: int, value: object) -> str:
        try:
            return bytes.decode(value)  # type: ignore[arg-type]
        except (TypeError, UnicodeDecodeError) as error:
            raise damaged(self.path, f"passage {number} is not what was written") from error

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("The index is closed: open it again.")

    def _all(self, statement: str, values: Sequence[object] = (), steps: int = 1) -> list[tuple[Any, ...]]:
        self._check_open()
        try:
            with self._lock:
                connection = self._connection or self._open()
                checks = steps * (10 + STEPS_PER_PASSAGE * self.count // STEPS_BETWEEN_CHECKS)
                # No code of Python's: Ctrl-C would break into it, and SQLite would report an interrupted statement. And
                # nothing that knows this object: the connection would keep open a file that nobody holds any more.
                stop = chain(repeat(False, checks), repeat(True)).__next__
                connection.set_progress_handler(stop, STEPS_BETWEEN_CHECKS)
                return connection.execute(statement, values).fetchall()
        except (sqlite3.Error, OverflowError, MemoryError, UnicodeDecodeError) as error:
            if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")):
                raise StorageError(f"{self.path}: reading failed ({error}).") from error
            raise damaged(self.path, str(error) or type(error).__name__) from error


def _text(value: object) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else None
