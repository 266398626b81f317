"""Token retrieval, then scoring, then the k best documents: the search of the exact engine.

Nothing here keeps state: what one search asks for changes nothing for the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.recipes import Recipe
from xtrkit.scoring import xtr
from xtrkit.scoring.imputation import Imputation, imputation_named
from xtrkit.scoring.ranking import FILLED_UP, best_first
from xtrkit.stopwatch import Stopwatch
from xtrkit.token_retrieval.corpus import ExactCorpus
from xtrkit.token_retrieval.exact import retrieve_tokens, sum_of_max_scores
from xtrkit.values import FloatArray, Mask, Ragged, TokenHits

Ranked = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


class Found(NamedTuple):
    """The best documents of one query.

    Attributes:
        documents: (k,) document numbers, best first.
        scores: (k,) their scores.
        k_prime: the k' that was used; None with MaxSim.
        seconds: what each stage took, as in :class:`~xtrkit.values.Ranking`.
    """

    documents: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    k_prime: int | None = None
    seconds: Mapping[str, float] = {}


def search(
    corpus: ExactCorpus,
    queries: Ragged,
    k: int,
    recipe: Recipe,
    subset: Mask | None = None,
    threads: int | None = None,
) -> list[Found]:
    """The k best documents of each query.

    A subset is a filter: each of its documents gets the score that it has among all documents, m_i included. Where k
    asks for documents of it that no retrieved token led to, XTR scores them by (1/n) Σ_i min(m_i, max_j q_i · d_j):
    with "min", their MaxSim, as what was not retrieved is not above m_i.

    Args:
        corpus: what is searched.
        queries: token embeddings of Q queries, each with at least one token.
        k: how many documents; fewer come back only where the corpus, or the subset, has fewer.
        recipe: how to score.
        subset: (N,) the documents that may be found; None: all may.
        threads: blocks of the corpus that are multiplied at a time; None: as many as there are cores. The results are
            the same for every number.
    """
    watch, search_all = Stopwatch(), _search_maxsim if recipe.scoring == "maxsim" else _search_xtr
    wanted = k if recipe.rerank is None else max(k, int(recipe.rerank))
    found = search_all(corpus, queries, wanted, recipe, subset, threads, watch)
    if recipe.rerank is not None:
        found = [_reranked(corpus, query, one, k, recipe, threads) for query, one in zip(queries, found, strict=True)]
        watch.lap("rerank")
    seconds = {stage: seconds / len(queries) for stage, seconds in watch.seconds.items()}
    return [one._replace(seconds=seconds) for one in found]


def _reranked(
    corpus: ExactCorpus, query: FloatArray, found: Found, k: int, recipe: Recipe, threads: int | None
) -> Found:
    """The k best of the found documents by all their tokens."""
    wanted = np.zeros(corpus.n_documents, dtype=np.bool_)
    wanted[found.documents] = True
    (sums,) = sum_of_max_scores(corpus, Ragged.from_arrays([query]), wanted, threads=threads)
    scores = sums[found.documents] if recipe.own_reduction == "sum" else sums[found.documents] / len(query)
    return Found(*best_first(found.documents, scores, k), found.k_prime)


def _search_maxsim(
    corpus: ExactCorpus,
    queries: Ragged,
    k: int,
    recipe: Recipe,
    subset: Mask | None,
    threads: int | None,
    watch: Stopwatch,
) -> list[Found]:
    wanted = corpus.wanted(subset)
    sums = sum_of_max_scores(corpus, queries, wanted, threads=threads)
    watch.lap("tokens")
    if recipe.own_reduction == "mean":
        sums /= queries.lengths[:, np.newaxis]
    documents = np.flatnonzero(wanted)
    found = [Found(*best_first(documents, scores[documents], k)) for scores in sums]
    watch.lap("documents")
    return found


def _search_xtr(
    corpus: ExactCorpus,
    queries: Ragged,
    k: int,
    recipe: Recipe,
    subset: Mask | None,
    threads: int | None,
    watch: Stopwatch,
) -> list[Found]:
    """Eq. 3 and 4; where k' tokens lead to fewer than k documents, that query is searched with twice the k'.

    The paper leaves this case open; users who ask for k documents expect k where there are k. Where a subset has
    ``FILLED_UP`` documents or fewer that were not reached, these are looked at instead.
    """
    matching = corpus.wanted(subset)
    n_matching = int(np.count_nonzero(matching))
    few = 0 if subset is None else FILLED_UP
    impute = imputation_named(recipe.imputation)
    found: dict[int, Found] = {}
    pending, k_prime = list(range(len(queries))), recipe.k_prime
    while pending:
        k_prime = min(k_prime, corpus.n_tokens)
        hits_of_pending = retrieve_tokens(corpus, _some(queries, pending), k_prime, threads=threads)
        watch.lap("tokens")
        for query, hits in zip(pending, hits_of_pending, strict=True):
            documents, scores = xtr.score(hits, corpus.n_documents, impute, recipe.own_reduction)
            kept = matching[documents]
            reached = documents[kept], scores[kept]
            if len(reached[0]) < min(k, n_matching) and n_matching - len(reached[0]) <= few:
                reached = _filled_up(corpus, queries[query], hits, matching, reached, impute, recipe, threads)
            if len(reached[0]) >= min(k, n_matching) or k_prime == corpus.n_tokens:
                found[query] = Found(*best_first(*reached, k), k_prime)
        watch.lap("documents")
        pending = [query for query in pending if query not in found]
        k_prime *= 2
    return [found[query] for query in range(len(queries))]


def _filled_up(
    corpus: ExactCorpus,
    query: FloatArray,
    hits: TokenHits,
    matching: Mask,
    reached: Ranked,
    impute: Imputation,
    recipe: Recipe,
    threads: int | None,
) -> Ranked:
    """The documents that were reached and, behind them, those of the subset that no retrieved token led to."""
    documents, scores = reached
    unreached = matching.copy()
    unreached[documents] = False
    missing = impute(hits)
    most = np.zeros(len(query)) if missing is None else missing
    (sums,) = sum_of_max_scores(corpus, Ragged.from_arrays([query]), unreached, most=most, threads=threads)
    others = np.flatnonzero(unreached)
    np.minimum(sums, most.sum(), out=sums)  # which another order of addition may miss by a bit
    of_others = sums[others] if recipe.own_reduction == "sum" else sums[others] / len(query)
    return np.concatenate([documents, others]), np.concatenate([scores, of_others])


def _some(queries: Ragged, chosen: list[int]) -> Ragged:
    return queries if len(chosen) == len(queries) else Ragged.from_arrays(queries[query] for query in chosen)
