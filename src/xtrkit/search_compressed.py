"""Search of a compressed index: open clusters, score what is in them, rank documents.

XTR mode stops there: documents are scored by the tokens that were retrieved (eq. 4). ColBERT mode takes the best of
them as candidates and scores these anew by all their tokens (sum-of-max). Nothing here keeps state.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.hits import sum_best
from xtrkit.recipes import Reduction, Scoring, check_k
from xtrkit.token_retrieval.centroid import Probes, probe, quantised
from xtrkit.token_retrieval.gather import maxsim_scores
from xtrkit.token_retrieval.imputation import check_imputation, missing_similarities
from xtrkit.values import FloatArray

EVERYONE = np.zeros(0, dtype=np.bool_)

Scored = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Document numbers, best first, and their scores."""


@dataclass(frozen=True)
class CompressedRecipe:
    """How a compressed index is searched.

    Attributes:
        scoring: "xtr" scores documents by the retrieved tokens; "maxsim" scores the best of these by all their tokens.
        nprobe: clusters opened for each query token; each doubling costs about half as much time again and finds
            what the last one missed (``docs/performance.md`` has the curve).
        k_prime: k', tokens retrieved for each query token at most.
        imputation: what stands in for a similarity that was not retrieved; a name of
            :mod:`xtrkit.token_retrieval.imputation`.
        n_candidates: documents that "maxsim" scores by all their tokens; None is ``CANDIDATES_PER_RESULT`` for each
            asked for, ``FEWEST_CANDIDATES`` at least.
        reduction: "mean" over query tokens or "sum"; None is XTR's mean and ColBERT's sum.
    """

    scoring: Scoring = "xtr"
    nprobe: int = 32
    k_prime: int = 1000
    imputation: str = "expected"
    n_candidates: int | None = None
    reduction: Reduction | None = None

    def __post_init__(self) -> None:
        if self.scoring not in ("xtr", "maxsim"):
            raise InputError(f"Unknown scoring {self.scoring!r}: use 'xtr' or 'maxsim'.")
        if self.reduction not in (None, "mean", "sum"):
            raise InputError(f"Unknown reduction {self.reduction!r}: use 'mean' or 'sum'.")
        check_imputation(self.imputation)
        for name, value in (("nprobe", self.nprobe), ("k'", self.k_prime), ("n_candidates", self.n_candidates or 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, got {value!r}.")

    def but(self, **choices: Any) -> CompressedRecipe:
        """This recipe with some fields changed.

        Raises:
            InputError: a name is not a field, or a value can't be used.
        """
        unknown = sorted(set(choices) - set(CompressedRecipe.__dataclass_fields__))
        if unknown:
            known = ", ".join(CompressedRecipe.__dataclass_fields__)
            raise InputError(f"Unknown search choice {unknown[0]!r}: a compressed index knows {known}.")
        return replace(self, **choices)


COMPRESSED_XTR = CompressedRecipe()
# More tokens than XTR's 1,000 count: what ranks candidates well for sum-of-max is seeing much of each document.
COMPRESSED_COLBERT = CompressedRecipe(scoring="maxsim", k_prime=4000)

CANDIDATES_PER_RESULT = 3
FEWEST_CANDIDATES = 64


def search(
    index: CompressedTokens,
    query: FloatArray,
    k: int,
    recipe: CompressedRecipe = COMPRESSED_XTR,
    subset: npt.NDArray[np.bool_] = EVERYONE,
) -> Scored:
    """The k best documents of one query.

    Args:
        index: the compressed index.
        query: (n, d) token embeddings, finite, at least one.
        k: how many documents; fewer come back only where there are fewer.
        recipe: how to search.
        subset: (N,) which documents may be found; empty where all may. The others are left out before the ranking,
            and no score depends on them being left out.

    Returns:
        (k,) document numbers, best first and of equals the lower first, and (k,) scores.
    """
    check_k(k)
    if len(subset) not in (0, index.n_documents):
        raise InputError(f"A subset needs one entry for each of {index.n_documents} documents, got {len(subset)}.")
    if recipe.scoring == "maxsim":
        wanted = recipe.n_candidates or max(FEWEST_CANDIDATES, CANDIDATES_PER_RESULT * k)
        candidates = np.sort(_search_xtr(index, query, max(k, wanted), recipe, subset)[0])
        scores = maxsim_scores(index, query, candidates)
        return best_first(candidates, scores / len(query) if recipe.reduction == "mean" else scores, k)
    return _search_xtr(index, query, k, recipe, subset)


def search_batch(
    index: CompressedTokens,
    queries: Sequence[FloatArray],
    k: int,
    recipe: CompressedRecipe = COMPRESSED_XTR,
    subset: npt.NDArray[np.bool_] = EVERYONE,
    threads: int = 1,
) -> list[Scored]:
    """The k best documents of each query, several queries at a time; the results do not depend on ``threads``."""
    one = partial(search, index, k=k, recipe=recipe, subset=subset)
    if threads == 1:
        return [one(query) for query in queries]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, queries))


def _search_xtr(
    index: CompressedTokens, query: FloatArray, k: int, recipe: CompressedRecipe, subset: npt.NDArray[np.bool_]
) -> Scored:
    """Where too few documents are found, more clusters are opened and more tokens retrieved, until there are k."""
    quantised_query = quantised(query, index)
    available = int(subset.sum()) if len(subset) else index.n_documents
    nprobe, k_prime = recipe.nprobe, recipe.k_prime
    while True:
        probes = probe(index, quantised_query, nprobe)
        documents, scores = xtr_scores(index, probes, recipe.but(k_prime=k_prime), subset)
        everything = nprobe >= index.n_clusters and k_prime >= index.n_tokens
        if len(documents) >= min(k, available) or everything:
            return best_first(documents, scores, k)
        nprobe, k_prime = 2 * nprobe, 2 * k_prime


def xtr_scores(
    index: CompressedTokens, probes: Probes, recipe: CompressedRecipe, subset: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Documents with hits, in no order, and their scores: f_XTR' of eq. 4."""
    n = len(probes.counts)
    lowest, missing = missing_similarities(index, probes, recipe.imputation, recipe.k_prime)
    values = np.zeros(n, dtype=np.float64) if missing is None else missing
    totals = np.zeros(index.n_documents, dtype=np.float64)
    matched = np.zeros(index.n_documents, dtype=np.int32)
    found = np.empty(index.n_documents + 1, dtype=np.int32)
    count = sum_best(
        index.documents, index.offsets, probes.clusters, probes.counts, probes.starts, probes.scores,
        lowest, values, subset, totals, matched, found,
    )  # fmt: skip
    documents = found[:count]
    scores = totals[documents] + values.sum()
    if recipe.reduction != "sum":
        scores /= n if missing is not None else matched[documents]
    return documents, scores


def best_first(documents: npt.NDArray[np.integer[Any]], scores: npt.NDArray[np.float64], k: int) -> Scored:
    """The k highest scores in descending order; of equal ones the lower document number comes first."""
    if len(scores) > k:
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
        documents, scores = documents[kept], scores[kept]
    order = np.lexsort((documents, -scores))[:k]
    return documents[order].astype(np.int64), scores[order]
