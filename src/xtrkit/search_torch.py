"""The compressed search on a device that torch drives: a GPU where there is one, the CPU for tests.

The same steps as :mod:`xtrkit.search_compressed`, with the shapes that a GPU likes: all centroids are multiplied
instead of some groups of them, and the tokens of many queries are scored side by side. So it opens clusters that the
other may have missed; with every cluster open the two rank alike, up to rounding. Sums are taken over sorted runs, never
by atomic additions, so the same search gives the same bits each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from xtrkit.errors import InputError
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.recipes import Scoring
from xtrkit.scoring.estimation import Estimate
from xtrkit.search_compressed import DEFAULT, Documents, Effort, Scores, candidates_for
from xtrkit.values import FloatArray

ROWS_AT_A_TIME = 1 << 20
"""Rows whose codes are unpacked at a time: 0.5 GB of float32 at 128 dimensions."""
QUERIES_AT_A_TIME = 32
HALVINGS = 30
"""Steps by which the expected k'-th score is found: its error is the range of similarities / 2^30."""
SAMPLED = 16
"""Tokens of each opened cluster that the spread around centroids is measured on, as in the kernels."""


@dataclass(frozen=True, eq=False)
class DeviceTokens:
    """A compressed index on a device; names are those of :class:`CompressedTokens`.

    Attributes:
        bits: bits a dimension of a code.
        n_documents: N.
        rotation: (d, d).
        centroids: (C, d) float32.
        offsets: (C + 1,) rows of each cluster.
        clusters: (M,) int32, the cluster of each row.
        codes: (M, w).
        scales: (M,) float16.
        documents: (M,) int32.
        positions: (M,) int64.
        document_offsets: (N + 1,).
    """

    bits: int
    n_documents: int
    rotation: torch.Tensor
    centroids: torch.Tensor
    offsets: torch.Tensor
    clusters: torch.Tensor
    codes: torch.Tensor
    scales: torch.Tensor
    documents: torch.Tensor
    positions: torch.Tensor
    document_offsets: torch.Tensor

    @classmethod
    def of(cls, index: CompressedTokens, device: str) -> DeviceTokens:
        """Copy an index to a device: about 22 bytes a token more than on disk.

        Raises:
            InputError: torch has no such device here.
        """
        try:
            place = torch.device(device)
            torch.empty(1, device=place)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"There is no device {device!r} here: use one that torch finds, or the CPU.") from error

        def there(array: npt.NDArray[np.generic]) -> torch.Tensor:
            return torch.from_numpy(np.array(array)).to(place)

        offsets = there(index.offsets)
        numbers = torch.arange(index.n_clusters, dtype=torch.int32, device=place)
        return cls(
            bits=index.bits,
            n_documents=index.n_documents,
            rotation=there(index.rotation),
            centroids=there(index.centroid_vectors).float() * there(index.centroid_scales)[:, None],
            offsets=offsets,
            clusters=numbers.repeat_interleave(offsets.diff()),
            codes=there(index.codes),
            scales=there(index.scales),
            documents=there(index.documents),
            positions=there(index.positions.astype(np.int64)),
            document_offsets=there(index.document_offsets),
        )

    @property
    def n_clusters(self) -> int:
        """Number of centroids, C."""
        return len(self.centroids)

    @property
    def n_tokens(self) -> int:
        """Number of token vectors, M."""
        return len(self.documents)

    def residuals(self, rows: torch.Tensor) -> torch.Tensor:
        """(B,) rows -> (B, d) decoded residuals."""
        packed, mask = self.codes[rows], 2**self.bits - 1
        fields = [(packed >> shift) & mask for shift in range(0, 8, self.bits)]
        levels = torch.cat(fields, dim=1).float() - mask / 2
        scales: torch.Tensor = self.scales[rows].float()
        return torch.mul(levels, scales[:, None])


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
        chosen: (T, nprobe) clusters.
    """

    tokens: torch.Tensor
    rows: torch.Tensor
    scores: torch.Tensor
    of_centroid: torch.Tensor
    sampled: torch.Tensor
    all_scores: torch.Tensor
    chosen: torch.Tensor


def search_batch(
    index: DeviceTokens, queries: Sequence[FloatArray], k: int, scoring: Scoring = "xtr", effort: Effort = DEFAULT
) -> list[tuple[Documents, Scores]]:
    """The k best documents of each query: :func:`xtrkit.search_compressed.search` on the device."""
    results: list[tuple[Documents, Scores]] = []
    for first in range(0, len(queries), QUERIES_AT_A_TIME):
        part = [_rotated(index, query) for query in queries[first : first + QUERIES_AT_A_TIME]]
        if scoring == "xtr":
            results += _search_xtr(index, part, k, k, effort, effort.imputation)
        else:
            wanted = max(k, effort.candidates or candidates_for(k))
            found = _search_xtr(index, part, wanted, k, effort, Estimate("centroid"))
            results += [
                _reranked(index, query, documents, k, effort) for query, (documents, _) in zip(part, found, strict=True)
            ]
    return results


def _rotated(index: DeviceTokens, query: FloatArray) -> torch.Tensor:
    return torch.from_numpy(np.array(query, dtype=np.float32)).to(index.rotation.device) @ index.rotation


def _search_xtr(
    index: DeviceTokens,
    queries: list[torch.Tensor],
    wanted: int,
    needed: int,
    effort: Effort,
    imputation: Estimate,
) -> list[tuple[Documents, Scores]]:
    """As in search_compressed: queries with too few documents are searched again with twice the effort."""
    needed = min(needed, int((index.document_offsets.diff() > 0).sum()))
    found: dict[int, tuple[Documents, Scores]] = {}
    pending, nprobe, k_prime = list(range(len(queries))), effort.nprobe, effort.k_prime
    while pending:
        exhausted = nprobe >= index.n_clusters and k_prime >= index.n_tokens
        part = [queries[query] for query in pending]
        for query, result in zip(
            pending, _xtr_scores(index, part, nprobe, k_prime, imputation, effort, wanted), strict=True
        ):
            if len(result[0]) >= min(needed, wanted) or exhausted:
                found[query] = result
        pending = [query for query in pending if query not in found]
        nprobe, k_prime = 2 * nprobe, 2 * k_prime
    return [found[query] for query in range(len(queries))]


def _xtr_scores(
    index: DeviceTokens,
    queries: list[torch.Tensor],
    nprobe: int,
    k_prime: int,
    imputation: Estimate,
    effort: Effort,
    wanted: int,
) -> list[tuple[Documents, Scores]]:
    """Eq. 4 for some queries at once."""
    lengths = torch.tensor([len(query) for query in queries], device=index.rotation.device)
    opened = _open(index, torch.cat(queries), min(nprobe, index.n_clusters))
    lowest, missing = _imputed(index, opened, k_prime, imputation)
    retrieved = opened.scores >= lowest[opened.tokens]
    tokens, scores = opened.tokens[retrieved], opened.scores[retrieved]
    query_of = torch.arange(len(queries), device=lengths.device).repeat_interleave(lengths)
    # Runs of (query, document), and within them of query token: best similarity of each, then their sum.
    documents = query_of[tokens] * index.n_documents + index.documents[opened.rows[retrieved]]
    keys = documents * len(query_of) + tokens
    pairs, place = torch.unique(keys, sorted=True, return_inverse=True)
    best = torch.full((len(pairs),), -torch.inf, device=scores.device).scatter_reduce_(0, place, scores, "amax")
    owners, counts = torch.unique_consecutive(pairs // len(query_of), return_counts=True)
    gains = best.double() - missing[pairs % len(query_of)]
    sums = _sums(gains, counts)
    of_missing = _sums(missing, lengths)
    owner_query = owners // index.n_documents
    totals = sums + of_missing[owner_query]
    if effort.reduction != "sum":
        totals = totals / (counts if imputation.kind == "none" else lengths[owner_query])
    ends = torch.searchsorted(owner_query, torch.arange(len(queries) + 1, device=owners.device))
    return [_best(owners[a:b] % index.n_documents, totals[a:b], wanted) for a, b in pairwise(ends.tolist())]


def _best(documents: torch.Tensor, scores: torch.Tensor, k: int) -> tuple[Documents, Scores]:
    """The k highest scores; documents ascend, so a stable sort puts the lower of two equals first."""
    order = torch.sort(scores, descending=True, stable=True).indices[:k]
    return documents[order].cpu().numpy().astype(np.int64), scores[order].double().cpu().numpy()


def _open(index: DeviceTokens, tokens: torch.Tensor, nprobe: int) -> _Opened:
    """Score everything in the ``nprobe`` clusters nearest to each of (T, d) query tokens."""
    all_scores = tokens @ index.centroids.T
    chosen = all_scores.topk(nprobe, dim=1, sorted=False).indices
    flat = chosen.reshape(-1)
    sizes = index.offsets.diff()[flat]
    ends = sizes.cumsum(0)
    within = torch.arange(int(ends[-1]), device=flat.device) - (ends - sizes).repeat_interleave(sizes)
    rows = index.offsets[flat].repeat_interleave(sizes) + within
    owner = torch.arange(len(tokens), device=flat.device).repeat_interleave(nprobe).repeat_interleave(sizes)
    of_centroid = all_scores[owner, index.clusters[rows].long()]
    parts = [
        (index.residuals(rows[a : a + ROWS_AT_A_TIME]) * tokens[owner[a : a + ROWS_AT_A_TIME]]).sum(dim=1)
        for a in range(0, len(rows), ROWS_AT_A_TIME)
    ]
    return _Opened(owner, rows, of_centroid + torch.cat(parts), of_centroid, within < SAMPLED, all_scores, chosen)


def _imputed(
    index: DeviceTokens, opened: _Opened, k_prime: int, imputation: Estimate
) -> tuple[torch.Tensor, torch.Tensor]:
    """From which similarity up a token counts as retrieved, (T,), and m_i, (T,) float64."""
    n = len(opened.all_scores)
    everything = torch.full((n,), -torch.inf, device=opened.scores.device)
    last_opened = opened.all_scores.gather(1, opened.chosen).amin(dim=1)
    if imputation.kind in ("min", "found"):
        kth = _kth(index, opened, k_prime, expected=imputation.kind == "min")
        if imputation.kind == "found" and opened.chosen.shape[1] < index.n_clusters:
            kth = torch.maximum(kth, last_opened)
        return kth, kth.double()
    if imputation.kind == "centroid":
        return everything, last_opened.double()
    if imputation.kind == "cumulated":
        ordered, clusters = opened.all_scores.sort(dim=1, descending=True, stable=True)
        reached = (index.offsets.diff()[clusters].cumsum(1) < imputation.value).sum(1).clamp(max=index.n_clusters - 1)
        return everything, ordered.gather(1, reached[:, None])[:, 0].double()
    value = imputation.value if imputation.kind == "constant" else 0.0
    return everything, torch.full((n,), value, dtype=torch.float64, device=opened.scores.device)


def _kth(index: DeviceTokens, opened: _Opened, k: int, *, expected: bool) -> torch.Tensor:
    """(T,) the k-th best similarity: of all tokens as it must be expected, or of those that were opened.

    The estimate is that of :func:`xtrkit.kernels.expectation.expected_kth_scores`.
    """
    sizes = index.offsets.diff().float()
    n, n_clusters = opened.all_scores.shape
    counts = torch.bincount(opened.tokens, minlength=n)
    if expected and opened.chosen.shape[1] < n_clusters:
        closed = sizes.repeat(n, 1).scatter_(1, opened.chosen, 0.0)
        squares = torch.where(opened.sampled, (opened.scores - opened.of_centroid) ** 2, 0.0)
        spread = (_sums(squares, counts) / _sums(opened.sampled.float(), counts).clamp(min=1)).sqrt()
        spread = spread.clamp(min=1e-6)
    else:
        closed, spread = None, torch.ones(n, device=sizes.device)
    least = opened.all_scores.amin(dim=1) - 4 * spread
    low = torch.minimum(least, least.scatter_reduce(0, opened.tokens, opened.scores, "amin"))
    most = opened.all_scores.amax(dim=1) + 4 * spread
    high = torch.maximum(most, most.scatter_reduce(0, opened.tokens, opened.scores, "amax")) + 1e-6
    if closed is None:
        return _kth_found(opened, low, k)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = _sums((opened.scores >= middle[opened.tokens]).float(), counts)
        distance = (opened.all_scores - middle[:, None]) / spread[:, None]
        above = above + (closed * torch.special.ndtr(distance)).sum(dim=1)
        low, high = torch.where(above >= k, middle, low), torch.where(above >= k, high, middle)
    return low


def _kth_found(opened: _Opened, low: torch.Tensor, k: int) -> torch.Tensor:
    """(T,) the k-th best of the similarities found; the lowest where there are fewer."""
    counts = torch.bincount(opened.tokens, minlength=len(low))
    by_token = torch.full((len(low), int(counts.max())), -torch.inf, device=low.device)
    starts = counts.cumsum(0) - counts
    by_token[opened.tokens, torch.arange(len(opened.tokens), device=low.device) - starts[opened.tokens]] = opened.scores
    ordered = by_token.sort(dim=1, descending=True).values
    kth = ordered.gather(1, (counts.clamp(max=k) - 1).clamp(min=0)[:, None])[:, 0]
    return torch.where(counts > 0, kth, low)


def _sums(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sums of consecutive runs of values, each taken in order."""
    if not len(values):  # torch reduces no empty tensor
        return torch.zeros(len(lengths), dtype=values.dtype, device=values.device)
    return torch.segment_reduce(values, "sum", lengths=lengths, initial=0.0)


def _reranked(
    index: DeviceTokens, query: torch.Tensor, documents: Documents, k: int, effort: Effort
) -> tuple[Documents, Scores]:
    """ColBERT's sum of maxima (eq. 3) of some documents over all their decompressed tokens."""
    chosen = torch.from_numpy(np.sort(documents)).to(query.device)
    begins, lengths = index.document_offsets[chosen], index.document_offsets.diff()[chosen]
    ends = lengths.cumsum(0)
    within = torch.arange(int(ends[-1]), device=query.device) - (ends - lengths).repeat_interleave(lengths)
    rows = index.positions[begins.repeat_interleave(lengths) + within]
    similarities = torch.cat([
        (index.residuals(part) + index.centroids[index.clusters[part].long()]) @ query.T
        for part in torch.split(rows, ROWS_AT_A_TIME)
    ])  # fmt: skip
    best = torch.segment_reduce(similarities, "max", lengths=lengths, axis=0)
    sums = best.double().sum(dim=1)
    return _best(chosen, sums / len(query) if effort.reduction == "mean" else sums, k)
