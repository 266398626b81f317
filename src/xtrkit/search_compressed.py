"""Search of a compressed index: probing, imputation, scoring, and the k best documents.

Nothing here keeps state: what one search asks for changes nothing for the next, and searches may run in threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.expectation import expected_kth_scores
from xtrkit.kernels.gathering import sums_of_max
from xtrkit.kernels.probing import kth_scores, sum_best
from xtrkit.recipes import Reduction, Scoring
from xtrkit.scoring.estimation import MIN, Estimate, cumulated, lowest_centroids
from xtrkit.scoring.ranking import best_first
from xtrkit.token_retrieval.centroid import Probes, QuantisedQuery, choose_clusters, probe, quantised, token_hits
from xtrkit.values import FloatArray, TokenHits

Documents = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Subset = npt.NDArray[np.bool_]

EVERYONE = np.zeros(0, dtype=np.bool_)
COUNTED_CLUSTERS = 128
"""Clusters whose sizes the cumulated estimate may add up, if more than are opened."""

# On SciFact, 4 bits: 64 candidates hold .999 of the exact ten best, 300 hold .988 of the hundred best.
CANDIDATES_PER_RESULT = 3
FEWEST_CANDIDATES = 64


@dataclass(frozen=True)
class Effort:
    """How thoroughly to search.

    Attributes:
        nprobe: clusters opened for each query token.
        k_prime: k' of XTR's "min" imputation.
        imputation: what stands for a missing similarity; XTR only.
        candidates: documents that ColBERT's full sum of maxima is computed for; "maxsim" only. None is
            ``CANDIDATES_PER_RESULT`` for each document asked for, ``FEWEST_CANDIDATES`` at least.
        reduction: as in :class:`~xtrkit.recipes.Recipe`.
    """

    nprobe: int = 32
    k_prime: int = 1000
    imputation: Estimate = MIN
    candidates: int | None = None
    reduction: Reduction | None = None

    def __post_init__(self) -> None:
        for name in ("nprobe", "k_prime", "candidates"):
            value = getattr(self, name)
            if value is None and name == "candidates":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, got {value!r}.")


DEFAULT = Effort()


def search(
    index: CompressedTokens,
    query: FloatArray,
    k: int,
    scoring: Scoring = "xtr",
    effort: Effort = DEFAULT,
    subset: Subset = EVERYONE,
) -> tuple[Documents, Scores]:
    """The k best documents of one query.

    Where the opened clusters lead to fewer than k documents, the query is searched again with twice the clusters and
    twice the k', so k documents come back wherever there are k.

    Args:
        index: an opened index.
        query: (n, d) token embeddings.
        k: how many documents.
        scoring: "xtr" (eq. 4, mean over query tokens) or "maxsim" (sum of maxima over candidates' tokens).
        effort: how thoroughly to search.
        subset: (N,) the documents that may be found; empty where all may.

    Returns:
        (k,) document numbers, best first and of equals the lower first, and (k,) scores.
    """
    quantised_query = quantised(query, index)
    wanted = k if scoring == "xtr" else max(k, effort.candidates or _candidates(k))
    imputation = effort.imputation if scoring == "xtr" else Estimate("centroid")
    documents, scores = _search_xtr(index, quantised_query, wanted, k, effort, imputation, subset)
    if scoring == "maxsim":
        sums = _sums_of_max(index, quantised_query, documents)
        return best_first(documents, sums / len(query) if effort.reduction == "mean" else sums, k)
    return documents, scores


def _candidates(k: int) -> int:
    return max(FEWEST_CANDIDATES, CANDIDATES_PER_RESULT * k)


def search_batch(
    index: CompressedTokens,
    queries: Sequence[FloatArray],
    k: int,
    scoring: Scoring = "xtr",
    effort: Effort = DEFAULT,
    subset: Subset = EVERYONE,
    threads: int = 1,
) -> list[tuple[Documents, Scores]]:
    """:func:`search` for each query, some at a time; the results are the same for every number of threads."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda query: search(index, query, k, scoring, effort, subset), queries))


def evidence(index: CompressedTokens, query: FloatArray, effort: Effort = DEFAULT) -> tuple[TokenHits, Scores]:
    """What XTR's scores of a query are made of, with the same effort: the token hits, and (n,) m_i."""
    quantised_query = quantised(query, index)
    probes = probe(index, quantised_query, effort.nprobe)
    lowest, missing = _imputed(index, quantised_query, probes, effort.k_prime, effort.imputation)
    return token_hits(index, probes, lowest), missing


def _search_xtr(
    index: CompressedTokens,
    query: QuantisedQuery,
    wanted: int,
    needed: int,
    effort: Effort,
    imputation: Estimate,
    subset: Subset,
) -> tuple[Documents, Scores]:
    """The best ``wanted`` documents, and at least ``needed`` where there are as many."""
    needed = min(needed, int(subset.sum()) if len(subset) else int((np.diff(index.document_offsets) > 0).sum()))
    nprobe, k_prime = effort.nprobe, effort.k_prime
    while True:
        probes = probe(index, query, nprobe)
        documents, scores = _xtr_scores(index, query, probes, k_prime, imputation, effort.reduction, subset)
        if len(documents) >= needed or (nprobe >= index.n_clusters and k_prime >= index.n_tokens):
            return best_first(documents, scores, wanted)
        nprobe, k_prime = 2 * nprobe, 2 * k_prime


def _xtr_scores(
    index: CompressedTokens,
    query: QuantisedQuery,
    probes: Probes,
    k_prime: int,
    imputation: Estimate,
    reduction: Reduction | None,
    subset: Subset,
) -> tuple[npt.NDArray[np.int32], Scores]:
    """Documents with hits, in no order, and their scores."""
    chosen, n, n_documents = probes.chosen, len(probes.chosen.counts), index.n_documents
    lowest, missing = _imputed(index, query, probes, k_prime, imputation)
    totals, matched = np.zeros(n_documents, dtype=np.float64), np.zeros(n_documents, dtype=np.int32)
    found = np.empty(n_documents, dtype=np.int32)
    count = sum_best(
        index.documents, index.offsets, chosen.clusters, chosen.counts, probes.starts, probes.scores,
        lowest, missing, subset, totals, matched, found,
    )  # fmt: skip
    documents = found[:count]
    scores = totals[documents] + missing.sum()
    if reduction != "sum":
        scores /= matched[documents] if imputation.kind == "none" else n
    return documents, scores


def _imputed(
    index: CompressedTokens, query: QuantisedQuery, probes: Probes, k_prime: int, imputation: Estimate
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """From which similarity up a token counts as retrieved, and m_i: (n,) each."""
    chosen, n = probes.chosen, len(probes.chosen.counts)
    everything = np.full(n, -np.inf, dtype=np.float32)
    if imputation.kind in ("min", "found"):
        kth = _kth_scores(index, probes, k_prime, expected=imputation.kind == "min")
        return kth, kth.astype(np.float64)
    if imputation.kind == "centroid":
        return everything, lowest_centroids(chosen.scores, chosen.counts)
    if imputation.kind == "cumulated":
        if chosen.clusters.shape[1] < COUNTED_CLUSTERS:
            chosen = choose_clusters(index, query, COUNTED_CLUSTERS)
        sizes = index.offsets[chosen.clusters + 1] - index.offsets[chosen.clusters]
        return everything, cumulated(chosen.scores, sizes, chosen.counts, imputation.value)
    return everything, np.full(n, imputation.value if imputation.kind == "constant" else 0.0)


def _kth_scores(index: CompressedTokens, probes: Probes, k_prime: int, *, expected: bool) -> npt.NDArray[np.float32]:
    """(n,) the k'-th best similarity: the actual one where every cluster was opened, else an estimate."""
    chosen, kth = probes.chosen, np.empty(len(probes.chosen.counts), dtype=np.float32)
    all_opened = chosen.clusters.shape[1] == index.n_clusters
    if expected and not all_opened:
        expected_kth_scores(
            probes.scores, probes.starts, index.offsets, chosen.clusters, chosen.scores, chosen.counts,
            chosen.closed_tokens, chosen.closed_range, k_prime, kth,
        )  # fmt: skip
        return kth
    kth_scores(probes.scores, probes.starts, k_prime, kth)
    return kth if all_opened else np.maximum(kth, lowest_centroids(chosen.scores, chosen.counts).astype(np.float32))


def _sums_of_max(index: CompressedTokens, query: QuantisedQuery, documents: Documents) -> Scores:
    sums = np.empty(len(documents), dtype=np.float64)
    sums_of_max(
        index.codes, index.scales.view(np.uint16), index.offsets, index.marks, index.bits, index.table,
        index.centroid_vectors, index.centroid_scales, index.positions, index.document_offsets,
        documents.astype(np.int32), query.tokens, query.scales, sums,
    )  # fmt: skip
    return sums
