"""Opened clusters on a device of torch's: similarities with their tokens, and what they tell of those not looked at.

Which clusters are opened is chosen as for kernels, on the CPU. Similarities are those of queries that were not rounded.
Each query is multiplied for itself, with every token in any of its clusters once, so that its similarities are the same
bits whatever queries are beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from xtrkit.kernels.bundles import Centroids, ChosenClusters, QuantisedQuery
from xtrkit.kernels.choosing import SPREADS_AHEAD, STEPS
from xtrkit.kernels.expectation import (
    BORDERS,
    FIXED_POINT,
    NORMAL,
    NORMAL_REACH,
    NORMAL_STEPS,
    PRIOR_RATIO,
    PRIOR_TOKENS,
    WIDE,
)
from xtrkit.search.device_tokens import DeviceTokens, on_device
from xtrkit.values import offsets_of

ROWS_AT_A_TIME = 1 << 20
"""Rows whose codes are unpacked at a time: 0.5 GB of float32 at 128 dimensions."""
SMALLEST_SPREAD = np.float32(1e-30)


class DeviceQuery(NamedTuple):
    """A query as a device and as kernels read it.

    Attributes:
        tokens: (n, d) float32, on the device; rotated.
        quantised: rounded.
    """

    tokens: torch.Tensor
    quantised: QuantisedQuery


class Look(NamedTuple):
    """What a query looks into.

    Attributes:
        query: the query, of n tokens.
        chosen: the clusters of each query token.
        clusters: (U,) those of any query token, by number.
        n_rows: how many living tokens are in these.
    """

    query: DeviceQuery
    chosen: ChosenClusters
    clusters: npt.NDArray[np.int64]
    n_rows: int

    @classmethod
    def into(cls, index: DeviceTokens, query: DeviceQuery, chosen: ChosenClusters) -> Look:
        """What a query looks into that chose some clusters."""
        opened = np.zeros(len(index.offsets) - 1, dtype=np.bool_)
        opened[chosen.clusters] = True
        return cls(query, chosen, np.flatnonzero(opened), int(np.diff(index.offsets)[opened].sum()))

    @property
    def n_cells(self) -> int:
        """How many similarities are computed: those of all query tokens with all tokens in the clusters of any."""
        return self.n_rows * len(self.query.tokens)


@dataclass(frozen=True, eq=False)
class Opened:
    """The opened clusters of the T tokens of some queries: as :class:`xtrkit.kernels.bundles.Probes`, on a device.

    Attributes:
        chosen: the clusters of all T query tokens.
        places: (P + 1,) where each cluster's similarities begin and end.
        tokens: (H,) which query token each similarity belongs to, ascending.
        scores: (H,) the similarities.
        rows: (H,) which row of the index each belongs to.
    """

    chosen: ChosenClusters
    places: npt.NDArray[np.int64]
    tokens: torch.Tensor
    scores: torch.Tensor
    rows: torch.Tensor

    @cached_property
    def ends(self) -> torch.Tensor:
        """(T + 1,) where each query token's similarities begin and end."""
        return on_device(self.places[self.chosen.starts], self.scores.device)


def open_clusters(index: DeviceTokens, looks: Sequence[Look]) -> Opened:
    """Score the tokens of the clusters that some queries look into."""
    chosen, device = together([look.chosen for look in looks]), index.device
    sizes_of, first_rows = np.diff(index.offsets), np.zeros(len(index.offsets) - 1, dtype=np.int64)
    cells, begin = torch.empty(sum(look.n_cells for look in looks), device=device), 0
    begins, strides = [], []
    for look in looks:
        tokens, n, rows = look.query.tokens, len(look.query.tokens), _rows_of(index, look.clusters)
        first_rows[look.clusters] = offsets_of(sizes_of[look.clusters])[:-1]
        of_token = np.repeat(np.arange(n), np.diff(look.chosen.starts))
        begins.append(begin + first_rows[look.chosen.clusters] * n + of_token)
        strides.append(np.full(len(of_token), n))
        for part in torch.split(rows, ROWS_AT_A_TIME):
            end = begin + n * len(part)
            cells[begin:end] = (index.vectors(part) @ tokens.T).flatten()
            begin = end
    sizes = sizes_of[chosen.clusters]
    places = offsets_of(sizes)
    within = _within(places, device)
    rows = within + _spread(index.offsets[chosen.clusters], sizes, device)
    at = within.mul_(_spread(np.concatenate(strides), sizes, device)).add_(
        _spread(np.concatenate(begins), sizes, device)
    )
    per_token = np.diff(places[chosen.starts])
    return Opened(chosen, places, _spread(np.arange(len(per_token)), per_token, device), cells[at], rows)


