"""Imputation on a compressed index: what stands for a similarity that approximate token retrieval missed.

Where only some clusters were opened, the similarities that were found do not bound the others, so beside the paper's
policies (:mod:`xtrkit.scoring.imputation`) there are estimates from the centroids. Each policy says two things of
every query token: from which similarity up a token counts as retrieved, and m_i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError

Kind = Literal["min", "found", "retrieved", "centroid", "cumulated", "constant", "none"]


@dataclass(frozen=True)
class Estimate:
    """An imputation policy of a compressed index.

    Attributes:
        kind: where m_i comes from.

            "min"
                The k'-th best similarity of all tokens, as the paper's: as it is where every cluster was opened, and
                otherwise as it must be expected, given the tokens found and the scores and sizes of the closed
                clusters (:func:`xtrkit.kernels.expectation.expected_kth_scores`). Only similarities from m_i up count
                as retrieved.
            "found"
                The k'-th best similarity found, but at least the score of the last centroid whose cluster was
                opened: where few clusters were opened there may be fewer than k' tokens in them, and the lowest of
                those says nothing. Only similarities from m_i up count as retrieved.
            "retrieved"
                The k'-th best similarity found, and the lowest where there are fewer: ColXTR's. Only similarities from
                m_i up count as retrieved.
            "centroid"
                The score of the last centroid whose cluster was opened; all tokens in opened clusters count.
            "cumulated"
                WARP's estimate: the score of the centroid at which the sizes of the clusters, in order of score, add
                up to ``value`` (t') tokens; all tokens in opened clusters count.
            "constant"
                ``value``; all tokens in opened clusters count.
            "none"
                Nothing: the mean is over the query tokens that found the document.
        value: t' of "cumulated" or the number of "constant".
    """

    kind: Kind = "min"
    value: float = 0.0


MIN = Estimate()


def estimate_named(name: str) -> Estimate:
    """The policy for a name: that of its kind, "t5000" for t' = 5,000, or a finite number.

    Raises:
        InputError: the name is none of these.
    """
    if name in ("min", "found", "retrieved", "centroid", "none"):
        return Estimate(name)  # type: ignore[arg-type]
    kind: Kind = "cumulated" if name[:1] == "t" else "constant"
    try:
        value = float(name[1:] if kind == "cumulated" else name)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (kind == "cumulated" and value < 1):
        raise InputError(
            f"Unknown imputation {name!r}: use 'min', 'found', 'retrieved', 'centroid', 'none', 't5000' (the score "
            "at 5,000 cumulated tokens), or a number such as 0.2."
        )
    return Estimate(kind, value)


def lowest_centroids(cluster_scores: npt.NDArray[np.float32], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The score of the last of the ``counts`` clusters of each query token: (n, nprobe), (n,) -> (n,)."""
    absent = np.arange(cluster_scores.shape[1]) >= counts[:, np.newaxis]
    return np.asarray(np.where(absent, np.inf, cluster_scores).min(axis=1), dtype=np.float64)


def cumulated(
    cluster_scores: npt.NDArray[np.float32],
    sizes: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    tokens: float,
) -> npt.NDArray[np.float64]:
    """WARP's m_i: the score at which the clusters' sizes, best cluster first, add up to ``tokens``.

    Where all the clusters that are known hold fewer tokens, the score of the last of them.

    Args:
        cluster_scores: (n, b) scores of the best clusters of each query token, in any order.
        sizes: (n, b) how many tokens they have.
        counts: (n,) how many of a row count.
        tokens: t', at least 1.
    """
    absent = np.arange(cluster_scores.shape[1]) >= counts[:, np.newaxis]
    order = np.argsort(np.where(absent, np.inf, -cluster_scores), axis=1, kind="stable")
    running = np.cumsum(np.take_along_axis(np.where(absent, 0, sizes), order, axis=1), axis=1)
    reached = np.minimum((running < tokens).sum(axis=1), counts - 1)
    ordered = np.take_along_axis(cluster_scores, order, axis=1)
    return np.asarray(ordered[np.arange(len(counts)), reached], dtype=np.float64)
