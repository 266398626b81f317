"""Kernels of imputation: what the similarities that were *not* looked at must be about.

Everything that is measured on tokens is an integer, a sum or a count that adds up in any order: over clusters, over
segments, and over machines. The rest is known from the centroids alone.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.bundles import Centroids, Probes, QuantisedQuery
from xtrkit.kernels.choosing import SPREADS_AHEAD, STEPS
from xtrkit.kernels.jit import kernel, part
from xtrkit.kernels.selection import count_from

GRID_HALVINGS = 8
"""The k-th similarity is looked for among 2^8 steps of the range in which it can be; in one, on a straight line."""
FIXED_POINT = np.float32(1 << 20)
"""What a squared deviation, of a query token of length 1, is multiplied by and then cut to an integer."""
PRIOR_TOKENS = np.float32(500)
PRIOR_RATIO = np.float32(2.1)
"""Spread along a query token over spread along any direction, squared, as if measured on so many tokens before: few
opened tokens tell little. Both were fitted on NFCorpus and are as good on two other collections."""
SMALLEST_NORM = np.float32(1e-30)
"""Of a query token all of whose integers are 0."""
NORMAL_REACH = 4.0
NORMAL_STEPS = 32
NORMAL = np.array(
    [0.5 * math.erfc(-step / NORMAL_STEPS / math.sqrt(2)) for step in range(-4 * NORMAL_STEPS, 4 * NORMAL_STEPS + 1)],
    dtype=np.float32,
)
"""The normal distribution function at −4, −4 + 1/32, … 4."""


@kernel
def expected_kth_scores(
    probes: Probes, centroids: Centroids, query: QuantisedQuery, k: int, kth: npt.NDArray[np.float32]
) -> None:
    """About the k-th best similarity among *all* tokens, of which only those of opened clusters were looked at.

    The tokens of a closed cluster are taken to be spread normally around its centroid's score, with a standard
    deviation σ: the one that tokens of any cluster have along any direction, √(mean radius²), times what those of the
    opened clusters have along this query token more than that. Then the k-th best similarity is the t with

        #{opened tokens ≥ t} + Σ_closed size_c · Φ((S_c − t) / σ) = k.

    Closed clusters are known by what they promise, S_c + 2.5 ‖q‖ radius_c (:mod:`xtrkit.kernels.choosing`); S_c is that
    without as much as a mean radius makes.

    Args:
        probes: the opened clusters of n query tokens.
        centroids: all clusters.
        query: the query tokens.
        k: k', at least 1.
        kth: (n,) receives t; where there are fewer than k tokens, a score below those of all opened ones.
    """
    chosen, scores, places = probes.chosen, probes.scores, probes.places
    starts, closed, ranges, mean_square = (
        chosen.starts,
        chosen.closed_tokens,
        chosen.closed_range,
        centroids.mean_square,
    )
    for i in range(len(kth)):
        norm, begin, end = max(query.norms[i], SMALLEST_NORM), starts[i], starts[i + 1]
        squares, expected = np.int64(0), np.float64(0)
        for probe in range(begin, end):
            cluster, first, last = chosen.clusters[probe], places[probe], places[probe + 1]
            squares += _squares(scores, first, last, chosen.scores[probe], np.float32(1) / norm)
            radius = np.float64(centroids.radii[cluster])
            expected += (last - first) * radius * radius
        measured = squares / np.float64(FIXED_POINT) + PRIOR_RATIO * PRIOR_TOKENS * mean_square
        ratio = math.sqrt(measured / max(expected + PRIOR_TOKENS * mean_square, 1e-30))
        radius = np.float32(math.sqrt(mean_square)) * norm
        spread, before = max(np.float32(ratio) * radius, norm * np.float32(1e-6)), SPREADS_AHEAD * radius
        low, high = ranges[i, 0] - before - np.float32(2) * spread, ranges[i, 1] + np.float32(NORMAL_REACH) * spread
        kth[i] = _solve(scores, places[begin], places[end], (low, high), closed[i], ranges[i], (before, spread), k)


@part
def _squares(
    scores: npt.NDArray[np.float32], first: int, last: int, of_centroid: np.float32, inverse: np.float32
) -> np.int64:
    """Σ (s − S)² / ‖q‖² of a cluster's tokens, in fixed point."""
    total = np.int64(0)
    for j in range(np.uint64(first), np.uint64(last)):
        deviation = (scores[j] - of_centroid) * inverse
        total += np.int64(np.int32(min(deviation * deviation, np.float32(2000)) * FIXED_POINT))
    return total


@part
def _solve(
    scores: npt.NDArray[np.float32],
    first: int,
    last: int,
    limits: tuple[np.float32, np.float32],
    closed: npt.NDArray[np.float32],
    closed_range: npt.NDArray[np.float32],
    shape: tuple[np.float32, np.float32],
    k: int,
) -> np.float32:
    """Where opened and closed tokens above together are k: by halving over steps, then a straight line."""
    (low, high), n_steps = limits, 1 << GRID_HALVINGS
    step = (high - low) / np.float32(n_steps)
    enough, few, at_few = 0, n_steps, 0.0
    at_enough = float(last - first) + _closed_above(low, closed, closed_range, shape)
    if at_enough < k:
        return np.float32(low)
    while few - enough > 1:
        middle = (few + enough) // 2
        border = np.float32(low + np.float32(middle) * step)
        tokens = float(count_from(scores, first, last, border)) + _closed_above(border, closed, closed_range, shape)
        if tokens >= k:
            enough, at_enough = middle, tokens
        else:
            few, at_few = middle, tokens
    share = (at_enough - k) / max(at_enough - at_few, 1e-30)
    return np.float32(low + np.float32(enough + share) * step)


@part
def _closed_above(
    score: np.float32,
    closed: npt.NDArray[np.float32],
    closed_range: npt.NDArray[np.float32],
    shape: tuple[np.float32, np.float32],
) -> float:
    """Σ_closed size_c · Φ((S_c − score) / σ)."""
    before, spread = shape
    width = (closed_range[1] - closed_range[0]) / np.float32(STEPS)
    scale = np.float32(NORMAL_STEPS) / spread
    total, last = 0.0, np.float32(len(NORMAL) - 1)
    place = (closed_range[0] + np.float32(0.5) * width - before - score) * scale + np.float32(
        NORMAL_REACH * NORMAL_STEPS
    )
    for b in range(np.uint64(STEPS)):
        at = place + np.float32(b) * width * scale
        at = at if at > np.float32(0) else np.float32(0)  # which no number isn't, as damaged files may have it
        total += closed[b] * NORMAL[np.uint64(min(at, last))]
    return total
