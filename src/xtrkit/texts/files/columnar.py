"""Parquet and Arrow files, and tables of pyarrow, by pyarrow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from xtrkit.errors import missing_extra
from xtrkit.texts.document import Document, Fields, Problem, Reading, ReadingReport, SourceFile
from xtrkit.texts.files.kinds import NAMED, PARQUET
from xtrkit.texts.files.opening import UnreadableError, beginning, read_bytes
from xtrkit.texts.records import RecordError, Records

ROWS = 1024
"""Rows that are read together."""


def library() -> Any:
    """The library that reads Parquet and Arrow.

    Raises:
        MissingExtraError: it isn't installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise missing_extra(*NAMED["Parquet"]) from error
    return pyarrow


def read(file: SourceFile, reading: Reading) -> Iterator[Document | Problem]:
    """A document for each row of a file."""
    arrow = library()
    packed = file.path.suffix.lower() == ".gz"
    data = io.BytesIO(read_bytes(file.path)) if packed else None
    if file.kind == PARQUET:
        from pyarrow import parquet as library_of_parquet

        with library_of_parquet.ParquetFile(data or file.path) as parquet:
            batches = parquet.iter_batches(batch_size=ROWS)
            yield from rows_of(parquet.schema_arrow, batches, file.name, reading.fields, reading.report)
        return
    start = data.getvalue()[:6] if data else beginning(file.path)[:6]
    with data or arrow.memory_map(str(file.path)) as opened:
        if start == b"ARROW1":
            with arrow.ipc.open_file(opened) as whole:
                batches = (whole.get_batch(number) for number in range(whole.num_record_batches))
                yield from rows_of(whole.schema, batches, file.name, reading.fields, reading.report)
        else:
            with arrow.ipc.open_stream(opened) as stream:
                yield from rows_of(stream.schema, stream, file.name, reading.fields, reading.report)


def rows_of(
    schema: Any,
    batches: Iterable[Any],
    name: str,
    fields: Fields,
    report: ReadingReport,
    numbers: Iterator[int] | None = None,
) -> Iterator[Document | Problem]:
    """A document for each row of some batches.

    Args:
        schema: pyarrow's, of all of them.
        batches: pyarrow's.
        name: of the file; "" for a table in memory.
        fields: which columns hold what.
        report: where notes go.
        numbers: ids for rows without one of a table in memory.

    Raises:
        UnreadableError: no column is a text, or one that was named is missing.
    """
    try:
        records = Records(name, fields, columns=schema.names)
    except RecordError as error:
        raise UnreadableError(str(error)) from error
    number = 0
    for batch in batches:
        for row in _rows(batch):
            number += 1
            where = f"{name}, row {number}" if name else f"Passage {number - 1}"
            yield records.document(row, where, f"{name}:{number}" if numbers is None else str(next(numbers)))
    if not number:
        report.notes.append(f"{name or 'The table'} holds no rows.")
    yield from records.end(report)


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    columns = [_readable(column).to_pylist() for column in batch.columns]
    names = batch.schema.names
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _readable(column: Any) -> Any:
    """A column as Python's own types can have it: nanoseconds are cut to microseconds."""
    import pyarrow

    if pyarrow.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    if pyarrow.types.is_duration(column.type) and column.type.unit == "ns":
        return column.cast(pyarrow.duration("us"), safe=False)
    if pyarrow.types.is_time64(column.type) and column.type.unit == "ns":
        return column.cast(pyarrow.time64("us"), safe=False)
    return column
