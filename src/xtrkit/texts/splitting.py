"""Long documents: texts beyond a model's window are cut into overlapping passages, at ends of sentences if possible.

Where a text is cut is the business of ``semantic-text-splitter`` (paragraphs, then sentences, then words); how many
tokens a piece has, the encoder says. Each passage knows its document and where in the document's text it begins
and ends, so that results can be grouped by document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from semantic_text_splitter import TextSplitter

from xtrkit.encoding.base import Encoder
from xtrkit.passage import Part, Passage

OVERLAP = 8
"""Passages overlap by up to an eighth of the window."""


class SplitCollection:
    """The passages of a collection, those cut up that are longer than the encoder's window.

    What fits stays as it is. Of a longer text ``doc`` the passages are ``doc#1``, ``doc#2``, …; iterating gives the
    same ones each time.
    """

    def __init__(self, passages: Iterable[Passage], encoder: Encoder) -> None:
        self._passages, self._count = passages, encoder.document_token_count
        self._window = encoder.identity.document_length
        room = max(2, self._window - self._count("") + 1)
        self._splitter = TextSplitter.from_callback(self._length, room, overlap=room // OVERLAP)

    def __iter__(self) -> Iterator[Passage]:
        for passage in self._passages:
            whole = passage.text or ""
            # A token stands for a character at least, but for rare ones that decompose: short texts need no counting.
            if len(whole) < self._window // 2 or self._count(whole) <= self._window:
                yield passage
                continue
            pieces = self._splitter.chunk_indices(whole)
            for number, (first, text) in enumerate(pieces, start=1):
                part = Part(passage.id, first, first + len(text))
                yield Passage(f"{passage.id}#{number}", text, passage.metadata, part)

    def _length(self, text: str) -> int:
        """Tokens beside the markers, which each piece gets anew."""
        return max(0, self._count(text) - self._count("") + 1)
