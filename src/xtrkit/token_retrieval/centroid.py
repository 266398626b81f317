"""Approximate token retrieval: the tokens of the clusters whose centroids are most alike to a query token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.codec import code_width
from xtrkit.indexing.compressed_format import Quantiser
from xtrkit.kernels.bundles import PADDING, ChosenClusters, Probes, QuantisedQuery
from xtrkit.kernels.choosing import (
    STEPS,
    LookedAt,
    Promised,
    look_at_groups,
    nearest_clusters,
    promising_clusters,
    quantise,
)
from xtrkit.kernels.gathering import sums_of_max
from xtrkit.kernels.probing import score_clusters
from xtrkit.kernels.selection import ROOM
from xtrkit.token_retrieval.corpus import ClusteredCorpus, Clusters
from xtrkit.values import FloatArray, Mask, TokenHits, offsets_of

LEAST_GROUPS = 8
"""Groups of centroids that a query token looks into at least."""

LEAST_ACROSS = np.float32(0.05)
"""The part of a query token's length that is taken to lie across what all vectors share, at least."""

CENTROIDS_PER_PROBE = 24
"""Centroids that are looked at for each cluster that shall be opened; see ``groups_probed``."""


def quantised(query: FloatArray, quantiser: Quantiser) -> QuantisedQuery:
    """Rotate a query of (n, d) tokens and round it to integers: of 12 bits, and of 8 for codes of up to 4 bits."""
    rotated, table = np.asarray(query, dtype=np.float32) @ quantiser.rotation, quantiser.table
    n, dim = rotated.shape
    width = code_width(dim, quantiser.bits)
    n_planes = 0 if len(table.units) or quantiser.bits == 8 else 8 // quantiser.bits
    quantised_query = QuantisedQuery(
        np.zeros((n, dim + -dim % PADDING), dtype=np.int16),
        np.empty(n, dtype=np.float32),
        np.empty(n, dtype=np.float32),
        np.zeros((n, n_planes, width + -width % PADDING), dtype=np.int8),
        np.empty(n, dtype=np.float32),
        np.empty(n, dtype=np.float32),
    )
    quantise(rotated, quantiser.codec.zero_point, float(table.step), quantised_query)
    along = rotated @ quantiser.shared_direction
    across = np.maximum(quantised_query.norms**2 - along**2, (LEAST_ACROSS * quantised_query.norms) ** 2)
    return quantised_query._replace(norms=np.sqrt(across, dtype=np.float32))


def groups_probed(quantiser: Quantiser, nprobe: int) -> int:
    """How many groups to look into so that the ``nprobe`` best centroids of nearly every query token are there."""
    n_groups = len(quantiser.groups.scales)
    if nprobe >= quantiser.n_clusters:
        return n_groups
    wanted = CENTROIDS_PER_PROBE * nprobe * n_groups / quantiser.n_clusters
    return min(n_groups, max(LEAST_GROUPS, math.ceil(math.sqrt(wanted * n_groups) / 2)))


def promising(corpus: Clusters, query: QuantisedQuery, nprobe: int, k_prime: int) -> ChosenClusters:
    """The clusters that promise most, with about as many tokens as ``nprobe`` of mean size for each query token hold.

    All of them where there are no more than ``nprobe``.
    """
    quantiser, n = corpus.quantiser, len(query.scales)
    budget = np.inf if nprobe >= quantiser.n_clusters else n * nprobe * corpus.n_tokens / quantiser.n_clusters
    looked_at = _looked_at(corpus, query, nprobe)
    most = groups_probed(quantiser, nprobe) * quantiser.largest_group
    promised = Promised(
        above=np.zeros((n, STEPS + 1)),
        borders=np.empty((2, n), dtype=np.float32),
        places=np.empty(most + ROOM, dtype=np.int32),
        values=np.empty(most + ROOM, dtype=np.float32),
        every=np.arange(most, dtype=np.int32),
    )
    chosen = _room_for(int(looked_at.starts[-1]), n, STEPS)
    return _taken(chosen, promising_clusters(looked_at, corpus.centroids.sizes, k_prime, budget, promised, chosen))


def nearest(corpus: Clusters, query: QuantisedQuery, nprobe: int) -> ChosenClusters:
    """The ``nprobe`` clusters most alike to each query token, all where there are fewer. Of others it tells nothing."""
    nprobe = min(nprobe, corpus.n_clusters)
    chosen = _room_for(len(query.scales) * nprobe, len(query.scales), 0)
    return _taken(chosen, nearest_clusters(_looked_at(corpus, query, nprobe), nprobe, chosen))


def _looked_at(corpus: Clusters, query: QuantisedQuery, nprobe: int) -> LookedAt:
    """The centroids that each query token is compared with: nearly always the ``nprobe`` best are among them."""
    quantiser, n = corpus.quantiser, len(query.scales)
    probed = groups_probed(quantiser, nprobe)
    most = n * min(quantiser.n_clusters, probed * quantiser.largest_group)
    looked_at = LookedAt(
        numbers=np.empty(most, dtype=np.int32),
        scores=np.empty(most, dtype=np.float32),
        promises=np.empty(most, dtype=np.float32),
        starts=np.zeros(n + 1, dtype=np.int64),
        group_scores=np.empty(len(quantiser.groups.scales), dtype=np.float32),
    )
    look_at_groups(corpus.centroids, query, probed, looked_at)
    return looked_at


def _room_for(n_clusters: int, n_tokens: int, steps: int) -> ChosenClusters:
    return ChosenClusters(
        clusters=np.empty(n_clusters, dtype=np.int32),
        scores=np.empty(n_clusters, dtype=np.float32),
        starts=np.zeros(n_tokens + 1, dtype=np.int64),
        closed_tokens=np.zeros((n_tokens, steps), dtype=np.float32),
        closed_range=np.zeros((n_tokens, 2), dtype=np.float32),
    )


