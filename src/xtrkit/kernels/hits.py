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

    A document's best similarity for query token i waits in ``current`` until a hit of another query token comes, so
    the terms are added in order of query token, whatever the order of clusters.

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
        found: (N,) receives the documents that have hits, in no particular order.

    Returns:
        how many documents have hits.
    """
    n_found, current, seen_by = 0, np.zeros(len(totals), dtype=np.float32), np.zeros(len(totals), dtype=np.int32)
    for i in range(len(counts)):
        hit = starts[i]
        for probe in range(counts[i]):
            for row in range(offsets[clusters[i, probe]], offsets[clusters[i, probe] + 1]):
                score = scores[hit]
                hit += 1
                if score < lowest[i]:
                    continue
                document = documents[row]
                if seen_by[document] == i + 1:
                    current[document] = max(current[document], score)
                    continue
                if len(allowed) and not allowed[document]:
                    continue
                before = seen_by[document]
                if before:
                    totals[document] += current[document] - missing[before - 1]
                else:
                    found[n_found] = document
                    n_found += 1
                seen_by[document], current[document] = i + 1, score
                matched[document] += 1
    for j in range(n_found):
        document = found[j]
        totals[document] += current[document] - missing[seen_by[document] - 1]
    return n_found


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
