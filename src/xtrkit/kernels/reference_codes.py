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


def affine_scores(
    sums: npt.NDArray[np.int64],
    halves: npt.NDArray[np.uint16],
    of_centroids: npt.ArrayLike,
    factor: np.float32,
    offset: np.float32,
) -> Floats:
    """Twin of :func:`xtrkit.kernels.codes.score_run`, bit for bit: the same float32 in the same order of operations."""
    small = (halves.astype(np.uint32) << np.uint32(13)).view(np.float32)  # 2^112 times too small
    of_codes = (factor * np.float32(2.0**112)) * (sums.astype(np.float32) - offset)
    return np.asarray(of_centroids, dtype=np.float32) + small * of_codes


def table_scores(
    sums: npt.NDArray[np.int64], halves: npt.NDArray[np.uint16], of_centroids: npt.ArrayLike, factor: np.float32
) -> Floats:
    """Twin of :func:`xtrkit.kernels.codes.score_run` where a table decodes, bit for bit."""
    within = np.asarray(of_centroids, dtype=np.float32) + factor * sums.astype(np.float32)
    return np.asarray(halves.view(np.float16).astype(np.float32) * within)


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
    """Twin of :func:`xtrkit.kernels.choosing.nearest_clusters` for one query token and distinct similarities."""
    nearest_groups = np.argsort(-(groups @ token), kind="stable")[:probed]
    inside = sorted(c for g in nearest_groups for c in range(group_offsets[g], group_offsets[g + 1]))
    best = sorted(inside, key=lambda c: (-float(centroids[c] @ token), c))[:nprobe]
    return sorted(best)


def promising_borders(
    promises: Sequence[npt.NDArray[Any]], sizes: Sequence[npt.NDArray[Any]], k: int, budget: float, fair_share: float
) -> list[float]:
    """Twin of :func:`xtrkit.kernels.choosing.promising_clusters`: the promise from which up clusters are opened.

    Tokens are counted cluster by cluster instead of in steps; the cluster with which the budget is passed is the border.

    Args:
        promises: those of the clusters that each query token looked at.
        sizes: the tokens of these clusters.
        k: k'.
        budget: how many tokens are to be looked at.
        fair_share: the part of an even share that every query token gets.
    """
    anchors, fair = [], []
    for of_token, held in zip(promises, sizes, strict=True):
        order = np.argsort(-of_token, kind="stable")
        running = np.cumsum(held[order])
        for tokens, found in ((k, anchors), (fair_share * budget / len(promises), fair)):
            at = int((running < tokens).sum())  # the first cluster with which there are so many
            found.append(float(of_token[order[min(at, len(order) - 1)]]))
        fair[-1] = min(fair[-1], float(of_token[held > 0].max(initial=-np.inf)))
    order_of_all = sorted(
        ((float(promise) - anchor, float(promise), int(size), token)
         for token, (of_token, held, anchor) in enumerate(zip(promises, sizes, anchors, strict=True))
         for promise, size in zip(of_token, held, strict=True)),
        reverse=True,
    )  # fmt: skip
    spent = sum(
        int(held[of_token >= border].sum()) for of_token, held, border in zip(promises, sizes, fair, strict=True)
    )
    shift = -np.inf
    for beyond, promise, size, token in order_of_all:
        if promise < fair[token]:
            spent += size
            if spent > budget:
                shift = beyond
                break
    return [min(border, anchor + shift) for border, anchor in zip(fair, anchors, strict=True)]


def xtr_sums(
    hits: Sequence[Sequence[tuple[int, float]]], lowest: Sequence[float], missing: Sequence[float]
) -> dict[int, tuple[float, int]]:
    """Twin of :func:`xtrkit.kernels.summing.sum_best`: {document: (Σ_i (best_i − m_i), query tokens with hits)}.

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
