"""Token vectors in a spool -> a compressed index, in bounded memory.

Four passes: draw the sample that centroids are found on; assign every token to a centroid; encode every token; put the
codes in order of cluster. Files are appended to and read, never mapped: a full disk is an error instead of a crash, and
the corpus does not count as memory of the process. In memory are the sample (at most ``SAMPLE_FLOATS`` numbers, up to
four times while clusters are found), one block of rows, ``ORDERED_BYTES`` of codes and some 24 bytes a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing import centroids as clustering
from xtrkit.indexing import compressed_format as files
from xtrkit.indexing.codec import Codec, code_width, renormalised
from xtrkit.indexing.spool import BLOCK, Spool, blocks_of
from xtrkit.indexing.stanford import StanfordIndex
from xtrkit.progress import SILENT, Reporter

Floats = npt.NDArray[np.float32]

SAMPLE_FLOATS = 1 << 26
ORDERED_BYTES = 1 << 28
HELD_OUT = 50_000
"""Tokens whose residuals a codec is fitted to (ColBERTv2's number)."""

UNORDERED = "codes.u8"
"""Temporary file: codes, document after document."""


class Clusters(NamedTuple):
    """What the tokens were assigned to.

    Attributes:
        assigned: (M,) int32, the cluster of each token, tokens document after document.
        vectors, scales: (C, d) int8 and (C,) float32, whose product is the mean of each cluster's tokens.
        group_vectors, group_scales: (G, d) int8 and (G,) float32, the same of the groups that centroids stand in.
        group_sizes: (G,) how many centroids each group has.
    """

    assigned: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.int8]
    scales: Floats
    group_vectors: npt.NDArray[np.int8]
    group_scales: Floats
    group_sizes: npt.NDArray[np.int64]

    @property
    def centroids(self) -> Floats:
        """(C, d) the centroids as search will see them."""
        return np.asarray(self.vectors.astype(np.float32) * self.scales[:, np.newaxis])


def build(
    spool: Spool, directory: Path, workplace: Path, codec: Codec, *, seed: int = 0, reporter: Reporter = SILENT
) -> None:
    """Build a compressed index of token vectors.

    Args:
        spool: the vectors; at least one.
        directory: an empty directory that exists.
        workplace: where a temporary file as large as the codes may lie.
        codec: how vectors are kept; it is fitted to them.
        seed: the same vectors and seed give the same index.
        reporter: told about the progress.
    """
    rotation = codec.rotation(spool.dim, seed)
    sample = _sample(spool, rotation, _sample_size(spool), seed, reporter)
    tree = _train(sample, clustering.centroid_count(spool.n_tokens), seed, reporter)
    held_out = sample[:HELD_OUT].copy()
    del sample
    clusters = clusters_of(tree, *_assign(spool, rotation, tree, reporter))
    codec = codec.fitted(held_out - clusters.centroids[tree.assign(held_out)])
    scales = _encode(spool, rotation, clusters, codec, workplace / UNORDERED, reporter)
    write_postings(directory, workplace / UNORDERED, spool.lengths(), clusters, scales, rotation, codec, reporter)


