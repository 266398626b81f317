"""Kernels between token hits and document scores (XTR paper, §3.2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.jit import kernel


@kernel
def best_hit_per_document(
    documents: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    slots: npt.NDArray[np.int32],
    best: npt.NDArray[np.float32],
) -> None:
    """max_j Â_ij q_i · d_j of eq. 4: the best retrieved similarity of each candidate with each query token.

    Args:
        documents: (H,) document of each hit.
        scores: (H,) similarity of each hit.
        offsets: (n + 1,) where each query token's hits begin and end.
        slots: (N,) row of ``best`` for each document that has a hit; other entries are not read.
        best: (C, n) filled with -inf, which stays where a query token retrieved no token of the candidate.
    """
    for i in range(len(offsets) - 1):
        for hit in range(offsets[i], offsets[i + 1]):
            slot = slots[documents[hit]]
            best[slot, i] = max(best[slot, i], scores[hit])


@kernel
def sum_best(
    documents: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    clusters: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    lowest: npt.NDArray[np.float32],
    missing: npt.NDArray[np.float64],
    allowed: npt.NDArray[np.bool_],
    totals: npt.NDArray[np.float64],
    matched: npt.NDArray[np.int32],
    found: npt.NDArray[np.int32],
) -> int:
    """XTR's eq. 4 as a sum over what was retrieved: Σ_i (max_j q_i · d_j − m_i) for each document.

    The hits of a query token are gone through twice, without a branch that a processor could guess wrong: first each
    raises its document's best similarity, then each adds it and leaves -inf behind, so that it is added once. Terms
    are added in order of query token, whatever the order of clusters.

    Args:
        documents: (M,) document of each row.
        offsets: (C + 1,) rows of each cluster.
        clusters: (n, nprobe) opened for each query token, (n,) of them.
        counts: see above.
        starts: (n + 1,) where each query token's similarities begin and end in (H,) ``scores``.
        scores: see above.
        lowest: (n,) similarities below this do not count as retrieved.
        missing: (n,) m_i.
        allowed: (N,) the documents that may be found; empty where all may.
        totals: (N,) zeros; receives the sums.
        matched: (N,) zeros; receives how many query tokens each document has hits of.
        found: (N + 1,) receives the documents that have hits, in no particular order.

    Returns:
        how many documents have hits.
    """
    most = np.diff(starts).max() if len(counts) else 0
    hit_rows, hit_scores = np.empty(most + 1, dtype=np.int64), np.empty(most + 1, dtype=np.float32)
    best = np.full(len(totals), -np.inf, dtype=np.float32)
    n_found = 0
    for i in range(len(counts)):
        n_hits, at, threshold, stand_in = 0, starts[i], lowest[i], missing[i]
        for probe in range(counts[i]):
            first, last = offsets[clusters[i, probe]], offsets[clusters[i, probe] + 1]
            for row in range(first, last):
                hit_rows[n_hits], hit_scores[n_hits] = row, scores[at + row - first]
                n_hits += scores[at + row - first] >= threshold
            at += last - first
        if len(allowed):
            n_hits = _keep_allowed(hit_rows, hit_scores, n_hits, documents, allowed)
        for hit in range(n_hits):
            document = documents[hit_rows[hit]]
            best[document] = max(best[document], hit_scores[hit])
        for hit in range(n_hits):
            document = documents[hit_rows[hit]]
            is_first = best[document] > -np.inf
            totals[document] += best[document] - stand_in if is_first else 0.0
            best[document] = -np.inf
            found[n_found] = document
            n_found += is_first and matched[document] == 0
            matched[document] += is_first
    return n_found


@kernel
def _keep_allowed(
    rows: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    count: int,
    documents: npt.NDArray[np.int32],
    allowed: npt.NDArray[np.bool_],
) -> int:
    """Move the hits of allowed documents to the front; how many they are."""
    kept = 0
    for hit in range(count):
        rows[kept], scores[kept] = rows[hit], scores[hit]
        kept += allowed[documents[rows[hit]]]
    return kept


@kernel
def tokens_of_rows(
    rows: npt.NDArray[np.int64],
    documents: npt.NDArray[np.int32],
    document_offsets: npt.NDArray[np.int64],
    positions: npt.NDArray[np.uint32],
    tokens: npt.NDArray[np.int64],
) -> None:
    """Rows of the compressed index -> token numbers, which go document after document.

    Args:
        rows: (H,) rows.
        documents: (H,) the documents of their tokens.
        document_offsets: (N + 1,) where each document's tokens begin and end.
        positions: (M,) the row of each token.
        tokens: (H,) receives the numbers.
    """
    for hit in range(len(rows)):
        token = document_offsets[documents[hit]]
        while positions[token] != rows[hit]:
            token += 1
        tokens[hit] = token
