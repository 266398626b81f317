"""Kernels of ColBERT's mode: gather all tokens of a candidate from the clusters and take the sum of maxima.

A token's vector, centroid and residual together, is decompressed into 12-bit integers once for all query tokens, so
that what follows are products of integers as everywhere else. Nothing here grows with the number of centroids. BLAS
would take as long on one thread, but it brings threads of its own: where others are at work, ten times as long.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.codes import CACHE_LINE, QUERY_LIMIT
from xtrkit.kernels.dense import HALF_BIAS
from xtrkit.kernels.jit import kernel
from xtrkit.kernels.prefetch import prefetch
from xtrkit.kernels.tables import Table, decode_row

ROWS_PER_MARK = 64
"""Every 64th row knows its cluster (``marks``); the clusters of the others are found from there in a step or two."""

SMALLEST_STEP = np.float32(1e-30)


@kernel
def sums_of_max(
    codes: npt.NDArray[np.uint8],
    halves: npt.NDArray[np.uint16],
    offsets: npt.NDArray[np.int64],
    marks: npt.NDArray[np.int32],
    bits: int,
    table: Table,
    centroid_vectors: npt.NDArray[np.int8],
    centroid_scales: npt.NDArray[np.float32],
    positions: npt.NDArray[np.uint32],
    document_offsets: npt.NDArray[np.int64],
    candidates: npt.NDArray[np.int32],
    query: npt.NDArray[np.int16],
    query_scales: npt.NDArray[np.float32],
    most: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
) -> None:
    """Σ_i min(most_i, max_j q_i · d_j) of some documents with one query: ColBERT's eq. 3 where most_i is infinite.

    Args:
        codes: (M, w), with float16 scales (M,) as bit patterns.
        halves: see above.
        offsets: (C + 1,) rows of each cluster.
        marks: (⌈M / 64⌉,) cluster of every 64th row.
        bits: bits a dimension.
        table: what bytes of codes stand for; empty where codes are affine.
        centroid_vectors: (C, d), with scales (C,).
        centroid_scales: see above.
        positions: (M,) row of each token, by document.
        document_offsets: (N + 1,).
        candidates: (K,) documents, none without tokens.
        query: (n, d) quantised query, with scales (n,).
        query_scales: see above.
        most: (n,) what the similarity of a query token counts at most.
        sums: (K,) receives the sums, added in order of query token.
    """
    longest, n, d = 0, query.shape[0], query.shape[1]
    for document in candidates:
        longest = max(longest, document_offsets[document + 1] - document_offsets[document])
    # Integers so large that the products' sums fit 32 bits whatever the vectors.
    limit = np.float32(min(QUERY_LIMIT, (2**31 - 1) // (QUERY_LIMIT * d)))
    levels, steps = np.empty((longest, d), dtype=np.int16), np.empty(longest, dtype=np.float32)
    scale_bits, best = np.empty(longest, dtype=np.uint32), np.empty(n, dtype=np.float32)
    scales, products = scale_bits.view(np.float32), np.empty((longest, n), dtype=np.int32)
    units = np.empty(codes.shape[1], dtype=table.units.dtype)
    of_codes = units.view(table.levels.dtype)
    for candidate in range(len(candidates)):
        first, last = document_offsets[candidates[candidate]], document_offsets[candidates[candidate] + 1]
        count = last - first
        if candidate + 1 < len(candidates):
            _prefetch_rows(codes, halves, positions, document_offsets, candidates[candidate + 1])
        for token in range(count):
            scale_bits[token] = np.uint32(halves[positions[first + token]]) << np.uint32(13)
        for token in range(count):
            row = int(positions[first + token])
            cluster = marks[row // ROWS_PER_MARK]
            while offsets[cluster + 1] <= row:
                cluster += 1
            scale = scales[token] * HALF_BIAS
            if len(table.units):
                decode_row(codes, row, table, units)
                steps[token] = scale * decompress_levels(
                    of_codes, table, centroid_vectors[cluster], centroid_scales[cluster], limit, levels[token]
                )
            else:
                steps[token] = decompress_row(
                    codes, row, bits, centroid_vectors, centroid_scales, cluster, scale, limit, levels, token
                )
        sums[candidate] = _sum_of_best(levels, steps, count, query, query_scales, most, products, best)


@kernel
def _sum_of_best(
    levels: npt.NDArray[np.int16],
    steps: npt.NDArray[np.float32],
    count: int,
    query: npt.NDArray[np.int16],
    query_scales: npt.NDArray[np.float32],
    most: npt.NDArray[np.float64],
    products: npt.NDArray[np.int32],
    best: npt.NDArray[np.float32],
) -> float:
    """Σ_i min(most_i, max_j) of the first ``count`` of (m, d) levels; (m, n) products and (n,) best are scratch."""
    for token in range(count):
        vector = levels[token]
        for i in range(len(query)):
            token_query, total = query[i], np.int32(0)
            for j in range(levels.shape[1]):
                total += np.int32(vector[j]) * np.int32(token_query[j])
            products[token, i] = total
    best[:] = -np.inf
    for token in range(count):
        step, of_token = steps[token], products[token]
        for i in range(len(query)):
            similarity = np.float32(of_token[i]) * step
            best[i] = similarity if similarity > best[i] else best[i]
    score = 0.0
    for i in range(len(query)):
        score += min(np.float64(best[i] * query_scales[i]), most[i])
    return score


@kernel
def decompress_row(
    codes: npt.NDArray[np.uint8],
    row: int,
    bits: int,
    centroid_vectors: npt.NDArray[np.int8],
    centroid_scales: npt.NDArray[np.float32],
    cluster: int,
    scale: np.float32,
    limit: np.float32,
    levels: npt.NDArray[np.int16],
    token: int,
) -> np.float32:
    """One vector, centroid + scale · (code − offset), as integers: the vector is about step · levels[token].

    Args:
        codes: (M, w), of which ``row`` is decompressed.
        row: see above.
        bits: bits a dimension.
        centroid_vectors: (C, d), with scales (C,), of which ``cluster`` is added.
        centroid_scales: see above.
        cluster: see above.
        scale: of the residual.
        limit: the largest integer to use.
        levels: (m, d), of which row ``token`` receives the integers.
        token: see above.

    Returns:
        step.
    """
    w, mask = codes.shape[1], np.uint8(2**bits - 1)
    zero_point, centroid_scale = np.float32((2**bits - 1) / 2), centroid_scales[cluster]
    step = np.float32(max((np.float32(127) * centroid_scale + zero_point * scale) / limit, SMALLEST_STEP))
    of_centroid, of_code = centroid_scale / step, scale / step
    packed, centroid = codes[row], centroid_vectors[cluster]
    for field in range(8 // bits):
        shift, part = np.uint8(field * bits), levels[token, field * w : (field + 1) * w]
        centroid_part = centroid[field * w : (field + 1) * w]
        for j in range(w):
            level = np.float32((packed[j] >> shift) & mask) - zero_point
            part[j] = np.int16(np.floor(np.float32(centroid_part[j]) * of_centroid + level * of_code + np.float32(0.5)))
    return step


@kernel
def decompress_levels(
    of_codes: npt.NDArray[np.signedinteger],
    table: Table,
    centroid: npt.NDArray[np.int8],
    centroid_scale: np.float32,
    limit: np.float32,
    levels: npt.NDArray[np.int16],
) -> np.float32:
    """The vector centroid + step · levels of codes, as integers, as :func:`decompress_row` does for affine codes.

    Args:
        of_codes: (d,) what a table made of one row of codes.
        table: that table.
        centroid: (d,) the cluster's centroid.
        centroid_scale: its scale.
        limit: the largest integer to use.
        levels: (d,) receives the integers.

    Returns:
        step: the vector is about step · levels.
    """
    step = np.float32(max((np.float32(127) * centroid_scale + table.largest * table.step) / limit, SMALLEST_STEP))
    of_centroid, of_code = centroid_scale / step, table.step / step
    for j in range(len(levels)):
        level = np.float32(centroid[j]) * of_centroid + np.float32(of_codes[j]) * of_code
        levels[j] = np.int16(np.floor(level + np.float32(0.5)))
    return step


@kernel
def _prefetch_rows(
    codes: npt.NDArray[np.uint8],
    halves: npt.NDArray[np.uint16],
    positions: npt.NDArray[np.uint32],
    document_offsets: npt.NDArray[np.int64],
    document: int,
) -> None:
    for token in range(document_offsets[document], document_offsets[document + 1]):
        row = np.int64(positions[token])
        prefetch(halves, row)
        for line in range(0, codes.shape[1], CACHE_LINE):
            prefetch(codes, row * codes.shape[1] + line)
