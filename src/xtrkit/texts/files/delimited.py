"""CSV and TSV: rows with a header, and ColBERT's TSV without one."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from xtrkit.passage import LARGEST_INTEGER, SMALLEST_INTEGER
from xtrkit.texts.document import Document, Fields, Problem, Reading, Skipped, SourceFile
from xtrkit.texts.files.kinds import CSV
from xtrkit.texts.files.opening import (
    LARGEST_TEXT,
    UnreadableError,
    decoded_lines,
    encoding_of,
    line_by_line,
    opened,
    peeked,
)
from xtrkit.texts.records import (
    ID_NAMES,
    TEXT_NAMES,
    TITLE_NAMES,
    NoTextColumnError,
    RecordError,
    Records,
    found,
    listed,
    no_text,
)

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LIKE_NUMBER = re.compile(r"[-+]?[.,]?[0-9]+(?:[.,][0-9]+)*(?:[eE][-+]?[0-9]+)?%?")

JUDGED = 20
"""Rows beyond the first line by which a TSV file without a header is judged to hold texts, or numbers."""

JUDGEMENTS = "judgements of a test collection, not texts"
JUDGEMENT_NAMES = (
    frozenset(["query", "queryid", "qid", "topic", "topicid", "question", "questionid", "queryno", "topicno"]),
    frozenset(
        [
            "corpus",
            "corpusid",
            "doc",
            "docid",
            "did",
            "docno",
            "document",
            "documentid",
            "pid",
            "passage",
            "passageid",
            "cid",
        ]
    ),
    frozenset(
        [
            "score",
            "relevance",
            "rel",
            "label",
            "grade",
            "relevancy",
            "judgement",
            "judgment",
            "qrel",
            "rating",
            "gain",
            "value",
            "relevant",
            "relevancelabel",
            "relevancescore",
        ]
    ),
)
"""What the columns of judgements are called, case and signs aside: the query's, the document's, the grade's."""


class Row(NamedTuple):
    """A row.

    Attributes:
        line: where it begins.
        cells: what is in it; empty for an empty line.
        problem: why it can't be read, if so.
    """

    line: int
    cells: list[str]
    problem: str = ""


class Layout(NamedTuple):
    """How a file is written.

    Attributes:
        delimiter: what stands between columns.
        quoted: whether quotation marks are CSV's; they are text if not.
        header: names of the columns; None where there is no header.
        line: the header's line.
        first: what the first line of a TSV file without a header holds.
        spaced: whether each delimiter is followed by a blank, which is no part of the cell then.
    """

    delimiter: str
    quoted: bool
    header: list[str] | None
    line: int = 0
    first: tuple[str, ...] = ()
    spaced: bool = False


def read(file: SourceFile, reading: Reading) -> Iterator[Document | Problem]:
    """A document for each row."""
    layout = _csv_layout(file, reading) if file.kind == CSV else _tsv_layout(file, reading)
    if layout is None:
        reading.report.notes.append(f"{file.name} holds no rows.")
    elif layout.header is None and _names_judgements(layout.first):
        told = f"its columns are {listed(layout.first)}: these are judgements, not texts."
        if reading.alone:
            raise UnreadableError(
                f"{told} Give the file or folder that holds the texts, or name the column that does: "
                '--text-field NAME (Fields(text="NAME")).'
            )
        reading.report.skipped.append(Skipped(file.name, JUDGEMENTS))
    elif layout.header is None:
        yield from _headerless(file, reading, layout)
    else:
        yield from _rows_with_header(file, reading, layout, layout.header)


def _rows_with_header(
    file: SourceFile, reading: Reading, layout: Layout, header: list[str]
) -> Iterator[Document | Problem]:
    named = [name for name in header if name]
    try:
        records = Records(file.name, reading.fields, columns=named)
    except RecordError as error:
        raise UnreadableError(str(error)) from error
    if len(named) < len(header):
        unnamed = len(header) - len(named)
        told = "1 column without a name was" if unnamed == 1 else f"{unnamed} columns without a name were"
        reading.report.notes.append(f"{file.name}: {told} left out.")
    numbers = _numbers(file, reading, layout, header)
    count, row = 0, None
    for row in _body(file.path, reading.fields.encoding, layout):
        where = f"{file.name}, line {row.line}"
        problem = row.problem or _wrong_length(row, header)
        if problem:
            yield Problem(where, problem)
            continue
        count += 1
        record: dict[str, Any] = {name: cell for name, cell in zip(header, row.cells, strict=True) if name}
        for name in numbers:
            record[name] = _number(record[name]) if record[name] else None
        yield records.document(record, where, f"{file.name}:{count}")
    if row is None:
        reading.report.notes.append(f"{file.name} holds no rows.")
    yield from records.end(reading.report)


