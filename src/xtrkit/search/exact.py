"""The exact engine: every token vector is looked at. Token retrieval, then imputation and scoring, then the k best.

The steps are functions, which shards call apart (:mod:`xtrkit.cluster.exact_shard`). Nothing here keeps state: what one
search asks for changes nothing for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xtrkit.recipes import Recipe
from xtrkit.scoring import xtr
from xtrkit.scoring.imputation import Floats, Imputed
from xtrkit.scoring.ranking import best_first
from xtrkit.search.engine import Contribution, Documents, Evidence, Found, Ranked, Scores
from xtrkit.search.widening import Goal, Looked, look_until_enough, unreached
from xtrkit.stopwatch import Stopwatch
from xtrkit.token_retrieval.corpus import ExactCorpus
from xtrkit.token_retrieval.exact import retrieve_tokens, sum_of_max_scores
from xtrkit.values import FloatArray, Mask, Ragged, Reduction, Segment, TokenHits, TokenVectors


class ExactEngine:
    """Looks at every token vector of the corpus: the oracle."""

    storage = "float16"

    def __init__(self, segments: Sequence[Segment[TokenVectors]]) -> None:
        self._corpus = ExactCorpus(segments)

    @property
    def n_tokens(self) -> int:
        """Number of token vectors of living documents, M."""
        return self._corpus.n_tokens

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return self._corpus.segments[0].tokens.dim

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end."""
        return self._corpus.document_offsets

    def search(
        self, queries: Ragged, k: int, recipe: Recipe, subset: Mask | None = None, threads: int | None = None
    ) -> list[Found]:
        """The k best documents of each query; ``threads`` blocks of the corpus are multiplied at a time.

        With MaxSim all documents are scored.
        """
        corpus, watch = self._corpus, Stopwatch()
        recipe = recipe.resolved(k, corpus.n_documents)
        if recipe.scoring == "maxsim":
            found = _search_maxsim(corpus, queries, k, recipe, subset, threads, watch)
        else:
            found = _search_xtr(corpus, queries, k, recipe, subset, threads, watch)
        seconds = {stage: seconds / len(queries) for stage, seconds in watch.seconds.items()}
        return [replace(one, seconds=seconds) for one in found]

    def evidence(self, query: FloatArray, found: Found, of: Sequence[int] | None = None) -> Evidence:
        """What the XTR scores of a search were made of."""
        (hits,) = retrieve_tokens(self._corpus, Ragged.from_arrays([query]), found.recipe.k_prime)
        lowest, missing = _imputed(self._corpus, query, hits, found.recipe, None)
        return Evidence(hits.at_least(lowest), missing)

    def best_similarities(self, query: FloatArray, document: int, most: Scores | None = None) -> Contribution:
        """min(most_i, max_j q_i · d_j) over all tokens of a document."""
        similarities = query.astype(np.float32) @ self.vectors(document).astype(np.float32).T
        best = similarities.max(axis=1).astype(np.float64)
        return Contribution(best if most is None else np.minimum(best, most), similarities.argmax(axis=1))

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, float16."""
        return self._corpus.vectors(document)

    def similarity_error_bounds(self, query: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) zeros: these are the vectors that were indexed."""
        return np.zeros(len(query))


@dataclass(frozen=True, eq=False)
class AllSimilarities:
    """What an exact search saw: everything, of which the k' best are hits. Each token is a cluster of its own.

    Attributes:
        kth: (n,) the lowest similarity that was retrieved, 0 where none was.
        kth_of: gives what ``kth`` would be for another k'.
    """

    kth: Floats
    kth_of: Callable[[int], Floats]

    @property
    def complete(self) -> Mask:
        """(n,) True."""
        return np.ones(len(self.kth), dtype=np.bool_)

    def kth_seen(self) -> Floats:
        """(n,) the lowest similarity that was retrieved, 0 where none was."""
        return self.kth

    kth_expected = last_opened = kth_seen

    def at_tokens(self, tokens: float) -> Floats:
        """(n,) the similarity of the token at this place."""
        return self.kth_of(int(np.ceil(tokens)))


def lowest_of(hits: TokenHits) -> Floats:
    """(n,) the lowest similarity of each query token's hits, 0 where it has none."""
    found = (hits.scores[hits.of(i)] for i in range(hits.n_query_tokens))
    return np.array([scores.min() if len(scores) else 0.0 for scores in found], dtype=np.float32)


def _search_maxsim(
    corpus: ExactCorpus,
    queries: Ragged,
    k: int,
    recipe: Recipe,
    subset: Mask | None,
    threads: int | None,
    watch: Stopwatch,
) -> list[Found]:
    """ColBERT's eq. 3 of every document that may be found."""
    ranked = best_by_maxsim(corpus, queries, k, corpus.wanted(subset), mean=recipe.mean, threads=threads)
    watch.lap("tokens")
    return [Found(*one, recipe) for one in ranked]


