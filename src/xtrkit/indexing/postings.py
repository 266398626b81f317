"""Token vectors -> the arrays of a compressed index, in bounded memory.

Four passes: draw the sample that centroids are found on; assign every token to a centroid; encode every token; put the
codes in order of cluster. Files are appended to and read, never mapped: a full disk is an error instead of a crash, and
the corpus does not count as memory of the process. In memory are the sample (at most ``SAMPLE_FLOATS`` numbers, up to
four times while clusters are found), one block of rows, ``ORDERED_BYTES`` of codes and some 24 bytes a token.

Documents that are added later go through the last two passes alone, with the centroids that are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit.indexing import centroids as clustering
from xtrkit.indexing.codec import Codec
from xtrkit.indexing.compressed_format import Quantiser, token_specs
from xtrkit.indexing.spool import blocks_of
from xtrkit.kernels.bundles import ScaledVectors
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.arrays import ArrayWriter, append_array
from xtrkit.storage.files import FileFacts, scratch
from xtrkit.values import IntArray

Floats = npt.NDArray[np.float32]

SAMPLE_FLOATS = 1 << 26
ORDERED_BYTES = 1 << 28
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


def train(
    rows: TokenRows,
    codec: Codec,
    *,
    seed: int = 0,
    reporter: Reporter = SILENT,
    assign: clustering.Assign = clustering.CentroidTree.assign,
) -> tuple[Quantiser, npt.NDArray[np.int32]]:
    """Find centroids for token vectors, and fit a codec to them.

    Args:
        rows: the vectors; at least one.
        codec: how vectors are kept.
        seed: the same vectors and seed give the same centroids.
        reporter: told about the progress.
        assign: how tokens find their centroids.

    Returns:
        the centroids with the codec, and (M,) the cluster of each token.
    """
    rotation = codec.rotation(rows.dim, seed)
    sample = _sample(rows, rotation, _sample_size(rows), seed, reporter)
    with reporter.phase("Finding centroids", (1 + clustering.ROUNDS) * len(sample), "comparisons") as advance:
        tree = clustering.train(sample, clustering.centroid_count(rows.n_tokens), seed, advance, assign)
    held_out = sample[:HELD_OUT].copy()
    del sample
    assigned, means, energies = _assign(rows, rotation, tree, reporter, assign)
    quantiser = quantiser_of(codec, rotation, tree, means, energies)
    residuals = held_out - quantiser.decoded_centroids[tree.assign(held_out)]
    return replace(quantiser, codec=codec.fitted(residuals)), assigned


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
) -> Written:
    """Write a segment of token vectors.

    Args:
        rows: the vectors.
        quantiser: centroids and codec.
        directory: where the file goes.
        name: of the file.
        assigned: (M,) cluster of each token; the nearest ones where it is left out.
        reporter: told about the progress.

    Raises:
        StorageError: the file could not be written.
    """
    tree = quantiser.tree if assigned is None else None
    assigned = np.empty(rows.n_tokens, dtype=np.int32) if assigned is None else assigned
    with scratch(directory) as unordered:
        scales, error = _encode(rows, quantiser, assigned, tree, unordered, reporter)
        file = write_postings(directory, name, unordered, rows.lengths(), assigned, scales, quantiser, reporter)
    return Written(file, error)


def write_postings(
    directory: Path,
    name: str,
    unordered: Path,
    lengths: IntArray,
    assigned: npt.NDArray[np.int32],
    scales: npt.NDArray[np.float16],
    quantiser: Quantiser,
    reporter: Reporter = SILENT,
) -> FileFacts:
    """Write a segment of codes that are there already, cluster after cluster.

    Args:
        directory: where the file goes.
        name: of the file.
        unordered: file of the (M, w) codes, document after document.
        lengths: (N,) tokens of each document.
        assigned: (M,) cluster of each token.
        scales: (M,) scales of the codes.
        quantiser: centroids and codec.
        reporter: told about the progress.
    """
    arrays = _ordered(lengths, assigned, scales)
    arrays |= {"lengths": lengths, "cluster_sizes": np.bincount(assigned, minlength=quantiser.n_clusters)}
    specs = token_specs(len(lengths), len(scales), quantiser)
    with ArrayWriter(directory, name, specs) as writer:
        for key in specs:
            if key in arrays:
                writer.append(key, arrays[key])
        _order_codes(writer, unordered, arrays["positions"], specs["codes"].shape[1], reporter)
        return writer.finish()


def _sample_size(rows: TokenRows) -> int:
    wanted = clustering.SAMPLE_PER_CENTROID * clustering.centroid_count(rows.n_tokens)
    return int(min(rows.n_tokens, wanted, max(1, SAMPLE_FLOATS // rows.dim)))


def _sample(rows: TokenRows, rotation: Floats, size: int, seed: int, reporter: Reporter) -> Floats:
    """(size, d) token vectors drawn at random, rotated, in random order."""
    chosen = np.zeros(rows.n_tokens, dtype=np.bool_)
    random = np.random.default_rng(seed)
    chosen[random.choice(rows.n_tokens, size, replace=False)] = True
    places = random.permutation(size)
    sample = np.empty((size, rows.dim), dtype=np.float32)
    taken = 0
    with reporter.phase("Drawing a sample", rows.n_tokens, "tokens") as advance:
        for block, vectors in rows.blocks():
            picked = vectors[chosen[block]]
            sample[places[taken : taken + len(picked)]] = picked.astype(np.float32) @ rotation
            taken += len(picked)
            advance(len(vectors))
    return sample


def _rotated(rows: TokenRows, rotation: Floats, what: str, reporter: Reporter) -> Iterator[tuple[slice, Floats]]:
    with reporter.phase(what, rows.n_tokens, "tokens") as advance:
        for block, vectors in rows.blocks():
            yield block, vectors.astype(np.float32) @ rotation
            advance(len(vectors))


def _assign(
    rows: TokenRows, rotation: Floats, tree: clustering.CentroidTree, reporter: Reporter, assign: clustering.Assign
) -> tuple[npt.NDArray[np.int32], Floats, Floats]:
    """The cluster of each token, and of each cluster's tokens the mean and the mean ‖x − mean‖²."""
    assigned = np.empty(rows.n_tokens, dtype=np.int32)
    sums, squares = np.zeros_like(tree.centroids), np.zeros(len(tree.centroids))
    for block, rotated in _rotated(rows, rotation, "Assigning tokens", reporter):
        assigned[block] = assign(tree, rotated)
        sums += clustering.sums_by_cluster(rotated, assigned[block], len(sums))
        squares += np.bincount(assigned[block], np.square(rotated).sum(axis=1), minlength=len(sums))
    sizes = np.bincount(assigned, minlength=len(sums))
    # A cluster without tokens keeps its direction: nobody will find anything there.
    means = np.where(sizes[:, np.newaxis] > 0, sums / np.maximum(sizes, 1)[:, np.newaxis], tree.centroids)
    residual = squares - sizes * np.square(means.astype(np.float64)).sum(axis=1)
    return assigned, means, energies_of(residual, sizes)


