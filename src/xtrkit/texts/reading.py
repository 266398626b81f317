"""Collections on disk, as documents: files, folders of files, patterns, and ir_datasets' collections by name.

==========================  ======================================================================================
a folder                    every file below it that has a reader (:mod:`xtrkit.texts.files`); the path below the
                            folder is the id, or the beginning of the ids of its records
a test collection           of BEIR's folder ``corpus.jsonl`` (also packed, or in parts), of ColBERT's
                            ``collection.tsv``; queries and judgements are passed over
a saved dataset             the folder that ``Dataset.save_to_disk`` wrote
a file                      the same for one; its name is the id
a pattern                   such as ``docs/**/*.md``
``irds:NAME``               a collection of ir_datasets
==========================  ======================================================================================

Texts of any length and script are data. What can't be read for certain is no text: bytes that are not UTF-8, lines that
are not JSON. Each such file or record gives a :class:`~xtrkit.texts.document.Problem`, and the next one follows.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xtrkit.errors import CollectionError, MissingExtraError
from xtrkit.texts.document import Document, Fields, Problem, Reading, ReadingReport, Skipped, Source, SourceFile
from xtrkit.texts.files import columnar, delimited, json_lines, pages, plain, webpage, word
from xtrkit.texts.files.kinds import (
    ARROW,
    CSV,
    DOCX,
    HTML,
    JSON,
    JSON_LINES,
    MARKDOWN,
    NAMED,
    PARQUET,
    PDF,
    READERS,
    RST,
    SOURCE,
    TEXT,
    TSV,
)
from xtrkit.texts.files.layouts import corpus_of, refuse_foreign
from xtrkit.texts.files.opening import UnreadableError, check_encoding, line_by_line, may_be_utf8, sentence_of
from xtrkit.texts.files.walking import ASKING, EVERYTHING, UNREADABLE, Walk, look, walk
from xtrkit.texts.records import NoTextColumnError, until_hopeless

__all__ = ["Files", "Source", "SourceFile", "open_source"]

IRDS = "irds:"
WILD = frozenset("*?[")

DECODED = frozenset({TEXT, MARKDOWN, RST, SOURCE, CSV, TSV, JSON, JSON_LINES})
"""Kinds whose encoding can be named."""

PACKED = frozenset({PDF, DOCX, JSON, PARQUET, ARROW})
"""Kinds that an empty file is none of; it is an empty document all the same."""

Reader = Callable[[SourceFile, Reading], Iterator[Document | Problem]]

_READERS: dict[str, Reader] = {
    CSV: delimited.read,
    TSV: delimited.read,
    JSON_LINES: json_lines.read_lines,
    JSON: json_lines.read_json,
    PARQUET: columnar.read,
    ARROW: columnar.read,
    HTML: webpage.read,
    DOCX: word.read,
    PDF: pages.read,
}
"""Whatever has no reader of its own is read as it is."""

_LIBRARIES: dict[str, Callable[[], Any]] = {
    PARQUET: columnar.library,
    ARROW: columnar.library,
    HTML: webpage.library,
    DOCX: word.library,
    PDF: pages.library,
}


class Files:
    """Files as documents: one file, those below a folder, or those that a pattern takes.

    Attributes:
        root: the folder that names are below.
        report: what was read, passed over and noted since the files were listed last.
    """

    def __init__(self, root: Path, pattern: tuple[str, ...] | None, fields: Fields, *, whole: bool = False) -> None:
        """Files below a folder.

        Args:
            root: the folder.
            pattern: which files, one part for each level; the name of the one file if it is ``alone``.
            fields: where records keep what.
            whole: the folder was named itself: it may be a test collection.
        """
        self.root, self.report = Path(os.path.abspath(root)), ReadingReport()
        self._pattern, self._fields, self._whole = pattern or EVERYTHING, fields, whole
        self._alone: str | None = None

    @classmethod
    def one(cls, path: Path, fields: Fields) -> Files:
        """One file.

        Raises:
            CollectionError: nothing reads files of its kind.
            MissingExtraError: what reads them isn't installed.
        """
        files = cls(path.parent, None, fields)
        files._alone = path.name
        file, reason = look(path.name, path)
        if file is None:
            raise CollectionError(f"{path} can't be read ({reason}): expected {READERS}.")
        if file.kind in _LIBRARIES:
            _LIBRARIES[file.kind]()
        return files

    @property
    def name(self) -> str:
        """What was asked for, as an absolute path or pattern."""
        if self._alone is not None:
            return str(self.root / self._alone)
        return str(self.root if self._pattern == EVERYTHING else self.root.joinpath(*self._pattern))

    @property
    def fields(self) -> Fields:
        """Where records keep what."""
        return self._fields

    def __iter__(self) -> Iterator[Document | Problem]:
        for _, items in self.by_file(self.listing()):
            yield from items

    def by_file(self, files: Sequence[SourceFile]) -> Iterator[tuple[SourceFile, Iterator[Document | Problem]]]:
        """Files with what is read of each; those whose reader isn't installed give one problem for each kind."""
        report, missing = self.report, set[str]()
        for file in files:
            error = _missing(file.kind)
            if error is None:
                yield file, self._read(file, report)
            elif file.kind not in missing:
                missing.add(file.kind)
                count = sum(other.kind == file.kind for other in files)
                where = f"{count:,} {file.kind} file{'s' * (count > 1)}, such as {file.name}"
                yield file, iter([Problem(where, f"{error}")])

    def listing(self) -> list[SourceFile]:
        """The files that are read, in order; the report begins anew, with those that are passed over."""
        self.report = ReadingReport()
        found = self._found()
        self.report.skipped.extend(found.skipped)
        return found.files

    def read(self, file: SourceFile) -> Iterator[Document | Problem]:
        """The documents of a file."""
        return self._read(file, self.report)

    def _found(self) -> Walk:
        if self._alone is not None:
            file, reason = look(self._alone, self.root / self._alone)
            return Walk([file], []) if file else Walk([], [Skipped(self._alone, reason)])
        found = walk(self.root, self._pattern)
        corpus = corpus_of(self.root) if self._whole else None
        if corpus is None:
            return found
        names = {file.name for file in corpus.files}
        others = [file.name for file in found.files] + [file for file, reason in found.skipped if reason == ASKING]
        skipped = [Skipped(file, corpus.reason) for file in others if file not in names]
        return Walk(corpus.files, sorted([*skipped, *(one for one in found.skipped if one.reason != ASKING)]))

    def _check_encoding(self, file: SourceFile, report: ReadingReport) -> None:
        """Note a file that may be UTF-8, where another encoding was named; refuse it if that can't be right as well."""
        encoding = self._fields.encoding
        if file.kind not in DECODED or encoding == "utf-8" or not may_be_utf8(file.path, encoding):
            return
        if not line_by_line(encoding):
            raise UnreadableError(f"is UTF-8, not {encoding}, which was named as its encoding.")
        report.notes.append(f"{file.name} was read as {encoding}, as was asked for; its bytes are UTF-8, too.")

    def _read(self, file: SourceFile, report: ReadingReport) -> Iterator[Document | Problem]:
        if file.problem or file.kind == UNREADABLE:
            yield Problem(file.name, file.problem)
            return
        passed_over = len(report.skipped)
        reader = _READERS.get(file.kind, plain.read)
        try:
            if file.kind in PACKED and not file.path.stat().st_size:
                report.files[file.kind] = report.files.get(file.kind, 0) + 1
                yield Document(file.name, "", where=file.name)
                return
            self._check_encoding(file, report)
            yield from until_hopeless(reader(file, Reading(self._fields, report, self._alone is not None)), file.name)
        except CollectionError:
            raise
        except Exception as error:  # whatever a hostile file makes of a library
            if self._alone is None and isinstance(error.__cause__, NoTextColumnError):  # numbers, among texts
                report.skipped.append(Skipped(file.name, f"{file.kind} without a column of texts (see --text-field)"))
            else:
                yield Problem(file.name, sentence_of(error, file.kind))
        else:
            if len(report.skipped) == passed_over:
                report.files[file.kind] = report.files.get(file.kind, 0) + 1


