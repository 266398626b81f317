"""The compressed index: what is in it, and what happens to bad input and damaged files."""

import json

import numpy as np
import pytest

from tests.compressed_corpus import batches_of, clustered, compressed
from tests.conftest import unit_rows
from xtrkit.errors import IndexFormatError, InputError
from xtrkit.indexing.codec import BucketCodec, GridCodec, check_bits, random_rotation
from xtrkit.indexing.compressed_format import HEADER, open_compressed
from xtrkit.indexing.postings import build
from xtrkit.token_retrieval.gather import decompress, token_rows
from xtrkit.values import Ragged

LENGTHS = [3, 1, 20, 7, 1, 30, 2, 40, 5, 9] * 8


@pytest.fixture(scope="module")
def corpus():
    return clustered(np.random.default_rng(1), LENGTHS)


@pytest.fixture(scope="module")
def index(corpus, tmp_path_factory):
    return compressed(tmp_path_factory.mktemp("compressed") / "index", corpus)


def test_postings_are_every_token_once_sorted_by_cluster_then_document(index, corpus):
    assert index.n_tokens == len(corpus.rows)
    assert index.n_documents == len(corpus)
    np.testing.assert_array_equal(np.sort(index.positions), np.arange(index.n_tokens))
    document_of = np.repeat(np.arange(len(corpus)), corpus.lengths)
    np.testing.assert_array_equal(index.documents[index.positions], document_of)
    for first, last in zip(index.offsets, index.offsets[1:], strict=False):
        assert (np.diff(index.documents[first:last]) >= 0).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_every_token_comes_back_about_as_it_was(tmp_path, corpus, bits):
    index = compressed(tmp_path / "index", corpus, bits)
    vectors = np.empty(corpus.rows.shape, np.float32)
    decompress(index, token_rows(index, np.arange(len(corpus))), vectors)
    errors = np.linalg.norm(vectors @ index.rotation.T - corpus.rows, axis=1)
    # The largest component of a residual decides the step; 0.4 is the noise of the corpus.
    assert errors.max() < {1: 0.5, 2: 0.25, 4: 0.06, 8: 0.004}[bits]


def test_batches_do_not_matter_and_the_same_seed_gives_the_same_files(tmp_path, corpus):
    compressed(tmp_path / "a", corpus, batch=1)
    compressed(tmp_path / "b", corpus, batch=1000)
    assert {file.name for file in (tmp_path / "a").iterdir()} == {file.name for file in (tmp_path / "b").iterdir()}
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    compressed(tmp_path / "c", corpus, seed=1)
    assert (tmp_path / "a" / "codes.bin").read_bytes() != (tmp_path / "c" / "codes.bin").read_bytes()


@pytest.mark.parametrize("lengths", [[1], [2], [1, 1], [1, 3, 1], [5]])
def test_tiny_collections(tmp_path, lengths):
    corpus = clustered(np.random.default_rng(0), lengths, dim=8)
    index = compressed(tmp_path / "index", corpus, 8)
    vectors = np.empty(corpus.rows.shape, np.float32)
    decompress(index, token_rows(index, np.arange(len(lengths))), vectors)
    np.testing.assert_allclose(vectors @ index.rotation.T, corpus.rows, atol=0.01)


def test_tokens_that_are_all_the_same_and_zeros(tmp_path):
    for name, row in (("same", np.full(8, 0.25)), ("zeros", np.zeros(8))):
        corpus = Ragged(np.tile(row, (40, 1)).astype(np.float32), np.full(10, 4))
        index = compressed(tmp_path / name, corpus)
        vectors = np.empty(corpus.rows.shape, np.float32)
        decompress(index, token_rows(index, np.arange(10)), vectors)
        np.testing.assert_allclose(vectors @ index.rotation.T, corpus.rows, atol=0.01)


@pytest.mark.parametrize(
    ("batches", "bits", "message"),
    [
        ([], 4, "no documents to index"),
        ([Ragged(np.zeros((0, 8), np.float32), np.zeros(0, np.int64))], 4, "no documents to index"),
        ([Ragged(np.ones((3, 8), np.float32), np.array([3, 0]))], 4, "Document number 1 has no token vectors"),
        ([Ragged(np.ones((2, 8), np.float32) * [[1], [np.nan]], np.array([1, 1]))], 4, "Document number 1 has NaN"),
        ([Ragged(np.full((2, 8), 1e6, np.float32), np.array([2]))], 4, "Document number 0 has NaN, infinity or a num"),
        ([Ragged(np.ones((2, 12), np.float32), np.array([2]))], 4, "8, 16, 24, .* got 12"),
        ([Ragged(np.ones((2, 8), np.float32), np.array([2]))], 3, "nbits must be 1, 2, 4 or 8, got 3"),
        ([Ragged(np.ones((1, d), np.float32), np.array([1])) for d in (8, 16)], 4, "16 dimensions, those before had 8"),
    ],
)
def test_bad_input(tmp_path, batches, bits, message):
    with pytest.raises(InputError, match=message):
        build(batches, tmp_path, bits)
    with pytest.raises(IndexFormatError, match="There is no compressed index"):
        open_compressed(tmp_path)


