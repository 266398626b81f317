"""Records as documents: which of their fields is the id, which the text, and what becomes metadata.

The same for the objects of JSON lines, the rows of tables, and dicts. What is taken for what, and what can't be kept,
is noted once for each file.
"""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from xtrkit.passage import plain_value
from xtrkit.texts.document import Document, Fields, Problem, ReadingReport

ID_NAMES = ("_id", "id", "docid", "doc_id", "docno", "pid", "passage_id", "document_id", "corpus_id", "corpus-id")
TEXT_NAMES = (
    "text",
    "contents",
    "content",
    "body",
    "passage",
    "passage_text",
    "document",
    "document_text",
    "article",
    "abstract",
    "paragraph",
    "chunk",
)
TITLE_NAMES = ("title",)
USUAL = ("_id", "id", "text", "title")

FAILURES = 100
"""Records at the beginning of a file that can't be read, after which the rest isn't tried."""

LEFT_OUT: Any = object()
"""Stands for a value that can't be kept."""


class RecordError(Exception):
    """A record can't be a document; the message says why."""


class NoTextColumnError(RecordError):
    """A table holds no texts, as far as the names of its columns tell."""


class Records:
    """Makes documents of the records of one file, or of one list.

    Args:
        name: the file's, for notes; "" for none.
        fields: where records keep what.
        columns: the names of all fields, where records are rows of a table: the fields that are named must be among
            them, and values that can't be kept are left out.
        what: what a record is called in messages.
    """

    def __init__(
        self, name: str, fields: Fields, *, columns: Iterable[str] | None = None, what: str = "the record"
    ) -> None:
        self._name, self._fields, self._what = name, fields, what
        self._table = columns is not None
        self._text = fields.text
        self._wanted = {
            name
            for name in (fields.id, fields.text, fields.title, *(fields.metadata if fields.metadata != "all" else ()))
            if name
        }
        self._seen: set[str] = set()
        self._taken: dict[str, str] = {}
        self._left_out: dict[str, int] = {}
        self._records = self._numbered = 0
        self._first_numbered = ""
        self._beside: tuple[str, str] | None = None
        if columns is not None:
            self._check_columns(list(columns))

    def document(self, record: Mapping[Any, Any], where: str, number: str) -> Document | Problem:
        """A record as a document.

        Args:
            record: it.
            where: where it was read.
            number: its id if it has none.
        """
        self._records += 1
        try:
            return self._document(record, where, number)
        except RecordError as error:
            return Problem(where, str(error))

    def end(self, report: ReadingReport) -> Iterator[Problem]:
        """Write down what was noted; a problem for each field that was named and that no record has."""
        at = f"{self._name}: " if self._name else ""
        guessed = {field: role for field, role in self._taken.items() if field not in USUAL}
        if guessed:
            told = " and ".join(f'the field "{field}" was taken as {role}' for field, role in guessed.items())
            report.notes.append(f"{at}{told}.")
        if self._beside:
            report.notes.append(f'{at}"{self._beside[0]}" is the id, and "{self._beside[1]}" was kept as metadata.')
        if self._numbered:
            of = f"{self._numbered:,} of {self._records:,} record{'s' * (self._records > 1)}"
            told = (
                f"{of} has no id and is called by its place, {self._first_numbered!r}"
                if self._numbered == 1
                else f"{of} have no id and are called by their place, from {self._first_numbered!r} on"
            )
            report.notes.append(f"{at}{told}; name the field that is the id with --id-field if there is one.")
        for field, times in self._left_out.items():
            report.notes.append(
                f"{at}the field {field!r} of {times:,} record{'s' * (times > 1)} holds objects, or bytes, and was left "
                "out: metadata are texts, numbers, booleans and lists of them."
            )
        if self._records:
            already = {self._fields.id, self._fields.text}  # each record that lacks them was told of
            for field in sorted(self._wanted - self._seen - already):
                yield Problem(self._name or "The records", f'no record has a field "{field}", which was named.')

    def _check_columns(self, columns: list[str]) -> None:
        missing = [name for name in sorted(self._wanted) if name not in columns]
        if missing:
            raise RecordError(f'there is no column "{missing[0]}": its columns are {listed(columns)}.')
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise RecordError(f"the column {twice[0]!r} comes twice: give each a name of its own.")
        if self._text is None:
            self._text = found(columns, TEXT_NAMES)
        if self._text is None:
            raise NoTextColumnError(no_text(columns))

    def _document(self, record: Mapping[Any, Any], where: str, number: str) -> Document:
        self._seen |= self._wanted & record.keys()
        rest = dict(record)
        identifier = self._identifier(rest, number)
        text = self._text_of(rest, record)
        title = self._title(rest, identifier)
        metadata = self._metadata(rest, identifier)
        return Document(
            identifier, f"{title} {text}" if title and text else title or text, metadata or None, where=where
        )

    def _identifier(self, rest: dict[Any, Any], number: str) -> str:
        """Take the id out of a record."""
        field = self._fields.id
        if field is None:
            field = found(rest, ID_NAMES)
            if field in ("_id", "id") and {"_id", "id"} <= rest.keys() and rest["_id"] != rest["id"]:
                if self._what == "a dict":
                    raise RecordError('a dict has "id" and "_id": give one of them.')
                self._beside = ("_id", "id")
        elif field not in rest:
            raise RecordError(f'{self._what} has no field "{field}": its fields are {listed(rest)}.')
        identifier = plain(rest.pop(field)) if field is not None else None
        if identifier is None:
            self._numbered += 1
            self._first_numbered = self._first_numbered or number
            return number
        if self._fields.id is None:
            self._taken.setdefault(str(field), "the id")
        if isinstance(identifier, int) and not isinstance(identifier, bool):
            return str(identifier)
        if not isinstance(identifier, str):
            raise RecordError(
                f'the id "{field}" must be a text or a whole number, got {identifier!r:.40} of type '
                f"{type(identifier).__name__}."
            )
        if not identifier:
            raise RecordError(f'the id "{field}" is empty: ids have at least one character.')
        return identifier

    def _text_of(self, rest: dict[Any, Any], record: Mapping[Any, Any]) -> str:
        """Take the text out of a record."""
        if self._text is None:
            self._text = found([name for name, value in rest.items() if isinstance(value, str)], TEXT_NAMES)
        field = self._text
        text = None if field is None else rest.pop(field, None)
        if not isinstance(text, str):
            if self._table and plain(text, lenient=True) is None:
                return ""
            raise RecordError(
                f'{self._what} has no "{field or "text"}" that is a text: its keys are {list(record)!r:.200}. '
                'Name the one that is the text: --text-field NAME (Fields(text="NAME")).'
            )
        if self._fields.text is None:
            self._taken.setdefault(str(field), "the text")
        return text

    def _title(self, rest: dict[Any, Any], identifier: str) -> str:
        """Take the title out of a record."""
        if self._fields.title == "":
            return ""
        field = found(rest, TITLE_NAMES) if self._fields.title is None else self._fields.title
        kept = self._fields.metadata != "all" and field in self._fields.metadata  # it was named among them
        title = plain(rest.get(field) if kept else rest.pop(field, None)) if field is not None else None
        if title is not None and not isinstance(title, str):
            raise RecordError(f'the "{field}" of {identifier!r} must be a text, got {type(title).__name__}.')
        return title or ""

    def _metadata(self, rest: dict[Any, Any], identifier: str) -> dict[str, Any]:
        """All other fields, and those of the object "metadata", as BEIR writes it."""
        inner = rest.get("metadata")
        if isinstance(inner, Mapping):
            del rest["metadata"]
            twice = sorted(set(rest) & set(inner), key=str)
            if twice:
                raise RecordError(f"the field {twice[0]!r} of {identifier!r} stands beside its metadata and in it.")
            rest |= inner
            self._seen |= self._wanted & inner.keys()
        elif inner is None:
            rest.pop("metadata", None)
        elif not self._table:
            raise RecordError(f'the "metadata" of {identifier!r} must be a dict, got {type(inner).__name__}.')
        wanted = rest if self._fields.metadata == "all" else [name for name in self._fields.metadata if name in rest]
        kept = {}
        for name in wanted:
            value = plain(rest[name], lenient=self._table)
            if value is LEFT_OUT and self._what == "a dict":
                raise RecordError(
                    f"the metadata field {name!r} of {identifier!r} must be a string, a number, a boolean, None, a "
                    f"date or a list of such, got {type(rest[name]).__name__}: leave it out, or name the fields wanted."
                )
            if value is LEFT_OUT:
                self._left_out[str(name)] = self._left_out.get(str(name), 0) + 1
            else:
                kept[name] = value
        return kept


