"""Kernels on packed codes: similarities of a run of rows with a quantised query token.

A code of b bits stands for scale · (code − offset), offset = (2^b − 1) / 2, so a similarity is

    q · v = q · centroid + scale_t · scale_q · (Σ_j code_j · p_j − offset · Σ_j p_j)    with q ≈ scale_q · p, p integer,

and the sum over codes is all that has to touch memory.

Layout. A vector of d codes takes w = d · b / 8 bytes. Field f of byte j (bits f·b … f·b + b − 1) is dimension
f · w + j: a field of consecutive bytes is a run of consecutive dimensions, which is what vector instructions want;
neighbouring dimensions in one byte, as other engines have them, would need a shuffle.

There are two of everything here: a loop over tiles of as many rows as a register has lanes
(:mod:`xtrkit.kernels.vectors`), and a plain loop over rows, for processors without such registers, and for the last
rows of a file, where a register would reach beyond its end. Both compute the same integers, and the same floats in the
same order of operations: results are the same bits everywhere.

Two rules about Numba keep these loops fast. Sums are cut to 32 bits in every round: int32 + int32 is int64 in Numba,
and only so does LLVM see that 32 are enough (4.7 against 12.7 ns a product). And what is called for every row or
cluster takes numbers and addresses, no arrays: Numba counts references to all arrays of a bundle wherever a function
takes it and branches, with instructions that lock memory, a hundred nanoseconds a call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from xtrkit.kernels.bundles import Postings, QuantisedQuery, Run
from xtrkit.kernels.dense import HALF_BIAS
from xtrkit.kernels.intrinsics import float_of_bits, prefetch
from xtrkit.kernels.jit import INLINED, inlined, part
from xtrkit.kernels.tables import NO_TABLE_TYPE, table_products
from xtrkit.kernels.vectors import (
    LANES,
    WIDTH,
    add_byte_products,
    add_code_products,
    address_of,
    byte_at,
    float_at,
    half_bits_at,
    load_halves,
    minus,
    no_sums,
    plus,
    put,
    row_sums,
    short_at,
    small_at,
    splat,
    store,
    times,
    to_floats,
)

CACHE_LINE = 64
OfToken = tuple[np.float32, np.float32, np.float32]


def n_fields_of(postings: Any) -> int:
    """Fields of a byte of codes, by Numba's type of postings."""
    return len(postings.types[postings.fields.index("shifts")])


def is_affine(postings: Any) -> bool:
    """Whether no table decodes the codes, by Numba's type of postings."""
    return bool(postings.types[postings.fields.index("table")] == NO_TABLE_TYPE)


def rows_summed(n_fields: int) -> Any:
    """The function (codes, width, query, plane) -> Σ_j code_j · p_j of one row of codes, by a plain loop.

    Args:
        n_fields: of a byte.
    """
    bits, mask = 8 // n_fields, np.uint8(2 ** (8 // n_fields) - 1)

    @inlined
    def of_bytes(codes: int, width: int, query: int, plane: int) -> Any:
        total = np.int32(0)
        for j in range(width):
            total = np.int32(total + np.int32(byte_at(codes, j)) * np.int32(short_at(query, j)))
        return total

    @inlined
    def of_fields(codes: int, width: int, query: int, plane: int) -> Any:
        total = np.int32(0)
        for field in range(n_fields):
            shift, of_field = np.uint8(bits * field), query + field * plane
            for j in range(width):
                level = (byte_at(codes, j) >> shift) & mask
                total = np.int32(total + np.int32(level) * np.int32(small_at(of_field, j)))
        return total

    return of_bytes if n_fields == 1 else of_fields


