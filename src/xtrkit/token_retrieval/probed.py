"""Opened clusters -> token hits, as exact token retrieval gives them: for explanations and comparisons.

Ranking needs no list of hits (:mod:`xtrkit.search_compressed`) and does not come through here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.hits import tokens_of_rows
from xtrkit.token_retrieval.centroid import Probes, probe, quantised
from xtrkit.values import FloatArray, TokenHits, offsets_of


def retrieve_tokens(index: CompressedTokens, query: FloatArray, nprobe: int, k_prime: int) -> TokenHits:
    """The k' most similar tokens among those of the ``nprobe`` nearest clusters of each query token.

    Args:
        index: the compressed index.
        query: (n, d) token embeddings.
        nprobe: clusters to open for each query token.
        k_prime: k'; fewer hits where the clusters have fewer tokens. Of equals the lower token numbers are taken.
    """
    probes = probe(index, quantised(query, index), nprobe)
    found = [_best(index, probes, i, k_prime) for i in range(len(query))]
    tokens = [tokens for tokens, _ in found]
    offsets = offsets_of(np.array([len(part) for part in tokens], dtype=np.int64))
    numbers = np.concatenate([*tokens, np.zeros(0, dtype=np.int64)])
    documents = np.searchsorted(index.document_offsets, numbers, side="right") - 1
    scores = np.concatenate([*(scores for _, scores in found), np.zeros(0, dtype=np.float32)])
    return TokenHits(numbers, documents.astype(np.int32), scores, offsets)


def _best(
    index: CompressedTokens, probes: Probes, i: int, k_prime: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Numbers, ascending, and similarities of the tokens that query token i retrieves."""
    clusters = probes.clusters[i, : probes.counts[i]]
    parts = [np.arange(index.offsets[c], index.offsets[c + 1]) for c in clusters]
    rows = np.concatenate([*parts, np.zeros(0, dtype=np.int64)])
    tokens = np.empty(len(rows), dtype=np.int64)
    tokens_of_rows(rows, index.documents[rows], index.document_offsets, index.positions, tokens)
    scores = probes.scores[probes.starts[i] : probes.starts[i + 1]]
    kept = np.lexsort((tokens, -scores))[:k_prime]
    kept = kept[np.argsort(tokens[kept])]
    return tokens[kept], scores[kept]
