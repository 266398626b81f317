"""The slow, obvious twins of the kernels on codes, in plain NumPy. Used by tests only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def unpack(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.int64]:
    """(B, w) packed codes -> (B, d): field f of byte j is dimension f · w + j."""
    n, w = codes.shape
    unpacked = np.zeros((n, w * 8 // bits), dtype=np.int64)
    for dimension in range(unpacked.shape[1]):
        unpacked[:, dimension] = codes[:, dimension % w] >> (bits * (dimension // w)) & (2**bits - 1)
    return unpacked


def products(
    codes: npt.NDArray[np.uint8], first: int, last: int, query: npt.NDArray[np.int16], bits: int
) -> npt.NDArray[np.int64]:
    """Twin of :func:`xtrkit.kernels.codes.products`."""
    return np.asarray(unpack(codes[first:last], bits) @ query.astype(np.int64))


def best_gain(residual: Floats, bits: int, factors: Sequence[float]) -> float:
    """(r·u)² / u·u of the best step that :func:`xtrkit.kernels.encoding.encode_grid` tries."""
    offset = (2**bits - 1) / 2
    gains = [0.0]
    for factor in factors:
        step = max(factor * float(np.abs(residual).max()) / offset, 1e-30)
        u = np.clip(np.floor(residual / step + offset + 0.5), 0, 2**bits - 1) - offset
        gains.append(float(residual @ u) ** 2 / float(u @ u))
    return max(gains)


def decode(codes: npt.NDArray[np.uint8], scales: npt.NDArray[np.float16], bits: int) -> npt.NDArray[np.float64]:
    """Scale · (code − offset): (B, w), (B,) -> (B, d)."""
    levels = unpack(codes, bits) - (2**bits - 1) / 2
    return np.asarray(scales.astype(np.float64)[:, np.newaxis] * levels)


def stanford_buckets(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.int64]:
    """(B, w) packed codes -> (B, d) bucket numbers: dimensions from the high bits down, each field reversed."""
    n, w = codes.shape
    per_byte = 8 // bits
    buckets = np.zeros((n, w * per_byte), dtype=np.int64)
    for dimension in range(w * per_byte):
        for bit in range(bits):
            place = 7 - (dimension % per_byte * bits + bit)
            buckets[:, dimension] |= (codes[:, dimension // per_byte].astype(np.int64) >> place & 1) << bit
    return buckets


def decode_buckets(codes: npt.NDArray[np.uint8], bits: int, weights: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The weight of each dimension's bucket: (B, w) -> (B, d)."""
    return np.asarray(weights, dtype=np.float64)[stanford_buckets(codes, bits)]


def nearest_clusters(
    groups: Floats, group_offsets: npt.NDArray[np.int64], centroids: Floats, token: Floats, probed: int, nprobe: int
) -> list[int]:
    """Twin of :func:`xtrkit.kernels.probing.nearest_clusters` for one query token and distinct similarities."""
    nearest_groups = np.argsort(-(groups @ token), kind="stable")[:probed]
    inside = sorted(c for g in nearest_groups for c in range(group_offsets[g], group_offsets[g + 1]))
    best = sorted(inside, key=lambda c: (-float(centroids[c] @ token), c))[:nprobe]
    return sorted(best)


def xtr_sums(
    hits: Sequence[Sequence[tuple[int, float]]], lowest: Sequence[float], missing: Sequence[float]
) -> dict[int, tuple[float, int]]:
    """Twin of :func:`xtrkit.kernels.probing.sum_best`: {document: (Σ_i (best_i − m_i), query tokens with hits)}.

    Args:
        hits: (document, similarity) of each query token.
        lowest: similarities below this do not count, for each query token.
        missing: m_i.
    """
    sums: dict[int, tuple[float, int]] = {}
    for of_token, border, stand_in in zip(hits, lowest, missing, strict=True):
        best: dict[int, float] = {}
        for document, score in of_token:
            if score >= border:
                best[document] = max(best.get(document, -np.inf), score)
        for document, score in best.items():
            total, count = sums.get(document, (0.0, 0))
            sums[document] = (total + score - stand_in, count + 1)
    return sums


def sum_of_max(tokens: npt.NDArray[np.float64], query: npt.NDArray[np.float64], most: npt.ArrayLike = np.inf) -> float:
    """Twin of :func:`xtrkit.kernels.gathering.sums_of_max` for one document's decoded tokens."""
    return float(np.minimum((query @ tokens.T).max(axis=1), most).sum())


def expected_kth(
    opened: npt.NDArray[np.float64],
    closed_scores: npt.NDArray[np.float64],
    closed_sizes: npt.NDArray[np.float64],
    spread: float,
    k: int,
) -> float:
    """Twin of :func:`xtrkit.kernels.expectation.expected_kth_scores` for one query token, by halving over scores."""

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
