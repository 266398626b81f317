"""Twins of :mod:`xtrkit.kernels.codes` and of decompression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def pack(levels: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """(B, d) codes -> (B, w) bytes: dimension f · w + j is field f of byte j."""
    w = levels.shape[1] * bits // 8
    packed = np.zeros((len(levels), w), dtype=np.uint8)
    for j in range(levels.shape[1]):
        packed[:, j % w] |= levels[:, j] << np.uint8(bits * (j // w))
    return packed


def products(levels: npt.NDArray[np.uint8], query: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """Twin of :func:`xtrkit.kernels.codes.products`, on codes that are not packed: (B, d), (d,) -> (B,)."""
    return levels.astype(np.int64) @ query.astype(np.int64)


def best_grid_error(residual: npt.NDArray[np.float32], bits: int, factors: npt.NDArray[np.float32]) -> float:
    """Twin of :func:`xtrkit.kernels.codes.encode_grid` for one residual: the least squared error of all steps."""
    top = 2**bits - 1
    errors = [float((residual.astype(np.float64) ** 2).sum())]
    for factor in factors:
        step = max(factor * np.abs(residual).max() / (top / 2), np.float32(1e-30))
        u = np.clip(np.floor(residual / step + top / 2 + 0.5), 0, top) - top / 2
        scale = (residual @ u) / (u @ u)
        errors.append(float(((residual - scale * u) ** 2).sum()))
    return min(errors)
