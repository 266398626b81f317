"""The compressed search on a device that torch drives: a GPU where there is one, the CPU for tests.

The same steps as :mod:`xtrkit.search.compressed`. Clusters are chosen as there, on the CPU, so both open the same ones;
the device scores the tokens in them, those of many queries side by side, imputes by the same formulas, and scores
documents. It does not round queries, and by that alone similarities differ. Sums are taken over sorted runs, never by
atomic additions, so the same search gives the same bits each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.recipes import Recipe
from xtrkit.scoring.imputation import Imputed
from xtrkit.scoring.ranking import best_first
from xtrkit.search.compressed import (
    CompressedEngine,
    chosen_clusters,
    completely_opened,
    finding_candidates,
    lowest_centroids,
    score_at_tokens,
)
from xtrkit.search.device_clusters import (
    ROWS_AT_A_TIME,
    DeviceQuery,
    Look,
    Opened,
    expected_kth_scores,
    kth_seen,
    open_clusters,
    sums_of_runs,
)
from xtrkit.search.device_tokens import DeviceTokens, on_device
from xtrkit.search.engine import Contribution, Documents, Evidence, Found, Ranked, Scores
from xtrkit.search.widening import Goal, Looked, look_until_enough, unreached
from xtrkit.token_retrieval.centroid import quantised
from xtrkit.token_retrieval.corpus import ClusteredCorpus
from xtrkit.values import FloatArray, Mask, Ragged, Segment, TokenHits, offsets_of

QUERIES_AT_A_TIME = 32
CELLS_AT_A_TIME = 1 << 24
"""Similarities that queries look at together; a query that looks at more does so alone. Each takes some 80 bytes."""


class DeviceEngine(CompressedEngine):
    """Searches a copy of the living tokens on a device of torch's; what it does not search with is its parent's."""

    def __init__(self, segments: Sequence[Segment[CompressedTokens]], device: str) -> None:
        """Copy the tokens to a device.

        Raises:
            InputError: torch has no such device here.
        """
        super().__init__(segments)
        self._tokens = DeviceTokens.of(self._corpus, device)

    def search(
        self, queries: Ragged, k: int, recipe: Recipe, subset: Mask | None = None, threads: int | None = None
    ) -> list[Found]:
        """The k best documents of each query, many side by side; ``threads`` are left to the device."""
        begin, recipe = time.perf_counter(), recipe.resolved(k, self._corpus.n_documents, self._corpus.n_clusters)
        corpus, matching = self._corpus, self._corpus.wanted(subset)
        goal = Goal(int(np.count_nonzero(matching)), k, subset is not None, corpus.n_clusters, corpus.n_tokens)
        found: list[Found] = []
        for first in range(0, len(queries), QUERIES_AT_A_TIME):
            part = [self._query(query) for query in list(queries)[first : first + QUERIES_AT_A_TIME]]
            found += self._search_part(part, k, recipe, goal, matching)
        seconds = {"device": (time.perf_counter() - begin) / max(1, len(queries))}
        return [replace(one, seconds=seconds) for one in found]

    def evidence(self, query: FloatArray, found: Found, of: Sequence[int] | None = None) -> Evidence:
        """What the XTR scores of a search were made of."""
        index, read = self._tokens, self._query(query)
        chosen = chosen_clusters(self._corpus, read.quantised, found.recipe)
        looks = [Look.into(index, read, chosen)]
        opened = open_clusters(index, looks)
        lowest, missing = _imputed(self._corpus, looks, opened, found.recipe)
        retrieved = _numpy(opened.scores) >= lowest[_numpy(opened.tokens)]
        tokens, places = _numpy(opened.tokens)[retrieved], _numpy(index.places[opened.rows])[retrieved]
        order = np.lexsort((places, tokens))
        documents = _numpy(index.documents[opened.rows])[retrieved][order].astype(np.int32)
        offsets = offsets_of(np.bincount(tokens, minlength=len(query)))
        return Evidence(TokenHits(places[order], documents, _numpy(opened.scores)[retrieved][order], offsets), missing)

    def best_similarities(self, query: FloatArray, document: int, most: Scores | None = None) -> Contribution:
        """min(most_i, max_j q_i · d_j) over all tokens of a document, decompressed."""
        one = np.array([document], dtype=np.int64)
        similarities, _ = _similarities(self._tokens, self._rotated(query), one)
        best = _numpy(similarities.amax(dim=0).double())
        return Contribution(best if most is None else np.minimum(best, most), _numpy(similarities.argmax(dim=0)))

    def _rotated(self, query: FloatArray) -> torch.Tensor:
        return on_device(np.asarray(query, dtype=np.float32), self._tokens.device) @ self._tokens.rotation

    def _query(self, query: FloatArray) -> DeviceQuery:
        return DeviceQuery(self._rotated(query), quantised(query, self._corpus.quantiser))

    def _search_part(
        self, queries: Sequence[DeviceQuery], k: int, recipe: Recipe, goal: Goal, matching: Mask
    ) -> list[Found]:
        """As the compressed engine's search, for queries that are looked at together."""
        index, candidates = self._tokens, int(recipe.candidates or k)
        if recipe.scoring == "maxsim" and goal.n_matching <= candidates:
            everyone = np.flatnonzero(matching)
            return [self._by_all_tokens(query, everyone, k, recipe) for query in queries]
        by = finding_candidates(recipe) if recipe.scoring == "maxsim" else recipe
        allowed = on_device(matching, index.device) if goal.fills else None

        def look(pending: Sequence[int], recipe: Recipe) -> Iterator[Looked]:
            for looks in self._looks([queries[query] for query in pending], recipe):
                for look, reached, most in _looked(self._corpus, index, looks, recipe, allowed):
                    yield Looked(reached, len(reached.documents), self._filling(look, reached, most, recipe, matching))

        found = []
        for query, (reached, used) in zip(queries, look_until_enough(look, len(queries), by, goal), strict=True):
            if recipe.scoring == "maxsim":
                documents, _ = best_first(*reached, candidates)
                found.append(self._by_all_tokens(query, documents, k, replace(recipe, nprobe=used.nprobe)))
            elif used.rerank is not None:
                found.append(self._by_all_tokens(query, best_first(*reached, used.rerank)[0], k, used))
            else:
                found.append(Found(*best_first(*reached, k), used, min(used.k_prime, index.n_tokens)))
        return found

    def _filling(
        self, look: Look, reached: Ranked, most: Scores, recipe: Recipe, matching: Mask
    ) -> Callable[[], Ranked]:
        """What scores the others of a subset."""

        def fill_up() -> Ranked:
            others = unreached(reached.documents, matching)
            return Ranked(others, _by_all_tokens(self._tokens, look.query.tokens, others, most, mean=recipe.mean))

        return fill_up

    def _looks(self, queries: Sequence[DeviceQuery], recipe: Recipe) -> Iterator[list[Look]]:
        """What each query looks into; those together that the device looks at together."""
        looks: list[Look] = []
        for query in queries:
            chosen = chosen_clusters(self._corpus, query.quantised, recipe)
            look = Look.into(self._tokens, query, chosen)
            if looks and look.n_cells + sum(other.n_cells for other in looks) > CELLS_AT_A_TIME:
                yield looks
                looks = []
            looks.append(look)
        yield looks

    def _by_all_tokens(self, query: DeviceQuery, documents: Documents, k: int, recipe: Recipe) -> Found:
        """The k best of some documents by all their tokens."""
        scores = _by_all_tokens(self._tokens, query.tokens, documents, None, mean=recipe.mean)
        k_prime = None if recipe.scoring == "maxsim" else min(recipe.k_prime, self._tokens.n_tokens)
        return Found(*best_first(documents, scores, k), recipe, k_prime)


