"""All tokens of a candidate against decoded vectors."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.made import STORAGES, asked, made
from xtrkit.kernels import reference_codes as twin
from xtrkit.kernels.gathering import sums_of_max

SEEDS = st.integers(0, 2**32 - 1)


def decoded(segment):
    """(M, d) the vectors that a segment stands for, by row."""
    postings, of_rows = segment.postings, segment.centroids.centroids.decoded().astype(np.float64)
    of_rows = of_rows.repeat(np.diff(postings.cluster_offsets), axis=0)
    scales = postings.halves.view(np.float16)
    if segment.codec is None:
        return of_rows + twin.decode(postings.codes, scales, segment.bits)
    values = np.rint(segment.codec.weights / postings.table.step) * np.float64(postings.table.step)
    return scales[:, np.newaxis] * (of_rows + twin.decode_buckets(postings.codes, segment.bits, values))


@given(
    SEEDS, st.integers(1, 40).map(lambda eighths: 8 * eighths), st.sampled_from(STORAGES),
    st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any), st.integers(0, 20),
)  # fmt: skip
def test_sums_of_max_equal_their_twin(seed, dim, storage, sizes, n):
    random = np.random.default_rng(seed)
    segment = made(random, sizes, dim, storage)
    query, vectors, rows = asked(random, n, segment), decoded(segment), segment.rows
    candidates = random.permutation(np.flatnonzero(np.diff(rows.document_offsets))).astype(np.int32)
    sums, most = np.empty(len(candidates)), random.choice([0.0, np.inf], n)
    sums_of_max(segment.postings, rows, segment.centroids.centroids, candidates, query, most, sums)
    # Centroids meet the integers of 12 bits, codes of up to 4 bits others: two queries, which need not be alike.
    of_centroids = query.tokens[:, :dim] * query.scales.astype(np.float64)[:, np.newaxis]
    met, step = query.tokens[:, :dim], np.float64(1) if segment.codec is None else segment.postings.table.step
    if segment.codec is None and segment.bits < 8:
        met = query.planes[:, :, : dim * segment.bits // 8].reshape(n, dim)
    of_codes = met * (query.code_scales.astype(np.float64) / step)[:, np.newaxis]
    centroids = segment.centroids.centroids.decoded().astype(np.float64)
    centroids = centroids.repeat(np.diff(segment.postings.cluster_offsets), axis=0)
    if segment.codec is not None:
        centroids *= segment.postings.halves.view(np.float16).astype(np.float64)[:, np.newaxis]
    similarities = of_centroids @ centroids.T + of_codes @ (vectors - centroids).T
    for document, total in zip(candidates, sums, strict=True):
        tokens = rows.positions[rows.document_offsets[document] : rows.document_offsets[document + 1]]
        expected = np.minimum(similarities[:, tokens].max(axis=1), most).sum()
        np.testing.assert_allclose(total, expected, atol=1e-5 * max(1, n))
