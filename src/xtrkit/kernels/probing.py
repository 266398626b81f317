"""Kernels of compressed search: which clusters to open, what is in them, and what that says of the documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.bundles import (
    SLOT_WORDS,
    ChosenClusters,
    Postings,
    Probes,
    QuantisedQuery,
    Run,
    ScaledVectors,
    Slots,
)
from xtrkit.kernels.codes import CACHE_LINE, scores_of_products, vector_products
from xtrkit.kernels.intrinsics import prefetch
from xtrkit.kernels.jit import kernel, part
from xtrkit.kernels.tables import products

BINS = 512
HITS_AHEAD = 8
"""How many hits before it is needed a document's slot is fetched."""
SMALLEST_RANGE = np.float32(1e-30)


@kernel
def kth_largest(values: npt.NDArray[np.float32], k: int, scratch: npt.NDArray[np.float32]) -> Any:
    """The k-th largest of some values, 1 ≤ k ≤ their number.

    A histogram says in which bin it is, and only that bin's values are selected from: 2 ns a value, where a selection
    among all of them takes 8, most of it mispredicted branches.

    Args:
        values: finite numbers.
        k: which one, from 1.
        scratch: as many places.
    """
    lowest, highest = values[0], values[0]
    for j in range(len(values)):
        lowest, highest = min(lowest, values[j]), max(highest, values[j])
    if not highest - lowest > SMALLEST_RANGE:  # so that the factor below is finite
        for j in range(len(values)):
            scratch[j] = values[j]
        return _select(scratch[: len(values)], k)
    factor = np.float32(BINS - 1) / (highest - lowest)
    bins = np.zeros(BINS + 1, dtype=np.int32)
    for j in range(len(values)):
        bins[_bin(values[j], lowest, factor)] += 1
    wanted, above = BINS, 0
    while above + bins[wanted] < k:
        above += bins[wanted]
        wanted -= 1
    inside = 0
    for j in range(len(values)):
        scratch[inside] = values[j]
        inside += _bin(values[j], lowest, factor) == wanted
    return _select(scratch[:inside], k - above)


@part
def _bin(value: np.float32, lowest: np.float32, factor: np.float32) -> Any:
    return min(max(np.int32((value - lowest) * factor), np.int32(0)), np.int32(BINS))  # a NaN stays inside, too


@part
def _select(values: npt.NDArray[np.float32], k: int) -> Any:
    """The k-th largest of some values; reorders them (Hoare's selection)."""
    low, high, wanted = 0, len(values) - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while pivot > values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return values[wanted]


@kernel
def nearest_clusters(
    groups: ScaledVectors,
    group_offsets: npt.NDArray[np.int64],
    centroids: ScaledVectors,
    cluster_offsets: npt.NDArray[np.int64],
    query: QuantisedQuery,
    groups_probed: int,
    chosen: ChosenClusters,
) -> None:
    """The clusters whose centroids are most alike to each query token, in order of number; and what others hold.

    Only centroids of the ``groups_probed`` most alike groups are looked at; of equals the lower number is taken.

    Args:
        groups: (G, d) directions of the groups of centroids.
        group_offsets: (G + 1,) which centroids belong to each group.
        centroids: (C, d).
        cluster_offsets: (C + 1,) where each cluster's living tokens would begin and end if all segments were one.
        query: n query tokens.
        groups_probed: at least 1, at most G.
        chosen: receives the clusters, as many as it has room for; how many tokens are in clusters that were looked at
            and not taken, in B equal steps of the clusters' scores; and the ends of these steps, the lowest score of
            all that were looked at and the lowest of those taken.
    """
    group_vectors, group_scales = groups.vectors, groups.scales
    centroid_vectors, centroid_scales = centroids.vectors, centroids.scales
    tokens, query_scales = query.tokens, query.scales
    clusters, scores, counts = chosen.clusters, chosen.scores, chosen.counts
    n_groups, n_centroids = len(group_scales), len(centroid_scales)
    sums = np.empty(max(n_groups, n_centroids), dtype=np.int32)
    group_values, values = np.empty(n_groups, dtype=np.float32), np.empty(n_centroids, dtype=np.float32)
    numbers, scratch = np.empty(n_centroids, dtype=np.int32), np.empty(max(n_groups, n_centroids), dtype=np.float32)
    first_group = int(group_offsets[0])  # 0; the constant would have Numba compile twice what is called with it
    for i in range(len(tokens)):
        vector_products(group_vectors, first_group, n_groups, tokens[i], sums)
        for group in range(n_groups):
            group_values[group] = np.float32(sums[group]) * group_scales[group]
        border = kth_largest(group_values, groups_probed, scratch)
        seen = first_group
        for group in range(n_groups):
            if group_values[group] >= border:
                first, last = group_offsets[group], group_offsets[group + 1]
                vector_products(centroid_vectors, first, last, tokens[i], sums)
                for c in range(first, last):
                    values[seen + c - first] = np.float32(sums[c - first]) * (centroid_scales[c] * query_scales[i])
                    numbers[seen + c - first] = c
                seen += last - first
        counts[i] = _take_largest(values, numbers, seen, scratch, clusters[i], scores[i])
        _count_closed(values[:seen], numbers, cluster_offsets, chosen, i)