def _wrong_length(row: Row, header: list[str]) -> str:
    if len(row.cells) == len(header):
        return ""
    return f"{_columns(row)}, where the header names {len(header)}: {listed(header)}."


def _columns(row: Row) -> str:
    return f"{len(row.cells)} column{'s' * (len(row.cells) != 1)}"


def _numbers(file: SourceFile, reading: Reading, layout: Layout, header: list[str]) -> list[str]:
    """Columns all of whose values are numbers, so that they can be filtered by as such; noted."""
    fields = reading.fields
    kept = {
        fields.id if fields.id is not None else found(header, ID_NAMES),
        fields.text if fields.text is not None else found(header, TEXT_NAMES),
        fields.title if fields.title is not None else found(header, TITLE_NAMES),
    }
    columns = {place: _Column() for place, name in enumerate(header) if name and name not in kept}
    for row in _body(file.path, fields.encoding, layout):
        if not row.problem and len(row.cells) == len(header):
            for place, column in columns.items():
                column.see(row.cells[place])
    numbers = [header[place] for place, column in columns.items() if column.is_numbers]
    if numbers:
        told = "a column" if len(numbers) == 1 else "columns"
        reading.report.notes.append(f"{file.name}: {told} of numbers became numbers: {listed(numbers)}.")
    for place, column in columns.items():
        if column.only_alike:
            reading.report.notes.append(
                f'{file.name}: the column "{header[place]}" stayed text: not all of it is written as JSON writes '
                f"numbers, such as {column.example!r}."
            )
    return numbers


class _Column:
    """Whether the values of a column are numbers."""

    def __init__(self) -> None:
        self._any, self._all, self._alike = False, True, True
        self.example = ""  # a number to the eye, such as 1.50 or 007

    @property
    def is_numbers(self) -> bool:
        """Whether all values are numbers, as JSON writes them."""
        return self._any and self._all

    @property
    def only_alike(self) -> bool:
        """Whether all are numbers to the eye, some of them otherwise written."""
        return self._alike and bool(self.example)

    def see(self, cell: str) -> None:
        """Take note of a value; empty ones say nothing."""
        if not cell or not self._alike:
            return
        self._any = True
        if _number(cell) is None:
            self._all, self.example = False, self.example or cell[:40]
            self._alike = _LIKE_NUMBER.fullmatch(cell[:50]) is not None


def _number(cell: str) -> int | float | None:
    """The number that a cell is, if it is written as JSON writes it: not 007, nor 1.50."""
    if len(cell) > 40 or not _NUMBER.fullmatch(cell):
        return None
    number = json.loads(cell)
    if isinstance(number, int):
        return number if SMALLEST_INTEGER <= number <= LARGEST_INTEGER and str(number) == cell else None
    return number if math.isfinite(number) and repr(number) == cell else None


def _headerless(file: SourceFile, reading: Reading, layout: Layout) -> Iterator[Document | Problem]:
    """ColBERT's ``id<TAB>text``, with a title behind it or without."""
    rows = list(islice(_body(file.path, reading.fields.encoding, layout), 1 + JUDGED))
    numbers = _numbers_for_texts([row.cells for row in rows[1:] or rows if not row.problem])
    if numbers:
        told = (
            f"its {numbers} column holds numbers, so that these are no lines of id<TAB>text: the first line has "
            f"{listed(layout.first)}. If it names the columns, say which is the text: --text-field NAME "
            '(Fields(text="NAME")); if not, put a line that does before it.'
        )
        raise UnreadableError(told) from NoTextColumnError(told)
    records = Records(file.name, Fields(metadata=()))
    first = rows[0].cells
    written = "id<TAB>text<TAB>title" if len(first) == 3 else "id<TAB>text"
    since = f"from the line with the id {first[0][:40]!r} on" if first and first[0] else "from its first line on"
    reading.report.notes.append(f"{file.name}: read as {written} without a header, {since}.")
    if len(rows) > 1 and first and rows[1].cells and first[0].isalpha() and rows[1].cells[0].isdecimal():
        reading.report.notes.append(
            f"The first line of {file.name} was read as a text, with the id {first[0][:40]!r}: if it names the "
            "columns, say which is the text with --text-field."
        )
    for row in _body(file.path, reading.fields.encoding, layout):
        where = f"{file.name}, line {row.line}"
        if row.problem:
            yield Problem(where, row.problem)
        elif len(row.cells) not in (2, 3) or not row.cells[0]:
            told = _columns(row) if row.cells[0] else "no id"
            yield Problem(
                where,
                f"expected id<TAB>text or id<TAB>text<TAB>title, got {told}; a header would name its columns, one of "
                "them as texts are called (text, contents, body, …), or as --text-field says.",
            )
        else:
            record = dict(zip(("id", "text", "title"), row.cells, strict=False))
            yield records.document(record, where, "")


