"""What kernels are given together: arrays that are read side by side, and what their shapes are.

All are named tuples, which Numba takes whole. Three rules keep that as fast as arguments of their own. A loop reads
fields into local variables before it begins, or LLVM loads the array's description in every round. A bundle is passed
into a function that is called for every row only where all its fields are needed there: each array in it is seven
numbers or more on the stack. And bundles that belong to an opened index are made once for it.

Letters in the shapes: M rows (the tokens of a segment), N documents, C clusters, d dimensions, w = d · b / 8 bytes of a
code of b bits a dimension, n query tokens, H opened tokens of all query tokens together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SLOT_WORDS = 4
PADDING = 64
"""What a query's integers fill up to a multiple of: bytes of the widest registers."""

QUERY_LIMIT = 2047
"""Largest integer of a quantised query of 12 bits. Sums of 255 · 2047 over up to 4,096 dimensions fit 32 bits."""

SMALL_LIMIT = 127
"""Largest integer of a quantised query of 8 bits."""


class Run(NamedTuple):
    """Some consecutive rows.

    Attributes:
        first: the first row.
        last: the row after the last.
        upcoming: the first row of what is wanted next; as many rows from there are fetched on the way.
    """

    first: int
    last: int
    upcoming: int


class Table(NamedTuple):
    """What each byte of a code stands for: step · its levels.

    Attributes:
        units: (256,) unsigned; bit for bit the 8 / b levels of a byte, side by side. Empty: codes are affine.
        levels: (256 · 8 / b,) int8, int16 for codes of 8 bits; the same memory.
        step: value of level 1.
        largest: the largest level.
    """

    units: npt.NDArray[np.unsignedinteger]
    levels: npt.NDArray[np.signedinteger]
    step: np.float32
    largest: np.float32


class ScaledVectors(NamedTuple):
    """Vectors of small integers: vector v is ``scales[v] * vectors[v]``.

    Attributes:
        vectors: (V, d) int8.
        scales: (V,) float32.
    """

    vectors: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]

    def decoded(self, chosen: slice | npt.NDArray[np.integer] = slice(None)) -> npt.NDArray[np.float32]:
        """Some of them, or all, as (K, d) float32."""
        return np.asarray(self.vectors[chosen] * self.scales[chosen, np.newaxis])


class QuantisedQuery(NamedTuple):
    """A query as kernels read it: q_i ≈ scale_i · p_i after rotation, p_i integers.

    There are two of each token: of 12 bits, for centroids, and for codes that are worth it; and of 8 bits, for codes
    of up to 4 bits, which are further off than that rounding by ten times and more. Both go on with zeros up to a
    multiple of :data:`PADDING`, since registers are loaded whole.

    Attributes:
        tokens: (n, D) int16, p of 12 bits.
        scales: (n,) float32, of ``tokens``.
        norms: (n,) float32, lengths of the tokens, less what lies along the direction that all vectors of an index
            share: along it, the tokens of a cluster hardly spread.
        planes: (n, F, W) int8, p of 8 bits as the F fields of codes want it: plane f, byte j is dimension f · w + j.
            Where codes meet ``tokens`` instead, there are no planes, F = 0.
        code_scales: (n,) float32, of what codes meet; times the step of their table, where there is one.
        code_offsets: (n,) float32, zero point · Σ_j p_ij of what codes meet: what the zero point adds to every product.
    """

    tokens: npt.NDArray[np.int16]
    scales: npt.NDArray[np.float32]
    norms: npt.NDArray[np.float32]
    planes: npt.NDArray[np.int8]
    code_scales: npt.NDArray[np.float32]
    code_offsets: npt.NDArray[np.float32]

    def token(self, i: int) -> QuantisedQuery:
        """A query of its token i alone."""
        at = slice(i, i + 1)
        tokens, scales, norms, planes, code_scales, code_offsets = self
        return QuantisedQuery(tokens[at], scales[at], norms[at], planes[at], code_scales[at], code_offsets[at])


