"""Token retrieval, then scoring, then the k best documents: the search of the exact engine.

Nothing here keeps state: what one search asks for changes nothing for the next.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.recipes import Recipe
from xtrkit.scoring import xtr
from xtrkit.scoring.imputation import imputation_named
from xtrkit.scoring.ranking import best_first
from xtrkit.token_retrieval.exact import retrieve_tokens, sum_of_max_scores
from xtrkit.values import Ragged, TokenVectors


class Found(NamedTuple):
    """The best documents of one query.

    Attributes:
        documents: (k,) document numbers, best first.
        scores: (k,) their scores.
        k_prime: the k' that was used; None with MaxSim.
    """

    documents: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    k_prime: int | None = None


def search(vectors: TokenVectors, queries: Ragged, k: int, recipe: Recipe) -> list[Found]:
    """The k best documents of each query.

    Args:
        vectors: the corpus.
        queries: token embeddings of Q queries, each with at least one token.
        k: how many documents; fewer come back only where the corpus has fewer.
        recipe: how to score.
    """
    if recipe.scoring == "maxsim":
        return _search_maxsim(vectors, queries, k, recipe)
    return _search_xtr(vectors, queries, k, recipe)


def _search_maxsim(vectors: TokenVectors, queries: Ragged, k: int, recipe: Recipe) -> list[Found]:
    sums = sum_of_max_scores(vectors, queries)
    if recipe.own_reduction == "mean":
        sums /= queries.lengths[:, np.newaxis]
    documents = np.arange(sums.shape[1], dtype=np.int64)
    return [Found(*best_first(documents, scores, k)) for scores in sums]


def _search_xtr(vectors: TokenVectors, queries: Ragged, k: int, recipe: Recipe) -> list[Found]:
    """Eq. 3 and 4; where k' tokens lead to fewer than k documents, that query is searched with twice the k'.

    The paper leaves this case open; users who ask for k documents expect k where there are k.
    """
    n_documents, n_tokens = len(vectors.offsets) - 1, len(vectors.halves)
    impute = imputation_named(recipe.imputation)
    found: dict[int, Found] = {}
    pending, k_prime = list(range(len(queries))), recipe.k_prime
    while pending:
        k_prime = min(k_prime, n_tokens)
        hits_of_pending = retrieve_tokens(vectors, _some(queries, pending), k_prime)
        for query, hits in zip(pending, hits_of_pending, strict=True):
            documents, scores = xtr.score(hits, n_documents, impute, recipe.own_reduction)
            if len(documents) >= min(k, n_documents) or k_prime == n_tokens:
                found[query] = Found(*best_first(documents, scores, k), k_prime)
        pending = [query for query in pending if query not in found]
        k_prime *= 2
    return [found[query] for query in range(len(queries))]


def _some(queries: Ragged, chosen: list[int]) -> Ragged:
    return queries if len(chosen) == len(queries) else Ragged.from_arrays(queries[query] for query in chosen)