def together(chosen: Sequence[ChosenClusters]) -> ChosenClusters:
    """The clusters of some queries as if their tokens were one query's."""
    return ChosenClusters(
        np.concatenate([one.clusters for one in chosen]),
        np.concatenate([one.scores for one in chosen]),
        offsets_of(np.concatenate([np.diff(one.starts) for one in chosen])),
        np.concatenate([one.closed_tokens for one in chosen]),
        np.concatenate([one.closed_range for one in chosen]),
    )


def kth_seen(opened: Opened, k: int) -> torch.Tensor:
    """(T,) the k-th best of the similarities seen; the lowest where there are fewer, 0 where there are none."""
    counts, scores = opened.ends.diff(), opened.scores
    if not len(scores):
        return torch.zeros(len(counts), device=scores.device)
    descending = scores.sort(descending=True).indices
    by_token = descending[opened.tokens[descending].sort(stable=True).indices]
    kth = scores[by_token[(opened.ends[:-1] + counts.clamp(max=k) - 1).clamp(min=0)]]
    return torch.where(counts > 0, kth, torch.zeros_like(kth))


def expected_kth_scores(opened: Opened, centroids: Centroids, norms: npt.NDArray[np.float32], k: int) -> torch.Tensor:
    """About the k-th best similarity among *all* tokens, of which only those of opened clusters were looked at.

    The estimate is that of :func:`xtrkit.kernels.expectation.expected_kth_scores`, step by step.

    Args:
        opened: the opened clusters of T query tokens.
        centroids: all clusters.
        norms: (T,) lengths of the query tokens.
        k: k', at least 1.

    Returns:
        (T,) t; where there are fewer than k tokens, a score below those of all opened ones.
    """
    chosen, sizes, device = opened.chosen, np.diff(opened.places), opened.scores.device
    inverse = on_device(np.float32(1) / np.maximum(norms, SMALLEST_SPREAD), device)
    deviations = (opened.scores - _spread(chosen.scores, sizes, device)) * inverse[opened.tokens]
    fixed = ((deviations * deviations).clamp(max=2000) * float(FIXED_POINT)).long()
    squares = np.asarray(_sums_of_integers(fixed, opened.ends).cpu())
    radii = centroids.radii[chosen.clusters].astype(np.float64)
    of_token = np.repeat(np.arange(len(norms)), np.diff(chosen.starts))
    expected = np.bincount(of_token, weights=sizes * radii * radii, minlength=len(norms))
    measured = squares / np.float64(FIXED_POINT) + PRIOR_RATIO * PRIOR_TOKENS * centroids.mean_square
    ratio = np.sqrt(measured / np.maximum(expected + PRIOR_TOKENS * centroids.mean_square, 1e-30))
    radius = np.float32(np.sqrt(np.float64(centroids.mean_square))) * norms
    spread = np.maximum(np.maximum(ratio.astype(np.float32) * radius, norms * np.float32(1e-6)), SMALLEST_SPREAD)
    wide = np.maximum(WIDE * radius, np.maximum(norms, SMALLEST_SPREAD) * np.float32(1e-6))
    return _solve(opened, SPREADS_AHEAD * radius, spread, wide, k)


