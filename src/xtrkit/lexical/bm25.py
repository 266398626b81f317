"""BM25 over the words of an index's segments, as if they were one and nothing were dead.

The score of a document is Σ idf · f / (f + k1 · (1 − b + b · length / mean length)) over the words of the query, with
idf = ln(1 + (N − n + ½) / (n + ½)) as Lucene has it. N, n and the mean length are counted over the living documents
that have words, so that an index of many segments scores as one of a single segment does, to the last bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import IndexFormatError, InputError
from xtrkit.kernels.lexical import add_term, count_living
from xtrkit.lexical.postings import Words
from xtrkit.lexical.terms import ANALYSER, terms
from xtrkit.storage.files import damaged
from xtrkit.values import Mask, full_mask

K1, B = 0.9, 0.4
"""Anserini's, as in :mod:`xtrkit.evaluation.bm25`."""


class SegmentWords(NamedTuple):
    """The words of a segment.

    Attributes:
        words: its file; None where its documents have no texts.
        analyser: what found the words.
        live: (N,) which documents are alive; empty where all are.
        n_documents: N.
    """

    words: Words | None
    analyser: str | None
    live: Mask
    n_documents: int


class _Statistics(NamedTuple):
    """N, the living documents that have words, and (N,) norms of each segment's documents."""

    documents: int
    norms: list[npt.NDArray[np.float32]]


class WordIndex:
    """The words of a generation; safe to share between threads."""

    def __init__(self, segments: Sequence[SegmentWords]) -> None:
        self._segments = list(segments)
        self._ends = np.cumsum([0, *(segment.n_documents for segment in self._segments)]).tolist()

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """(N,) the score of each document of all segments: 0 without a word of the query, and for dead ones.

        Raises:
            InputError: the index has no texts.
            IndexFormatError: its words were found in another way than this xtrkit's.
            IndexDamagedError: a file is not what was written.
        """
        self._check()
        scores = np.zeros(self._ends[-1], dtype=np.float32)
        for term, times in Counter(terms(query)).items():
            self._add(term, times, scores)
        for segment, first in zip(self._segments, self._ends, strict=False):
            if len(segment.live):
                scores[first : first + segment.n_documents][~segment.live] = 0
        return scores

    def _add(self, term: str, times: int, scores: npt.NDArray[np.float32]) -> None:
        found = [
            (number, segment.words, place)
            for number, segment in enumerate(self._segments)
            if segment.words
            for place in segment.words.postings(term)
        ]
        having = sum(self._living(number, words, place) for number, words, place in found)
        weight = np.float32(times * log(1 + (self._statistics.documents - having + 0.5) / (having + 0.5)))
        for number, words, place in found:
            of_segment = scores[self._ends[number] : self._ends[number + 1]]
            norms = self._statistics.norms[number]
            if not add_term(words.documents[place], words.frequencies[place], norms, weight, of_segment):
                raise damaged(words.path, "its postings lead nowhere")

    def _living(self, number: int, words: Words, place: slice) -> int:
        live = self._segments[number].live
        return int(count_living(words.documents[place], live)) if len(live) else place.stop - place.start

    @cached_property
    def _statistics(self) -> _Statistics:
        lengths = [
            np.zeros(segment.n_documents, dtype=np.uint32) if segment.words is None else segment.words.lengths
            for segment in self._segments
        ]
        living = [
            of_segment[full_mask(segment.live, segment.n_documents)]
            for of_segment, segment in zip(lengths, self._segments, strict=True)
        ]
        documents = sum(int(np.count_nonzero(of_segment)) for of_segment in living)
        total = sum(int(of_segment.sum(dtype=np.int64)) for of_segment in living)
        mean = total / documents if total else 1.0
        return _Statistics(documents, [_norms(of_segment, mean) for of_segment in lengths])

    def _check(self) -> None:
        with_words = [segment for segment in self._segments if segment.words]
        if not with_words and self._ends[-1]:
            raise InputError(
                "This index has no texts, so there are no words to look for: build it with texts, or search without "
                "fusion."
            )
        for segment in with_words:
            if segment.analyser != ANALYSER and segment.words:
                raise IndexFormatError(
                    f"The words of {segment.words.path.parent} were found by {segment.analyser!r}, this xtrkit has "
                    f"{ANALYSER!r}: `xtrkit repair {segment.words.path.parent} --words` finds them again."
                )


def _norms(lengths: npt.NDArray[np.uint32], mean: float) -> npt.NDArray[np.float32]:
    return (K1 * (1 - B + B * lengths / mean)).astype(np.float32)
