"""Kernels of ColBERT's mode: gather all tokens of a candidate from the clusters, and sum the maxima."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.jit import kernel

ROWS_PER_MARK = 64
"""Every 64th row knows its cluster (``marks``); the clusters of the others are found from there in a step or two."""


@kernel
def decompress_rows(
    codes: npt.NDArray[np.uint8],
    bits: int,
    centroid_vectors: npt.NDArray[np.int8],
    centroid_scales: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    marks: npt.NDArray[np.int32],
    rows: npt.NDArray[np.uint32],
    scales: npt.NDArray[np.float32],
    vectors: npt.NDArray[np.float32],
) -> None:
    """Token vectors, rotated: centroid + scale · (code − offset).

    Args:
        codes: (M, w) packed codes (layout of :mod:`xtrkit.kernels.codes`).
        bits: 1, 2, 4 or 8.
        centroid_vectors: (C, d), with scales (C,).
        centroid_scales: see above.
        offsets: (C + 1,) rows of each cluster.
        marks: (⌈M / 64⌉,) cluster of every 64th row.
        rows: (B,) which rows.
        scales: (B,) float32 scales of their residuals.
        vectors: (B, d) receives the vectors.
    """
    w, mask = codes.shape[1], np.uint8(2**bits - 1)
    zero_point = np.float32((2**bits - 1) / 2)
    # Reading comes first, in loops so short that the processor waits for many rows at once instead of one by one.
    clusters, gathered = np.empty(len(rows), dtype=np.int32), np.empty((len(rows), w), dtype=np.uint8)
    for t in range(len(rows)):
        row = np.int64(rows[t])
        for j in range(w):
            gathered[t, j] = codes[row, j]
    for t in range(len(rows)):
        row = np.int64(rows[t])
        cluster = marks[row // ROWS_PER_MARK]
        while offsets[cluster + 1] <= row:
            cluster += 1
        clusters[t] = cluster
    for t in range(len(rows)):
        packed, centroid, vector = gathered[t], centroid_vectors[clusters[t]], vectors[t]
        scale, centroid_scale = scales[t], centroid_scales[clusters[t]]
        for field in range(8 // bits):
            shift, part, centroid_part = np.uint8(field * bits), vector[field * w :], centroid[field * w :]
            for j in range(w):
                level = np.float32((packed[j] >> shift) & mask) - zero_point
                part[j] = np.float32(centroid_part[j]) * centroid_scale + level * scale


@kernel
def sums_of_best(
    similarities: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64], sums: npt.NDArray[np.float64]
) -> None:
    """ColBERT's Σ_i max_j q_i · d_j for some documents and one query.

    Args:
        similarities: (B, n) of the documents' tokens with the query tokens.
        offsets: (D + 1,) where each document's rows begin and end; a document without any has the sum 0.
        sums: (D,) receives the sums, added in order of query token.
    """
    n = similarities.shape[1]
    best = np.empty(n, dtype=np.float32)
    for document in range(len(sums)):
        first, last = offsets[document], offsets[document + 1]
        best[:] = 0
        if last > first:
            best[:] = similarities[first]
        for t in range(first + 1, last):
            row = similarities[t]
            for i in range(n):
                best[i] = row[i] if row[i] > best[i] else best[i]
        total = 0.0
        for i in range(n):
            total += best[i]
        sums[document] = total