@inlined
def affine_score(
    total: np.int32, half_bits: np.uint16, centroid: np.float32, factor: np.float32, offset: np.float32
) -> Any:
    """Centroid + scale_t · (scale_q · (sum − offset)); on halves see :mod:`xtrkit.kernels.dense`.

    Args:
        total: the sum over codes.
        half_bits: of the token's float16 scale, not negative, infinite or NaN.
        centroid: similarity of the query token with the cluster's centroid.
        factor: scale_q, 2^112 times as large.
        offset: the zero point's part of the sum.
    """
    return centroid + float_of_bits(np.uint32(half_bits) << np.uint32(13)) * (factor * (np.float32(total) - offset))


@part
def table_scores(
    postings: Postings, run: Run, query: QuantisedQuery, i: int, centroid: np.float32, scores: int
) -> None:
    """Similarities with a run of rows where a table decodes: scale_t · (centroid + step · scale_q · sum).

    The query's ``code_scales`` contain the table's step.
    """
    halves, first, factor, of_token = postings.halves, run.first, query.code_scales[i], query.tokens[i]
    sums = np.empty(run.last - first, dtype=np.int32)
    table_products(postings.codes, run, of_token, postings.table, sums)
    for j in range(run.last - first):
        scale = float_of_bits(np.uint32(halves[first + j]) << np.uint32(13)) * HALF_BIAS
        put(scores, j, np.float32(scale * (centroid + factor * np.float32(sums[j]))))


@inlined
def reach(n_rows: int, row_bytes: int, loaded: int) -> int:
    """The last row from which on :data:`LANES` rows can be loaded, ``loaded`` bytes at a time, within an array of rows.

    Where a row's bytes are no multiple of ``loaded``, what is loaded last reaches into the rows that follow, where the
    query has zeros.
    """
    beyond = -row_bytes % loaded
    return n_rows - LANES - (beyond + row_bytes - 1) // row_bytes


