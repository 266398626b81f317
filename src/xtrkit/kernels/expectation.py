"""Kernels of imputation: what the similarities that were *not* looked at must be about."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.bundles import Probes
from xtrkit.kernels.jit import kernel, part

BINS = 256
SAMPLED = 16
"""Tokens of each opened cluster that the spread of similarities around centroids is measured on."""
NORMAL_REACH = 4.0
NORMAL_STEPS = 32
NORMAL = np.array(
    [0.5 * math.erfc(-step / NORMAL_STEPS / math.sqrt(2)) for step in range(-4 * NORMAL_STEPS, 4 * NORMAL_STEPS + 1)],
    dtype=np.float32,
)
"""The normal distribution function at −4, −4 + 1/32, … 4."""


@kernel
def expected_kth_scores(
    probes: Probes, cluster_offsets: npt.NDArray[np.int64], k: int, kth: npt.NDArray[np.float32]
) -> None:
    """About the k-th best similarity among *all* tokens, of which only those of opened clusters were looked at.

    The tokens of a closed cluster are taken to be spread normally around its centroid's score, with the standard
    deviation that the tokens of the opened clusters have around theirs. Then the k-th best similarity is the t with

        #{opened tokens > t} + Σ_closed size_c · Φ((S_c − t) / σ) = k.

    Args:
        probes: the opened clusters of n query tokens.
        cluster_offsets: (C + 1,) where each cluster's living tokens would begin and end if all segments were one.
        k: k', at least 1.
        kth: (n,) receives t; where there are fewer than k tokens, a score below those of all opened ones.
    """
    above = np.empty(BINS + 1, dtype=np.float32)
    chosen, scores, starts = probes.chosen, probes.scores, probes.starts
    clusters, cluster_scores, counts = chosen.clusters, chosen.scores, chosen.counts
    closed_tokens, closed_range = chosen.closed_tokens, chosen.closed_range
    for i in range(len(kth)):
        found = scores[starts[i] : starts[i + 1]]
        spread = _spread(found, cluster_offsets, clusters[i], cluster_scores[i], counts[i])
        low, high = closed_range[i, 0], closed_range[i, 1] + np.float32(NORMAL_REACH) * spread
        for j in range(len(found)):
            low, high = min(low, found[j]), max(high, found[j])
        low -= np.float32(2) * spread
        _count_above(found, low, high, above)
        kth[i] = _solve(above, low, high, closed_tokens[i], closed_range[i], spread, k)


@part
def _spread(
    found: npt.NDArray[np.float32],
    cluster_offsets: npt.NDArray[np.int64],
    clusters: npt.NDArray[np.int32],
    cluster_scores: npt.NDArray[np.float32],
    count: int,
) -> np.float32:
    """Standard deviation of similarities around the score of their centroid, from some tokens of each cluster."""
    squares, n, at = np.float32(0), 0, 0
    for probe in range(count):
        size = cluster_offsets[clusters[probe] + 1] - cluster_offsets[clusters[probe]]
        for j in range(at, at + min(size, SAMPLED)):
            squares += (found[j] - cluster_scores[probe]) ** 2
            n += 1
        at += size
    return np.float32(max(math.sqrt(squares / max(n, 1)), 1e-6))


@part
def _count_above(
    found: npt.NDArray[np.float32], low: np.float32, high: np.float32, above: npt.NDArray[np.float32]
) -> None:
    """above[b] = how many values are in bin b or higher, of ``BINS`` equal bins between low and high."""
    above[:] = 0
    inverse = np.float32(BINS) / np.float32(max(high - low, np.float32(1e-30)))
    for j in range(len(found)):
        above[np.int64(min((found[j] - low) * inverse, np.float32(BINS - 1)))] += 1
    for b in range(BINS - 1, -1, -1):
        above[b] += above[b + 1]


@part
def _solve(
    above: npt.NDArray[np.float32],
    low: np.float32,
    high: np.float32,
    closed: npt.NDArray[np.float32],
    closed_range: npt.NDArray[np.float32],
    spread: np.float32,
    k: int,
) -> np.float32:
    """Where opened and closed tokens above together are k: by halving over the bins' borders, then a straight line."""
    step = (high - low) / np.float32(BINS)
    enough, few = 0, BINS
    at_enough, at_few = above[0] + _closed_above(low, closed, closed_range, spread), np.float32(0)
    if at_enough < k:
        return np.float32(low)
    while few - enough > 1:
        middle = (few + enough) // 2
        tokens = above[middle] + _closed_above(np.float32(low + middle * step), closed, closed_range, spread)
        if tokens >= k:
            enough, at_enough = middle, tokens
        else:
            few, at_few = middle, tokens
    share = (at_enough - k) / np.float32(max(at_enough - at_few, np.float32(1e-30)))
    return np.float32(low + (enough + share) * step)


@part
def _closed_above(
    score: np.float32,
    closed: npt.NDArray[np.float32],
    closed_range: npt.NDArray[np.float32],
    spread: np.float32,
) -> np.float32:
    """Σ_closed size_c · Φ((S_c − score) / σ)."""
    n = len(closed)
    width = (closed_range[1] - closed_range[0]) / n
    scale = np.float32(NORMAL_STEPS) / spread
    total, last = np.float32(0), np.float32(len(NORMAL) - 1)
    for b in range(n):
        place = (closed_range[0] + (b + np.float32(0.5)) * width - score) * scale + NORMAL_REACH * NORMAL_STEPS
        total += closed[b] * NORMAL[np.int64(min(max(place, np.float32(0)), last))]
    return np.float32(total)
