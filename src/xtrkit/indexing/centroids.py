"""Centroids: clustering of token vectors, and the assignment of every token to its centroid.

Both go by two levels. G groups of about as many centroids each are found first; a vector is compared with the G
group vectors and then only with the centroids of the nearest ``GROUPS_PROBED`` groups, a tenth of the work of comparing
it with all. Search finds its centroids in the same way.

Clusters are found by direction (spherical k-means: the centroid most alike by cosine), but a cluster's centroid is the
plain mean of its members, shorter than 1: it leaves the smallest residuals, and q · mean is the mean similarity of q
with the members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.codec import renormalised
from xtrkit.indexing.workers import Workers
from xtrkit.kernels.encoding import add_by_cluster, keep_better, members_of_groups
from xtrkit.progress import Advance
from xtrkit.values import offsets_of

Floats = npt.NDArray[np.float32]

GROUPS_PROBED = 12
"""Groups whose centroids a token is compared with when it is assigned, at most."""

MARGIN = 0.2
"""How much less alike to a token than the nearest group those groups may be. On SciFact five of twelve are looked at on
average, and the centroids found are as near as those of eight groups without a margin."""

SAMPLE_PER_CENTROID = 32
"""Token vectors that k-means sees for each centroid."""

ROUNDS = 3
"""Rounds of k-means over all centroids together, after the rounds inside the groups."""

BLOCK = 1 << 15

ALONE = Workers(1)
"""The calling thread."""


def centroid_count(n_tokens: int) -> int:
    """ColBERTv2's rule, 2^⌊log2(16 √M)⌋, but never more centroids than a quarter of the tokens (and at least 1)."""
    if n_tokens < 4:
        return 1
    rule = 2 ** int(np.log2(16 * np.sqrt(n_tokens)))
    return int(min(rule, 2 ** int(np.log2(n_tokens / 4))))


@dataclass(frozen=True, eq=False)
class CentroidTree:
    """Centroids in two levels.

    Attributes:
        groups: (G, d) directions of the groups.
        offsets: (G + 1,) which centroids belong to each group.
        centroids: (C, d) directions of the centroids, group after group.
    """

    groups: Floats
    offsets: npt.NDArray[np.int64]
    centroids: Floats

    def assign(self, rows: Floats, groups_probed: int = GROUPS_PROBED, margin: float = MARGIN) -> npt.NDArray[np.int32]:
        """The centroid most alike to each of (B, d) rows, among those of the row's nearest groups: (B,).

        Args:
            rows: vectors of any length.
            groups_probed: how many groups at most.
            margin: how much less alike than the nearest group they may be, as a cosine.
        """
        assigned = np.zeros(len(rows), dtype=np.int32)
        for first in range(0, len(rows), BLOCK):
            block = slice(first, first + BLOCK)
            self._assign_block(rows[block], min(groups_probed, len(self.groups)), margin, assigned[block])
        return assigned

    def _assign_block(self, rows: Floats, most: int, margin: float, assigned: npt.NDArray[np.int32]) -> None:
        """Rows are gathered by group, so that each group's centroids meet their rows in one matrix product."""
        members = np.empty(len(rows) * most, dtype=np.int64)
        bounds = np.empty(len(self.groups) + 1, dtype=np.int64)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        members_of_groups(rows @ self.groups.T, most, np.float32(margin) * lengths, members, bounds)
        best = np.full(len(rows), -np.inf, dtype=np.float32)
        for group, (first, last) in enumerate(pairwise(bounds.tolist())):
            begin, end = self.offsets[group], self.offsets[group + 1]
            if first < last and begin < end:
                chosen = members[first:last]
                products = rows.take(chosen, axis=0) @ self.centroids[begin:end].T
                keep_better(products, products.argmax(axis=1), chosen, begin, best, assigned)


Assign = Callable[[CentroidTree, Floats], npt.NDArray[np.int32]]
"""(B, d) rows -> (B,) the centroid most alike to each: :meth:`CentroidTree.assign`, or the same on a device."""


def train(
    sample: Floats,
    n_centroids: int,
    seed: int,
    advance: Advance = lambda amount: None,
    assign: Assign = CentroidTree.assign,
    workers: Workers = ALONE,
) -> CentroidTree:
    """Spherical k-means in two levels, then ``ROUNDS`` rounds over all centroids together.

    Args:
        sample: (S, d) token vectors, of any length; they are scaled to length 1 where they are.
        n_centroids: C; fewer come back where there are fewer different vectors, or clusters that stay empty.
        seed: the same sample and seed give the same centroids.
        advance: told how much was done, of ``(1 + ROUNDS) * S``.
        assign: how rows find their centroids in the rounds over all of them.
        workers: who does it.
    """
    random = np.random.default_rng(seed)
    rows = _normalise(sample)
    groups = _kmeans(rows, _group_count(n_centroids), 8, random, workers)
    group_of = _nearest(rows, groups, workers)
    # All that is left to chance is drawn in order, before others go to work.
    parts = ((members, _drawn(len(members), share, random)) for members, share in _shares(group_of, n_centroids))
    found = []
    for directions, n_members in workers.map(lambda part: (_part(rows, *part), len(part[0])), parts):
        found.append(directions)
        advance(n_members)
    tree = grouped(np.concatenate(found), seed)
    for _ in range(ROUNDS):
        tree = grouped(_refined(rows, tree, assign, workers, advance), seed)
    return tree


