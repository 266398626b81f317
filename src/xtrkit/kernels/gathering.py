"""Kernels of ColBERT's mode: all tokens of a candidate, wherever they stand, and the sum of maxima (ColBERT, eq. 3).

A lane is a query token: the codes of a document token are unpacked into a scratch that stays in the first-level cache,
and a few levels at a time meet the integers of all query tokens. Nothing is decoded, and nothing summed across lanes. A
similarity has the part of the centroid too; what the query has to do with a centroid is computed when the first token
of its cluster comes, and kept for the others.

Similarities are the same integers and floats as those of opened clusters (:mod:`xtrkit.kernels.codes`), bit for bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba.extending import overload

from xtrkit.kernels.bundles import PADDING, DocumentRows, Postings, QuantisedQuery, ScaledVectors
from xtrkit.kernels.codes import CACHE_LINE, is_affine, n_fields_of
from xtrkit.kernels.dense import HALF_BIAS
from xtrkit.kernels.intrinsics import float_of_bits, prefetch
from xtrkit.kernels.jit import INLINED, inlined, kernel, part
from xtrkit.kernels.vectors import (
    LANES,
    WIDTH,
    add_pairs,
    add_quads,
    address_of,
    byte_at,
    float_at,
    larger,
    load,
    minus,
    no_lanes,
    plus,
    put,
    short_at,
    small_at,
    splat,
    store,
    times,
    to_floats,
    unpack_codes,
    widen_bytes,
)

ROWS_PER_MARK = 64
"""Every 64th row knows its cluster (``marks``); the clusters of the others are found from there in a step or two."""
ROWS_AHEAD = 32
"""How many tokens before a row is needed it is fetched."""
NOT_YET = np.int32(-1)
ONE = np.uint64(1)


class ByLanes(NamedTuple):
    """A query as lanes read it: n query tokens, filled up with zeros to n' of them, whole registers.

    Attributes:
        pairs: (d / 2, n', 2) int16, the 12-bit integers, for each two dimensions those of every query token.
        quads: (d / 4, n', 4) int8, the 8-bit integers, in the same way; empty where codes meet the others.
        scales: (n',) float32, of the 12-bit integers.
        code_scales: (n',) float32.
        code_offsets: (n',) float32.
    """

    pairs: npt.NDArray[np.int16]
    quads: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    code_scales: npt.NDArray[np.float32]
    code_offsets: npt.NDArray[np.float32]


class Scratch(NamedTuple):
    """What one document token after another is reckoned in.

    Attributes:
        levels: (d + 64,) of the token: uint8 of affine codes of up to 4 bits, int16 of others.
        centroid: (d,) int16, of a centroid.
        known: (T, n') float32, similarities of the query with T centroids.
        places: (C,) int32, the row of ``known`` of each centroid; −1 before it is computed.
        best: (n',) float32, the best similarities with the document so far.
        rows: the rows of all candidates' tokens, one after the other, and what :func:`_rows_of` puts behind them.
    """

    levels: npt.NDArray[np.integer]
    centroid: npt.NDArray[np.int16]
    known: npt.NDArray[np.float32]
    places: npt.NDArray[np.int32]
    best: npt.NDArray[np.float32]
    rows: npt.NDArray[np.uint32]


class Places(NamedTuple):
    """Where all of it is, as addresses, for registers.

    Attributes:
        codes: of the segment's codes.
        end: of the byte after the last of them.
        width: bytes of a row of them; a number, like the next two.
        dim: d.
        stride: 4 · n', bytes of a number for each query token.
        centroids: of the centroids.
        pairs: and the following: of :class:`ByLanes`.
        quads: as above.
        scales: as above.
        code_scales: as above.
        code_offsets: as above.
        levels: and the following: of :class:`Scratch`.
        centroid: as above.
        known: as above.
        best: as above.
    """

    codes: int
    end: int
    width: int
    dim: int
    stride: int
    centroids: int
    pairs: int
    quads: int
    scales: int
    code_scales: int
    code_offsets: int
    levels: int
    centroid: int
    known: int
    best: int


def sums_of_max(
    postings: Postings,
    rows: DocumentRows,
    centroids: ScaledVectors,
    candidates: npt.NDArray[np.int32],
    query: QuantisedQuery,
    most: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
) -> None:
    """Σ_i min(most_i, max_j q_i · d_j) of some documents with one query: ColBERT's eq. 3 where most_i is infinite.

    Arrays are made here and not in the kernel, which would compile for a second longer.

    Args:
        postings: the codes of a segment.
        rows: where the tokens of its documents stand in them.
        centroids: (C, d) the clusters' centroids.
        candidates: (K,) documents, none without tokens.
        query: n query tokens.
        most: (n,) what the similarity of a query token counts at most.
        sums: (K,) receives the sums, added in order of query token.
    """
    offsets, (n_clusters, dim) = rows.document_offsets, centroids.vectors.shape
    n_tokens, lanes = int((offsets[candidates + 1] - offsets[candidates]).sum()), by_lanes(query, dim)
    n_lanes = len(lanes.scales)
    scratch = Scratch(
        np.empty(dim + PADDING, dtype=np.uint8 if lanes.quads.size else np.int16),
        np.empty(dim, dtype=np.int16),
        np.empty((min(n_clusters, n_tokens), n_lanes), dtype=np.float32),
        np.full(n_clusters, NOT_YET, dtype=np.int32),
        np.empty(n_lanes, dtype=np.float32),
        np.empty(n_tokens + ROWS_AHEAD, dtype=np.uint32),
    )
    sum_up(postings, rows, centroids, candidates, lanes, scratch, most, sums)


@kernel
def sum_up(
    postings: Postings,
    rows: DocumentRows,
    centroids: ScaledVectors,
    candidates: npt.NDArray[np.int32],
    lanes: ByLanes,
    scratch: Scratch,
    most: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
) -> None:
    """:func:`sums_of_max`, with what it reckons in."""
    document_offsets, marks, wanted, best = rows.document_offsets, rows.marks, scratch.rows, scratch.best
    halves, offsets, centroid_scales = postings.halves, postings.cluster_offsets, centroids.scales
    known, n_known, begin = scratch.places, 0, np.uint64(0)
    places, halves_at = places_of(postings, centroids, lanes, scratch), address_of(halves)
    _rows_of(rows.positions, document_offsets, candidates, wanted)
    for candidate in range(len(candidates)):
        count = document_offsets[candidates[candidate] + 1] - document_offsets[candidates[candidate]]
        best[:] = -np.inf
        for token in range(begin, begin + np.uint64(count)):
            row, ahead = int(wanted[token]), int(wanted[token + np.uint64(ROWS_AHEAD)])
            prefetch(halves_at + 2 * ahead)
            for line in range(ahead * places.width, (ahead + 1) * places.width, CACHE_LINE):
                prefetch(places.codes + line)
            cluster = np.uint64(marks[np.uint64(row) // np.uint64(ROWS_PER_MARK)])
            while offsets[cluster + ONE] <= row:
                cluster += ONE
            if known[cluster] == NOT_YET:
                known[cluster] = n_known
                know(int(cluster), centroid_scales[cluster], places, n_known)
                n_known += 1
            scale = float_of_bits(np.uint32(halves[np.uint64(row)]) << np.uint32(13))
            unpack(postings, row, places)
            raise_best(postings, scale, places, int(known[cluster]))
        begin += np.uint64(count)
        total = 0.0
        for i in range(len(most)):
            total += min(np.float64(best[i]), most[i])
        sums[candidate] = total


def by_lanes(query: QuantisedQuery, dim: int) -> ByLanes:
    """A query, token beside token."""
    n, n_planes, width = len(query.scales), query.planes.shape[1], max(LANES, 1)
    n_lanes = -(-n // width) * width
    pairs = np.zeros((dim // 2, n_lanes, 2), dtype=np.int16)
    pairs[:, :n] = query.tokens[:, :dim].reshape(n, dim // 2, 2).transpose(1, 0, 2)
    quads = np.zeros((dim // 4 if n_planes else 0, n_lanes, 4), dtype=np.int8)
    if n_planes:
        quads[:, :n] = query.planes[:, :, : dim // n_planes].reshape(n, dim // 4, 4).transpose(1, 0, 2)
    numbers = np.zeros((3, n_lanes), dtype=np.float32)
    numbers[:, :n] = query.scales, query.code_scales, query.code_offsets
    return ByLanes(pairs, quads, *numbers)


@part
def places_of(postings: Postings, centroids: ScaledVectors, lanes: ByLanes, scratch: Scratch) -> Places:
    """The addresses."""
    codes = postings.codes
    begin, dim = address_of(codes), len(scratch.centroid)
    return Places(
        begin, begin + codes.size, codes.shape[1], dim, 4 * len(scratch.best), address_of(centroids.vectors),
        address_of(lanes.pairs), address_of(lanes.quads),
        address_of(lanes.scales), address_of(lanes.code_scales), address_of(lanes.code_offsets),
        address_of(scratch.levels), address_of(scratch.centroid), address_of(scratch.known), address_of(scratch.best),
    )  # fmt: skip


@inlined
def _sum_in_lane(places: Places, narrow: bool, levels: int, lane: int) -> Any:
    """Σ_j level_j · p_j of levels with the query token of a lane, by a plain loop."""
    total = np.int32(0)
    for j in range(places.dim):
        if narrow:
            of_token = np.int32(small_at(places.quads + (j // 4) * places.stride, 4 * lane + j % 4))
            product = np.int32(byte_at(levels, j)) * of_token
        else:
            of_token = np.int32(short_at(places.pairs + (j // 2) * places.stride, 2 * lane + j % 2))
            product = np.int32(short_at(levels, j)) * of_token
        total = np.int32(total + product)
    return total


@inlined
def _know_plainly(cluster: int, scale: np.float32, places: Places, place: int) -> None:
    """Compute the similarities of all query tokens with a centroid, into row ``place`` of those that are known."""
    for j in range(places.dim):
        put(places.centroid, j, np.int16(small_at(places.centroids + cluster * places.dim, j)))
    for i in range(places.stride // 4):
        total = _sum_in_lane(places, False, places.centroid, i)
        put(
            places.known + place * places.stride,
            i,
            np.float32(np.float32(total) * (scale * float_at(places.scales, i))),
        )


def _pairs_summed(count: int) -> Any:
    """The function (places, levels, at) -> the sums of ``count`` registers of lanes, from byte ``at`` of a row on."""

    @inlined
    def pair_sums(places: Places, levels: int, at: int) -> Any:
        sums = no_lanes(count)
        for pair in range(0, places.dim // 2, 4):
            sums = add_pairs(sums, levels + 4 * pair, places.pairs + pair * places.stride + at, places.stride, 4)
        return sums

    return pair_sums


def _quads_summed(count: int) -> Any:
    """As :func:`_pairs_summed`, of the levels in the scratch with integers of 8 bits."""

    @inlined
    def quad_sums(places: Places, levels: int, at: int) -> Any:
        sums, stride, j = no_lanes(count), places.stride, 0
        while j + 32 <= places.dim:
            sums = add_quads(sums, levels + j, places.quads + (j // 4) * stride + at, stride, 8)
            j += 32
        while j < places.dim:  # which is a multiple of 8
            sums = add_quads(sums, levels + j, places.quads + (j // 4) * stride + at, stride, 2)
            j += 8
        return sums

    return quad_sums


pair_sums_1, pair_sums_2 = _pairs_summed(1), _pairs_summed(2)
quad_sums_1, quad_sums_2 = _quads_summed(1), _quads_summed(2)
"""Two registers of lanes together, as far as there are two: what is the same for all lanes is loaded once for both."""


@inlined
def _put_known(sums: Any, scale: np.float32, places: Places, place: int, at: int) -> None:
    similar = times(to_floats(sums), times(splat(scale), load(places.scales + at)))
    store(places.known + place * places.stride + at, similar)


@inlined
def _know_in_lanes(cluster: int, scale: np.float32, places: Places, place: int) -> None:
    """As :func:`_know_plainly`."""
    dim, stride, vector = places.dim, places.stride, places.centroids + cluster * places.dim
    whole = dim - dim % (WIDTH // 2)
    for j in range(0, whole, WIDTH // 2):
        widen_bytes(vector + j, places.centroid + 2 * j, 1)
    for j in range(whole, dim):
        put(places.centroid, j, np.int16(small_at(vector, j)))
    i = 0
    while i < stride:
        if i + 8 * LANES <= stride:
            two, i = pair_sums_2(places, places.centroid, i), i + 8 * LANES
            _put_known(two[0], scale, places, place, i - 8 * LANES)
            _put_known(two[1], scale, places, place, i - 4 * LANES)
        else:
            one, i = pair_sums_1(places, places.centroid, i), i + 4 * LANES
            _put_known(one[0], scale, places, place, i - 4 * LANES)


know = _know_in_lanes if LANES else _know_plainly


def unpack(postings: Postings, row: int, places: Places) -> None:
    """The levels of a row of codes, in order of dimension: into the scratch."""


@overload(unpack, jit_options=INLINED)
def _unpack(postings: Any, row: Any, places: Any) -> Any:
    n_fields = n_fields_of(postings)
    if not is_affine(postings):
        return _unpacked_by_table(n_fields)
    if n_fields == 1:
        return _unpack_bytes
    return _unpacked_in_registers(n_fields) if LANES else _unpacked_plainly(n_fields)


def _unpack_bytes(postings: Any, row: Any, places: Any) -> Any:
    packed = places.codes + row * places.width
    for j in range(places.width):
        put(places.levels, j, np.int16(byte_at(packed, j)))


def _unpacked_by_table(n_fields: int) -> Any:
    def of_table(postings: Any, row: Any, places: Any) -> Any:
        known, packed = postings.table.levels, places.codes + row * places.width
        for j in range(places.width):
            first = np.uint64(byte_at(packed, j)) * np.uint64(n_fields)
            for field in range(n_fields):
                put(places.levels, j * n_fields + field, np.int16(known[first + np.uint64(field)]))

    return of_table


def _unpacked_plainly(n_fields: int) -> Any:
    bits, mask = 8 // n_fields, np.uint8(2 ** (8 // n_fields) - 1)

    def of_codes(postings: Any, row: Any, places: Any) -> Any:
        packed = places.codes + row * places.width
        for field in range(n_fields):
            for j in range(places.width):
                level = (byte_at(packed, j) >> np.uint8(bits * field)) & mask
                put(places.levels + field * places.width, j, np.uint8(level))

    return of_codes


def _unpacked_in_registers(n_fields: int) -> Any:
    plainly = inlined(_unpacked_plainly(n_fields))

    def in_registers(postings: Any, row: Any, places: Any) -> Any:
        width, levels = places.width, places.levels
        packed = places.codes + row * width
        if packed + max(width, WIDTH) > places.end:  # the last rows: a register would reach beyond the file
            plainly(None, row, places)
        else:
            unpack_codes(packed, levels, width, n_fields)  # what is too much the next field overwrites, or nobody reads
            for j in range(WIDTH, width, WIDTH):
                begin = min(j, width - WIDTH)
                unpack_codes(packed + begin, levels + begin, width, n_fields)

    return in_registers


def raise_best(postings: Postings, scale: np.float32, places: Places, place: int) -> None:
    """Raise the best similarity of each query token to that with the token in the scratch, where it is higher.

    Args:
        postings: the codes.
        scale: the token's, 2^112 times too small.
        places: where all is.
        place: row of the similarities with the token's centroid.
    """


@overload(raise_best, jit_options=INLINED)
def _raise_best(postings: Any, scale: Any, places: Any, place: Any) -> Any:
    affine, narrow = is_affine(postings), is_narrow(postings)

    def plain(postings: Any, scale: Any, places: Any, place: Any) -> Any:
        for i in range(places.stride // 4):
            total = np.float32(_sum_in_lane(places, narrow, places.levels, i))
            factor, of_centroid = float_at(places.code_scales, i), float_at(places.known + place * places.stride, i)
            if affine:
                of_code = (factor * HALF_BIAS) * (total - float_at(places.code_offsets, i))
                similar = of_centroid + scale * of_code
            else:
                similar = (scale * HALF_BIAS) * (of_centroid + factor * total)
            put(places.best, i, np.float32(max(float_at(places.best, i), similar)))

    @inlined
    def raise_register(sums: Any, scale: Any, places: Any, place: Any, at: Any) -> Any:
        of_centroid, factor = load(places.known + place * places.stride + at), load(places.code_scales + at)
        bias, scales = splat(HALF_BIAS), splat(scale)
        if affine:
            of_code = times(times(factor, bias), minus(to_floats(sums), load(places.code_offsets + at)))
            similar = plus(of_centroid, times(scales, of_code))
        else:
            similar = times(times(scales, bias), plus(of_centroid, times(factor, to_floats(sums))))
        store(places.best + at, larger(similar, load(places.best + at)))

    sums_1, sums_2 = (quad_sums_1, quad_sums_2) if narrow else (pair_sums_1, pair_sums_2)

    def in_lanes(postings: Any, scale: Any, places: Any, place: Any) -> Any:
        i = 0
        while i < places.stride:
            if i + 8 * LANES <= places.stride:
                two, i = sums_2(places, places.levels, i), i + 8 * LANES
                raise_register(two[0], scale, places, place, i - 8 * LANES)
                raise_register(two[1], scale, places, place, i - 4 * LANES)
            else:
                one, i = sums_1(places, places.levels, i), i + 4 * LANES
                raise_register(one[0], scale, places, place, i - 4 * LANES)

    return in_lanes if LANES else plain


def is_narrow(postings: Any) -> bool:
    """Whether codes meet a query's integers of 8 bits, by Numba's type of postings."""
    return is_affine(postings) and n_fields_of(postings) > 1


@part
def _rows_of(
    positions: npt.NDArray[np.uint32],
    document_offsets: npt.NDArray[np.int64],
    candidates: npt.NDArray[np.int32],
    rows: npt.NDArray[np.uint32],
) -> None:
    """Write down the rows of the candidates' tokens, and the last again as often as is looked ahead."""
    at = 0
    for document in candidates:
        for token in range(document_offsets[document], document_offsets[document + 1]):
            rows[at] = positions[token]
            at += 1
    for beyond in range(at, len(rows)):
        rows[beyond] = rows[at - 1]
