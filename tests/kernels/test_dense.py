"""The exact engine's kernels against their slow twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.kernels import dense, reference


def test_every_finite_half_becomes_its_float():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    floats = np.empty(len(halves), dtype=np.float32)
    assert dense.halves_to_floats(halves.view(np.uint16), floats.view(np.uint32), floats)
    np.testing.assert_array_equal(floats, reference.halves_to_floats(halves))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_halves_that_are_no_numbers_are_noticed(bad):
    halves = np.ones(3000, np.float16)
    halves[2999] = bad
    floats = np.empty(3000, np.float32)
    assert not dense.halves_to_floats(halves.view(np.uint16), floats.view(np.uint32), floats)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 3),
    blocks=st.lists(st.integers(0, 20), min_size=1, max_size=6),
    k=st.integers(1, 12),
    spare=st.integers(1, 12),
    distinct=st.sampled_from([2, 5, 1000]),
)
def test_running_top_k_is_the_sorted_top_k(seed, n, blocks, k, spare, distinct):
    random = np.random.default_rng(seed)
    similarities = (random.integers(-distinct, distinct, size=(n, sum(blocks))) / distinct).astype(np.float32)
    scores, rows = np.empty((n, k + spare), np.float32), np.empty((n, k + spare), np.int64)
    counts, thresholds = np.zeros(n, np.int64), np.full(n, -np.inf, np.float32)
    first = 0
    for block in blocks:
        dense.keep_best(similarities[:, first : first + block], first, k, scores, rows, counts, thresholds)
        first += block
    for i in range(n):
        count = counts[i]
        if count > k:
            dense.cut_back(scores[i], rows[i], count, k)
            count = k
        expected = reference.top_k_rows(similarities[i], k)
        np.testing.assert_array_equal(rows[i, :count], expected)
        np.testing.assert_array_equal(scores[i, :count], similarities[i, expected])


@given(
    seed=st.integers(0, 2**32 - 1),
    documents=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    queries=st.lists(st.integers(0, 4), min_size=1, max_size=4),
)
def test_sum_of_max_is_the_one_of_each_pair(seed, documents, queries):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(sum(documents), 4)).astype(np.float32)
    query_rows = random.normal(size=(sum(queries), 4)).astype(np.float32)
    document_offsets, query_offsets = np.cumsum([0, *documents]), np.cumsum([0, *queries])
    sums = np.empty((len(queries), len(documents)))
    dense.sum_of_max(query_rows @ rows.T, document_offsets, query_offsets, np.full(len(query_rows), np.inf), sums)
    for q in range(len(queries)):
        for d in range(len(documents)):
            query = query_rows[query_offsets[q] : query_offsets[q + 1]]
            document = rows[document_offsets[d] : document_offsets[d + 1]]
            np.testing.assert_allclose(sums[q, d], reference.sum_of_max(query, document), atol=1e-5)


def test_negative_maxima_stay_negative():
    sums = np.empty((1, 1))
    dense.sum_of_max(np.float32([[-0.5, -0.25]]), np.array([0, 2]), np.array([0, 1]), np.array([np.inf]), sums)
    assert sums[0, 0] == -0.25
