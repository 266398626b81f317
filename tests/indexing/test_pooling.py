"""Token pooling and fewer dimensions: what of a text's vectors is kept, and that it is the same however it comes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from tests.conftest import unit_rows
from xtrkit.cluster.splitting import split_index
from xtrkit.errors import IndexDamagedError, InputError
from xtrkit.index import Index
from xtrkit.indexing import pooling as pools
from xtrkit.indexing.estimate import estimated
from xtrkit.indexing.postings import principal_directions
from xtrkit.indexing.store import Properties
from xtrkit.storage.generations import pin
from xtrkit.values import Pooling, Ragged

DIM = 32
RANDOM = np.random.default_rng(5)


def text(n_tokens, dim=DIM, spread=0.6, seed=None):
    """Token vectors that have something in common, as those of a text."""
    random = RANDOM if seed is None else np.random.default_rng(seed)
    rows = unit_rows(random, 1, dim) + spread * unit_rows(random, n_tokens, dim)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


DOCUMENTS = [text(n, seed=n) for n in (1, 2, 3, 5, 8, 13, 21, 34, 40, 41)]


def halves(document):
    return np.asarray(document, dtype=np.float16)


def pooled_rows(document, factor, protected=0):
    (rows,) = pools.pooled(Ragged.from_arrays([halves(document)]), Pooling(factor, protected))
    return rows


def kept(index):
    return [index.vectors(number) for number in range(len(index))]


def created(path, documents=DOCUMENTS, **options):
    return Index.create(path, [documents], **options)


@given(st.integers(2, 40), st.integers(2, 6), st.integers(0, 1000))
def test_groups_are_those_of_wards_method(n_tokens, factor, seed):
    document = halves(text(n_tokens, seed=seed))
    groups = pools.groups_of(document, Pooling(factor))
    units = document.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    expected = fcluster(linkage(units, "ward"), max(1, n_tokens // factor), "maxclust")
    together = groups[:, None] == groups
    np.testing.assert_array_equal(together, expected[:, None] == expected)
    firsts = [int(np.flatnonzero(groups == group)[0]) for group in range(groups.max() + 1)]
    assert firsts == sorted(firsts)


@given(st.integers(1, 50), st.integers(2, 60), st.integers(0, 60))
def test_a_vector_is_kept_for_so_many_tokens_and_one_at_least(n_tokens, factor, protected):
    rows = pooled_rows(text(n_tokens), factor, protected)
    apart = min(protected, n_tokens)
    assert len(rows) == apart + (max(1, (n_tokens - apart) // factor) if n_tokens > apart else 0)
    assert len(rows) == pools.pooled_count(n_tokens, Pooling(factor, protected))


def test_the_first_tokens_stay_where_they_are_to_the_last_bit():
    document = halves(np.tile(text(1), (9, 1)))  # nothing could be more alike
    document[:3] = halves(text(3))
    rows = pooled_rows(document, 3, protected=2)
    np.testing.assert_array_equal(rows[:2], document[:2])
    assert len(rows) == 2 + 7 // 3


def test_a_group_has_the_direction_of_its_sum_and_its_members_mean_length():
    document = 4 * text(30) * RANDOM.uniform(0.5, 2, size=(30, 1)).astype(np.float32)
    groups, rows = pools.groups_of(halves(document), Pooling(3)), pooled_rows(document, 3)
    for group, row in enumerate(rows.astype(np.float64)):
        members = halves(document)[groups == group].astype(np.float64)
        total = members.sum(axis=0)
        np.testing.assert_allclose(row @ total, np.linalg.norm(row) * np.linalg.norm(total), rtol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(row), np.linalg.norm(members, axis=1).mean(), rtol=1e-3)


def test_of_vectors_without_a_common_direction_the_first_stands_for_all():
    row = text(1)
    np.testing.assert_array_equal(pooled_rows(np.concatenate([row, -row]), 2), halves(row))


def test_a_very_long_text_is_pooled_in_parts(monkeypatch):
    monkeypatch.setattr(pools, "MOST_TOGETHER", 10)
    document = text(25)
    rows = pooled_rows(document, 2, protected=1)
    assert len(rows) == 1 + 5 + 5 + 2 == pools.pooled_count(25, Pooling(2, 1))
    np.testing.assert_array_equal(rows[1:6], pooled_rows(document[1:11], 2))


def test_a_factor_of_one_changes_no_bit(tmp_path):
    plain, same = created(tmp_path / "plain"), created(tmp_path / "same", pool_factor=1, protected_tokens=3, dim=DIM)
    files = [[file.sha256 for file in pin(index.path).manifest.files] for index in (plain, same)]
    assert files[0][0] == files[1][0]  # vectors
    assert pin(plain.path).manifest.codec.sha256 == pin(same.path).manifest.codec.sha256
    assert pin(plain.path).manifest.properties == pin(same.path).manifest.properties
    assert same.pooling is None
    assert same.code_dim == DIM


@pytest.mark.parametrize("nbits", [16, 4])
def test_batches_threads_and_later_additions_pool_alike(tmp_path, nbits):
    options = {"nbits": nbits, "pool_factor": 2, "protected_tokens": 1}
    whole = created(tmp_path / "whole", threads=1, **options)
    lengths = [pools.pooled_count(len(document), Pooling(2, 1)) for document in DOCUMENTS]
    assert np.diff(whole.document_offsets).tolist() == lengths
    one_by_one = Index.create(tmp_path / "parts", ([document] for document in DOCUMENTS), threads=3, **options)
    later = created(tmp_path / "later", DOCUMENTS[:4], **options)
    with later.writer() as writer:
        writer.add([str(number) for number in range(4, len(DOCUMENTS))], DOCUMENTS[4:])
    later.refresh()
    assert later.pooling == whole.pooling == Pooling(2, 1)
    for row, same, added in zip(kept(whole), kept(one_by_one), kept(later), strict=True):
        np.testing.assert_array_equal(row, same)
        if nbits == 16:
            np.testing.assert_array_equal(row, added)
        assert len(row) == len(added)


def test_a_build_that_pools_goes_on_with_none_that_does_not(tmp_path):
    def stopping(first):
        yield DOCUMENTS[first:5]
        if first == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.create(tmp_path / "idx", stopping, nbits=16)
    assert (tmp_path / ".idx.building").exists()
    asked = []

    def rest(first):
        asked.append(first)
        return iter([DOCUMENTS[first:]])

    index = Index.create(tmp_path / "idx", rest, nbits=16, pool_factor=2)
    assert asked == [0]
    assert len(index.vectors(9)) == 20


def test_clusters_pool_as_their_index(tmp_path):
    index = created(tmp_path / "idx", pool_factor=3, dim=16)
    split_index(index.path, tmp_path / "cluster", 2)
    with Index.open(tmp_path / "cluster") as cluster:
        assert (cluster.pooling, cluster.code_dim, cluster.dim) == (Pooling(3), 16, DIM)
        assert cluster.search(DOCUMENTS[6], 3).ids == index.search(DOCUMENTS[6], 3).ids
        with cluster.writer() as writer:
            writer.add(["new"], [text(30)])
        cluster.refresh()
        assert len(cluster.vectors(cluster.number("new"))) == 10


def test_k_prime_counts_tokens(tmp_path):
    index = created(tmp_path / "idx", pool_factor=2)
    assert index.search(DOCUMENTS[5], 1, k_prime=40).k_prime == 20
    assert index.search(DOCUMENTS[5], 1, k_prime=1).k_prime == 1


@pytest.mark.parametrize("codec", ["grid", "buckets"])
def test_vectors_of_few_directions_lose_nothing_with_the_others(tmp_path, codec):
    few = principal_directions(RANDOM.normal(size=(100, DIM)).astype(np.float32), 8)
    documents = [text(n, dim=8, spread=2) @ few.T for n in RANDOM.integers(2, 12, size=40)]
    exact = created(tmp_path / "exact", documents, nbits=16)
    index = created(tmp_path / "idx", documents, nbits=8, codec=codec, dim=8)
    assert (index.dim, index.code_dim) == (DIM, 8)
    for document, row in zip(documents, kept(index), strict=True):
        np.testing.assert_allclose(row, document, atol=0.03)
    query = documents[7] + np.float32(0.01) * text(len(documents[7]))
    expected = exact.search(query, 10, nprobe="all")
    found = index.search(query, 10, nprobe="all")
    assert found.ids[0] == expected.ids[0] == "7"
    np.testing.assert_allclose(found.scores[:3], expected.scores[:3], atol=0.03)
    assert np.isinf(index.similarity_error_bounds(query)).all()


def test_vectors_stay_as_long_as_they_were(tmp_path):
    index = created(tmp_path / "idx", nbits=8, dim=16)
    for row in kept(index):
        np.testing.assert_allclose(np.linalg.norm(row, axis=1), 1, atol=0.05)


def test_what_is_added_or_found_anew_keeps_as_many_dimensions(tmp_path):
    index = created(tmp_path / "idx", nbits=8, dim=16)
    with index.writer() as writer:
        writer.add(["new"], [text(9)])
    index.refresh()
    before = index.vectors(len(index) - 1)
    index.compact(retrain=True)
    assert (index.dim, index.code_dim) == (DIM, 16)
    np.testing.assert_allclose(index.vectors(len(index) - 1), before, atol=0.05)
    assert not index.verify(full=True).problems
    with pytest.raises(InputError, match="The query has 16 dimensions, the index 32"):
        index.search(text(3, dim=16))


def test_a_device_searches_what_kernels_search(tmp_path):
    pytest.importorskip("torch")
    index = created(tmp_path / "idx", pool_factor=2, dim=16)
    with Index.open(index.path, device="cpu") as there:
        expected, found = index.search(DOCUMENTS[8], 5), there.search(DOCUMENTS[8], 5)
    assert found.ids == expected.ids
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool_factor": 0}, "pool_factor must be a whole number of at least 1, got 0"),
        ({"pool_factor": 1.5}, "pool_factor must be a whole number of at least 1, got 1.5"),
        ({"pool_factor": True}, "pool_factor must be a whole number of at least 1, got True"),
        ({"pool_factor": 2, "protected_tokens": -1}, "protected_tokens must be a whole number of at least 0, got -1"),
        ({"dim": 12}, "dim must be a multiple of 8, from 8 to 4096, got 12"),
        ({"dim": 0}, "dim must be a multiple of 8, from 8 to 4096, got 0"),
        ({"dim": "64"}, "dim must be a multiple of 8, from 8 to 4096, got '64'"),
        ({"dim": 64}, "The vectors have 32 dimensions, of which 64 can't be kept"),
        ({"dim": 16, "nbits": 16}, "An exact index keeps vectors as they are: leave dim out"),
    ],
)
def test_what_can_not_be_is_refused_and_leaves_nothing(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        created(tmp_path / "idx", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"pooling": {"factor": 0, "protected": 0}},
        {"pooling": {"factor": 2}, "code_dim": "16"},
        {"pooling": {"factor": 2, "protected": 1, "more": 1}},
        {"pooling": 2},
        {"code_dim": DIM},
        {"code_dim": 0},
    ],
)
def test_a_manifest_that_says_otherwise_is_damaged(tmp_path, wrong):
    index = created(tmp_path / "idx")
    manifest = pin(index.path).manifest
    assert Properties.of(manifest, index.path).pooling is None
    with pytest.raises(IndexDamagedError):
        Properties.of(replace(manifest, properties={**manifest.properties, **wrong}), index.path)


def test_estimates_know_of_dimensions():
    whole, fewer = estimated(100_000, 1000, 0, 128, 4), estimated(100_000, 1000, 0, 128, 4, 64)
    assert whole.index - fewer.index > 3_000_000
    assert whole.building > fewer.building
