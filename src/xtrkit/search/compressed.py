"""The compressed engine: opens the clusters nearest to each query token, and scores the codes in them.

A search takes steps, each a function: quantise the query, choose clusters, open them, impute what was not seen, score
documents; look again with more effort, fill a subset up, score the best ones by all their tokens. Nothing here keeps
state: what one search asks for changes nothing for the next, and searches may run in threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.codec import name_of
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.bundles import ChosenClusters, Probes, QuantisedQuery
from xtrkit.kernels.expectation import expected_kth_scores
from xtrkit.kernels.summing import kth_scores, sum_best
from xtrkit.recipes import Recipe
from xtrkit.scoring.imputation import Imputed
from xtrkit.scoring.ranking import best_first
from xtrkit.search.engine import Contribution, Documents, Evidence, Found, Ranked, Scores
from xtrkit.search.widening import Goal, Looked, look_until_enough, unreached
from xtrkit.stopwatch import Stopwatch
from xtrkit.token_retrieval.centroid import (
    nearest,
    open_clusters,
    promising,
    quantised,
    shared_by_all,
    sums_over_all_tokens,
    token_hits,
)
from xtrkit.token_retrieval.corpus import ClusteredCorpus, Clusters
from xtrkit.token_retrieval.error import similarity_error_bounds
from xtrkit.values import EVERYONE, FloatArray, Mask, Ragged, Segment

CANDIDATE_TOKENS = 4000
"""k' by which clusters are opened to find candidates for MaxSim, which has use for tokens further down than XTR."""

COUNTED_CLUSTERS = 128
"""Clusters whose sizes the cumulated estimate may add up, if more than are opened."""


class CompressedEngine:
    """Opens the clusters nearest to each query token, and scores the codes in them."""

    def __init__(self, segments: Sequence[Segment[CompressedTokens]]) -> None:
        self._corpus = ClusteredCorpus(segments)
        codec = self._corpus.quantiser.codec
        self.storage = f"{codec.bits} bits, {name_of(codec)}"

    @property
    def n_tokens(self) -> int:
        """Number of token vectors of living documents, M."""
        return self._corpus.n_tokens

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return self._corpus.quantiser.dim

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end, counted document after document."""
        return self._corpus.document_offsets

    def search(
        self, queries: Ragged, k: int, recipe: Recipe, subset: Mask | None = None, threads: int | None = None
    ) -> list[Found]:
        """The k best documents of each query, ``threads`` queries at a time; 1 where None is given.

        "maxsim" scores the most promising documents by all their tokens; of a subset that has no more documents than
        that, all.
        """
        corpus, recipe = self._corpus, recipe.resolved(k, self._corpus.n_documents, self._corpus.n_clusters)
        if threads in (None, 1) or len(queries) == 1:
            return [search(corpus, query, k, recipe, subset) for query in queries]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda query: search(corpus, query, k, recipe, subset), queries))

    def evidence(self, query: FloatArray, found: Found, of: Sequence[int] | None = None) -> Evidence:
        """What the XTR scores of a search were made of."""
        quantised_query = quantised(query, self._corpus.quantiser)
        probes = open_clusters(
            self._corpus, quantised_query, chosen_clusters(self._corpus, quantised_query, found.recipe)
        )
        lowest, missing = imputed(self._corpus, quantised_query, probes, found.recipe)
        return Evidence(token_hits(self._corpus, probes, lowest, of), missing)

    def best_similarities(self, query: FloatArray, document: int, most: Scores | None = None) -> Contribution:
        """min(most_i, max_j q_i · d_j) over all tokens of a document, decompressed."""
        quantised_query, n = quantised(query, self._corpus.quantiser), len(query)
        one = np.array([document], dtype=np.int64)
        best = np.empty(n)
        for i in range(n):  # the kernel adds up; asked for one query token it gives the term itself
            of_token = quantised_query.token(i)
            best[i] = sums_over_all_tokens(self._corpus, of_token, one, None if most is None else most[i : i + 1])[0]
        return Contribution(best, (query.astype(np.float32) @ self.vectors(document).T).argmax(axis=1))

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, decompressed."""
        return self._corpus.vectors(document)

    def similarity_error_bounds(self, query: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) how far similarities of each query token can be from those with the vectors that were indexed."""
        return similarity_error_bounds(self._corpus, query)


def search(corpus: ClusteredCorpus, query: FloatArray, k: int, recipe: Recipe, subset: Mask | None = None) -> Found:
    """The k best documents of one query.

    Args:
        corpus: what is searched.
        query: (n, d) token embeddings.
        k: how many documents.
        recipe: how to score, and how thoroughly to look; resolved.
        subset: (N,) the documents that may be found; None: all may.
    """
    watch, matching = Stopwatch(), corpus.wanted(subset)
    quantised_query = quantised(query, corpus.quantiser)
    watch.lap("quantise")
    goal = Goal(int(np.count_nonzero(matching)), k, subset is not None, corpus.n_clusters, corpus.n_tokens)
    if recipe.scoring == "xtr":
        reached, used = look_at_clusters(corpus, quantised_query, recipe, goal, matching, watch)
        ranked, k_prime = best_first(*reached, used.rerank or k), min(used.k_prime, corpus.n_tokens)
        watch.lap("documents")
        if used.rerank is not None:
            ranked = _best_by_all_tokens(corpus, quantised_query, ranked[0], k, used, watch)
        return Found(*ranked, used, k_prime, watch.seconds)
    candidates, used = int(recipe.candidates or k), recipe
    if goal.n_matching <= candidates:
        documents = np.flatnonzero(matching)
    else:
        reached, widened = look_at_clusters(corpus, quantised_query, finding_candidates(recipe), goal, matching, watch)
        documents, _ = best_first(*reached, candidates)
        watch.lap("documents")
        used = replace(recipe, nprobe=widened.nprobe)
    return Found(*_best_by_all_tokens(corpus, quantised_query, documents, k, used, watch), used, None, watch.seconds)


def finding_candidates(recipe: Recipe) -> Recipe:
    """How the most promising documents are found whose sum-of-max is then computed."""
    k_prime = max(CANDIDATE_TOKENS, recipe.k_prime)
    return replace(recipe, scoring="xtr", imputation="centroid", reduction="mean", k_prime=k_prime)


def look_at_clusters(
    corpus: ClusteredCorpus, query: QuantisedQuery, recipe: Recipe, goal: Goal, matching: Mask, watch: Stopwatch
) -> tuple[Ranked, Recipe]:
    """Documents by XTR's score, and the effort that it took to find as many as are needed."""
    allowed = matching if goal.fills else EVERYONE

    def look(pending: Sequence[int], recipe: Recipe) -> Iterator[Looked]:
        chosen = chosen_clusters(corpus, query, recipe)
        watch.lap("centroids")
        probes = open_clusters(corpus, query, chosen)
        watch.lap("codes")
        lowest, missing = imputed(corpus, query, probes, recipe)
        watch.lap("imputation")
        reached = xtr_scores(corpus, probes, Imputed(lowest, missing), allowed, mean=recipe.mean)
        watch.lap("documents")

        def fill_up() -> Ranked:
            most = np.zeros(len(lowest)) if missing is None else missing
            others = unreached(reached.documents, matching)
            scores = by_all_tokens(corpus, query, others, most, mean=recipe.mean)
            watch.lap("rerank")
            return Ranked(others, scores)

        yield Looked(reached, len(reached.documents), fill_up)

    ((reached, used),) = look_until_enough(look, 1, recipe, goal)
    return reached, used


