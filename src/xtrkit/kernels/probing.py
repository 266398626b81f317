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
    scores, largest, final, some_dead = probes.scores, 1, len(clusters) - 1, len(live) > 0
    for cluster in clusters:
        largest = max(largest, offsets[cluster + 1] - offsets[cluster])
    tiles, scratch, of_all = tiles_of(postings, query), np.empty(LANES + 1, np.float32), np.empty(largest, np.float32)
    for i in range(len(query.scales)):
        factor, offset = query.code_scales[i] * HALF_BIAS, query.code_offsets[i]
        for probe in range(starts[i], starts[i + 1]):
            first, last, at = offsets[clusters[probe]], offsets[clusters[probe] + 1], free[probe]
            run = Run(first, last, offsets[clusters[min(probe + AHEAD, final)]])
            for line in range(0, 2 * (last - first), CACHE_LINE):
                prefetch(halves + 2 * run.upcoming + line)
            target, of_token = address_of(scores) + 4 * at, (cluster_scores[probe], factor, offset)
            if some_dead:
                target = address_of(of_all)
            score_run(postings, tiles, run, query, i, of_token, address_of(scratch), target)
            if some_dead:
                for row in range(first, last):
                    if live[documents[row]]:
                        scores[at] = of_all[row - first]
                        at += 1
                free[probe] = at
            else:
                free[probe] += last - first
