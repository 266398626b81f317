"""Approximate token retrieval: the tokens of the clusters whose centroids are most alike to a query token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.compressed_format import Quantiser
from xtrkit.kernels.bundles import ChosenClusters, Probes, QuantisedQuery
from xtrkit.kernels.codes import QUERY_LIMIT
from xtrkit.kernels.gathering import sums_of_max
from xtrkit.kernels.probing import nearest_clusters, score_clusters
from xtrkit.token_retrieval.corpus import ClusteredCorpus
from xtrkit.values import FloatArray, Mask, TokenHits, offsets_of

LEAST_GROUPS = 8
"""Groups of centroids that a query token looks into at least."""

CENTROIDS_PER_PROBE = 24
"""Centroids that are looked at for each cluster that shall be opened; see ``groups_probed``."""

CLOSED_STEPS = 64
"""Steps of score in which the tokens of closed clusters are counted."""


def quantised(query: FloatArray, quantiser: Quantiser) -> QuantisedQuery:
    """Rotate a query of (n, d) tokens and round it to integers of 12 bits."""
    rotated = np.asarray(query, dtype=np.float32) @ quantiser.rotation
    scales = np.maximum(np.abs(rotated).max(axis=1, initial=0) / np.float32(QUERY_LIMIT), np.float32(1e-30))
    tokens = np.rint(rotated / scales[:, np.newaxis]).astype(np.int16)
    offset = np.float32(quantiser.codec.zero_point)
    return QuantisedQuery(tokens, scales.astype(np.float32), offset * tokens.sum(axis=1, dtype=np.float32))


def groups_probed(quantiser: Quantiser, nprobe: int) -> int:
    """How many groups to look into so that the ``nprobe`` best centroids of nearly every query token are there."""
    n_groups = len(quantiser.groups.scales)
    if nprobe >= quantiser.n_clusters:
        return n_groups
    wanted = CENTROIDS_PER_PROBE * nprobe * n_groups / quantiser.n_clusters
    return int(min(n_groups, max(LEAST_GROUPS, np.ceil(np.sqrt(wanted * n_groups) / 2))))


def choose_clusters(corpus: ClusteredCorpus, query: QuantisedQuery, nprobe: int) -> ChosenClusters:
    """The ``nprobe`` clusters most alike to each query token, all where there are fewer."""
    quantiser = corpus.quantiser
    n, nprobe = len(query.scales), min(nprobe, quantiser.n_clusters)
    chosen = ChosenClusters(
        clusters=np.zeros((n, nprobe), dtype=np.int32),
        scores=np.zeros((n, nprobe), dtype=np.float32),
        counts=np.zeros(n, dtype=np.int64),
        closed_tokens=np.empty((n, CLOSED_STEPS), dtype=np.float32),
        closed_range=np.empty((n, 2), dtype=np.float32),
    )
    nearest_clusters(
        quantiser.groups, quantiser.group_offsets, quantiser.centroids, corpus.cluster_offsets,
        query, groups_probed(quantiser, nprobe), chosen,
    )  # fmt: skip
    return chosen


def shared_by_all(corpus: ClusteredCorpus, query: QuantisedQuery, chosen: ChosenClusters) -> ChosenClusters:
    """The clusters of all query tokens, for each of them: ColXTR's way. Of other clusters it tells nothing."""
    centroids, n = corpus.quantiser.centroids, len(query.scales)
    some = [row[:count] for row, count in zip(chosen.clusters, chosen.counts, strict=True)]
    clusters = np.unique(np.concatenate(some)).astype(np.int32)
    sums = centroids.vectors[clusters].astype(np.float64) @ query.tokens.T.astype(np.float64)  # exact
    scales = centroids.scales[clusters, np.newaxis] * query.scales
    scores = np.ascontiguousarray((sums.astype(np.float32) * scales).T)
    return ChosenClusters(
        np.tile(clusters, (n, 1)),
        scores,
        np.full(n, len(clusters), dtype=np.int64),
        np.zeros((n, CLOSED_STEPS), dtype=np.float32),
        np.repeat(scores.min(axis=1, keepdims=True), 2, axis=1),
    )


def open_clusters(corpus: ClusteredCorpus, query: QuantisedQuery, chosen: ChosenClusters) -> Probes:
    """Score the living tokens of some clusters, in one segment after the other."""
    sizes = corpus.cluster_offsets[chosen.clusters + 1] - corpus.cluster_offsets[chosen.clusters]
    sizes[np.arange(chosen.clusters.shape[1]) >= chosen.counts[:, np.newaxis]] = 0
    ends = offsets_of(sizes.ravel())
    starts, places = ends[:: sizes.shape[1]].copy(), ends[:-1].reshape(sizes.shape).copy()
    probes = Probes(chosen, starts, np.empty(starts[-1], dtype=np.float32), np.empty(starts[-1], dtype=np.int32))
    for first_document, segment in zip(corpus.first_documents, corpus.segments, strict=True):
        score_clusters(segment.tokens.postings, segment.live, first_document, query, probes, places)
    return probes


def probe(corpus: ClusteredCorpus, query: QuantisedQuery, nprobe: int) -> Probes:
    """Open the ``nprobe`` clusters most alike to each query token and score what is in them."""
    return open_clusters(corpus, query, choose_clusters(corpus, query, nprobe))


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
    living = [segment.living for segment in corpus.segments]
    for i, count in enumerate(probes.chosen.counts):
        of = slice(probes.starts[i], probes.starts[i + 1])
        counted = probes.scores[of] >= lowest[i]
        if wanted is not None:
            counted &= np.isin(probes.documents[of], wanted)
        retrieved = np.flatnonzero(counted)
        posting = _rows(corpus, living, probes.chosen.clusters[i, :count])[retrieved]
        owners = probes.documents[of][retrieved]
        places = np.array([_place(corpus, int(d), int(row)) for d, row in zip(owners, posting, strict=True)], np.int64)
        order = np.argsort(places)
        rows.append(places[order])
        documents.append(owners[order])
        scores.append(probes.scores[of][retrieved][order])
        counts.append(len(order))
    return TokenHits(
        np.concatenate(rows), np.concatenate(documents), np.concatenate(scores), offsets_of(np.array(counts))
    )


def _rows(corpus: ClusteredCorpus, living: list[Mask], clusters: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The rows, each in its segment, of the living tokens of some clusters, in the order of :class:`Probes`."""
    rows = [np.zeros(0, dtype=np.int64)]
    for cluster in clusters:
        for segment, alive in zip(corpus.segments, living, strict=True):
            tokens = segment.tokens
            of = np.arange(tokens.cluster_offsets[cluster], tokens.cluster_offsets[cluster + 1])
            rows.append(of[alive[tokens.documents[of]]])
    return np.concatenate(rows)


def _place(corpus: ClusteredCorpus, document: int, row: int) -> int:
    """Which token, counted document after document, stands in a row of a document's segment."""
    number, inside = corpus.segment_of(document)
    tokens = corpus.segments[number].tokens
    first, last = tokens.document_offsets[inside], tokens.document_offsets[inside + 1]
    return int(corpus.document_offsets[document] + np.flatnonzero(tokens.positions[first:last] == row)[0])
