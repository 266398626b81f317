import numpy as np
import pytest

from tests.conftest import unit_rows
from xtrkit.indexing.centroids import centroid_count, grouped, sums_by_cluster, train


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
    assert (train(rows, 32, 5).centroids == train(rows, 32, 5).centroids).all()
    assert (train(rows, 32, 5).centroids.shape != train(rows, 32, 6).centroids.shape) or (
        train(rows, 32, 5).centroids != train(rows, 32, 6).centroids
    ).any()


def test_assignment_finds_the_nearest_centroid():
    random = np.random.default_rng(2)
    rows = clustered_rows(random, 3000, centres=200)
    tree = train(rows, 256, 0)
    exact = (rows @ tree.centroids.T).argmax(axis=1)
    assert (tree.assign(rows, groups_probed=len(tree.groups)) == exact).all()
    assert (tree.assign(rows) == exact).mean() > 0.97


def test_assigning_nothing():
    tree = grouped(unit_rows(np.random.default_rng(0), 4, 8), 0)
    assert tree.assign(np.zeros((0, 8), dtype=np.float32)).shape == (0,)


def test_sums_by_cluster():
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    assert sums_by_cluster(rows, np.array([2, 0, 2, 2]), 4).tolist() == [[2, 3], [0, 0], [10, 13], [0, 0]]
