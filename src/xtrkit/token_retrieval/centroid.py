"""Approximate token retrieval: the tokens of the clusters whose centroids are most alike to a query token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.codes import QUERY_LIMIT
from xtrkit.kernels.probing import nearest_clusters, score_clusters
from xtrkit.values import FloatArray, offsets_of

LEAST_GROUPS = 12
"""Groups of centroids that a query token looks into at least."""

CENTROIDS_PER_PROBE = 24
"""Centroids that are looked at for each cluster that shall be opened; see ``groups_probed``."""

CLOSED_STEPS = 64
"""Steps of score by which tokens of closed clusters are counted."""


@dataclass(frozen=True, eq=False)
class QuantisedQuery:
    """A query as kernels read it: q_i ≈ scale_i · p_i after rotation, p_i integer.

    Attributes:
        tokens: (n, d) int16, p.
        scales: (n,) float32.
        offsets: (n,) float32, (2^b − 1) / 2 · Σ_j p_ij: what the codes' zero point adds to every product.
    """

    tokens: npt.NDArray[np.int16]
    scales: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Probes:
    """Opened clusters with the similarities of all tokens in them.

    Attributes:
        clusters: (n, nprobe) opened clusters of each query token, by number; the first ``counts`` of a row count.
        cluster_scores: (n, nprobe) similarity of query token and centroid.
        counts: (n,).
        starts: (n + 1,) where each query token's similarities begin and end.
        scores: (H,) similarities with all tokens of the clusters, cluster after cluster.
        closed_tokens: (n, B) how many tokens are in clusters that were looked at and stayed closed, by score.
        closed_range: (n, 2) the scores between which the B steps of ``closed_tokens`` are.
    """

    clusters: npt.NDArray[np.int32]
    cluster_scores: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    closed_tokens: npt.NDArray[np.float32]
    closed_range: npt.NDArray[np.float32]


def quantised(query: FloatArray, index: CompressedTokens) -> QuantisedQuery:
    """Rotate a query of (n, d) tokens and round it to integers of 12 bits."""
    rotated = np.asarray(query, dtype=np.float32) @ index.rotation
    scales = np.maximum(np.abs(rotated).max(axis=1, initial=0) / np.float32(QUERY_LIMIT), np.float32(1e-30))
    tokens = np.rint(rotated / scales[:, np.newaxis]).astype(np.int16)
    offset = np.float32((2**index.bits - 1) / 2)
    return QuantisedQuery(tokens, scales.astype(np.float32), offset * tokens.sum(axis=1, dtype=np.float32))


def groups_probed(index: CompressedTokens, nprobe: int) -> int:
    """How many groups to look into so that the ``nprobe`` best centroids of nearly every query token are there."""
    n_groups = len(index.group_scales)
    if nprobe >= index.n_clusters:
        return n_groups
    wanted = CENTROIDS_PER_PROBE * nprobe * n_groups / index.n_clusters
    return int(min(n_groups, max(LEAST_GROUPS, np.ceil(np.sqrt(wanted * n_groups) / 2))))


def probe(index: CompressedTokens, query: QuantisedQuery, nprobe: int) -> Probes:
    """Open the ``nprobe`` clusters most alike to each query token and score what is in them."""
    n, nprobe = len(query.scales), min(nprobe, index.n_clusters)
    clusters, counts = np.zeros((n, nprobe), dtype=np.int32), np.zeros(n, dtype=np.int64)
    cluster_scores = np.zeros((n, nprobe), dtype=np.float32)
    closed_tokens, closed_range = np.empty((n, CLOSED_STEPS), np.float32), np.empty((n, 2), np.float32)
    nearest_clusters(
        index.group_vectors, index.group_scales, index.group_offsets, index.centroid_vectors, index.centroid_scales,
        index.offsets, query.tokens, query.scales, groups_probed(index, nprobe),
        clusters, cluster_scores, counts, closed_tokens, closed_range,
    )  # fmt: skip
    starts = _starts(index, clusters, counts)
    scores = np.empty(starts[-1], dtype=np.float32)
    score_clusters(
        index.codes, index.scales.view(np.uint16), index.offsets, index.bits, clusters, cluster_scores, counts,
        query.tokens, query.scales, query.offsets, starts, scores.view(np.uint32), scores,
    )  # fmt: skip
    return Probes(clusters, cluster_scores, counts, starts, scores, closed_tokens, closed_range)


def _starts(
    index: CompressedTokens, clusters: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """(n + 1,) where each query token's similarities begin and end."""
    sizes = index.offsets[clusters + 1] - index.offsets[clusters]
    sizes[np.arange(clusters.shape[1]) >= counts[:, np.newaxis]] = 0
    return offsets_of(sizes.sum(axis=1))
