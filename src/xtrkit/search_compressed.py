"""Search of a compressed index: probing, imputation, scoring, and the k best documents."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.missing import expected_kth_scores, kth_scores, sum_best
from xtrkit.token_retrieval.centroid import Probes, probe, quantised
from xtrkit.values import FloatArray

EVERYONE = np.zeros(0, dtype=np.bool_)


def search(
    index: CompressedTokens,
    query: FloatArray,
    k: int,
    *,
    nprobe: int = 32,
    k_prime: int = 1000,
    imputation: str = "expected",
    subset: npt.NDArray[np.bool_] = EVERYONE,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The k best documents of one query by XTR's score (eq. 4, mean over query tokens).

    Returns:
        (k,) document numbers, best first and of equals the lower first, and (k,) scores.
    """
    quantised_query = quantised(query, index)
    available = index.n_documents if not len(subset) else int(subset.sum())
    while True:
        probes = probe(index, quantised_query, nprobe)
        documents, scores = xtr_scores(index, probes, k_prime, subset, imputation)
        if len(documents) >= min(k, available) or (nprobe >= index.n_clusters and k_prime >= index.n_tokens):
            return best_first(documents, scores, k)
        nprobe, k_prime = 2 * nprobe, 2 * k_prime


def xtr_scores(
    index: CompressedTokens, probes: Probes, k_prime: int, subset: npt.NDArray[np.bool_], imputation: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Documents with hits, in no order, and their scores."""
    n = len(probes.counts)
    lowest = np.empty(n, dtype=np.float32)
    if imputation == "expected":
        expected_kth_scores(
            probes.scores, probes.starts, index.offsets, probes.clusters, probes.cluster_scores, probes.counts,
            probes.closed_tokens, probes.closed_range, k_prime, lowest,
        )  # fmt: skip
    else:
        kth_scores(probes.scores, probes.starts, k_prime, lowest)
    missing = lowest.astype(np.float64)
    totals = np.zeros(index.n_documents, dtype=np.float64)
    matched = np.zeros(index.n_documents, dtype=np.int32)
    found = np.empty(index.n_documents, dtype=np.int32)
    count = sum_best(
        index.documents, index.offsets, probes.clusters, probes.counts, probes.starts, probes.scores,
        lowest, missing, subset, totals, matched, found,
    )  # fmt: skip
    documents = found[:count]
    return documents, (totals[documents] + missing.sum()) / n


def best_first(
    documents: npt.NDArray[np.int32], scores: npt.NDArray[np.float64], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The k highest scores in descending order; of equal ones the lower document number comes first."""
    if len(scores) > k:
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        documents, scores = documents[kept], scores[kept]
    order = np.lexsort((documents, -scores))[:k]
    return documents[order].astype(np.int64), scores[order]