class Postings(NamedTuple):
    """The codes of a segment's tokens, cluster after cluster.

    Attributes:
        codes: (M, w) packed codes.
        halves: (M,) bit patterns of the codes' float16 scales, none negative, infinite or NaN.
        documents: (M,) document of each row.
        cluster_offsets: (C + 1,) where each cluster's rows begin and end.
        shifts: where the 8 / b fields of a byte begin, b = 1, 2, 4 or 8 bits a dimension; a tuple, whose length is
            known when kernels are compiled.
        table: what bytes of codes stand for; empty where codes are affine.
    """

    codes: npt.NDArray[np.uint8]
    halves: npt.NDArray[np.uint16]
    documents: npt.NDArray[np.int32]
    cluster_offsets: npt.NDArray[np.int64]
    shifts: tuple[int, ...]
    table: Table


class DocumentRows(NamedTuple):
    """Where the tokens of a segment's documents stand in its :class:`Postings`.

    Attributes:
        positions: (M,) the row of each token, tokens document after document.
        document_offsets: (N + 1,) where each document's tokens begin and end in ``positions``.
        marks: (⌈M / 64⌉,) cluster of every 64th row, so that a row's cluster is found quickly.
    """

    positions: npt.NDArray[np.uint32]
    document_offsets: npt.NDArray[np.int64]
    marks: npt.NDArray[np.int32]


class Centroids(NamedTuple):
    """The centroids that a query is compared with, in groups of their likes.

    Attributes:
        groups: (G, d) directions of the groups.
        group_offsets: (G + 1,) which centroids belong to each group.
        centroids: (C, d).
        sizes: (C,) int32, how many living tokens each cluster has, in all segments.
        radii: (C,) float32, how far the cluster's tokens spread around it along any one direction:
            √(mean ‖x − centroid‖² / d).
        mean_square: mean of radius² over tokens.
    """

    groups: ScaledVectors
    group_offsets: npt.NDArray[np.int64]
    centroids: ScaledVectors
    sizes: npt.NDArray[np.int32]
    radii: npt.NDArray[np.float32]
    mean_square: np.float32


class ChosenClusters(NamedTuple):
    """The clusters that each query token looks into, P of all tokens together, those of a token by number.

    Attributes:
        clusters: (P,) their numbers.
        scores: (P,) float32, similarity of query token and centroid.
        starts: (n + 1,) where each query token's clusters begin and end.
        closed_tokens: (n, B) how many tokens are in clusters that were looked at and not chosen, in B equal steps of
            what the clusters promise (:func:`xtrkit.kernels.choosing.promising_clusters`); no steps where nobody asked.
        closed_range: (n, 2) from where to where the steps go.
    """

    clusters: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]
    closed_tokens: npt.NDArray[np.float32]
    closed_range: npt.NDArray[np.float32]


class Probes(NamedTuple):
    """Opened clusters with the similarities of all living tokens in them.

    Attributes:
        chosen: the clusters.
        places: (P + 1,) where each cluster's similarities begin and end.
        scores: (H,) similarities with the tokens of the clusters, cluster after cluster, in a cluster segment after
            segment, and there in order of document: as if there were one segment.
    """

    chosen: ChosenClusters
    places: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


class Slots(NamedTuple):
    """A place for each document to add up its score in: three views of the same memory, all zeros between searches.

    A slot is 16 bytes, so that a hit touches one cache line: the sum so far (``doubles[:, 0]``), the best similarity
    with a query token (``floats[:, 2]``), and that query token, counted from 1 (``words[:, 3]``); negative when the sum
    has it.

    Attributes:
        words: (N, 4) int32.
        floats: (N, 4) float32.
        doubles: (N, 2) float64.
    """

    words: npt.NDArray[np.int32]
    floats: npt.NDArray[np.float32]
    doubles: npt.NDArray[np.float64]


def shifts_of(bits: int) -> tuple[int, ...]:
    """Where the fields of a byte begin."""
    return tuple(range(0, 8, bits))


def empty_slots(n_documents: int) -> Slots:
    """Zeros for so many documents."""
    words = np.zeros((n_documents, SLOT_WORDS), dtype=np.int32)
    return Slots(words, words.view(np.float32), words.view(np.float64))
