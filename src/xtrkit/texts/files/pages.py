"""PDF files, page by page, by pypdf."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from xtrkit.errors import missing_extra
from xtrkit.texts.document import Document, Problem, Reading, Section, SourceFile
from xtrkit.texts.files.kinds import NAMED
from xtrkit.texts.files.opening import UnreadableError, quietly, read_bytes, sentence_of

BETWEEN = "\n\n"


def library() -> Any:
    """The library that reads PDF.

    Raises:
        MissingExtraError: it isn't installed.
    """
    try:
        import pypdf
    except ImportError as error:
        raise missing_extra(*NAMED["PDF"]) from error
    return pypdf


def read(file: SourceFile, reading: Reading) -> Iterator[Document | Problem]:
    """One document, a section for each page that has text."""
    data = read_bytes(file.path)
    with quietly("pypdf"):
        pdf = library().PdfReader(io.BytesIO(data))
        if pdf.is_encrypted and not pdf.decrypt(""):
            raise UnreadableError("is encrypted: save it without a password.")
        count = len(pdf.pages)
    texts: list[str] = []
    sections: list[Section] = []
    place = empty = 0
    for number in range(count):
        try:
            with quietly("pypdf"):
                text = _whole_characters(pdf.pages[number].extract_text())
        except Exception as error:  # whatever a damaged page makes of pypdf
            yield Problem(f"{file.name}, page {number + 1}", sentence_of(error, "a page of a PDF"))
            continue
        if not text.strip():
            empty += 1
            continue
        sections.append(Section(place, place + len(text), {"page": number + 1}))
        texts.append(text)
        place += len(text) + len(BETWEEN)
    if empty:
        have, scanned = ("has", "is it") if empty == 1 else ("have", "are they")
        told = "no page has a text" if empty == count else f"{empty:,} of {count:,} pages {have} no text"
        reading.report.notes.append(f"{file.name}: {told}; {scanned} scanned? xtrkit does not recognise characters.")
    yield Document(file.name, BETWEEN.join(texts), sections=tuple(sections), where=file.name)


def _whole_characters(text: str) -> str:
    """A text as UTF-8 can have it: halves of characters, which damaged fonts give, become “�”."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
