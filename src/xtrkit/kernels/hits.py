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
