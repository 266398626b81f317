"""The expected k'-th similarity against its twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.kernels import reference_codes as twin
from xtrkit.kernels.bundles import Centroids, ChosenClusters, Probes, QuantisedQuery, ScaledVectors
from xtrkit.kernels.choosing import SPREADS_AHEAD, STEPS
from xtrkit.kernels.expectation import BORDERS, PRIOR_RATIO, PRIOR_TOKENS, WIDE, expected_kth_scores

SEEDS = st.integers(0, 2**32 - 1)
DIM = 8


def kth_expected(scores, centroid_scores, sizes, radii, closed, closed_range, k, norm=1.0):
    """The estimate for one query token.

    Args:
        scores: similarities of the tokens of its opened clusters.
        centroid_scores: those of these clusters' centroids.
        sizes: of these clusters.
        radii: of these clusters first, and of all others.
        closed: tokens of closed clusters in steps of promise.
        closed_range: from where to where these go.
        k: k'.
        norm: the length of the query token.
    """
    n, of_one = len(centroid_scores), np.float32([norm])
    chosen = ChosenClusters(
        np.arange(n, dtype=np.int32), np.float32(centroid_scores), np.array([0, n]), np.float32([closed]),
        np.float32([closed_range]),
    )  # fmt: skip
    probes = Probes(chosen, np.concatenate(([0], np.cumsum(sizes))), np.float32(scores))
    vectors = ScaledVectors(np.zeros((len(radii), DIM), np.int8), np.zeros(len(radii), np.float32))
    for part in vectors:
        part.flags.writeable = False
    centroids = Centroids(
        vectors, np.array([0, len(radii)]), vectors, np.zeros(len(radii), np.int32), np.float32(radii), mean_of(radii)
    )
    query = QuantisedQuery(
        np.zeros((1, 64), np.int16), of_one, of_one, np.zeros((1, 2, 64), np.int8), of_one, np.zeros(1, np.float32)
    )
    kth = np.empty(1, np.float32)
    expected_kth_scores(probes, centroids, query, k, kth)
    return float(kth[0])


def mean_of(radii):
    return np.float32((np.float64(radii) ** 2).mean())


def spread_of(scores, centroid_scores, sizes, radii, norm=1.0):
    """Σ: along the query token, as against along any direction, tokens that were measured and such as are presumed."""
    squares = ((np.float64(scores) - np.repeat(centroid_scores, sizes)) ** 2).sum() / norm**2
    prior = float(PRIOR_TOKENS) * float(mean_of(radii))
    along_any = (np.float64(radii[: len(sizes)]) ** 2 * sizes).sum()
    return norm * np.sqrt(mean_of(radii) * (squares + float(PRIOR_RATIO) * prior) / (along_any + prior))


@given(seed=SEEDS, k=st.integers(1, 400), n_clusters=st.integers(1, 8), norm=st.sampled_from([1.0, 0.3, 2.0]))
def test_expected_kth_score(seed, k, n_clusters, norm):
    random = np.random.default_rng(seed)
    sizes, radii = random.integers(1, 30, n_clusters), random.uniform(0.02, 0.06, n_clusters + 5)
    centroid_scores = norm * random.uniform(0.4, 0.9, n_clusters).astype(np.float32)
    noise = random.normal(scale=0.05 * norm, size=sizes.sum())
    scores = (np.repeat(centroid_scores, sizes) + noise).astype(np.float32)
    closed, highest = random.integers(0, 40, STEPS).astype(np.float32), 1.1  # above which opened clusters promise none
    closed[STEPS // 2 :] = 0
    kth = kth_expected(scores, centroid_scores, sizes, radii, closed, (0.1 * norm, highest * norm), k, norm)
    promises = norm * (0.1 + (highest - 0.1) * (np.arange(STEPS) + 0.5) / STEPS)
    centres = promises - float(SPREADS_AHEAD) * norm * np.sqrt(mean_of(radii))
    spread = spread_of(scores, centroid_scores, sizes, radii, norm)
    expected = twin.expected_kth(scores.astype(np.float64), centres, closed.astype(np.float64), spread, k)
    radius = norm * np.sqrt(mean_of(radii))
    step = float((highest - 0.1) * norm + (float(SPREADS_AHEAD) + 6 * float(WIDE)) * radius) / (BORDERS - 1)
    if k <= len(scores) + closed.sum():
        assert kth == pytest.approx(expected, abs=2 * step)  # tokens that were seen are few apart
    else:
        assert kth < min(centres.min(), scores.min()) + step


def test_the_estimate_is_near_the_truth_where_tokens_are_spread_normally():
    random = np.random.default_rng(0)
    centroid_scores = np.sort(random.uniform(0, 0.8, 200).astype(np.float32))[::-1]
    radius = 0.05 / np.sqrt(PRIOR_RATIO)  # tokens are spread more along a query token than along other directions
    scores = (centroid_scores.repeat(50) + random.normal(scale=0.05, size=10_000)).astype(np.float32)
    truth, promises = np.sort(scores)[::-1][999], centroid_scores + SPREADS_AHEAD * radius
    for opened in (2, 8, 40):
        low, high = promises[-1], promises[0]
        steps = np.minimum((promises[opened:] - low) / (high - low) * STEPS, STEPS - 1).astype(int)
        closed = 50 * np.bincount(steps, minlength=STEPS).astype(np.float32)
        seen, sizes = scores[: 50 * opened], np.full(opened, 50)
        kth = kth_expected(seen, centroid_scores[:opened], sizes, np.full(200, radius), closed, (low, high), 1000)
        assert kth == pytest.approx(truth, abs=0.02)
        if opened == 2:  # what the found tokens alone would say
            assert abs(seen.min() - truth) > 0.05


def test_clusters_without_any_spread():
    """As where every token is its centroid: the estimate is a number, and the opened tokens above it are k'."""
    scores = np.float32([0.9] * 5 + [0.5] * 5)
    closed = np.zeros(STEPS, np.float32)
    closed[3] = 100
    kth = kth_expected(scores, [0.9, 0.5], [5, 5], np.zeros(4), closed, (0.0, 1.0), 5)
    assert 0.5 < kth <= 0.9
    assert kth_expected(scores, [0.9, 0.5], [5, 5], np.zeros(4), closed, (0.0, 1.0), 50) < 0.1
