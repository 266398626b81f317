"""Selection: the k-th largest of some values, without sorting them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.jit import kernel

BINS = 256
FEW = 64
"""Up to so many values are selected from directly."""


@kernel
def kth_largest(values: npt.NDArray[np.float32], k: int, scratch: npt.NDArray[np.float32]) -> np.float32:
    """The k-th largest of some values.

    The values are counted into bins first, and only those of the bin with the k-th are selected from: 2 ns a value
    instead of 10. The range of the bins is guessed from a sample; a bad guess costs time, never exactness.

    Args:
        values: (V,) finite values, not changed.
        k: 1 … V.
        scratch: (V or more,) is overwritten.
    """
    count = len(values)
    if count <= FEW:
        scratch[:count] = values
        return _select(scratch, count, k)
    low = high = values[0]
    for j in range(0, count, count // FEW):
        low, high = min(low, values[j]), max(high, values[j])
    inverse = np.float32(BINS) / np.float32(max(high - low, np.float32(1e-30)))
    sizes = np.zeros(BINS, dtype=np.int32)
    for j in range(count):
        sizes[_bin(values[j], low, inverse)] += 1
    wanted, above = BINS - 1, 0
    while above + sizes[wanted] < k:
        above += sizes[wanted]
        wanted -= 1
    kept = 0
    for j in range(count):
        scratch[kept] = values[j]
        kept += _bin(values[j], low, inverse) == wanted
    return _select(scratch, kept, k - above)


@kernel
def _bin(value: np.float32, low: np.float32, inverse: np.float32) -> int:
    return int(min(max((value - low) * inverse, np.float32(0)), np.float32(BINS - 1)))


@kernel
def _select(values: npt.NDArray[np.float32], count: int, k: int) -> np.float32:
    """The k-th largest of the first ``count`` values; reorders them (Hoare's selection)."""
    low, high, wanted = 0, count - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while pivot > values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return np.float32(values[wanted])


@kernel
def take_largest(
    values: npt.NDArray[np.float32],
    k: int,
    scratch: npt.NDArray[np.float32],
    chosen: npt.NDArray[np.int32],
) -> int:
    """The places of the k largest values in ascending order; of equal values the earlier places.

    Args:
        values: (V,) finite values, not changed.
        k: how many; all of them where there are fewer.
        scratch: (V or more,) is overwritten.
        chosen: (k or more,) receives the places.

    Returns:
        how many were taken.
    """
    if min(k, len(values)) == 0:
        return 0
    border = kth_largest(values, min(k, len(values)), scratch)
    above = 0
    for j in range(len(values)):
        above += values[j] > border
    room, taken = min(k, len(values)) - above, 0
    for j in range(len(values)):
        if values[j] > border or (values[j] == border and room > 0):
            room -= values[j] == border
            chosen[taken] = j
            taken += 1
    return taken
