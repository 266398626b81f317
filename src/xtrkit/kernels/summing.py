"""Kernels between similarities and scores: XTR's eq. 4 as sums over what was retrieved."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.bundles import Postings, Probes, Slots
from xtrkit.kernels.codes import CACHE_LINE
from xtrkit.kernels.intrinsics import prefetch
from xtrkit.kernels.jit import kernel, part
from xtrkit.kernels.selection import ROOM, keep, kth_largest
from xtrkit.kernels.vectors import address_of

NOTHING = np.float32(-np.inf)
ONE, TWO, SLOT_WORDS = np.uint64(1), np.uint64(2), np.uint64(4)
CLUSTERS_AHEAD = 4
"""How many clusters before they are needed their rows' documents are fetched."""
HITS_AHEAD = np.uint64(8)
"""How many hits before it is needed a document's slot is fetched."""


@kernel
def kth_scores(probes: Probes, k: int, kth: npt.NDArray[np.float32]) -> None:
    """The k-th best similarity of each query token; the lowest where there are fewer, and 0 where there are none."""
    scores, places, starts = probes.scores, probes.places, probes.chosen.starts
    for i in range(len(kth)):
        found = scores[places[starts[i]] : places[starts[i + 1]]]
        kth[i] = kth_largest(found, min(k, len(found))) if len(found) else np.float32(0)


@kernel
def sum_best(
    postings: Postings,
    live: npt.NDArray[np.bool_],
    first_document: int,
    probes: Probes,
    free: npt.NDArray[np.int64],
    lowest: npt.NDArray[np.float32],
    missing: npt.NDArray[np.float64],
    allowed: npt.NDArray[np.bool_],
    slots: Slots,
    found: npt.NDArray[np.int32],
    totals: npt.NDArray[np.float64],
    matched: npt.NDArray[np.int32],
) -> int:
    """XTR's eq. 4 for the documents of a segment: Σ_i (max_j q_i · d_j − m_i) over the query tokens that retrieved.

    Two passes over the similarities of a query token, without a branch that the processor would guess wrong: the best
    of each document, then the sum goes up by it once. So terms are added in order of query token, in whatever order
    clusters are.

    Args:
        postings: where the segment's tokens stand.
        live: its documents that are alive; empty where all are.
        first_document: the number of its first document.
        probes: the similarities of n query tokens with the tokens of all segments.
        free: (P,) where the segment's similarities with each cluster begin; moved on past them.
        lowest: (n,) similarities below this do not count as retrieved.
        missing: (n,) m_i.
        allowed: (N,) the documents that may be found; empty where all may.
        slots: of N documents; zeros, and zeros again afterwards.
        found: (min(N, H) + 1 or more,) receives the documents that have hits, in no particular order.
        totals: (min(N, H) or more,) receives their sums.
        matched: (N,) zeros; receives how many query tokens each document has hits of. Empty: nobody wants to know.

    Returns:
        how many documents have hits.
    """
    offsets, clusters, starts = postings.cluster_offsets, probes.chosen.clusters, probes.chosen.starts
    most, n_found = 0, int(starts[0])
    for i in range(len(lowest)):
        retrieved = 0
        for probe in range(starts[i], starts[i + 1]):
            retrieved += offsets[clusters[probe] + 1] - offsets[clusters[probe]]
        most = max(most, retrieved)
    kept_documents, kept_scores = np.empty(most + ROOM, np.int32), np.empty(most + ROOM, np.float32)
    for i in range(len(lowest)):
        kept = _kept(postings, live, probes, free, i, lowest[i], kept_documents, kept_scores)
        if len(allowed):
            kept = _allowed(kept_documents, kept_scores, kept, allowed[first_document:])
        hits = Hits(kept_documents[:kept], kept_scores[:kept], first_document)
        n_found = _add_up(hits, i, missing[i], slots, found, n_found, matched)
    words, doubles = slots.words, slots.doubles
    for j in range(n_found):
        totals[j], doubles[found[j], 0] = doubles[found[j], 0], 0.0
        words[found[j], 2] = words[found[j], 3] = 0
    return n_found