def chosen_clusters(corpus: Clusters, query: QuantisedQuery, recipe: Recipe) -> ChosenClusters:
    """The clusters that each query token looks into."""
    if recipe.shared:
        return shared_by_all(corpus, query, nearest(corpus, query, recipe.clusters))
    return promising(corpus, query, recipe.clusters, recipe.k_prime)


def imputed(corpus: ClusteredCorpus, query: QuantisedQuery, probes: Probes, recipe: Recipe) -> Imputed:
    """From which similarity up a token counts as retrieved, and m_i: (n,) each."""
    return recipe.impute(OpenedSimilarities(corpus, query, probes, recipe.k_prime))


@dataclass(frozen=True, eq=False)
class OpenedSimilarities:
    """What a search saw that opened some clusters.

    Attributes:
        corpus: what is searched.
        query: the query.
        probes: the opened clusters.
        k_prime: k'.
    """

    corpus: ClusteredCorpus
    query: QuantisedQuery
    probes: Probes
    k_prime: int

    @property
    def complete(self) -> Mask:
        """(n,) whether every cluster was opened."""
        return completely_opened(self.corpus, self.probes.chosen)

    def kth_seen(self) -> npt.NDArray[np.float32]:
        """(n,) the k'-th best similarity in the opened clusters."""
        kth = np.empty(len(self.query.scales), dtype=np.float32)
        kth_scores(self.probes, self.k_prime, kth)
        return kth

    def kth_expected(self) -> npt.NDArray[np.float32]:
        """(n,) the k'-th best similarity of all tokens, given those seen and what is known of closed clusters."""
        if self.complete.all():
            return self.kth_seen()
        kth = np.empty(len(self.query.scales), dtype=np.float32)
        expected_kth_scores(self.probes, self.corpus.centroids, self.query, self.k_prime, kth)
        return kth

    def last_opened(self) -> npt.NDArray[np.float32]:
        """(n,) the score of the last of the opened clusters."""
        return lowest_centroids(self.probes.chosen)

    def at_tokens(self, tokens: float) -> npt.NDArray[np.float32]:
        """(n,) the score of the cluster at which sizes add up to ``tokens``, of 128 clusters at least."""
        return score_at_tokens(self.corpus, self.query, self.probes.chosen, tokens)


