"""From scores to the k best documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def best_first(
    documents: npt.NDArray[np.integer[Any]], scores: npt.NDArray[np.float64], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The k highest scores in descending order; of equal ones the lower document number comes first.

    Args:
        documents: (C,) document numbers, in any order.
        scores: (C,) their scores.
        k: how many to keep.
    """
    if len(scores) > k:
        # Everything from the k-th score up, ties included, so that the sort below decides between them.
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
        documents, scores = documents[kept], scores[kept]
    order = np.lexsort((documents, -scores))[:k]
    return documents[order].astype(np.int64), scores[order]
