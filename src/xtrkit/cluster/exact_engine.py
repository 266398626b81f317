"""The coordinator of exact shards: searches them as if they were one exact index.

Two exchanges answer a batch of queries. Retrieve: queries out, the k' best similarities of each shard back. Score: m_i
out, and how many of its best each shard may keep; its best documents back. MaxSim takes one. Too few documents, those
of a filter that were not reached, and scoring again by all tokens take further ones.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.cluster.engine import Sharded, Shards
from xtrkit.cluster.messages import Best, Held, Reached, Retrieve, ScoreBest, Scoring, ShardFacts
from xtrkit.recipes import Recipe
from xtrkit.scoring.imputation import Floats, Imputed
from xtrkit.scoring.ranking import best_first
from xtrkit.search.engine import Evidence, Found, Ranked
from xtrkit.search.exact import AllSimilarities, ExactEngine
from xtrkit.search.widening import Goal, Looked, look_until_enough
from xtrkit.stopwatch import Stopwatch
from xtrkit.token_retrieval.exact import batches
from xtrkit.values import FloatArray, Mask, Ragged


class ExactShardedEngine(Sharded):
    """Searches exact shards; an :class:`~xtrkit.search.engine.Engine` as any other.

    Queries that the exact engine multiplies together are sent together, so that each shard multiplies the same
    matrices as that engine would: its blocks of documents end with segments. The bits are then the same, too.

    Attributes:
        dim: dimensions of a token vector, d.
        n_tokens: number of token vectors of living documents, M.
    """

    storage = ExactEngine.storage

    def __init__(self, dim: int, shards: Shards, facts: Sequence[ShardFacts]) -> None:
        super().__init__(shards, facts)
        self.dim, self.n_tokens = dim, sum(int(one.sizes.sum()) for one in facts)

    def search(
        self, queries: Ragged, k: int, recipe: Recipe, subset: Mask | Held | None = None, threads: int | None = None
    ) -> list[Found]:
        """The k best documents of each query; ``threads`` are the shards' business.

        A subset is (N,) marks, or a filter that the shards keep (:meth:`allow`).
        """
        recipe = recipe.resolved(k, int(self.first_documents[-1]))
        return _Search(self, queries, k, recipe, *self._filter(subset)).found()

    def evidence(self, query: FloatArray, found: Found, of: Sequence[int] | None = None) -> Evidence:
        """What the XTR scores of a search were made of."""
        recipe, queries = found.recipe, [query]
        (best,) = self._best_of_all(None, queries, recipe.k_prime)
        imputed = self._imputed(query, best, recipe)

        def message(shard: int, numbers: list[int]) -> tuple[object, ...]:
            return query, recipe.k_prime, best.counts[shard], imputed.lowest, numbers

        return Evidence(self._hits(len(query), of, message), imputed.missing)

    def similarity_error_bounds(self, query: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) zeros: these are the vectors that were indexed."""
        return np.zeros(len(query))

    def _best_of_all(
        self, name: str | None, queries: Sequence[FloatArray], k_prime: int, allowed: str | None = None
    ) -> list[BestOfAll]:
        """Have tokens retrieved; the k' best of all shards, of each query."""
        told: list[list[Floats]] = self._ask("retrieve", Retrieve(name, queries, k_prime, allowed))
        return [best_of_all([shard[place] for shard in told], k_prime) for place in range(len(queries))]

    def _imputed(self, query: FloatArray, best: BestOfAll, recipe: Recipe) -> Imputed:
        def kth_of(k_prime: int) -> Floats:
            return self._best_of_all(None, [query], min(k_prime, self.n_tokens))[0].kth

        return recipe.impute(AllSimilarities(best.kth, kth_of))


class BestOfAll(NamedTuple):
    """Which of the similarities that shards retrieved are the k' best of all.

    Attributes:
        kth: (n,) the lowest of them, 0 where there are none.
        counts: of each shard (n,) how many of its best are among them.
    """

    kth: Floats
    counts: Sequence[npt.NDArray[np.int64]]