def completely_opened(corpus: Clusters, chosen: ChosenClusters) -> Mask:
    """(n,) whether every cluster was opened for all tokens of a query."""
    n = len(chosen.starts) - 1
    return np.full(n, len(chosen.clusters) == corpus.n_clusters * n)


def score_at_tokens(
    corpus: Clusters, query: QuantisedQuery, chosen: ChosenClusters, tokens: float
) -> npt.NDArray[np.float32]:
    """(n,) the score at which sizes of clusters add up to ``tokens``: of those chosen, or of 128 if there are less."""
    if np.diff(chosen.starts).min() < COUNTED_CLUSTERS:
        chosen = nearest(corpus, query, COUNTED_CLUSTERS)
    return cumulated(chosen, corpus.sizes[chosen.clusters], tokens)


def lowest_centroids(chosen: ChosenClusters) -> npt.NDArray[np.float32]:
    """(n,) the score of the last of the clusters of each query token; infinite where there are none."""
    lowest = [chosen.scores[first:last].min(initial=np.inf) for first, last in pairwise(chosen.starts)]
    return np.array(lowest, dtype=np.float32)


def cumulated(chosen: ChosenClusters, sizes: npt.NDArray[np.int64], tokens: float) -> npt.NDArray[np.float32]:
    """WARP's m_i: the score at which the clusters' sizes, best cluster first, add up to ``tokens``.

    Where all the clusters that are known hold fewer tokens, the score of the last of them.

    Args:
        chosen: the best clusters of each query token.
        sizes: (P,) how many tokens they have.
        tokens: t', at least 1.
    """
    reached = []
    for first, last in pairwise(chosen.starts):
        scores = chosen.scores[first:last]
        order = np.argsort(-scores, kind="stable")
        running = np.cumsum(sizes[first:last][order])
        reached.append(scores[order[min(int((running < tokens).sum()), len(order) - 1)]])
    return np.array(reached, dtype=np.float32)


def xtr_scores(corpus: ClusteredCorpus, probes: Probes, imputation: Imputed, allowed: Mask, *, mean: bool) -> Ranked:
    """Eq. 4: documents with hits, in no order, and their scores.

    Args:
        corpus: what is searched.
        probes: similarities in the opened clusters.
        imputation: which of them count, and m_i.
        allowed: (N,) the documents that may be found; empty where all may.
        mean: whether sums are divided by the number of query tokens, or of those that retrieved if nothing is imputed.
    """
    lowest, missing = imputation
    most, n_found = min(corpus.n_documents, len(probes.scores)), 0
    totals, found = np.empty(most, dtype=np.float64), np.empty(most + 1, dtype=np.int32)
    counted = missing is None and mean
    matched = np.zeros(corpus.n_documents if counted else 0, dtype=np.int32)
    stand_in = np.zeros(len(lowest)) if missing is None else missing
    free, slots = probes.places[:-1].copy(), corpus.slots()
    for first, segment in zip(corpus.first_documents, corpus.segments, strict=True):
        n_found += sum_best(
            segment.tokens.postings, segment.live, int(first), probes, free, lowest, stand_in,
            allowed, slots, found[n_found:], totals[n_found:], matched,
        )  # fmt: skip
    documents, scores = found[:n_found], totals[:n_found] + stand_in.sum()
    if mean:
        scores /= matched[documents] if counted else len(lowest)
    return Ranked(documents.astype(np.int64), scores)


def by_all_tokens(
    corpus: ClusteredCorpus, query: QuantisedQuery, documents: Documents, most: Scores | None = None, *, mean: bool
) -> Scores:
    """Scores of some documents by all their tokens, no similarity above (n,) ``most``."""
    sums = sums_over_all_tokens(corpus, query, documents, most)
    if most is not None:
        sums = np.minimum(sums, most.sum())  # which another order of addition may miss by a bit
    return sums / len(query.scales) if mean else sums


def _best_by_all_tokens(
    corpus: ClusteredCorpus, query: QuantisedQuery, documents: Documents, k: int, recipe: Recipe, watch: Stopwatch
) -> tuple[Documents, Scores]:
    """The k best of some documents by all their tokens."""
    best = best_first(documents, by_all_tokens(corpus, query, documents, mean=recipe.mean), k)
    watch.lap("rerank")
    return best
