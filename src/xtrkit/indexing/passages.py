"""Ids and texts of an index, in one SQLite file: found by number or by id, never all in memory."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

from xtrkit.errors import IndexFormatError, InputError

SCHEMA = "CREATE TABLE passages (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT)"


def write_passages(path: Path, passages: Iterable[tuple[str, str | None]]) -> None:
    """Write ids and texts in order of number, from 0. Ids are unique strings: that was checked before."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # No journal: the file is thrown away with its directory if anything fails before the index is complete.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(SCHEMA)
        connection.execute("BEGIN")
        rows = ((number, *passage) for number, passage in enumerate(passages))
        connection.executemany("INSERT INTO passages VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
    finally:
        connection.close()


class Passages:
    """Reads passages; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        path.open("rb").close()  # SQLite would call a file that may not be read a damaged one
        try:
            # immutable: the file of a finished index never changes, so SQLite needs no locks and no journal.
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            self._finalizer = weakref.finalize(self, self._connection.close)
            self._connection.execute("PRAGMA trusted_schema = OFF")
            (self.count,) = self._one("SELECT count(*) FROM passages", ()) or (0,)
        except sqlite3.DatabaseError as error:
            raise IndexFormatError(f"{path} is damaged ({error}): build the index anew.") from error

    def close(self) -> None:
        """Close the file; it closes by itself when nobody holds these passages any more."""
        self._finalizer()

    def ids(self, numbers: Iterable[int]) -> list[str]:
        """The ids of some documents, in the order asked for."""
        return [str(self._row("id", number)) for number in numbers]

    def text(self, number: int) -> str | None:
        """The text of a document; None where the index was made of embeddings alone."""
        value = self._row("text", number)
        return None if value is None else str(value)

    def number(self, identifier: str) -> int:
        """The number of a document.

        Raises:
            InputError: no document has this id.
        """
        row = self._one("SELECT number FROM passages WHERE id = ?", (identifier,))
        if row is None:
            raise InputError(f"No document of this index has the id {identifier!r}.")
        return int(str(row[0]))

    def all_ids(self) -> Iterator[str]:
        """Every id, in order of number."""
        with self._lock:
            rows = self._connection.execute("SELECT id FROM passages ORDER BY number").fetchall()
        return (str(identifier) for (identifier,) in rows)

    def _row(self, column: str, number: int) -> object:
        row = self._one(f"SELECT {column} FROM passages WHERE number = ?", (int(number),))
        if row is None:
            raise IndexFormatError(f"The index has no passage number {number}: it is damaged, build it anew.")
        return row[0]

    def _one(self, statement: str, values: tuple[object, ...]) -> tuple[object, ...] | None:
        if not self._finalizer.alive:
            raise InputError("The index is closed: open it again.")
        with self._lock:
            return self._connection.execute(statement, values).fetchone()  # type: ignore[no-any-return]
