"""XTR's score of a document: eq. 4 of the paper, from the retrieved tokens alone.

f_XTR'(Q, D) = (1/n) Σ_i max_j [ Â_ij q_i · d_j + (1 − Â_ij) m_i ]

No document vector is read here: the similarities are those that token retrieval computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.hits import best_hit_per_document
from xtrkit.values import Reduction, TokenHits


@dataclass(frozen=True, eq=False)
class Candidates:
    """The documents that token retrieval found, eq. 3, with the best similarity of each query token to each.

    Attributes:
        documents: (C,) document numbers in ascending order.
        best: (C, n) max_j Â_ij q_i · d_j; -inf where query token i retrieved no token of the document.
    """

    documents: npt.NDArray[np.int64]
    best: npt.NDArray[np.float32]


def candidates_of(hits: TokenHits, n_documents: int) -> Candidates:
    """Gather token hits by document.

    Args:
        hits: the hits of one query.
        n_documents: N, documents in the index.
    """
    found = np.zeros(n_documents, dtype=np.bool_)
    found[hits.documents] = True
    documents = np.flatnonzero(found)
    slots = np.empty(n_documents, dtype=np.int32)
    slots[documents] = np.arange(len(documents), dtype=np.int32)
    best = np.full((len(documents), hits.n_query_tokens), -np.inf, dtype=np.float32)
    best_hit_per_document(hits.documents, hits.scores, hits.offsets, slots, best)
    return Candidates(documents, best)


def xtr_scores(
    candidates: Candidates, missing: npt.NDArray[np.float64] | None, reduction: Reduction = "mean"
) -> npt.NDArray[np.float64]:
    """f_XTR' of each candidate.

    Args:
        candidates: what was retrieved.
        missing: (n,) m_i for the similarities that were not retrieved; None leaves those query tokens out, and the
            mean is then over the others (Z of eq. 2).
        reduction: "mean" as in the paper, or "sum".

    Returns:
        (C,) scores, summed in double precision in order of query token.
    """
    absent = np.isneginf(candidates.best)
    stand_in = 0.0 if missing is None else missing
    similarities = np.where(absent, stand_in, candidates.best.astype(np.float64))
    # cumsum adds from left to right, as sum_of_max does; NumPy's sum adds in pairs, and the last bits would differ.
    totals = np.cumsum(similarities, axis=1)[:, -1] if similarities.shape[1] else np.zeros(len(similarities))
    if reduction == "sum":
        return totals
    counted = (~absent).sum(axis=1) if missing is None else candidates.best.shape[1]
    return np.asarray(totals / np.maximum(counted, 1))


def score(
    hits: TokenHits, n_documents: int, missing: npt.NDArray[np.float64] | None, reduction: Reduction = "mean"
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Score every document that has a hit.

    Args:
        hits: the hits of one query.
        n_documents: N.
        missing: as in :func:`xtr_scores`.
        reduction: as in :func:`xtr_scores`.

    Returns:
        (C,) document numbers in ascending order, and (C,) their scores.
    """
    candidates = candidates_of(hits, n_documents)
    return candidates.documents, xtr_scores(candidates, missing, reduction)
