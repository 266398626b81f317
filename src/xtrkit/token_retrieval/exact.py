"""Exact token retrieval: every document token is compared with every query token.

The corpus is read once for a whole batch of queries, in blocks of whole documents: a block is converted from float16
to float32, multiplied with all query tokens at once by BLAS, and then either offered to each query token's running
top k' (:func:`retrieve_tokens`, for XTR) or reduced to each document's sum-of-max (:func:`sum_of_max_scores`, for
ColBERT). Both read the same products, so XTR with k' = all tokens equals MaxSim to the last bit.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from xtrkit.errors import IndexFormatError
from xtrkit.kernels.dense import cut_back, halves_to_floats, keep_best, sum_of_max
from xtrkit.values import Ragged, TokenHits, TokenVectors

BLOCK_TOKENS = 4096
"""Tokens multiplied at a time: 128 dimensions of them as float32 fill the second-level cache of a core twice."""

CORES = os.cpu_count() or 1
_BLAS = ThreadpoolController()

BUFFER_ENTRIES = 1 << 24
"""How many hits may be buffered at a time, 12 bytes each; larger batches of queries are split."""


class Block(NamedTuple):
    """The products of some consecutive documents with all query tokens of a batch."""

    documents: slice
    first_row: int
    similarities: npt.NDArray[np.float32]


def retrieve_tokens(vectors: TokenVectors, queries: Ragged, k_prime: int) -> list[TokenHits]:
    """The k' most similar document tokens of each query token, eq. 3; of equals those that come first in the index.

    Args:
        vectors: the corpus.
        queries: token embeddings of Q queries.
        k_prime: k'; where the corpus has fewer tokens, all of them are retrieved.

    Returns:
        the hits of each query.
    """
    k = min(k_prime, len(vectors.halves))
    capacity = min(2 * k, len(vectors.halves))
    if k == 0:
        return [_no_hits(len(query)) for query in queries]
    hits: list[TokenHits] = []
    for part in _split(queries, BUFFER_ENTRIES // capacity):
        hits += _retrieve_part(vectors, part, k, capacity)
    return hits


def sum_of_max_scores(vectors: TokenVectors, queries: Ragged) -> npt.NDArray[np.float64]:
    """ColBERT's Σ_i max_j q_i · d_j of every document with every query: (Q, N)."""
    sums = np.zeros((len(queries), len(vectors.offsets) - 1), dtype=np.float64)
    for block in _products(vectors, queries):
        offsets = vectors.offsets[block.documents.start : block.documents.stop + 1] - block.first_row
        part = np.empty((len(queries), len(offsets) - 1), dtype=np.float64)
        sum_of_max(block.similarities, offsets, queries.offsets, part)
        sums[:, block.documents] = part
    return sums


def _retrieve_part(vectors: TokenVectors, queries: Ragged, k: int, capacity: int) -> list[TokenHits]:
    n = len(queries.rows)
    scores = np.empty((n, capacity), dtype=np.float32)
    rows = np.empty((n, capacity), dtype=np.int64)
    counts = np.zeros(n, dtype=np.int64)
    thresholds = np.full(n, -np.inf, dtype=np.float32)
    for block in _products(vectors, queries):
        keep_best(block.similarities, block.first_row, k, scores, rows, counts, thresholds)
    for i in np.flatnonzero(counts > k):
        cut_back(scores[i], rows[i], counts[i], k)
    return [
        _hits(vectors, scores[first:last, :k], rows[first:last, :k])
        for first, last in zip(queries.offsets[:-1], queries.offsets[1:], strict=True)
    ]


def _hits(vectors: TokenVectors, scores: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> TokenHits:
    """Make the hits of one query of (n, k) buffers that are full."""
    flat_rows = rows.ravel()
    documents = (np.searchsorted(vectors.offsets, flat_rows, side="right") - 1).astype(np.int32)
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
    return TokenHits(flat_rows.copy(), documents, scores.ravel().copy(), offsets)


def _no_hits(n: int) -> TokenHits:
    return TokenHits(
        np.zeros(0, dtype=np.int64),
        np.zeros(0, dtype=np.int32),
        np.zeros(0, dtype=np.float32),
        np.zeros(n + 1, dtype=np.int64),
    )


def _split(queries: Ragged, most_rows: int) -> Iterator[Ragged]:
    """Cut a batch of queries where it has more than ``most_rows`` query tokens; one query is never cut."""
    first = 0
    for last in range(1, len(queries) + 1):
        full = last < len(queries) and queries.offsets[last + 1] - queries.offsets[first] > most_rows
        if full or last == len(queries):
            yield Ragged(queries.rows[queries.offsets[first] : queries.offsets[last]], queries.lengths[first:last])
            first = last


def _products(vectors: TokenVectors, queries: Ragged) -> Iterator[Block]:
    """Multiply the corpus with all query tokens, some whole documents at a time, in order.

    Blocks are computed side by side, each by one thread: BLAS's own threads wait for one another at the end of each
    small product, which costs ten times the product where the machine has other work.
    """
    query_rows = np.ascontiguousarray(queries.rows, dtype=np.float32)
    with _BLAS.limit(limits=1, user_api="blas"), ThreadPoolExecutor(CORES) as pool:
        ahead: deque[Future[Block]] = deque()
        for documents in _blocks(vectors.offsets):
            ahead.append(pool.submit(_product, vectors, documents, query_rows))
            if len(ahead) > CORES:  # no further, or a large corpus would fill the memory with products
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _blocks(offsets: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Runs of whole documents with about ``BLOCK_TOKENS`` tokens."""
    first = 0
    while first < len(offsets) - 1:
        fits = np.searchsorted(offsets, offsets[first] + BLOCK_TOKENS, side="right") - 1
        last = max(first + 1, int(fits))
        yield slice(first, last)
        first = last


def _product(vectors: TokenVectors, documents: slice, query_rows: npt.NDArray[np.float32]) -> Block:
    first_row, end = vectors.offsets[documents.start], vectors.offsets[documents.stop]
    rows = vectors.halves[first_row:end]
    floats = np.empty(rows.shape, dtype=np.float32)
    if not halves_to_floats(rows.view(np.uint16).ravel(), floats.view(np.uint32).ravel(), floats.ravel()):
        raise IndexFormatError("Some token vectors of the index are no numbers: it is damaged, build it anew.")
    return Block(documents, int(first_row), query_rows @ floats.T)
