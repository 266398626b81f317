"""The compressed search on a device that torch drives: a GPU where there is one, the CPU for tests.

The same steps as :mod:`xtrkit.search.compressed`, with the shapes that a GPU likes: all centroids are multiplied
instead of some groups of them, and the tokens of many queries are scored side by side. So it opens clusters that the
other may have missed; with every cluster open the two rank alike, up to rounding. Sums are taken over sorted runs,
never by atomic additions, so the same search gives the same bits each time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
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
from xtrkit.search.compressed import CompressedEngine
from xtrkit.search.device_tokens import DeviceTokens
from xtrkit.search.engine import Contribution, Documents, Evidence, Found, Ranked, Scores
from xtrkit.search.widening import Goal, Looked, look_until_enough
from xtrkit.values import FloatArray, Mask, Ragged, Segment, TokenHits, offsets_of

ROWS_AT_A_TIME = 1 << 20
"""Rows whose codes are unpacked at a time: 0.5 GB of float32 at 128 dimensions."""
QUERIES_AT_A_TIME = 32
HALVINGS = 30
"""Steps by which the expected k'-th score is found: its error is the range of similarities / 2^30."""
SAMPLED = 16
"""Tokens of each opened cluster that the spread around centroids is measured on, as in the kernels."""


@dataclass(frozen=True, eq=False)
class _Opened:
    """The tokens of the clusters opened for the T tokens of some queries.

    Attributes:
        tokens: (H,) which query token each similarity belongs to, ascending.
        rows: (H,) which row of the index.
        scores: (H,) the similarities.
        of_centroid: (H,) the score of each row's centroid.
        sampled: (H,) whether the row is one of the first of its cluster.
        all_scores: (T, C) similarities with the centroids.
        opened: (T, C) which clusters were opened.
    """

    tokens: torch.Tensor
    rows: torch.Tensor
    scores: torch.Tensor
    of_centroid: torch.Tensor
    sampled: torch.Tensor
    all_scores: torch.Tensor
    opened: torch.Tensor


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
        goal = Goal(self._corpus.wanted(subset), k, subset is not None, self._corpus.n_clusters, self._corpus.n_tokens)
        found: list[Found] = []
        for first in range(0, len(queries), QUERIES_AT_A_TIME):
            part = [_rotated(self._tokens, query) for query in list(queries)[first : first + QUERIES_AT_A_TIME]]
            found += self._search_part(part, k, recipe, goal)
        seconds = {"device": (time.perf_counter() - begin) / max(1, len(queries))}
        return [replace(one, seconds=seconds) for one in found]

    def evidence(self, query: FloatArray, found: Found, of: Sequence[int] | None = None) -> Evidence:
        """What the XTR scores of a search were made of."""
        index = self._tokens
        lengths = torch.tensor([len(query)], device=index.rotation.device)
        opened, (lowest, missing) = _imputed(index, _rotated(index, query), lengths, found.recipe)
        retrieved = _numpy(opened.scores) >= lowest[_numpy(opened.tokens)]
        tokens, places = _numpy(opened.tokens)[retrieved], _numpy(index.places[opened.rows])[retrieved]
        order = np.lexsort((places, tokens))
        documents = _numpy(index.documents[opened.rows])[retrieved][order].astype(np.int32)
        offsets = offsets_of(np.bincount(tokens, minlength=len(query)))
        return Evidence(TokenHits(places[order], documents, _numpy(opened.scores)[retrieved][order], offsets), missing)

    def best_similarities(self, query: FloatArray, document: int, most: Scores | None = None) -> Contribution:
        """min(most_i, max_j q_i · d_j) over all tokens of a document, decompressed."""
        one = np.array([document], dtype=np.int64)
        similarities, _ = _similarities(self._tokens, _rotated(self._tokens, query), one)
        best = _numpy(similarities.amax(dim=0).double())
        return Contribution(best if most is None else np.minimum(best, most), _numpy(similarities.argmax(dim=0)))

    def _search_part(self, queries: Sequence[torch.Tensor], k: int, recipe: Recipe, goal: Goal) -> list[Found]:
        """As the compressed engine's search, for queries that are looked at together."""
        index, candidates = self._tokens, int(recipe.candidates or k)
        if recipe.scoring == "maxsim" and np.count_nonzero(goal.matching) <= candidates:
            everyone = np.flatnonzero(goal.matching)
            return [self._by_all_tokens(query, everyone, k, recipe) for query in queries]
        by = recipe
        if recipe.scoring == "maxsim":
            by = replace(recipe, scoring="xtr", imputation="centroid", reduction="mean")
        allowed = torch.from_numpy(goal.matching).to(index.rotation.device) if goal.fills else None

        def look(pending: Sequence[int], recipe: Recipe) -> Iterator[Looked]:
            return _look(index, [queries[query] for query in pending], recipe, allowed)

        found = []
        for query, (reached, used) in zip(queries, look_until_enough(look, len(queries), by, goal), strict=True):
            if recipe.scoring == "maxsim":
                used = replace(recipe, nprobe=used.nprobe, k_prime=used.k_prime)
                found.append(self._by_all_tokens(query, best_first(*reached, candidates)[0], k, used))
            elif used.rerank is not None:
                found.append(self._by_all_tokens(query, best_first(*reached, used.rerank)[0], k, used))
            else:
                found.append(Found(*best_first(*reached, k), used, min(used.k_prime, index.n_tokens)))
        return found

    def _by_all_tokens(self, query: torch.Tensor, documents: Documents, k: int, recipe: Recipe) -> Found:
        """The k best of some documents by all their tokens."""
        scores = _by_all_tokens(self._tokens, query, documents, None, mean=recipe.mean)
        k_prime = None if recipe.scoring == "maxsim" else min(recipe.k_prime, self._tokens.n_tokens)
        return Found(*best_first(documents, scores, k), recipe, k_prime)


