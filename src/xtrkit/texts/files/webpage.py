"""Web pages: what is said on them, by trafilatura, without navigation and the like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from xtrkit.errors import missing_extra
from xtrkit.texts.document import Document, Reading, SourceFile
from xtrkit.texts.files import blocks
from xtrkit.texts.files.headings import Heading, markdown_headings, sections_of
from xtrkit.texts.files.kinds import NAMED
from xtrkit.texts.files.opening import BYTE_ORDER_MARKS, MAGIC, UnreadableError, quietly, read_bytes

LOGGERS = ("trafilatura", "htmldate", "courlan", "justext", "charset_normalizer")

_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_:.-]{1,40})""")
_LATIN = ("ascii", "us-ascii", "iso-8859-1", "latin1", "latin-1", "iso8859-1")
"""What browsers take for windows-1252, whose characters pages that say so have."""


def library() -> Any:
    """The library that finds what is said on a page.

    Raises:
        MissingExtraError: it isn't installed.
    """
    try:
        import trafilatura
    except ImportError as error:
        raise missing_extra(*NAMED["HTML"]) from error
    return trafilatura


def read(file: SourceFile, reading: Reading) -> Iterator[Document]:
    """One document: the page."""
    with quietly(*LOGGERS):
        trafilatura = library()
        html = _decoded(read_bytes(file.path), file, reading)
        whole, headings = blocks.text_of(html)
        text = trafilatura.extract(html, output_format="markdown") or ""
        if text.strip():
            headings = markdown_headings(text)
            _note_left_out(file, reading, len(text), len(whole))
        else:
            text = whole
        metadata = _metadata(trafilatura, html)
    yield Document(file.name, text, metadata, sections_of(text, _with_titles(headings)), where=file.name)


def _with_titles(headings: list[Heading]) -> list[Heading]:
    return [heading for heading in headings if heading.title]


def _metadata(trafilatura: Any, html: str) -> dict[str, str] | None:
    """Title and address, if the page states them."""
    found = trafilatura.extract_metadata(html, extensive=False) if html.strip() else None
    told = {"title": getattr(found, "title", None), "url": getattr(found, "url", None)}
    return {name: value for name, value in told.items() if value} or None


def _note_left_out(file: SourceFile, reading: Reading, kept: int, whole: int) -> None:
    """Say it where most of a page was left out: it may have been more than navigation."""
    if kept < whole / 2:
        reading.report.notes.append(
            f"{file.name}: {1 - kept / whole:.0%} of the page's text was left out as navigation and the like."
        )


def _decoded(data: bytes, file: SourceFile, reading: Reading) -> str:
    """The page's text, by its byte order mark, what it declares, UTF-8, or as browsers do without all these."""
    start = data[:4096]
    for mark, encoding in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return data.decode(encoding, "replace")
    if any(start.startswith(magic) for magic, _ in MAGIC) or b"\0" in start:
        raise UnreadableError("is no HTML: it holds NUL bytes, or begins as files of another kind do.")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    declared = _declared(start)
    if declared in ("", "utf-8", "utf8") or declared.startswith("utf-16"):
        if text or not data:
            return text
        encoding = reading.fields.encoding if reading.fields.encoding != "utf-8" else "cp1252"
        reading.report.notes.append(f"{file.name} is not UTF-8 and declares nothing else: it was read as {encoding}.")
    else:
        encoding = "cp1252" if declared in _LATIN else declared
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        reading.report.notes.append(f"{file.name}: not all of its bytes are {encoding}; those became “�”.")
        return data.decode(encoding, "replace")


def _declared(start: bytes) -> str:
    """The encoding that a page says it has, if Python knows it."""
    found = _DECLARED.search(start)
    name = found[1].decode("ascii").lower() if found else ""
    try:
        return name if name and isinstance(b"".decode(name), str) else ""
    except (LookupError, ValueError):
        return ""
