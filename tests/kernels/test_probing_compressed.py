"""Kernels of compressed search against their slow twins."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.kernels import decompression, hits, missing, selection
from xtrkit.kernels.reference import probing as twins

SEEDS = st.integers(0, 2**32 - 1)


@given(
    seed=SEEDS,
    n=st.sampled_from([1, 2, 63, 64, 65, 300, 1000]),
    share=st.floats(0, 1),
    kind=st.sampled_from(["normal", "few values", "outlier", "same"]),
)
def test_selection(seed, n, share, kind):
    random = np.random.default_rng(seed)
    values = random.normal(size=n).astype(np.float32)
    if kind == "few values":
        values = np.round(values).astype(np.float32)
    if kind == "outlier":
        values[random.integers(n)] = 1e6
    if kind == "same":
        values[:] = values[0]
    k = 1 + int(share * (n - 1))
    before, scratch, chosen = values.copy(), np.empty(n, np.float32), np.empty(k, np.int32)
    assert selection.kth_largest(values, k, scratch) == twins.kth_largest(values, k)
    assert selection.take_largest(values, k, scratch, chosen) == k
    np.testing.assert_array_equal(chosen, twins.largest(values, k))
    np.testing.assert_array_equal(values, before)


def test_nothing_is_taken_of_nothing():
    nothing = np.zeros(0, np.float32)
    assert selection.take_largest(nothing, 3, nothing, np.empty(3, np.int32)) == 0


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
    missing.expected_kth_scores(
        scores, np.array([0, len(scores)]), offsets, np.arange(n_clusters, dtype=np.int32)[np.newaxis],
        centroid_scores[np.newaxis], np.array([n_clusters]), closed[np.newaxis], closed_range, k, kth,
    )  # fmt: skip
    centres = (np.arange(64) + 0.5) * 0.4 / 64
    expected = twins.expected_kth(scores.astype(np.float64), centres, closed.astype(np.float64), 0.05, k)
    assert kth[0] == pytest.approx(expected, abs=0.012)  # bins are a 256th of the range wide, and few tokens apart


def test_with_every_cluster_open_the_expected_score_is_the_actual_one():
    random = np.random.default_rng(0)
    scores = random.normal(size=500).astype(np.float32)
    kth, closed = np.empty(1, np.float32), np.zeros((1, 64), np.float32)
    one = np.zeros((1, 1))
    for k in (1, 10, 250, 499):
        missing.expected_kth_scores(
            scores, np.array([0, 500]), np.array([0, 500]), one.astype(np.int32), one.astype(np.float32),
            np.array([1]), closed, np.float32([[0, 0]]), k, kth,
        )  # fmt: skip
        assert kth[0] == pytest.approx(twins.kth_largest(scores, k), abs=0.05)


@given(
    seed=SEEDS,
    n_query=st.integers(0, 4),
    n_documents=st.integers(1, 6),
    probed=st.integers(0, 4),
    some=st.booleans(),
)
def test_sum_of_best_hits(seed, n_query, n_documents, probed, some):
    random = np.random.default_rng(seed)
    sizes = random.integers(0, 5, 4)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    documents = random.integers(0, n_documents, sizes.sum()).astype(np.int32)
    clusters = np.array([random.permutation(4) for _ in range(n_query)], np.int32).reshape(n_query, 4)
    rows = [np.concatenate([np.arange(offsets[c], offsets[c + 1]) for c in row[:probed]] or [[]]) for row in clusters]
    starts = np.cumsum([0, *map(len, rows)])
    scores = random.normal(size=starts[-1]).astype(np.float32)
    lowest = random.normal(-1, 1, n_query).astype(np.float32)
    stand_in = random.normal(size=n_query)
    allowed = random.random(n_documents) < 0.5 if some else np.zeros(0, np.bool_)
    best = np.full((n_documents, n_query), -np.inf)
    for i, found in enumerate(rows):
        for row, score in zip(found.astype(int), scores[starts[i] :], strict=False):
            document = documents[row]
            if score >= lowest[i] and (not some or allowed[document]):
                best[document, i] = max(best[document, i], score)
    totals, matched = np.zeros(n_documents), np.zeros(n_documents, np.int32)
    found = np.empty(n_documents + 1, np.int32)
    count = hits.sum_best(
        documents, offsets, clusters, np.full(n_query, probed), starts, scores, lowest, stand_in, allowed, totals,
        matched, found,
    )  # fmt: skip
    expected_documents, expected_scores = twins.xtr_scores(best, stand_in)
    np.testing.assert_array_equal(np.sort(found[:count]), expected_documents)
    np.testing.assert_allclose((totals + stand_in.sum())[expected_documents], expected_scores, atol=1e-5)
    np.testing.assert_array_equal(matched, np.isfinite(best).sum(axis=1))


@given(seed=SEEDS, lengths=st.lists(st.integers(1, 5), max_size=5), n=st.integers(0, 4))
def test_sums_of_best(seed, lengths, n):
    random = np.random.default_rng(seed)
    query = random.normal(size=(n, 8)).astype(np.float32)
    vectors = random.normal(size=(sum(lengths), 8)).astype(np.float32)
    offsets, sums = np.cumsum([0, *lengths]), np.empty(len(lengths))
    decompression.sums_of_best(np.ascontiguousarray(vectors @ query.T), offsets, sums)
    expected = [twins.sum_of_max(query, vectors[a:b]) for a, b in pairwise(offsets)]
    np.testing.assert_allclose(sums, expected, atol=1e-5)
