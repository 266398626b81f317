"""Token vectors and passages -> the files of a segment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.compressed_format import Quantiser
from xtrkit.indexing.postings import TokenRows, compress
from xtrkit.lexical.postings import WordsWriter
from xtrkit.lexical.terms import ANALYSER
from xtrkit.passage import Passage
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.arrays import ArraySpec, ArrayWriter
from xtrkit.storage.files import FileFacts, storage_errors
from xtrkit.storage.generations import words_name
from xtrkit.storage.manifest import SegmentFacts
from xtrkit.storage.passage_file import write_passages
from xtrkit.values import Ragged

ROWS_AT_A_TIME = 1 << 15


@dataclass(frozen=True, eq=False)
class RowsInMemory:
    """Token vectors of documents that are in memory, as a build reads them."""

    documents: Ragged

    @property
    def n_tokens(self) -> int:
        """How many vectors there are, M."""
        return len(self.documents.rows)

    @property
    def dim(self) -> int:
        """Dimensions, d."""
        return self.documents.dim

    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) how many each document has."""
        return np.asarray(self.documents.lengths, dtype=np.int64)

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[np.float16]]]:
        """The vectors, block after block."""
        for first in range(0, self.n_tokens, ROWS_AT_A_TIME):
            rows = self.documents.rows[first : first + ROWS_AT_A_TIME]
            yield slice(first, first + len(rows)), rows.astype(np.float16, copy=False)


def write_segment(
    directory: Path,
    name: str,
    rows: TokenRows,
    passages: Iterable[Passage],
    quantiser: Quantiser | None,
    *,
    assigned: npt.NDArray[np.int32] | None = None,
    reporter: Reporter = SILENT,
    threads: int | None = None,
) -> tuple[SegmentFacts, float]:
    """Write the files of a segment.

    Args:
        directory: the index.
        name: of the segment.
        rows: token vectors.
        passages: a passage for each document.
        quantiser: centroids and codec; None keeps float16 vectors.
        assigned: (M,) cluster of each token, if it is known.
        reporter: told about the progress.
        threads: as in :func:`~xtrkit.indexing.postings.train`.

    Returns:
        what a manifest says of it, and the energy of the residuals (0 where nothing was compressed).

    Raises:
        StorageError: a file could not be written.
    """
    error = 0.0
    with storage_errors(directory, "writing a segment in it"):
        if quantiser:
            vectors, error = compress(
                rows, quantiser, directory, vectors_name(name), assigned=assigned, reporter=reporter, threads=threads
            )
        else:
            vectors = _write_exact(directory, vectors_name(name), rows, reporter)
        lengths = rows.lengths()
        return segment_facts(directory, name, lengths, vectors, passages), error


def segment_facts(
    directory: Path, name: str, lengths: npt.NDArray[np.int64], vectors: FileFacts, passages: Iterable[Passage]
) -> SegmentFacts:
    """Write the passages of a segment whose vectors are written, and their words; say what a manifest says of it.

    Args:
        directory: the index.
        name: the segment's.
        lengths: (N,) how many token vectors each document has.
        vectors: the file of arrays.
        passages: a passage for each document.
    """
    with WordsWriter(directory, words_name(name)) as writer:
        stored = write_passages(directory, f"{name}.docs.sqlite", writer.through(passages))
        words = writer.finish()
    return SegmentFacts(
        name=name,
        documents=len(lengths),
        tokens=int(lengths.sum()),
        dead=0,
        vectors=vectors,
        passages=stored,
        words=words,
        analyser=ANALYSER if words else None,
    )


def vectors_name(segment: str) -> str:
    """The name of the file of a segment's arrays."""
    return f"{segment}.vectors.safetensors"


def _write_exact(directory: Path, name: str, rows: TokenRows, reporter: Reporter) -> FileFacts:
    lengths = rows.lengths()
    specs = {"lengths": ArraySpec("<i4", lengths.shape), "vectors": ArraySpec("<f2", (rows.n_tokens, rows.dim))}
    with (
        ArrayWriter(directory, name, specs) as writer,
        reporter.phase("Writing the index", rows.n_tokens, "tokens") as advance,
    ):
        writer.append("lengths", lengths)
        for _, vectors in rows.blocks():
            writer.append("vectors", vectors)
            advance(len(vectors))
        return writer.finish()
