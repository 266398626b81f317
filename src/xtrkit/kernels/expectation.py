"""Kernels of imputation: what the similarities that were *not* looked at must be about.

Everything that is measured on tokens is an integer, a sum or a count that adds up in any order: over clusters, over
segments, and over machines. The rest is known from the centroids alone.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.bundles import Centroids, ChosenClusters, Probes, QuantisedQuery
from xtrkit.kernels.choosing import SPREADS_AHEAD, STEPS
from xtrkit.kernels.jit import kernel, part
from xtrkit.kernels.selection import count_from

BORDERS = 257
"""The k-th similarity is looked for between so many scores, which divide the range in which it can be into equal steps;
between two of them, on a straight line."""
WIDE = np.float32(2.5)
"""Mean radii: a spread of tokens along a query token that is rarely exceeded."""
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
    without as much as a mean radius makes. t is looked for at :data:`BORDERS` that depend on centroids alone.

    Args:
        probes: the opened clusters of n query tokens.
        centroids: all clusters.
        query: the query tokens.
        k: k', at least 1.
        kth: (n,) receives t; where there are fewer than k tokens, a score below those of all opened ones.
    """
    chosen, scores, places = probes.chosen, probes.scores, probes.places
    counted = np.empty(0, dtype=np.int64)
    for i in range(len(kth)):
        begin, end = chosen.starts[i], chosen.starts[i + 1]
        squares = _squares_of(probes, begin, end, query.norms[i])
        spread = _spread(chosen, places, i, squares, centroids, query.norms[i])
        first, last = places[begin], places[end]
        kth[i] = _solve(scores, first, last, counted, chosen, i, (centroids.mean_square, query.norms[i], spread), k)


