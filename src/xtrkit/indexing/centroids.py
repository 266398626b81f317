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

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.codec import renormalised
from xtrkit.progress import Advance
from xtrkit.values import offsets_of

Floats = npt.NDArray[np.float32]

GROUPS_PROBED = 8
"""Groups whose centroids a token is compared with when it is assigned."""

SAMPLE_PER_CENTROID = 32
"""Token vectors that k-means sees for each centroid."""

ROUNDS = 3
"""Rounds of k-means over all centroids together, after the rounds inside the groups."""

BLOCK = 1 << 15


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

    def assign(self, rows: Floats, groups_probed: int = GROUPS_PROBED) -> npt.NDArray[np.int32]:
        """The centroid most alike to each of (B, d) rows, among those of the row's nearest groups: (B,)."""
        assigned = np.zeros(len(rows), dtype=np.int32)
        for first in range(0, len(rows), BLOCK):
            assigned[first : first + BLOCK] = self._assign_block(rows[first : first + BLOCK], groups_probed)
        return assigned

    def _assign_block(self, rows: Floats, groups_probed: int) -> npt.NDArray[np.int32]:
        """Rows are gathered by group, so that each group's centroids meet their rows in one matrix product."""
        n_probed = min(groups_probed, len(self.groups))
        similar = rows @ self.groups.T
        probed = np.argpartition(-similar, n_probed - 1, axis=1)[:, :n_probed]
        by_group = np.argsort(probed.ravel(), kind="stable")
        bounds = np.searchsorted(probed.ravel()[by_group], np.arange(len(self.groups) + 1))
        best = np.full(len(rows), -np.inf, dtype=np.float32)
        assigned = np.zeros(len(rows), dtype=np.int32)
        for group in range(len(self.groups)):
            members = by_group[bounds[group] : bounds[group + 1]] // n_probed
            centroids = self.centroids[self.offsets[group] : self.offsets[group + 1]]
            if not len(members) or not len(centroids):
                continue
            products = rows[members] @ centroids.T
            nearest = products.argmax(axis=1)
            highest = products[np.arange(len(members)), nearest]
            better = highest > best[members]
            best[members[better]] = highest[better]
            assigned[members[better]] = nearest[better] + self.offsets[group]
        return assigned


Assign = Callable[[CentroidTree, Floats], npt.NDArray[np.int32]]
"""(B, d) rows -> (B,) the centroid most alike to each: :meth:`CentroidTree.assign`, or the same on a device."""


def train(
    sample: Floats,
    n_centroids: int,
    seed: int,
    advance: Advance = lambda amount: None,
    assign: Assign = CentroidTree.assign,
) -> CentroidTree:
    """Spherical k-means in two levels, then ``ROUNDS`` rounds over all centroids together.

    Args:
        sample: (S, d) token vectors, of any length.
        n_centroids: C; fewer come back where there are fewer different vectors, or clusters that stay empty.
        seed: the same sample and seed give the same centroids.
        advance: told how much was done, of ``(1 + ROUNDS) * S``.
        assign: how rows find their centroids in the rounds over all of them.
    """
    random = np.random.default_rng(seed)
    rows = renormalised(sample)
    groups = _kmeans(rows, _group_count(n_centroids), 8, random)
    group_of = _nearest(rows, groups)
    parts = []
    for members, share in _shares(group_of, len(groups), n_centroids):
        parts.append(_kmeans(rows[members], share, 4, random))
        advance(len(members))
    return _refined(rows, grouped(np.concatenate(parts), seed), ROUNDS, seed, advance, assign)


def _refined(
    rows: Floats, tree: CentroidTree, rounds: int, seed: int, advance: Advance, assign: Assign
) -> CentroidTree:
    for _ in range(rounds):
        tree = grouped(_directions(rows, assign(tree, rows), tree.centroids), seed)
        advance(len(rows))
    return tree


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


def _shares(part_of: npt.NDArray[np.integer], n_parts: int, budget: int) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """The members of each part and how many of ``budget`` centroids it gets: as its size, one at least."""
    by_part = np.argsort(part_of, kind="stable")
    bounds = np.searchsorted(part_of[by_part], np.arange(n_parts + 1))
    sizes = np.diff(bounds)
    shares = np.maximum(1, np.floor(sizes * (budget / max(1, sizes.sum())))).astype(int)
    for part in np.flatnonzero(sizes):
        yield by_part[bounds[part] : bounds[part + 1]], int(shares[part])


def _kmeans(rows: Floats, k: int, rounds: int, random: np.random.Generator) -> Floats:
    """Spherical k-means by brute force, for few centroids: (k or fewer, d) directions."""
    if k == 1:
        return renormalised(rows.mean(axis=0, keepdims=True))
    rows = rows if len(rows) <= 256 * k else rows[random.choice(len(rows), 256 * k, replace=False)]
    k = min(k, len(rows))
    centroids = rows[random.choice(len(rows), k, replace=False)]
    for _ in range(rounds):
        centroids = _directions(rows, _nearest(rows, centroids), centroids)
    return centroids


def _nearest(rows: Floats, centroids: Floats) -> npt.NDArray[np.int64]:
    nearest = np.empty(len(rows), dtype=np.int64)
    for first in range(0, len(rows), BLOCK):
        nearest[first : first + BLOCK] = (rows[first : first + BLOCK] @ centroids.T).argmax(axis=1)
    return nearest


def _directions(rows: Floats, assigned: npt.NDArray[np.integer], before: Floats) -> Floats:
    """Directions of the clusters' means; a cluster without members keeps the direction that it had."""
    sums = sums_by_cluster(rows, assigned, len(before))
    empty = np.bincount(assigned, minlength=len(before)) == 0
    sums[empty] = before[empty]
    return renormalised(sums)


def sums_by_cluster(rows: Floats, assigned: npt.NDArray[np.integer], n_clusters: int) -> Floats:
    """(C, d) sums of the rows of each cluster."""
    order = np.argsort(assigned, kind="stable")
    clusters, firsts = np.unique(assigned[order], return_index=True)
    sums = np.zeros((n_clusters, rows.shape[1]), dtype=np.float32)
    if len(rows):
        sums[clusters] = np.add.reduceat(rows[order], firsts, axis=0)
    return sums
