"""The coordinator: searches shards as if they were one compressed index.

Two exchanges answer a batch of queries: look (clusters out, integers back), score (m_i out, the best documents back).
Where m_i depends on no token, one does. Too few documents, documents of a filter that were not reached, and scoring by
all tokens take further ones.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from xtrkit.cluster.messages import (
    Allow,
    Answer,
    Ask,
    Fill,
    Held,
    Look,
    Reached,
    Rerank,
    Score,
    Scoring,
    Seen,
    ShardFacts,
)
from xtrkit.indexing.codec import name_of
from xtrkit.indexing.compressed_format import Quantiser
from xtrkit.indexing.filters import Condition
from xtrkit.kernels.bundles import ChosenClusters, QuantisedQuery
from xtrkit.kernels.expectation import expected_from_measured
from xtrkit.recipes import Recipe
from xtrkit.scoring import imputation
from xtrkit.scoring.imputation import Imputed
from xtrkit.scoring.ranking import best_first
from xtrkit.search.compressed import (
    chosen_clusters,
    completely_opened,
    finding_candidates,
    lowest_centroids,
    score_at_tokens,
)
from xtrkit.search.engine import Contribution, Documents, Evidence, Found, Ranked, Scores
from xtrkit.search.widening import Goal, Looked, look_until_enough
from xtrkit.stopwatch import Stopwatch
from xtrkit.token_retrieval.centroid import quantised
from xtrkit.token_retrieval.corpus import Clusters, ClusterTable
from xtrkit.token_retrieval.error import error_bounds_of
from xtrkit.values import FloatArray, Mask, Ragged, TokenHits, offsets_of

BATCH = 16
"""Queries that are looked for together."""


class Shards(Protocol):
    """Shards that can be asked, wherever they are."""

    def ask(self, method: str, messages: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method of each shard, each with arguments of its own, and wait for all."""

    def ask_those(self, method: str, messages: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """Call a method of some shards, each with arguments of its own, and wait for all of them."""

    def chosen(self) -> Shards:
        """The same shards for one search, whose exchanges must go to the same processes."""


class InProcess:
    """Shards in this process."""

    def __init__(self, shards: Sequence[Any]) -> None:
        self._shards = list(shards)

    def ask(self, method: str, messages: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method of each shard, one after the other."""
        return [getattr(shard, method)(*message) for shard, message in zip(self._shards, messages, strict=True)]

    def ask_those(self, method: str, messages: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """Call a method of some shards, one after the other."""
        return {shard: getattr(self._shards[shard], method)(*message) for shard, message in messages.items()}

    def chosen(self) -> InProcess:
        """These: there are no others."""
        return self


class Sharded:
    """Shards whose documents are numbered through: what is the same however their tokens are kept.

    Attributes:
        first_documents: (S + 1,) the number of each shard's first document.
    """

    def __init__(self, shards: Shards, facts: Sequence[ShardFacts]) -> None:
        self._shards, self._n_shards = shards, len(facts)
        self.first_documents = offsets_of(np.array([one.documents for one in facts], dtype=np.int64))
        self._n_findable = sum(one.findable for one in facts)
        self._offsets = offsets_of(np.concatenate([np.diff(one.document_offsets) for one in facts]))

    def over(self, shards: Shards) -> Self:
        """The same, asking other processes that have the same shards."""
        engine = copy(self)
        engine._shards = shards
        return engine

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end, counted shard after shard."""
        return self._offsets

    def best_similarities(self, query: FloatArray, document: int, most: Scores | None = None) -> Contribution:
        """min(most_i, max_j q_i · d_j) over all tokens of a document, as well as they are known."""
        shard, inside = self._shard_of(document)
        found: Contribution = self._shards.ask_those("best_similarities", {shard: (query, inside, most)})[shard]
        return found

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, as well as they are known."""
        shard, inside = self._shard_of(document)
        vectors: FloatArray = self._shards.ask_those("vectors", {shard: (inside,)})[shard]
        return vectors

    def allow(self, mask: Mask | None, condition: Condition | None = None) -> Held:
        """Have the shards keep a filter.

        Args:
            mask: (N,) the documents that may be found; None where all may.
            condition: what their metadata must meet besides.
        """
        name = uuid.uuid4().hex
        parts = [None if mask is None else mask[first:last] for first, last in pairwise(self.first_documents)]
        return Held(name, sum(self._shards.ask("allow", [(Allow(name, part, condition),) for part in parts])))

    def _filter(self, subset: Mask | Held | None) -> tuple[str | None, int]:
        """The name of a filter that the shards keep, None for none, and how many documents it lets through."""
        held = self.allow(subset) if isinstance(subset, np.ndarray) else subset
        return (None, self._n_findable) if held is None else held

    def _shard_of(self, document: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self.first_documents, document, side="right")) - 1
        return shard, document - int(self.first_documents[shard])

    def _ask(self, method: str, message: Any) -> list[Any]:
        """Ask every shard the same."""
        return self._shards.ask(method, [(message,)] * self._n_shards)

    def _merged(self, parts: Sequence[Reached | Ranked], k: int) -> Ranked:
        """The best documents of all shards."""
        documents = [part.documents + first for part, first in zip(parts, self.first_documents, strict=False)]
        return Ranked(*best_first(np.concatenate(documents), np.concatenate([part.scores for part in parts]), k))

    def _filling(self, name: str, place: int, missing: Scores | None, n: int, mean: bool) -> Callable[[], Ranked]:
        """How the documents that a look did not reach are scored by all their tokens.

        Args:
            name: of the look.
            place: which of its queries.
            missing: (n,) m_i; None where nothing is imputed.
            n: how many query tokens it has.
            mean: as in :class:`~xtrkit.cluster.messages.Scoring`.
        """

        def fill_up() -> Ranked:
            most = np.zeros(n) if missing is None else missing
            parts = self._ask("fill", Fill(name, place, most, mean))
            return self._merged(parts, sum(len(part.documents) for part in parts))

        return fill_up

    def _reranked(
        self, queries: Sequence[Any], documents: Sequence[Documents | None], allowed: str | None, mean: bool, k: int
    ) -> list[Ranked]:
        """The k best of some documents of each query, or of all that a filter lets through, by all their tokens."""
        messages = []
        for first, last in pairwise(self.first_documents):
            inside = [
                None if given is None else given[(given >= first) & (given < last)] - first for given in documents
            ]
            messages.append((Rerank(queries, inside, allowed, mean, k),))
        parts = self._shards.ask("rerank", messages)
        return [self._merged([shard[place] for shard in parts], k) for place in range(len(queries))]

    def _hits(
        self, n: int, of: Sequence[int] | None, message: Callable[[int, list[int]], tuple[Any, ...]]
    ) -> TokenHits:
        """The retrieved tokens of some documents, asked of the shards that have them.

        Args:
            n: how many query tokens there are.
            of: the documents; None for all.
            message: (shard, numbers within it) -> what it is asked.
        """
        wanted = np.arange(self.first_documents[-1]) if of is None else np.asarray(of, dtype=np.int64)
        firsts = self.first_documents.tolist()
        asks = {shard: message(shard, (wanted[here] - firsts[shard]).tolist()) for shard, here in owned(wanted, firsts)}
        parts = {
            (int(self._offsets[firsts[shard]]), firsts[shard]): hits
            for shard, hits in self._shards.ask_those("hits", asks).items()
        }
        return _together(parts, n)


class ShardedEngine(Sharded):
    """Searches compressed shards; an :class:`~xtrkit.search.engine.Engine` as any other.

    Attributes:
        storage: how vectors are kept.
    """

    def __init__(self, quantiser: Quantiser, shards: Shards, facts: Sequence[ShardFacts]) -> None:
        super().__init__(shards, facts)
        self._table = ClusterTable(quantiser, np.sum([one.sizes for one in facts], axis=0))
        self._largest_scale = np.array([max(one.largest_scale for one in facts)], dtype=np.float16)
        self.storage = f"{quantiser.codec.bits} bits, {name_of(quantiser.codec)}"

    @property
    def n_tokens(self) -> int:
        """Number of token vectors of living documents, M."""
        return self._table.n_tokens

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return self._table.quantiser.dim

    def search(
        self, queries: Ragged, k: int, recipe: Recipe, subset: Mask | Held | None = None, threads: int | None = None
    ) -> list[Found]:
        """The k best documents of each query; ``threads`` are the shards' business.

        A subset is (N,) marks, or a filter that the shards keep (:meth:`allow`).
        """
        recipe = recipe.resolved(k, int(self.first_documents[-1]), self._table.n_clusters)
        allowed, matching = self._filter(subset)
        found: list[Found] = []
        for first in range(0, len(queries), BATCH):
            batch = [quantised(query, self._table.quantiser) for query in list(queries)[first : first + BATCH]]
            found += _Search(self, batch, k, recipe, allowed, matching).found()
        return found

    def evidence(self, query: FloatArray, found: Found, of: Sequence[int] | None = None) -> Evidence:
        """What the XTR scores of a search were made of."""
        asked = quantised(query, self._table.quantiser)
        search = _Search(self, [asked], 1, found.recipe, None, self._n_findable)
        ((chosen, imputed),) = search.imputed_again()
        sent = _sent(self._table, chosen, found.recipe)
        hits = self._hits(len(query), of, lambda shard, numbers: (asked, sent, imputed.lowest, numbers))
        return Evidence(hits, imputed.missing)

    def similarity_error_bounds(self, query: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) how far similarities of each query token can be from those with the vectors that were indexed."""
        return error_bounds_of(self._table.quantiser, self._largest_scale, query)


class Choice(NamedTuple):
    """One query, and the clusters that it looks into."""

    query: QuantisedQuery
    chosen: ChosenClusters


@dataclass(frozen=True, eq=False)
class ShardedSimilarities:
    """What the shards saw together of one query.

    Attributes:
        clusters: the clusters of all shards.
        ask: the query, and the clusters that were opened.
        k_prime: k'.
        seen: what each shard told.
    """

    clusters: Clusters
    ask: Choice
    k_prime: int
    seen: Sequence[Seen]

    @property
    def complete(self) -> Mask:
        """(n,) whether every cluster was opened."""
        return completely_opened(self.clusters, self.ask.chosen)

    def kth_seen(self) -> npt.NDArray[np.float32]:
        """(n,) the k'-th best similarity in the opened clusters."""
        kth = np.zeros(len(self.ask.query.scales), dtype=np.float32)
        for i in range(len(kth)):
            best = np.sort(np.concatenate([one.best[i] for one in self.seen]))[::-1][: self.k_prime]
            kth[i] = best[-1] if len(best) else 0
        return kth

    def kth_expected(self) -> npt.NDArray[np.float32]:
        """(n,) the k'-th best similarity of all tokens, given those seen and what is known of closed clusters."""
        if self.complete.all():
            return self.kth_seen()
        query, chosen = self.ask
        kth, places = np.empty(len(query.scales), dtype=np.float32), offsets_of(self.clusters.sizes[chosen.clusters])
        squares: npt.NDArray[np.int64] = np.sum([one.squares for one in self.seen], axis=0)
        counts = np.zeros(self.seen[0].counts.shape, dtype=np.int64)
        for one in self.seen:
            counts += one.counts
        measured = squares, counts
        expected_from_measured(chosen, places, measured, self.clusters.centroids, query.norms, self.k_prime, kth)
        return kth

    def last_opened(self) -> npt.NDArray[np.float32]:
        """(n,) the score of the last of the opened clusters."""
        return lowest_centroids(self.ask.chosen)

    def at_tokens(self, tokens: float) -> npt.NDArray[np.float32]:
        """(n,) the score of the cluster at which sizes add up to ``tokens``, of 128 clusters at least."""
        return score_at_tokens(self.clusters, self.ask.query, self.ask.chosen, tokens)


class _Search:
    """The search for some queries."""

    def __init__(
        self,
        engine: ShardedEngine,
        queries: Sequence[QuantisedQuery],
        k: int,
        recipe: Recipe,
        allowed: str | None,
        n_matching: int,
    ) -> None:
        self._engine, self._queries, self._k, self._recipe = engine, queries, k, recipe
        self._allowed, self._n_matching = allowed, n_matching
        self._watch = Stopwatch()

    def found(self) -> list[Found]:
        """What is found of each."""
        table, recipe, k = self._engine._table, self._recipe, self._k
        goal = Goal(self._n_matching, k, self._allowed is not None, table.n_clusters, table.n_tokens)
        candidates = int(recipe.candidates or k)
        maxsim = recipe.scoring == "maxsim"
        if maxsim and self._n_matching <= candidates:
            ranked = self._reranked([None] * len(self._queries))
            return self._told([(one, recipe) for one in ranked], None)
        by = finding_candidates(recipe) if maxsim else recipe
        self._deep = candidates if maxsim else int(by.rerank or k)
        looked = look_until_enough(self._look, len(self._queries), by, goal)
        if not maxsim and recipe.rerank is None:
            return self._told([(Ranked(*best_first(*one, k)), used) for one, used in looked], table.n_tokens)
        best = [best_first(*one, self._deep)[0] for one, _ in looked]
        reranked = self._reranked(best)
        used = [replace(recipe, nprobe=one.nprobe) if maxsim else one for _, one in looked]
        return self._told(list(zip(reranked, used, strict=True)), None if maxsim else table.n_tokens)

    def imputed_again(self) -> list[tuple[ChosenClusters, Imputed]]:
        """What was chosen and imputed, with the effort of the recipe."""
        asks = self._asks(range(len(self._queries)), self._recipe)
        imputed, _, _ = self._impute(asks, self._recipe, None)
        return list(zip([ask.chosen for ask in asks], imputed, strict=True))

    def _told(self, found: Sequence[tuple[Ranked, Recipe]], n_tokens: int | None) -> list[Found]:
        self._watch.lap("documents")
        seconds = {stage: taken / len(found) for stage, taken in self._watch.seconds.items()}
        return [
            Found(*ranked, used, None if n_tokens is None else min(used.k_prime, n_tokens), seconds)
            for ranked, used in found
        ]

    def _asks(self, pending: Sequence[int], recipe: Recipe) -> list[Choice]:
        queries = [self._queries[place] for place in pending]
        return [Choice(query, chosen_clusters(self._engine._table, query, recipe)) for query in queries]

    def _look(self, pending: Sequence[int], recipe: Recipe) -> Iterator[Looked]:
        asks = self._asks(pending, recipe)
        self._watch.lap("centroids")
        imputed, name, reached = self._impute(asks, recipe, self._deep)
        if reached is None:
            scoring = Scoring(imputed, recipe.mean, self._deep)
            reached = self._engine._ask("score", Score(name, scoring))
        self._watch.lap("documents")
        for place, one in enumerate(imputed):
            of_shards = [shard[place] for shard in reached]
            merged = self._engine._merged(of_shards, self._deep)
            fill_up = self._engine._filling(name, place, one.missing, len(one.lowest), recipe.mean)
            yield Looked(merged, sum(part.n for part in of_shards), fill_up)

    def _impute(
        self, asks: Sequence[Choice], recipe: Recipe, k: int | None
    ) -> tuple[list[Imputed], str, list[list[Reached]] | None]:
        """Have clusters opened, and impute; with what was reached, if scoring needed no further exchange.

        Args:
            asks: queries and clusters.
            recipe: how.
            k: how many documents of each are wanted; None for none.
        """
        table, name = self._engine._table, uuid.uuid4().hex
        counts, best = _wanted(table, asks, recipe)
        sent = [Ask(ask.query, _sent(table, ask.chosen, recipe)) for ask in asks]
        mean_square = table.centroids.mean_square
        if not counts and not best:
            imputed = [recipe.impute(ShardedSimilarities(table, ask, recipe.k_prime, ())) for ask in asks]
            if k is None:
                return imputed, name, None
            scoring = Scoring(imputed, recipe.mean, k)
            answers = self._engine._ask("look", Look(name, sent, mean_square, False, 0, scoring, self._allowed))
            return imputed, name, [answer.reached for answer in answers]
        looks = Look(None if k is None else name, sent, mean_square, counts, best, None, self._allowed)
        told: list[Answer] = self._engine._ask("look", looks)
        self._watch.lap("codes")
        imputed = [
            recipe.impute(ShardedSimilarities(table, ask, recipe.k_prime, [shard.seen[place] for shard in told]))
            for place, ask in enumerate(asks)
        ]
        self._watch.lap("imputation")
        return imputed, name, None

    def _reranked(self, documents: Sequence[Documents | None]) -> list[Ranked]:
        ranked = self._engine._reranked(self._queries, documents, self._allowed, self._recipe.mean, self._k)
        self._watch.lap("rerank")
        return ranked


def _sent(table: Clusters, chosen: ChosenClusters, recipe: Recipe) -> ChosenClusters | None:
    """The clusters, as they are sent to shards: all of them as None."""
    every = not recipe.shared and len(chosen.clusters) == (len(chosen.starts) - 1) * table.n_clusters
    return None if every else chosen


def _wanted(table: Clusters, asks: Sequence[Choice], recipe: Recipe) -> tuple[bool, int]:
    """What imputation needs of the tokens: whether counts, and how many of the best similarities."""
    policy = recipe.impute.policy
    if policy is imputation.lowest_retrieved:
        complete = all(completely_opened(table, ask.chosen).all() for ask in asks)
        return (False, recipe.k_prime) if complete else (True, 0)
    return False, recipe.k_prime if policy in (imputation.found, imputation.retrieved) else 0


def owned(documents: Documents, firsts: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Which of some documents are in which shard: the shard, and places in ``documents``; shards without any left out.

    Args:
        documents: numbers of documents.
        firsts: (S + 1,) the number of each shard's first document.
    """
    owners = np.searchsorted(firsts, documents, side="right") - 1
    for shard in np.unique(owners).tolist():
        yield shard, np.flatnonzero(owners == shard)


def _together(parts: Mapping[tuple[int, int], TokenHits], n: int) -> TokenHits:
    """The hits of several shards as those of one index: of each query token shard after shard.

    Args:
        parts: {(the shard's first row, its first document): its hits}, in the order of the shards.
        n: how many query tokens.
    """
    pieces: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    counts = []
    for i in range(n):
        counts.append(sum(part.of(i).stop - part.of(i).start for part in parts.values()))
        for (row, first), part in parts.items():
            of = part.of(i)
            pieces[0].append(part.rows[of] + row)
            pieces[1].append(part.documents[of] + np.int32(first))
            pieces[2].append(part.scores[of])
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    found = [np.concatenate([nothing, *piece]) for nothing, piece in zip(empty, pieces, strict=True)]
    return TokenHits(found[0], found[1], found[2], offsets_of(np.array(counts)))
