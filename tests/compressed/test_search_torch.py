"""The search on a torch device against the search by kernels; on the CPU here, and on a GPU where there is one."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.compressed.building import built
from tests.conftest import unit_rows
from tests.test_segments import part_of
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.kernels.bundles import Centroids, ChosenClusters, Probes, QuantisedQuery, ScaledVectors
from xtrkit.kernels.choosing import STEPS
from xtrkit.kernels.expectation import expected_kth_scores
from xtrkit.kernels.summing import kth_scores
from xtrkit.recipes import XTR
from xtrkit.search import device_clusters
from xtrkit.search.compressed import CompressedEngine
from xtrkit.search.device import DeviceEngine
from xtrkit.search.device_clusters import Opened
from xtrkit.token_retrieval.corpus import ClusteredCorpus
from xtrkit.values import Ragged, Segment, offsets_of

LENGTHS = [3, 1, 7, 2, 5, 4, 1, 6] * 5
LIVE = np.random.default_rng(30).random(40) < 0.8
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
KINDS = ["one segment", "three segments, some dead"]


@pytest.fixture(scope="module", params=[("grid", 1), ("grid", 2), ("grid", 4), ("grid", 8), ("buckets", 4)])
def index(request, tmp_path_factory):
    codec, bits = request.param
    rows = unit_rows(np.random.default_rng(31), sum(LENGTHS), 16)
    return built(tmp_path_factory.mktemp("torch") / "index", rows, LENGTHS, bits, codec)


@pytest.fixture(scope="module", params=KINDS)
def corpus(request, index):
    if request.param == KINDS[0]:
        return ClusteredCorpus([Segment(index)])
    runs = [(0, 13), (13, 14), (14, 40)]
    return ClusteredCorpus([Segment(part_of(index, np.arange(a, b)), LIVE[a:b]) for a, b in runs])


@pytest.fixture(scope="module")
def queries():
    return Ragged.from_arrays(
        [unit_rows(np.random.default_rng(seed), n, 16) for seed, n in ((41, 4), (42, 1), (43, 9))]
    )


def by_both(corpus, device, queries, k, recipe, subset=None):
    """What the device finds, and what the kernels find."""
    return (engine.search(queries, k, recipe, subset) for engine in engines_of(corpus, device))


@lru_cache(maxsize=4)
def engines_of(corpus, device):
    return DeviceEngine(corpus.segments, device), CompressedEngine(corpus.segments)


def assert_alike(found, expected, atol):
    """The same scores, rank by rank, and of the same documents where no neighbour scores alike."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=atol)
        by_document = dict(zip(other.documents.tolist(), other.scores, strict=True))
        for document, score in zip(one.documents.tolist(), one.scores, strict=True):
            assert abs(by_document.get(document, other.scores[-1]) - score) <= 2 * atol


def rounding(index):
    """How far kernels' similarities may be off since they round queries: to 8 bits where they meet small codes."""
    return 5e-3 if index.bits <= 4 else 5e-4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("imputation", ["min", "found", "retrieved", "centroid", "none", "0.2", "t20"])
def test_with_all_clusters_open_both_score_alike(corpus, queries, device, imputation):
    recipe = XTR.but(nprobe="all", k_prime=17, imputation=imputation)
    assert_alike(*by_both(corpus, device, queries, 10, recipe), rounding(corpus.quantiser))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scoring", ["xtr", "maxsim"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_sums_of_maxima_are_alike(corpus, queries, device, scoring, reduction):
    recipe = XTR.but(nprobe="all", scoring=scoring, reduction=reduction)
    recipe = recipe.but(candidates=40) if scoring == "maxsim" else recipe.but(rerank=40)
    assert_alike(*by_both(corpus, device, queries, 40, recipe), 9 * rounding(corpus.quantiser))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("nprobe", [3, "all"])
def test_other_queries_beside_it_and_another_run_change_no_bit(corpus, queries, device, nprobe, monkeypatch):
    engine, recipe = DeviceEngine(corpus.segments, device), XTR.but(nprobe=nprobe, k_prime=5)
    together, again = (engine.search(queries, 20, recipe) for _ in range(2))
    monkeypatch.setattr("xtrkit.search.device.CELLS_AT_A_TIME", 1)  # each query alone,
    monkeypatch.setattr("xtrkit.search.device_clusters.ROWS_AT_A_TIME", 50)  # and its rows in parts
    for found, same, alone in zip(together, again, engine.search(queries, 20, recipe), strict=True):
        np.testing.assert_array_equal(found.documents, same.documents)
        np.testing.assert_array_equal(found.scores, same.scores)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-6)  # parts are multiplied in another order


@pytest.mark.parametrize("imputation", ["min", "found", "retrieved", "centroid", "none", "0.2", "t20"])
@pytest.mark.parametrize("shared", [False, True])
def test_where_clusters_stay_closed_both_score_alike(corpus, queries, imputation, shared):
    """Both open the same clusters. "min" counts tokens, of which there are few here: one more or less is a step."""
    atol = rounding(corpus.quantiser) + (0.02 if imputation == "min" and not shared else 0)
    for nprobe in range(1, 13):
        recipe = XTR.but(nprobe=nprobe, k_prime=30, imputation=imputation, shared=shared)
        found, expected = by_both(corpus, "cpu", queries, 5, recipe)
        assert [one.recipe for one in found] == [other.recipe for other in expected]
        assert_alike(found, expected, atol)