def _encode(
    rows: TokenRows,
    quantiser: Quantiser,
    assigned: npt.NDArray[np.int32],
    tree: clustering.CentroidTree | None,
    path: Path,
    reporter: Reporter,
) -> tuple[npt.NDArray[np.float16], float]:
    """Write the codes of all tokens, document after document; return their scales and the energy of the residuals.

    Where a tree is given, ``assigned`` receives the cluster of each token by it.
    """
    scales, error = np.empty(rows.n_tokens, dtype=np.float16), 0.0
    with path.open("wb") as file:
        for block, rotated in _rotated(rows, quantiser.rotation, "Compressing tokens", reporter):
            if tree:
                assigned[block] = tree.assign(rotated)
            centroids = quantiser.decoded_centroids[assigned[block]]
            codes, scales[block] = quantiser.codec.encode(rotated, centroids)
            append_array(file, codes)
            error += float(np.square(rotated - centroids).sum(dtype=np.float64))
    return scales, error


def _ordered(
    lengths: IntArray, assigned: npt.NDArray[np.int32], scales: npt.NDArray[np.float16]
) -> dict[str, npt.NDArray[Any]]:
    """What belongs to the tokens, cluster after cluster, and the places where they went."""
    tokens = np.argsort(assigned, kind="stable")
    positions = np.empty(len(tokens), dtype=np.uint32)
    positions[tokens] = np.arange(len(tokens), dtype=np.uint32)
    document_of = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return {"scales": scales[tokens], "documents": document_of[tokens], "positions": positions}


def _order_codes(
    writer: ArrayWriter, unordered: Path, positions: npt.NDArray[np.uint32], width: int, reporter: Reporter
) -> None:
    """Write the codes cluster after cluster: they are read once for every ``ORDERED_BYTES`` of them."""
    at_a_time = max(1, ORDERED_BYTES // width)
    with reporter.phase("Ordering by cluster", len(positions), "tokens") as advance:
        for first in range(0, len(positions), at_a_time):
            ordered = np.empty((min(at_a_time, len(positions) - first), width), dtype=np.uint8)
            for block, codes in blocks_of(unordered, "u1", width):
                places = positions[block].astype(np.int64) - first
                here = (places >= 0) & (places < len(ordered))
                ordered[places[here]] = codes[here]
            writer.append("codes", ordered)
            advance(len(ordered))


def _to_int8(vectors: Floats) -> ScaledVectors:
    """(C, d) vectors, rounded to within half a step."""
    scales = (np.abs(vectors).max(axis=1) / np.float32(127)).astype(np.float32)
    inverse = 1 / np.maximum(scales, np.float32(1e-30))
    return ScaledVectors(np.rint(vectors * inverse[:, np.newaxis]).astype(np.int8), scales)