@kernel
def measure_opened(
    probes: Probes,
    mean_square: np.float32,
    norms: npt.NDArray[np.float32],
    squares: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> None:
    """What of some opened tokens the estimate needs: integers that add up over the shards of an index.

    Args:
        probes: the opened clusters, with the tokens of one shard in them.
        mean_square: of the clusters of the whole index.
        norms: (n,) of the query tokens.
        squares: (n,) receives Σ (s − S)² / ‖q‖², in fixed point.
        counts: (n, BORDERS) receives how many tokens are at each border or above.
    """
    chosen, scores, places = probes.chosen, probes.scores, probes.places
    for i in range(len(norms)):
        begin, end = chosen.starts[i], chosen.starts[i + 1]
        squares[i] = _squares_of(probes, begin, end, norms[i])
        low, step, _ = _grid(chosen.closed_range[i], mean_square, norms[i])
        of_token = counts[i]
        of_token[:] = 0
        inverse = np.float32(1) / max(step, np.float32(1e-30))
        for j in range(places[begin], places[end]):
            score = scores[j]
            if not score >= low:
                continue
            at = min(int((score - low) * inverse), BORDERS - 1)
            while at > 0 and score < _border(low, step, at):
                at -= 1
            while at < BORDERS - 1 and score >= _border(low, step, at + 1):
                at += 1
            of_token[at] += 1
        for b in range(BORDERS - 2, -1, -1):
            of_token[b] += of_token[b + 1]


@kernel
def expected_from_measured(
    chosen: ChosenClusters,
    places: npt.NDArray[np.int64],
    measured: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    centroids: Centroids,
    norms: npt.NDArray[np.float32],
    k: int,
    kth: npt.NDArray[np.float32],
) -> None:
    """As :func:`expected_kth_scores`, of what :func:`measure_opened` measured on all shards together.

    Args:
        chosen: the opened clusters.
        places: (P + 1,) where their tokens, of all shards, would begin and end.
        measured: (n,) squares and (n, BORDERS) counts, added up over the shards.
        centroids: all clusters.
        norms: (n,) of the query tokens.
        k: k'.
        kth: (n,) receives t.
    """
    squares, counts = measured
    nothing = np.empty(0, dtype=np.float32)
    for i in range(len(kth)):
        spread = _spread(chosen, places, i, squares[i], centroids, norms[i])
        first, last = places[chosen.starts[i]], places[chosen.starts[i + 1]]
        kth[i] = _solve(nothing, first, last, counts[i], chosen, i, (centroids.mean_square, norms[i], spread), k)


@part
def _squares_of(probes: Probes, begin: int, end: int, norm: np.float32) -> np.int64:
    """Σ (s − S)² / ‖q‖² of the tokens in some of the opened clusters, in fixed point."""
    inverse, total = np.float32(1) / max(norm, SMALLEST_NORM), np.int64(0)
    for probe in range(begin, end):
        first, last = probes.places[probe], probes.places[probe + 1]
        total += _squares(probes.scores, first, last, probes.chosen.scores[probe], inverse)
    return total


@part
def _spread(
    chosen: ChosenClusters,
    places: npt.NDArray[np.int64],
    i: int,
    squares: np.int64,
    centroids: Centroids,
    norm: np.float32,
) -> np.float32:
    """σ of the tokens along query token i."""
    expected, mean_square = np.float64(0), centroids.mean_square
    for probe in range(chosen.starts[i], chosen.starts[i + 1]):
        radius = np.float64(centroids.radii[chosen.clusters[probe]])
        expected += (places[probe + 1] - places[probe]) * radius * radius
    measured = squares / np.float64(FIXED_POINT) + PRIOR_RATIO * PRIOR_TOKENS * mean_square
    ratio = math.sqrt(measured / max(expected + PRIOR_TOKENS * mean_square, 1e-30))
    norm = max(norm, SMALLEST_NORM)
    return np.float32(max(np.float32(ratio) * np.float32(math.sqrt(mean_square)) * norm, norm * np.float32(1e-6)))


@part
def _grid(
    promised: npt.NDArray[np.float32], mean_square: np.float32, norm: np.float32
) -> tuple[np.float32, np.float32, np.float32]:
    """Where the borders begin, how far they are apart, and how far promises are ahead of centroids' scores.

    The borders reach as far as a spread of :data:`WIDE` mean radii makes sense of; none of it was measured.
    """
    norm = max(norm, SMALLEST_NORM)
    radius = np.float32(math.sqrt(mean_square)) * norm
    before, wide = SPREADS_AHEAD * radius, max(WIDE * radius, norm * np.float32(1e-6))
    low = promised[0] - before - np.float32(2) * wide
    high = promised[1] + np.float32(NORMAL_REACH) * wide
    return low, (high - low) / np.float32(BORDERS - 1), before


@part
def _border(low: np.float32, step: np.float32, number: int) -> np.float32:
    return np.float32(low + np.float32(number) * step)


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
    counted: npt.NDArray[np.int64],
    chosen: ChosenClusters,
    i: int,
    shape: tuple[np.float32, np.float32, np.float32],
    k: int,
) -> np.float32:
    """Where opened and closed tokens above together are k: by halving over borders, then a straight line.

    Args:
        scores: of the opened tokens of query token i, from ``first`` to ``last``.
        first: see there.
        last: see there; the number of tokens is theirs also where they are only counted.
        counted: (BORDERS,) how many are at each border or above; empty where they shall be counted here.
        chosen: the clusters.
        i: which query token.
        shape: mean square radius, the query token's norm, σ.
        k: k'.
    """
    mean_square, norm, spread = shape
    closed, promised = chosen.closed_tokens[i], chosen.closed_range[i]
    low, step, before = _grid(promised, mean_square, norm)
    enough, few, at_few = 0, BORDERS - 1, 0.0
    at_enough = float(last - first) + _closed_above(low, closed, promised, (before, spread))
    if at_enough < k:
        return np.float32(low)
    while few - enough > 1:
        middle = (few + enough) // 2
        border = _border(low, step, middle)
        opened = counted[middle] if len(counted) else count_from(scores, first, last, border)
        tokens = float(opened) + _closed_above(border, closed, promised, (before, spread))
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
