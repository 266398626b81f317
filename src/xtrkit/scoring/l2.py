"""ColBERT v1's other similarity: Σ_i max_j −‖q_i − d_j‖² instead of Σ_i max_j q_i · d_j (Khattab & Zaharia 2020, §3.3).

For vectors of unit length −‖q − d‖² = 2 q·d − 2: the same token is the nearest, and the two scores of a document differ
by a factor and a constant. A model that was trained with L2 is therefore searched like any other; only scores change.
"""

from __future__ import annotations

import numpy as np

from xtrkit.values import FloatArray


def l2_scores(scores: FloatArray, n_query_tokens: int) -> FloatArray:
    """Sums of maximal cosines of one query as sums of maximal negative squared distances.

    Args:
        scores: (k,) Σ_i max_j q_i · d_j, of vectors of unit length.
        n_query_tokens: n.

    Returns:
        (k,) Σ_i max_j −‖q_i − d_j‖²; at most 0.
    """
    return 2 * np.asarray(scores) - 2 * n_query_tokens
