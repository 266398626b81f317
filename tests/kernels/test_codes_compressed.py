"""Kernels on packed codes against their slow twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.indexing.codec import STEPS, GridCodec, unpack_planes
from xtrkit.kernels import codes as kernels
from xtrkit.kernels.reference import codes as twins

BITS = st.sampled_from([1, 2, 4, 8])
DIMS = st.integers(1, 50).map(lambda eighths: 8 * eighths)
SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS, bits=BITS, dim=DIMS, n=st.integers(0, 9))
def test_products_of_packed_codes(seed, bits, dim, n):
    random = np.random.default_rng(seed)
    levels = random.integers(0, 2**bits, (n, dim)).astype(np.uint8)
    query = random.integers(-kernels.QUERY_LIMIT, kernels.QUERY_LIMIT + 1, dim).astype(np.int16)
    packed = twins.pack(levels, bits)
    np.testing.assert_array_equal(unpack_planes(packed, bits), levels)
    sums = np.full(n + 1, -1, np.int32)
    kernels.products(packed, 0, n, query, bits, sums)
    np.testing.assert_array_equal(sums[:n], twins.products(levels, query))
    assert sums[n] == -1
    first = n // 2
    kernels.products(packed, first, n, query, bits, sums)
    np.testing.assert_array_equal(sums[: n - first], twins.products(levels[first:], query))


def test_the_largest_sums_fit():
    dim = 4096
    query = np.full(dim, kernels.QUERY_LIMIT, np.int16)
    sums = np.zeros(1, np.int32)
    kernels.products(np.full((1, dim), 255, np.uint8), 0, 1, query, 8, sums)
    assert sums[0] == 255 * kernels.QUERY_LIMIT * dim


@given(seed=SEEDS, dim=DIMS, n=st.integers(0, 5))
def test_products_of_centroids(seed, dim, n):
    random = np.random.default_rng(seed)
    vectors = random.integers(-127, 128, (n, dim)).astype(np.int8)
    query = random.integers(-kernels.QUERY_LIMIT, kernels.QUERY_LIMIT + 1, dim).astype(np.int16)
    sums = np.zeros(n, np.int32)
    kernels.centroid_products(vectors, 0, n, query, sums)
    np.testing.assert_array_equal(sums, vectors.astype(np.int64) @ query)


@given(seed=SEEDS, bits=BITS, dim=DIMS, n=st.integers(0, 5))
def test_the_grid_leaves_the_least_error_of_its_steps(seed, bits, dim, n):
    residuals = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    codec = GridCodec(bits)
    codes, scales = codec.encode(residuals)
    assert codes.shape == (n, dim * bits // 8)
    errors = ((codec.decode(codes, scales, dim) - residuals) ** 2).sum(axis=1)
    factors = np.array(STEPS[bits], np.float32)
    for residual, error in zip(residuals, errors, strict=True):
        best = twins.best_grid_error(residual, bits, factors)
        assert error == pytest.approx(best, rel=2e-2, abs=1e-4 * dim)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_residual_of_zeros_is_decoded_to_zeros(bits):
    codec = GridCodec(bits)
    codes, scales = codec.encode(np.zeros((2, 16), np.float32))
    np.testing.assert_array_equal(codec.decode(codes, scales, 16), 0)


@given(seed=SEEDS, bits=BITS, n=st.integers(1, 9))
def test_scores_are_those_of_decoded_vectors(seed, bits, n):
    random = np.random.default_rng(seed)
    dim, codec = 24, GridCodec(bits)
    residuals = random.normal(size=(n, dim)).astype(np.float32)
    codes, scales = codec.encode(residuals)
    query = random.integers(-2000, 2000, dim).astype(np.int16)
    sums, scores = np.zeros(n, np.int32), np.zeros(n, np.float32)
    kernels.products(codes, 0, n, query, bits, sums)
    offset = (2**bits - 1) / 2 * float(query.sum())
    kernels.scores_of_products(
        sums, n, scales.view(np.uint16), 0, 0.25, 1e-3, offset, scores.view(np.uint32), scores
    )  # fmt: skip
    expected = 0.25 + codec.decode(codes, scales, dim) @ (query * np.float32(1e-3))
    np.testing.assert_allclose(scores, expected, atol=2e-3)
