"""Clustering and assignment."""

import numpy as np
import pytest

from tests.compressed_corpus import clustered
from xtrkit.indexing import centroids


def test_the_count_is_colberts_rule_within_reason():
    assert centroids.centroid_count(661_116) == 2**13
    assert centroids.centroid_count(10_000_000) == 2**15
    assert [centroids.centroid_count(n) for n in (1, 3, 4, 100)] == [1, 1, 1, 16]


def test_most_tokens_are_assigned_to_their_nearest_centroid():
    rows = np.random.default_rng(0).normal(size=(6000, 16)).astype(np.float32)
    tree = centroids.train(rows, 256, 0)
    products = rows @ tree.centroids.T
    nearest = products.argmax(axis=1)
    assert (tree.assign(rows, len(tree.groups)) == nearest).mean() > 0.999
    # Noise without any structure is the hardest case.
    assert (tree.assign(rows) == nearest).mean() > 0.9


def test_training_is_reproducible():
    rows = clustered(np.random.default_rng(0), [500]).rows
    one, two = centroids.train(rows, 32, 5), centroids.train(rows, 32, 5)
    np.testing.assert_array_equal(one.centroids, two.centroids)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_vectors_than_centroids(n):
    tree = centroids.train(clustered(np.random.default_rng(0), [n]).rows, 8, 0)
    assert 1 <= len(tree.centroids) <= 8
    assert np.isfinite(tree.centroids).all()
    assert (tree.assign(np.ones((3, 16), np.float32)) < len(tree.centroids)).all()


def test_more_rounds_leave_smaller_residuals():
    rows = clustered(np.random.default_rng(0), [3000]).rows
    tree = centroids.train(rows, 64, 0)
    random_rows = rows[np.random.default_rng(1).choice(len(rows), 64, replace=False)]
    assert (rows @ tree.centroids.T).max(axis=1).mean() > (rows @ random_rows.T).max(axis=1).mean()