@part
def _count_closed(
    values: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.int32],
    cluster_offsets: npt.NDArray[np.int64],
    chosen: ChosenClusters,
    i: int,
) -> None:
    """Fill row i of ``closed_tokens`` and ``closed_range``, of the clusters that were looked at and those chosen."""
    clusters, scores, n_chosen = chosen.clusters[i], chosen.scores[i], chosen.counts[i]
    tokens, score_range = chosen.closed_tokens[i], chosen.closed_range[i]
    tokens[:] = 0
    low, high = np.float32(np.inf), np.float32(np.inf)
    for j in range(len(values)):
        low = min(low, values[j])
    for j in range(n_chosen):
        high = min(high, scores[j])
    score_range[0], score_range[1] = low, high
    if n_chosen == len(values):
        return
    factor = np.float32(len(tokens)) / max(high - low, SMALLEST_RANGE)
    last = np.int32(len(tokens) - 1)
    for j in range(len(values)):
        step = min(np.int32((values[j] - low) * factor), last)
        tokens[step] += np.float32(cluster_offsets[numbers[j] + 1] - cluster_offsets[numbers[j]])
    for j in range(n_chosen):
        step = min(np.int32((scores[j] - low) * factor), last)
        tokens[step] -= np.float32(cluster_offsets[clusters[j] + 1] - cluster_offsets[clusters[j]])


@part
def _take_largest(
    values: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.int32],
    count: int,
    scratch: npt.NDArray[np.float32],
    clusters: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
) -> int:
    """Copy the largest of ``count`` values, with their numbers, in the order in which they come; return how many."""
    wanted = min(len(clusters), count)
    if wanted == 0:
        return 0
    border = kth_largest(values[:count], wanted, scratch)
    above = 0
    for j in range(count):
        above += values[j] > border
    room, taken = wanted - above, 0
    for j in range(count):
        if values[j] > border or (values[j] == border and room > 0):
            room -= values[j] == border
            clusters[taken], scores[taken] = numbers[j], values[j]
            taken += 1
    return taken