def open_source(path: str | Path, fields: Fields = Fields()) -> Source:  # noqa: B008 - it is frozen
    """Find a collection.

    Args:
        path: a file, a folder, a pattern such as ``docs/**/*.md``, or ``irds:`` and the name of a collection of
            ir_datasets.
        fields: where records keep what.

    Raises:
        CollectionError: there is nothing there, or something that is no texts: an index, a model.
        MissingExtraError: a file was named whose reader isn't installed.
    """
    check_encoding(fields.encoding)
    if isinstance(path, str) and path.startswith(IRDS):
        from xtrkit.texts.irds import collection

        return collection(path.removeprefix(IRDS), fields)
    if path == "":
        raise CollectionError(f"There is no collection at '': expected {READERS}.")
    path = Path(path)
    if is_there(path):
        if path.is_dir():
            refuse_foreign(path)
            corpus_of(path)
            return Files(path, None, fields, whole=True)
        return Files.one(path, fields)
    if path.is_symlink():
        raise CollectionError(f"{path} is a link to nothing: expected {READERS}.")
    if not WILD & set(str(path)):
        raise CollectionError(f"There is no collection at {path}: expected {READERS}.")
    parts = path.parts
    plain_parts = next(place for place, part in enumerate(parts) if WILD & set(part))
    files = Files(Path(*parts[:plain_parts]), parts[plain_parts:], fields)
    if not files.root.is_dir() or not (files.listing() or files.report.skipped):
        raise CollectionError(f"No file matches {path}: expected {READERS}.")
    return files


