"""Four bits for the rows of a large table.

A row lies in blocks of 32 numbers with a scale in half precision, of which the number that is largest by magnitude is
−8: llama.cpp's Q4_0, so that a table that came in that form loses nothing. Byte j of a row has number j in its low half
and number j + d/2 in its high one: halves are put side by side again without a transposition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 32
ZERO = 8


def packed(table: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """(V, d) numbers -> (V, d / 2) bytes and (V, d / 32) scales; d is a multiple of 32."""
    blocks = table.reshape(len(table), -1, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[:, :, None], axis=2)
    scales = (largest / -ZERO).astype(np.float16)
    whole = scales.astype(np.float32)
    steps = np.rint(blocks / np.where(whole == 0, 1, whole)) + ZERO
    halves = np.clip(steps, 0, 15).astype(np.uint8).reshape(len(table), 2, -1)
    return halves[:, 0] | halves[:, 1] << 4, scales[:, :, 0]


def unpacked(table: npt.NDArray[Any], scales: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """What :func:`packed` made (V, d / 2) bytes and (V, d / 32) scales of, but for rounding."""
    steps = np.concatenate([table & 15, table >> 4], axis=1).astype(np.float32) - ZERO
    blocks = steps.reshape(len(table), -1, BLOCK) * scales.astype(np.float32)[:, :, None]
    return blocks.reshape(len(table), -1)
