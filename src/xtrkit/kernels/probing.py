"""The kernel that looks into clusters: similarities of a query's tokens with all living tokens of those it opens."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.bundles import Postings, Probes, QuantisedQuery, Run
from xtrkit.kernels.codes import CACHE_LINE, score_run, tiles_of
from xtrkit.kernels.dense import HALF_BIAS
from xtrkit.kernels.intrinsics import prefetch
from xtrkit.kernels.jit import kernel
from xtrkit.kernels.vectors import LANES, address_of

AHEAD = 4
"""How many clusters before they are scored their codes are fetched."""


@kernel
def score_clusters(
    postings: Postings,
    live: npt.NDArray[np.bool_],
    query: QuantisedQuery,
    probes: Probes,
    free: npt.NDArray[np.int64],
) -> None:
    """Similarities of each query token with the living tokens of its clusters in one segment.

    Args:
        postings: the codes of the segment.
        live: (N,) documents of the segment that are alive; empty where all are.
        query: n query tokens.
        probes: which clusters are opened; receives similarities.
        free: (P,) where the similarities with each cluster go; moved on past them, to where those of the next segment
            go.
    """
    halves, documents, offsets = address_of(postings.halves), postings.documents, postings.cluster_offsets
    clusters, cluster_scores, starts = probes.chosen.clusters, probes.chosen.scores, probes.chosen.starts
    scores, largest, final = probes.scores, 0, len(clusters) - 1
    for cluster in clusters:
        largest = max(largest, offsets[cluster + 1] - offsets[cluster])
    scratch = np.empty(largest, dtype=np.int32), np.empty(max(LANES, 1), dtype=np.float32)
    of_all, tiles = np.empty(largest, dtype=np.float32), tiles_of(postings, query)
    for i in range(len(query.scales)):
        factor, offset = query.code_scales[i] * HALF_BIAS, query.code_offsets[i]
        for probe in range(starts[i], starts[i + 1]):
            first, last = offsets[clusters[probe]], offsets[clusters[probe] + 1]
            upcoming, size = offsets[clusters[min(probe + AHEAD, final)]], last - first
            run, of_token = Run(first, last, upcoming), (cluster_scores[probe], factor, offset)
            for line in range(0, 2 * size, CACHE_LINE):
                prefetch(halves + 2 * upcoming + line)
            if len(live):
                score_run(postings, tiles, run, query, i, of_token, scratch, of_all, 0)
                living, at = 0, free[probe]
                for j in range(size):
                    of_all[living] = of_all[j]  # a row that is dead is overwritten, or not copied
                    living += live[documents[first + j]]
                for j in range(living):
                    scores[at + j] = of_all[j]
                free[probe] = at + living
            else:
                score_run(postings, tiles, run, query, i, of_token, scratch, scores, free[probe])
                free[probe] += size