class Hits(NamedTuple):
    """What a query token retrieved in a segment.

    Attributes:
        documents: (K,) the tokens' documents, counted in the segment.
        scores: (K,) their similarities.
        first_document: the number of the segment's first document.
    """

    documents: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    first_document: int


@part
def _kept(
    postings: Postings,
    live: npt.NDArray[np.bool_],
    probes: Probes,
    free: npt.NDArray[np.int64],
    i: int,
    lowest: np.float32,
    kept_documents: npt.NDArray[np.int32],
    kept_scores: npt.NDArray[np.float32],
) -> np.uint64:
    """Write the living hits of query token i down; return how many there are."""
    documents, offsets, scores, kept = postings.documents, postings.cluster_offsets, probes.scores, np.uint64(0)
    clusters, starts, documents_at = probes.chosen.clusters, probes.chosen.starts, address_of(postings.documents)
    for probe in range(starts[i], starts[i + 1]):
        first, last, at = offsets[clusters[probe]], offsets[clusters[probe] + 1], free[probe]
        upcoming = documents_at + 4 * offsets[clusters[min(probe + CLUSTERS_AHEAD, len(clusters) - 1)]]
        for line in range(0, 4 * (last - first), CACHE_LINE):
            prefetch(upcoming + line)
        if len(live):
            for row in range(first, last):
                if live[documents[row]]:
                    kept_documents[kept], kept_scores[kept] = documents[row], scores[at]
                    kept += np.uint64(scores[at] >= lowest)
                    at += 1
            free[probe] = at
        else:
            kept = keep(scores, at, documents[first:last], lowest, kept_documents, kept_scores, kept)
            free[probe] = at + last - first
    return kept


@part
def _add_up(
    hits: Hits,
    i: int,
    missing: float,
    slots: Slots,
    found: npt.NDArray[np.int32],
    n_found: int,
    matched: npt.NDArray[np.int32],
) -> Any:
    """Add the best of each document, less m_i, to its sum; return how many documents are found by now."""
    words, floats, doubles = slots.words.ravel(), slots.floats.ravel(), slots.doubles.ravel()
    documents, scores, number, token = hits.documents, hits.scores, np.uint64(hits.first_document), np.int32(i + 1)
    slots_here, count, n = (
        address_of(slots.words) + 16 * hits.first_document,
        np.uint64(len(scores)),
        np.uint64(n_found),
    )
    for hit in range(count):  # indices without a sign: Numba looks whether others are negative
        document = np.uint64(documents[hit]) + number
        prefetch(slots_here + 16 * int(documents[min(hit + HITS_AHEAD, count - ONE)]))
        place, score = SLOT_WORDS * document + TWO, scores[hit]
        before = words[place + ONE]
        found[n] = document
        n += np.uint64(before == 0)
        highest = floats[place] if before == token else NOTHING
        floats[place] = score if score > highest else highest
        words[place + ONE] = token
    for hit in range(count):
        document = np.uint64(documents[hit]) + number
        place = SLOT_WORDS * document + TWO
        word = words[place + ONE]
        doubles[TWO * document] += np.float64(floats[place]) - missing if word > 0 else 0.0
        words[place + ONE] = -token
        if len(matched):
            matched[document] += word > 0
    return np.int64(n)


@part
def _allowed(
    documents: npt.NDArray[np.int32], scores: npt.NDArray[np.float32], count: np.uint64, allowed: npt.NDArray[np.bool_]
) -> np.uint64:
    """Keep the hits of documents that may be found; how many there are."""
    kept = np.uint64(0)
    for hit in range(count):
        documents[kept], scores[kept] = documents[hit], scores[hit]
        kept += np.uint64(allowed[np.uint64(documents[kept])])
    return kept
