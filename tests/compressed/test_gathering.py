"""All tokens of a candidate against their twins."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.indexing.codec import BITS
from xtrkit.kernels import reference_codes as twin
from xtrkit.kernels.gathering import ROWS_PER_MARK, decompress_rows, sums_of_best

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 40).map(lambda eighths: 8 * eighths), st.sampled_from(BITS), st.integers(0, 9))
def test_rows_are_their_centroid_and_residual(seed, dim, bits, n):
    random = np.random.default_rng(seed)
    sizes = random.integers(0, 60, 7)
    sizes[3] += 1
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    codes = random.integers(0, 256, (offsets[-1], dim * bits // 8), dtype=np.uint8)
    scales = random.random(offsets[-1]).astype(np.float16)
    centroids, centroid_scales = random.integers(-127, 128, (7, dim)).astype(np.int8), np.float32(random.random(7))
    marks = np.searchsorted(offsets, np.arange(0, offsets[-1], ROWS_PER_MARK), side="right") - 1
    rows = random.integers(0, offsets[-1], n).astype(np.uint32)
    vectors = np.empty((n, dim), dtype=np.float32)
    decompress_rows(
        codes, bits, centroids, centroid_scales, offsets, marks.astype(np.int32), rows,
        scales[rows].astype(np.float32), vectors,
    )  # fmt: skip
    clusters = np.repeat(np.arange(7), sizes)[rows]
    expected = centroids[clusters] * centroid_scales[clusters, np.newaxis] + twin.decode(codes, scales, bits)[rows]
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-4)


@given(seeds, st.lists(st.integers(0, 5), max_size=5), st.integers(0, 20))
def test_sums_of_best(seed, lengths, n):
    random = np.random.default_rng(seed)
    query, tokens = random.normal(size=(n, 8)), random.normal(size=(sum(lengths), 8))
    offsets, sums = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.empty(len(lengths))
    sums_of_best((tokens @ query.T).astype(np.float32), offsets, sums)
    expected = [twin.sum_of_max(tokens[a:b], query) if b > a else 0 for a, b in pairwise(offsets)]
    np.testing.assert_allclose(sums, expected, atol=1e-5)
