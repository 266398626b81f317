"""A shard: opens clusters in its own segments, and scores its own documents. It estimates nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xtrkit.cluster.messages import Allow, Answer, Fill, Look, Reached, Rerank, Score, Scoring, Seen, ShardFacts
from xtrkit.errors import XtrkitError
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.bundles import ChosenClusters, Probes, QuantisedQuery
from xtrkit.kernels.expectation import BORDERS, measure_opened
from xtrkit.scoring.imputation import Imputed
from xtrkit.scoring.ranking import best_first
from xtrkit.search.compressed import CompressedEngine, by_all_tokens, xtr_scores
from xtrkit.search.engine import Contribution, Documents, Ranked, Scores
from xtrkit.search.widening import unreached
from xtrkit.token_retrieval.centroid import open_clusters, token_hits
from xtrkit.values import EVERYONE, FloatArray, Mask, Segment, TokenHits

KEPT_LOOKS = 64
"""Looks whose clusters stay open: a coordinator that went away leaves its own behind."""
KEPT_FILTERS = 64

T = TypeVar("T")


class LostLookError(XtrkitError):
    """A shard was asked to go on with a look that it doesn't know: it was started again meanwhile, or is overrun."""


class _Opened(NamedTuple):
    """What a look opened.

    Attributes:
        queries: its queries.
        probes: the opened clusters of each, until they are scored: they may be as large as the shard.
        allowed: (N,) the documents that may be found; empty where all may.
        reached: of each query the documents that it led to, once it was scored.
    """

    queries: Sequence[QuantisedQuery]
    probes: list[Probes]
    allowed: Mask
    reached: dict[int, Documents]


class Shard:
    """The compressed segments of some documents, as a coordinator asks them."""

    def __init__(self, segments: Sequence[Segment[CompressedTokens]]) -> None:
        self._engine = CompressedEngine(segments)
        self._corpus = self._engine._corpus
        self._looks: OrderedDict[str, _Opened] = OrderedDict()
        self._filters: OrderedDict[str, Mask] = OrderedDict()

    def facts(self) -> ShardFacts:
        """What a coordinator must know."""
        corpus = self._corpus
        findable = int(np.count_nonzero(corpus.findable))
        largest = max(segment.tokens.scales.max(initial=0) for segment in corpus.segments)
        return ShardFacts(corpus.n_documents, findable, corpus.sizes, corpus.document_offsets, np.float16(largest))

    def allow(self, ask: Allow) -> int:
        """Keep a filter; tell how many documents it lets through."""
        mask = self._corpus.wanted(ask.mask)  # alive, and with tokens
        _keep(self._filters, ask.name, mask, KEPT_FILTERS)
        return int(np.count_nonzero(mask))

    def look(self, ask: Look) -> Answer:
        """Open clusters; tell what imputation needs, or score at once."""
        probes = [open_clusters(self._corpus, query, chosen) for query, chosen in ask.asks]
        opened = _Opened([query for query, _ in ask.asks], probes, self._allowed(ask.allowed), {})
        if ask.name is not None:
            _keep(self._looks, ask.name, opened, KEPT_LOOKS)
        if ask.scoring is not None:
            return Answer([], self._scored(opened, ask.scoring))
        return Answer([_seen(one, query, ask) for one, query in zip(probes, opened.queries, strict=True)], [])

    def score(self, ask: Score) -> list[Reached]:
        """Score what a look opened.

        Raises:
            LostLookError: the look is not known (any more).
        """
        return self._scored(self._known(ask.name), ask.scoring)

    def fill(self, ask: Fill) -> Ranked:
        """Score the documents that may be found and that a look did not reach.

        Raises:
            LostLookError: the look is not known (any more).
        """
        opened = self._known(ask.name)
        matching = opened.allowed if len(opened.allowed) else self._corpus.findable
        others = unreached(opened.reached[ask.place], matching)
        return Ranked(others, by_all_tokens(self._corpus, opened.queries[ask.place], others, ask.most, mean=ask.mean))

    def rerank(self, ask: Rerank) -> list[Ranked]:
        """Score documents by all their tokens."""
        found = []
        for query, given in zip(ask.queries, ask.documents, strict=True):
            allowed = self._allowed(ask.allowed)
            documents = np.flatnonzero(allowed if len(allowed) else self._corpus.findable) if given is None else given
            scores = by_all_tokens(self._corpus, query, documents, mean=ask.mean)
            found.append(Ranked(*best_first(documents, scores, ask.k)))
        return found

    def hits(self, query: QuantisedQuery, chosen: ChosenClusters, lowest: Any, documents: Sequence[int]) -> TokenHits:
        """The retrieved tokens of some documents."""
        return token_hits(self._corpus, open_clusters(self._corpus, query, chosen), lowest, documents)

    def best_similarities(self, query: FloatArray, document: int, most: Scores | None) -> Contribution:
        """min(most_i, max_j q_i · d_j) over all tokens of a document."""
        return self._engine.best_similarities(query, document, most)

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, decompressed."""
        return self._engine.vectors(document)

    def _scored(self, opened: _Opened, scoring: Scoring) -> list[Reached]:
        if not opened.probes:
            raise LostLookError("This shard has scored the look already: its answer got lost.")
        found = []
        for place, (probes, imputed) in enumerate(zip(opened.probes, scoring.imputed, strict=True)):
            documents, scores = xtr_scores(self._corpus, probes, Imputed(*imputed), opened.allowed, mean=scoring.mean)
            opened.reached[place] = documents
            found.append(Reached(len(documents), *best_first(documents, scores, scoring.k)))
        opened.probes.clear()
        return found

    def _allowed(self, name: str | None) -> Mask:
        if name is None:
            return EVERYONE
        if name not in self._filters:
            raise LostLookError(f"This shard doesn't know the filter {name}.")
        return self._filters[name]

    def _known(self, name: str) -> _Opened:
        if name not in self._looks:
            raise LostLookError(f"This shard doesn't know the look {name}.")
        return self._looks[name]


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
