"""Kernels on codes that a table decodes: what a byte stands for is looked up instead of computed.

An affine code needs no table (``kernels/codes.py``) and is the faster for it. Where the values of codes lie anywhere,
as ColBERTv2's quantiles do, one look-up a byte yields the values of all its dimensions at once, as small integers that
were glued together beforehand: 8 / b int8 are one number of 8 / b bytes. A row of codes is thus decoded into a scratch
of (d,) integers that stays in the cache, and from there on products are those of integers as everywhere.

Layout: byte j holds dimensions j · 8 / b to (j + 1) · 8 / b − 1, in whatever order of bits: that is the table's
business. A vector is scale · (centroid + step · table[codes]).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import typeof

from xtrkit.kernels.bundles import QUERY_LIMIT, Run, Table
from xtrkit.kernels.jit import part

NO_TABLE = Table(np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.int8), np.float32(1), np.float32(1))
"""For codes that are affine."""

NO_TABLE_TYPE = typeof(NO_TABLE)
"""No other table has units of one byte: its type tells, when kernels are compiled, that codes are affine."""

SMALLEST_VALUE = 1e-20
"""Where all values are smaller, they are taken for 0."""


def table_of(values: npt.NDArray[np.float32], dim: int) -> Table:
    """(256, 8 / b) values of each byte's dimensions -> the table for vectors of ``dim`` dimensions.

    Values are rounded to int8; to int16 where a byte is one code, as far as sums over all dimensions fit 32 bits.
    """
    fields = values.shape[1]
    integer = np.int16 if fields == 1 else np.int8
    largest = np.float32(min(np.iinfo(integer).max, (2**31 - 1) // (QUERY_LIMIT * dim)))
    highest = np.float32(np.abs(values).max())
    step = highest / largest if highest > SMALLEST_VALUE else np.float32(1)
    levels = np.rint(values / step).astype(integer).ravel()
    return Table(levels.view(f"u{fields * np.dtype(integer).itemsize}"), levels, np.float32(step), largest)


@part
def decode_row(
    codes: npt.NDArray[np.uint8],
    row: int,
    table: Table,
    units: npt.NDArray[np.unsignedinteger],
) -> None:
    """The levels of one row of codes.

    Args:
        codes: (M, w) packed codes.
        row: which of them is decoded.
        table: what bytes stand for.
        units: (w,) receives the levels, glued together as the table's; viewed as ``table.levels`` is they are (d,).
    """
    packed, units_of = codes[row], table.units
    for j in range(len(units)):
        units[j] = units_of[packed[j]]


@part
def table_products(
    codes: npt.NDArray[np.uint8],
    run: Run,
    query: npt.NDArray[np.int16],
    table: Table,
    sums: npt.NDArray[np.int32],
) -> None:
    """Σ_j level_j · p_j of a run of rows of codes with one query token.

    Args:
        codes: (M, w) packed codes.
        run: which rows.
        query: (d or more,) the quantised query token p.
        table: what bytes stand for.
        sums: (rows of the run or more,) receives the sums.
    """
    w, first, last, units_of = codes.shape[1], run.first, run.last, table.units
    units = np.empty(w, dtype=units_of.dtype)
    levels = units.view(table.levels.dtype)
    for t in range(first, last):
        packed = codes[t]
        for j in range(w):
            units[j] = units_of[packed[j]]
        total = np.int32(0)
        for j in range(len(levels)):
            total += np.int32(levels[j]) * np.int32(query[j])
        sums[t - first] = total
