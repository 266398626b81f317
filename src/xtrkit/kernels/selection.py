"""Kernels that find the k largest of some floats: by counting how many reach a border, again and again.

A border is moved by halves until exactly k values reach it. Counting is what registers do best, a tenth of a nanosecond
a value, where a selection that moves values takes 8, most of it mispredicted branches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba.extending import overload

from xtrkit.kernels.jit import INLINED, kernel, part
from xtrkit.kernels.vectors import (
    LANES,
    PACKS,
    address_of,
    count_at_least,
    keep_from,
    lane,
    larger,
    load,
    no_ints,
    smaller,
    splat,
    sum_of,
)

Floats = npt.NDArray[np.float32]
ROOM = LANES + 1
"""Places behind the last value that is kept, where more may be written."""


def count_from(values: Floats, first: int, last: int, border: np.float32) -> int:
    """How many of ``values[first:last]`` are ``border`` or more."""
    return int(np.count_nonzero(values[first:last] >= border))


@overload(count_from, jit_options=INLINED)
def _count_from(values: Any, first: Any, last: Any, border: Any) -> Any:
    def plain(values: Any, first: Any, last: Any, border: Any) -> Any:
        count = np.int32(0)
        for j in range(first, last):
            count += np.int32(values[j] >= border)
        return np.int64(count)

    def counted(values: Any, first: Any, last: Any, border: Any) -> Any:
        borders, counts, j, at = splat(border), no_ints(), first, address_of(values)
        while j + LANES <= last:
            counts = count_at_least(counts, load(at + 4 * j), borders)
            j += LANES
        count = np.int64(sum_of(counts))
        while j < last:
            count += values[j] >= border
            j += 1
        return count

    return counted if LANES else plain


def extremes(values: Floats, first: int, last: int) -> tuple[np.float32, np.float32]:
    """The lowest and the highest of ``values[first:last]``, of which there is one at least."""
    return values[first:last].min(), values[first:last].max()


@overload(extremes, jit_options=INLINED)
def _extremes(values: Any, first: Any, last: Any) -> Any:
    def plain(values: Any, first: Any, last: Any) -> Any:
        low, high = values[first], values[first]
        for j in range(first + 1, last):
            low = values[j] if values[j] < low else low
            high = values[j] if values[j] > high else high
        return low, high

    def compared(values: Any, first: Any, last: Any) -> Any:
        lows = highs = splat(values[first])
        j, at = first, address_of(values)
        while j + LANES <= last:
            lows, highs = smaller(load(at + 4 * j), lows), larger(load(at + 4 * j), highs)
            j += LANES
        low, high = lane(lows, 0), lane(highs, 0)
        for number in range(1, LANES):
            low, high = min(low, lane(lows, number)), max(high, lane(highs, number))
        while j < last:
            low, high = min(low, values[j]), max(high, values[j])
            j += 1
        return low, high

    return compared if LANES else plain


@part
def border_of(values: Floats, first: int, last: int, k: int) -> np.float32:
    """The highest border that is found which k of ``values[first:last]`` or more reach, 1 ≤ k ≤ their number.

    Exactly k reach it, unless there are more equals of the k-th largest than belong to the k: then it is that value.
    """
    low, high = extremes(values, first, last)
    if count_from(values, first, last, high) >= k:
        return high
    while True:  # k or more reach low, fewer reach high
        middle = low + (high - low) * np.float32(0.5)
        if not (low < middle < high):
            return low
        count = count_from(values, first, last, middle)
        if count == k:
            return middle
        if count > k:
            low = middle
        else:
            high = middle


@kernel
def kth_largest(values: Floats, k: int) -> Any:
    """The k-th largest of some finite values, 1 ≤ k ≤ their number."""
    border, least = border_of(values, 0, len(values), k), np.float32(np.inf)
    for value in values:
        least = value if border <= value < least else least
    return least


def keep(
    values: npt.NDArray[np.float32],
    at: int,
    numbers: npt.NDArray[np.int32],
    border: np.float32,
    kept_numbers: npt.NDArray[np.int32],
    kept_values: npt.NDArray[np.float32],
    kept: np.uint64,
) -> np.uint64:
    """Copy the values that are ``border`` or more behind those that are kept already, without a branch.

    Args:
        values: those of ``numbers`` from ``at`` on.
        at: from where on.
        numbers: (K,) what the values are of.
        border: what is kept.
        kept_numbers: receives the numbers of values that are kept; has room for :data:`ROOM` more.
        kept_values: receives the values; likewise.
        kept: how many are kept already.

    Returns:
        how many are kept.
    """
    raise NotImplementedError


@overload(keep, jit_options=INLINED)
def _keep(values: Any, at: Any, numbers: Any, border: Any, kept_numbers: Any, kept_values: Any, kept: Any) -> Any:
    def plain(values: Any, at: Any, numbers: Any, border: Any, kept_numbers: Any, kept_values: Any, kept: Any) -> Any:
        place = np.uint64(at)  # indices without a sign: Numba looks whether others are negative
        for j in range(np.uint64(len(numbers))):
            kept_numbers[kept], kept_values[kept] = numbers[j], values[place + j]
            kept += np.uint64(values[place + j] >= border)
        return kept

    def packed(values: Any, at: Any, numbers: Any, border: Any, kept_numbers: Any, kept_values: Any, kept: Any) -> Any:
        j, count, borders = 0, len(numbers), splat(border)
        from_values, from_numbers = address_of(values) + 4 * at, address_of(numbers)
        to_values, to_numbers = address_of(kept_values), address_of(kept_numbers)
        n_kept = np.int64(kept)
        while j + LANES <= count:
            place = 4 * n_kept
            n_kept += keep_from(
                borders, from_values + 4 * j, from_numbers + 4 * j, to_values + place, to_numbers + place
            )
            j += LANES
        kept = np.uint64(n_kept)
        for row in range(np.uint64(j), np.uint64(count)):
            kept_numbers[kept], kept_values[kept] = numbers[row], values[np.uint64(at) + row]
            kept += np.uint64(values[np.uint64(at) + row] >= border)
        return kept

    return packed if PACKS else plain
