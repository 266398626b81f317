"""A stream of documents' token vectors -> a compressed index, in bounded memory.

Five passes, through temporary files that are gone at the end: write the rows as they come; draw the sample that
centroids are found on; assign every token to a centroid; encode every token; put the codes in order of cluster. Files
are appended to and read, never mapped: a full disk is an error instead of a crash, and the corpus does not count as
memory of the process. In memory are the sample (at most ``SAMPLE_FLOATS`` numbers, up to four times while clusters are
found), one block of rows, ``ORDERED_BYTES`` of codes and some 24 bytes a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing import centroids as clustering
from xtrkit.indexing import compressed_format as files
from xtrkit.indexing.codec import GridCodec, check_bits, random_rotation
from xtrkit.values import Ragged

Floats = npt.NDArray[np.float32]

SAMPLE_FLOATS = 1 << 26
ORDERED_BYTES = 1 << 28


class Clusters(NamedTuple):
    """What the tokens were assigned to.

    Attributes:
        assigned: (M,) int32, the cluster of each token, tokens document after document.
        means: (C, d) mean of each cluster's tokens.
    """

    assigned: npt.NDArray[np.int32]
    means: Floats


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
    lengths, dim = _spool(batches, directory, nbits)
    n_tokens = int(lengths.sum())
    rotation = random_rotation(dim, seed)
    tree = _train(directory, n_tokens, rotation, seed)
    clusters = _assign(directory, n_tokens, rotation, tree)
    vectors, scales = _to_int8(clusters.means)
    group_vectors, group_scales = _to_int8(tree.groups)
    arrays: dict[str, npt.NDArray[Any]] = {
        "rotation": rotation,
        "group_vectors": group_vectors,
        "group_scales": group_scales,
        "group_sizes": np.diff(tree.offsets),
        "centroid_vectors": vectors,
        "centroid_scales": scales,
        "cluster_sizes": np.bincount(clusters.assigned, minlength=len(scales)),
        "lengths": lengths,
    }
    centroids = vectors.astype(np.float32) * scales[:, np.newaxis]
    codec = GridCodec(nbits)
    token_scales = _encode(directory, rotation, centroids, clusters.assigned, codec)
    arrays |= _ordered(lengths, clusters.assigned, token_scales)
    for name, values in arrays.items():
        with files.appending(directory, name) as append:
            append(values)
    _order_codes(directory, arrays["positions"], codec.width(dim))
    shapes = {name: values.shape for name, values in arrays.items()}
    files.finish(directory, bits=nbits, shapes=shapes | {"codes": (n_tokens, codec.width(dim))})


def _spool(batches: Iterable[Ragged], directory: Path, bits: int) -> tuple[npt.NDArray[np.int64], int]:
    """Write the rows as float16; return the documents' lengths and the dimension."""
    lengths, dim = [np.zeros(0, dtype=np.int64)], 0
    with files.appending(directory, "rows") as append:
        for batch in batches:
            dim = dim or batch.dim
            check_bits(bits, dim)
            if batch.dim != dim:
                raise InputError(f"A batch has vectors of {batch.dim} dimensions, those before had {dim}.")
            lengths.append(np.asarray(batch.lengths, dtype=np.int64))
            append(batch.rows)
    joined = np.concatenate(lengths)
    if not joined.sum():
        raise InputError("There are no token vectors to index: give at least one document with one token.")
    return joined, dim


def _train(directory: Path, n_tokens: int, rotation: Floats, seed: int) -> clustering.CentroidTree:
    n_centroids = clustering.centroid_count(n_tokens)
    size = min(n_tokens, clustering.SAMPLE_PER_CENTROID * n_centroids, max(1, SAMPLE_FLOATS // len(rotation)))
    chosen = np.zeros(n_tokens, dtype=np.bool_)
    chosen[np.random.default_rng(seed).choice(n_tokens, size, replace=False)] = True
    sample = np.empty((size, len(rotation)), dtype=np.float32)
    taken = 0
    for block, rows in files.spooled(directory, "rows", len(rotation)):
        picked = rows[chosen[block]]
        sample[taken : taken + len(picked)] = picked.astype(np.float32) @ rotation
        taken += len(picked)
    return clustering.train(sample, n_centroids, seed)


def _rotated(directory: Path, rotation: Floats) -> Iterator[tuple[slice, Floats]]:
    for block, rows in files.spooled(directory, "rows", len(rotation)):
        yield block, rows.astype(np.float32) @ rotation


def _assign(directory: Path, n_tokens: int, rotation: Floats, tree: clustering.CentroidTree) -> Clusters:
    assigned = np.empty(n_tokens, dtype=np.int32)
    sums = np.zeros_like(tree.centroids)
    for block, rotated in _rotated(directory, rotation):
        assigned[block] = tree.assign(rotated)
        sums += clustering.sums_by_cluster(rotated, assigned[block], len(sums))
    sizes = np.bincount(assigned, minlength=len(sums))[:, np.newaxis]
    # A cluster without tokens keeps its direction: nobody will find anything there.
    return Clusters(assigned, np.where(sizes > 0, sums / np.maximum(sizes, 1), tree.centroids))


def _encode(
    directory: Path,
    rotation: Floats,
    centroids: Floats,
    assigned: npt.NDArray[np.int32],
    codec: GridCodec,
) -> npt.NDArray[np.float16]:
    """Write the codes of all tokens, document after document; return their scales."""
    scales = np.empty(len(assigned), dtype=np.float16)
    with files.appending(directory, "unordered") as append:
        for block, rotated in _rotated(directory, rotation):
            codes, scales[block] = codec.encode(rotated - centroids[assigned[block]])
            append(codes)
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


def _order_codes(directory: Path, positions: npt.NDArray[np.uint32], width: int) -> None:
    """Write the codes cluster after cluster: they are read once for every ``ORDERED_BYTES`` of them."""
    at_a_time = max(1, ORDERED_BYTES // width)
    with files.appending(directory, "codes") as append:
        for first in range(0, len(positions), at_a_time):
            ordered = np.empty((min(at_a_time, len(positions) - first), width), dtype=np.uint8)
            for block, codes in files.spooled(directory, "unordered", width):
                places = positions[block].astype(np.int64) - first
                here = (places >= 0) & (places < len(ordered))
                ordered[places[here]] = codes[here]
            append(ordered)


def _to_int8(vectors: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """(C, d) vectors -> int8 vectors and scales whose product is within half a step of them."""
    scales = (np.abs(vectors).max(axis=1) / np.float32(127)).astype(np.float32)
    inverse = 1 / np.maximum(scales, np.float32(1e-30))
    return np.rint(vectors * inverse[:, np.newaxis]).astype(np.int8), scales
