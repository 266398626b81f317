"""Documents -> passages: sections apart, and what is longer than a model's window cut up, overlapping.

Where a text is cut is the business of ``semantic-text-splitter`` (paragraphs, then sentences, then words); how many
tokens a piece has, the encoder says. Each passage knows its document and where in the document's text it begins
and ends, so that results can be grouped by document.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from semantic_text_splitter import TextSplitter

from xtrkit.content import has_content
from xtrkit.encoding.base import Encoder
from xtrkit.passage import Metadata, Part, Passage, piece_id
from xtrkit.texts.document import Document, Section
from xtrkit.values import Splitting

OVERLAP = 8
"""Passages overlap by up to an eighth of the window."""


def splitting_for(encoder: Encoder) -> Splitting:
    """How documents are cut for an encoder: into passages that fill its window."""
    window = encoder.identity.document_length
    return Splitting(window, max(2, window - encoder.document_token_count("") + 1) // OVERLAP)


class Splitter:
    """Cuts documents into passages.

    A document of one section that fits the window stays as it is. Of any other document ``doc`` the passages are
    ``doc¶1``, ``doc¶2``, …; the same document gives the same ones each time.
    """

    def __init__(self, encoder: Encoder, splitting: Splitting) -> None:
        self._encoder, self._window = encoder, splitting.window
        markers = encoder.document_token_count("")

        def length(text: str) -> int:
            """Tokens beside the markers, which each piece gets anew."""
            return max(0, encoder.document_token_count(text) - markers + 1)

        # The library's object is none that the garbage collector looks into: were it given a method of this one, which
        # holds it, neither would ever be freed, nor the encoder.
        room = max(2, splitting.window - markers + 1)
        self._splitter = TextSplitter.from_callback(length, room, overlap=min(splitting.overlap, room - 1))

    def passages(self, document: Document) -> Iterator[Passage]:
        """The passages of a document, in the order of its text; what has no content is in none."""
        sections = list(_covering(document))
        if document.part is not None or (len(sections) == 1 and self._fits(document.text)):
            metadata = _joined(document, sections[0]) if sections else document.metadata
            yield Passage(document.id, document.text, metadata, document.part)
            return
        numbers = count(1)
        for section in sections:
            for first, last in self._cut(document.text, section):
                part = Part(document.id, first, last)
                identifier = piece_id(document.id, next(numbers))
                yield Passage(identifier, document.text[first:last], _joined(document, section), part)

    def _cut(self, text: str, section: Section) -> Iterator[tuple[int, int]]:
        first, last = _trimmed(text, section.first, section.last)
        whole = text[first:last]
        if self._fits(whole):
            yield first, last
            return
        for start, piece in self._splitter.chunk_indices(whole):
            yield first + start, first + start + len(piece)

    def _fits(self, text: str) -> bool:
        return not self._encoder.is_document_truncated(text)


def _covering(document: Document) -> Iterator[Section]:
    """The sections of a document, and what lies between them: nothing is left out that has content."""
    reached = 0
    for section in (*document.sections, Section(len(document.text), len(document.text), {})):
        if has_content(document.text[reached : section.first]):
            yield Section(reached, section.first, {})
        if has_content(document.text[section.first : section.last]):
            yield section
        reached = max(reached, section.last)


def _trimmed(text: str, first: int, last: int) -> tuple[int, int]:
    """A range without the white space at its ends."""
    inside = text[first:last]
    return first + len(inside) - len(inside.lstrip()), first + len(inside.rstrip())


def _joined(document: Document, section: Section) -> Metadata | None:
    return {**(document.metadata or {}), **section.metadata} or None
