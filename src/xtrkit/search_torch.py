"""The compressed search on a device that torch drives: a GPU where there is one, the CPU for tests.

The same steps as :mod:`xtrkit.search_compressed`, with the shapes that a GPU likes: all centroids are multiplied
instead of some groups of them, and the tokens of many queries are scored side by side. So it opens clusters that the
other may have missed; with every cluster open the two rank alike, up to rounding. Sums are taken over sorted runs,
never by atomic additions, so the same search gives the same bits each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xtrkit.errors import InputError
from xtrkit.indexing.codec import BucketCodec
from xtrkit.recipes import Reduction, Scoring
from xtrkit.scoring.estimation import Estimate
from xtrkit.search_compressed import DEFAULT, Documents, Effort, Scores, candidates_for
from xtrkit.token_retrieval.corpus import ClusteredCorpus
from xtrkit.values import FloatArray, Mask

ROWS_AT_A_TIME = 1 << 20
"""Rows whose codes are unpacked at a time: 0.5 GB of float32 at 128 dimensions."""
QUERIES_AT_A_TIME = 32
HALVINGS = 30
"""Steps by which the expected k'-th score is found: its error is the range of similarities / 2^30."""
SAMPLED = 16
"""Tokens of each opened cluster that the spread around centroids is measured on, as in the kernels."""


