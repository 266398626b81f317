"""The words of a segment's documents, in one file of arrays (:mod:`xtrkit.storage.arrays`).

==================  ==========================================================================================
``lengths``         (N,) how many words each document has
``block_terms``     (K + 1,) which terms belong to each block
``term_ends``       (T + 1,) where each term begins and ends in ``terms``
``posting_ends``    (T + 1,) where the postings of each term begin and end
``terms``           (B,) UTF-8; those of a block in ascending order of bytes
``documents``       (P,) documents of the segment that have a term, ascending
``frequencies``     (P,) how often, 65,535 at most
==================  ==========================================================================================

A block is what was in memory when it was written: some millions of words, so that memory does not grow with a segment.
A term is looked up in each. Opening compares shapes, and looks whether offsets rise; whether ``documents`` lead
somewhere, the kernels look.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.lexical.terms import term_of
from xtrkit.lexical.words import words
from xtrkit.passage import Passage
from xtrkit.storage.arrays import ArraySpec, ArrayWriter, open_arrays
from xtrkit.storage.files import FileFacts, damaged, storage_errors

DTYPES = {
    "lengths": "<u4",
    "block_terms": "<i8",
    "term_ends": "<i8",
    "posting_ends": "<i8",
    "terms": "|u1",
    "documents": "<u4",
    "frequencies": "<u2",
}
SPILLED = ("terms", "documents", "frequencies")
"""Arrays that grow with the words of a segment: beyond a block, they wait on disk."""

BLOCK_WORDS = 1 << 22
"""Words of a block: they take some 100 MB while it is sorted."""

IN_MEMORY = 1 << 25
"""Bytes of an array up to which it waits in memory until it is written."""

MOST = (1 << 16) - 1
"""What is kept of how often a document has a term: more would change no score in its third digit."""

Array = npt.NDArray[Any]


class WordsWriter:
    """Takes the texts of a segment, document after document, and writes its file of words; use it in a ``with``."""

    def __init__(self, directory: Path, name: str, block_words: int = BLOCK_WORDS) -> None:
        self._directory, self._name, self._block_words = directory, name, block_words
        self._spilled = {
            key: SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(directory))  # noqa: SIM115
            for key in SPILLED
        }
        self._lengths: list[int] = []
        self._block_terms, self._term_sizes, self._posting_sizes = [0], list[Array](), list[Array]()
        self._any = False
        self._begin_block()

    def __enter__(self) -> WordsWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._spilled.values():
            file.close()

    def through(self, passages: Iterable[Passage]) -> Iterator[Passage]:
        """Take the texts of passages that are on their way to somewhere else."""
        for passage in passages:
            self.add(passage.text)
            yield passage

    def add(self, text: str | None) -> None:
        """Take the next document's text; None where it has none.

        Raises:
            StorageError: a block could not be written.
        """
        found = [] if text is None else words(text)
        self._any |= text is not None
        self._block.extend(map(self._numbers.__getitem__, found))
        self._lengths.append(len(found))
        if len(self._block) >= self._block_words:
            self._end_block()

    def finish(self) -> FileFacts | None:
        """Write the file; None where no document had a text.

        Raises:
            StorageError: it could not be written.
        """
        if not self._any:
            return None
        self._end_block()
        arrays: dict[str, Array] = {
            "lengths": np.array(self._lengths, dtype=np.uint32),
            "block_terms": np.array(self._block_terms, dtype=np.int64),
            "term_ends": _ends(self._term_sizes),
            "posting_ends": _ends(self._posting_sizes),
        }
        sizes = {key: file.tell() // np.dtype(DTYPES[key]).itemsize for key, file in self._spilled.items()}
        specs = {
            key: ArraySpec(dtype, arrays[key].shape if key in arrays else (sizes[key],))
            for key, dtype in DTYPES.items()
        }
        with ArrayWriter(self._directory, self._name, specs) as writer:
            for key, values in arrays.items():
                writer.append(key, values)
            for key in SPILLED:
                for values in self._read(key):
                    writer.append(key, values)
            return writer.finish()

    def _begin_block(self) -> None:
        self._first, self._block = len(self._lengths), array("i")
        self._numbers: defaultdict[str, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__

    def _end_block(self) -> None:
        """Sort the words since the last block by term and document."""
        if self._block:
            of_words = [term_of(word) for word in self._numbers]
            ordered = sorted(set(of_words))  # by code point, which is the order of their UTF-8
            place = {term: number for number, term in enumerate(ordered)}
            term_of_word = np.array([place[term] for term in of_words], dtype=np.int64)
            lengths = self._lengths[self._first :]
            documents = np.repeat(np.arange(len(lengths)), lengths)
            of_block = term_of_word[np.frombuffer(self._block, dtype=np.int32)]
            found, counts = np.unique(of_block * len(lengths) + documents, return_counts=True)
            encoded = [term.encode() for term in ordered]
            self._block_terms.append(self._block_terms[-1] + len(ordered))
            self._term_sizes.append(np.array([len(term) for term in encoded], dtype=np.int64))
            self._posting_sizes.append(np.bincount(found // len(lengths), minlength=len(ordered)))
            self._spill("terms", np.frombuffer(b"".join(encoded), dtype=np.uint8))
            self._spill("documents", self._first + found % len(lengths))
            self._spill("frequencies", np.minimum(counts, MOST))
        self._begin_block()

    def _spill(self, key: str, values: Array) -> None:
        with storage_errors(self._directory, "writing words in it"):
            self._spilled[key].write(values.astype(DTYPES[key]).tobytes())

    def _read(self, key: str) -> Iterator[Array]:
        file = self._spilled[key]
        with storage_errors(self._directory, "reading words in it"):
            file.seek(0)
            while block := file.read(IN_MEMORY):
                yield np.frombuffer(block, dtype=DTYPES[key])


@dataclass(frozen=True, eq=False)
class Words:
    """A segment's file of words, viewed; the arrays are those of this module.

    Attributes:
        path: where it lies.
    """

    path: Path
    lengths: npt.NDArray[np.uint32]
    block_terms: npt.NDArray[np.int64]
    term_ends: npt.NDArray[np.int64]
    posting_ends: npt.NDArray[np.int64]
    terms: npt.NDArray[np.uint8]
    documents: npt.NDArray[np.uint32]
    frequencies: npt.NDArray[np.uint16]

    def postings(self, term: str) -> Iterator[slice]:
        """Where the postings of a term lie, in each block that has it."""
        wanted = term.encode("utf-8", "replace")
        for first, last in pairwise(self.block_terms.tolist()):
            place = first + bisect_left(range(first, last), wanted, key=self._term)
            if place < last and self._term(place) == wanted:
                yield slice(int(self.posting_ends[place]), int(self.posting_ends[place + 1]))

    def _term(self, number: int) -> bytes:
        return self.terms[self.term_ends[number] : self.term_ends[number + 1]].tobytes()

    def problem(self) -> str | None:
        """What in it contradicts itself, when all of it is read; None where nothing does."""
        counted = np.zeros(len(self.lengths), dtype=np.int64)
        for first, last in pairwise(self.block_terms.tolist()):
            names = [self._term(number) for number in range(first, last)]
            if any(one >= other for one, other in pairwise(names)):
                return "its terms are not in order"
            part = slice(int(self.posting_ends[first]), int(self.posting_ends[last]))
            documents, frequencies = self.documents[part], self.frequencies[part]
            if not len(documents):
                continue
            if documents.max() >= len(self.lengths) or not frequencies.all():
                return "its postings lead nowhere"
            rising = np.diff(documents.astype(np.int64)) > 0
            rising[self.posting_ends[first + 1 : last] - part.start - 1] = True
            if not rising.all():
                return "its documents are not in order"
            counted += np.bincount(documents, frequencies, len(counted)).astype(np.int64)
        if (counted > self.lengths).any() or (self.lengths[counted < self.lengths] <= MOST).any():
            return "its lengths are not the numbers of words"
        return None


def open_words(path: Path, n_documents: int) -> Words:
    """View the words of a segment.

    Raises:
        IndexDamagedError: the file is not what was written.
        StorageError: it can't be read.
    """
    arrays = open_arrays(path)
    kinds = {key: values.dtype.str for key, values in arrays.items()}
    if kinds != DTYPES or any(values.ndim != 1 for values in arrays.values()):
        raise damaged(path, f"its arrays are {kinds} instead of {DTYPES}, each a row")
    found = Words(path, **arrays)
    if len(found.lengths) != n_documents or len(found.frequencies) != len(found.documents):
        raise damaged(path, "it is of another number of documents or postings")
    terms = len(found.term_ends) - 1
    for ends, last in (
        (found.term_ends, len(found.terms)),
        (found.posting_ends, len(found.documents)),
        (found.block_terms, terms),
    ):
        if len(ends) < 1 or ends[0] != 0 or ends[-1] != last or (np.diff(ends) < 0).any():
            raise damaged(path, "its offsets do not rise to the end")
    if len(found.posting_ends) != terms + 1:
        raise damaged(path, "its terms have other numbers of postings")
    return found


def _ends(sizes: list[Array]) -> npt.NDArray[np.int64]:
    ends = np.concatenate([np.zeros(1, dtype=np.int64), *sizes])
    return np.cumsum(ends, dtype=np.int64)