def _numbers_for_texts(rows: list[list[str]]) -> str:
    """Which column of rows without a header holds numbers, as lists of frequencies, labels or judgements do; or ""."""
    if rows and all(len(cells) > 1 and _LIKE_NUMBER.fullmatch(cells[1].strip()) for cells in rows):
        return "second"
    if rows and all(len(cells) == 3 and _LIKE_NUMBER.fullmatch(cells[2].strip()) for cells in rows):
        return "third"
    return ""


def _names_judgements(cells: Iterable[str]) -> bool:
    """Whether a first line names a query, a document and a grade, and nothing else."""
    names = ["".join(filter(str.isalnum, cell)).casefold() for cell in cells]
    return len(names) in (3, 4) and all(any(name in known for name in names) for known in JUDGEMENT_NAMES)


def _csv_layout(file: SourceFile, reading: Reading) -> Layout | None:
    """How a CSV file is written, by its first row."""
    fields, skipped = reading.fields, 0
    rows = (row for row in _raw_rows(file.path, fields.encoding) if row.problem or row.cells[0].strip())
    first = next(rows, None)
    if first is not None and re.fullmatch(r"sep=.", first.cells[0]):  # as Excel writes it
        skipped = first.line
        first = next(rows, None)
    if first is None:
        return None
    candidates = [
        found for delimiter in DELIMITERS if (found := _with_header(file.path, fields, delimiter, skipped)) is not None
    ]
    if not candidates:
        cells = next(csv.reader([first.cells[0]], delimiter=_likely(first.cells[0])), [])
        if fields.text is not None:
            raise UnreadableError(f'there is no column "{fields.text}": the first line has {listed(cells)}.')
        told = f"the first line must name the columns, and {no_text(cells)}"
        raise UnreadableError(told) from NoTextColumnError(told)
    best = max(candidates, key=lambda layout: len(layout.header or ()))  # the first of equals
    if best.spaced:
        reading.report.notes.append(
            f"{file.name}: its columns are parted by {DELIMITERS[best.delimiter]} and a blank: blanks before its cells "
            "were left out."
        )
    elif best.delimiter != ",":
        reading.report.notes.append(f"{file.name}: its columns are parted by {DELIMITERS[best.delimiter]}.")
    return best


def _with_header(path: Path, fields: Fields, delimiter: str, skipped: int) -> Layout | None:
    """The layout with this delimiter, if the header names a text then; the header may take several lines."""
    layout = Layout(delimiter, True, None, skipped)
    header = _first_right(path, fields, layout)
    if header is not None and _is_spaced(header.cells):
        layout = layout._replace(spaced=True)
        header = _first_right(path, fields, layout)  # again: cells may be quoted behind their blanks
    if header is None:
        return None
    names = [name.strip() for name in header.cells]
    known = fields.text in names if fields.text is not None else found(names, TEXT_NAMES) is not None
    return layout._replace(header=names, line=header.line) if known else None


def _first_right(path: Path, fields: Fields, layout: Layout) -> Row | None:
    return next((row for row in _body(path, fields.encoding, layout) if not row.problem), None)


def _is_spaced(header: list[str]) -> bool:
    """Whether every cell of a header but the first begins with a blank; one without a name may be empty."""
    rest = header[1:]
    return any(cell.startswith(" ") for cell in rest) and all(cell.startswith(" ") or not cell for cell in rest)


def _likely(line: str) -> str:
    """The delimiter that a line has most of."""
    return max(DELIMITERS, key=line.count)