@kernel
def score_clusters(
    postings: Postings,
    live: npt.NDArray[np.bool_],
    first_document: int,
    query: QuantisedQuery,
    probes: Probes,
    places: npt.NDArray[np.int64],
) -> None:
    """Similarities of each query token with the living tokens of its clusters in one segment.

    Args:
        postings: the codes of the segment.
        live: (N,) documents of the segment that are alive; empty where all are.
        first_document: what is added to the documents' numbers.
        query: n query tokens.
        probes: which clusters are opened; receives similarities and documents.
        places: (n, nprobe) where the similarities with each cluster go; moved on past them, to where those of the next
            segment go.
    """
    codes, halves, documents, offsets = postings.codes, postings.halves, postings.documents, postings.cluster_offsets
    shifts, table, by_table = postings.shifts, postings.table, len(postings.table.units) > 0
    tokens, query_scales, query_offsets = query.tokens, query.scales, query.offsets
    clusters, cluster_scores, counts = probes.chosen.clusters, probes.chosen.scores, probes.chosen.counts
    scores, hit_documents = probes.scores, probes.documents
    largest = _largest(offsets, clusters, counts)
    sums, of_all = np.empty(largest, dtype=np.int32), np.empty(largest, dtype=np.float32)
    for i in range(len(tokens)):
        for probe in range(counts[i]):
            first, last = offsets[clusters[i, probe]], offsets[clusters[i, probe] + 1]
            following, at, size = offsets[clusters[i, min(probe + 1, counts[i] - 1)]], places[i, probe], last - first
            run = Run(first, last, following)
            score, scale, offset = np.float32(cluster_scores[i, probe]), query_scales[i], query_offsets[i]
            products(codes, run, tokens[i], shifts, table, sums)
            if by_table:
                # scale_t · (centroid + step · levels): the centroid's score goes where an affine code's offset is.
                scale *= table.step
                score, offset = np.float32(0), -score / scale
            for row in range(following, following + size, CACHE_LINE // 2):
                prefetch(halves, row)
            for row in range(following, following + size, CACHE_LINE // 4):
                prefetch(documents, row)
            if len(live):
                scores_of_products(sums, run, halves, score, scale, offset, of_all)
                for j in range(size):
                    document = documents[first + j]
                    if live[document]:
                        scores[at], hit_documents[at] = of_all[j], document + np.int32(first_document)
                        at += 1
                places[i, probe] = at
                continue
            scores_of_products(sums, run, halves, score, scale, offset, scores[at:])
            number = np.int32(first_document)
            for j in range(size):
                hit_documents[at + j] = documents[first + j] + number
            places[i, probe] += size


@part
def _largest(
    cluster_offsets: npt.NDArray[np.int64], clusters: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
) -> np.int64:
    """Tokens of the largest of some clusters."""
    largest = np.int64(0)
    for i in range(len(counts)):
        for probe in range(counts[i]):
            size = cluster_offsets[clusters[i, probe] + 1] - cluster_offsets[clusters[i, probe]]
            largest = max(largest, size)
    return largest


@kernel
def kth_scores(probes: Probes, k: int, kth: npt.NDArray[np.float32]) -> None:
    """The k-th best similarity of each query token; the lowest where there are fewer, and 0 where there are none."""
    scores, starts = probes.scores, probes.starts
    scratch = np.empty(len(scores), dtype=np.float32)
    for i in range(len(kth)):
        found = scores[starts[i] : starts[i + 1]]
        kth[i] = kth_largest(found, min(k, len(found)), scratch) if len(found) else np.float32(0)


@kernel
def sum_best(
    probes: Probes,
    lowest: npt.NDArray[np.float32],
    missing: npt.NDArray[np.float64],
    allowed: npt.NDArray[np.bool_],
    slots: Slots,
    found: npt.NDArray[np.int32],
    totals: npt.NDArray[np.float64],
    matched: npt.NDArray[np.int32],
) -> int:
    """XTR's eq. 4 as a sum over what was retrieved: Σ_i (max_j q_i · d_j − m_i) for each document.

    A document's best similarity for query token i waits in its slot until a hit of another query token comes, so the
    terms are added in order of query token, whatever the order of clusters.

    Args:
        probes: the hits, H similarities of n query tokens with tokens of documents.
        lowest: (n,) similarities below this do not count as retrieved.
        missing: (n,) m_i.
        allowed: (N,) the documents that may be found; empty where all may.
        slots: of N documents; zeros, and zeros again afterwards.
        found: (min(N, H) or more,) receives the documents that have hits, in no particular order.
        totals: (min(N, H) or more,) receives their sums.
        matched: (N,) zeros; receives how many query tokens each document has hits of. Empty: nobody wants to know.

    Returns:
        how many documents have hits.
    """
    documents, starts, scores = probes.documents, probes.starts, probes.scores
    words, floats, doubles = slots.words, slots.floats, slots.doubles
    n_found, most = 0, 0
    for i in range(len(lowest)):
        most = max(most, starts[i + 1] - starts[i])
    kept_documents, kept_scores = np.empty(most + 1, dtype=np.int32), np.empty(most + 1, dtype=np.float32)
    for i in range(len(lowest)):
        first, last = starts[i], starts[i + 1]
        kept = _keep(documents[first:last], scores[first:last], lowest[i], kept_documents, kept_scores)
        for hit in range(kept):
            document, score = kept_documents[hit], kept_scores[hit]
            prefetch(words, SLOT_WORDS * np.int64(kept_documents[min(hit + HITS_AHEAD, kept - 1)]))
            before = words[document, 3]
            if before == i + 1:
                floats[document, 2] = max(floats[document, 2], score)
                continue
            if len(allowed) and not allowed[document]:
                continue
            if before:
                doubles[document, 0] += floats[document, 2] - missing[before - 1]
            else:
                found[n_found] = document
                n_found += 1
            words[document, 3], floats[document, 2] = i + 1, score
            if len(matched):
                matched[document] += 1
    for j in range(n_found):
        document = found[j]
        totals[j] = doubles[document, 0] + (floats[document, 2] - missing[words[document, 3] - 1])
        doubles[document, 0] = 0.0
        words[document, 2] = words[document, 3] = 0
    return n_found


@part
def _keep(
    documents: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    lowest: float,
    kept_documents: npt.NDArray[np.int32],
    kept_scores: npt.NDArray[np.float32],
) -> int:
    """Copy the hits from ``lowest`` up, without a branch that the processor would guess wrong; how many there are."""
    kept = 0
    for hit in range(len(documents)):
        kept_documents[kept], kept_scores[kept] = documents[hit], scores[hit]
        kept += scores[hit] >= lowest
    return kept
