import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import unit_rows
from xtrkit.indexing.centroids import centroid_count, grouped, train
from xtrkit.indexing.workers import Workers
from xtrkit.kernels.encoding import add_by_cluster, members_of_groups, place_by_cluster

seeds = st.integers(0, 2**32 - 1)


def clustered_rows(random, n, dim=16, centres=12):
    middle = unit_rows(random, centres, dim)
    rows = middle[random.integers(0, centres, n)] + 0.1 * random.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("tokens", "count"), [(1, 1), (3, 1), (4, 1), (40, 8), (661_116, 8192), (10_000_000, 32768)])
def test_count_rule(tokens, count):
    assert centroid_count(tokens) == count


@pytest.mark.parametrize("n", [1, 2, 5, 300])
@pytest.mark.parametrize("k", [1, 2, 40])
def test_any_size_gives_a_tree(n, k):
    tree = train(clustered_rows(np.random.default_rng(n), n), k, seed=1)
    assert 1 <= len(tree.centroids) <= max(k, 8)
    assert tree.offsets[-1] == len(tree.centroids)
    assert np.isfinite(tree.centroids).all()


def test_equal_rows_are_no_obstacle():
    tree = train(np.ones((50, 8), dtype=np.float32), 16, seed=0)
    assert len(set(tree.assign(np.ones((3, 8), dtype=np.float32)).tolist())) == 1


def test_same_seed_same_centroids():
    rows = clustered_rows(np.random.default_rng(0), 500)
    assert (train(rows.copy(), 32, 5).centroids == train(rows.copy(), 32, 5).centroids).all()
    assert (train(rows.copy(), 32, 5).centroids.shape != train(rows.copy(), 32, 6).centroids.shape) or (
        train(rows.copy(), 32, 5).centroids != train(rows.copy(), 32, 6).centroids
    ).any()


def test_assignment_finds_the_nearest_centroid():
    random = np.random.default_rng(2)
    rows = clustered_rows(random, 3000, centres=200)
    tree = train(rows, 256, 0)
    exact = (rows @ tree.centroids.T).argmax(axis=1)
    assert (tree.assign(rows, groups_probed=len(tree.groups), margin=2.0) == exact).all()
    assert (tree.assign(rows) == exact).mean() > 0.97


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_vectors_of_any_length_are_assigned_alike(scale):
    rows = clustered_rows(np.random.default_rng(6), 2000, centres=150)
    tree = train(rows, 256, 0)
    assert (tree.assign(rows * np.float32(scale)) == tree.assign(rows)).mean() > 0.999


def test_assigning_nothing():
    tree = grouped(unit_rows(np.random.default_rng(0), 4, 8), 0)
    assert tree.assign(np.zeros((0, 8), dtype=np.float32)).shape == (0,)


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads_finds_the_same_centroids(threads):
    rows = clustered_rows(np.random.default_rng(3), 3000, centres=100)
    alone = train(rows.copy(), 128, 4)
    with Workers(threads) as workers:
        together = train(rows.copy(), 128, 4, workers=workers)
    assert (alone.centroids == together.centroids).all()
    assert (alone.groups == together.groups).all()


@given(seeds, st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.sampled_from([0.0, 0.1, 0.5, 9.0]))
def test_members_of_groups_are_the_most_alike_within_the_margin(seed, n_rows, n_groups, most, margin):
    random, most = np.random.default_rng(seed), min(most, n_groups)
    similar = random.choice(np.linspace(-1, 1, 21), (n_rows, n_groups)).astype(np.float32)  # some are equal
    members, bounds = np.empty(n_rows * most, dtype=np.int64), np.empty(n_groups + 1, dtype=np.int64)
    margins = random.choice([margin, margin / 2], n_rows).astype(np.float32)
    members_of_groups(similar, most, margins, members, bounds)
    groups_of = [[] for _ in range(n_rows)]
    for group in range(n_groups):
        found = members[bounds[group] : bounds[group + 1]]
        assert (np.diff(found) > 0).all()
        for row in found:
            groups_of[row].append(group)
    for row, groups, margin_of_row in zip(similar, groups_of, margins, strict=True):
        near = np.flatnonzero(row > row.max() - margin_of_row)
        nearest = near[np.argsort(-row[near], kind="stable")][:most] if len(near) else [row.argmax()]
        assert sorted(groups) == sorted(nearest)


@given(seeds, st.integers(0, 30), st.integers(1, 6))
def test_sums_by_cluster(seed, n_rows, n_clusters):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n_rows, 8)).astype(np.float32)
    assigned = random.integers(0, n_clusters, n_rows).astype(np.int32)
    sums = np.zeros((n_clusters, 8))
    add_by_cluster(rows, assigned, sums)
    expected = [rows[assigned == cluster].astype(np.float64).sum(axis=0) for cluster in range(n_clusters)]
    np.testing.assert_allclose(sums, expected, rtol=1e-12, atol=1e-12)


@given(seeds, st.integers(0, 60), st.integers(1, 7))
def test_places_by_cluster_are_a_stable_sort(seed, n_tokens, n_clusters):
    assigned = np.random.default_rng(seed).integers(0, n_clusters, n_tokens).astype(np.int32)
    sizes, positions = np.zeros(n_clusters, dtype=np.int64), np.empty(n_tokens, dtype=np.uint32)
    place_by_cluster(assigned, sizes, positions)
    assert sizes.tolist() == np.bincount(assigned, minlength=n_clusters).tolist()
    assert np.argsort(positions).tolist() == np.argsort(assigned, kind="stable").tolist()
