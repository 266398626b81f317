"""The expected k'-th similarity against its twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.kernels import reference_codes as twin
from xtrkit.kernels.expectation import expected_kth_scores

SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS, k=st.integers(1, 400), n_clusters=st.integers(1, 8))
def test_expected_kth_score(seed, k, n_clusters):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 30, n_clusters)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    centroid_scores = random.uniform(0.4, 0.9, n_clusters).astype(np.float32)
    noise = random.choice([-0.05, 0.05], sizes.sum())  # a spread of exactly 0.05
    scores = (np.repeat(centroid_scores, sizes) + noise).astype(np.float32)
    closed, closed_range = random.integers(0, 40, 64).astype(np.float32), np.float32([[0.0, 0.4]])
    kth = np.empty(1, np.float32)
    expected_kth_scores(
        scores, np.array([0, len(scores)]), offsets, np.arange(n_clusters, dtype=np.int32)[np.newaxis],
        centroid_scores[np.newaxis], np.array([n_clusters]), closed[np.newaxis], closed_range, k, kth,
    )  # fmt: skip
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
        expected_kth_scores(
            scores, np.array([0, 50 * opened]), np.arange(opened + 1) * 50,
            np.arange(opened, dtype=np.int32)[np.newaxis],
            centroid_scores[np.newaxis, :opened], np.array([opened]), closed[np.newaxis], np.float32([[low, high]]),
            1000, kth,
        )  # fmt: skip
        assert kth[0] == pytest.approx(truth, abs=0.02)
        if opened == 2:  # what the found tokens alone would say
            assert abs(scores[: 50 * opened].min() - truth) > 0.05
