"""The objectives' scores, slowly: one query token after the other, as the papers print them. What tests compare with.

Everything here takes one query and a pool of documents without padding, in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating]


def xtr_scores(
    query: Vectors, documents: Sequence[Vectors], k_train: int, negative: str = "clip0"
) -> npt.NDArray[np.float64]:
    """f_XTR of Lee et al. 2023, eq. 2, for one query and all B documents of a batch.

    Each query token retrieves the ``k_train`` document tokens of the whole batch that are nearest to it (all of them
    where there are no more). A document's score is the mean, over the query tokens that retrieved some of its tokens,
    of the best similarity among those; 0 if none did.

    Args:
        query: (n, d).
        documents: B arrays of (m, d).
        k_train: how many tokens a query token retrieves.
        negative: what a best retrieved similarity below 0 is worth: "clip0" leaves the query token out of sum and
            count, as the public implementations do; "keep" takes it as it is.
    """
    totals, counts = np.zeros(len(documents)), np.zeros(len(documents))
    for q in query:
        similarities = [(float(q @ d), c) for c, document in enumerate(documents) for d in document]
        retrieved = sorted(similarities, reverse=True)[:k_train]
        for c in range(len(documents)):
            of_document = [similarity for similarity, owner in retrieved if owner == c]
            if of_document and (negative == "keep" or max(of_document) > 0):
                totals[c] += max(of_document)
                counts[c] += 1
    return np.divide(totals, counts, out=np.zeros(len(documents)), where=counts > 0)


def maxsim_scores(query: Vectors, documents: Sequence[Vectors], mean: bool = True) -> npt.NDArray[np.float64]:
    """f_ColBERT of Lee et al. 2023, eq. 1: each query token's best similarity, averaged (or summed) over the query."""
    scores = [sum(max(float(q @ d) for d in document) for q in query) for document in documents]
    return np.array(scores) / (len(query) if mean else 1)


def cross_entropy(scores: npt.NDArray[np.float64], positive: int) -> float:
    """-log P(D+ | Q, D_1:B), eq. 5: the loss of one query."""
    return float(np.log(np.exp(scores - scores[positive]).sum()))