def _looked(
    corpus: ClusteredCorpus, index: DeviceTokens, looks: Sequence[Look], recipe: Recipe, allowed: torch.Tensor | None
) -> Iterator[tuple[Look, Ranked, Scores]]:
    """Open the clusters of some queries at once, impute, and score the documents in them; with m_i of each."""
    opened = open_clusters(index, looks)
    imputation = _imputed(corpus, looks, opened, recipe)
    lengths = np.array([len(look.query.tokens) for look in looks])
    missing = np.zeros(lengths.sum()) if imputation.missing is None else imputation.missing
    reached_by_all = _xtr_scores(index, opened, on_device(lengths, index.device), imputation, recipe.mean, allowed)
    for look, reached, (first, last) in zip(looks, reached_by_all, pairwise(offsets_of(lengths)), strict=True):
        yield look, reached, missing[first:last]


def _imputed(corpus: ClusteredCorpus, looks: Sequence[Look], opened: Opened, recipe: Recipe) -> Imputed:
    """From which similarity up a token counts as retrieved, and m_i: (T,) each."""
    return recipe.impute(DeviceSimilarities(corpus, looks, opened, recipe.k_prime))


@dataclass(frozen=True, eq=False)
class DeviceSimilarities:
    """What a search saw that opened some clusters for T tokens of some queries.

    Attributes:
        corpus: what is searched.
        looks: what each query looks into.
        opened: the similarities there, of all of them together.
        k_prime: k'.
    """

    corpus: ClusteredCorpus
    looks: Sequence[Look]
    opened: Opened
    k_prime: int

    @property
    def complete(self) -> Mask:
        """(T,) whether every cluster was opened."""
        return np.concatenate([completely_opened(self.corpus, look.chosen) for look in self.looks])

    def kth_seen(self) -> npt.NDArray[np.float32]:
        """(T,) the k'-th best similarity in the opened clusters."""
        return _floats(kth_seen(self.opened, self.k_prime))

    def kth_expected(self) -> npt.NDArray[np.float32]:
        """(T,) the k'-th best similarity of all tokens: the actual one where every cluster was opened."""
        complete = self.complete
        if complete.all():
            return self.kth_seen()
        norms = np.concatenate([look.query.quantised.norms for look in self.looks])
        expected = _floats(expected_kth_scores(self.opened, self.corpus.centroids, norms, self.k_prime))
        return np.where(complete, self.kth_seen(), expected) if complete.any() else expected

    def last_opened(self) -> npt.NDArray[np.float32]:
        """(T,) the score of the last of the opened clusters."""
        return lowest_centroids(self.opened.chosen)

    def at_tokens(self, tokens: float) -> npt.NDArray[np.float32]:
        """(T,) the score of the cluster at which sizes add up to ``tokens``, of 128 clusters at least."""
        parts = (score_at_tokens(self.corpus, look.query.quantised, look.chosen, tokens) for look in self.looks)
        return np.concatenate(list(parts))


