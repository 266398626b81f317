"""Several segments -> one without the dead: a merge, as writers do it now and then, and ``compact`` for all of them.

Exact vectors are copied. Codes are copied too, cluster by cluster, for all segments share their centroids; nothing is
compressed twice. Before new centroids are found, vectors are decompressed. What is read is compared with its
sha256 before, so that damage is not given a fresh checksum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.indexing import postings
from xtrkit.indexing.compressed_format import CompressedTokens, Quantiser, token_specs
from xtrkit.indexing.halves import to_halves
from xtrkit.indexing.segments import ROWS_AT_A_TIME, segment_facts, vectors_name, write_segment
from xtrkit.indexing.store import OpenedSegment
from xtrkit.passage import Passage
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.arrays import ArrayWriter
from xtrkit.storage.files import FileFacts, check_content, storage_errors
from xtrkit.storage.generations import new_segment_name
from xtrkit.storage.manifest import SegmentFacts
from xtrkit.values import Mask, offsets_of


class Source(NamedTuple):
    """A segment that is merged, and (N,) which of its documents are taken."""

    segment: OpenedSegment
    living: Mask


@dataclass(frozen=True, eq=False)
class LivingRows:
    """The token vectors of living documents, decompressed where they are compressed."""

    sources: Sequence[Source]
    dim: int

    @property
    def n_tokens(self) -> int:
        """How many vectors there are, M."""
        return int(self.lengths().sum())

    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) how many each document has."""
        parts = [np.diff(source.segment.tokens.document_offsets)[source.living] for source in self.sources]
        return np.concatenate([np.zeros(0, dtype=np.int64), *parts])

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[np.float16]]]:
        """The vectors, block after block."""
        begin = 0
        for source in self.sources:
            tokens = np.flatnonzero(np.repeat(source.living, np.diff(source.segment.tokens.document_offsets)))
            for first in range(0, len(tokens), ROWS_AT_A_TIME):
                vectors = source.segment.tokens.vectors(tokens[first : first + ROWS_AT_A_TIME])
                rows = to_halves(vectors)
                yield slice(begin, begin + len(rows)), rows
                begin += len(rows)


def living_passages(sources: Sequence[Source]) -> Iterator[Passage]:
    """The passages of living documents, with texts."""
    for source in sources:
        for number, passage in enumerate(source.segment.passages.all_passages(texts=True)):
            if source.living[number]:
                yield passage


def check_sources(sources: Sequence[Source]) -> None:
    """Refuse to merge what isn't what was written.

    Raises:
        IndexDamagedError: a file is damaged.
    """
    for source in sources:
        check_content(source.segment.directory, source.segment.facts.vectors)
        check_content(source.segment.directory, source.segment.facts.passages)


def merge(
    directory: Path,
    generation: int,
    sources: Sequence[Source],
    quantiser: Quantiser | None,
    dim: int,
    reporter: Reporter = SILENT,
) -> SegmentFacts:
    """Write the living documents of some segments as one segment.

    Args:
        directory: the index; segments may lie elsewhere.
        generation: the one that will name the segment first.
        sources: what is merged, in order.
        quantiser: what they share, if they are compressed.
        dim: dimensions of a token vector.
        reporter: told about the progress.

    Raises:
        IndexDamagedError: one of them is damaged.
        StorageError: a file could not be written.
    """
    check_sources(sources)
    rows, name = LivingRows(sources, dim), new_segment_name(generation)
    if quantiser is None:
        return write_segment(directory, name, rows, living_passages(sources), None, reporter=reporter)[0]
    with storage_errors(directory, "writing a segment in it"):
        file = _write_codes(directory, vectors_name(name), sources, quantiser, reporter)
    return segment_facts(directory, name, rows.lengths(), file, living_passages(sources))


class _Places(NamedTuple):
    """Where the rows of a segment go.

    Attributes:
        tokens: the segment.
        rows: (K,) rows that are taken, ascending.
        targets: (K,) where they go, ascending.
    """

    tokens: CompressedTokens
    rows: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]


def _write_codes(
    directory: Path, name: str, sources: Sequence[Source], quantiser: Quantiser, reporter: Reporter
) -> FileFacts:
    sizes, places = _places(sources, quantiser.n_clusters)
    n_tokens = int(sizes.sum())
    lengths = LivingRows(sources, quantiser.dim).lengths()
    specs = token_specs(len(lengths), n_tokens, quantiser)
    arrays = {"lengths": lengths, "cluster_sizes": sizes, **_by_row(sources, places, n_tokens)}
    with (
        ArrayWriter(directory, name, specs) as writer,
        reporter.phase("Merging", n_tokens, "tokens") as advance,
    ):
        for key in specs:
            if key in arrays:
                writer.append(key, arrays[key])
        width = specs["codes"].shape[1]
        at_a_time = max(1, postings.ORDERED_BYTES // width)
        for first in range(0, n_tokens, at_a_time):
            ordered = np.empty((min(at_a_time, n_tokens - first), width), dtype=np.uint8)
            for place in places:
                begin, end = np.searchsorted(place.targets, [first, first + len(ordered)])
                ordered[place.targets[begin:end] - first] = place.tokens.codes[place.rows[begin:end]]
            writer.append("codes", ordered)
            advance(len(ordered))
        return writer.finish()


def _places(sources: Sequence[Source], n_clusters: int) -> tuple[npt.NDArray[np.int64], list[_Places]]:
    """(C,) tokens of each cluster, and where the rows of each segment go: in a cluster, segment after segment."""
    kept, clusters = [], []
    for source in sources:
        tokens = _compressed(source)
        kept.append(np.flatnonzero(source.living[tokens.documents]))
        clusters.append(tokens.clusters_of(kept[-1]))
    counts = [np.bincount(of_rows, minlength=n_clusters) for of_rows in clusters]
    sizes: npt.NDArray[np.int64] = np.asarray(np.sum(counts, axis=0), dtype=np.int64)
    free, places = offsets_of(sizes)[:-1].copy(), []
    for source, rows, of_rows, count in zip(sources, kept, clusters, counts, strict=True):
        rank = np.arange(len(rows)) - offsets_of(count)[of_rows]
        places.append(_Places(_compressed(source), rows, free[of_rows] + rank))
        free += count
    return sizes, places


def _by_row(sources: Sequence[Source], places: Sequence[_Places], n_tokens: int) -> dict[str, npt.NDArray[Any]]:
    """What belongs to tokens and is small: scales, documents, and positions in order of document."""
    scales = np.empty(n_tokens, dtype=np.float16)
    documents = np.empty(n_tokens, dtype=np.int32)
    positions, first_document = [np.zeros(0, dtype=np.uint32)], 0
    for source, (tokens, rows, targets) in zip(sources, places, strict=True):
        scales[targets] = tokens.scales[rows]
        numbers = first_document + np.cumsum(source.living) - 1
        documents[targets] = numbers[tokens.documents[rows]]
        place_of = np.zeros(tokens.n_tokens, dtype=np.uint32)
        place_of[rows] = targets
        living = np.repeat(source.living, np.diff(tokens.document_offsets))
        positions.append(place_of[tokens.positions[living]])
        first_document += int(source.living.sum())
    return {"scales": scales, "documents": documents, "positions": np.concatenate(positions)}


def _compressed(source: Source) -> CompressedTokens:
    if not isinstance(source.segment.tokens, CompressedTokens):
        raise TypeError("an exact segment among compressed ones")
    return source.segment.tokens