def _rotated(index: DeviceTokens, query: FloatArray) -> torch.Tensor:
    return torch.from_numpy(np.array(query, dtype=np.float32)).to(index.rotation.device) @ index.rotation


def _look(
    index: DeviceTokens, queries: Sequence[torch.Tensor], recipe: Recipe, allowed: torch.Tensor | None
) -> Iterator[Looked]:
    """Open clusters for some queries at once, impute, and score the documents in them."""
    lengths = torch.tensor([len(query) for query in queries], device=index.rotation.device)
    opened, imputation = _imputed(index, torch.cat(list(queries)), lengths, recipe)
    starts = offsets_of(lengths.cpu().numpy())
    for place, reached in enumerate(_xtr_scores(index, opened, lengths, imputation, recipe.mean, allowed)):
        query, (first, last) = queries[place], starts[place : place + 2]
        most = np.zeros(last - first) if imputation.missing is None else imputation.missing[first:last]

        def fill_up(others: Documents, query: torch.Tensor = query, most: Scores = most) -> Scores:
            return _by_all_tokens(index, query, others, most, mean=recipe.mean)

        yield Looked(reached, fill_up)


def _imputed(
    index: DeviceTokens, tokens: torch.Tensor, lengths: torch.Tensor, recipe: Recipe
) -> tuple[_Opened, Imputed]:
    """Open clusters for (T, d) query tokens; from which similarity up a token counts as retrieved, and m_i, (T,)."""
    opened = _open(index, tokens, lengths, min(int(recipe.nprobe), index.n_clusters), shared=recipe.shared)
    return opened, recipe.impute(DeviceSimilarities(index, opened, recipe.k_prime))


@dataclass(frozen=True, eq=False)
class DeviceSimilarities:
    """What a search saw that opened some clusters for T tokens of some queries.

    Attributes:
        index: what is searched.
        opened: the opened clusters.
        k_prime: k'.
    """

    index: DeviceTokens
    opened: _Opened
    k_prime: int

    @property
    def complete(self) -> Mask:
        """(T,) whether every cluster was opened."""
        return np.asarray(self._complete.cpu())

    @property
    def _complete(self) -> torch.Tensor:
        return self.opened.opened.all(dim=1)

    def kth_seen(self) -> npt.NDArray[np.float32]:
        """(T,) the k'-th best similarity in the opened clusters."""
        return _floats(_kth_seen(self.opened, self.k_prime))

    def kth_expected(self) -> npt.NDArray[np.float32]:
        """(T,) the k'-th best similarity of all tokens: the actual one where every cluster was opened."""
        if bool(self._complete.all()):
            return self.kth_seen()
        expected = _expected_kth(self.index, self.opened, self.k_prime)
        return _floats(torch.where(self._complete, _kth_seen(self.opened, self.k_prime), expected))

    def last_opened(self) -> npt.NDArray[np.float32]:
        """(T,) the score of the last of the opened clusters."""
        return _floats(self.opened.all_scores.masked_fill(~self.opened.opened, torch.inf).amin(dim=1))

    def at_tokens(self, tokens: float) -> npt.NDArray[np.float32]:
        """(T,) the score of the cluster at which the sizes of all clusters, best first, add up to ``tokens``."""
        ordered, clusters = self.opened.all_scores.sort(dim=1, descending=True, stable=True)
        sizes = self.index.offsets.diff()[clusters].cumsum(1)
        reached = (sizes < tokens).sum(1).clamp(max=self.index.n_clusters - 1)
        return _floats(ordered.gather(1, reached[:, None])[:, 0])


def _xtr_scores(
    index: DeviceTokens,
    opened: _Opened,
    lengths: torch.Tensor,
    imputation: Imputed,
    mean: bool,
    allowed: torch.Tensor | None,
) -> list[Ranked]:
    """Eq. 4 for some queries at once: documents with hits, ascending, and their scores."""
    n_queries, n, device = len(lengths), int(lengths.sum()), lengths.device
    lowest = torch.from_numpy(imputation.lowest).to(device)
    missing = torch.from_numpy(np.zeros(n) if imputation.missing is None else imputation.missing).to(device)
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
    sums = _sums(best.double() - missing[pairs % n], counts)
    owner_query = owners // index.n_documents
    totals = sums + _sums(missing, lengths)[owner_query]
    if mean:
        totals = totals / (counts if imputation.missing is None else lengths[owner_query])
    ends = torch.searchsorted(owner_query, torch.arange(n_queries + 1, device=device)).tolist()
    return [Ranked(_numpy(owners[a:b] % index.n_documents), _numpy(totals[a:b])) for a, b in pairwise(ends)]


