"""Kernels on packed codes: integer products of codes with a quantised query token.

A code of b bits stands for scale · (code − offset), offset = (2^b − 1) / 2, so a similarity is

    q · v = scale_t · scale_q · (Σ_j code_j · p_j − offset · Σ_j p_j)        with q ≈ scale_q · p, p integer,

and the sum over codes is all that has to touch memory. No table is looked up: LLVM makes a multiply-add instruction
of the loop (``vpmaddwd`` or ``vpdpwssd``).

Layout. A vector of d codes takes w = d · b / 8 bytes. Field f of byte j (bits f·b … f·b + b − 1) is dimension
f · w + j: a field of consecutive bytes is a run of consecutive dimensions, which is what a vectorised loop wants;
neighbouring dimensions in one byte, as other engines have them, would need a shuffle.

Two rules about Numba keep these loops fast. Sums go straight into an int32 array: int32 + int32 is int64 in Numba, and
only where the result is cut back to 32 bits does LLVM see that 32 are enough (4.7 against 12.7 ns a product). And
rows are sliced in the function that loops over them: slices that cross a function call are reference counted.

Clusters lie scattered over the index, each too short for the processor to foresee. The loops therefore prefetch the
next cluster while they work on this one, a row for a row: 5.8 instead of 10.0 ns a token of 64 bytes from memory, the
same as from the cache.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.bundles import Run
from xtrkit.kernels.dense import HALF_BIAS
from xtrkit.kernels.intrinsics import float_of_bits, prefetch
from xtrkit.kernels.jit import part

CACHE_LINE = 64

QUERY_LIMIT = 2047
"""Largest integer of a quantised query: 12 bits, as fast as 8 since products are made of 16-bit halves. Sums of
255 · 2047 over up to 4,096 dimensions fit 32 bits."""


@part
def _products_8(
    codes: npt.NDArray[np.uint8], run: Run, query: npt.NDArray[np.int16], sums: npt.NDArray[np.int32]
) -> None:
    w, first, last, upcoming = codes.shape[1], run.first, run.last, run.upcoming
    for t in range(first, last):
        for line in range(0, w, CACHE_LINE):
            prefetch(codes, (upcoming + t - first) * w + line)
        row = codes[t]
        total = np.int32(0)
        for j in range(w):
            total += np.int32(row[j]) * np.int32(query[j])
        sums[t - first] = total


@part
def _products_4(
    codes: npt.NDArray[np.uint8], run: Run, query: npt.NDArray[np.int16], sums: npt.NDArray[np.int32]
) -> None:
    w, first, last, upcoming = codes.shape[1], run.first, run.last, run.upcoming
    low, high = query[:w], query[w:]
    for t in range(first, last):
        for line in range(0, w, CACHE_LINE):
            prefetch(codes, (upcoming + t - first) * w + line)
        row = codes[t]
        total = np.int32(0)
        for j in range(w):
            byte = row[j]
            total += np.int32(byte & np.uint8(15)) * np.int32(low[j]) + np.int32(byte >> np.uint8(4)) * np.int32(
                high[j]
            )
        sums[t - first] = total


@part
def _products_2(
    codes: npt.NDArray[np.uint8], run: Run, query: npt.NDArray[np.int16], sums: npt.NDArray[np.int32]
) -> None:
    w, first, last, upcoming = codes.shape[1], run.first, run.last, run.upcoming
    mask = np.uint8(3)
    q0, q1, q2, q3 = query[:w], query[w : 2 * w], query[2 * w : 3 * w], query[3 * w :]
    for t in range(first, last):
        for line in range(0, w, CACHE_LINE):
            prefetch(codes, (upcoming + t - first) * w + line)
        row = codes[t]
        total = np.int32(0)
        for j in range(w):
            byte = row[j]
            total += np.int32(byte & mask) * np.int32(q0[j]) + np.int32((byte >> np.uint8(2)) & mask) * np.int32(q1[j])
            total += np.int32((byte >> np.uint8(4)) & mask) * np.int32(q2[j]) + np.int32(
                byte >> np.uint8(6)
            ) * np.int32(q3[j])
        sums[t - first] = total


@part
def _products_1(
    codes: npt.NDArray[np.uint8], run: Run, query: npt.NDArray[np.int16], sums: npt.NDArray[np.int32]
) -> None:
    w, first, last, upcoming = codes.shape[1], run.first, run.last, run.upcoming
    mask = np.uint8(1)
    q0, q1, q2, q3 = query[:w], query[w : 2 * w], query[2 * w : 3 * w], query[3 * w : 4 * w]
    q4, q5, q6, q7 = query[4 * w : 5 * w], query[5 * w : 6 * w], query[6 * w : 7 * w], query[7 * w :]
    for t in range(first, last):
        for line in range(0, w, CACHE_LINE):
            prefetch(codes, (upcoming + t - first) * w + line)
        row = codes[t]
        total = np.int32(0)
        for j in range(w):
            byte = row[j]
            total += np.int32(byte & mask) * np.int32(q0[j])
            total += np.int32((byte >> np.uint8(1)) & mask) * np.int32(q1[j])
            total += np.int32((byte >> np.uint8(2)) & mask) * np.int32(q2[j])
            total += np.int32((byte >> np.uint8(3)) & mask) * np.int32(q3[j])
            total += np.int32((byte >> np.uint8(4)) & mask) * np.int32(q4[j])
            total += np.int32((byte >> np.uint8(5)) & mask) * np.int32(q5[j])
            total += np.int32((byte >> np.uint8(6)) & mask) * np.int32(q6[j])
            total += np.int32(byte >> np.uint8(7)) * np.int32(q7[j])
        sums[t - first] = total


@part
def vector_products(
    vectors: npt.NDArray[np.int8],
    first: int,
    last: int,
    query: npt.NDArray[np.int16],
    sums: npt.NDArray[np.int32],
) -> None:
    """Σ_j v_j · p_j of some consecutive vectors of small integers with one query token, as :func:`products`."""
    for t in range(first, last):
        row = vectors[t]
        total = np.int32(0)
        for j in range(vectors.shape[1]):
            total += np.int32(row[j]) * np.int32(query[j])
        sums[t - first] = total


@part
def scores_of_products(
    sums: npt.NDArray[np.int32],
    run: Run,
    halves: npt.NDArray[np.uint16],
    centroid_score: float | np.float32,
    query_scale: float | np.float32,
    query_offset: float | np.float32,
    scores: npt.NDArray[np.float32],
) -> None:
    """Similarities of the tokens of one cluster: centroid_score + scale_t · query_scale · (sum − query_offset).

    Args:
        sums: (rows of the run or more,) of :func:`products`.
        run: the rows of the cluster.
        halves: (M,) bit patterns of the tokens' float16 scales, none negative, infinite or NaN.
        centroid_score: similarity of the query token with the cluster's centroid.
        query_scale: scale_q.
        query_offset: offset · Σ_j p_j.
        scores: (rows of the run or more,) receives the similarities. On halves see :mod:`xtrkit.kernels.dense`.
    """
    first, count = run.first, run.last - run.first
    centroid, factor = np.float32(centroid_score), np.float32(query_scale) * HALF_BIAS
    offset = np.float32(query_offset)
    for j in range(count):
        scale = float_of_bits(np.uint32(halves[first + j]) << np.uint32(13))
        scores[j] = centroid + scale * (factor * (np.float32(sums[j]) - offset))