def _taken(chosen: ChosenClusters, count: int) -> ChosenClusters:
    return chosen._replace(clusters=chosen.clusters[:count], scores=chosen.scores[:count])


def shared_by_all(corpus: Clusters, query: QuantisedQuery, chosen: ChosenClusters) -> ChosenClusters:
    """The clusters of all query tokens, for each of them: ColXTR's way. Of other clusters it tells nothing."""
    centroids, n = corpus.quantiser.centroids, len(query.scales)
    clusters = np.unique(chosen.clusters).astype(np.int32)
    tokens = query.tokens[:, : corpus.quantiser.code_dim].astype(np.float64)
    sums = centroids.vectors[clusters].astype(np.float64) @ tokens.T  # exact
    scales = centroids.scales[clusters, np.newaxis] * query.scales
    scores = np.ascontiguousarray((sums.astype(np.float32) * scales).T)
    return ChosenClusters(
        np.tile(clusters, n),
        scores.ravel(),
        np.arange(n + 1, dtype=np.int64) * len(clusters),
        chosen.closed_tokens,
        chosen.closed_range,
    )


def open_clusters(corpus: ClusteredCorpus, query: QuantisedQuery, chosen: ChosenClusters) -> Probes:
    """Score the living tokens of some clusters, in one segment after the other."""
    places = offsets_of(corpus.centroids.sizes[chosen.clusters])
    probes, free = Probes(chosen, places, np.empty(places[-1], dtype=np.float32)), places[:-1].copy()
    for segment in corpus.segments:
        score_clusters(segment.tokens.postings, segment.live, query, probes, free)
    return probes


def probe(corpus: ClusteredCorpus, query: QuantisedQuery, nprobe: int) -> Probes:
    """Open the ``nprobe`` clusters most alike to each query token and score what is in them."""
    return open_clusters(corpus, query, nearest(corpus, query, nprobe))


def sums_over_all_tokens(
    corpus: ClusteredCorpus,
    query: QuantisedQuery,
    documents: npt.NDArray[np.int64],
    most: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Σ_i min(most_i, max_j q_i · d_j) over all tokens of some documents, decompressed.

    Args:
        corpus: the corpus.
        query: the query.
        documents: (K,) documents with tokens.
        most: (n,) what the similarity of a query token counts at most; None sets no bounds.
    """
    most = np.full(len(query.scales), np.inf) if most is None else most
    sums = np.empty(len(documents), dtype=np.float64)
    for first, segment, here in zip(corpus.first_documents, corpus.segments, corpus.by_segment(documents), strict=True):
        tokens, of_segment = segment.tokens, np.empty(len(here), dtype=np.float64)
        candidates = (documents[here] - first).astype(np.int32)
        centroids = tokens.quantiser.centroids
        sums_of_max(tokens.postings, tokens.document_rows, centroids, candidates, query, most, of_segment)
        sums[here] = of_segment
    return sums


def token_hits(
    corpus: ClusteredCorpus, probes: Probes, lowest: npt.NDArray[np.float32], wanted: Sequence[int] | None = None
) -> TokenHits:
    """What was retrieved, token by token, to be shown or scored elsewhere; search itself does without.

    Args:
        corpus: the corpus.
        probes: opened clusters.
        lowest: (n,) similarities below this do not count as retrieved.
        wanted: documents whose hits are told; None tells those of all, which takes seconds where there are many.

    Returns:
        hits whose rows count the tokens document after document, as the exact engine's do.
    """
    rows, documents, scores, counts = [], [], [], []
    living, chosen, places = [segment.living for segment in corpus.segments], probes.chosen, probes.places
    for i, (first, last) in enumerate(pairwise(chosen.starts)):
        similarities = probes.scores[places[first] : places[last]]
        owners, posting = _rows(corpus, living, chosen.clusters[first:last])
        counted = similarities >= lowest[i]
        if wanted is not None:
            counted &= np.isin(owners, wanted)
        retrieved = np.flatnonzero(counted)
        owners, posting = owners[retrieved], posting[retrieved]
        at = np.array([_place(corpus, int(d), int(row)) for d, row in zip(owners, posting, strict=True)], np.int64)
        order = np.argsort(at)
        rows.append(at[order])
        documents.append(owners[order])
        scores.append(similarities[retrieved][order])
        counts.append(len(order))
    return TokenHits(
        np.concatenate(rows), np.concatenate(documents), np.concatenate(scores), offsets_of(np.array(counts))
    )


def _rows(
    corpus: ClusteredCorpus, living: list[Mask], clusters: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Documents and rows, each in its segment, of the living tokens of some clusters, in the order of ``Probes``."""
    documents, rows = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int64)]
    for cluster in clusters:
        for first, segment, alive in zip(corpus.first_documents, corpus.segments, living, strict=True):
            tokens = segment.tokens
            of = np.arange(tokens.cluster_offsets[cluster], tokens.cluster_offsets[cluster + 1])
            of = of[alive[tokens.documents[of]]]
            rows.append(of)
            documents.append((tokens.documents[of] + first).astype(np.int32))
    return np.concatenate(documents), np.concatenate(rows)


def _place(corpus: ClusteredCorpus, document: int, row: int) -> int:
    """Which token, counted document after document, stands in a row of a document's segment."""
    number, inside = corpus.segment_of(document)
    tokens = corpus.segments[number].tokens
    first, last = tokens.document_offsets[inside], tokens.document_offsets[inside + 1]
    return int(corpus.document_offsets[document] + np.flatnonzero(tokens.positions[first:last] == row)[0])
