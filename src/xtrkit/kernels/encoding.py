"""Residuals to codes on an affine grid, in the layout of :mod:`xtrkit.kernels.codes`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.jit import kernel, part


@kernel
def encode_grid(
    residuals: npt.NDArray[np.float32],
    bits: int,
    factors: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint8],
    scales: npt.NDArray[np.float32],
) -> None:
    """Codes and scale of each residual: of the scales tried, the one that leaves the least squared error.

    With u_j = code_j − offset for a tried step, the best scale is r·u / u·u and the squared error |r|² − (r·u)² / u·u,
    so the step with the largest (r·u)² / u·u wins.

    Args:
        residuals: (B, d).
        bits: 1, 2, 4 or 8.
        factors: (F,) the steps to try, as fractions of the step that would just reach the largest component.
        codes: (B, w) receives the packed codes; zeros before.
        scales: (B,) receives the scales.
    """
    d, w = residuals.shape[1], codes.shape[1]
    top = np.float32(2**bits - 1)
    offset = top / np.float32(2)
    levels = np.empty(d, dtype=np.float32)
    best_levels = np.empty(d, dtype=np.float32)
    for t in range(len(residuals)):
        row = residuals[t]
        largest = np.float32(0)
        for j in range(d):
            largest = max(largest, abs(row[j]))
        best, scales[t] = np.float32(-1), np.float32(0)
        for f in range(len(factors)):
            step = max(factors[f] * largest / offset, np.float32(1e-30))
            inverse = np.float32(1) / step
            for j in range(d):
                levels[j] = min(max(np.floor(row[j] * inverse + offset + np.float32(0.5)), np.float32(0)), top)
            with_row, with_self = _moments(row, levels, offset)
            gain = with_row * with_row / with_self
            if gain > best:
                best, scales[t] = gain, with_row / with_self
                for j in range(d):
                    best_levels[j] = levels[j]
        for j in range(d):
            codes[t, j % w] |= np.uint8(np.uint8(best_levels[j]) << np.uint8(bits * (j // w)))


@part
def _moments(
    row: npt.NDArray[np.float32], levels: npt.NDArray[np.float32], offset: np.float32
) -> tuple[np.float32, np.float32]:
    """r·u and u·u for u = levels − offset, in 8 strands: float sums vectorise only in an order that is spelt out."""
    d = len(row)
    with_row, with_self = np.zeros(8, dtype=np.float32), np.zeros(8, dtype=np.float32)
    for j in range(0, d, 8):
        for lane in range(8):
            u = levels[j + lane] - offset
            with_row[lane] += row[j + lane] * u
            with_self[lane] += u * u
    sum_with_row, sum_with_self = with_row[0], with_self[0]
    for lane in range(1, 8):
        sum_with_row += with_row[lane]
        sum_with_self += with_self[lane]
    return sum_with_row, sum_with_self
