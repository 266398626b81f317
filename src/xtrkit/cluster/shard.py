"""A shard: opens clusters in its own segments, and scores its own documents. It estimates nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from xtrkit.cluster.messages import Allow, Answer, Fill, Look, Reached, Rerank, Score, Scoring, Seen, ShardFacts
from xtrkit.errors import ShardDownError
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.bundles import ChosenClusters, Probes, QuantisedQuery
from xtrkit.kernels.expectation import BORDERS, measure_opened
from xtrkit.scoring.imputation import Imputed
from xtrkit.scoring.ranking import best_first
from xtrkit.search.compressed import CompressedEngine, by_all_tokens, xtr_scores
from xtrkit.search.engine import Contribution, Documents, Ranked, Scores
from xtrkit.search.exact import ExactEngine
from xtrkit.search.widening import unreached
from xtrkit.token_retrieval.centroid import open_clusters, promising, token_hits
from xtrkit.values import EVERYONE, FloatArray, Mask, Segment, TokenHits

KEPT_LOOKS = 64
"""Looks whose clusters stay open: a coordinator that went away leaves its own behind."""
KEPT_FILTERS = 64

T = TypeVar("T")


class LostLookError(ShardDownError):
    """A shard was asked to go on with a look that it doesn't know: it was started again meanwhile, or is overrun."""


class Opened(NamedTuple):
    """What a look opened.

    Attributes:
        queries: its queries.
        tokens: the opened clusters of each, or its hits, until they are scored: they may be as large as the shard.
        allowed: (N,) the documents that may be found; empty where all may.
        reached: of each query the documents that it led to, once it was scored.
    """

    queries: Sequence[Any]
    tokens: list[Any]
    allowed: Mask
    reached: dict[int, Documents]


