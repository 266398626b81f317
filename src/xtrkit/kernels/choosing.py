"""Kernels that choose which clusters a query looks into.

Both look at the centroids of the groups that are most alike to a query token. :func:`promising_clusters` spends the
effort of a whole query where most is to be found; :func:`nearest_clusters` takes as many of the nearest for each query
token, as the papers do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
from xtrkit.kernels.selection import border_of, extremes, keep
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

SMALLEST_SCALE = np.float32(1e-30)

SPREADS_AHEAD = np.float32(2.5)
"""How many spreads above its centroid a cluster promises tokens: fitted on SciFact, as good on two others."""
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


@part
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


@part
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
    """The centroids that query tokens were compared with, K of all tokens together; arrays may be longer.

    Attributes:
        numbers: (K,) the centroids.
        scores: (K,) float32, similarities.
        promises: (K,) float32, similarities and :data:`SPREADS_AHEAD` radii times the query token's length.
        starts: (n + 1,) where each query token's begin and end.
        group_scores: (G,) scratch.
    """

    numbers: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    promises: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]
    group_scores: npt.NDArray[np.float32]


@kernel
def look_at_groups(centroids: Centroids, query: QuantisedQuery, groups_probed: int, looked_at: LookedAt) -> None:
    """Compare each query token with the centroids of the groups that are most alike to it.

    Args:
        centroids: what is chosen from.
        query: n query tokens.
        groups_probed: how many groups, 1 to G; of equals that of the lower number.
        looked_at: receives the centroids, those of a query token by number.
    """
    offsets, group_scores, radii = centroids.group_offsets, looked_at.group_scores, centroids.radii
    numbers, scores, promises = looked_at.numbers, looked_at.scores, looked_at.promises
    tokens, stride, scales = address_of(query.tokens), 2 * query.tokens.shape[1], query.scales
    of_groups, of_centroids, target = _rows_of(centroids.groups), _rows_of(centroids.centroids), address_of(scores)
    seen = none = offsets[0]  # 0; a constant would have functions compiled twice
    for i in range(len(scales)):
        of_token = tokens + i * stride
        vector_scores(of_groups, none, len(group_scores), of_token, scales[i], address_of(group_scores))
        border, spread = border_of(group_scores, none, len(group_scores), groups_probed), SPREADS_AHEAD * query.norms[i]
        room = groups_probed
        for group in range(len(group_scores)):
            room -= group_scores[group] > border
        for group in range(len(group_scores)):  # room is now that for equals
            score = group_scores[group]
            if score >= border and (score > border or room > 0):
                room -= score == border
                first, last = offsets[group], offsets[group + 1]
                vector_scores(of_centroids, first, last, of_token, scales[i], target + 4 * seen)
                at, centroid = np.uint64(seen), np.uint64(first)
                for j in range(np.uint64(last - first)):  # without a sign: Numba looks whether others are negative
                    numbers[at + j] = centroid + j
                    promises[at + j] = scores[at + j] + spread * radii[centroid + j]
                seen += last - first
        looked_at.starts[i + 1] = seen


@kernel
def nearest_clusters(looked_at: LookedAt, nprobe: int, chosen: ChosenClusters) -> Any:
    """The clusters whose centroids are most alike to each query token; of equals that of the lower number.

    Args:
        looked_at: what is chosen from, for n query tokens.
        nprobe: how many clusters each query token gets, as far as that many were looked at.
        chosen: receives the clusters, and has room for nprobe of each query token.

    Returns:
        how many clusters all query tokens got.
    """
    numbers, of_centroids, clusters, scores = looked_at.numbers, looked_at.scores, chosen.clusters, chosen.scores
    taken = looked_at.starts[0]
    for i in range(len(chosen.starts) - 1):
        first, last = looked_at.starts[i], looked_at.starts[i + 1]
        room = min(nprobe, last - first)
        if room:
            border = border_of(of_centroids, first, last, room)
            for at in range(first, last):
                room -= of_centroids[at] > border
            for at in range(first, last):  # room is now that for equals
                score = of_centroids[at]
                if score >= border and (score > border or room > 0):
                    room -= score == border
                    clusters[taken], scores[taken] = numbers[at], score
                    taken += 1
        chosen.starts[i + 1] = taken
    return taken


class Promised(NamedTuple):
    """How many tokens clusters hold by what they promise to each query token; arrays for :func:`promising_clusters`.

    Attributes:
        above: (n, B + 1) tokens in each of B equal steps of promise and all above it; zeros before.
        borders: (2, n) float32: t_i, and the border that a fair share of the effort gives; scratch.
        places: (K + :data:`~xtrkit.kernels.selection.ROOM`,) int32, scratch.
        values: as many float32, scratch.
        every: (K,) int32, 0 to K − 1.
    """

    above: npt.NDArray[np.float64]
    borders: npt.NDArray[np.float32]
    places: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    every: npt.NDArray[np.int32]


@kernel
def promising_clusters(
    looked_at: LookedAt,
    sizes: npt.NDArray[np.int32],
    k: int,
    budget: float,
    promised: Promised,
    chosen: ChosenClusters,
) -> Any:
    """The clusters that promise most tokens among the k best of the query tokens, up to a budget of tokens to look at.

    A cluster promises tokens up to its centroid's score and :data:`SPREADS_AHEAD` times its radius (times the query
    token's length) beyond. For each query token that promise is t_i at which clusters hold k tokens together, best
    first. Clusters are opened in order of promise minus t_i, those of all query tokens in one order, until the budget
    is reached; every query token gets :data:`FAIR_SHARE` of an even share of it, and a cluster, at least. Tokens are
    counted in :data:`STEPS` steps of promise, so that about the budget is reached.

    Args:
        looked_at: what is chosen from, for n query tokens.
        sizes: (C,) tokens of each cluster.
        k: k'.
        budget: how many tokens are to be looked at, about, for all query tokens together; infinite: all.
        promised: scratch.
        chosen: receives the clusters, and has room for all that were looked at; ``closed_tokens`` are zeros before.

    Returns:
        how many clusters all query tokens got.
    """
    promises, starts, n = looked_at.promises, looked_at.starts, len(chosen.starts) - 1
    anchors, fair, taken = promised.borders[0], promised.borders[1], starts[0]
    share = np.float64(FAIR_SHARE) * budget / n
    for i in range(n):
        highest = _count(looked_at, sizes, i, promised, chosen)
        anchors[i] = border_with(promised, chosen, i, np.float64(k))
        fair[i] = min(border_with(promised, chosen, i, share), highest)
    shift, clusters, scores = _shift(promised, chosen, budget), chosen.clusters, chosen.scores
    for i in range(n):
        first, border, none = starts[i], min(anchors[i] + shift, fair[i]), np.uint64(0)
        every = promised.every[: starts[i + 1] - first]
        count = keep(promises, first, every, border, promised.places, promised.values, none)
        low, factor, closed = chosen.closed_range[i, 0], _steps_a_unit(chosen, i), chosen.closed_tokens[i]
        for j in range(count):
            at = np.uint64(first + promised.places[j])
            cluster = looked_at.numbers[at]
            clusters[taken], scores[taken] = cluster, looked_at.scores[at]
            closed[_step(promises[at], low, factor)] -= sizes[cluster]
            taken += 1
        chosen.starts[i + 1] = taken
    return taken


@part
def _count(
    looked_at: LookedAt, sizes: npt.NDArray[np.int32], i: int, promised: Promised, chosen: ChosenClusters
) -> Any:
    """Count the tokens that were promised to query token i; return the highest promise of a cluster that holds any."""
    numbers, promises, first, last = looked_at.numbers, looked_at.promises, looked_at.starts[i], looked_at.starts[i + 1]
    steps, above, highest = chosen.closed_tokens[i], promised.above[i], np.float32(-np.inf)
    if first == last:  # damaged: no group is alike to anything
        chosen.closed_range[i, 0], chosen.closed_range[i, 1] = np.float32(0), np.float32(1)
        return highest
    low, high = extremes(promises, first, last)
    chosen.closed_range[i, 0] = low
    chosen.closed_range[i, 1] = max(high, low + max(abs(low), np.float32(1)) * np.float32(1e-6))
    factor = _steps_a_unit(chosen, i)
    for j in range(np.uint64(first), np.uint64(last)):
        size, promise = sizes[np.uint64(numbers[j])], promises[j]
        steps[_step(promise, low, factor)] += size
        highest = promise if size > 0 and promise > highest else highest
    for step in range(STEPS - 1, -1, -1):
        above[step] = above[step + 1] + steps[step]
    return highest


@inlined
def _steps_a_unit(chosen: ChosenClusters, i: int) -> Any:
    return np.float32(STEPS) / (chosen.closed_range[i, 1] - chosen.closed_range[i, 0])


@inlined
def _step(promise: np.float32, low: np.float32, factor: np.float32) -> np.uint64:
    step = np.int32((promise - low) * factor)  # of a damaged file it may be no number: it stays inside all the same
    return np.uint64(min(max(step, np.int32(0)), np.int32(STEPS - 1)))


@part
def border_with(promised: Promised, chosen: ChosenClusters, i: int, tokens: float) -> Any:
    """The promise above which so many tokens are, spread evenly in each step; the lowest if all are fewer."""
    above, low, high = promised.above[i], chosen.closed_range[i, 0], chosen.closed_range[i, 1]
    for step in range(STEPS - 1, -1, -1):
        if above[step] >= tokens:
            share = (above[step] - tokens) / max(above[step] - above[step + 1], 1.0)
            return np.float32(low + (high - low) * (step + share) / STEPS)
    return low


@part
def _tokens_from(promised: Promised, chosen: ChosenClusters, i: int, border: np.float32) -> Any:
    """How many tokens are above a promise: what :func:`border_with` answers the other way round."""
    above, low, high = promised.above[i], chosen.closed_range[i, 0], chosen.closed_range[i, 1]
    place = (border - low) * STEPS / (high - low)
    if not place > 0:
        return above[0]
    if place >= STEPS:
        return 0.0
    step = int(place)
    return above[step] + (above[step + 1] - above[step]) * (place - step)


@part
def _shift(promised: Promised, chosen: ChosenClusters, budget: float) -> np.float32:
    """How far from t_i clusters are opened, so that the budget is met: found by halving."""
    anchors, fair = promised.borders[0], promised.borders[1]
    low, high, every = np.float32(np.inf), np.float32(-np.inf), 0.0
    for i in range(len(anchors)):
        low, high = min(low, chosen.closed_range[i, 0] - anchors[i]), max(high, chosen.closed_range[i, 1] - anchors[i])
        every += promised.above[i, 0]
    if every <= budget:  # halving would come near the lowest promise, and not reach it
        return np.float32(-np.inf)
    for _ in range(HALVINGS):
        middle, tokens = (low + high) * np.float32(0.5), 0.0
        for i in range(len(anchors)):
            tokens += _tokens_from(promised, chosen, i, min(anchors[i] + middle, fair[i]))
        if tokens > budget:
            low = middle
        else:
            high = middle
    return high
