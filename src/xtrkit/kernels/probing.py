"""Kernels of compressed search: which clusters to open, what is in them, and what that says of the documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.codes import CACHE_LINE, products, scores_of_products, vector_products
from xtrkit.kernels.jit import kernel
from xtrkit.kernels.prefetch import prefetch
from xtrkit.kernels.tables import Table, table_products

BINS = 512
SLOT_WORDS = 4
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
        scratch[: len(values)] = values
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


@kernel
def _bin(value: np.float32, lowest: np.float32, factor: np.float32) -> Any:
    return min(max(np.int32((value - lowest) * factor), np.int32(0)), np.int32(BINS))  # a NaN stays inside, too


@kernel
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
    group_vectors: npt.NDArray[np.int8],
    group_scales: npt.NDArray[np.float32],
    group_offsets: npt.NDArray[np.int64],
    centroid_vectors: npt.NDArray[np.int8],
    centroid_scales: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    query: npt.NDArray[np.int16],
    query_scales: npt.NDArray[np.float32],
    groups_probed: int,
    clusters: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int64],
    closed_tokens: npt.NDArray[np.float32],
    closed_range: npt.NDArray[np.float32],
) -> None:
    """The clusters whose centroids are most alike to each query token, in order of number; and what others hold.

    Only centroids of the ``groups_probed`` most alike groups are looked at; of equals the lower number is taken.

    Args:
        group_vectors: (G, d), with scales (G,) and the centroids of each group (G + 1,).
        group_scales: see above.
        group_offsets: see above.
        centroid_vectors: (C, d), with scales (C,).
        centroid_scales: see above.
        offsets: (C + 1,) rows of each cluster.
        query: (n, d) quantised query tokens.
        query_scales: (n,) their scales.
        groups_probed: at least 1, at most G.
        clusters: (n, nprobe) receives the clusters, with their scores (n, nprobe) and how many there are (n,).
        scores: see above.
        counts: see above.
        closed_tokens: (n, B) receives how many tokens are in clusters that were looked at and not taken, by the
            clusters' score: in B equal steps from ``closed_range[i, 0]`` to ``closed_range[i, 1]``.
        closed_range: (n, 2) receives the lowest score of these clusters, and the lowest of those taken.
    """
    n_groups, n_centroids = len(group_scales), len(centroid_scales)
    sums = np.empty(max(n_groups, n_centroids), dtype=np.int32)
    group_values, values = np.empty(n_groups, dtype=np.float32), np.empty(n_centroids, dtype=np.float32)
    numbers, scratch = np.empty(n_centroids, dtype=np.int32), np.empty(max(n_groups, n_centroids), dtype=np.float32)
    for i in range(len(query)):
        vector_products(group_vectors, 0, n_groups, query[i], sums)
        for group in range(n_groups):
            group_values[group] = np.float32(sums[group]) * group_scales[group]
        border = kth_largest(group_values, groups_probed, scratch)
        seen = 0
        for group in range(n_groups):
            if group_values[group] >= border:
                first, last = group_offsets[group], group_offsets[group + 1]
                vector_products(centroid_vectors, first, last, query[i], sums)
                for c in range(first, last):
                    values[seen + c - first] = np.float32(sums[c - first]) * (centroid_scales[c] * query_scales[i])
                    numbers[seen + c - first] = c
                seen += last - first
        counts[i] = _take_largest(values, numbers, seen, scratch, clusters[i], scores[i])
        _count_closed(
            values[:seen], numbers, clusters[i], scores[i], counts[i], offsets, closed_tokens[i], closed_range[i]
        )


@kernel
def _count_closed(
    values: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.int32],
    clusters: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    n_chosen: int,
    offsets: npt.NDArray[np.int64],
    tokens: npt.NDArray[np.float32],
    score_range: npt.NDArray[np.float32],
) -> None:
    """Fill one row of ``closed_tokens`` and ``closed_range`` of :func:`nearest_clusters`."""
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
        tokens[step] += np.float32(offsets[numbers[j] + 1] - offsets[numbers[j]])
    for j in range(n_chosen):
        step = min(np.int32((scores[j] - low) * factor), last)
        tokens[step] -= np.float32(offsets[clusters[j] + 1] - offsets[clusters[j]])


@kernel
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
    codes: npt.NDArray[np.uint8],
    halves: npt.NDArray[np.uint16],
    documents: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    bits: int,
    table: Table,
    live: npt.NDArray[np.bool_],
    first_document: int,
    clusters: npt.NDArray[np.int32],
    cluster_scores: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int64],
    query: npt.NDArray[np.int16],
    query_scales: npt.NDArray[np.float32],
    query_offsets: npt.NDArray[np.float32],
    places: npt.NDArray[np.int64],
    score_bits: npt.NDArray[np.uint32],
    scores: npt.NDArray[np.float32],
    hit_documents: npt.NDArray[np.int32],
) -> None:
    """Similarities of each query token with the living tokens of its clusters in one segment.

    Args:
        codes: (M, w), with float16 scales (M,) as bit patterns, and the document of each row (M,).
        halves: see above.
        documents: see above.
        offsets: (C + 1,) rows of each cluster.
        bits: bits a dimension.
        table: what bytes of codes stand for; empty where codes are affine.
        live: (N,) documents that are alive; empty where all are.
        first_document: what is added to the documents' numbers.
        clusters: (n, nprobe) of :func:`nearest_clusters`, with scores and counts.
        cluster_scores: see above.
        counts: see above.
        query: (n, d), with scales (n,) and offset · Σ_j p_j (n,).
        query_scales: see above.
        query_offsets: see above.
        places: (n, nprobe) where the similarities with each cluster go; moved on past them, to where those of the next
            segment go.
        score_bits: (H,) scratch, the same memory as ``scores``.
        scores: (H,) receives the similarities.
        hit_documents: (H,) receives the documents.
    """
    largest = _largest(offsets, clusters, counts)
    sums, inside = np.empty(largest, dtype=np.int32), np.empty(largest, dtype=np.uint32)
    of_all = inside.view(np.float32)
    units = np.empty(codes.shape[1], dtype=table.units.dtype)
    levels = units.view(table.levels.dtype)
    for i in range(len(query)):
        for probe in range(counts[i]):
            first, last = offsets[clusters[i, probe]], offsets[clusters[i, probe] + 1]
            following, at, size = offsets[clusters[i, min(probe + 1, counts[i] - 1)]], places[i, probe], last - first
            score, scale, offset = np.float32(cluster_scores[i, probe]), query_scales[i], query_offsets[i]
            if len(table.units):
                # scale_t · (centroid + step · levels): the centroid's score goes where an affine code's offset is.
                table_products(codes, first, last, following, query[i], table, units, levels, sums)
                scale *= table.step
                score, offset = np.float32(0), -score / scale
            else:
                products(codes, first, last, following, query[i], bits, sums)
            for row in range(following, following + size, CACHE_LINE // 2):
                prefetch(halves, row)
            for row in range(following, following + size, CACHE_LINE // 4):
                prefetch(documents, row)
            if len(live):
                scores_of_products(sums, size, halves, first, score, scale, offset, inside, of_all)
                places[i, probe] += _keep_living(
                    of_all[:size], documents[first:last], live, first_document, scores[at:], hit_documents[at:]
                )
                continue
            scores_of_products(sums, size, halves, first, score, scale, offset, score_bits[at:], scores[at:])
            number = np.int32(first_document)
            for j in range(size):
                hit_documents[at + j] = documents[first + j] + number
            places[i, probe] += size


@kernel
def _largest(
    offsets: npt.NDArray[np.int64], clusters: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
) -> np.int64:
    """Tokens of the largest of some clusters."""
    largest = np.int64(0)
    for i in range(len(counts)):
        for probe in range(counts[i]):
            largest = max(largest, offsets[clusters[i, probe] + 1] - offsets[clusters[i, probe]])
    return largest


@kernel
def _keep_living(
    scores: npt.NDArray[np.float32],
    documents: npt.NDArray[np.int32],
    live: npt.NDArray[np.bool_],
    first_document: int,
    kept_scores: npt.NDArray[np.float32],
    kept_documents: npt.NDArray[np.int32],
) -> int:
    """Copy scores and documents of those that are alive; return how many there are."""
    kept = 0
    for j in range(len(scores)):
        if live[documents[j]]:
            kept_scores[kept], kept_documents[kept] = scores[j], documents[j] + np.int32(first_document)
            kept += 1
    return kept


@kernel
def kth_scores(
    scores: npt.NDArray[np.float32], starts: npt.NDArray[np.int64], k: int, kth: npt.NDArray[np.float32]
) -> None:
    """The k-th best similarity of each query token; the lowest where there are fewer, and 0 where there are none."""
    scratch = np.empty(len(scores), dtype=np.float32)
    for i in range(len(kth)):
        found = scores[starts[i] : starts[i + 1]]
        kth[i] = kth_largest(found, min(k, len(found)), scratch) if len(found) else np.float32(0)


@kernel
def sum_best(
    documents: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    lowest: npt.NDArray[np.float32],
    missing: npt.NDArray[np.float64],
    allowed: npt.NDArray[np.bool_],
    slots: npt.NDArray[np.int32],
    floats: npt.NDArray[np.float32],
    doubles: npt.NDArray[np.float64],
    found: npt.NDArray[np.int32],
    totals: npt.NDArray[np.float64],
    matched: npt.NDArray[np.int32],
) -> int:
    """XTR's eq. 4 as a sum over what was retrieved: Σ_i (max_j q_i · d_j − m_i) for each document.

    A document's best similarity for query token i waits in its slot until a hit of another query token comes, so the
    terms are added in order of query token, whatever the order of clusters. A slot is 16 bytes, so that a hit touches
    one cache line: the sum so far, the waiting similarity, and the query token that it is of, counted from 1.

    Args:
        documents: (H,) document of each hit.
        starts: (n + 1,) where each query token's hits begin and end, similarities in (H,) ``scores``.
        scores: see above.
        lowest: (n,) similarities below this do not count as retrieved.
        missing: (n,) m_i.
        allowed: (N,) the documents that may be found; empty where all may.
        slots: (N, 4) zeros, and zeros again afterwards.
        floats: (N, 4), the same memory.
        doubles: (N, 2), the same memory.
        found: (min(N, H) or more,) receives the documents that have hits, in no particular order.
        totals: (min(N, H) or more,) receives their sums.
        matched: (N,) zeros; receives how many query tokens each document has hits of. Empty: nobody wants to know.

    Returns:
        how many documents have hits.
    """
    n_found, most = 0, 0
    for i in range(len(lowest)):
        most = max(most, starts[i + 1] - starts[i])
    kept_documents, kept_scores = np.empty(most + 1, dtype=np.int32), np.empty(most + 1, dtype=np.float32)
    for i in range(len(lowest)):
        first, last = starts[i], starts[i + 1]
        kept = _keep(documents[first:last], scores[first:last], lowest[i], kept_documents, kept_scores)
        for hit in range(kept):
            document, score = kept_documents[hit], kept_scores[hit]
            prefetch(slots, SLOT_WORDS * np.int64(kept_documents[min(hit + HITS_AHEAD, kept - 1)]))
            before = slots[document, 3]
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
            slots[document, 3], floats[document, 2] = i + 1, score
            if len(matched):
                matched[document] += 1
    for j in range(n_found):
        document = found[j]
        totals[j] = doubles[document, 0] + (floats[document, 2] - missing[slots[document, 3] - 1])
        doubles[document, 0] = 0.0
        slots[document, 2] = slots[document, 3] = 0
    return n_found


@kernel
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