def _tsv_layout(file: SourceFile, reading: Reading) -> Layout | None:
    """How a TSV file is written: headerless, as ColBERT's are, unless its first line names columns."""
    fields = reading.fields
    first = next((row for row in _raw_rows(file.path, fields.encoding) if row.problem or row.cells[0].strip()), None)
    if first is None:
        return None
    cells = first.cells[0].split("\t")
    names = [_unquoted(cell.strip()) for cell in cells]
    if not _is_header(names, fields):
        missing = [name for name in (fields.text, fields.id, fields.title) if name]
        missing += [] if fields.metadata == "all" else fields.metadata
        if missing:
            raise UnreadableError(f'there is no column "{missing[0]}": the first line has {listed(names)}.')
        return Layout("\t", False, None, first.line - 1, tuple(names))
    reading.report.notes.append(f"The first line of {file.name} was taken for the names of its columns.")
    quoted = _is_quoted(file, fields, len(names))
    if quoted is not None:
        told = "are as in CSV" if quoted else "are text"
        reading.report.notes.append(f"{file.name}: quotation marks around its cells {told}.")
    return Layout("\t", bool(quoted), names if quoted else [cell.strip() for cell in cells], first.line)


def _is_header(names: list[str], fields: Fields) -> bool:
    """Whether the first line of a TSV file names columns: those that were named, or two known names."""
    named = [name for name in (fields.text, fields.id, fields.title) if name]
    if named:
        return all(name in names for name in named)
    known = [found(names, TEXT_NAMES), found(names, ID_NAMES) or found(names, TITLE_NAMES)]
    return known[0] is not None and (known[1] is not None or len(names) not in (2, 3))


def _is_quoted(file: SourceFile, fields: Fields, columns: int) -> bool | None:
    """Whether quotation marks in a TSV file are CSV's: they are if all rows are right then; None if there are none."""
    lines = (row.cells[0] for row in _raw_rows(file.path, fields.encoding) if row.cells)
    if not any(line.startswith('"') or '\t"' in line for line in lines):
        return None
    rows = _body(file.path, fields.encoding, Layout("\t", True, None))
    return all(not row.problem and len(row.cells) in (0, columns) for row in rows)


def _unquoted(cell: str) -> str:
    return cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _body(path: Path, encoding: str, layout: Layout) -> Iterator[Row]:
    """The rows behind a header, empty lines left out."""
    rows = _quoted_rows(path, encoding, layout) if layout.quoted else _split_rows(path, encoding, layout)
    for row in rows:
        if row.line > layout.line and (row.problem or row.cells):
            yield row


def _split_rows(path: Path, encoding: str, layout: Layout) -> Iterator[Row]:
    for row in _raw_rows(path, encoding):
        if row.problem:
            yield row
        elif row.cells[0].strip():
            yield Row(row.line, row.cells[0].split(layout.delimiter))


def _raw_rows(path: Path, encoding: str) -> Iterator[Row]:
    """Lines, each as one cell."""
    for line in decoded_lines(path, encoding):
        yield Row(line.number, [line.text], line.problem)


def _quoted_rows(path: Path, encoding: str, layout: Layout) -> Iterator[Row]:
    """Rows as Python's csv reads them, strictly."""
    with opened(path) as file:
        encoding = encoding_of(peeked(file), encoding)
        errors = "surrogateescape" if line_by_line(encoding) else "strict"
        lines = io.TextIOWrapper(file, encoding, errors=errors, newline="")
        try:
            yield from _parsed_rows(lines, layout, encoding)
        finally:
            lines.detach()


def _parsed_rows(lines: io.TextIOWrapper, layout: Layout, encoding: str) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=layout.delimiter, skipinitialspace=layout.spaced, strict=True)
    while True:
        first = reader.line_num + 1
        limit = csv.field_size_limit(LARGEST_TEXT)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(first, [], _csv_problem(str(error)))
            continue
        except UnicodeError as error:
            raise UnreadableError(f"line {first} is not {encoding}: convert the file to UTF-8.") from error
        finally:
            csv.field_size_limit(limit)
        yield Row(first, cells, next((told for cell in cells if (told := _escaped(cell, encoding))), ""))


def _csv_problem(told: str) -> str:
    if "unexpected end of data" in told:
        return "a quotation mark is opened here that is never closed: what follows was taken for one cell."
    return f"not CSV ({told}): a quotation mark within a quoted cell is written twice."


def _escaped(cell: str, encoding: str) -> str:
    """The sentence for a byte that could not be decoded; "" if there is none."""
    if cell.isascii():
        return ""
    found = next((character for character in cell if "\udc80" <= character <= "\udcff"), "")
    if not found:
        return ""
    name = "UTF-8" if encoding.startswith("utf-8") else encoding
    return (
        f"the byte {ord(found) - 0xDC00:#x} is not {name}. Convert the file to UTF-8, or name its encoding, such as "
        '--encoding cp1252 (Fields(encoding="cp1252")).'
    )