def _xtr_scores(
    index: DeviceTokens,
    opened: Opened,
    lengths: torch.Tensor,
    imputation: Imputed,
    mean: bool,
    allowed: torch.Tensor | None,
) -> list[Ranked]:
    """Eq. 4 for some queries at once: documents with hits, ascending, and their scores."""
    n_queries, n, device = len(lengths), int(lengths.sum()), lengths.device
    lowest = on_device(imputation.lowest, device)
    missing = on_device(np.zeros(n) if imputation.missing is None else imputation.missing, device)
    retrieved = opened.scores >= lowest[opened.tokens]
    if allowed is not None:
        retrieved &= allowed[index.documents[opened.rows]]
    tokens, scores = opened.tokens[retrieved], opened.scores[retrieved]
    query_of = torch.arange(n_queries, device=device).repeat_interleave(lengths)
    # Runs of (query, document), and within them of query token: best similarity of each, then their sum.
    documents = query_of[tokens] * index.n_documents + index.documents[opened.rows[retrieved]]
    pairs, place = torch.unique(documents * n + tokens, sorted=True, return_inverse=True)
    best = torch.full((len(pairs),), -torch.inf, device=device).scatter_reduce_(0, place, scores, "amax")
    owners, counts = torch.unique_consecutive(pairs // n, return_counts=True)
    sums = sums_of_runs(best.double() - missing[pairs % n], counts)
    owner_query = owners // index.n_documents
    totals = sums + sums_of_runs(missing, lengths)[owner_query]
    if mean:
        totals = totals / (counts if imputation.missing is None else lengths[owner_query])
    ends = torch.searchsorted(owner_query, torch.arange(n_queries + 1, device=device)).tolist()
    return [Ranked(_numpy(owners[a:b] % index.n_documents), _numpy(totals[a:b])) for a, b in pairwise(ends)]


def _similarities(index: DeviceTokens, query: torch.Tensor, documents: Documents) -> tuple[torch.Tensor, torch.Tensor]:
    """Similarities of (n, d) query tokens with all tokens of some documents, (tokens, n), and (K,) lengths."""
    chosen = on_device(documents, query.device)
    begins, lengths = index.document_offsets[chosen], index.document_offsets.diff()[chosen]
    ends = lengths.cumsum(0)
    within = torch.arange(int(ends[-1]), device=query.device) - (ends - lengths).repeat_interleave(lengths)
    rows = index.positions[begins.repeat_interleave(lengths) + within]
    parts = [index.vectors(part) @ query.T for part in torch.split(rows, ROWS_AT_A_TIME)]
    return torch.cat(parts), lengths


def _by_all_tokens(
    index: DeviceTokens, query: torch.Tensor, documents: Documents, most: Scores | None, *, mean: bool
) -> Scores:
    """Scores of some documents by all their decompressed tokens (eq. 3), no similarity above (n,) ``most``."""
    if not len(documents):
        return np.zeros(0)
    similarities, lengths = _similarities(index, query, documents)
    best = torch.segment_reduce(similarities, "max", lengths=lengths, axis=0).double()
    if most is not None:
        best = torch.minimum(best, on_device(most, best.device))
    sums: Scores = _numpy(best.sum(dim=1))
    return sums / len(query) if mean else sums


def _floats(values: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(values.cpu(), dtype=np.float32)


def _numpy(values: torch.Tensor) -> Any:
    return np.asarray(values.cpu())
