"""A stream of documents' token vectors -> a compressed index, in bounded memory.

Three passes, of which the last two read a temporary file of float16 rows: write the file; assign every token to a
centroid; encode every token and put it into its cluster. In memory are the sample that centroids are found on (at
most ``SAMPLE_FLOATS`` numbers), one block of rows, and 4 bytes a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing import centroids as clustering
from xtrkit.indexing import compressed_format as files
from xtrkit.indexing.codec import GridCodec, check_bits, random_rotation
from xtrkit.values import Ragged, offsets_of

Floats = npt.NDArray[np.float32]

SPOOL = "rows.tmp"
SAMPLE_FLOATS = 1 << 26
LARGE = ("codes", "scales", "documents", "positions")
BLOCK = 1 << 16


def build(batches: Iterable[Ragged], directory: Path, nbits: int = 4, seed: int = 0) -> None:
    """Build a compressed index of token vectors.

    Args:
        batches: some documents at a time, each with at least one token.
        directory: an empty directory that exists.
        nbits: bits a dimension: 1, 2, 4 or 8.
        seed: the same vectors and seed give the same index.

    Raises:
        InputError: there are no tokens, or bits or dimensions can't be used.
    """
    lengths, dim = _spool(batches, directory / SPOOL, nbits)
    rows = np.memmap(directory / SPOOL, dtype=np.float16, mode="r", shape=(int(lengths.sum()), dim))
    rotation = random_rotation(dim, seed)
    tree = _train(rows, rotation, seed)
    assigned, sums = _assign(rows, rotation, tree)
    _write(directory, rows, lengths, rotation, tree, assigned, sums, GridCodec(nbits))
    del rows
    (directory / SPOOL).unlink()


def _spool(batches: Iterable[Ragged], path: Path, bits: int) -> tuple[npt.NDArray[np.int64], int]:
    lengths, dim = [np.zeros(0, dtype=np.int64)], 0
    with path.open("wb") as spool:
        for batch in batches:
            dim = dim or batch.dim
            check_bits(bits, dim)
            if batch.dim != dim:
                raise InputError(f"A batch has vectors of {batch.dim} dimensions, those before had {dim}.")
            lengths.append(np.asarray(batch.lengths, dtype=np.int64))
            np.ascontiguousarray(batch.rows, dtype=np.float16).tofile(spool)
    joined = np.concatenate(lengths)
    if not joined.sum():
        raise InputError("There are no token vectors to index: give at least one document with one token.")
    return joined, dim


def _train(rows: npt.NDArray[np.float16], rotation: Floats, seed: int) -> clustering.CentroidTree:
    n_centroids = clustering.centroid_count(len(rows))
    size = min(len(rows), clustering.SAMPLE_PER_CENTROID * n_centroids, max(1, SAMPLE_FLOATS // rows.shape[1]))
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(len(rows), size, replace=False))
    return clustering.train(rows[chosen].astype(np.float32) @ rotation, n_centroids, seed)


def _blocks(rows: npt.NDArray[np.float16], rotation: Floats) -> Iterator[tuple[slice, Floats]]:
    for first in range(0, len(rows), BLOCK):
        block = slice(first, min(first + BLOCK, len(rows)))
        yield block, rows[block].astype(np.float32) @ rotation


def _assign(
    rows: npt.NDArray[np.float16], rotation: Floats, tree: clustering.CentroidTree
) -> tuple[npt.NDArray[np.int32], Floats]:
    """The cluster of each token, and the sums of the clusters' tokens."""
    assigned = np.empty(len(rows), dtype=np.int32)
    sums = np.zeros_like(tree.centroids)
    for block, rotated in _blocks(rows, rotation):
        assigned[block] = tree.assign(rotated)
        sums += clustering.sums_by_cluster(rotated, assigned[block], len(sums))
    return assigned, sums


def _write(
    directory: Path,
    rows: npt.NDArray[np.float16],
    lengths: npt.NDArray[np.int64],
    rotation: Floats,
    tree: clustering.CentroidTree,
    assigned: npt.NDArray[np.int32],
    sums: Floats,
    codec: GridCodec,
) -> None:
    sizes = np.bincount(assigned, minlength=len(sums))
    # A cluster without tokens keeps its direction: nobody will find anything there.
    means = np.where(sizes[:, np.newaxis] > 0, sums / np.maximum(sizes, 1)[:, np.newaxis], tree.centroids)
    vectors, scales = _to_int8(means)
    group_vectors, group_scales = _to_int8(tree.groups)
    small: dict[str, npt.NDArray[Any]] = {
        "rotation": rotation,
        "group_vectors": group_vectors,
        "group_scales": group_scales,
        "group_sizes": np.diff(tree.offsets),
        "centroid_vectors": vectors,
        "centroid_scales": scales,
        "cluster_sizes": sizes,
        "lengths": lengths,
    }
    for name, values in small.items():
        files.write_array(directory, name, values)
    m, width = len(rows), codec.width(len(rotation))
    shapes = {name: values.shape for name, values in small.items()}
    shapes |= {"codes": (m, width), "scales": (m,), "documents": (m,), "positions": (m,)}
    large = {name: files.new_array(directory, name, shapes[name]) for name in LARGE}
    document_of = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    next_row = offsets_of(sizes)[:-1].copy()
    centroids = vectors.astype(np.float32) * scales[:, np.newaxis]
    for block, rotated in _blocks(rows, rotation):
        clusters = assigned[block]
        place = _places(clusters, next_row)
        codes, token_scales = codec.encode(rotated - centroids[clusters])
        large["codes"][place], large["scales"][place] = codes, token_scales
        large["documents"][place], large["positions"][block] = document_of[block], place
    files.write_header(directory, bits=codec.bits, shapes=shapes)


def _places(clusters: npt.NDArray[np.int32], next_row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The rows of a block's tokens, in the order in which they come; ``next_row`` moves on."""
    order = np.argsort(clusters, kind="stable")
    counts = np.bincount(clusters, minlength=len(next_row))
    places = np.empty(len(clusters), dtype=np.int64)
    within = np.arange(len(clusters)) - offsets_of(counts)[:-1].repeat(counts)
    places[order] = next_row[clusters[order]] + within
    next_row += counts
    return places


def _to_int8(vectors: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """(C, d) vectors -> int8 vectors and scales whose product is within half a step of them."""
    scales = (np.abs(vectors).max(axis=1) / np.float32(127)).astype(np.float32)
    inverse = 1 / np.maximum(scales, np.float32(1e-30))
    return np.rint(vectors * inverse[:, np.newaxis]).astype(np.int8), scales