def best_of_all(parts: Sequence[Floats], k_prime: int) -> BestOfAll:
    """The k' best of the similarities of all shards; of equals those of the shard that comes first.

    Args:
        parts: of each shard (n, K) its k' best, or all that it has.
        k_prime: k'.
    """
    every = np.concatenate(parts, axis=1)
    k = min(k_prime, every.shape[1])
    if k == 0:
        return BestOfAll(np.zeros(len(every), dtype=np.float32), [np.zeros(len(every), dtype=np.int64) for _ in parts])
    kth = np.partition(every, every.shape[1] - k, axis=1)[:, every.shape[1] - k]
    counts = [np.count_nonzero(part > kth[:, np.newaxis], axis=1) for part in parts]
    room = k - np.sum(counts, axis=0)
    for part, count in zip(parts, counts, strict=True):
        equals = np.minimum(np.count_nonzero(part == kth[:, np.newaxis], axis=1), room)
        count += equals
        room -= equals
    return BestOfAll(kth, counts)


class _Search:
    """The search for some queries."""

    def __init__(
        self,
        engine: ExactShardedEngine,
        queries: Ragged,
        k: int,
        recipe: Recipe,
        allowed: str | None,
        n_matching: int,
    ) -> None:
        self._engine, self._queries, self._k, self._recipe = engine, list(queries), k, recipe
        self._allowed, self._n_matching = allowed, n_matching
        self._watch = Stopwatch()

    def found(self) -> list[Found]:
        """What is found of each."""
        found = self._by_maxsim() if self._recipe.scoring == "maxsim" else self._by_xtr()
        seconds = {stage: taken / len(found) for stage, taken in self._watch.seconds.items()}
        k_prime = None if self._recipe.scoring == "maxsim" else self._engine.n_tokens
        return [
            Found(*ranked, used, None if k_prime is None else min(used.k_prime, k_prime), seconds)
            for ranked, used in found
        ]

    def _by_maxsim(self) -> list[tuple[Ranked, Recipe]]:
        engine, recipe, k = self._engine, self._recipe, self._k
        parts = engine._ask("best", Best(self._queries, self._allowed, recipe.mean, k))
        self._watch.lap("tokens")
        return [(engine._merged([shard[n] for shard in parts], k), recipe) for n in range(len(self._queries))]

    def _by_xtr(self) -> list[tuple[Ranked, Recipe]]:
        engine, recipe, k = self._engine, self._recipe, self._k
        goal = Goal(self._n_matching, k, self._allowed is not None, n_clusters=1, n_tokens=engine.n_tokens)
        looked = look_until_enough(self._look, len(self._queries), recipe, goal)
        ranked = [Ranked(*best_first(*one, recipe.rerank or k)) for one, _ in looked]
        if recipe.rerank is not None:
            documents = [one.documents for one in ranked]
            ranked = engine._reranked(self._queries, documents, self._allowed, recipe.mean, k)
            self._watch.lap("rerank")
        return [(one, used) for one, (_, used) in zip(ranked, looked, strict=True)]

    def _look(self, pending: Sequence[int], recipe: Recipe) -> Iterator[Looked]:
        some = Ragged.from_arrays([self._queries[place] for place in pending])
        for queries in batches(some, recipe.k_prime, self._engine.n_tokens):
            yield from self._looked(list(queries), recipe)

    def _looked(self, queries: Sequence[FloatArray], recipe: Recipe) -> Iterator[Looked]:
        """What some queries lead to that are multiplied together."""
        engine, name, deep = self._engine, uuid.uuid4().hex, int(recipe.rerank or self._k)
        best = engine._best_of_all(name, queries, recipe.k_prime, self._allowed)
        self._watch.lap("tokens")
        imputed = [engine._imputed(query, one, recipe) for query, one in zip(queries, best, strict=True)]
        scoring = Scoring(imputed, recipe.mean, deep)
        counts = zip(*(one.counts for one in best), strict=True)  # of each shard
        told: list[list[Reached]]
        told = engine._shards.ask("score", [(ScoreBest(name, scoring, of_shard),) for of_shard in counts])
        self._watch.lap("documents")
        for place, (query, one) in enumerate(zip(queries, imputed, strict=True)):
            reached = [shard[place] for shard in told]
            fill_up = engine._filling(name, place, one.missing, len(query), recipe.mean)
            yield Looked(engine._merged(reached, deep), sum(part.n for part in reached), fill_up)
