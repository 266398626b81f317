"""Approximate token retrieval: the tokens of the clusters whose centroids are most alike to a query token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.codes import QUERY_LIMIT
from xtrkit.kernels.probing import nearest_clusters, score_clusters
from xtrkit.values import FloatArray, TokenHits, offsets_of

LEAST_GROUPS = 8
"""Groups of centroids that a query token looks into at least."""

CENTROIDS_PER_PROBE = 24
"""Centroids that are looked at for each cluster that shall be opened; see ``groups_probed``."""

CLOSED_STEPS = 64
"""Steps of score in which the tokens of closed clusters are counted."""


@dataclass(frozen=True, eq=False)
class QuantisedQuery:
    """A query as kernels read it: q_i ≈ scale_i · p_i after rotation, p_i integer.

    Attributes:
        tokens: (n, d) int16, p.
        scales: (n,) float32.
        offsets: (n,) float32, zero point · Σ_j p_ij: what the codes' zero point adds to every product.
    """

    tokens: npt.NDArray[np.int16]
    scales: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ChosenClusters:
    """The clusters most alike to each query token.

    Attributes:
        clusters: (n, nprobe) by number; the first ``counts`` of a row count.
        scores: (n, nprobe) float32, similarity of query token and centroid.
        counts: (n,).
        closed_tokens: (n, B) how many tokens are in clusters that were looked at and not chosen, by score.
        closed_range: (n, 2) the scores from which to which the B steps of ``closed_tokens`` go.
    """

    clusters: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64]
    closed_tokens: npt.NDArray[np.float32]
    closed_range: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Probes:
    """Opened clusters with the similarities of all tokens in them.

    Attributes:
        chosen: the clusters.
        starts: (n + 1,) where each query token's similarities begin and end.
        scores: (H,) similarities with all tokens of the clusters, cluster after cluster.
    """

    chosen: ChosenClusters
    starts: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


def quantised(query: FloatArray, index: CompressedTokens) -> QuantisedQuery:
    """Rotate a query of (n, d) tokens and round it to integers of 12 bits."""
    rotated = np.asarray(query, dtype=np.float32) @ index.rotation
    scales = np.maximum(np.abs(rotated).max(axis=1, initial=0) / np.float32(QUERY_LIMIT), np.float32(1e-30))
    tokens = np.rint(rotated / scales[:, np.newaxis]).astype(np.int16)
    offset = np.float32(index.codec.zero_point)
    return QuantisedQuery(tokens, scales.astype(np.float32), offset * tokens.sum(axis=1, dtype=np.float32))


def groups_probed(index: CompressedTokens, nprobe: int) -> int:
    """How many groups to look into so that the ``nprobe`` best centroids of nearly every query token are there."""
    n_groups = len(index.group_scales)
    if nprobe >= index.n_clusters:
        return n_groups
    wanted = CENTROIDS_PER_PROBE * nprobe * n_groups / index.n_clusters
    return int(min(n_groups, max(LEAST_GROUPS, np.ceil(np.sqrt(wanted * n_groups) / 2))))


def choose_clusters(index: CompressedTokens, query: QuantisedQuery, nprobe: int) -> ChosenClusters:
    """The ``nprobe`` clusters most alike to each query token, all where there are fewer."""
    n, nprobe = len(query.scales), min(nprobe, index.n_clusters)
    clusters, counts = np.zeros((n, nprobe), dtype=np.int32), np.zeros(n, dtype=np.int64)
    scores = np.zeros((n, nprobe), dtype=np.float32)
    closed_tokens = np.empty((n, CLOSED_STEPS), dtype=np.float32)
    closed_range = np.empty((n, 2), dtype=np.float32)
    nearest_clusters(
        index.group_vectors, index.group_scales, index.group_offsets, index.centroid_vectors, index.centroid_scales,
        index.offsets, query.tokens, query.scales, groups_probed(index, nprobe),
        clusters, scores, counts, closed_tokens, closed_range,
    )  # fmt: skip
    return ChosenClusters(clusters, scores, counts, closed_tokens, closed_range)


def probe(index: CompressedTokens, query: QuantisedQuery, nprobe: int) -> Probes:
    """Open the ``nprobe`` clusters most alike to each query token and score what is in them."""
    chosen = choose_clusters(index, query, nprobe)
    sizes = index.offsets[chosen.clusters + 1] - index.offsets[chosen.clusters]
    sizes[np.arange(chosen.clusters.shape[1]) >= chosen.counts[:, np.newaxis]] = 0
    starts = offsets_of(sizes.sum(axis=1))
    scores = np.empty(starts[-1], dtype=np.float32)
    score_clusters(
        index.codes, index.scales.view(np.uint16), index.offsets, index.bits, index.table,
        chosen.clusters, chosen.scores, chosen.counts,
        query.tokens, query.scales, query.offsets, starts, scores.view(np.uint32), scores,
    )  # fmt: skip
    return Probes(chosen, starts, scores)


def token_hits(index: CompressedTokens, probes: Probes, lowest: npt.NDArray[np.float32]) -> TokenHits:
    """What was retrieved, token by token, to be shown or scored elsewhere; search itself does without.

    Args:
        index: the index.
        probes: opened clusters.
        lowest: (n,) similarities below this do not count as retrieved.

    Returns:
        hits whose rows count the tokens document after document, as the exact engine's do.
    """
    rows, documents, scores, counts = [], [], [], []
    for i, count in enumerate(probes.chosen.counts):
        opened = probes.chosen.clusters[i, :count]
        spans = [np.arange(index.offsets[c], index.offsets[c + 1]) for c in opened]
        similarities = probes.scores[probes.starts[i] : probes.starts[i + 1]]
        retrieved = np.flatnonzero(similarities >= lowest[i])
        posting = np.concatenate([*spans, np.zeros(0, dtype=np.int64)])[retrieved]
        places = np.array([_place(index, int(row)) for row in posting], dtype=np.int64)
        order = np.argsort(places)
        rows.append(places[order])
        documents.append(index.documents[posting][order])
        scores.append(similarities[retrieved][order])
        counts.append(len(order))
    return TokenHits(
        np.concatenate(rows), np.concatenate(documents), np.concatenate(scores), offsets_of(np.array(counts))
    )


def _place(index: CompressedTokens, row: int) -> int:
    """Which token, counted document after document, stands in a row."""
    document = index.documents[row]
    first, last = index.document_offsets[document], index.document_offsets[document + 1]
    return int(first + np.flatnonzero(index.positions[first:last] == row)[0])


def decompressed(index: CompressedTokens, document: int) -> npt.NDArray[np.float32]:
    """What the index knows of a document's (m, d) token vectors: centroid and decoded residual, rotated back."""
    rows = index.positions[index.document_offsets[document] : index.document_offsets[document + 1]].astype(np.int64)
    clusters = np.searchsorted(index.offsets, rows, side="right") - 1
    centroids = index.centroid_vectors[clusters] * index.centroid_scales[clusters, np.newaxis]
    vectors = index.codec.decode(index.codes[rows], index.scales[rows], centroids)
    return np.asarray(vectors @ index.rotation.T, dtype=np.float32)