@inlined
def sums_of_bytes(rows: int, row_bytes: int, query: int, signed: int) -> Any:
    """The sums over :data:`LANES` rows of bytes, from one address on, with 16-bit integers at another."""
    sums = no_sums()
    for j in range(0, row_bytes, WIDTH // 2):
        sums = add_byte_products(sums, rows + j, row_bytes, query + 2 * j, signed)
    return row_sums(sums)


class Tiles(NamedTuple):
    """How registers find codes and queries: addresses and distances, in bytes.

    Attributes:
        codes: of the codes.
        halves: of their scales.
        width: of a row of codes.
        reach: the last row that a tile may begin at.
        query: of the first query token's integers that codes meet.
        stride: from one query token's to the next.
        plane: from one field's to the next.
    """

    codes: int
    halves: int
    width: int
    reach: int
    query: int
    stride: int
    plane: int


@part
def tiles_of(postings: Postings, query: QuantisedQuery) -> Tiles:
    """The addresses of a segment's codes and of a query."""
    codes, planes, tokens = postings.codes, query.planes, query.tokens
    begin, halves, (n_rows, width) = address_of(codes), address_of(postings.halves), codes.shape
    if planes.shape[1]:
        stride, plane, loaded = planes.shape[1] * planes.shape[2], planes.shape[2], WIDTH
        return Tiles(begin, halves, width, reach(n_rows, width, loaded), address_of(planes), stride, plane)
    return Tiles(begin, halves, width, reach(n_rows, width, WIDTH // 2), address_of(tokens), 2 * tokens.shape[1], 0)


def rows_scored(n_fields: int) -> Any:
    """The function that tells the similarities of a query token with a run of rows of one cluster, row by row.

    It takes in: :class:`Tiles`; the :class:`Run`; the address of the query token's integers; similarity with the
    centroid, scale_q · 2^112 and offset; the address of a register of scratch; and the address that receives the
    similarities.

    Args:
        n_fields: of a byte of codes, which are affine.
    """
    sum_of_row = rows_summed(n_fields)

    @inlined
    def by_rows(tiles: Tiles, run: Run, query: int, of_token: OfToken, scratch: int, scores: int) -> None:
        centroid, factor, offset = of_token
        for row in range(run.first, run.last):
            total = sum_of_row(tiles.codes + row * tiles.width, tiles.width, query, tiles.plane)
            similar = affine_score(total, half_bits_at(tiles.halves, row), centroid, factor, offset)
            put(scores, row - run.first, np.float32(similar))

    return by_rows


def _tiles_summed(n_fields: int) -> Any:
    """The function (codes, width, query, plane) -> the sums of a tile of rows."""

    @inlined
    def of_fields(codes: int, width: int, query: int, plane: int) -> Any:
        sums = no_sums()
        for j in range(0, width, WIDTH):
            sums = add_code_products(sums, codes + j, width, query + j, plane, n_fields)
        return row_sums(sums)

    @inlined
    def of_bytes(codes: int, width: int, query: int, plane: int) -> Any:
        return sums_of_bytes(codes, width, query, 0)

    return of_bytes if n_fields == 1 else of_fields


def tiles_scored(n_fields: int) -> Any:
    """As :func:`rows_scored`, tile by tile.

    The last tile of a run is moved back, so that it ends where the run does: some rows are computed twice and nothing
    is written beyond. A run shorter than a tile goes through the scratch.
    """
    by_rows, sums_of_tile = rows_scored(n_fields), _tiles_summed(n_fields)

    @inlined
    def by_tiles(tiles: Tiles, run: Run, query: int, of_token: OfToken, scratch: int, scores: int) -> None:
        first, last, width = run.first, run.last, tiles.width
        row, short, upcoming = first, last - first < LANES, tiles.codes + (run.upcoming - first) * width
        centroid, factor, offset = splat(of_token[0]), splat(of_token[1]), splat(of_token[2])
        while row < last:
            begin = row if short else min(row, last - LANES)
            if begin > tiles.reach:
                by_rows(tiles, Run(row, last, row), query, of_token, scratch, scores + 4 * (row - first))
                return
            for line in range(begin * width, (begin + LANES) * width, CACHE_LINE):
                prefetch(upcoming + line)
            sums = to_floats(sums_of_tile(tiles.codes + begin * width, width, query, tiles.plane))
            scales = load_halves(tiles.halves + 2 * begin)
            similar = plus(centroid, times(scales, times(factor, minus(sums, offset))))
            if short:
                store(scratch, similar)
                for j in range(last - first):
                    put(scores, j, float_at(scratch, j))
                return
            store(scores + 4 * (begin - first), similar)
            row = begin + LANES

    return by_tiles


def score_run(
    postings: Postings,
    tiles: Tiles,
    run: Run,
    query: QuantisedQuery,
    i: int,
    of_token: OfToken,
    scratch: int,
    scores: int,
) -> None:
    """Similarities of query token i with a run of rows of one cluster.

    A kernel that calls this contains one kind of codes alone: how many fields a byte has, and whether a table decodes
    them, is known when it is compiled.

    Args:
        postings: the codes.
        tiles: where they are.
        run: which rows; and what is prefetched meanwhile.
        query: the query.
        i: which of its tokens.
        of_token: its similarity with the cluster's centroid, its scale for codes times 2^112, and its offset.
        scratch: address of as many floats as a register has.
        scores: address that receives the similarities.
    """


@overload(score_run, jit_options=INLINED)
def _score_run(
    postings: Any, tiles: Any, run: Any, query: Any, i: Any, of_token: Any, scratch: Any, scores: Any
) -> Any:
    score = tiles_scored(n_fields_of(postings)) if LANES else rows_scored(n_fields_of(postings))

    def of_codes(
        postings: Any, tiles: Any, run: Any, query: Any, i: Any, of_token: Any, scratch: Any, scores: Any
    ) -> Any:
        score(tiles, run, tiles.query + i * tiles.stride, of_token, scratch, scores)

    def of_table(
        postings: Any, tiles: Any, run: Any, query: Any, i: Any, of_token: Any, scratch: Any, scores: Any
    ) -> Any:
        table_scores(postings, run, query, i, of_token[0], scores)

    return of_codes if is_affine(postings) else of_table