@pytest.mark.parametrize("nprobe", [1, 4, 12])
def test_both_retrieve_the_same_tokens(corpus, queries, nprobe):
    recipe = XTR.but(nprobe=nprobe, imputation="centroid")
    for query in queries:
        one, other = (
            engine.evidence(query, engine.search(Ragged.from_arrays([query]), 5, recipe)[0])
            for engine in engines_of(corpus, "cpu")
        )
        np.testing.assert_array_equal(one.hits.rows, other.hits.rows)
        np.testing.assert_array_equal(one.hits.documents, other.hits.documents)
        np.testing.assert_allclose(one.hits.scores, other.hits.scores, atol=rounding(corpus.quantiser))
        np.testing.assert_array_equal(one.missing, other.missing)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_the_expected_kth_score_is_that_of_the_kernel(seed, k):
    random = np.random.default_rng(seed)
    n, n_clusters = int(random.integers(1, 4)), 20
    radii = random.uniform(0.02, 0.1, n_clusters).astype(np.float32)
    starts, norms = offsets_of(random.integers(1, 8, n)), random.uniform(0.5, 2, n).astype(np.float32)
    clusters = random.integers(0, n_clusters, starts[-1]).astype(np.int32)
    places = offsets_of(random.integers(0, 12, starts[-1]))
    of_centroids = random.uniform(-0.2, 0.9, starts[-1]).astype(np.float32)
    low = random.uniform(-0.5, 0.2, (n, 1))
    chosen = ChosenClusters(
        clusters,
        of_centroids,
        starts,
        random.integers(0, 6, (n, STEPS)).astype(np.float32),
        np.hstack([low, low + random.uniform(0.1, 0.8, (n, 1))]).astype(np.float32),
    )
    scores = np.repeat(of_centroids, np.diff(places)) + random.normal(scale=0.05, size=places[-1])
    probes, expected = Probes(chosen, places, scores.astype(np.float32)), np.empty(n, dtype=np.float32)
    no_vectors, nothing = ScaledVectors(np.zeros((1, 8), np.int8), np.zeros(1, np.float32)), np.zeros(0)
    centroids = Centroids(
        no_vectors, np.zeros(2, np.int64), no_vectors, np.zeros(n_clusters, np.int32), radii, np.float32(0.004)
    )
    no_planes, floats = np.zeros((n, 0, 0), np.int8), nothing.astype(np.float32)
    query = QuantisedQuery(np.zeros((n, 64), np.int16), floats, norms, no_planes, floats, floats)
    expected_kth_scores(probes, centroids, query, k, expected)
    tokens = torch.from_numpy(np.repeat(np.arange(n), np.diff(places[starts])))
    opened = Opened(chosen, places, tokens, torch.from_numpy(probes.scores), torch.zeros(0))
    found = device_clusters.expected_kth_scores(opened, centroids, norms, k)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    kth = np.empty(n, dtype=np.float32)
    kth_scores(probes, k, kth)
    np.testing.assert_array_equal(device_clusters.kth_seen(opened, k).numpy(), kth)


def test_a_device_that_is_not_there_is_named(index):
    with pytest.raises(InputError, match=r"no device 'cuda:97' here"):
        DeviceEngine([Segment(index)], "cuda:97")


def test_an_index_is_searched_on_a_device_and_refreshed_there(tmp_path):
    rows = unit_rows(np.random.default_rng(5), sum(LENGTHS), 16)
    documents = np.split(rows, np.cumsum(LENGTHS)[:-1])
    Index.create(tmp_path / "idx", [documents], nbits=4).close()
    index, plain = Index.open(tmp_path / "idx", device="cpu"), Index.open(tmp_path / "idx")
    for scoring in ("xtr", "maxsim"):
        for query in documents[:5]:
            found, expected = (i.search(query, 3, scoring=scoring, nprobe="all") for i in (index, plain))
            assert found.ids[0] == expected.ids[0]
            np.testing.assert_allclose(found.scores, expected.scores, atol=5e-3 * len(query))
            assert list(found.seconds) == ["device"]
    with plain.writer() as writer:
        writer.delete(["3"])
    assert index.refresh()
    assert "3" not in index.search(documents[3], 40).ids


def test_an_index_is_built_on_a_device(tmp_path):
    """All centroids are compared there, and so here: the corpus has fewer groups than are looked into."""
    rows = unit_rows(np.random.default_rng(5), sum(LENGTHS), 16)
    documents = np.split(rows, np.cumsum(LENGTHS)[:-1])
    on_device = Index.create(tmp_path / "device", [documents], nbits=4, device="cpu")
    by_tree = Index.create(tmp_path / "tree", [documents], nbits=4)
    for number in range(40):
        np.testing.assert_array_equal(on_device.vectors(number), by_tree.vectors(number))
    with pytest.raises(InputError, match="no device 'cuda:97' here"):
        Index.create(tmp_path / "none", [documents], nbits=4, device="cuda:97")
    assert not (tmp_path / "none").exists()


def test_an_exact_index_has_no_device(tmp_path):
    Index.create(tmp_path / "idx", [[unit_rows(np.random.default_rng(5), 3, 16)]], nbits=16).close()
    with pytest.raises(InputError, match="Only a compressed index is searched on a device, got 'cuda'"):
        Index.open(tmp_path / "idx", device="cuda")
