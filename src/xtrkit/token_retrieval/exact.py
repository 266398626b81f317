"""Exact token retrieval: every document token is compared with every query token.

The corpus is read once for a whole batch of queries, in blocks of whole documents: a block is converted from float16
to float32, multiplied with all query tokens at once by BLAS, and then either offered to each query token's running
top k' (:func:`retrieve_tokens`, for XTR) or reduced to each document's sum-of-max (:func:`sum_of_max_scores`, for
ColBERT). Both read the same products, so XTR with k' = all tokens equals MaxSim to the last bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from xtrkit.errors import IndexFormatError
from xtrkit.kernels.dense import cut_back, halves_to_floats, keep_best, sum_of_max
from xtrkit.machine import usable_cores
from xtrkit.token_retrieval.corpus import ExactCorpus
from xtrkit.values import Mask, Ragged, TokenHits, TokenVectors

BLOCK_TOKENS = 4096
"""Tokens multiplied at a time: 128 dimensions of them as float32 fill the second-level cache of a core twice."""

_BLAS = ThreadpoolController()

BUFFER_ENTRIES = 1 << 24
"""How many hits may be buffered at a time, 12 bytes each; larger batches of queries are split."""


class Block(NamedTuple):
    """The products of some consecutive documents with all query tokens of a batch."""

    documents: slice
    first_row: int
    similarities: npt.NDArray[np.float32]


def retrieve_tokens(
    corpus: ExactCorpus, queries: Ragged, k_prime: int, *, threads: int | None = None
) -> list[TokenHits]:
    """The k' most similar document tokens of each query token, eq. 3; of equals those that come first in the index.

    Args:
        corpus: what is searched; the tokens of dead documents are not retrieved.
        queries: token embeddings of Q queries.
        k_prime: k'; where the corpus has fewer tokens, all of them are retrieved.
        threads: blocks multiplied at a time; None: as many as there are cores.

    Returns:
        the hits of each query.
    """
    k = min(k_prime, corpus.n_tokens)
    if k == 0:
        return [_no_hits(len(query)) for query in queries]
    hits: list[TokenHits] = []
    for part in batches(queries, k_prime, corpus.n_tokens):
        hits += _retrieve_part(corpus, part, k, min(2 * k, corpus.n_tokens), threads)
    return hits


def batches(queries: Ragged, k_prime: int, n_tokens: int) -> Iterator[Ragged]:
    """Queries as they are multiplied together: as many as there is room for the hits of; one is never cut.

    Args:
        queries: token embeddings of Q queries.
        k_prime: k'.
        n_tokens: M.
    """
    most_rows, first = BUFFER_ENTRIES // max(1, min(2 * k_prime, n_tokens)), 0
    for last in range(1, len(queries) + 1):
        full = last < len(queries) and queries.offsets[last + 1] - queries.offsets[first] > most_rows
        if full or last == len(queries):
            yield Ragged(queries.rows[queries.offsets[first] : queries.offsets[last]], queries.lengths[first:last])
            first = last


def best_hits(hits: TokenHits, counts: npt.NDArray[np.int64]) -> TokenHits:
    """The (n,) ``counts`` most similar hits of each query token; of equals those that come first in the index."""
    kept = np.zeros(len(hits.scores), dtype=np.bool_)
    for i, count in enumerate(counts.tolist()):
        if count:
            scores = hits.scores[hits.of(i)]
            lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
            best = scores > lowest
            best[np.flatnonzero(scores == lowest)[: count - np.count_nonzero(best)]] = True
            kept[hits.of(i)] = best
    return hits.those(kept)


def sum_of_max_scores(
    corpus: ExactCorpus,
    queries: Ragged,
    wanted: Mask | None = None,
    *,
    most: npt.NDArray[np.float64] | None = None,
    threads: int | None = None,
) -> npt.NDArray[np.float64]:
    """ColBERT's Σ_i max_j q_i · d_j of every document with every query.

    Args:
        corpus: what is searched.
        queries: token embeddings of Q queries.
        wanted: (N,) documents whose sums are wanted; None: all that can be found. Blocks without any are not read.
        most: (n of all queries,) what the similarity of each query token counts at most; None sets no bounds.
        threads: as in :func:`retrieve_tokens`.

    Returns:
        (Q, N) sums; what stands at documents that are not wanted means nothing.
    """
    wanted = corpus.findable if wanted is None else wanted
    most = np.full(len(queries.rows), np.inf) if most is None else most
    sums = np.full((len(queries), corpus.n_documents), -np.inf, dtype=np.float64)
    for block in _products(corpus, queries, wanted, threads):
        offsets = corpus.document_offsets[block.documents.start : block.documents.stop + 1] - block.first_row
        part = np.empty((len(queries), len(offsets) - 1), dtype=np.float64)
        sum_of_max(block.similarities, offsets, queries.offsets, most, part)
        sums[:, block.documents] = part
    return sums


def _retrieve_part(corpus: ExactCorpus, queries: Ragged, k: int, capacity: int, threads: int | None) -> list[TokenHits]:
    n = len(queries.rows)
    scores = np.empty((n, capacity), dtype=np.float32)
    rows = np.empty((n, capacity), dtype=np.int64)
    counts = np.zeros(n, dtype=np.int64)
    thresholds = np.full(n, -np.inf, dtype=np.float32)
    for block in _products(corpus, queries, corpus.findable, threads):
        alive = corpus.findable[block.documents]
        if not alive.all():
            lengths = np.diff(corpus.document_offsets[block.documents.start : block.documents.stop + 1])
            block.similarities[:, np.repeat(~alive, lengths)] = -np.inf  # exceeds no threshold
        keep_best(block.similarities, block.first_row, k, scores, rows, counts, thresholds)
    for i in np.flatnonzero(counts > k):
        cut_back(scores[i], rows[i], counts[i], k)
    return [
        _hits(corpus, scores[first:last, :k], rows[first:last, :k])
        for first, last in zip(queries.offsets[:-1], queries.offsets[1:], strict=True)
    ]


def _hits(corpus: ExactCorpus, scores: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> TokenHits:
    """Make the hits of one query of (n, k) buffers that are full."""
    flat_rows = rows.ravel()
    documents = (np.searchsorted(corpus.document_offsets, flat_rows, side="right") - 1).astype(np.int32)
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
    return TokenHits(flat_rows.copy(), documents, scores.ravel().copy(), offsets)


def _no_hits(n: int) -> TokenHits:
    return TokenHits(
        np.zeros(0, dtype=np.int64),
        np.zeros(0, dtype=np.int32),
        np.zeros(0, dtype=np.float32),
        np.zeros(n + 1, dtype=np.int64),
    )


def _products(corpus: ExactCorpus, queries: Ragged, wanted: Mask, threads: int | None) -> Iterator[Block]:
    """Multiply the corpus with all query tokens, some whole documents at a time, in order.

    Blocks are the same whoever is wanted, so that products are, too; those without a wanted document are left out. They
    are computed side by side, each by one thread: BLAS's own threads wait for one another at the end of each
    small product, which costs ten times the product where the machine has other work.
    """
    query_rows, threads = np.ascontiguousarray(queries.rows, dtype=np.float32), threads or usable_cores()
    with _BLAS.limit(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Block]] = deque()
        for first, segment in zip(corpus.first_documents.tolist(), corpus.segments, strict=True):
            first_row = int(corpus.document_offsets[first])
            for documents in _blocks(segment.tokens.document_offsets):
                if not wanted[first + documents.start : first + documents.stop].any():
                    continue
                ahead.append(pool.submit(_product, segment.tokens, documents, query_rows, first, first_row))
                if len(ahead) > threads:  # no further, or a large corpus would fill the memory with products
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


def _product(
    vectors: TokenVectors, documents: slice, query_rows: npt.NDArray[np.float32], first_document: int, first_row: int
) -> Block:
    first, end = int(vectors.document_offsets[documents.start]), int(vectors.document_offsets[documents.stop])
    rows = vectors.halves[first:end]
    floats = np.empty(rows.shape, dtype=np.float32)
    if not halves_to_floats(rows.view(np.uint16).ravel(), floats.view(np.uint32).ravel(), floats.ravel()):
        raise IndexFormatError("Some token vectors of the index are no numbers: it is damaged, build it anew.")
    numbers = slice(first_document + documents.start, first_document + documents.stop)
    return Block(numbers, first_row + first, query_rows @ floats.T)