def no_text(columns: Iterable[Any]) -> str:
    """The sentence for a table without a text."""
    return (
        f"no column is called as texts are (text, contents, body, …): its columns are {listed(columns)}. "
        'Name the one that is the text: --text-field NAME (Fields(text="NAME")).'
    )


def listed(names: Iterable[Any]) -> str:
    """Names of fields for a message, not too many."""
    names = [f'"{str(name)[:40]}"' for name in names]
    return ", ".join([*names[:20], *(["…"] if len(names) > 20 else [])]) or "none"


def found(fields: Iterable[Any], names: tuple[str, ...]) -> Any:
    """The field that is called by the first of some names; its case is ignored if none is written exactly so."""
    fields = list(fields)
    for name in names:
        if name in fields:
            return name
    folded = {str(field).strip().casefold(): field for field in reversed(fields)}
    return next((folded[name] for name in names if name in folded), None)


def plain(value: Any, *, lenient: bool = False) -> Any:
    """A value as metadata keep it: dates as :func:`~xtrkit.passage.plain_value` gives them, decimals as floats.

    NumPy's values become Python's, and an empty list None.

    Args:
        value: the value.
        lenient: NaN, which tables have where nothing is, becomes None, and whatever is not known is left out.

    Returns:
        it, or LEFT_OUT if it is an object with fields of its own, or bytes.

    Raises:
        RecordError: it is a date that can't be kept.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if lenient and math.isnan(value) else value
    if isinstance(value, np.ndarray):
        value = list(value) if value.ndim else value[()]
    if isinstance(value, list | tuple):
        if any(isinstance(one, list | tuple | np.ndarray) for one in value):
            return LEFT_OUT
        inner = [plain(one, lenient=lenient) for one in value]
        return LEFT_OUT if any(one is LEFT_OUT for one in inner) else inner or None
    if isinstance(value, set | frozenset) and not value:
        return None
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    for kind, own in _OWN:
        if isinstance(value, kind):
            return plain(own(value), lenient=lenient)
    return LEFT_OUT if lenient or isinstance(value, Mapping | bytes | bytearray | memoryview) else value


def _date(value: Any) -> Any:
    """A date as it is stored and compared everywhere."""
    if isinstance(value, np.datetime64) and np.isnat(value):
        return None
    try:
        return plain_value(value)
    except (ValueError, OverflowError) as error:
        raise RecordError(f"the date {value!r} can't be kept: {error}.") from error


_OWN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (np.datetime64 | datetime.date, _date),
    (np.generic, lambda value: value.item()),
    (datetime.time, lambda value: value.isoformat()),
    (datetime.timedelta, lambda value: value.total_seconds()),
    (decimal.Decimal, float),
    (uuid.UUID, str),
)
"""Kinds of values that metadata have in another form, and what gives it."""


def until_hopeless(items: Iterable[Document | Problem], name: str) -> Iterator[Document | Problem]:
    """What a file gives; if it begins with nothing but problems, its rest isn't tried."""
    failed: int | None = 0
    for item in items:
        yield item
        if failed is None:
            continue
        failed = failed + 1 if isinstance(item, Problem) else None
        if failed == FAILURES:
            yield Problem(name, f"none of its first {FAILURES} records can be read: the rest was not tried.")
            return
