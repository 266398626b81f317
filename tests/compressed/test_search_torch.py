"""The search on a torch device against the search by kernels; on the CPU here, and on a GPU where there is one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.compressed.building import built
from tests.conftest import unit_rows
from tests.test_segments import part_of
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.scoring.estimation import estimate_named
from xtrkit.search_compressed import DEFAULT
from xtrkit.search_compressed import search_batch as search_by_kernels
from xtrkit.search_torch import DeviceTokens, search_batch
from xtrkit.token_retrieval.corpus import ClusteredCorpus
from xtrkit.values import Segment

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
    return [unit_rows(np.random.default_rng(seed), n, 16) for seed, n in ((41, 4), (42, 1), (43, 9))]


def assert_alike(found, expected, atol):
    """The same scores, rank by rank, and of the same documents where no neighbour scores alike."""
    for (documents, scores), (others, other_scores, _) in zip(found, expected, strict=True):
        np.testing.assert_allclose(scores, other_scores, atol=atol)
        by_document = dict(zip(others.tolist(), other_scores, strict=True))
        for document, score in zip(documents.tolist(), scores, strict=True):
            assert abs(by_document.get(document, other_scores[-1]) - score) <= 2 * atol


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("imputation", ["min", "found", "retrieved", "centroid", "none", "0.2", "t20"])
def test_with_all_clusters_open_both_score_alike(corpus, queries, device, imputation):
    effort = replace(DEFAULT, nprobe=corpus.n_clusters, k_prime=17, imputation=estimate_named(imputation))
    found = search_batch(DeviceTokens.of(corpus, device), queries, 10, "xtr", effort)
    assert_alike(found, search_by_kernels(corpus, queries, 10, "xtr", effort), 2e-3)  # kernels round queries to 12 bits


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scoring", ["xtr", "maxsim"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_sums_of_maxima_are_alike(corpus, queries, device, scoring, reduction):
    effort = replace(DEFAULT, nprobe=corpus.n_clusters, reduction=reduction)
    effort = replace(effort, candidates=40) if scoring == "maxsim" else replace(effort, rerank=40)
    found = search_batch(DeviceTokens.of(corpus, device), queries, 40, scoring, effort)
    assert_alike(found, search_by_kernels(corpus, queries, 40, scoring, effort), 2e-2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scoring", ["xtr", "maxsim"])
def test_only_living_documents_of_the_subset_come_back_and_k_of_them(corpus, queries, device, scoring):
    subset = np.arange(corpus.n_documents) % 2 == 0
    matching = np.flatnonzero(corpus.wanted(subset))
    found = search_batch(DeviceTokens.of(corpus, device), queries, 40, scoring, replace(DEFAULT, nprobe=1), subset)
    for documents, _ in found:
        assert sorted(documents.tolist()) == matching.tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_and_another_run_change_nothing(corpus, queries, device):
    tokens, effort = DeviceTokens.of(corpus, device), replace(DEFAULT, nprobe=3, k_prime=5)
    together, again = (search_batch(tokens, queries, 20, "xtr", effort) for _ in range(2))
    for query, (documents, scores), (same, same_scores) in zip(queries, together, again, strict=True):
        np.testing.assert_array_equal(documents, same)
        np.testing.assert_array_equal(scores, same_scores)
        ((_, alone),) = search_batch(tokens, [query], 20, "xtr", effort)
        np.testing.assert_allclose(scores, alone, atol=1e-6)


@pytest.mark.parametrize("nprobe", [4, 12])
@pytest.mark.parametrize("shared", [False, True])
def test_where_clusters_stay_closed_scores_are_about_the_kernels(corpus, queries, nprobe, shared):
    """The kernels count closed tokens in steps of score; the corpus is small enough that both open the same."""
    effort = replace(DEFAULT, nprobe=nprobe, k_prime=30, shared=shared)
    found = search_batch(DeviceTokens.of(corpus, "cpu"), queries, 5, "xtr", effort)
    for (_, scores), (_, others, _) in zip(found, search_by_kernels(corpus, queries, 5, "xtr", effort), strict=True):
        np.testing.assert_allclose(scores, others, atol=0.1)


def test_a_device_that_is_not_there_is_named(index):
    with pytest.raises(InputError, match=r"no device 'cuda:97' here"):
        DeviceTokens.of(ClusteredCorpus([Segment(index)]), "cuda:97")


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
    Index.create(tmp_path / "idx", [[unit_rows(np.random.default_rng(5), 3, 16)]]).close()
    with pytest.raises(InputError, match="Only a compressed index is searched on a device, got 'cuda'"):
        Index.open(tmp_path / "idx", device="cuda")