def _search_xtr(
    corpus: ExactCorpus,
    queries: Ragged,
    k: int,
    recipe: Recipe,
    subset: Mask | None,
    threads: int | None,
    watch: Stopwatch,
) -> list[Found]:
    """Eq. 3 and 4, with as much k' as k documents take."""
    matching = corpus.wanted(subset)

    def look(pending: Sequence[int], recipe: Recipe) -> Iterator[Looked]:
        some = queries if len(pending) == len(queries) else Ragged.from_arrays(queries[query] for query in pending)
        all_hits = retrieve_tokens(corpus, some, recipe.k_prime, threads=threads)
        watch.lap("tokens")
        for query, hits in zip(some, all_hits, strict=True):
            yield _looked(corpus, query, hits, matching, recipe, threads)
        watch.lap("documents")

    goal = Goal(int(np.count_nonzero(matching)), k, subset is not None, n_clusters=1, n_tokens=corpus.n_tokens)
    found = []
    for query, (reached, used) in zip(queries, look_until_enough(look, len(queries), recipe, goal), strict=True):
        ranked = best_first(*reached, used.rerank or k)
        watch.lap("documents")
        if used.rerank is not None:
            scores = by_all_tokens(corpus, query, ranked[0], mean=used.mean, threads=threads)
            ranked = best_first(ranked[0], scores, k)
            watch.lap("rerank")
        found.append(Found(*ranked, used, min(used.k_prime, corpus.n_tokens)))
    return found


def _looked(
    corpus: ExactCorpus, query: FloatArray, hits: TokenHits, matching: Mask, recipe: Recipe, threads: int | None
) -> Looked:
    """What the hits of one query lead to."""
    imputed = _imputed(corpus, query, hits, recipe, threads)
    reached = xtr_scores(corpus, hits, imputed, matching, mean=recipe.mean)

    def fill_up() -> Ranked:
        most = np.zeros(len(query)) if imputed.missing is None else imputed.missing
        others = unreached(reached.documents, matching)
        return Ranked(others, by_all_tokens(corpus, query, others, most, mean=recipe.mean, threads=threads))

    return Looked(reached, len(reached.documents), fill_up)


def _imputed(corpus: ExactCorpus, query: FloatArray, hits: TokenHits, recipe: Recipe, threads: int | None) -> Imputed:
    def kth_of(k_prime: int) -> Floats:
        return lowest_of(retrieve_tokens(corpus, Ragged.from_arrays([query]), k_prime, threads=threads)[0])

    return recipe.impute(AllSimilarities(lowest_of(hits), kth_of))


def xtr_scores(corpus: ExactCorpus, hits: TokenHits, imputed: Imputed, matching: Mask, *, mean: bool) -> Ranked:
    """Eq. 4: documents with hits, in ascending order, and their scores.

    Args:
        corpus: what is searched.
        hits: the retrieved tokens of one query.
        imputed: which of them count, and m_i.
        matching: (N,) the documents that may be found.
        mean: whether sums are divided by the number of query tokens, or of those that retrieved if nothing is imputed.
    """
    reduction: Reduction = "mean" if mean else "sum"
    documents, scores = xtr.score(hits.at_least(imputed.lowest), corpus.n_documents, imputed.missing, reduction)
    kept = matching[documents]
    return Ranked(documents[kept], scores[kept])


def best_by_maxsim(
    corpus: ExactCorpus, queries: Ragged, k: int, wanted: Mask, *, mean: bool, threads: int | None = None
) -> list[Ranked]:
    """ColBERT's eq. 3: the k best of the documents that (N,) ``wanted`` marks, for each query."""
    sums = sum_of_max_scores(corpus, queries, wanted, threads=threads)
    if mean:
        sums /= queries.lengths[:, np.newaxis]
    documents = np.flatnonzero(wanted)
    return [Ranked(*best_first(documents, scores[documents], k)) for scores in sums]


def by_all_tokens(
    corpus: ExactCorpus,
    query: FloatArray,
    documents: Documents,
    most: Scores | None = None,
    *,
    mean: bool,
    threads: int | None = None,
) -> Scores:
    """Scores of some documents by all their tokens, no similarity above (n,) ``most``."""
    wanted = np.zeros(corpus.n_documents, dtype=np.bool_)
    wanted[documents] = True
    (sums,) = sum_of_max_scores(corpus, Ragged.from_arrays([query]), wanted, most=most, threads=threads)
    scores: Scores = sums[documents]
    if most is not None:
        scores = np.minimum(scores, most.sum())  # which another order of addition may miss by a bit
    return scores / len(query) if mean else scores
