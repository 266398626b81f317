"""Texts as they are: prose, Markdown, reStructuredText, source code."""

from __future__ import annotations

from collections.abc import Iterator

from xtrkit.texts.document import Document, Reading, SourceFile
from xtrkit.texts.files.headings import markdown_headings, rst_headings, sections_of
from xtrkit.texts.files.kinds import MARKDOWN, RST
from xtrkit.texts.files.opening import decoded, encoding_of, read_bytes

HEADINGS = {MARKDOWN: markdown_headings, RST: rst_headings}


def read(file: SourceFile, reading: Reading) -> Iterator[Document]:
    """One document: all of the file."""
    data = read_bytes(file.path)
    text = decoded(data, reading.fields.encoding)
    if encoding_of(data, reading.fields.encoding) == reading.fields.encoding != "utf-8" and _is_utf8(data):
        reading.report.notes.append(
            f"{file.name} was read as {reading.fields.encoding}, as was asked for; its bytes are UTF-8, too."
        )
    headings = HEADINGS[file.kind](text) if file.kind in HEADINGS else []
    yield Document(file.name, text, sections=sections_of(text, headings), where=file.name)


def _is_utf8(data: bytes) -> bool:
    """Whether bytes, not all of them ASCII, can be read as UTF-8."""
    try:
        return not data.isascii() and bool(data.decode())
    except UnicodeDecodeError:
        return False
