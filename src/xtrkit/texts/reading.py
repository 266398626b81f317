"""Collections of passages on disk: what can be indexed, read one passage at a time.

=====================  ==========================================================================================
a BEIR folder          ``corpus.jsonl`` in it
a ``.jsonl`` file      one object a line: ``_id`` (or ``id``), ``text``, and ``title`` where there is one
a ``.tsv`` file        ``id<TAB>text`` or ColBERT's ``id<TAB>text<TAB>title``, without a header
a folder of texts      every ``.txt`` and ``.md`` file below it; the path below the folder is the id
=====================  ==========================================================================================

A title is put before its text, with a space between, as BEIR does. Texts of any length and script are data; what is
refused is what can't be read for certain: bytes that are not UTF-8, lines that are not JSON, ids that come twice.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtrkit.errors import CollectionError, InputError
from xtrkit.passage import Passage

TEXT_SUFFIXES = (".txt", ".md")
FORMATS = "a BEIR folder (with corpus.jsonl), a .jsonl or .tsv file, or a folder of .txt and .md files"


@dataclass(frozen=True)
class Collection:
    """The passages below a path; iterating reads them from disk each time."""

    path: Path

    def __iter__(self) -> Iterator[Passage]:
        if self.path.is_dir():
            corpus = self.path / "corpus.jsonl"
            return _read_jsonl(corpus) if corpus.is_file() else _read_folder(self.path)
        return _read_tsv(self.path) if self.path.suffix == ".tsv" else _read_jsonl(self.path)


def check_passages(passages: Iterable[Passage]) -> int:
    """Read everything once, so that a mistake in the last line shows before hours of encoding.

    Returns:
        how many passages there are.

    Raises:
        CollectionError: a passage can't be read, an id comes twice, or there is no passage at all.
    """
    ids: set[str] = set()
    for passage in passages:
        if passage.id in ids:
            raise CollectionError(f"The id {passage.id!r} comes twice in the collection: make ids unique.")
        ids.add(passage.id)
    if not ids:
        raise CollectionError(f"The collection has no passages: expected {FORMATS} with at least one passage.")
    return len(ids)


def check_all_came(passages: int, checked: int) -> None:
    """Refuse passages that were others the second time.

    Raises:
        InputError: there are fewer of them, or more, than were checked.
    """
    if passages != checked:
        raise InputError(
            f"There were {checked:,} passages when they were checked and {passages:,} when they were encoded: give "
            "them as a list, or as an iterator, which is read once."
        )


def open_collection(path: str | Path) -> Collection:
    """Find a collection.

    Raises:
        CollectionError: there is nothing at the path, or nothing of a known format.
    """
    path = Path(path)
    if not path.exists():
        raise CollectionError(f"There is no collection at {path}: expected {FORMATS}.")
    if path.is_file() and path.suffix not in (".jsonl", ".tsv"):
        raise CollectionError(f"{path} is a {path.suffix or 'nameless'} file: expected {FORMATS}.")
    return Collection(path)


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


def _read_jsonl(path: Path) -> Iterator[Passage]:
    for number, record in read_json_objects(path):
        yield Passage(*id_and_text(path, number, record), _metadata(path, number, record))


def _metadata(path: Path, number: int, record: dict[str, Any]) -> dict[str, Any] | None:
    """The object "metadata" of a record, as BEIR writes it.

    Raises:
        CollectionError: it is no object of texts, numbers, booleans and nulls.
    """
    metadata = record.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise CollectionError(
            f'{path}, line {number}: "metadata" must be a JSON object, got {type(metadata).__name__}.'
        )
    for name, value in metadata.items():
        if isinstance(value, list | dict):
            raise CollectionError(
                f"{path}, line {number}: the metadata field {name!r} must be a text, a number, a boolean or null."
            )
        storable(name, path, number)
        if isinstance(value, str):
            storable(value, path, number)
    return metadata or None


def _read_tsv(path: Path) -> Iterator[Passage]:
    for number, line in read_lines(path):
        fields = line.split("\t")
        if len(fields) not in (2, 3) or not fields[0]:
            raise CollectionError(
                f"{path}, line {number}: expected id<TAB>text or id<TAB>text<TAB>title, got {len(fields)} field(s)."
            )
        title = fields[2] if len(fields) == 3 else ""
        yield Passage(fields[0], f"{title} {fields[1]}" if title else fields[1])


def _read_folder(folder: Path) -> Iterator[Passage]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in TEXT_SUFFIXES and path.is_file())
    for path in files:
        yield Passage(path.relative_to(folder).as_posix(), _read_text(path))


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CollectionError(f"{path}: byte {error.start + 1} is not UTF-8. Convert the file to UTF-8.") from error