def _open(index: DeviceTokens, tokens: torch.Tensor, lengths: torch.Tensor, nprobe: int, *, shared: bool) -> _Opened:
    """Score everything in the ``nprobe`` clusters nearest to each of (T, d) query tokens, or to any of its query."""
    all_scores = tokens @ index.centroids.T
    chosen = all_scores.topk(nprobe, dim=1, sorted=False).indices
    opened = torch.zeros_like(all_scores, dtype=torch.bool).scatter_(1, chosen, value=True)
    if shared:
        opened = torch.cat([part.any(dim=0).expand_as(part) for part in torch.split(opened, lengths.tolist())])
    owner_of_cluster, clusters = opened.nonzero(as_tuple=True)
    sizes = index.offsets.diff()[clusters]
    ends = sizes.cumsum(0)
    within = torch.arange(int(ends[-1]), device=ends.device) - (ends - sizes).repeat_interleave(sizes)
    rows = index.offsets[clusters].repeat_interleave(sizes) + within
    owner = owner_of_cluster.repeat_interleave(sizes)
    scores = [
        (index.vectors(rows[a : a + ROWS_AT_A_TIME]) * tokens[owner[a : a + ROWS_AT_A_TIME]]).sum(dim=1)
        for a in range(0, len(rows), ROWS_AT_A_TIME)
    ]
    of_centroid = all_scores[owner, index.clusters[rows].long()]
    found = torch.cat(scores) if scores else of_centroid
    return _Opened(owner, rows, found, of_centroid, within < SAMPLED, all_scores, opened)


def _expected_kth(index: DeviceTokens, opened: _Opened, k: int) -> torch.Tensor:
    """(T,) the k-th best similarity of all tokens, as it must be expected; found by halving.

    The estimate is that of :func:`xtrkit.kernels.expectation.expected_kth_scores`.
    """
    counts = torch.bincount(opened.tokens, minlength=len(opened.all_scores))
    closed = index.offsets.diff().float().masked_fill(opened.opened, 0.0)
    squares = torch.where(opened.sampled, (opened.scores - opened.of_centroid) ** 2, 0.0)
    variance = _sums(squares, counts) / _sums(opened.sampled.float(), counts).clamp(min=1)
    spread = variance.sqrt().clamp(min=1e-6)
    least, most = opened.all_scores.amin(dim=1) - 4 * spread, opened.all_scores.amax(dim=1) + 4 * spread
    low = least.scatter_reduce(0, opened.tokens, opened.scores, "amin")
    high = most.scatter_reduce(0, opened.tokens, opened.scores, "amax") + 1e-6
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = _sums((opened.scores >= middle[opened.tokens]).float(), counts)
        distance = (opened.all_scores - middle[:, None]) / spread[:, None]
        enough = above + (closed * torch.special.ndtr(distance)).sum(dim=1) >= k
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return low


def _kth_seen(opened: _Opened, k: int) -> torch.Tensor:
    """(T,) the k-th best of the similarities seen; the lowest where there are fewer, 0 where there are none."""
    counts = torch.bincount(opened.tokens, minlength=len(opened.all_scores))
    shape = (len(counts), max(1, int(counts.max())))
    by_token = torch.full(shape, -torch.inf, device=opened.scores.device)
    starts = counts.cumsum(0) - counts
    within = torch.arange(len(opened.tokens), device=counts.device) - starts[opened.tokens]
    by_token[opened.tokens, within] = opened.scores
    ordered = by_token.sort(dim=1, descending=True).values
    kth = ordered.gather(1, (counts.clamp(max=k) - 1).clamp(min=0)[:, None])[:, 0]
    return torch.where(counts > 0, kth, torch.zeros_like(kth))


def _sums(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sums of consecutive runs of values, each taken in order."""
    if not len(values):  # torch reduces no empty tensor
        return torch.zeros(len(lengths), dtype=values.dtype, device=values.device)
    return torch.segment_reduce(values, "sum", lengths=lengths, initial=0.0)


def _similarities(index: DeviceTokens, query: torch.Tensor, documents: Documents) -> tuple[torch.Tensor, torch.Tensor]:
    """Similarities of (n, d) query tokens with all tokens of some documents, (tokens, n), and (K,) lengths."""
    chosen = torch.from_numpy(documents).to(query.device)
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
        best = torch.minimum(best, torch.from_numpy(most).to(best.device))
    sums: Scores = _numpy(best.sum(dim=1))
    return sums / len(query) if mean else sums


def _floats(values: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(values.cpu(), dtype=np.float32)


def _numpy(values: torch.Tensor) -> Any:
    return np.asarray(values.cpu())
