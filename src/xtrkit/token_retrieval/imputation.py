"""Missing similarities of a compressed index: what m_i of eq. 4 is where only opened clusters were looked at.

In exact token retrieval m_i bounds what was missed, because everything was looked at. Here clusters stayed closed, and
the k'-th best similarity *among opened clusters* is too low where few were opened: at 8 clusters by 0.22 on average
(SciFact, k' = 1,000), which is more than most differences between documents. ``expected`` allows for the tokens in
closed clusters and is off by 0.01. The other policies are those of the papers.

======================  ========================================================================  ================
name                    m_i                                                                       source
======================  ========================================================================  ================
``"expected"``          the k'-th best similarity that all tokens are expected to have            here
``"min"``               the k'-th best similarity of opened clusters, or their lowest             XTR, §3.2
``"mass"``              the score of the centroid at which cluster sizes add up to t'             WARP, §4.3
``"none"``              none: the query token is left out                                         XTR, eq. 2
``"0.2"``, a number     that number                                                               XTR, table 5
======================  ========================================================================  ================
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.missing import expected_kth_scores, kth_scores
from xtrkit.token_retrieval.centroid import Probes

NAMED = ("expected", "min", "mass", "none")


class Missing(NamedTuple):
    """What absence is worth.

    Attributes:
        lowest: (n,) similarities below this do not count as retrieved.
        values: (n,) m_i; None leaves query tokens without a hit out of a document's score.
    """

    lowest: npt.NDArray[np.float32]
    values: npt.NDArray[np.float64] | None


def check_imputation(name: str) -> None:
    """Refuse a name that stands for no policy.

    Raises:
        InputError: it is neither in ``NAMED`` nor a finite number.
    """
    if name not in NAMED and not math.isfinite(_number(name)):
        raise InputError(
            f"Unknown imputation {name!r} for a compressed index: use {', '.join(map(repr, NAMED))} or a number."
        )


def missing_similarities(index: CompressedTokens, probes: Probes, name: str, k_prime: int) -> Missing:
    """Apply the policy of a name.

    Args:
        index: the compressed index.
        probes: opened clusters.
        name: one of ``NAMED``, or a number.
        k_prime: k', how many tokens each query token retrieves at most.
    """
    lowest = np.empty(len(probes.counts), dtype=np.float32)
    if name == "expected":
        expected_kth_scores(
            probes.scores, probes.starts, index.offsets, probes.clusters, probes.cluster_scores, probes.counts,
            probes.closed_tokens, probes.closed_range, k_prime, lowest,
        )  # fmt: skip
        return Missing(lowest, lowest.astype(np.float64))
    kth_scores(probes.scores, probes.starts, k_prime, lowest)
    if name == "min":
        return Missing(lowest, lowest.astype(np.float64))
    if name == "none":
        return Missing(lowest, None)
    if name == "mass":
        return Missing(lowest, _scores_at_mass(index, probes, default_mass(index.n_tokens)))
    return Missing(lowest, np.full(len(lowest), _number(name)))


def default_mass(n_tokens: int) -> int:
    """WARP's t' = ⌊√(8 M) / 1,000⌋ · 1,000, but 1,000 where that would be 0, and never above M."""
    return min(max(int(math.sqrt(8 * n_tokens) / 1000) * 1000, 1000), n_tokens)


def _scores_at_mass(index: CompressedTokens, probes: Probes, mass: int) -> npt.NDArray[np.float64]:
    """The centroid score at which sizes, added up from the best cluster down, reach ``mass``; else the lowest seen."""
    sizes = np.diff(index.offsets)
    steps = probes.closed_tokens.shape[1]
    values = np.empty(len(probes.counts), dtype=np.float64)
    for i, count in enumerate(probes.counts):
        low, high = probes.closed_range[i]
        closed_scores = low + (np.arange(steps) + 0.5) * (high - low) / steps
        scores = np.concatenate((probes.cluster_scores[i, :count], closed_scores))
        tokens = np.concatenate((sizes[probes.clusters[i, :count]], probes.closed_tokens[i]))
        order = np.argsort(-scores, kind="stable")
        reached = np.searchsorted(np.cumsum(tokens[order]), mass)
        values[i] = scores[order[min(int(reached), len(order) - 1)]]
    return values


def _number(name: str) -> float:
    try:
        return float(name)
    except (TypeError, ValueError):
        return math.nan
