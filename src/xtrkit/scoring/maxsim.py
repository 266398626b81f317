"""MaxSim of vectors that are at hand (ColBERT, eq. 3): for each query token its best similarity, added up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xtrkit.scoring.ranking import best_first
from xtrkit.values import FloatArray


def maxsim_ranking(
    query: FloatArray, documents: Sequence[FloatArray], k: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The k best of some documents, all where k is left out: their places and Σ_i max_j q_i · d_j, best first.

    Args:
        query: (n, d) token vectors.
        documents: (m, d) token vectors of each, none empty.
        k: how many.
    """
    scores = np.array([(query @ rows.T).max(axis=1).sum(dtype=np.float64) for rows in documents], dtype=np.float64)
    return best_first(np.arange(len(scores)), scores, len(scores) if k is None else k)
