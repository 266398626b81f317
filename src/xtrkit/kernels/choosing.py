"""Kernels that choose which clusters a query looks into.

Both look at the centroids of the groups that are most alike to a query token. :func:`promising_clusters` spends the
effort of a whole query where most is to be found; :func:`nearest_clusters` takes as many of the nearest for each query
token, as the papers do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.bundles import (
    QUERY_LIMIT,
    SMALL_LIMIT,
    Centroids,
    ChosenClusters,
    QuantisedQuery,
    ScaledVectors,
)
from xtrkit.kernels.codes import reach, sums_of_bytes
from xtrkit.kernels.jit import inlined, kernel, part
from xtrkit.kernels.selection import ROOM, border_of, extremes, keep
from xtrkit.kernels.vectors import (
    LANES,
    WIDTH,
    address_of,
    float_at,
    load,
    put,
    short_at,
    small_at,
    splat,
    store,
    times,
    to_floats,
)

SMALLEST_RANGE = np.float32(1e-30)
SMALLEST_SCALE = np.float32(1e-30)

SPREADS_AHEAD = np.float32(2.5)
"""How many spreads above its centroid a cluster promises tokens: fitted on SciFact, as good on two other collections."""
FAIR_SHARE = np.float32(0.5)
"""The part of an even share of the effort that every query token gets at least."""
STEPS = 64
"""Steps of promise in which tokens are counted."""
HALVINGS = 14


@kernel
def quantise(rotated: npt.NDArray[np.float32], zero_point: float, table_step: float, query: QuantisedQuery) -> None:
    """Round the tokens of a query to integers.

    Args:
        rotated: (n, d) the tokens, rotated as the index is.
        zero_point: code that stands for 0.
        table_step: step of the table that decodes codes; 1 where there is none.
        query: receives the integers, where there are zeros.
    """
    tokens, planes = query.tokens, query.planes
    n, d, n_planes = rotated.shape[0], rotated.shape[1], planes.shape[1]
    for i in range(n):
        largest = np.float32(0)
        for j in range(d):
            size = abs(rotated[i, j])
            largest = size if size > largest else largest
        scale = max(largest / np.float32(QUERY_LIMIT), SMALLEST_SCALE)
        total = square = np.int64(0)
        for j in range(d):
            integer = np.int16(np.rint(rotated[i, j] / scale))
            tokens[i, j] = integer
            total, square = total + integer, square + np.int64(integer) * integer
        query.scales[i], query.norms[i] = scale, scale * np.float32(np.sqrt(np.float64(square)))
        if n_planes:
            scale, total, w = max(largest / np.float32(SMALL_LIMIT), SMALLEST_SCALE), np.int64(0), d // n_planes
            for field in range(n_planes):
                for j in range(w):
                    small = np.int8(np.rint(rotated[i, field * w + j] / scale))
                    planes[i, field, j] = small
                    total += small
        query.code_scales[i] = scale * np.float32(table_step)
        query.code_offsets[i] = np.float32(zero_point) * np.float32(total)


class Rows(NamedTuple):
    """Vectors of small integers, by address.

    Attributes:
        vectors: of the integers, int8.
        scales: of their scales, float32.
        width: dimensions, bytes of a row.
        reach: the last row that a tile may begin at.
    """

    vectors: int
    scales: int
    width: int
    reach: int


@part
def _rows_of(vectors: ScaledVectors) -> Rows:
    n_rows, width = vectors.vectors.shape
    to = reach(n_rows, width, WIDTH // 2)
    return Rows(address_of(vectors.vectors), address_of(vectors.scales), width, to)


@inlined
def _plain_scores(rows: Rows, first: int, last: int, query: int, scale: np.float32, values: int) -> None:
    """Similarities of a query token with some consecutive vectors, row by row.

    Args:
        rows: the vectors.
        first: the first of them.
        last: the one after the last.
        query: address of the query token's 16-bit integers.
        scale: of these.
        values: address that receives the similarities.
    """
    for row in range(first, last):
        total = np.int32(0)
        for j in range(rows.width):
            product = np.int32(small_at(rows.vectors + row * rows.width, j)) * np.int32(short_at(query, j))
            total = np.int32(total + product)
        put(values, row - first, np.float32(np.float32(total) * (float_at(rows.scales, row) * scale)))


@inlined
def _tiled_scores(rows: Rows, first: int, last: int, query: int, scale: np.float32, values: int) -> None:
    """As :func:`_plain_scores`, in tiles."""
    scales, row = splat(scale), first
    while row < last:
        begin = min(row, last - LANES)
        if begin < first or begin > rows.reach:
            _plain_scores(rows, row, last, query, scale, values + 4 * (row - first))
            return
        sums = to_floats(sums_of_bytes(rows.vectors + begin * rows.width, rows.width, query, 1))
        store(values + 4 * (begin - first), times(sums, times(load(rows.scales + 4 * begin), scales)))
        row = begin + LANES


vector_scores = _tiled_scores if LANES else _plain_scores


class LookedAt(NamedTuple):
    """The centroids that query tokens were compared with, K of all tokens together.

    Attributes:
        numbers: (K,) the centroids, those of a query token by number.
        scores: (K,) float32, similarities.
        promises: (K,) float32, similarities and so many spreads beyond them.
        starts: (n + 1,) where each query token's begin and end.
    """

    numbers: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    promises: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]


@part
def look_at_groups(centroids: Centroids, query: QuantisedQuery, groups_probed: int) -> LookedAt:
    """Compare each query token with the centroids of its ``groups_probed`` most alike groups; 1 to G."""
    offsets, n, n_groups = centroids.group_offsets, len(query.scales), len(centroids.group_offsets) - 1
    most = 0
    for group in range(n_groups):
        most = max(most, offsets[group + 1] - offsets[group])
    most = n * min(len(centroids.sizes), groups_probed * most) + LANES
    numbers, scores, promises = (
        np.empty(most, dtype=np.int32),
        np.empty(most, dtype=np.float32),
        np.empty(most, dtype=np.float32),
    )
    starts, group_scores = np.zeros(n + 1, dtype=np.int64), np.empty(n_groups, dtype=np.float32)
    tokens, stride, scales = address_of(query.tokens), 2 * query.tokens.shape[1], query.scales
    of_groups, of_centroids, target = _rows_of(centroids.groups), _rows_of(centroids.centroids), address_of(scores)
    seen, radii = 0, centroids.radii
    for i in range(n):
        vector_scores(of_groups, 0, n_groups, tokens + i * stride, scales[i], address_of(group_scores))
        border, above = border_of(group_scores, 0, n_groups, groups_probed), 0
        for group in range(n_groups):
            above += group_scores[group] > border
        equals = groups_probed - above  # of the border: those with lower numbers
        for group in range(n_groups):
            if group_scores[group] > border or (group_scores[group] == border and equals > 0):
                equals -= group_scores[group] == border
                first, last = offsets[group], offsets[group + 1]
                vector_scores(of_centroids, first, last, tokens + i * stride, scales[i], target + 4 * seen)
                at, spread, count = np.uint64(seen), SPREADS_AHEAD * query.norms[i], np.uint64(last - first)
                for j in range(count):  # counted without a sign: Numba looks whether others are negative
                    numbers[at + j] = np.uint64(first) + j
                    promises[at + j] = scores[at + j] + spread * radii[np.uint64(first) + j]
                seen += last - first
        starts[i + 1] = seen
    return LookedAt(numbers, scores, promises, starts)


@kernel
def nearest_clusters(
    centroids: Centroids, query: QuantisedQuery, groups_probed: int, nprobe: int, chosen: ChosenClusters
) -> None:
    """The clusters whose centroids are most alike to each query token, in order of number.

    Only centroids of the ``groups_probed`` most alike groups are looked at; of equals the lower number is taken.

    Args:
        centroids: what is chosen from.
        query: n query tokens.
        groups_probed: at least 1, at most G.
        nprobe: how many clusters each query token gets, as far as that many were looked at.
        chosen: receives the clusters, and has room for nprobe of each query token.
    """
    looked_at, clusters, scores, starts = (
        look_at_groups(centroids, query, groups_probed),
        chosen.clusters,
        chosen.scores,
        chosen.starts,
    )
    starts[0] = taken = 0
    for i in range(len(query.scales)):
        first, last = looked_at.starts[i], looked_at.starts[i + 1]
        wanted = min(nprobe, last - first)
        if wanted:
            border, above = border_of(looked_at.scores, first, last, wanted), 0
            for at in range(first, last):
                above += looked_at.scores[at] > border
            room = wanted - above
            for at in range(first, last):
                score = looked_at.scores[at]
                if score >= border and (score > border or room > 0):
                    room -= score == border
                    clusters[taken], scores[taken] = looked_at.numbers[at], score
                    taken += 1
        starts[i + 1] = taken


@kernel
def promising_clusters(
    centroids: Centroids, query: QuantisedQuery, groups_probed: int, k: int, budget: float
) -> ChosenClusters:
    """The clusters that promise most tokens among the k best of the query tokens, up to a budget of tokens to look at.

    A cluster promises tokens up to its centroid's score and :data:`SPREADS_AHEAD` times its radius (times the query
    token's length) beyond. For each query token that promise is t_i at which clusters hold k tokens together, best
    first. Clusters are opened in order of promise minus t_i, those of all query tokens in one order, until the budget is
    reached; every query token gets :data:`FAIR_SHARE` of an even share of it, and a cluster, at least. Tokens are
    counted in :data:`STEPS` steps of promise, so that about the budget is reached.

    Args:
        centroids: what is chosen from.
        query: n query tokens.
        groups_probed: of so many most alike groups centroids are looked at, 1 to G.
        k: k'.
        budget: how many tokens are to be looked at, about, for all query tokens together; infinite: all.
    """
    looked_at, n = look_at_groups(centroids, query, groups_probed), len(query.scales)
    promises, starts_of, most = looked_at.promises, looked_at.starts, 0
    counts = Counts(
        np.zeros((n, STEPS), dtype=np.float32),
        np.zeros((n, STEPS + 1), dtype=np.float64),
        np.empty((n, 2), dtype=np.float32),
    )
    anchors, fair = np.empty(n, dtype=np.float32), np.empty(n, dtype=np.float32)
    for i in range(n):
        most = max(most, starts_of[i + 1] - starts_of[i])
        highest = _count(centroids.sizes, looked_at, i, counts)
        anchors[i] = border_with(counts, i, np.float64(k))
        fair[i] = min(border_with(counts, i, FAIR_SHARE * budget / n), highest)
    shift = _shift(counts, anchors, fair, budget)
    clusters, scores = np.empty(len(promises), dtype=np.int32), np.empty(len(promises), dtype=np.float32)
    every, starts = np.arange(most).astype(np.int32), np.zeros(n + 1, dtype=np.int64)
    places, kept = np.empty(most + ROOM, dtype=np.int32), np.empty(most + ROOM, dtype=np.float32)
    taken = 0
    for i in range(n):
        first, border = starts_of[i], min(anchors[i] + shift, fair[i])
        count = keep(promises, first, every[: starts_of[i + 1] - first], border, places, kept, np.uint64(0))
        low, factor = counts.ranges[i, 0], _steps_a_unit(counts, i)
        for j in range(count):
            at = np.uint64(first + places[j])
            cluster = looked_at.numbers[at]
            clusters[taken], scores[taken] = cluster, looked_at.scores[at]
            counts.steps[i, _step(promises[at], low, factor)] -= centroids.sizes[cluster]
            taken += 1
        starts[i + 1] = taken
    return ChosenClusters(clusters[:taken].copy(), scores[:taken].copy(), starts, counts.steps, counts.ranges)


class Counts(NamedTuple):
    """How many tokens clusters hold by what they promise to each query token.

    Attributes:
        steps: (n, B) float32, tokens in each of B equal steps of promise.
        above: (n, B + 1) tokens in each step and all above it.
        ranges: (n, 2) float32, from where to where the steps go.
    """

    steps: npt.NDArray[np.float32]
    above: npt.NDArray[np.float64]
    ranges: npt.NDArray[np.float32]


@part
def _count(sizes: npt.NDArray[np.int32], looked_at: LookedAt, i: int, counts: Counts) -> np.float32:
    """Fill row i of the counts; return the highest promise of a cluster that holds tokens."""
    numbers, promises, first, last = looked_at.numbers, looked_at.promises, looked_at.starts[i], looked_at.starts[i + 1]
    steps, above, highest = counts.steps[i], counts.above[i], np.float32(-np.inf)
    low, high = extremes(promises, first, last)
    counts.ranges[i, 0], counts.ranges[i, 1] = low, max(high, low + max(abs(low), np.float32(1)) * np.float32(1e-6))
    factor = _steps_a_unit(counts, i)
    for j in range(np.uint64(first), np.uint64(last)):
        size, promise = sizes[np.uint64(numbers[j])], promises[j]
        steps[_step(promise, low, factor)] += size
        highest = promise if size > 0 and promise > highest else highest
    for step in range(STEPS - 1, -1, -1):
        above[step] = above[step + 1] + steps[step]
    return highest


@inlined
def _steps_a_unit(counts: Counts, i: int) -> np.float32:
    return np.float32(STEPS) / (counts.ranges[i, 1] - counts.ranges[i, 0])


@inlined
def _step(promise: np.float32, low: np.float32, factor: np.float32) -> np.uint64:
    return np.uint64(min(np.int32((promise - low) * factor), np.int32(STEPS - 1)))


@part
def border_with(counts: Counts, i: int, tokens: float) -> np.float32:
    """The promise above which so many tokens are, as if they were spread evenly in each step; the lowest if all are fewer."""
    above, low, high = counts.above[i], counts.ranges[i, 0], counts.ranges[i, 1]
    for step in range(STEPS - 1, -1, -1):
        if above[step] >= tokens:
            share = (above[step] - tokens) / max(above[step] - above[step + 1], 1.0)
            return np.float32(low + (high - low) * (step + share) / STEPS)
    return low


@part
def _tokens_from(counts: Counts, i: int, border: np.float32) -> float:
    """How many tokens are above a promise: what :func:`border_with` answers the other way round."""
    above, low, high = counts.above[i], counts.ranges[i, 0], counts.ranges[i, 1]
    place = (border - low) * STEPS / (high - low)
    if place <= 0:
        return above[0]
    if place >= STEPS:
        return 0.0
    step = int(place)
    return above[step] + (above[step + 1] - above[step]) * (place - step)


@part
def _shift(
    counts: Counts, anchors: npt.NDArray[np.float32], fair: npt.NDArray[np.float32], budget: float
) -> np.float32:
    """How far from t_i clusters are opened, so that the budget is met: found by halving."""
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for i in range(len(anchors)):
        low, high = min(low, counts.ranges[i, 0] - anchors[i]), max(high, counts.ranges[i, 1] - anchors[i])
    for _ in range(HALVINGS):
        middle, tokens = (low + high) / np.float32(2), 0.0
        for i in range(len(anchors)):
            tokens += _tokens_from(counts, i, min(anchors[i] + middle, fair[i]))
        if tokens > budget:
            low = middle
        else:
            high = middle
    return high if budget < np.inf else np.float32(-np.inf)
