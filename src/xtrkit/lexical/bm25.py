"""BM25 over the words of an index's segments, as if they were one and nothing were dead.

The score of a document is Σ idf · f / (f + k1 · (1 − b + b · length / mean length)) over the words of the query, with
idf = ln(1 + (N − n + ½) / (n + ½)) as Lucene has it. N, n and the mean length are counted over the living documents
that have words, so that an index of many segments scores as one of a single segment does, to the last bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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


class Totals(NamedTuple):
    """What is counted over all documents that are alive and have words.

    Attributes:
        documents: N.
        words: how many words they have together.
    """

    documents: int
    words: int

    @property
    def mean(self) -> float:
        """The mean length of a document."""
        return self.words / self.documents if self.words else 1.0


Found = dict[str, list[tuple[int, Words, slice]]]
"""{term: (segment, its words, where the postings lie)}"""


class WordIndex:
    """The words of a generation; safe to share between threads."""

    def __init__(self, segments: Sequence[SegmentWords]) -> None:
        self._segments = list(segments)
        self._ends = np.cumsum([0, *(segment.n_documents for segment in self._segments)]).tolist()
        self._norms: tuple[float, list[npt.NDArray[np.float32]]] = (np.nan, [])

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """(N,) the score of each document of all segments: 0 without a word of the query, and for dead ones.

        Raises:
            InputError: the index has no texts.
            IndexFormatError: its words were found in another way than this xtrkit's.
            IndexDamagedError: a file is not what was written.
        """
        self.check()
        times = Counter(terms(query))
        found = self._found(times)
        return self._scored(found, weights_of(times, self._counted(found), self.totals), self.totals.mean)

    def having(self, asked: Sequence[str]) -> list[int]:
        """How many living documents have each of some terms."""
        return self._counted(self._found(asked))

    @cached_property
    def totals(self) -> Totals:
        """What is counted over all documents."""
        living = [
            of_segment[full_mask(segment.live, segment.n_documents)]
            for of_segment, segment in zip(self._lengths(), self._segments, strict=True)
        ]
        documents = sum(int(np.count_nonzero(of_segment)) for of_segment in living)
        return Totals(documents, sum(int(of_segment.sum(dtype=np.int64)) for of_segment in living))

    def weighted(self, weights: Mapping[str, np.float32], mean: float) -> npt.NDArray[np.float32]:
        """(N,) the scores that weights of terms make, in their order.

        Args:
            weights: of each term, as :func:`weights_of` gives them.
            mean: the mean length of a document.

        Raises:
            IndexDamagedError: a file is not what was written.
        """
        return self._scored(self._found(weights), weights, mean)

    def _scored(self, found: Found, weights: Mapping[str, np.float32], mean: float) -> npt.NDArray[np.float32]:
        scores = np.zeros(self._ends[-1], dtype=np.float32)
        every = self._norms_for(mean)
        for term, weight in weights.items():
            for number, words, place in found[term]:
                of_segment = scores[self._ends[number] : self._ends[number + 1]]
                documents, frequencies = words.documents[place], words.frequencies[place]
                if not add_term(documents, frequencies, every[number], weight, of_segment):
                    raise damaged(words.path, "its postings lead nowhere")
        for segment, first in zip(self._segments, self._ends, strict=False):
            if len(segment.live):
                scores[first : first + segment.n_documents][~segment.live] = 0
        return scores

    def _found(self, asked: Iterable[str]) -> Found:
        """Where the postings of each term lie; looking a term up costs as much as adding its postings."""
        return {
            term: [
                (number, segment.words, place)
                for number, segment in enumerate(self._segments)
                if segment.words
                for place in segment.words.postings(term)
            ]
            for term in asked
        }

    def _counted(self, found: Found) -> list[int]:
        """How many living documents have each term."""
        return [
            sum(self._living(number, words, place) for number, words, place in of_term) for of_term in found.values()
        ]

    def _living(self, number: int, words: Words, place: slice) -> int:
        live = self._segments[number].live
        return int(count_living(words.documents[place], live)) if len(live) else place.stop - place.start

    def _lengths(self) -> list[npt.NDArray[np.uint32]]:
        return [
            np.zeros(segment.n_documents, dtype=np.uint32) if segment.words is None else segment.words.lengths
            for segment in self._segments
        ]

    def _norms_for(self, mean: float) -> list[npt.NDArray[np.float32]]:
        """(N,) norms of each segment's documents; those of the last mean are kept."""
        kept, norms = self._norms
        if kept != mean:
            norms = [_norms(of_segment, mean) for of_segment in self._lengths()]
            self._norms = mean, norms
        return norms

    def check(self) -> None:
        """Refuse to look for words where there are none, or where they were found otherwise.

        Raises:
            InputError: the index has no texts.
            IndexFormatError: its words were found in another way than this xtrkit's.
        """
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


def weights_of(times: Mapping[str, int], having: Sequence[int], totals: Totals) -> dict[str, np.float32]:
    """The weight of each term of a query: idf, as often as it comes.

    Args:
        times: how often each term comes in the query.
        having: how many documents have each.
        totals: counted over all documents.
    """
    return {
        term: np.float32(n * log(1 + (totals.documents - found + 0.5) / (found + 0.5)))
        for (term, n), found in zip(times.items(), having, strict=True)
    }


def _norms(lengths: npt.NDArray[np.uint32], mean: float) -> npt.NDArray[np.float32]:
    return (K1 * (1 - B + B * lengths / mean)).astype(np.float32)