@dataclass(frozen=True, eq=False)
class DeviceTokens:
    """The living tokens of a compressed corpus on a device, all segments as one.

    Attributes:
        bits: bits a dimension of a code.
        n_documents: N, dead ones included.
        rotation: (d, d).
        centroids: (C, d) float32.
        offsets: (C + 1,) rows of each cluster.
        clusters: (M,) int32, the cluster of each row.
        codes: (M, w).
        scales: (M,) float16.
        documents: (M,) int64.
        positions: (M,) int64, the rows document after document.
        document_offsets: (N + 1,) where each document's begin and end there; dead ones have none.
        byte_values: (256, 8 / b) what each byte stands for with :class:`BucketCodec`; empty for an affine grid.
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
    byte_values: torch.Tensor

    @classmethod
    def of(cls, corpus: ClusteredCorpus, device: str) -> DeviceTokens:
        """Copy a corpus to a device, where it takes some 90 bytes a token at 4 bits and 128 dimensions.

        Raises:
            InputError: torch has no such device here.
        """
        try:
            place = torch.device(device)
            torch.empty(1, device=place)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"There is no device {device!r} here: use one that torch finds, or the CPU.") from error

        def there(array: npt.NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(np.array(array)).to(place)

        parts = []
        for first, segment in zip(corpus.first_documents, corpus.segments, strict=True):
            tokens = segment.tokens
            kept = segment.living[tokens.documents]
            clusters = np.repeat(np.arange(tokens.n_clusters, dtype=np.int32), np.diff(tokens.cluster_offsets))
            documents = tokens.documents.astype(np.int64) + first
            parts.append([there(array[kept]) for array in (clusters, tokens.codes, tokens.scales, documents)])
        cluster_of, codes, scales, document_of = (torch.cat(arrays) for arrays in zip(*parts, strict=True))
        order = torch.sort(cluster_of, stable=True).indices
        document_of = document_of[order]
        quantiser, codec = corpus.quantiser, corpus.quantiser.codec
        every_byte = np.arange(256, dtype=np.uint8)[:, np.newaxis]
        values = codec.weights[codec.buckets(every_byte)] if isinstance(codec, BucketCodec) else np.zeros((0, 1))
        return cls(
            bits=quantiser.bits,
            n_documents=corpus.n_documents,
            rotation=there(quantiser.rotation),
            centroids=there(quantiser.centroids.decoded()),
            offsets=_offsets(torch.bincount(cluster_of, minlength=quantiser.n_clusters)),
            clusters=cluster_of[order],
            codes=codes[order],
            scales=scales[order],
            documents=document_of,
            positions=torch.sort(document_of, stable=True).indices,
            document_offsets=_offsets(torch.bincount(document_of, minlength=corpus.n_documents)),
            byte_values=there(values.astype(np.float32)),
        )

    @property
    def n_clusters(self) -> int:
        """Number of centroids, C."""
        return len(self.centroids)

    @property
    def n_tokens(self) -> int:
        """Number of token vectors, M."""
        return len(self.documents)

    def vectors(self, rows: torch.Tensor) -> torch.Tensor:
        """(B,) rows -> (B, d) decompressed vectors."""
        packed, scales = self.codes[rows], self.scales[rows].float()[:, None]
        centroids = self.centroids[self.clusters[rows].long()]
        if len(self.byte_values):
            return torch.mul(centroids + self.byte_values[packed.long()].flatten(1), scales)
        mask = 2**self.bits - 1
        fields = [(packed >> shift) & mask for shift in range(0, 8, self.bits)]
        return torch.addcmul(centroids, torch.cat(fields, dim=1).float() - mask / 2, scales)


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


def search_batch(
    index: DeviceTokens,
    queries: Sequence[FloatArray],
    k: int,
    scoring: Scoring = "xtr",
    effort: Effort = DEFAULT,
    subset: Mask | None = None,
) -> list[tuple[Documents, Scores]]:
    """The k best documents of each query: :func:`xtrkit.search_compressed.search` on the device.

    One difference: a subset that too few retrieved tokens lead to is searched with ever more clusters, until k of its
    documents are reached or all clusters are open.
    """
    allowed = None if subset is None else torch.from_numpy(np.array(subset)).to(index.rotation.device)
    results: list[tuple[Documents, Scores]] = []
    for first in range(0, len(queries), QUERIES_AT_A_TIME):
        part = [_rotated(index, query) for query in queries[first : first + QUERIES_AT_A_TIME]]
        if scoring == "xtr":
            wanted, imputation = max(k, effort.rerank or 0), effort.imputation
        else:
            wanted, imputation = max(k, effort.candidates or candidates_for(k)), Estimate("centroid")
        found = _search_xtr(index, part, wanted, k, effort, imputation, allowed)
        if scoring == "maxsim" or effort.rerank is not None:
            by = effort.reduction or ("mean" if scoring == "xtr" else "sum")
            found = [
                _reranked(index, query, documents, k, by) for query, (documents, _) in zip(part, found, strict=True)
            ]
        results += found
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
    allowed: torch.Tensor | None,
) -> list[tuple[Documents, Scores]]:
    """As in search_compressed: queries with too few documents are searched again with twice the effort."""
    findable = index.document_offsets.diff() > 0
    needed = min(needed, wanted, int((findable if allowed is None else findable & allowed).sum()))
    found: dict[int, tuple[Documents, Scores]] = {}
    pending, nprobe, k_prime = list(range(len(queries))), effort.nprobe, effort.k_prime
    while pending:
        exhausted = nprobe >= index.n_clusters and k_prime >= index.n_tokens
        part = [queries[query] for query in pending]
        lengths = torch.tensor([len(query) for query in part], device=index.rotation.device)
        opened = _open(index, torch.cat(part), lengths, min(nprobe, index.n_clusters), shared=effort.shared)
        totals = _xtr_scores(index, opened, lengths, k_prime, imputation, effort, allowed)
        for query, (documents, scores) in zip(pending, totals, strict=True):
            if len(documents) >= needed or exhausted:
                found[query] = _best(documents, scores, wanted)
        pending = [query for query in pending if query not in found]
        nprobe, k_prime = 2 * nprobe, 2 * k_prime
    return [found[query] for query in range(len(queries))]


def _xtr_scores(
    index: DeviceTokens,
    opened: _Opened,
    lengths: torch.Tensor,
    k_prime: int,
    imputation: Estimate,
    effort: Effort,
    allowed: torch.Tensor | None,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Eq. 4 for some queries at once: documents with hits, ascending, and their scores."""
    n_queries, n = len(lengths), int(lengths.sum())
    lowest, missing = _imputed(index, opened, k_prime, imputation)
    retrieved = opened.scores >= lowest[opened.tokens]
    if allowed is not None:
        retrieved &= allowed[index.documents[opened.rows]]
    tokens, scores = opened.tokens[retrieved], opened.scores[retrieved]
    query_of = torch.arange(n_queries, device=lengths.device).repeat_interleave(lengths)
    # Runs of (query, document), and within them of query token: best similarity of each, then their sum.
    documents = query_of[tokens] * index.n_documents + index.documents[opened.rows[retrieved]]
    pairs, place = torch.unique(documents * n + tokens, sorted=True, return_inverse=True)
    best = torch.full((len(pairs),), -torch.inf, device=scores.device).scatter_reduce_(0, place, scores, "amax")
    owners, counts = torch.unique_consecutive(pairs // n, return_counts=True)
    sums = _sums(best.double() - missing[pairs % n], counts)
    owner_query = owners // index.n_documents
    totals = sums + _sums(missing, lengths)[owner_query]
    if effort.reduction != "sum":
        totals = totals / (counts if imputation.kind == "none" else lengths[owner_query])
    ends = torch.searchsorted(owner_query, torch.arange(n_queries + 1, device=owners.device)).tolist()
    return [(owners[a:b] % index.n_documents, totals[a:b]) for a, b in pairwise(ends)]


def _best(documents: torch.Tensor, scores: torch.Tensor, k: int) -> tuple[Documents, Scores]:
    """The k highest scores; documents ascend, so a stable sort puts the lower of two equals first."""
    order = torch.sort(scores, descending=True, stable=True).indices[:k]
    return documents[order].cpu().numpy().astype(np.int64), scores[order].double().cpu().numpy()


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


def _imputed(
    index: DeviceTokens, opened: _Opened, k_prime: int, imputation: Estimate
) -> tuple[torch.Tensor, torch.Tensor]:
    """From which similarity up a token counts as retrieved, (T,), and m_i, (T,) float64."""
    n = len(opened.all_scores)
    everything = torch.full((n,), -torch.inf, device=opened.scores.device)
    last_opened = opened.all_scores.masked_fill(~opened.opened, torch.inf).amin(dim=1)
    if imputation.kind in ("min", "found", "retrieved"):
        complete = bool(opened.opened.all())
        if imputation.kind == "min" and not complete:
            kth = _expected_kth(index, opened, k_prime)
        else:
            kth = _kth_found(opened, last_opened, k_prime)
        if imputation.kind == "found" and not complete:
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


def _kth_found(opened: _Opened, otherwise: torch.Tensor, k: int) -> torch.Tensor:
    """(T,) the k-th best of the similarities found; the lowest where there are fewer."""
    counts = torch.bincount(opened.tokens, minlength=len(otherwise))
    by_token = torch.full((len(counts), max(1, int(counts.max()))), -torch.inf, device=otherwise.device)
    starts = counts.cumsum(0) - counts
    within = torch.arange(len(opened.tokens), device=counts.device) - starts[opened.tokens]
    by_token[opened.tokens, within] = opened.scores
    ordered = by_token.sort(dim=1, descending=True).values
    kth = ordered.gather(1, (counts.clamp(max=k) - 1).clamp(min=0)[:, None])[:, 0]
    return torch.where(counts > 0, kth, otherwise)


def _sums(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sums of consecutive runs of values, each taken in order."""
    if not len(values):  # torch reduces no empty tensor
        return torch.zeros(len(lengths), dtype=values.dtype, device=values.device)
    return torch.segment_reduce(values, "sum", lengths=lengths, initial=0.0)


def _offsets(lengths: torch.Tensor) -> torch.Tensor:
    """(N,) lengths -> (N + 1,) where each run begins and ends."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _reranked(
    index: DeviceTokens, query: torch.Tensor, documents: Documents, k: int, reduction: Reduction
) -> tuple[Documents, Scores]:
    """ColBERT's sum of maxima (eq. 3) of some documents over all their decompressed tokens."""
    if not len(documents):
        return documents, np.zeros(0)
    chosen = torch.from_numpy(np.sort(documents)).to(query.device)
    begins, lengths = index.document_offsets[chosen], index.document_offsets.diff()[chosen]
    ends = lengths.cumsum(0)
    within = torch.arange(int(ends[-1]), device=query.device) - (ends - lengths).repeat_interleave(lengths)
    rows = index.positions[begins.repeat_interleave(lengths) + within]
    similarities = torch.cat([index.vectors(part) @ query.T for part in torch.split(rows, ROWS_AT_A_TIME)])
    sums = torch.segment_reduce(similarities, "max", lengths=lengths, axis=0).double().sum(dim=1)
    return _best(chosen, sums / len(query) if reduction == "mean" else sums, k)
