"""Texts as they are: prose, Markdown, reStructuredText, source code."""

from __future__ import annotations

from collections.abc import Iterator

from xtrkit.texts.document import Document, Reading, SourceFile
from xtrkit.texts.files.headings import markdown_headings, rst_headings, sections_of
from xtrkit.texts.files.kinds import MARKDOWN, RST
from xtrkit.texts.files.opening import decoded, read_bytes

HEADINGS = {MARKDOWN: markdown_headings, RST: rst_headings}


def read(file: SourceFile, reading: Reading) -> Iterator[Document]:
    """One document: all of the file."""
    data = read_bytes(file.path)
    text = decoded(data, reading.fields.encoding)
    headings = HEADINGS[file.kind](text) if file.kind in HEADINGS else []
    yield Document(file.name, text, sections=sections_of(text, headings), where=file.name)