def _normalise(rows: Floats) -> Floats:
    for first in range(0, len(rows), BLOCK):
        rows[first : first + BLOCK] = renormalised(rows[first : first + BLOCK])
    return rows


def _refined(rows: Floats, tree: CentroidTree, assign: Assign, workers: Workers, advance: Advance) -> Floats:
    """Directions of the clusters' means after another round."""
    assigned = np.empty(len(rows), dtype=np.int32)
    blocks = [slice(first, first + BLOCK) for first in range(0, len(rows), BLOCK)]
    for block, found in zip(blocks, workers.map(lambda block: assign(tree, rows[block]), blocks), strict=True):
        assigned[block] = found
        advance(len(found))
    return _directions(rows, assigned, tree.centroids)


def grouped(centroids: Floats, seed: int) -> CentroidTree:
    """Put (C, d) centroids into about √C groups of their likes."""
    return grouped_in_order(centroids, seed)[0]


def grouped_in_order(centroids: Floats, seed: int) -> tuple[CentroidTree, npt.NDArray[np.int64]]:
    """:func:`grouped`, and (C,) the number that each centroid of the tree had before."""
    groups = _kmeans(centroids, _group_count(len(centroids)), 6, np.random.default_rng(seed))
    group_of = _nearest(centroids, groups)
    order = np.argsort(group_of, kind="stable")
    sizes = np.bincount(group_of, minlength=len(groups))
    return CentroidTree(groups, offsets_of(sizes), np.ascontiguousarray(centroids[order])), order


def _group_count(n_centroids: int) -> int:
    return int(2 ** np.ceil(np.log2(max(n_centroids, 1)) / 2))


def _shares(part_of: npt.NDArray[np.integer], budget: int) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """The members of each part and how many of ``budget`` centroids it gets: as its size, one at least."""
    by_part = np.argsort(part_of, kind="stable")
    bounds = offsets_of(np.bincount(part_of))
    for first, last in pairwise(bounds.tolist()):
        if first < last:
            yield by_part[first:last], max(1, int((last - first) * (budget / max(1, len(part_of)))))


class _Drawn(NamedTuple):
    """What k-means begins with: which rows it looks at, and which of these it begins with as centroids."""

    rows: slice | npt.NDArray[np.int64]
    centroids: npt.NDArray[np.int64]


def _drawn(n_rows: int, k: int, random: np.random.Generator) -> _Drawn:
    rows: slice | npt.NDArray[np.int64] = slice(None)
    if n_rows > 256 * k:
        rows, n_rows = random.choice(n_rows, 256 * k, replace=False), 256 * k
    return _Drawn(rows, random.choice(n_rows, min(k, n_rows), replace=False))


def _part(rows: Floats, members: npt.NDArray[np.int64], drawn: _Drawn) -> Floats:
    """The centroids of a part of the rows."""
    return _lloyd(rows[members], drawn, 4, ALONE)


def _kmeans(rows: Floats, k: int, rounds: int, random: np.random.Generator, workers: Workers = ALONE) -> Floats:
    """Spherical k-means by brute force, for few centroids: (k or fewer, d) directions."""
    return _lloyd(rows, _drawn(len(rows), k, random), rounds, workers)


def _lloyd(rows: Floats, drawn: _Drawn, rounds: int, workers: Workers) -> Floats:
    if len(drawn.centroids) == 1:
        return renormalised(rows.mean(axis=0, keepdims=True))
    rows = rows[drawn.rows]
    centroids = rows[drawn.centroids]
    for _ in range(rounds):
        centroids = _directions(rows, _nearest(rows, centroids, workers), centroids)
    return centroids


def _nearest(rows: Floats, centroids: Floats, workers: Workers = ALONE) -> npt.NDArray[np.int32]:
    nearest = np.empty(len(rows), dtype=np.int32)
    blocks = [slice(first, first + BLOCK) for first in range(0, len(rows), BLOCK)]
    found = workers.map(lambda block: (rows[block] @ centroids.T).argmax(axis=1), blocks)
    for block, numbers in zip(blocks, found, strict=True):
        nearest[block] = numbers
    return nearest


def _directions(rows: Floats, assigned: npt.NDArray[np.int32], before: Floats) -> Floats:
    """Directions of the clusters' means; a cluster without members keeps the direction that it had."""
    sums = np.zeros(before.shape, dtype=np.float64)
    add_by_cluster(rows, assigned, sums)
    empty = np.bincount(assigned, minlength=len(before)) == 0
    sums[empty] = before[empty]
    return renormalised(sums.astype(np.float32))