class AnyShard(ABC):
    """The segments of some documents, as a coordinator asks them: what is the same however their tokens are kept."""

    def __init__(self, engine: CompressedEngine | ExactEngine) -> None:
        self._engine = engine
        self._looks: OrderedDict[str, Opened] = OrderedDict()
        self._filters: OrderedDict[str, Mask] = OrderedDict()

    @property
    def findable(self) -> Mask:
        """(N,) which documents are alive and have tokens."""
        return self._engine._corpus.findable

    def facts(self) -> ShardFacts:
        """What a coordinator must know."""
        corpus, findable = self._engine._corpus, int(np.count_nonzero(self.findable))
        sizes, largest = self._tokens()
        return ShardFacts(corpus.n_documents, findable, sizes, corpus.document_offsets, largest)

    def allow(self, ask: Allow) -> int:
        """Keep a filter; tell how many documents it lets through."""
        mask = self._engine._corpus.wanted(ask.mask)  # alive, and with tokens
        _keep(self._filters, ask.name, mask, KEPT_FILTERS)
        return int(np.count_nonzero(mask))

    def allowed(self, name: str | None) -> Mask:
        """(N,) the documents that a filter lets through; empty where there is none, and all may be found.

        Raises:
            LostLookError: the filter is not known (any more).
        """
        if name is None:
            return EVERYONE
        if name not in self._filters:
            raise LostLookError(f"This shard doesn't know the filter {name}.")
        return self._filters[name]

    def fill(self, ask: Fill) -> Ranked:
        """Score the documents that may be found and that a look did not reach.

        Raises:
            LostLookError: the look is not known (any more).
        """
        opened = self._known(ask.name)
        others = unreached(opened.reached[ask.place], self._matching(opened.allowed))
        return Ranked(others, self._by_all_tokens(opened.queries[ask.place], others, ask.most, mean=ask.mean))

    def rerank(self, ask: Rerank) -> list[Ranked]:
        """Score documents by all their tokens."""
        found = []
        for query, given in zip(ask.queries, ask.documents, strict=True):
            documents = np.flatnonzero(self._matching(self.allowed(ask.allowed))) if given is None else given
            scores = self._by_all_tokens(query, documents, None, mean=ask.mean)
            found.append(Ranked(*best_first(documents, scores, ask.k)))
        return found

    def best_similarities(self, query: FloatArray, document: int, most: Scores | None) -> Contribution:
        """min(most_i, max_j q_i · d_j) over all tokens of a document."""
        return self._engine.best_similarities(query, document, most)

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, as well as they are known."""
        return self._engine.vectors(document)

    def _matching(self, allowed: Mask) -> Mask:
        return allowed if len(allowed) else self.findable

    def _open(self, name: str | None, queries: Sequence[Any], tokens: list[Any], allowed: str | None) -> Opened:
        opened = Opened(queries, tokens, self.allowed(allowed), {})
        if name is not None:
            _keep(self._looks, name, opened, KEPT_LOOKS)
        return opened

    def _known(self, name: str) -> Opened:
        if name not in self._looks:
            raise LostLookError(f"This shard doesn't know the look {name}.")
        return self._looks[name]

    def _scored(self, opened: Opened, scoring: Scoring) -> list[Reached]:
        if not opened.tokens:
            raise LostLookError("This shard has scored the look already: its answer got lost.")
        found = []
        for place, (tokens, imputed) in enumerate(zip(opened.tokens, scoring.imputed, strict=True)):
            documents, scores = self._xtr_scores(tokens, Imputed(*imputed), opened.allowed, mean=scoring.mean)
            opened.reached[place] = documents
            found.append(Reached(len(documents), *best_first(documents, scores, scoring.k)))
        opened.tokens.clear()
        return found

    @abstractmethod
    def _tokens(self) -> tuple[npt.NDArray[np.int64], np.float16]:
        """Sizes of clusters, and the largest scale, as in :class:`~xtrkit.cluster.messages.ShardFacts`."""

    @abstractmethod
    def _xtr_scores(self, tokens: Any, imputed: Imputed, allowed: Mask, *, mean: bool) -> Ranked:
        """Documents that the tokens lead to, and their scores."""

    @abstractmethod
    def _by_all_tokens(self, query: Any, documents: Documents, most: Scores | None, *, mean: bool) -> Scores:
        """Scores of some documents by all their tokens, no similarity above (n,) ``most``."""


class Shard(AnyShard):
    """Compressed segments."""

    def __init__(self, segments: Sequence[Segment[CompressedTokens]]) -> None:
        engine = CompressedEngine(segments)
        super().__init__(engine)
        self._corpus = engine._corpus

    def look(self, ask: Look) -> Answer:
        """Open clusters; tell what imputation needs, or score at once."""
        probes = [self._opened_by(query, chosen) for query, chosen in ask.asks]
        queries = [query for query, _ in ask.asks]
        opened = self._open(ask.name, queries, probes, ask.allowed)
        if ask.scoring is not None:
            return Answer([], self._scored(opened, ask.scoring))
        return Answer([_seen(one, query, ask) for one, query in zip(probes, queries, strict=True)], [])

    def score(self, ask: Score) -> list[Reached]:
        """Score what a look opened.

        Raises:
            LostLookError: the look is not known (any more).
        """
        return self._scored(self._known(ask.name), ask.scoring)

    def hits(
        self, query: QuantisedQuery, chosen: ChosenClusters | None, lowest: Any, documents: Sequence[int]
    ) -> TokenHits:
        """The retrieved tokens of some documents."""
        return token_hits(self._corpus, self._opened_by(query, chosen), lowest, documents)

    def _opened_by(self, query: QuantisedQuery, chosen: ChosenClusters | None) -> Probes:
        if chosen is None:
            chosen = promising(self._corpus, query, self._corpus.n_clusters, 1)
        return open_clusters(self._corpus, query, chosen)

    def _tokens(self) -> tuple[npt.NDArray[np.int64], np.float16]:
        largest = max(segment.tokens.scales.max(initial=0) for segment in self._corpus.segments)
        return self._corpus.sizes, np.float16(largest)

    def _xtr_scores(self, tokens: Probes, imputed: Imputed, allowed: Mask, *, mean: bool) -> Ranked:
        return xtr_scores(self._corpus, tokens, imputed, allowed, mean=mean)

    def _by_all_tokens(self, query: QuantisedQuery, documents: Documents, most: Scores | None, *, mean: bool) -> Scores:
        return by_all_tokens(self._corpus, query, documents, most, mean=mean)


def _keep(kept: OrderedDict[str, T], name: str, value: T, most: int) -> None:
    """Keep a value under a name, and the newest others."""
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > most:
        kept.popitem(last=False)


def _seen(probes: Probes, query: QuantisedQuery, ask: Look) -> Seen:
    n = len(query.scales)
    squares, counts = np.empty(n * ask.counts, np.int64), np.empty((n * ask.counts, BORDERS), np.int64)
    if ask.counts:
        measure_opened(probes, ask.mean_square, query.norms, squares, counts)
    best = []
    for i in range(n if ask.best else 0):
        of_token = probes.scores[probes.places[probes.chosen.starts[i]] : probes.places[probes.chosen.starts[i + 1]]]
        most = min(ask.best, len(of_token))
        best.append(-np.sort(np.partition(-of_token, most - 1)[:most]) if most else of_token)
    return Seen(squares, counts.astype(np.int32), best)  # a shard has fewer tokens than 2^31