def test_no_temporary_file_stays(index, tmp_path, corpus):
    compressed(tmp_path / "index", corpus)
    files = list((tmp_path / "index").iterdir())
    assert index.size == sum(file.stat().st_size for file in files)


def test_damage_is_told(tmp_path, corpus):
    directory = tmp_path / "index"
    compressed(directory, corpus)
    codes = (directory / "codes.bin").read_bytes()
    (directory / "codes.bin").write_bytes(codes[:-1])
    with pytest.raises(IndexFormatError, match=r"codes\.bin is damaged \(\d+ bytes instead of \d+\)"):
        open_compressed(directory)
    (directory / "codes.bin").write_bytes(codes)
    sizes = np.fromfile(directory / "cluster_sizes.bin", "<i4")
    sizes[0] += 1
    sizes.tofile(directory / "cluster_sizes.bin")
    with pytest.raises(IndexFormatError, match=r"cluster_sizes\.bin is damaged \(sizes do not add up"):
        open_compressed(directory)
    header = json.loads((directory / HEADER).read_text())
    (directory / HEADER).write_text(json.dumps(header | {"version": 2}))
    with pytest.raises(IndexFormatError, match="has version 2 of the compressed format, this xtrkit reads 1"):
        open_compressed(directory)
    (directory / HEADER).write_text("{")
    with pytest.raises(IndexFormatError, match=r"compressed\.json is damaged"):
        open_compressed(directory)


def test_the_rotation_keeps_inner_products():
    rotation = random_rotation(24, 3)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(24), atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_bucket_codes_lie_as_stanford_colbert_writes_them(bits):
    random = np.random.default_rng(0)
    residuals = random.normal(size=(5, 16)).astype(np.float32)
    codec = BucketCodec.fit(random.normal(size=(1000, 16)).astype(np.float32), bits)
    codes, _ = codec.encode(residuals)
    # ColBERT's residual.py: bits of each bucket number from the least significant, then packbits.
    buckets = (residuals[:, :, np.newaxis] > codec.cutoffs).sum(axis=2)
    bit_rows = [[(bucket >> bit) & 1 for bucket in row for bit in range(bits)] for row in buckets.tolist()]
    np.testing.assert_array_equal(codes, np.packbits(np.array(bit_rows, np.uint8), axis=1))
    np.testing.assert_array_equal(codec.buckets(codes, 16), buckets)
    np.testing.assert_array_equal(codec.decode(codes, np.ones(5, np.float16), 16), codec.weights[buckets])


def test_buckets_are_quantiles():
    values = np.arange(101, dtype=np.float32).reshape(1, -1)
    codec = BucketCodec.fit(values, 1)
    np.testing.assert_array_equal(codec.cutoffs, [50])
    np.testing.assert_array_equal(codec.weights, [25, 75])
    codec = BucketCodec.fit(values, 2)
    np.testing.assert_array_equal(codec.cutoffs, [25, 50, 75])
    np.testing.assert_array_equal(codec.weights, [12.5, 37.5, 62.5, 87.5])


@pytest.mark.parametrize(("bits", "worse"), [(1, 1.0), (2, 1.0)])
def test_the_grid_is_closer_than_buckets(bits, worse):
    residuals = unit_rows(np.random.default_rng(0), 2000, 64) * np.random.default_rng(1).uniform(0.2, 1, (2000, 1))
    residuals = residuals.astype(np.float32)
    grid, buckets = GridCodec(bits), BucketCodec.fit(residuals, bits)
    error = {name: ((c.decode(*c.encode(residuals), 64) - residuals) ** 2).mean() for name, c in
             (("grid", grid), ("buckets", buckets))}  # fmt: skip
    assert error["grid"] < worse * error["buckets"]


def test_dimensions_that_can_be_used():
    check_bits(1, 8)
    check_bits(8, 4096)
    for dim in (0, 4, 4104):
        with pytest.raises(InputError, match="dimensions"):
            check_bits(4, dim)


def test_batches_are_read_once_and_counted(tmp_path, corpus):
    counted = []
    build(batches_of(corpus, 30), tmp_path, advance=counted.append)
    assert sum(counted) == len(corpus)