def write_postings(
    directory: Path,
    unordered: Path,
    lengths: npt.NDArray[np.int64],
    clusters: Clusters,
    scales: npt.NDArray[np.float16],
    rotation: Floats,
    codec: Codec,
    reporter: Reporter = SILENT,
) -> None:
    """Write an index of codes that are there already, cluster after cluster.

    Args:
        directory: an empty directory that exists.
        unordered: file of the (M, w) codes, document after document; removed.
        lengths: (N,) tokens of each document.
        clusters: what they were assigned to.
        scales: (M,) scales of the codes.
        rotation: (d, d) what vectors were multiplied with.
        codec: what the codes mean.
        reporter: told about the progress.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        "rotation": rotation,
        "group_vectors": clusters.group_vectors,
        "group_scales": clusters.group_scales,
        "group_sizes": clusters.group_sizes,
        "centroid_vectors": clusters.vectors,
        "centroid_scales": clusters.scales,
        "cluster_sizes": np.bincount(clusters.assigned, minlength=len(clusters.scales)),
        "lengths": lengths,
    }
    arrays |= _ordered(lengths, clusters.assigned, scales)
    for name, values in arrays.items():
        with files.appending(directory, name) as append:
            append(values)
    width = code_width(len(rotation), codec.bits)
    _order_codes(directory, unordered, arrays["positions"], width, reporter)
    unordered.unlink()
    shapes = {name: values.shape for name, values in arrays.items()}
    files.finish(directory, codec, shapes | {"codes": (len(scales), width)})


def write_chunks(
    source: StanfordIndex, directory: Path, unordered: Path, reporter: Reporter = SILENT
) -> npt.NDArray[np.int64]:
    """Write an index of the codes of another; return how many tokens each document has.

    Centroids are grouped, which gives them other numbers, and rounded to int8 as all are: at most 1/254 of a centroid's
    largest component. Codes stay as they are.

    Args:
        source: the other index.
        directory: an empty directory that exists.
        unordered: where a temporary file as large as the codes may be.
        reporter: told about the progress.
    """
    tree, order = clustering.grouped_in_order(renormalised(source.centroids), seed=0)
    number = np.empty(len(order), dtype=np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    clusters = clusters_of(tree, np.zeros(0, dtype=np.int32), source.centroids[order])
    lengths, assigned, scales, centroids = [], [], [], clusters.centroids
    with unordered.open("wb") as file, reporter.phase("Reading chunks", source.n_chunks, "chunks") as advance:
        for chunk in source.chunks():
            lengths.append(chunk.lengths)
            assigned.append(number[chunk.assigned])
            for first in range(0, len(chunk.codes), BLOCK):
                codes, of_block = chunk.codes[first : first + BLOCK], assigned[-1][first : first + BLOCK]
                scales.append(source.codec.scales(codes, centroids[of_block]))
                np.ascontiguousarray(codes).tofile(file)
            advance(1)
    if not scales:
        raise InputError(f"{source.path} holds no passages: there is nothing to import.")
    clusters = clusters._replace(assigned=np.concatenate(assigned))
    joined, rotation = np.concatenate(lengths), source.codec.rotation(source.dim, 0)
    write_postings(directory, unordered, joined, clusters, np.concatenate(scales), rotation, source.codec, reporter)
    return joined


def clusters_of(tree: clustering.CentroidTree, assigned: npt.NDArray[np.int32], means: Floats) -> Clusters:
    """Clusters as they are stored: (M,) tokens assigned to the centroids of a tree, with (C, d) means."""
    return Clusters(assigned, *_to_int8(means), *_to_int8(tree.groups), np.diff(tree.offsets))


def _sample_size(spool: Spool) -> int:
    wanted = clustering.SAMPLE_PER_CENTROID * clustering.centroid_count(spool.n_tokens)
    return int(min(spool.n_tokens, wanted, max(1, SAMPLE_FLOATS // spool.dim)))


def _sample(spool: Spool, rotation: Floats, size: int, seed: int, reporter: Reporter) -> Floats:
    """(size, d) token vectors drawn at random, rotated, in random order."""
    chosen = np.zeros(spool.n_tokens, dtype=np.bool_)
    random = np.random.default_rng(seed)
    chosen[random.choice(spool.n_tokens, size, replace=False)] = True
    places = random.permutation(size)
    sample = np.empty((size, spool.dim), dtype=np.float32)
    taken = 0
    with reporter.phase("Drawing a sample", spool.n_tokens, "tokens") as advance:
        for block, rows in spool.blocks():
            picked = rows[chosen[block]]
            sample[places[taken : taken + len(picked)]] = picked.astype(np.float32) @ rotation
            taken += len(picked)
            advance(len(rows))
    return sample


def _train(sample: Floats, n_centroids: int, seed: int, reporter: Reporter) -> clustering.CentroidTree:
    with reporter.phase("Finding centroids", (1 + clustering.ROUNDS) * len(sample), "comparisons") as advance:
        return clustering.train(sample, n_centroids, seed, advance)


def _rotated(spool: Spool, rotation: Floats, what: str, reporter: Reporter) -> Iterator[tuple[slice, Floats]]:
    with reporter.phase(what, spool.n_tokens, "tokens") as advance:
        for block, rows in spool.blocks():
            yield block, rows.astype(np.float32) @ rotation
            advance(len(rows))


def _assign(
    spool: Spool, rotation: Floats, tree: clustering.CentroidTree, reporter: Reporter
) -> tuple[npt.NDArray[np.int32], Floats]:
    """The cluster of each token, and the mean of each cluster's tokens."""
    assigned = np.empty(spool.n_tokens, dtype=np.int32)
    sums = np.zeros_like(tree.centroids)
    for block, rotated in _rotated(spool, rotation, "Assigning tokens", reporter):
        assigned[block] = tree.assign(rotated)
        sums += clustering.sums_by_cluster(rotated, assigned[block], len(sums))
    sizes = np.bincount(assigned, minlength=len(sums))[:, np.newaxis]
    # A cluster without tokens keeps its direction: nobody will find anything there.
    return assigned, np.where(sizes > 0, sums / np.maximum(sizes, 1), tree.centroids)


