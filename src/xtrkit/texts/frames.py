"""Tables in memory as documents: pandas, polars, pyarrow, Hugging Face datasets, none of which is imported here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from xtrkit.errors import CollectionError, InputError
from xtrkit.texts.document import Document, Fields, Problem, ReadingReport
from xtrkit.texts.files.opening import UnreadableError
from xtrkit.texts.records import RecordError, Records

Numbers = Callable[[], Iterator[int]]


class Rows:
    """The rows of a table.

    Attributes:
        report: what was noted the last time.
    """

    def __init__(self, columns: list[str], rows: Callable[[], Iterator[Any]], fields: Fields, numbers: Numbers) -> None:
        """Rows, each as a dict.

        Raises:
            CollectionError: no column is a text, or one that was named is missing.
        """
        self._columns, self._rows, self._fields, self._numbers = columns, rows, fields, numbers
        self.note = ""
        self.report = ReadingReport()
        try:
            Records("", fields, columns=columns)
        except RecordError as error:
            raise CollectionError(f"In the table {error}") from error

    def __iter__(self) -> Iterator[Document | Problem]:
        self.report = report = ReadingReport()
        report.notes.extend([self.note] if self.note else [])
        records = Records("", self._fields, columns=self._columns)
        for place, (row, number) in enumerate(zip(self._rows(), self._numbers(), strict=False)):
            yield records.document(row, f"Passage {place}", str(number))
        yield from records.end(report)


class ArrowRows:
    """The rows of a table of pyarrow.

    Attributes:
        report: what was noted the last time.
    """

    def __init__(self, table: Any, fields: Fields, numbers: Numbers) -> None:
        self._table, self._fields, self._numbers, self.report = table, fields, numbers, ReadingReport()

    def __iter__(self) -> Iterator[Document | Problem]:
        from xtrkit.texts.files.columnar import rows_of

        self.report = ReadingReport()
        batches = self._table.to_batches() if hasattr(self._table, "to_batches") else [self._table]
        try:
            yield from rows_of(self._table.schema, batches, "", self._fields, self.report, self._numbers())
        except UnreadableError as error:
            raise CollectionError(f"In the table {error}") from error


def table_of(given: Any, fields: Fields, numbers: Numbers) -> Rows | ArrowRows | None:
    """A table as a source; None if this is none that is known.

    Raises:
        InputError: it is several tables, or is not read yet.
    """
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(given).__mro__}
    if ("datasets", "DatasetDict") in kinds or ("datasets", "IterableDatasetDict") in kinds:
        splits = ", ".join(map(str, given))
        raise InputError(f"Got a DatasetDict with the splits {splits}: give one of them, such as dataset[split].")
    if ("polars", "LazyFrame") in kinds:
        raise InputError("Got a LazyFrame of polars, which is not read yet: give frame.collect().")
    if ("pandas", "DataFrame") in kinds:
        return _pandas(given, fields, numbers)
    if ("polars", "DataFrame") in kinds:
        return Rows(list(given.columns), lambda: given.iter_rows(named=True), fields, numbers)
    if kinds & {("pyarrow", "Table"), ("pyarrow", "RecordBatch"), ("pyarrow", "Dataset")}:
        return ArrowRows(given, fields, numbers)
    if kinds & {("datasets", "Dataset"), ("datasets", "IterableDataset")}:
        columns = given.column_names
        if columns is None:  # of a stream, they are known once it is read
            first = next(iter(given), None)
            columns = list(first or ())
        return Rows(list(columns), lambda: iter(given), fields, numbers)
    return None


def _pandas(frame: Any, fields: Fields, numbers: Numbers) -> Rows:
    """A DataFrame; what its index has a name for are columns too.

    Raises:
        InputError: a column is not called by a text, or the index by a name that a column has.
    """
    frame = _with_index(frame)
    columns = list(frame.columns)
    if not all(isinstance(name, str) for name in columns):
        raise InputError(f"The columns of a DataFrame must be called by texts, got {columns!r:.100}.")

    def rows() -> Iterator[dict[str, Any]]:
        for values in frame.itertuples(index=False, name=None):
            yield dict(zip(columns, values, strict=True))

    made = Rows(columns, rows, fields, numbers)
    if type(frame.index).__name__ != "RangeIndex":
        made.note = "The index of the DataFrame has no name and was left out: reset_index() makes it a column."
    return made


def _with_index(frame: Any) -> Any:
    """A DataFrame with the named levels of its index as columns; without any, it itself."""
    levels = [(place, name) for place, name in enumerate(frame.index.names) if name is not None]
    names = [name for _, name in levels]
    for name in names:
        if name in frame.columns or names.count(name) > 1:
            beside = "a column" if name in frame.columns else "another level of it"
            raise InputError(
                f"The index of the DataFrame is called {name!r}, as {beside} is, so that one would hide the other: "
                "rename one of them, or leave the index out with reset_index(drop=True)."
            )
    if not levels:
        return frame
    unnamed = len(levels) < len(frame.index.names)
    made = frame.reset_index(level=[place for place, _ in levels])
    return made if unnamed else made.reset_index(drop=True)