def _solve(
    opened: Opened,
    before: npt.NDArray[np.float32],
    spread: npt.NDArray[np.float32],
    wide: npt.NDArray[np.float32],
    k: int,
) -> torch.Tensor:
    """Where opened and closed tokens above together are k: by halving over borders, then a straight line.

    Args:
        opened: the opened clusters of T query tokens.
        before: (T,) how far a cluster's promise is ahead of its centroid's score.
        spread: (T,) σ of tokens around it.
        wide: (T,) a spread that is rarely exceeded, by which the borders reach.
        k: k'.
    """
    ranges, device = opened.chosen.closed_range, opened.scores.device
    lowest, highest = ranges[:, 0] - before - np.float32(2) * wide, ranges[:, 1] + np.float32(NORMAL_REACH) * wide
    width, scale = (ranges[:, 1] - ranges[:, 0]) / np.float32(STEPS), np.float32(NORMAL_STEPS) / spread
    grid = (highest - lowest) / np.float32(BORDERS - 1)
    first_centre = ranges[:, 0] + np.float32(0.5) * width - before
    steps = np.arange(STEPS, dtype=np.float32) * (width * scale)[:, np.newaxis]
    numbers = (lowest, grid, scale, first_centre, steps, opened.chosen.closed_tokens, NORMAL)
    low, step, factor, centre, at_steps, closed, normal = (on_device(array, device) for array in numbers)

    def tokens_above(border: torch.Tensor) -> torch.Tensor:
        place = (centre - border) * factor + NORMAL_REACH * NORMAL_STEPS
        at = (place[:, None] + at_steps).clamp(0, len(normal) - 1).long()
        seen = _sums_of_integers((opened.scores >= border[opened.tokens]).long(), opened.ends)
        return (closed * normal[at]).double().sum(dim=1) + seen

    enough, at_enough = torch.zeros(len(low), dtype=torch.int64, device=device), tokens_above(low)
    few, at_few = torch.full_like(enough, BORDERS - 1), torch.zeros_like(at_enough)
    too_few = at_enough < k
    for _ in range((BORDERS - 1).bit_length() - 1):
        middle = (few + enough) // 2
        tokens = tokens_above(low + middle.float() * step)
        reached = tokens >= k
        enough, at_enough = torch.where(reached, middle, enough), torch.where(reached, tokens, at_enough)
        few, at_few = torch.where(reached, few, middle), torch.where(reached, at_few, tokens)
    share = (at_enough - k) / (at_enough - at_few).clamp(min=1e-30)
    return torch.where(too_few, low, low + (enough + share).float() * step)


def sums_of_runs(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sums of consecutive runs of values, each taken in order."""
    if not len(values):  # torch reduces no empty tensor
        return torch.zeros(len(lengths), dtype=values.dtype, device=values.device)
    return torch.segment_reduce(values, "sum", lengths=lengths, initial=0.0)


def _sums_of_integers(values: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """(T,) sums of the runs of (H,) integers that begin and end at (T + 1,) ``ends``; exact in any order."""
    return torch.cat([values.new_zeros(1), values.cumsum(0)])[ends].diff()


def _rows_of(index: DeviceTokens, clusters: npt.NDArray[np.int64]) -> torch.Tensor:
    """The rows in some clusters, cluster after cluster."""
    sizes = np.diff(index.offsets)[clusters]
    return _within(offsets_of(sizes), index.device) + _spread(index.offsets[clusters], sizes, index.device)


def _within(places: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """0, 1, … of each run that begins and ends at ``places``."""
    return torch.arange(int(places[-1]), device=device) - _spread(places[:-1], np.diff(places), device)


def _spread(
    values: npt.NDArray[np.integer] | npt.NDArray[np.floating], lengths: npt.NDArray[np.int64], device: torch.device
) -> torch.Tensor:
    """Each value as often as its run is long, on the device."""
    return on_device(values, device).repeat_interleave(on_device(lengths, device), output_size=int(lengths.sum()))
