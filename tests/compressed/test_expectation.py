"""The expected k'-th similarity against its twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.kernels import reference_codes as twin
from xtrkit.kernels.bundles import ChosenClusters, Probes
from xtrkit.kernels.expectation import expected_kth_scores

SEEDS = st.integers(0, 2**32 - 1)


def probes_of_one(scores, centroid_scores, closed, closed_range):
    """The first clusters opened for one query token: scores of their tokens and centroids, and what is closed."""
    n = len(centroid_scores)
    clusters = np.arange(n, dtype=np.int32)[np.newaxis]
    of_centroids = np.ascontiguousarray(centroid_scores)[np.newaxis]
    chosen = ChosenClusters(clusters, of_centroids, np.array([n]), closed[np.newaxis], np.float32([closed_range]))
    return Probes(chosen, np.array([0, len(scores)]), scores, np.zeros(len(scores), dtype=np.int32))


@given(seed=SEEDS, k=st.integers(1, 400), n_clusters=st.integers(1, 8))
def test_expected_kth_score(seed, k, n_clusters):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 30, n_clusters)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    centroid_scores = random.uniform(0.4, 0.9, n_clusters).astype(np.float32)
    noise = random.choice([-0.05, 0.05], sizes.sum())  # a spread of exactly 0.05
    scores = (np.repeat(centroid_scores, sizes) + noise).astype(np.float32)
    closed = random.integers(0, 40, 64).astype(np.float32)
    kth = np.empty(1, np.float32)
    expected_kth_scores(probes_of_one(scores, centroid_scores, closed, [0.0, 0.4]), offsets, k, kth)
    centres = (np.arange(64) + 0.5) * 0.4 / 64
    expected = twin.expected_kth(scores.astype(np.float64), centres, closed.astype(np.float64), 0.05, k)
    assert kth[0] == pytest.approx(expected, abs=0.012)  # bins are a 256th of the range wide, and few tokens apart


def test_the_estimate_is_near_the_truth_where_tokens_are_spread_normally():
    random = np.random.default_rng(0)
    centroid_scores = np.sort(random.uniform(0, 0.8, 200).astype(np.float32))[::-1]
    scores = (centroid_scores.repeat(50) + random.normal(scale=0.05, size=10_000)).astype(np.float32)
    truth = np.sort(scores)[::-1][999]
    for opened in (2, 8, 40):
        low, high = centroid_scores[-1], centroid_scores[opened - 1]
        steps = np.minimum((centroid_scores[opened:] - low) / (high - low) * 64, 63).astype(int)
        closed = 50 * np.bincount(steps, minlength=64).astype(np.float32)
        kth = np.empty(1, np.float32)
        probes = probes_of_one(scores[: 50 * opened], centroid_scores[:opened], closed, [low, high])
        expected_kth_scores(probes, np.arange(opened + 1) * 50, 1000, kth)
        assert kth[0] == pytest.approx(truth, abs=0.02)
        if opened == 2:  # what the found tokens alone would say
            assert abs(scores[: 50 * opened].min() - truth) > 0.05
