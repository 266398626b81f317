"""The energy of each cluster: what is kept of it, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import unit_rows
from tests.indexing.test_stanford import write_stanford
from xtrkit.errors import IndexDamagedError
from xtrkit.index import Index
from xtrkit.indexing.codec import codec_named
from xtrkit.indexing.compressed_format import open_quantiser, write_quantiser
from xtrkit.indexing.postings import energies_of, train
from xtrkit.indexing.segments import RowsInMemory
from xtrkit.indexing.store import Store
from xtrkit.indexing.writer import compact
from xtrkit.values import Ragged


def rows_of(seed, n=400, dim=16):
    random = np.random.default_rng(seed)
    return RowsInMemory(Ragged(unit_rows(random, n, dim).astype(np.float16), np.full(n // 4, 4)))


def directly(vectors, assigned, n_clusters):
    """Mean squared distance to the mean, cluster by cluster, and that over all tokens where there are none."""
    clusters = [vectors[assigned == number] for number in range(n_clusters)]
    sums = [np.square(members - members.mean(axis=0)).sum() if len(members) else 0 for members in clusters]
    overall = sum(sums) / len(vectors)
    return [value / len(members) if len(members) else overall for value, members in zip(sums, clusters, strict=True)]


@pytest.mark.parametrize("codec", ["grid", "buckets"])
def test_energies_are_those_of_the_tokens_that_centroids_were_found_for(codec):
    rows = rows_of(3)
    quantiser, assigned = train(rows, codec_named(codec, 4))
    vectors = rows.documents.rows.astype(np.float64) @ quantiser.rotation
    np.testing.assert_allclose(quantiser.energies, directly(vectors, assigned, quantiser.n_clusters), atol=1e-5)


def test_clusters_without_tokens_have_the_energy_of_all():
    assert energies_of(np.array([2.0, 0.0, 4.0, -1e-9]), np.array([1, 0, 3, 1])).tolist() == pytest.approx(
        [2, 6 / 5, 4 / 3, 0]
    )
    assert energies_of(np.zeros(2), np.zeros(2, dtype=np.int64)).tolist() == [0, 0]


def test_energies_are_found_anew_with_new_centroids(tmp_path):
    documents = list(rows_of(4).documents)
    Index.create(tmp_path / "idx", [documents]).close()
    before = Store.open(tmp_path / "idx").quantiser.energies
    compact(tmp_path / "idx", retrain=False)
    assert (Store.open(tmp_path / "idx").quantiser.energies == before).all()
    with Index.open(tmp_path / "idx") as index, index.writer() as writer:
        writer.delete(list(index.ids())[:50])
    compact(tmp_path / "idx", retrain=True)
    after = Store.open(tmp_path / "idx").quantiser
    tokens = Store.open(tmp_path / "idx").segments[0].tokens
    assert len(after.energies) == after.n_clusters < len(before)
    everything = np.concatenate([tokens.vectors(slice(None))]) @ after.rotation
    residuals = np.square(everything - after.decoded_centroids[tokens.clusters_of(tokens.positions)]).sum(axis=1)
    assert after.energies.mean() == pytest.approx(residuals.mean(), rel=0.3)


def test_an_imported_index_has_the_energies_of_its_decoded_residuals(tmp_path):
    write_stanford(tmp_path / "stanford", 4)
    with Index.from_stanford(tmp_path / "idx", tmp_path / "stanford") as index:
        tokens = index._store.segments[0].tokens
        clusters = tokens.clusters_of(tokens.positions.astype(np.int64))
        residuals = tokens.vectors(slice(None)) - tokens.quantiser.decoded_centroids[clusters]
        sizes = np.bincount(clusters, minlength=tokens.n_clusters)
        sums = np.bincount(clusters, np.square(residuals).sum(axis=1), minlength=tokens.n_clusters)
        np.testing.assert_allclose(tokens.quantiser.energies, energies_of(sums, sizes), rtol=1e-4)


@pytest.mark.parametrize(
    ("energy", "why"), [(np.nan, "not finite"), (np.inf, "not finite"), (-1e-3, "less than nothing")]
)
def test_energies_that_can_be_none_are_damage(tmp_path, energy, why):
    quantiser, _ = train(rows_of(5), codec_named("grid", 4))
    energies = quantiser.energies.copy()
    energies[1] = energy
    write_quantiser(tmp_path, "codec", replace(quantiser, energies=energies))
    with pytest.raises(IndexDamagedError, match=why):
        open_quantiser(tmp_path / "codec", "grid", 4)