def _encode(
    spool: Spool, rotation: Floats, clusters: Clusters, codec: Codec, path: Path, reporter: Reporter
) -> npt.NDArray[np.float16]:
    """Write the codes of all tokens, document after document; return their scales."""
    scales, centroids = np.empty(spool.n_tokens, dtype=np.float16), clusters.centroids
    with path.open("wb") as file:
        for block, rotated in _rotated(spool, rotation, "Compressing tokens", reporter):
            codes, scales[block] = codec.encode(rotated, centroids[clusters.assigned[block]])
            codes.tofile(file)
    return scales


def _ordered(
    lengths: npt.NDArray[np.int64], assigned: npt.NDArray[np.int32], scales: npt.NDArray[np.float16]
) -> dict[str, npt.NDArray[Any]]:
    """What belongs to the tokens, cluster after cluster, and the places where they went."""
    tokens = np.argsort(assigned, kind="stable")
    positions = np.empty(len(tokens), dtype=np.uint32)
    positions[tokens] = np.arange(len(tokens), dtype=np.uint32)
    document_of = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return {"scales": scales[tokens], "documents": document_of[tokens], "positions": positions}


def _order_codes(
    directory: Path, unordered: Path, positions: npt.NDArray[np.uint32], width: int, reporter: Reporter
) -> None:
    """Write the codes cluster after cluster: they are read once for every ``ORDERED_BYTES`` of them."""
    at_a_time = max(1, ORDERED_BYTES // width)
    with (
        files.appending(directory, "codes") as append,
        reporter.phase("Ordering by cluster", len(positions), "tokens") as advance,
    ):
        for first in range(0, len(positions), at_a_time):
            ordered = np.empty((min(at_a_time, len(positions) - first), width), dtype=np.uint8)
            for block, codes in blocks_of(unordered, "u1", width):
                places = positions[block].astype(np.int64) - first
                here = (places >= 0) & (places < len(ordered))
                ordered[places[here]] = codes[here]
            append(ordered)
            advance(len(ordered))


def _to_int8(vectors: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """(C, d) vectors -> int8 vectors and scales whose product is within half a step of them."""
    scales = (np.abs(vectors).max(axis=1) / np.float32(127)).astype(np.float32)
    inverse = 1 / np.maximum(scales, np.float32(1e-30))
    return np.rint(vectors * inverse[:, np.newaxis]).astype(np.int8), scales
