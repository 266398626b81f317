"""The search on a torch device against the search by kernels; on the CPU here, and on a GPU where there is one."""

from functools import lru_cache
from itertools import product

import numpy as np
import pytest
import torch

from tests.compressed.building import built
from tests.conftest import unit_rows
from tests.test_segments import part_of
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.recipes import XTR
from xtrkit.search.compressed import CompressedEngine, chosen_clusters
from xtrkit.search.device import DeviceEngine, _open
from xtrkit.token_retrieval.centroid import quantised
from xtrkit.token_retrieval.corpus import ClusteredCorpus
from xtrkit.values import Ragged, Segment

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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("imputation", ["min", "found", "retrieved", "centroid", "none", "0.2", "t20"])
def test_with_all_clusters_open_both_score_alike(corpus, queries, device, imputation):
    recipe = XTR.but(nprobe="all", k_prime=17, imputation=imputation)
    assert_alike(*by_both(corpus, device, queries, 10, recipe), 2e-3)  # kernels round queries to 12 bits


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scoring", ["xtr", "maxsim"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_sums_of_maxima_are_alike(corpus, queries, device, scoring, reduction):
    recipe = XTR.but(nprobe="all", scoring=scoring, reduction=reduction)
    recipe = recipe.but(candidates=40) if scoring == "maxsim" else recipe.but(rerank=40)
    assert_alike(*by_both(corpus, device, queries, 40, recipe), 2e-2)


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_and_another_run_change_nothing(corpus, queries, device):
    engine, recipe = DeviceEngine(corpus.segments, device), XTR.but(nprobe=3, k_prime=5)
    together, again = (engine.search(queries, 20, recipe) for _ in range(2))
    for query, found, same in zip(queries, together, again, strict=True):
        np.testing.assert_array_equal(found.documents, same.documents)
        np.testing.assert_array_equal(found.scores, same.scores)
        (alone,) = engine.search(Ragged.from_arrays([query]), 20, recipe)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-6)


@pytest.mark.parametrize("imputation", ["min", "found", "retrieved", "centroid", "none", "0.2"])
@pytest.mark.parametrize("shared", [False, True])
def test_where_clusters_stay_closed_both_score_alike(corpus, queries, imputation, shared):
    """As far as both open the same clusters, which rounded queries decide otherwise where centroids are nearly alike.

    "min" is an estimate, for which kernels count closed tokens in steps of score; of shared clusters it is "found".
    Kernels round the values of buckets to 8 bits.
    """
    compared, atol = 0, 0.1 if imputation == "min" and not shared else 5e-3
    for query, nprobe in product(queries, range(3, 13)):
        recipe = XTR.but(nprobe=nprobe, k_prime=30, imputation=imputation, shared=shared)
        found, expected = by_both(corpus, "cpu", Ragged.from_arrays([query]), 5, recipe)
        if opened_alike(corpus, query, expected[0].recipe):
            assert found[0].recipe == expected[0].recipe
            assert_alike(found, expected, atol)
            compared += 1
    assert compared >= 5


def opened_alike(corpus, query, recipe):
    chosen = chosen_clusters(corpus, quantised(query, corpus.quantiser), recipe)
    tokens = torch.from_numpy(query @ corpus.quantiser.rotation)
    index, lengths = engines_of(corpus, "cpu")[0]._tokens, torch.tensor([len(query)])
    opened = _open(index, tokens, lengths, recipe.nprobe, shared=recipe.shared)
    return all(
        set(clusters[:count].tolist()) == set(row.nonzero()[:, 0].tolist())
        for clusters, count, row in zip(chosen.clusters, chosen.counts, opened.opened, strict=True)
    )


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
