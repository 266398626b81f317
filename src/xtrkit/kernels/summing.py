"""Kernels between similarities and scores: XTR's eq. 4 as sums over what was retrieved."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.bundles import Postings, Probes, Slots
from xtrkit.kernels.codes import CACHE_LINE
from xtrkit.kernels.intrinsics import prefetch
from xtrkit.kernels.jit import kernel, part
from xtrkit.kernels.selection import ROOM, keep, kth_largest
from xtrkit.kernels.vectors import address_of

NOTHING = np.float32(-np.inf)
ONE, TWO, THREE, SLOT_WORDS = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
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
    documents, offsets = postings.documents, postings.cluster_offsets
    clusters, starts, scores = probes.chosen.clusters, probes.chosen.starts, probes.scores
    words, floats, doubles = slots.words.ravel(), slots.floats.ravel(), slots.doubles.ravel()
    most, n_found, number = 0, np.uint64(0), np.uint64(first_document)
    slots_here, documents_at = address_of(words) + 16 * first_document, address_of(documents)
    for i in range(len(lowest)):
        retrieved = 0
        for probe in range(starts[i], starts[i + 1]):
            retrieved += offsets[clusters[probe] + 1] - offsets[clusters[probe]]
        most = max(most, retrieved)
    kept_documents, kept_scores = np.empty(most + ROOM, np.int32), np.empty(most + ROOM, np.float32)
    for i in range(len(lowest)):
        kept, token = np.uint64(0), np.int32(i + 1)
        for probe in range(starts[i], starts[i + 1]):
            first, last, at = offsets[clusters[probe]], offsets[clusters[probe] + 1], free[probe]
            upcoming = documents_at + 4 * offsets[clusters[min(probe + CLUSTERS_AHEAD, len(clusters) - 1)]]
            for line in range(0, 4 * (last - first), CACHE_LINE):
                prefetch(upcoming + line)
            if len(live):
                for row in range(first, last):
                    if live[documents[row]]:
                        kept_documents[kept], kept_scores[kept] = documents[row], scores[at]
                        kept += np.uint64(scores[at] >= lowest[i])
                        at += 1
                free[probe] = at
            else:
                kept = keep(scores, at, documents[first:last], lowest[i], kept_documents, kept_scores, kept)
                free[probe] = at + last - first
        if len(allowed):
            kept = _allowed(kept_documents, kept_scores, kept, allowed, number)
        for hit in range(kept):
            document = np.uint64(kept_documents[hit]) + number
            prefetch(slots_here + 16 * np.int64(kept_documents[min(hit + HITS_AHEAD, kept - ONE)]))
            before, score, place = words[SLOT_WORDS * document + THREE], kept_scores[hit], SLOT_WORDS * document + TWO
            found[n_found] = document
            n_found += np.uint64(before == 0)
            highest = floats[place] if before == token else NOTHING
            floats[place] = score if score > highest else highest
            words[place + ONE] = token
        for hit in range(kept):
            document = np.uint64(kept_documents[hit]) + number
            word, place = words[SLOT_WORDS * document + THREE], SLOT_WORDS * document + TWO
            doubles[TWO * document] += np.float64(floats[place]) - missing[i] if word > 0 else 0.0
            words[place + ONE] = -token
            if len(matched):
                matched[document] += word > 0
    for j in range(n_found):
        document = np.uint64(found[j])
        totals[j], doubles[TWO * document] = doubles[TWO * document], 0.0
        words[SLOT_WORDS * document + TWO] = words[SLOT_WORDS * document + THREE] = 0
    return np.int64(n_found)


@part
def _allowed(
    documents: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    count: np.uint64,
    allowed: npt.NDArray[np.bool_],
    first_document: np.uint64,
) -> np.uint64:
    """Keep the hits of documents that may be found; how many there are."""
    kept = np.uint64(0)
    for hit in range(count):
        documents[kept], scores[kept] = documents[hit], scores[hit]
        kept += np.uint64(allowed[np.uint64(documents[kept]) + first_document])
    return kept
