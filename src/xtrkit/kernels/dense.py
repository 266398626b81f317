"""Kernels of the exact engine: float16 to float32, the best k' of a stream of similarities, sum-of-max."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.jit import kernel

# A half has 5 bits of exponent with bias 15, a float 8 with bias 127. Moving the bits of the half into the places of
# the float divides the value by 2^(127 - 15); multiplying undoes it, exactly, for subnormal halves too.
HALF_BIAS = np.float32(2.0**112)
INFINITE_HALF = np.uint16(0x7C00)
CHUNK = 1024


@kernel
def halves_to_floats(
    halves: npt.NDArray[np.uint16], bits: npt.NDArray[np.uint32], floats: npt.NDArray[np.float32]
) -> bool:
    """Convert finite halves to floats: NumPy's conversion takes 1.6 ns an element, this 0.1 (``benchmarks/exact.py``).

    Args:
        halves: flat bit patterns of float16 numbers.
        bits: as many places; scratch, the same memory as ``floats``.
        floats: receives the numbers; ``bits.view(float32)``.

    Returns:
        whether all halves were finite; infinities and NaNs become wrong numbers.
    """
    largest = np.uint16(0)
    for first in range(0, halves.size, CHUNK):  # a chunk stays in the first-level cache between the two loops
        # Slices that are counted from 0: with an index that could be negative LLVM would not vectorise the loops.
        chunk_halves, chunk_bits = halves[first : first + CHUNK], bits[first : first + CHUNK]
        chunk_floats = floats[first : first + CHUNK]
        for i in range(chunk_halves.size):
            half = np.uint32(chunk_halves[i])
            largest = max(largest, chunk_halves[i] & np.uint16(0x7FFF))
            chunk_bits[i] = ((half & np.uint32(0x7FFF)) << np.uint32(13)) | (
                (half & np.uint32(0x8000)) << np.uint32(16)
            )
        for i in range(chunk_floats.size):
            chunk_floats[i] *= HALF_BIAS
    return bool(largest < INFINITE_HALF)


@kernel
def keep_best(
    similarities: npt.NDArray[np.float32],
    first_row: int,
    k: int,
    scores: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.float32],
) -> None:
    """Offer the similarities of some document tokens to the running top k of each query token.

    Rows come in ascending order over successive calls; of equal similarities the earlier row is kept. A query token's
    buffer fills up to its capacity and is then cut back to its k best: the similarities that it has to
    beat rise quickly, and most of what follows is refused by one comparison.

    Args:
        similarities: (n, B) of n query tokens with B consecutive document tokens.
        first_row: number of the first of these document tokens.
        k: how many to keep.
        scores: (n, capacity) buffer of kept similarities, in ascending order of row; its capacity must be above k,
            unless no more than k tokens are ever offered.
        rows: (n, capacity) buffer of their rows.
        counts: (n,) how much of each buffer is filled.
        thresholds: (n,) what a similarity has to exceed; begin with -inf.
    """
    capacity = scores.shape[1]
    for i in range(similarities.shape[0]):
        threshold, count = thresholds[i], counts[i]
        for j in range(similarities.shape[1]):
            if similarities[i, j] > threshold:
                if count == capacity:
                    threshold = cut_back(scores[i], rows[i], count, k)
                    count = k
                    if not similarities[i, j] > threshold:
                        continue
                scores[i, count] = similarities[i, j]
                rows[i, count] = first_row + j
                count += 1
        thresholds[i], counts[i] = threshold, count


@kernel
def cut_back(scores: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], count: int, k: int) -> float:
    """Keep the k best of the first ``count`` entries, earlier ones before later equals; return the lowest kept.

    Args:
        scores: (capacity,) similarities in ascending order of row; the kept ones move to the front, order unchanged.
        rows: (capacity,) their rows, moved alike.
        count: how many entries there are, at least k.
        k: how many to keep, at least 1.
    """
    lowest = np.float32(np.partition(scores[:count], count - k)[count - k])
    room_for_equals = k
    for j in range(count):
        if scores[j] > lowest:
            room_for_equals -= 1
    kept = 0
    for j in range(count):
        if scores[j] > lowest or (scores[j] == lowest and room_for_equals > 0):
            if scores[j] == lowest:
                room_for_equals -= 1
            scores[kept], rows[kept] = scores[j], rows[j]
            kept += 1
    return float(lowest)


@kernel
def sum_of_max(
    similarities: npt.NDArray[np.float32],
    document_offsets: npt.NDArray[np.int64],
    query_offsets: npt.NDArray[np.int64],
    most: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
) -> None:
    """Σ_i min(most_i, max_j P_ij) for some queries and documents: ColBERT's sum where most_i is infinite.

    That is eq. 1 of the XTR paper without its 1/n.

    Args:
        similarities: (n, B) of the query tokens of all queries with the tokens of the documents.
        document_offsets: (D + 1,) where each document's columns begin and end; no document is empty.
        query_offsets: (Q + 1,) where each query's rows begin and end.
        most: (n,) what the similarity of a query token counts at most.
        sums: (Q, D) receives the sums, added in order of query token.
    """
    for query in range(len(query_offsets) - 1):
        for document in range(len(document_offsets) - 1):
            total = 0.0
            for i in range(query_offsets[query], query_offsets[query + 1]):
                best = similarities[i, document_offsets[document]]
                for j in range(document_offsets[document] + 1, document_offsets[document + 1]):
                    best = max(best, similarities[i, j])
                total += min(np.float64(best), most[i])
            sums[query, document] = total
