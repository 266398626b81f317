"""Which token vectors of a text are so alike that one vector may stand for them: Ward's clustering."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.jit import kernel, part


@kernel
def group_alike(units: npt.NDArray[np.float32], n_groups: int, groups: npt.NDArray[np.int32]) -> None:
    """Put vectors together, two groups at a time, until there are no more groups than wanted.

    Of all pairs of groups the one is joined whose joining adds least to Σ ‖x − mean of x's group‖² (Ward). What that
    would be is kept for every pair, and brought up to date by the formula of Lance and Williams. Of equals the first
    are joined, and products are added up in order of dimension: the same vectors make the same groups, to the last.

    Args:
        units: (m, d) vectors of length 1.
        n_groups: how many groups are wanted, 1 to m.
        groups: (m,) receives the group of each, counted by their first members.
    """
    m = len(units)
    costs = _distances(units)
    nearest, least = np.empty(m, dtype=np.int64), np.empty(m, dtype=np.float32)
    sizes, leaders = np.ones(m, dtype=np.int64), np.arange(m)
    for i in range(m):
        _find_nearest(costs, sizes, i, nearest, least)
    for _ in range(m - n_groups):
        first = -1
        for i in range(m):
            if sizes[i] and (first < 0 or least[i] < least[first]):
                first = i
        second = nearest[first]  # behind it: of a pair of equals the first was taken
        _join(costs, sizes, first, second)
        leaders[leaders == second] = first
        for i in range(m):
            if sizes[i] and (i == first or nearest[i] == first or nearest[i] == second):
                _find_nearest(costs, sizes, i, nearest, least)
    numbers, count = np.empty(m, dtype=np.int32), 0
    for i in range(m):
        if leaders[i] == i:
            numbers[i], count = count, count + 1
        groups[i] = numbers[leaders[i]]


@part
def _distances(units: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(m, m) 1 − cosine of every pair, which is half their squared distance."""
    m, d = units.shape
    turned, costs = np.ascontiguousarray(units.T), np.ones((m, m), dtype=np.float32)
    for i in range(m):
        row = costs[i]
        for k in range(d):
            value, column = units[i, k], turned[k]
            for j in range(i + 1, m):
                row[j] -= value * column[j]
        for j in range(i):
            row[j] = costs[j, i]
    return costs


@part
def _find_nearest(
    costs: npt.NDArray[np.float32],
    sizes: npt.NDArray[np.int64],
    i: int,
    nearest: npt.NDArray[np.int64],
    least: npt.NDArray[np.float32],
) -> None:
    """With which other group a group is joined at the least cost."""
    row, best = costs[i], -1
    for j in range(len(row)):
        if j != i and sizes[j] and (best < 0 or row[j] < row[best]):
            best = j
    nearest[i] = best
    least[i] = row[best] if best >= 0 else np.float32(np.inf)


@part
def _join(costs: npt.NDArray[np.float32], sizes: npt.NDArray[np.int64], first: int, second: int) -> None:
    """Let the first of two groups be both of them, and the second be none."""
    a, b, between = sizes[first], sizes[second], costs[first, second]
    sizes[first], sizes[second] = a + b, 0
    for other in range(len(costs)):
        c = sizes[other]
        if c and other != first:
            cost = ((a + c) * costs[first, other] + (b + c) * costs[second, other] - c * between) / (a + b + c)
            costs[first, other] = costs[other, first] = cost
