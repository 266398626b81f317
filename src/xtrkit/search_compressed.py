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
from xtrkit.kernels.bundles import ChosenClusters, Probes, QuantisedQuery
from xtrkit.kernels.expectation import expected_kth_scores
from xtrkit.kernels.probing import kth_scores, sum_best
from xtrkit.recipes import Reduction, Scoring
from xtrkit.scoring.estimation import MIN, Estimate, cumulated, lowest_centroids
from xtrkit.scoring.ranking import FILLED_UP, best_first
from xtrkit.stopwatch import Stopwatch
from xtrkit.token_retrieval.centroid import (
    choose_clusters,
    open_clusters,
    quantised,
    shared_by_all,
    sums_over_all_tokens,
    token_hits,
)
from xtrkit.token_retrieval.corpus import ClusteredCorpus
from xtrkit.values import EVERYONE, FloatArray, Mask, TokenHits

Documents = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

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
        shared: as there.
        rerank: as there.
    """

    nprobe: int = 32
    k_prime: int = 1000
    imputation: Estimate = MIN
    candidates: int | None = None
    reduction: Reduction | None = None
    shared: bool = False
    rerank: int | None = None

    def __post_init__(self) -> None:
        for name in ("nprobe", "k_prime", "candidates", "rerank"):
            value = getattr(self, name)
            if value is None and name in ("candidates", "rerank"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, got {value!r}.")


DEFAULT = Effort()


def search(
    corpus: ClusteredCorpus,
    query: FloatArray,
    k: int,
    scoring: Scoring = "xtr",
    effort: Effort = DEFAULT,
    subset: Mask | None = None,
    watch: Stopwatch | None = None,
) -> tuple[Documents, Scores]:
    """The k best documents of one query.

    Where the opened clusters lead to fewer than k documents, the query is searched again with twice the clusters and
    twice the k', so k documents come back wherever there are k.

    A subset is a filter: each of its documents gets the score that a search of all documents with the same effort
    gives it, m_i included. As soon as ``FILLED_UP`` of its documents or fewer are not reached by any retrieved token,
    nothing is searched again: these get (1/n) Σ_i min(m_i, max_j q_i · d_j), over all their tokens, which is no more
    than a document that was reached can get by "min". "maxsim" looks at all tokens of a subset of no more documents
    than there would be candidates.

    Args:
        corpus: what is searched.
        query: (n, d) token embeddings.
        k: how many documents.
        scoring: "xtr" (eq. 4, mean over query tokens) or "maxsim" (sum of maxima over candidates' tokens).
        effort: how thoroughly to search.
        subset: (N,) the documents that may be found; None: all may.
        watch: is told what each stage took.

    Returns:
        (k,) document numbers, best first and of equals the lower first, and (k,) scores.
    """
    watch = watch or Stopwatch()
    quantised_query = quantised(query, corpus.quantiser)
    watch.lap("quantise")
    if scoring == "xtr":
        wanted = k if effort.rerank is None else max(k, effort.rerank)
        best = _search_xtr(corpus, quantised_query, wanted, k, effort, _applicable(effort), subset, watch)
        if effort.rerank is None:
            return best
        return _reranked(corpus, quantised_query, best[0], k, effort.reduction or "mean", watch)
    candidates = max(k, effort.candidates or candidates_for(k))
    documents = np.flatnonzero(corpus.wanted(subset)) if _no_more_than(candidates, corpus, subset) else None
    if documents is None:
        by_centroid = Estimate("centroid")
        documents, _ = _search_xtr(corpus, quantised_query, candidates, k, effort, by_centroid, subset, watch)
    return _reranked(corpus, quantised_query, documents, k, effort.reduction or "sum", watch)


def _reranked(
    corpus: ClusteredCorpus, query: QuantisedQuery, documents: Documents, k: int, reduction: Reduction, watch: Stopwatch
) -> tuple[Documents, Scores]:
    """The k best of some documents by all their tokens."""
    sums = sums_over_all_tokens(corpus, query, documents)
    best = best_first(documents, sums / len(query.scales) if reduction == "mean" else sums, k)
    watch.lap("rerank")
    return best


def candidates_for(k: int) -> int:
    """Documents whose sum of maxima is computed where the caller does not say how many."""
    return max(FEWEST_CANDIDATES, CANDIDATES_PER_RESULT * k)


def _no_more_than(candidates: int, corpus: ClusteredCorpus, subset: Mask | None) -> bool:
    """Whether so many candidates are all documents that may be found."""
    return int(np.count_nonzero(corpus.wanted(subset))) <= candidates


def search_batch(
    corpus: ClusteredCorpus,
    queries: Sequence[FloatArray],
    k: int,
    scoring: Scoring = "xtr",
    effort: Effort = DEFAULT,
    subset: Mask | None = None,
    threads: int = 1,
) -> list[tuple[Documents, Scores, dict[str, float]]]:
    """:func:`search` for each query, some at a time, with the seconds of each stage.

    The results are the same for every number of threads.
    """

    def found(query: FloatArray) -> tuple[Documents, Scores, dict[str, float]]:
        watch = Stopwatch()
        return *search(corpus, query, k, scoring, effort, subset, watch), watch.seconds

    if threads == 1 or len(queries) == 1:
        return [found(query) for query in queries]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(found, queries))


def evidence(corpus: ClusteredCorpus, query: FloatArray, effort: Effort = DEFAULT) -> tuple[TokenHits, Scores]:
    """What XTR's scores of a query are made of, with the same effort: the token hits, and (n,) m_i."""
    quantised_query = quantised(query, corpus.quantiser)
    probes = open_clusters(corpus, quantised_query, _chosen(corpus, quantised_query, effort.nprobe, effort))
    lowest, missing = _imputed(corpus, quantised_query, probes, effort.k_prime, _applicable(effort))
    return token_hits(corpus, probes, lowest), missing


def _search_xtr(
    corpus: ClusteredCorpus,
    query: QuantisedQuery,
    wanted: int,
    needed: int,
    effort: Effort,
    imputation: Estimate,
    subset: Mask | None,
    watch: Stopwatch,
) -> tuple[Documents, Scores]:
    """The best ``wanted`` documents, and at least ``needed`` where there are as many."""
    matching = corpus.wanted(subset)
    n_matching = int(np.count_nonzero(matching))
    fill = FILLED_UP if subset is not None else 0
    nprobe, k_prime = effort.nprobe, effort.k_prime
    while True:
        chosen = _chosen(corpus, query, nprobe, effort)
        watch.lap("centroids")
        probes = open_clusters(corpus, query, chosen)
        watch.lap("codes")
        lowest, missing = _imputed(corpus, query, probes, k_prime, imputation)
        watch.lap("imputation")
        allowed = EVERYONE if subset is None else matching
        reached, scores = _xtr_scores(corpus, probes, lowest, missing, imputation, effort.reduction, allowed)
        documents = reached.astype(np.int64)
        watch.lap("documents")
        everything = nprobe >= corpus.n_clusters and k_prime >= corpus.n_tokens
        if len(documents) >= min(needed, n_matching) or everything:
            break
        if n_matching - len(documents) <= fill:
            documents, scores = _filled_up(corpus, query, matching, documents, scores, missing, effort.reduction)
            watch.lap("rerank")
            break
        nprobe, k_prime = 2 * nprobe, 2 * k_prime
    best = best_first(documents, scores, wanted)
    watch.lap("documents")
    return best


def _chosen(corpus: ClusteredCorpus, query: QuantisedQuery, nprobe: int, effort: Effort) -> ChosenClusters:
    chosen = choose_clusters(corpus, query, nprobe)
    return shared_by_all(corpus, query, chosen) if effort.shared else chosen


def _applicable(effort: Effort) -> Estimate:
    """The imputation: shared clusters do not tell what the others hold, so nothing can be expected of these."""
    return Estimate("found") if effort.shared and effort.imputation.kind == "min" else effort.imputation


def _xtr_scores(
    corpus: ClusteredCorpus,
    probes: Probes,
    lowest: npt.NDArray[np.float32],
    missing: Scores,
    imputation: Estimate,
    reduction: Reduction | None,
    allowed: Mask,
) -> tuple[npt.NDArray[np.int32], Scores]:
    """Documents with hits, in no order, and their scores."""
    most = min(corpus.n_documents, len(probes.documents))
    totals, found = np.empty(most, dtype=np.float64), np.empty(most, dtype=np.int32)
    counted = imputation.kind == "none" and reduction != "sum"
    matched = np.zeros(corpus.n_documents if counted else 0, dtype=np.int32)
    count = sum_best(probes, lowest, missing, allowed, corpus.slots(), found, totals, matched)
    documents, scores = found[:count], totals[:count] + missing.sum()
    if reduction != "sum":
        scores /= matched[documents] if counted else len(lowest)
    return documents, scores


def _filled_up(
    corpus: ClusteredCorpus,
    query: QuantisedQuery,
    matching: Mask,
    documents: Documents,
    scores: Scores,
    missing: Scores,
    reduction: Reduction | None,
) -> tuple[Documents, Scores]:
    """The documents that were reached and, behind them, those of the subset that no retrieved token led to."""
    unreached = matching.copy()
    unreached[documents] = False
    others = np.flatnonzero(unreached)
    sums = sums_over_all_tokens(corpus, query, others, missing)
    sums = np.minimum(sums, missing.sum())  # which another order of addition may miss by a bit
    of_others = sums if reduction == "sum" else sums / len(missing)
    return np.concatenate([documents, others]), np.concatenate([scores, of_others])


def _imputed(
    corpus: ClusteredCorpus, query: QuantisedQuery, probes: Probes, k_prime: int, imputation: Estimate
) -> tuple[npt.NDArray[np.float32], Scores]:
    """From which similarity up a token counts as retrieved, and m_i: (n,) each."""
    chosen, n = probes.chosen, len(probes.chosen.counts)
    everything = np.full(n, -np.inf, dtype=np.float32)
    if imputation.kind == "retrieved":
        kth_scores(probes, k_prime, kth := np.empty(n, dtype=np.float32))
        return kth, kth.astype(np.float64)
    if imputation.kind in ("min", "found"):
        kth = _kth_scores(corpus, probes, k_prime, expected=imputation.kind == "min")
        return kth, kth.astype(np.float64)
    if imputation.kind == "centroid":
        return everything, lowest_centroids(chosen.scores, chosen.counts)
    if imputation.kind == "cumulated":
        if chosen.clusters.shape[1] < COUNTED_CLUSTERS:
            chosen = choose_clusters(corpus, query, COUNTED_CLUSTERS)
        sizes = corpus.sizes[chosen.clusters]
        return everything, cumulated(chosen.scores, sizes, chosen.counts, imputation.value)
    return everything, np.full(n, imputation.value if imputation.kind == "constant" else 0.0)


def _kth_scores(corpus: ClusteredCorpus, probes: Probes, k_prime: int, *, expected: bool) -> npt.NDArray[np.float32]:
    """(n,) the k'-th best similarity: the actual one where every cluster was opened, else an estimate."""
    chosen, kth = probes.chosen, np.empty(len(probes.chosen.counts), dtype=np.float32)
    all_opened = chosen.clusters.shape[1] == corpus.n_clusters
    if expected and not all_opened:
        expected_kth_scores(probes, corpus.cluster_offsets, k_prime, kth)
        return kth
    kth_scores(probes, k_prime, kth)
    return kth if all_opened else np.maximum(kth, lowest_centroids(chosen.scores, chosen.counts).astype(np.float32))
