"""Files opened, unpacked and decoded: bytes and lines, or a sentence that says why not."""

from __future__ import annotations

import codecs
import gzip
import io
import logging
import stat
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from xtrkit.errors import CollectionError, MissingExtraError

BEGINNING = 8192
"""Bytes by which files are told apart."""

LOOKED_AT = 1 << 20
"""Bytes by which it is told whether a file may be UTF-8 after all."""

LARGEST_TEXT = 1 << 30
"""Bytes that are read in one piece: a whole text, or a line."""

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

MAGIC = (
    (b"%PDF-", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"{\\rtf", "RTF"),
    (b"PK\x03\x04", "a ZIP archive, as DOCX, XLSX and EPUB are"),
    (b"\x1f\x8b", "packed with gzip"),
    (b"PAR1", "Parquet"),
)
"""How files begin that are no texts, whatever their names say."""


class UnreadableError(Exception):
    """A file can't be read; the message is the sentence of a :class:`~xtrkit.texts.document.Problem`."""


class Line(NamedTuple):
    """A line of a text file.

    Attributes:
        number: which, from 1.
        text: it, without its end.
        problem: why it can't be decoded, if so.
    """

    number: int
    text: str
    problem: str = ""


def sentence_of(error: Exception, kind: str) -> str:
    """What an exception that came of a file says to whoever has the file."""
    if isinstance(error, UnreadableError | MissingExtraError):
        return str(error)
    if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error):
        return f"can't be unpacked ({error}): it is no gzip file, or not all of one. Get or make it again."
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read: {error.strerror}."
    if isinstance(error, RecursionError):
        return f"can't be read as {kind} (it is nested too deeply)."
    told = " ".join(str(error).split())[:200]
    return f"can't be read as {kind} ({type(error).__name__}{': ' if told else ''}{told})."


def check_encoding(encoding: str) -> None:
    """Refuse the name of an encoding that Python does not know.

    Raises:
        CollectionError: it doesn't, or it is none of texts.
    """
    try:
        known = isinstance("".encode(encoding), bytes)
    except (LookupError, ValueError, TypeError):
        known = False
    if not known:
        raise CollectionError(f"There is no encoding {encoding!r}: expected a name such as utf-8, cp1252 or shift_jis.")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked if its name ends in ``.gz``.

    Raises:
        UnreadableError: it is no regular file: reading a pipe could take for ever.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadableError("is no regular file.")
    with path.open("rb") as raw:
        if path.suffix.lower() == ".gz":
            with gzip.open(raw) as unpacked:
                yield unpacked  # type: ignore[misc] # a GzipFile reads bytes
        else:
            yield raw


def beginning(path: Path) -> bytes:
    """The first bytes of a file."""
    with opened(path) as file:
        return file.read(BEGINNING)


def read_bytes(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        UnreadableError: they are too many for one text.
    """
    with opened(path) as file:
        data = file.read(LARGEST_TEXT + 1)
    if len(data) > LARGEST_TEXT:
        raise UnreadableError(f"has more than {LARGEST_TEXT >> 30} GiB as one text: split it into several files.")
    return data


def decoded(data: bytes, encoding: str) -> str:
    """The text of a file.

    Raises:
        UnreadableError: it is none, or of another encoding.
    """
    encoding = encoding_of(data, encoding)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError(undecodable(error, encoding)) from error


def undecodable(error: UnicodeDecodeError, encoding: str) -> str:
    """The sentence for bytes of another encoding."""
    name = "UTF-8" if encoding.startswith("utf-8") else encoding
    return (
        f"byte {error.start + 1} is not {name}. Convert the file to UTF-8, or name its encoding, such as "
        '--encoding cp1252 (Fields(encoding="cp1252")).'
    )


def encoding_of(start: bytes, encoding: str) -> str:
    """Which encoding a file has, by its first bytes: the one that a byte order mark tells, or the one that was named.

    Raises:
        UnreadableError: it is no text by its first bytes.
    """
    for mark, name in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return name
    for magic, what in MAGIC:
        if start.startswith(magic):
            raise UnreadableError(f"is no text, but {what} by its first bytes: name it so.")
    if line_by_line(encoding) and b"\0" in start[:BEGINNING]:
        raise UnreadableError(
            "holds NUL bytes, as binary files do, and UTF-16 without a byte order mark: "
            "take the file away, or name its encoding, such as --encoding utf-16-le."
        )
    return encoding


def may_be_utf8(path: Path, encoding: str) -> bool:
    """Whether a file that is to be read in another encoding looks as if it were UTF-8: those who said so may err."""
    with opened(path) as file:
        start = file.read(LOOKED_AT)
    if line_by_line(encoding) and start.isascii():
        return False
    try:
        return encoding_of(start, encoding) == encoding and b"\0" not in start and bool(start.decode())
    except UnicodeDecodeError as error:
        return len(start) == LOOKED_AT and error.start > LOOKED_AT - 4  # cut within a character


def line_by_line(encoding: str) -> bool:
    """Whether the lines of an encoding end where those of ASCII do, so that they can be split before decoding."""
    return "\n".encode(encoding) == b"\n"


def decoded_lines(path: Path, encoding: str) -> Iterator[Line]:
    """Lines of a text file; only newlines end a line: the other separators that Unicode knows are text.

    Raises:
        UnreadableError: the file is no text, or can't be decoded beyond some place.
    """
    with opened(path) as file:
        encoding = encoding_of(peeked(file), encoding)
        if not line_by_line(encoding):
            yield from _lines_of_wide(file, encoding)
            return
        for number, line in enumerate(iter(lambda: file.readline(LARGEST_TEXT + 1), b""), start=1):
            if len(line) > LARGEST_TEXT:
                raise UnreadableError(f"line {number} has more than {LARGEST_TEXT >> 30} GiB.")
            try:
                text = line.decode(encoding if number == 1 else encoding.removesuffix("-sig"))
            except UnicodeDecodeError as error:
                yield Line(number, "", undecodable(error, encoding))
                continue
            yield Line(number, text.rstrip("\r\n"))


def peeked(file: IO[bytes]) -> bytes:
    """The first bytes of a file that stay to be read."""
    return file.peek(BEGINNING)[:BEGINNING]  # type: ignore[attr-defined, no-any-return] # both kinds of files can


def _lines_of_wide(file: IO[bytes], encoding: str) -> Iterator[Line]:
    """Lines of UTF-16 and its like, where a newline is more than a byte."""
    number, lines = 0, io.TextIOWrapper(file, encoding, newline="\n")
    try:
        for number, line in enumerate(lines, start=1):
            yield Line(number, line.rstrip("\r\n"))
    except UnicodeError as error:
        raise UnreadableError(f"line {number + 1} is not {encoding}: convert the file to UTF-8.") from error
    finally:
        lines.detach()


@contextmanager
def quietly(*loggers: str) -> Iterator[None]:
    """Let libraries say nothing: neither by warnings nor by the loggers that are named."""
    before = [(logger, logger.level) for logger in map(logging.getLogger, loggers)]
    try:
        for logger, _ in before:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in before:
            logger.setLevel(level)
