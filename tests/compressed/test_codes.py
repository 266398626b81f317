"""Kernels on codes against their twins: every width, every number of bits, empty runs, any query."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from xtrkit.errors import InputError
from xtrkit.indexing.codec import (
    BITS,
    STEPS,
    BucketCodec,
    GridCodec,
    check_bits,
    codec_named,
    name_of,
    random_rotation,
    unpack_planes,
)
from xtrkit.kernels import reference_codes as twin
from xtrkit.kernels import tables as of_tables
from xtrkit.kernels.bundles import QUERY_LIMIT, Run

seeds = st.integers(0, 2**32 - 1)


# A part of kernels, which only kernels can call.
@njit
def table_products(codes, run, query, table, sums):
    of_tables.table_products(codes, run, query, table, sums)


dims = st.integers(1, 49).map(lambda eighths: 8 * eighths)
bits_of = st.sampled_from(BITS)


@given(seeds, dims, bits_of, st.integers(0, 6))
def test_grid_codes_are_the_best_that_were_tried(seed, dim, bits, n):
    residuals = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    codes, scales = GridCodec(bits).encode(residuals, np.zeros_like(residuals))
    assert codes.shape == (n, dim * bits // 8)
    assert (unpack_planes(codes, bits) == twin.unpack(codes, bits)).all()
    decoded = GridCodec(bits).decode(codes, scales, np.zeros_like(residuals))
    np.testing.assert_allclose(decoded, twin.decode(codes, scales, bits), rtol=1e-6, atol=1e-6)
    for residual, back in zip(residuals, decoded, strict=True):
        least = float(residual @ residual) - twin.best_gain(residual, bits, STEPS[bits])
        assert float(((residual - back) ** 2).sum()) <= least + 2e-3 * float(residual @ residual)


@pytest.mark.parametrize(("bits", "most"), [(1, 0.62), (2, 0.36), (4, 0.11), (8, 0.01)])
def test_error_of_the_grid_on_gaussian_residuals(bits, most):
    residuals = np.random.default_rng(0).normal(size=(500, 128)).astype(np.float32)
    centroids = np.ones_like(residuals)
    back = GridCodec(bits).decode(*GridCodec(bits).encode(residuals + 1, centroids), centroids) - 1
    assert np.sqrt(((back - residuals) ** 2).mean()) < most


def test_a_zero_residual_stays_zero():
    codec = GridCodec(4)
    zeros = np.zeros((2, 16), dtype=np.float32)
    assert (codec.decode(*codec.encode(zeros, zeros), zeros) == 0).all()


@given(seeds, dims, bits_of, st.integers(0, 6))
def test_buckets_round_trip_in_stanfords_bit_order(seed, dim, bits, n):
    """Oracle 9: unpack(pack(bucket numbers)) are the bucket numbers."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n, dim)).astype(np.float32)
    centroids = random.normal(size=(n, dim)).astype(np.float32)
    codec = BucketCodec(bits).fitted(random.normal(size=(50, dim)).astype(np.float32))
    codes, scales = codec.encode(vectors, centroids)
    assert codes.shape == (n, dim * bits // 8)
    buckets = codec.buckets(codes)
    assert (buckets == (vectors - centroids > codec.cutoffs[:, np.newaxis, np.newaxis]).sum(axis=0)).all()
    assert (buckets == twin.stanford_buckets(codes, bits)).all()
    back = codec.decode(codes, scales, centroids)
    longer = centroids + codec.weights[buckets]
    np.testing.assert_allclose(back, longer / np.linalg.norm(longer, axis=1, keepdims=True), atol=1e-3)


def test_bucket_bytes_by_hand():
    codec = BucketCodec(2, np.array([-1, 0, 1], np.float32), np.array([-2, -0.5, 0.5, 2], np.float32))
    residuals = np.array([[-3, -0.5, 0.5, 3, -1, 0, 1, 1.5]], dtype=np.float32)
    codes, scales = codec.encode(residuals, np.zeros_like(residuals))
    # Buckets 0 1 2 3 | 0 1 2 3 (a value on a border belongs below it); 1 is emitted as "10", 2 as "01".
    assert codes.tolist() == [[0b00_10_01_11, 0b00_10_01_11]]
    assert scales.tolist() == [np.float16(17**-0.5)]  # |(-2, -0.5, 0.5, 2)|² twice


def test_quantiles_of_one_bit_are_median_and_quartiles():
    """Oracle 10."""
    codec = BucketCodec(1).fitted(np.arange(101, dtype=np.float32).reshape(1, -1))
    assert (codec.cutoffs.tolist(), codec.weights.tolist()) == ([50], [25, 75])


def test_quantiles_of_two_bits():
    codec = BucketCodec(2).fitted(np.arange(801, dtype=np.float32).reshape(1, -1))
    assert (codec.cutoffs.tolist(), codec.weights.tolist()) == ([200, 400, 600], [100, 300, 500, 700])


def tables(random, bits, dim):
    codec = BucketCodec(bits).fitted(random.normal(size=(40, dim)).astype(np.float32))
    return codec, codec.table(dim)


@given(seeds, dims, bits_of, st.integers(0, 9), st.integers(0, 9))
def test_products_by_table_equal_their_twin(seed, dim, bits, first, count):
    random = np.random.default_rng(seed)
    codec, table = tables(random, bits, dim)
    codes = random.integers(0, 256, (first + count + 1, dim * bits // 8), dtype=np.uint8)
    query = random.integers(-QUERY_LIMIT, QUERY_LIMIT + 1, dim).astype(np.int16)
    sums = np.zeros(count + 1, dtype=np.int32)
    table_products(codes, Run(first, first + count, 0), query, table, sums)
    levels = np.rint(codec.weights / table.step)
    expected = twin.decode_buckets(codes[first : first + count], bits, levels) @ query
    assert sums[:count].tolist() == expected.tolist()
    assert sums[count] == 0
    assert np.abs(levels * table.step - codec.weights).max() <= table.step * 0.501


@pytest.mark.parametrize("bits", BITS)
def test_products_by_table_do_not_overflow_at_the_widest_vectors(bits):
    weights = np.full(2**bits, 3.0, dtype=np.float32)
    table = BucketCodec(bits, np.zeros(2**bits - 1, dtype=np.float32), weights).table(4096)
    sums = np.zeros(1, dtype=np.int32)
    query = np.full(4096, QUERY_LIMIT, dtype=np.int16)
    codes = np.zeros((1, 4096 * bits // 8), dtype=np.uint8)
    table_products(codes, Run(0, 1, 0), query, table, sums)
    assert sums[0] == table.largest * QUERY_LIMIT * 4096
    assert table.largest * table.step == pytest.approx(3)


def test_buckets_that_are_all_zero():
    table = BucketCodec(4).fitted(np.zeros((3, 8), dtype=np.float32)).table(8)
    assert not table.levels.any()
    assert table.step == 1


@pytest.mark.parametrize("wrong", [{"cutoffs": 4}, {"weights": 3}])
def test_buckets_that_do_not_fit_their_bits(wrong):
    sizes = {"cutoffs": 3, "weights": 4} | wrong
    with pytest.raises(InputError, match="Buckets of 2 bits need 3 cutoffs and 4 weights"):
        BucketCodec(2, **{name: np.zeros(size, dtype=np.float32) for name, size in sizes.items()})


def test_codecs_by_name():
    for name in ("grid", "buckets"):
        assert name_of(codec_named(name, 2)) == name
    with pytest.raises(InputError, match="Unknown codec 'pq': use 'grid' or 'buckets'"):
        codec_named("pq", 4)


def test_rotation_is_orthogonal_and_seeded():
    rotation = random_rotation(24, 3)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(24), atol=1e-6)
    assert (rotation == random_rotation(24, 3)).all()


@pytest.mark.parametrize(("bits", "dim", "message"), [(3, 8, "nbits must be"), (4, 12, "multiple of 8")])
def test_bits_and_dimensions_that_cannot_be_packed(bits, dim, message):
    with pytest.raises(InputError, match=message):
        check_bits(bits, dim)
