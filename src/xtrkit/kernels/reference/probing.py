"""Twins of the kernels of compressed search: selection, probing, imputation, scores."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def kth_largest(values: npt.NDArray[np.float32], k: int) -> float:
    """Twin of :func:`xtrkit.kernels.selection.kth_largest`."""
    return float(np.sort(values)[::-1][k - 1])


def largest(values: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """Twin of :func:`xtrkit.kernels.selection.take_largest`: places of the k largest, in ascending order."""
    return np.sort(np.argsort(-values, kind="stable")[:k])


def expected_kth(
    opened: npt.NDArray[np.float64],
    closed_scores: npt.NDArray[np.float64],
    closed_sizes: npt.NDArray[np.float64],
    spread: float,
    k: int,
) -> float:
    """Twin of :func:`xtrkit.kernels.missing.expected_kth_scores` for one query token, by halving over scores."""

    def tokens_above(score: float) -> float:
        shares = [0.5 * math.erfc((score - closed) / spread / math.sqrt(2)) for closed in closed_scores]
        return float((opened >= score).sum() + np.dot(closed_sizes, shares))

    low = float(min(opened.min(), closed_scores.min(initial=np.inf))) - 2 * spread
    high = float(max(opened.max(), closed_scores.max(initial=-np.inf))) + 4 * spread
    if tokens_above(low) < k:
        return low
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tokens_above(middle) >= k else (low, middle)
    return low


def xtr_scores(
    best: npt.NDArray[np.float64], missing: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Twin of :func:`xtrkit.kernels.hits.sum_best`: eq. 4 summed, from (N, n) best hits with -inf where there is none.

    Returns:
        the documents with a hit, ascending, and their scores.
    """
    documents = np.flatnonzero(np.isfinite(best).any(axis=1))
    return documents, np.where(np.isfinite(best), best, missing)[documents].sum(axis=1)


def sum_of_max(query: npt.NDArray[np.float32], document: npt.NDArray[np.float32]) -> float:
    """Twin of :func:`xtrkit.kernels.decompression.sums_of_best` for one document: (n, d), (m, d)."""
    return float((query @ document.T).max(axis=1).astype(np.float64).sum())
