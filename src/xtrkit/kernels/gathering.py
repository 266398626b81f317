"""Kernels of ColBERT's mode: gather all tokens of a candidate from the clusters and take the sum of maxima.

A token's vector, centroid and residual together, is decompressed into 12-bit integers once for all query tokens, so
that what follows are products of integers as everywhere else. Nothing here grows with the number of centroids. BLAS
would take as long on one thread, but it brings threads of its own: where others are at work, ten times as long.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.bundles import DocumentRows, Postings, QuantisedQuery, ScaledVectors, Table
from xtrkit.kernels.codes import CACHE_LINE, QUERY_LIMIT
from xtrkit.kernels.dense import HALF_BIAS
from xtrkit.kernels.intrinsics import prefetch
from xtrkit.kernels.jit import kernel, part
from xtrkit.kernels.tables import decode_row

ROWS_PER_MARK = 64
"""Every 64th row knows its cluster (``marks``); the clusters of the others are found from there in a step or two."""

SMALLEST_STEP = np.float32(1e-30)


class IntegerVectors(NamedTuple):
    """Decompressed vectors of a document's tokens: vector t is about ``steps[t] * levels[t]``.

    Attributes:
        levels: (m, d) int16.
        steps: (m,) float32.
        limit: the largest level, so small that no sum of a product with a query overflows 32 bits.
    """

    levels: npt.NDArray[np.int16]
    steps: npt.NDArray[np.float32]
    limit: np.float32


@kernel
def sums_of_max(
    postings: Postings,
    rows: DocumentRows,
    centroids: ScaledVectors,
    candidates: npt.NDArray[np.int32],
    query: QuantisedQuery,
    most: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
) -> None:
    """Σ_i min(most_i, max_j q_i · d_j) of some documents with one query: ColBERT's eq. 3 where most_i is infinite.

    Args:
        postings: the codes of a segment.
        rows: where the tokens of its documents stand in them.
        centroids: (C, d) the clusters' centroids.
        candidates: (K,) documents, none without tokens.
        query: n query tokens.
        most: (n,) what the similarity of a query token counts at most.
        sums: (K,) receives the sums, added in order of query token.
    """
    codes, halves, offsets, bits = postings.codes, postings.halves, postings.cluster_offsets, 8 // len(postings.shifts)
    table, by_table = postings.table, len(postings.table.units) > 0
    positions, document_offsets, marks = rows.positions, rows.document_offsets, rows.marks
    longest, n, d = 0, query.tokens.shape[0], query.tokens.shape[1]
    for document in candidates:
        longest = max(longest, document_offsets[document + 1] - document_offsets[document])
    limit = np.float32(min(QUERY_LIMIT, (2**31 - 1) // (QUERY_LIMIT * d)))
    levels, steps = np.empty((longest, d), dtype=np.int16), np.empty(longest, dtype=np.float32)
    vectors = IntegerVectors(levels, steps, limit)
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
            if by_table:
                decode_row(codes, row, table, units)
                decompress_levels(of_codes, table, centroids, cluster, vectors, token)
                steps[token] *= scale
            else:
                decompress_row(codes, row, bits, centroids, cluster, scale, vectors, token)
        sums[candidate] = _sum_of_best(vectors, count, query, most, products, best)


@part
def _sum_of_best(
    vectors: IntegerVectors,
    count: int,
    query: QuantisedQuery,
    most: npt.NDArray[np.float64],
    products: npt.NDArray[np.int32],
    best: npt.NDArray[np.float32],
) -> float:
    """Σ_i min(most_i, max_j) of the first ``count`` vectors; (m, n) products and (n,) best are scratch."""
    levels, steps, tokens, query_scales = vectors.levels, vectors.steps, query.tokens, query.scales
    for token in range(count):
        vector = levels[token]
        for i in range(len(tokens)):
            token_query, total = tokens[i], np.int32(0)
            for j in range(levels.shape[1]):
                total += np.int32(vector[j]) * np.int32(token_query[j])
            products[token, i] = total
    best[:] = -np.inf
    for token in range(count):
        step, of_token = steps[token], products[token]
        for i in range(len(tokens)):
            similarity = np.float32(of_token[i]) * step
            best[i] = similarity if similarity > best[i] else best[i]
    score = 0.0
    for i in range(len(tokens)):
        score += min(np.float64(best[i] * query_scales[i]), most[i])
    return score


@kernel
def decompress_row(
    codes: npt.NDArray[np.uint8],
    row: int,
    bits: int,
    centroids: ScaledVectors,
    cluster: int,
    scale: np.float32,
    vectors: IntegerVectors,
    token: int,
) -> None:
    """One vector, centroid + scale · (code − offset), as integers.

    Args:
        codes: (M, w) packed codes.
        row: which of them is decompressed.
        bits: bits a dimension.
        centroids: (C, d) the clusters' centroids.
        cluster: which of them is added.
        scale: of the residual.
        vectors: receives the vector, as its vector ``token``.
        token: which one.
    """
    levels, centroid_scale = vectors.levels, centroids.scales[cluster]
    w, mask = codes.shape[1], np.uint8(2**bits - 1)
    zero_point = np.float32((2**bits - 1) / 2)
    step = np.float32(max((np.float32(127) * centroid_scale + zero_point * scale) / vectors.limit, SMALLEST_STEP))
    of_centroid, of_code = centroid_scale / step, scale / step
    packed, centroid = codes[row], centroids.vectors[cluster]
    for field in range(8 // bits):
        shift, part = np.uint8(field * bits), levels[token, field * w : (field + 1) * w]
        centroid_part = centroid[field * w : (field + 1) * w]
        for j in range(w):
            level = np.float32((packed[j] >> shift) & mask) - zero_point
            part[j] = np.int16(np.floor(np.float32(centroid_part[j]) * of_centroid + level * of_code + np.float32(0.5)))
    vectors.steps[token] = step


@part
def decompress_levels(
    of_codes: npt.NDArray[np.signedinteger],
    table: Table,
    centroids: ScaledVectors,
    cluster: int,
    vectors: IntegerVectors,
    token: int,
) -> None:
    """The vector centroid + step · levels of codes, as integers, as :func:`decompress_row` does for affine codes.

    Args:
        of_codes: (d,) what a table made of one row of codes.
        table: that table.
        centroids: (C, d) the clusters' centroids.
        cluster: which of them is added.
        vectors: receives the vector, as its vector ``token``.
        token: which one.
    """
    centroid, centroid_scale, levels = centroids.vectors[cluster], centroids.scales[cluster], vectors.levels[token]
    largest = np.float32(127) * centroid_scale + table.largest * table.step
    step = np.float32(max(largest / vectors.limit, SMALLEST_STEP))
    of_centroid, of_code = centroid_scale / step, table.step / step
    for j in range(len(levels)):
        level = np.float32(centroid[j]) * of_centroid + np.float32(of_codes[j]) * of_code
        levels[j] = np.int16(np.floor(level + np.float32(0.5)))
    vectors.steps[token] = step


@part
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
