"""All tokens of a candidate against their twins."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.indexing.codec import BITS, BucketCodec
from xtrkit.kernels import reference_codes as twin
from xtrkit.kernels.bundles import DocumentRows, Postings, QuantisedQuery, ScaledVectors, shifts_of
from xtrkit.kernels.codes import QUERY_LIMIT
from xtrkit.kernels.gathering import ROWS_PER_MARK, IntegerVectors, decompress_row, sums_of_max
from xtrkit.kernels.tables import NO_TABLE

seeds = st.integers(0, 2**32 - 1)
dims = st.integers(1, 40).map(lambda eighths: 8 * eighths)


def clusters_of(random, sizes, dim, bits, codec=None):
    """Postings of clusters of some sizes, marks, the centroids, and the (M, d) vectors that they stand for."""
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    codes = random.integers(0, 256, (offsets[-1], dim * bits // 8), dtype=np.uint8)
    scales = (random.random(offsets[-1]) / 2**bits).astype(np.float16)
    centroids = random.integers(-127, 128, (len(sizes), dim)).astype(np.int8)
    centroids = ScaledVectors(centroids, np.float32(random.random(len(sizes)) / 127))
    documents, table = np.zeros(offsets[-1], dtype=np.int32), codec.table(dim) if codec else NO_TABLE
    marks = np.searchsorted(offsets, np.arange(0, offsets[-1], ROWS_PER_MARK), side="right") - 1
    of_rows = centroids.decoded().repeat(sizes, axis=0)
    if codec is None:
        vectors = of_rows + twin.decode(codes, scales, bits)
    else:
        values = np.rint(codec.weights / table.step) * table.step
        vectors = scales[:, np.newaxis] * (of_rows + twin.decode_buckets(codes, bits, values))
    postings = Postings(codes, scales.view(np.uint16), documents, offsets, shifts_of(bits), table)
    return postings, marks.astype(np.int32), centroids, vectors


@given(seeds, dims, st.sampled_from(BITS))
def test_a_row_is_its_centroid_and_residual(seed, dim, bits):
    random = np.random.default_rng(seed)
    postings, _, centroids, vectors = clusters_of(random, [3], dim, bits)
    found = IntegerVectors(np.zeros((2, dim), np.int16), np.zeros(2, np.float32), np.float32(QUERY_LIMIT))
    scale = np.float32(postings.halves.view(np.float16)[2])
    decompress_row(postings.codes, 2, bits, centroids, 0, scale, found, 1)
    assert np.abs(found.levels).max() <= QUERY_LIMIT
    assert not found.levels[0].any()
    np.testing.assert_allclose(found.levels[1] * found.steps[1], vectors[2], atol=0.51 * found.steps[1])


@given(
    seeds, dims, st.sampled_from(BITS), st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 20),
    st.booleans(),
)  # fmt: skip
def test_sums_of_max_equal_their_twin(seed, dim, bits, lengths, n, by_table):
    random = np.random.default_rng(seed)
    sizes = random.multinomial(sum(lengths) + 200, [0.2] * 5)
    codec = BucketCodec(bits).fitted(random.normal(size=(40, dim)).astype(np.float32)) if by_table else None
    postings, marks, centroids, vectors = clusters_of(random, sizes, dim, bits, codec)
    positions = random.permutation(sum(sizes))[: sum(lengths)].astype(np.uint32)
    documents = np.concatenate([[0], np.cumsum(lengths)])
    tokens = random.integers(-QUERY_LIMIT, QUERY_LIMIT + 1, (n, dim)).astype(np.int16)
    query = QuantisedQuery(tokens, np.float32(random.random(n) / QUERY_LIMIT / dim), np.zeros(n, np.float32))
    candidates = random.permutation(len(lengths)).astype(np.int32)
    sums, most = np.empty(len(lengths)), random.choice([0.0, np.inf], n)
    sums_of_max(postings, DocumentRows(positions, documents, marks), centroids, candidates, query, most, sums)
    for document, total in zip(candidates, sums, strict=True):
        of_document = vectors[positions[documents[document] : documents[document + 1]]]
        expected = twin.sum_of_max(of_document, tokens * query.scales.astype(np.float64)[:, np.newaxis], most)
        np.testing.assert_allclose(total, expected, atol=1e-3 * max(1, n))


def test_the_widest_vectors_do_not_overflow():
    dim = 4096
    one, of_one, sums = np.float32([1]), np.array([0, 1]), np.empty(1)
    codes, halves = np.full((1, dim), 255, dtype=np.uint8), np.float16([1]).view(np.uint16)
    postings = Postings(codes, halves, np.int32([0]), of_one, shifts_of(8), NO_TABLE)
    rows = DocumentRows(np.uint32([0]), of_one, np.int32([0]))
    centroids = ScaledVectors(np.full((1, dim), 127, dtype=np.int8), one)
    query = QuantisedQuery(np.full((1, dim), QUERY_LIMIT, dtype=np.int16), one, one)
    sums_of_max(postings, rows, centroids, np.int32([0]), query, np.array([np.inf]), sums)
    np.testing.assert_allclose(sums, (127 + 127.5) * QUERY_LIMIT * dim, rtol=1e-2)
