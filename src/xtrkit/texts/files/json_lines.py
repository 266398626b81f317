"""JSON lines, and JSON files that hold records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from xtrkit.errors import CollectionError
from xtrkit.texts.document import Document, Problem, Reading, Skipped, SourceFile
from xtrkit.texts.files.opening import UnreadableError, decoded, decoded_lines, read_bytes
from xtrkit.texts.records import TEXT_NAMES, Records, found

WRAPPERS = ("data", "documents", "docs", "passages", "records", "items", "rows", "corpus", "collection")
"""Keys below which a JSON object may hold its records."""

NO_RECORDS = "JSON without a text field"
EXPECTED = 'a JSON object such as {"_id": "1", "text": "…"}'


def parsed(text: str) -> Any:
    """What JSON says, strictly: no NaN, no key twice in an object.

    Raises:
        UnreadableError: it is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnreadableError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON ({str(error) or 'nested too deeply'}).") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UnreadableError(f"the key {twice!r} comes twice in an object: keep one of them.")
    return unique


def _refuse_constant(name: str) -> Any:
    raise UnreadableError(f"{name} is no value of JSON: write a number, or null.")


def read_lines(file: SourceFile, reading: Reading) -> Iterator[Document | Problem]:
    """A document for each line."""
    records, any_line, any_record = Records(file.name, reading.fields), False, False
    for line in decoded_lines(file.path, reading.fields.encoding):
        where = f"{file.name}, line {line.number}"
        any_line = any_line or bool(line.text.strip())
        if line.problem:
            any_line = True
            yield Problem(where, line.problem)
            continue
        if not line.text.strip():
            continue
        try:
            record = parsed(line.text)
        except UnreadableError as error:
            if not any_record and line.text.lstrip()[:1] == "[":
                raise UnreadableError("begins with “[”, as JSON does, not JSON lines: name it .json.") from error
            yield Problem(where, str(error))
            continue
        any_record = True
        if isinstance(record, dict):
            yield records.document(record, where, f"{file.name}:{line.number}")
        else:
            yield Problem(where, f"expected {EXPECTED}, got {type(record).__name__}.")
    if not any_line:
        reading.report.notes.append(f"{file.name} holds no records.")
    yield from records.end(reading.report)


def read_json(file: SourceFile, reading: Reading) -> Iterator[Document | Problem]:
    """A document for each record of a JSON file; in a folder, what has none is passed over.

    Raises:
        CollectionError: it has none, and is the file that was asked for.
    """
    text = decoded(read_bytes(file.path), reading.fields.encoding)
    try:
        whole = parsed(text)
    except UnreadableError:
        if not _lines_of_objects(text):
            raise
        reading.report.notes.append(f"{file.name} holds an object on each line, and was read as JSON lines.")
        yield from read_lines(file, reading)
        return
    records = _records_of(whole, file.name, reading)
    if records is None:
        if reading.alone:
            raise CollectionError(
                f"{file.path} has no records with a text: expected a list of objects such as "
                '[{"id": "1", "text": "…"}]. If their text is called otherwise, name it: --text-field NAME '
                '(Fields(text="NAME")).'
            )
        reading.report.skipped.append(Skipped(file.name, NO_RECORDS))
        return
    maker = Records(file.name, reading.fields)
    for number, record in enumerate(records, start=1):
        where = f"{file.name}, record {number}"
        if isinstance(record, dict):
            yield maker.document(record, where, f"{file.name}:{number}")
        else:
            yield Problem(where, f"expected {EXPECTED}, got {type(record).__name__}.")
    if not records:
        reading.report.notes.append(f"{file.name} holds no records.")
    yield from maker.end(reading.report)


def _records_of(whole: Any, name: str, reading: Reading) -> list[Any] | None:
    """The records in a JSON file; None if there are none with a text."""
    if isinstance(whole, list):
        return whole if not whole or any(_has_text(record, reading) for record in whole[:100]) else None
    if not isinstance(whole, dict):
        return None
    if _has_text(whole, reading):
        return [whole]
    for key in WRAPPERS:
        inner = whole.get(key)
        if isinstance(inner, list) and inner and _has_text(inner[0], reading):
            beside = ", ".join(other for other in whole if other != key)
            if beside:
                reading.report.notes.append(
                    f'{name}: the records below "{key}" were read, not what stands beside: {beside}.'
                )
            return inner
    if whole and all(_has_text(record, reading) for record in whole.values()):
        if reading.fields.id is None and not any("id" in record or "_id" in record for record in whole.values()):
            return [{"_id": key, **record} for key, record in whole.items()]
        return list(whole.values())
    return None


def _has_text(record: Any, reading: Reading) -> bool:
    if not isinstance(record, dict):
        return False
    if reading.fields.text is not None:
        return isinstance(record.get(reading.fields.text), str)
    return found([name for name, value in record.items() if isinstance(value, str)], TEXT_NAMES) is not None


def _lines_of_objects(text: str) -> bool:
    """Whether the first two lines are each an object."""
    lines = [line for line in text.split("\n", 50)[:50] if line.strip()][:2]
    try:
        return len(lines) == 2 and all(isinstance(parsed(line), dict) for line in lines)
    except UnreadableError:
        return False
