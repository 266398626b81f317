"""Token vectors -> the arrays of a compressed index, in bounded memory.

Four passes: draw the sample that centroids are found on; assign every token to a centroid; encode every token; put the
codes in order of cluster. Files are appended to and read, never mapped: a full disk is an error instead of a crash, and
the corpus does not count as memory of the process. In memory are the sample (at most ``SAMPLE_FLOATS`` numbers), a few
blocks of rows for each thread, twice ``ORDERED_BYTES`` of codes, and some 14 bytes a token.

Documents that are added later go through the last two passes alone, with the centroids that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from xtrkit.indexing import centroids as clustering
from xtrkit.indexing.codec import Codec, Codes, code_width
from xtrkit.indexing.compressed_format import Quantiser, token_specs
from xtrkit.indexing.halves import to_floats
from xtrkit.indexing.workers import Workers
from xtrkit.kernels.bundles import ScaledVectors
from xtrkit.kernels.encoding import add_by_cluster, place_by_cluster
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.arrays import ArrayWriter, append_array
from xtrkit.storage.files import FileFacts, scratch
from xtrkit.values import IntArray, offsets_of

Result = TypeVar("Result")
Floats = npt.NDArray[np.float32]

SAMPLE_FLOATS = 1 << 28
ORDERED_BYTES = 1 << 27
PLACED_AT_A_TIME = 1 << 20
"""Tokens whose places are looked at together."""

DRAWN_FROM_ALL = 1 << 22
"""Tokens up to which a sample is drawn from the list of all of them."""

UNIT_BITS = 26
"""Vectors are added up as multiples of 2^-26 of a length that about none exceeds."""

HELD_OUT = 50_000
"""Tokens whose residuals a codec is fitted to (ColBERTv2's number)."""


class TokenRows(Protocol):
    """Token vectors that can be read several times, such as a :class:`~xtrkit.indexing.spool.Spool`."""

    @property
    def n_tokens(self) -> int:
        """How many there are, M."""

    @property
    def dim(self) -> int:
        """Dimensions, d."""

    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) how many each document has."""

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[np.float16]]]:
        """The vectors, block after block: which they are, and the (B, d) vectors."""


class Written(NamedTuple):
    """A segment's arrays on disk.

    Attributes:
        file: what a manifest says of them.
        error: energy of the residuals, Σ ‖x − c‖², of all its tokens together; NaN where nobody measured it.
    """

    file: FileFacts
    error: float


class Trained(NamedTuple):
    """Centroids that were found on a sample, before all tokens were assigned to them.

    Attributes:
        rotation: (D, d), as a :class:`~xtrkit.indexing.compressed_format.Quantiser` has it.
        tree: the centroids' directions.
        held_out: (H, d) rotated vectors that the codec is fitted to.
        longest: length of the longest vector of the sample.
    """

    rotation: Floats
    tree: clustering.CentroidTree
    held_out: Floats
    longest: float


class Drawn(NamedTuple):
    """Which tokens make up the sample that centroids are found on.

    Attributes:
        numbers: (S,) of the tokens, in order.
        places: (S,) of each in the sample, whose order is random.
    """

    numbers: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]


class ClusterSums:
    """Sums over the tokens of each cluster. In whichever order and parts they are added, the bits are the same.

    For what is added is a multiple of a unit, small against a vector's length and large against the last bit of the
    sums: they are exact for 134 million tokens a cluster.

    Attributes:
        vectors: (C, d) sums of their vectors.
        squares: (C,) sums of the vectors' squared lengths.
        sizes: (C,) how many there are.
    """

    def __init__(self, trained: Trained) -> None:
        self.vectors = np.zeros(trained.tree.centroids.shape)
        self.squares, self.sizes = np.zeros(len(self.vectors)), np.zeros(len(self.vectors), dtype=np.int64)
        exponent = int(np.ceil(np.log2(trained.longest or 1.0)))
        self._units = np.float32(2.0 ** (exponent - UNIT_BITS)), np.float32(2.0 ** (2 * exponent - UNIT_BITS))

    def rounded(self, rows: Floats) -> tuple[Floats, Floats]:
        """(B, d) vectors and (B,) their squared lengths, as they are added."""
        unit, of_squares = self._units
        return np.rint(rows / unit) * unit, np.rint(_squares(rows) / of_squares) * of_squares

    def add(self, rounded: tuple[Floats, Floats], assigned: npt.NDArray[np.int32]) -> None:
        """Add rounded vectors to the sums of their (B,) clusters."""
        rows, squared = rounded
        add_by_cluster(rows, assigned, self.vectors)
        self.squares += np.bincount(assigned, squared, minlength=len(self.sizes))
        self.sizes += np.bincount(assigned, minlength=len(self.sizes))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The sums by their names."""
        return {"vectors": self.vectors, "squares": self.squares, "sizes": self.sizes}

    def include(self, others: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add the sums of other tokens, by their names."""
        for name, sums in self.arrays().items():
            sums += others[name]


def train(
    rows: TokenRows,
    codec: Codec,
    *,
    code_dim: int | None = None,
    seed: int = 0,
    reporter: Reporter = SILENT,
    assign: clustering.Assign = clustering.CentroidTree.assign,
    threads: int | None = None,
) -> tuple[Quantiser, npt.NDArray[np.int32]]:
    """Find centroids for token vectors, and fit a codec to them.

    Args:
        rows: the vectors; at least one.
        codec: how vectors are kept.
        code_dim: how many dimensions codes keep: those of the directions in which the vectors are longest; None keeps
            all.
        seed: the same vectors and seed give the same centroids.
        reporter: told about the progress.
        assign: how tokens find their centroids.
        threads: how many compute; as many as there are cores to use where None is given. The result is the same.

    Returns:
        the centroids with the codec, and (M,) the cluster of each token.
    """
    picked = _picked(rows, drawn_sample(rows.n_tokens, rows.dim, seed).numbers)
    trained = find_centroids(
        picked,
        rows.n_tokens,
        rows.dim,
        codec,
        code_dim=code_dim,
        seed=seed,
        reporter=reporter,
        assign=assign,
        threads=threads,
    )
    with Workers(threads) as workers:
        assigned, sums = _assign(rows, trained, reporter, assign, workers)
    return fitted(codec, trained, sums), assigned


def drawn_sample(n_tokens: int, dim: int, seed: int = 0) -> Drawn:
    """The sample that centroids are found on: which of all tokens; the same for whoever asks."""
    wanted = clustering.SAMPLE_PER_CENTROID * clustering.centroid_count(n_tokens)
    size, random = int(min(n_tokens, wanted, max(1, SAMPLE_FLOATS // dim))), np.random.default_rng(seed)
    numbers = np.sort(_drawn(n_tokens, size, random))
    return Drawn(numbers, random.permutation(size))


def find_centroids(
    picked: Iterable[npt.NDArray[np.float16]],
    n_tokens: int,
    dim: int,
    codec: Codec,
    *,
    code_dim: int | None = None,
    seed: int = 0,
    reporter: Reporter = SILENT,
    assign: clustering.Assign = clustering.CentroidTree.assign,
    threads: int | None = None,
) -> Trained:
    """The first half of :func:`train`: what it takes to assign tokens, which others may do in parts.

    Args:
        picked: vectors of the tokens of :func:`drawn_sample`, in order, those of each block of all vectors together: a
            product's last bits depend on what is multiplied with it.
        n_tokens: how many tokens there are in all.
        dim: their dimensions.
        codec: how vectors are kept.
        code_dim: as in :func:`train`.
        seed: the same vectors and seed give the same centroids.
        reporter: told about the progress.
        assign: how tokens find their centroids.
        threads: as in :func:`train`.
    """
    with Workers(threads) as workers:
        drawn = drawn_sample(n_tokens, dim, seed)
        if code_dim is None or code_dim == dim:
            rotation = codec.rotation(dim, seed)
            sample = _sample(picked, rotation, drawn, reporter)
        else:
            sample = _sample(picked, np.eye(dim, dtype=np.float32), drawn, reporter)
            rotation = principal_directions(sample, code_dim) @ codec.rotation(code_dim, seed)
            sample = _with_lengths(sample @ rotation, sample)
        held_out, longest = sample[:HELD_OUT].copy(), float(np.sqrt(_squares(sample).max()))
        with reporter.phase("Finding centroids", (1 + clustering.ROUNDS) * len(sample), "comparisons") as advance:
            n_centroids = clustering.centroid_count(n_tokens)
            tree = clustering.train(sample, n_centroids, seed, advance, assign, workers)
    return Trained(rotation, tree, held_out, longest)


def assign_tokens(
    rows: TokenRows, trained: Trained, *, threads: int | None = None
) -> tuple[npt.NDArray[np.int32], ClusterSums]:
    """(M,) cluster of each token, and the sums that :func:`fitted` takes; those of parts add up to those of all."""
    with Workers(threads) as workers:
        return _assign(rows, trained, SILENT, clustering.CentroidTree.assign, workers)


def fitted(codec: Codec, trained: Trained, sums: ClusterSums) -> Quantiser:
    """The second half of :func:`train`: centroids are the means of their clusters, and the codec fits the residuals."""
    counted = sums.sizes[:, np.newaxis]
    # A cluster without tokens keeps its direction: nobody will find anything there.
    means = np.where(counted > 0, sums.vectors / np.maximum(counted, 1), trained.tree.centroids)
    energies = energies_of(sums.squares - sums.sizes * np.square(means).sum(axis=1), sums.sizes)
    quantiser = quantiser_of(codec, trained.rotation, trained.tree, means.astype(np.float32), energies)
    residuals = trained.held_out - quantiser.decoded_centroids[trained.tree.assign(trained.held_out)]
    return replace(quantiser, codec=codec.fitted(residuals))


def turned(vectors: npt.NDArray[np.float16], rotation: Floats) -> Floats:
    """(B, D) vectors as codes are made of them: rotated, and where dimensions are left out as long as they were.

    A vector whose direction has little to do with the directions that are kept would be short beside others, and found
    less than it should be: on Cranfield 64 of 128 dimensions reach an nDCG@10 of .513 by MaxSim so, and .491 else.
    """
    rows = to_floats(vectors)
    rotated = rows @ rotation
    return rotated if rotation.shape[0] == rotation.shape[1] else _with_lengths(rotated, rows)


def _with_lengths(projected: Floats, vectors: Floats) -> Floats:
    """Vectors scaled to the lengths of others; what is as good as zero stays."""
    shares = _squares(projected) / np.maximum(_squares(vectors), np.float32(1e-30))
    return np.asarray(projected / np.sqrt(np.maximum(shares, np.float32(1e-8)))[:, np.newaxis])


def principal_directions(vectors: Floats, number: int) -> Floats:
    """(D, number) the orthonormal directions in which (S, D) vectors are longest: PCA without a mean taken away.

    The mean stays, for what counts is inner products with queries. Which of two opposite directions is taken is settled
    by the largest component, so that the same vectors give the same bits.
    """
    moments = np.zeros((vectors.shape[1], vectors.shape[1]))
    for first in range(0, len(vectors), clustering.BLOCK):
        wide = vectors[first : first + clustering.BLOCK].astype(np.float64)
        moments += wide.T @ wide
    _, directions = np.linalg.eigh(moments)
    kept = directions[:, ::-1][:, :number]
    signs = np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(number)])
    return np.asarray(kept * signs, dtype=np.float32)


def quantiser_of(
    codec: Codec, rotation: Floats, tree: clustering.CentroidTree, means: Floats, energies: Floats
) -> Quantiser:
    """What is stored of centroids: (C, d) means and (C,) energies, in the groups of a tree."""
    return Quantiser(codec, rotation, _to_int8(tree.groups), tree.offsets, _to_int8(means), energies)


def energies_of(sums: npt.NDArray[np.floating], sizes: IntArray) -> Floats:
    """(C,) sums of ‖x − mean‖² over clusters of some sizes -> their means; that of all tokens where there are none."""
    sums = np.maximum(sums.astype(np.float64), 0)
    overall = sums.sum() / max(int(sizes.sum()), 1)
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), overall).astype(np.float32)


def compress(
    rows: TokenRows,
    quantiser: Quantiser,
    directory: Path,
    name: str,
    *,
    assigned: npt.NDArray[np.int32] | None = None,
    reporter: Reporter = SILENT,
    threads: int | None = None,
) -> Written:
    """Write a segment of token vectors.

    Args:
        rows: the vectors.
        quantiser: centroids and codec.
        directory: where the file goes.
        name: of the file.
        assigned: (M,) cluster of each token; the nearest ones where it is left out.
        reporter: told about the progress.
        threads: as in :func:`train`.

    Raises:
        StorageError: the file could not be written.
    """
    with Workers(threads if rows.n_tokens > clustering.BLOCK else 1) as workers:
        encoding = _Encoding(rows, quantiser, reporter, workers)
        blocks: Iterable[tuple[slice, Codes]]
        if assigned is not None:
            blocks = encoding.blocks(assigned)
        elif rows.n_tokens * code_width(quantiser.code_dim, quantiser.bits) <= ORDERED_BYTES:
            assigned = np.empty(rows.n_tokens, dtype=np.int32)
            blocks = list(encoding.blocks(assigned, quantiser.tree))
        else:  # where codes go must be known before they come
            assign = clustering.CentroidTree.assign
            trained = Trained(quantiser.rotation, quantiser.tree, np.zeros((0, quantiser.code_dim), np.float32), 1.0)
            assigned, _ = _assign(rows, trained, reporter, assign, workers)
            blocks = encoding.blocks(assigned)
        file = write_postings(directory, name, blocks, rows.lengths(), assigned, encoding.scales, quantiser, reporter)
    return Written(file, encoding.error)


def write_postings(
    directory: Path,
    name: str,
    blocks: Iterable[tuple[slice, Codes]],
    lengths: IntArray,
    assigned: npt.NDArray[np.int32],
    scales: npt.NDArray[np.float16],
    quantiser: Quantiser,
    reporter: Reporter = SILENT,
) -> FileFacts:
    """Write a segment of codes, cluster after cluster.

    Args:
        directory: where the file goes.
        name: of the file.
        blocks: the codes, document after document, block after block: which they are, and the (B, w) codes.
        lengths: (N,) tokens of each document.
        assigned: (M,) cluster of each token.
        scales: (M,) scales of the codes, complete when the blocks have come.
        quantiser: centroids and codec.
        reporter: told about the progress.
    """
    sizes, positions = np.zeros(quantiser.n_clusters, dtype=np.int64), np.empty(len(assigned), dtype=np.uint32)
    place_by_cluster(assigned, sizes, positions)
    specs = token_specs(len(lengths), len(positions), quantiser)
    with _Ordering(directory, positions, specs["codes"].shape[1]) as ordering:
        for block, codes in blocks:
            ordering.put(block, codes)
        with ArrayWriter(directory, name, specs) as writer:
            writer.append("lengths", lengths)
            writer.append("cluster_sizes", sizes)
            writer.append("scales", _placed(positions, _runs(scales), np.dtype(np.float16)))
            writer.append("documents", _placed(positions, _documents(lengths), np.dtype(np.int32)))
            writer.append("positions", positions)
            with reporter.phase("Ordering by cluster", len(positions), "tokens") as advance:
                for ordered in ordering.parts():
                    writer.append("codes", ordered)
                    advance(len(ordered))
            return writer.finish()


def _picked(rows: TokenRows, numbers: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.float16]]:
    """The vectors of some tokens, those of each block together."""
    for block, vectors in rows.blocks():
        first, end = np.searchsorted(numbers, [block.start, block.stop])
        yield vectors[numbers[first:end] - block.start]


def _sample(picked: Iterable[npt.NDArray[np.float16]], rotation: Floats, drawn: Drawn, reporter: Reporter) -> Floats:
    """(S, d) token vectors drawn at random, rotated, in random order."""
    sample, taken = np.empty((len(drawn.places), len(rotation)), dtype=np.float32), 0
    with reporter.phase("Drawing a sample", len(sample), "tokens") as advance:
        for vectors in picked:
            sample[drawn.places[taken : taken + len(vectors)]] = turned(vectors, rotation)
            taken += len(vectors)
            advance(len(vectors))
    return sample


def _drawn(n_tokens: int, size: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """``size`` different tokens; without a list of all where they are many."""
    if n_tokens <= max(DRAWN_FROM_ALL, 4 * size):
        return random.choice(n_tokens, size, replace=False)
    drawn = np.zeros(0, dtype=np.int64)
    while len(drawn) < size:
        drawn = np.unique(np.concatenate([drawn, random.integers(n_tokens, size=size + size // 2)]))
    return random.permutation(drawn)[:size]


def _passed(
    rows: TokenRows,
    work: Callable[[slice, npt.NDArray[np.float16]], Result],
    what: str,
    reporter: Reporter,
    workers: Workers,
) -> Iterator[tuple[slice, Result]]:
    """What work on each block of the vectors comes to, in order."""
    with reporter.phase(what, rows.n_tokens, "tokens") as advance:
        for block, result in workers.map(lambda given: (given[0], work(*given)), rows.blocks()):
            yield block, result
            advance(block.stop - block.start)


def _assign(
    rows: TokenRows, trained: Trained, reporter: Reporter, assign: clustering.Assign, workers: Workers
) -> tuple[npt.NDArray[np.int32], ClusterSums]:
    """The cluster of each token, and the sums of each cluster."""
    sums = ClusterSums(trained)

    def work(block: slice, vectors: npt.NDArray[np.float16]) -> tuple[tuple[Floats, Floats], npt.NDArray[np.int32]]:
        rotated = turned(vectors, trained.rotation)
        return sums.rounded(rotated), assign(trained.tree, rotated)

    assigned = np.empty(rows.n_tokens, dtype=np.int32)
    for block, (rounded, found) in _passed(rows, work, "Assigning tokens", reporter, workers):
        assigned[block] = found
        sums.add(rounded, found)
    return assigned, sums


def _squares(vectors: Floats) -> Floats:
    """(B, d) -> (B,) squared lengths."""
    return np.asarray(np.einsum("ij,ij->i", vectors, vectors))


def encode_block(
    quantiser: Quantiser, vectors: npt.NDArray[np.float16], assigned: npt.NDArray[np.int32]
) -> tuple[Codes, npt.NDArray[np.float16], float]:
    """Codes and scales of (B, d) vectors of known clusters, and Σ ‖x − c‖² of them."""
    return _encoded(quantiser, turned(vectors, quantiser.rotation), assigned)


def _encoded(
    quantiser: Quantiser, rotated: Floats, assigned: npt.NDArray[np.int32]
) -> tuple[Codes, npt.NDArray[np.float16], float]:
    centroids = quantiser.decoded_centroids.take(assigned, axis=0)
    codes, scales = quantiser.codec.encode(rotated, centroids)
    rotated -= centroids
    return codes, scales, float(_squares(rotated).sum(dtype=np.float64))


class _Encoding:
    """The encoding of a segment's tokens.

    Attributes:
        scales: (M,) scales of the codes, as far as they were encoded.
        error: Σ ‖x − c‖² of these.
    """

    def __init__(self, rows: TokenRows, quantiser: Quantiser, reporter: Reporter, workers: Workers) -> None:
        self._rows, self._quantiser, self._reporter, self._workers = rows, quantiser, reporter, workers
        self.scales, self.error = np.empty(rows.n_tokens, dtype=np.float16), 0.0

    def blocks(
        self, assigned: npt.NDArray[np.int32], tree: clustering.CentroidTree | None = None
    ) -> Iterator[tuple[slice, Codes]]:
        """The codes, block after block.

        Args:
            assigned: (M,) cluster of each token; receives it where there is a tree.
            tree: what the clusters are found with where they are not known.
        """
        quantiser = self._quantiser
        _ = quantiser.decoded_centroids  # once, before threads ask for them

        def work(block: slice, vectors: npt.NDArray[np.float16]) -> tuple[Codes, float]:
            rotated = turned(vectors, quantiser.rotation)
            if tree:
                assigned[block] = tree.assign(rotated)
            codes, self.scales[block], error = _encoded(quantiser, rotated, assigned[block])
            return codes, error

        for block, (codes, error) in _passed(self._rows, work, "Compressing tokens", self._reporter, self._workers):
            self.error += error
            yield block, codes


class _Ordering:
    """Codes that come document after document and go cluster after cluster; use it in a ``with``.

    Where they are many, they wait in a file, in parts of ``ORDERED_BYTES`` that follow one another.
    """

    def __init__(self, directory: Path, positions: npt.NDArray[np.uint32], width: int) -> None:
        self._positions, self._width, self._stack = positions, width, ExitStack()
        self._in_part = max(1, ORDERED_BYTES // width)
        self._filled = np.zeros(-(-len(positions) // self._in_part), dtype=np.int64)
        self._whole: Codes | None = None
        if len(self._filled) <= 1:
            self._whole = np.empty((len(positions), width), dtype=np.uint8)
        else:
            path = self._stack.enter_context(scratch(directory))
            self._file = self._stack.enter_context(path.open("w+b", buffering=0))

    def __enter__(self) -> _Ordering:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def put(self, block: slice, codes: Codes) -> None:
        """Take the codes of some consecutive tokens; those before were taken."""
        places = self._positions[block]
        if self._whole is not None:
            self._whole[places] = codes
            return
        part_of = (places // np.uint32(self._in_part)).astype(np.uint16)
        sizes = np.bincount(part_of, minlength=len(self._filled))
        codes = codes.take(np.argsort(part_of, kind="stable"), axis=0)
        for part, (first, last) in enumerate(pairwise(offsets_of(sizes).tolist())):
            if first < last:
                self._file.seek((part * self._in_part + int(self._filled[part])) * self._width)
                append_array(self._file, codes[first:last])
        self._filled += sizes

    def parts(self) -> Iterator[Codes]:
        """The codes in order, when all were taken."""
        if self._whole is not None:
            yield self._whole
            return
        self._file.seek(0)
        for part in range(len(self._filled)):
            yield self._part(part * self._in_part)

    def _part(self, first: int) -> Codes:
        n_rows = min(self._in_part, len(self._positions) - first)
        ordered = np.empty((n_rows, self._width), dtype=np.uint8)
        for positions in (block for _, block in _runs(self._positions)):
            places = positions[(positions >= first) & (positions < first + n_rows)] - np.uint32(first)
            ordered[places] = self._read(len(places))
        return ordered

    def _read(self, n_rows: int) -> Codes:
        buffer, filled = bytearray(n_rows * self._width), 0
        while filled < len(buffer):
            filled += self._file.readinto(memoryview(buffer)[filled:]) or 0
        return np.frombuffer(buffer, dtype=np.uint8).reshape(n_rows, self._width)


def _runs(values: npt.NDArray[Any]) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Some rows at a time."""
    for first in range(0, len(values), PLACED_AT_A_TIME):
        block = slice(first, first + PLACED_AT_A_TIME)
        yield block, values[block]


def _documents(lengths: IntArray) -> Iterator[tuple[slice, npt.NDArray[np.int32]]]:
    """The document of each token, some documents at a time."""
    first = 0
    for block, some in _runs(lengths):
        documents = np.repeat(np.arange(block.start, block.start + len(some), dtype=np.int32), some)
        yield slice(first, first + len(documents)), documents
        first += len(documents)


def _placed(
    positions: npt.NDArray[np.uint32], blocks: Iterable[tuple[slice, npt.NDArray[Any]]], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """What belongs to the tokens, cluster after cluster."""
    placed = np.empty(len(positions), dtype=dtype)
    for block, values in blocks:
        placed[positions[block]] = values
    return placed


def _to_int8(vectors: Floats) -> ScaledVectors:
    """(C, d) vectors, rounded to within half a step."""
    scales = (np.abs(vectors).max(axis=1) / np.float32(127)).astype(np.float32)
    inverse = 1 / np.maximum(scales, np.float32(1e-30))
    return ScaledVectors(np.rint(vectors * inverse[:, np.newaxis]).astype(np.int8), scales)
