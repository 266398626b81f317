"""Kernels of approximate token retrieval: which clusters to open for a query token, and what is in them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.codes import centroid_products, products, scores_of_products
from xtrkit.kernels.jit import kernel
from xtrkit.kernels.selection import take_largest


@kernel
def nearest_clusters(
    group_vectors: npt.NDArray[np.int8],
    group_scales: npt.NDArray[np.float32],
    group_offsets: npt.NDArray[np.int64],
    centroid_vectors: npt.NDArray[np.int8],
    centroid_scales: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    query: npt.NDArray[np.int16],
    query_scales: npt.NDArray[np.float32],
    groups_probed: int,
    clusters: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int64],
    closed_tokens: npt.NDArray[np.float32],
    closed_range: npt.NDArray[np.float32],
) -> None:
    """The clusters whose centroids are most alike to each query token, and how many tokens the others have.

    Only centroids of the ``groups_probed`` most alike groups are looked at; of equals the lower number is taken.

    Args:
        group_vectors: (G, d), with scales (G,) and the centroids of each group (G + 1,).
        group_scales: see above.
        group_offsets: see above.
        centroid_vectors: (C, d), with scales (C,).
        centroid_scales: see above.
        offsets: (C + 1,) rows of each cluster.
        query: (n, d) quantised query tokens.
        query_scales: (n,) their scales.
        groups_probed: at least 1, at most G.
        clusters: (n, nprobe) receives the clusters by number, their scores (n, nprobe) and how many there are (n,).
        scores: see above.
        counts: see above.
        closed_tokens: (n, B) receives the numbers of tokens in clusters that were looked at and not taken, by
            score: B equal steps between ``closed_range[i, 0]`` and ``closed_range[i, 1]``.
        closed_range: (n, 2) receives the lowest and the highest score of these clusters.
    """
    n_groups, n_centroids = len(group_scales), len(centroid_scales)
    sums = np.empty(max(n_groups, n_centroids), dtype=np.int32)
    group_values, values = np.empty(n_groups, dtype=np.float32), np.empty(n_centroids, dtype=np.float32)
    scratch = np.empty(max(n_groups, n_centroids), dtype=np.float32)
    groups, chosen = np.empty(groups_probed, dtype=np.int32), np.empty(clusters.shape[1], dtype=np.int32)
    numbers = np.empty(n_centroids, dtype=np.int32)
    for i in range(len(query)):
        centroid_products(group_vectors, 0, n_groups, query[i], sums)
        for g in range(n_groups):
            group_values[g] = np.float32(sums[g]) * group_scales[g]
        take_largest(group_values, groups_probed, scratch, groups)
        seen = 0
        for place in range(groups_probed):
            group = groups[place]
            first, last = group_offsets[group], group_offsets[group + 1]
            centroid_products(centroid_vectors, first, last, query[i], sums)
            for c in range(first, last):
                values[seen + c - first] = np.float32(sums[c - first]) * (centroid_scales[c] * query_scales[i])
                numbers[seen + c - first] = c
            seen += last - first
        counts[i] = take_largest(values[:seen], clusters.shape[1], scratch, chosen)
        for j in range(counts[i]):
            clusters[i, j], scores[i, j] = numbers[chosen[j]], values[chosen[j]]
        _count_closed(values[:seen], numbers, chosen, counts[i], offsets, closed_tokens[i], closed_range[i])


@kernel
def _count_closed(
    values: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.int32],
    chosen: npt.NDArray[np.int32],
    n_chosen: int,
    offsets: npt.NDArray[np.int64],
    tokens: npt.NDArray[np.float32],
    score_range: npt.NDArray[np.float32],
) -> None:
    """Fill one row of ``closed_tokens`` and ``closed_range`` of :func:`nearest_clusters`."""
    tokens[:] = 0
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for j in range(len(values)):
        low = min(low, values[j])
    for j in range(n_chosen):
        high = min(high, values[chosen[j]]) if j else values[chosen[j]]
    score_range[0], score_range[1] = low, high
    if n_chosen == len(values):
        return
    inverse = np.float32(len(tokens)) / max(high - low, np.float32(1e-30))
    last = np.float32(len(tokens) - 1)
    for j in range(len(values)):
        place = np.int64(min(max((values[j] - low) * inverse, np.float32(0)), last))
        tokens[place] += np.float32(offsets[numbers[j] + 1] - offsets[numbers[j]])
    for j in range(n_chosen):
        place = np.int64(min(max((values[chosen[j]] - low) * inverse, np.float32(0)), last))
        number = numbers[chosen[j]]
        tokens[place] -= np.float32(offsets[number + 1] - offsets[number])


@kernel
def score_clusters(
    codes: npt.NDArray[np.uint8],
    halves: npt.NDArray[np.uint16],
    offsets: npt.NDArray[np.int64],
    bits: int,
    clusters: npt.NDArray[np.int32],
    cluster_scores: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int64],
    query: npt.NDArray[np.int16],
    query_scales: npt.NDArray[np.float32],
    query_offsets: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    score_bits: npt.NDArray[np.uint32],
    scores: npt.NDArray[np.float32],
) -> None:
    """Similarities of each query token with all tokens of its clusters, cluster after cluster.

    Args:
        codes: (M, w), with float16 scales (M,) as bit patterns.
        halves: see above.
        offsets: (C + 1,) rows of each cluster.
        bits: bits a dimension.
        clusters: (n, nprobe) of :func:`nearest_clusters`, with scores and counts.
        cluster_scores: see above.
        counts: see above.
        query: (n, d), with scales (n,) and offset · Σ_j p_j (n,).
        query_scales: see above.
        query_offsets: see above.
        starts: (n + 1,) where each query token's similarities begin and end.
        score_bits: (H,) scratch, the same memory as ``scores``.
        scores: (H,) receives the similarities.
    """
    largest = 0
    for i in range(len(query)):
        for probe in range(counts[i]):
            largest = max(largest, offsets[clusters[i, probe] + 1] - offsets[clusters[i, probe]])
    sums = np.empty(largest, dtype=np.int32)
    for i in range(len(query)):
        at = starts[i]
        for probe in range(counts[i]):
            first, last = offsets[clusters[i, probe]], offsets[clusters[i, probe] + 1]
            products(codes, first, last, query[i], bits, sums)
            scores_of_products(
                sums, last - first, halves, first, cluster_scores[i, probe], query_scales[i], query_offsets[i],
                score_bits[at:], scores[at:],
            )  # fmt: skip
            at += last - first