def is_there(path: Path) -> bool:
    """Whether something is at a path; long texts are none.

    Raises:
        CollectionError: it can't be looked for.
    """
    try:
        return path.exists()
    except PermissionError as error:
        raise CollectionError(f"{path} can't be read: {error.strerror}.") from error
    except (OSError, ValueError):
        return False


def _missing(kind: str) -> MissingExtraError | None:
    """The error if what reads a kind of files isn't installed."""
    if kind not in NAMED:
        return None
    try:
        _LIBRARIES[kind]()
    except MissingExtraError as error:
        return error
    return None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file with their numbers, without line ends; lines of white space alone are passed over.

    A file whose name ends in ``.gz`` is unpacked. Only newlines end a line: the other separators that Unicode knows are
    text.

    Raises:
        CollectionError: the file can't be opened, or holds bytes that are not UTF-8.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise CollectionError(
            f"{path}, line {number}: byte {error.start + 1} is not UTF-8. Convert the file to UTF-8."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise CollectionError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}.") from error


def read_json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """JSON objects of a file, one a line, with their line numbers.

    Raises:
        CollectionError: a line isn't a JSON object.
    """
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CollectionError(f"{path}, line {number}: not JSON ({error}).") from error
        if not isinstance(record, dict):
            raise CollectionError(
                f"{path}, line {number}: expected a JSON object such as "
                f'{{"_id": "1", "text": "…"}}, got {type(record).__name__}.'
            )
        yield number, record


def id_and_text(path: Path, number: int, record: dict[str, Any]) -> tuple[str, str]:
    """The id and the text of a passage or query as BEIR writes them.

    Raises:
        CollectionError: the object has no id or no text, or they are not what they should be.
    """
    identifier = record.get("_id", record.get("id"))
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        identifier = str(identifier)
    text, title = record.get("text"), record.get("title") or ""
    if not isinstance(identifier, str) or not identifier:
        raise CollectionError(f'{path}, line {number}: no "_id" (or "id") that is a text or a whole number.')
    if not isinstance(text, str):
        raise CollectionError(f'{path}, line {number}: no "text" that is a text (id {identifier!r}).')
    if not isinstance(title, str):
        raise CollectionError(f'{path}, line {number}: a "title" that is no text (id {identifier!r}).')
    return storable(identifier, path, number), storable(f"{title} {text}" if title else text, path, number)


def storable(text: str, path: Path, number: int) -> str:
    r"""The text itself, if it can be written as UTF-8; JSON can hold halves of characters (``\ud83d``) that can't.

    Raises:
        CollectionError: it holds half a surrogate pair.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CollectionError(
            f"{path}, line {number}: half a surrogate pair (\\u{ord(text[error.start]):04x}) stands alone. "
            "Write the whole character."
        ) from error
    return text
