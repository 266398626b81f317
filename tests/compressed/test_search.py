"""Compressed search from end to end, against decoded vectors and against the exact engine."""

import shutil
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compressed.building import built, decoded, evidence_of, of_rows, opened, ranked, rounded
from tests.conftest import clustered, unit_rows
from xtrkit.errors import IndexFormatError
from xtrkit.indexing.codec import GridCodec
from xtrkit.kernels import reference_codes as twin
from xtrkit.kernels.bundles import ChosenClusters
from xtrkit.recipes import XTR
from xtrkit.scoring import xtr
from xtrkit.scoring.ranking import best_first
from xtrkit.search.compressed import CompressedEngine, cumulated
from xtrkit.token_retrieval.centroid import nearest, open_clusters, promising, quantised
from xtrkit.values import Ragged, Segment

LENGTHS = [3, 1, 7, 2, 5, 4, 1, 6] * 5


@pytest.fixture(scope="module")
def corpus():
    return unit_rows(np.random.default_rng(11), sum(LENGTHS), 16)


@pytest.fixture(
    scope="module", params=[("grid", 1), ("grid", 2), ("grid", 4), ("grid", 8), ("buckets", 1), ("buckets", 4)]
)
def index(request, corpus, tmp_path_factory):
    codec, bits = request.param
    return built(tmp_path_factory.mktemp("compressed") / "index", corpus, LENGTHS, bits, codec)


@pytest.fixture(scope="module")
def query():
    return unit_rows(np.random.default_rng(12), 4, 16)


def everything(index, **choices):
    return XTR.but(nprobe=index.n_clusters, k_prime=index.n_tokens, candidates=index.n_documents, **choices)


def exact_sums(index, query):
    similarities = of_rows(index, query)[:, index.positions]
    return np.array([similarities[:, a:b].max(axis=1).sum() for a, b in pairwise(index.document_offsets)])


def test_decoded_vectors_are_near(index, corpus):
    error = np.linalg.norm(decoded(index) - corpus @ index.quantiser.rotation, axis=1)
    most = {1: 0.9, 2: 0.6, 4: 0.2, 8: 0.02}[index.bits]
    assert error.max() < (
        most if isinstance(index.quantiser.codec, GridCodec) else 2 * most
    )  # far quantiles are coarse


def test_clusters_hold_each_token_once_and_documents_in_order(index):
    assert sorted(index.positions.tolist()) == list(range(index.n_tokens))
    assert index.documents[index.positions].tolist() == np.repeat(np.arange(len(LENGTHS)), LENGTHS).tolist()
    for first, last in pairwise(index.cluster_offsets):
        assert (np.diff(index.documents[first:last]) >= 0).all()


def test_everything_opened_is_exhaustive_sum_of_max(index, query):
    """Oracles 1 and 5: no similarity is missing, so XTR, ColBERT and the decoded vectors agree."""
    sums = exact_sums(index, query)
    for scoring, scale in (("xtr", len(query)), ("maxsim", 1)):
        documents, scores = ranked(clustered(index), query, len(LENGTHS), everything(index).but(scoring=scoring))
        np.testing.assert_allclose(scores * scale, sums[documents], atol=1e-5)
        assert (np.diff(scores) <= 0).all()
        assert sorted(documents.tolist()) == list(range(len(LENGTHS)))


def test_eight_bits_rank_as_the_exact_engine(corpus, query, tmp_path):
    index = built(tmp_path / "index", corpus, LENGTHS, 8)
    ends = np.cumsum(LENGTHS)
    exact = np.array([(query @ corpus[e - m : e].T).max(axis=1).sum() for e, m in zip(ends, LENGTHS, strict=True)])
    _, scores = ranked(clustered(index), query, 10, everything(index).but(scoring="maxsim"))
    np.testing.assert_allclose(scores, np.sort(exact)[::-1][:10], atol=0.02)


@pytest.mark.parametrize("name", ["found", "centroid", "none", "0.2", "t5"])
@pytest.mark.parametrize("nprobe", [1, 3])
def test_xtr_equals_its_twin(index, query, nprobe, name):
    quantised_query = quantised(query, index.quantiser)
    chosen, similarities = promising(clustered(index), quantised_query, nprobe, 5), of_rows(index, query)
    probes = open_clusters(clustered(index), quantised_query, chosen)
    hits, missing = [], []
    for i, (first, last) in enumerate(pairwise(chosen.starts)):
        rows = [r for c in chosen.clusters[first:last] for r in range(*index.cluster_offsets[c : c + 2])]
        found = probes.scores[probes.places[first] : probes.places[last]]
        np.testing.assert_allclose(found, similarities[i, rows], atol=1e-5)
        hits.append([(int(index.documents[r]), float(s)) for r, s in zip(rows, found, strict=True)])
        low = float(chosen.scores[first:last].min())
        kth = max(sorted(found)[-min(5, len(found))], np.float32(low)) if len(found) else low
        missing.append({"found": kth, "centroid": low, "none": 0.0, "0.2": 0.2}.get(name))
    if name == "t5":
        every = nearest(clustered(index), quantised_query, 128)
        missing = cumulated(every, np.diff(index.cluster_offsets)[every.clusters], 5).tolist()
    lowest = missing if name == "found" else [-np.inf] * len(query)
    sums = twin.xtr_sums(hits, lowest, missing)
    effort = XTR.but(nprobe=nprobe, k_prime=5, imputation=name)
    documents, scores = ranked(clustered(index), query, 1, effort)
    by_twin = {
        document: total / count if name == "none" else (total + sum(missing)) / len(query)
        for document, (total, count) in sums.items()
    }
    best = max(by_twin.values())
    assert scores[0] == pytest.approx(best, abs=1e-5)
    assert by_twin[int(documents[0])] == pytest.approx(best, abs=1e-5)


def test_clusters_equal_their_twin(index, query):
    groups, centroids = index.quantiser.groups.decoded(), index.quantiser.centroids.decoded()
    chosen = nearest(clustered(index), quantised(query, index.quantiser), 3)
    for i, token in enumerate(rounded(query, index)):
        expected = twin.nearest_clusters(groups, index.quantiser.group_offsets, centroids, token, len(groups), 3)
        assert chosen.clusters[chosen.starts[i] : chosen.starts[i + 1]].tolist() == expected


@pytest.mark.parametrize("scoring", ["xtr", "maxsim"])
def test_k_documents_come_back_from_one_probe(index, query, scoring):
    effort = XTR.but(scoring=scoring, nprobe=1, k_prime=1, candidates=1)
    for k in (1, 17, len(LENGTHS), 1000):
        assert len(ranked(clustered(index), query, k, effort)[0]) == min(k, len(LENGTHS))


@pytest.mark.parametrize("scoring", ["xtr", "maxsim"])
def test_subset_comes_before_ranking(index, query, scoring):
    subset = np.zeros(len(LENGTHS), dtype=np.bool_)
    subset[[3, 8, 21]] = True
    for nprobe in (1, index.n_clusters):
        effort = everything(index, scoring=scoring).but(nprobe=nprobe)
        documents, _ = ranked(clustered(index), query, 10, effort, subset)
        assert sorted(documents.tolist()) == [3, 8, 21]
    whole, _ = ranked(clustered(index), query, len(LENGTHS), everything(index).but(scoring=scoring))
    assert documents.tolist() == [d for d in whole.tolist() if subset[d]]


def test_ties_go_to_the_lower_number():
    documents, scores = best_first(np.array([9, 4, 7, 1], dtype=np.int32), np.array([1.0, 2.0, 2.0, 1.0]), 3)
    assert (documents.tolist(), scores.tolist()) == ([4, 7, 1], [2.0, 2.0, 1.0])


def test_threads_change_nothing(index):
    queries = [unit_rows(np.random.default_rng(seed), 5, 16) for seed in range(8)]
    effort = XTR.but(nprobe=2)
    engine = CompressedEngine([Segment(index)])
    alone = engine.search(Ragged.from_arrays(queries), 10, effort)
    for threads in (2, 5):
        together = engine.search(Ragged.from_arrays(queries), 10, effort, threads=threads)
        for found, expected in zip(together, alone, strict=True):
            assert found.documents.tolist() == expected.documents.tolist()
            assert found.scores.tolist() == expected.scores.tolist()


def test_token_hits_make_the_score(index, query):
    """The hits, scored by the exact engine's formula, give the same documents and scores."""
    effort = XTR.but(nprobe=3, k_prime=4, imputation="found")
    hits, missing = evidence_of(clustered(index), query, effort)
    assert all((np.diff(hits.rows[hits.of(i)]) > 0).all() for i in range(len(query)))
    owners = np.searchsorted(index.document_offsets, hits.rows, side="right") - 1
    assert owners.tolist() == hits.documents.tolist()
    documents, scores = xtr.score(hits, index.n_documents, missing)
    expected, of_expected = best_first(documents, scores, 5)
    found, of_found = ranked(clustered(index), query, 5, effort)
    assert found.tolist() == expected.tolist()
    np.testing.assert_allclose(of_found, of_expected, atol=1e-6)


@pytest.mark.parametrize("lengths", [[1], [1, 1], [2, 3], [1, 5, 2, 1, 1]])
@pytest.mark.parametrize("scoring", ["xtr", "maxsim"])
def test_tiny_collections(tmp_path, lengths, scoring):
    rows = unit_rows(np.random.default_rng(0), sum(lengths), 8)
    index = built(tmp_path / "index", rows, lengths)
    for n in (1, 30):
        documents, scores = ranked(
            clustered(index), unit_rows(np.random.default_rng(1), n, 8), 10, XTR.but(scoring=scoring)
        )
        assert sorted(documents.tolist()) == list(range(len(lengths)))
        assert np.isfinite(scores).all()


def test_a_document_of_no_tokens_is_never_found(tmp_path):
    rows = unit_rows(np.random.default_rng(0), 5, 8)
    index = built(tmp_path / "index", rows, [2, 0, 3])
    assert sorted(ranked(clustered(index), rows[:2], 10)[0].tolist()) == [0, 2]


def test_same_vectors_same_files(corpus, tmp_path):
    built(tmp_path / "one", corpus, LENGTHS, size=3)
    built(tmp_path / "two", corpus, LENGTHS, size=40)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


@pytest.mark.parametrize("name", ["tokens", "codec"])
def test_a_damaged_index_is_refused(tmp_path, corpus, name):
    built(tmp_path / "index", corpus, LENGTHS)
    shutil.copytree(tmp_path / "index", tmp_path / "cut")
    (tmp_path / "cut" / name).write_bytes((tmp_path / "index" / name).read_bytes()[:-2])
    with pytest.raises(IndexFormatError):
        opened(tmp_path / "cut", len(LENGTHS), sum(LENGTHS))


@settings(max_examples=20)
@given(st.integers(1, 60))
def test_cumulated_sizes(tokens):
    scores, sizes = np.float32([0.1, 0.9, 0.5, 7.0]), np.array([30, 10, 15, 99])
    nothing = np.zeros((2, 0), dtype=np.float32)
    chosen = ChosenClusters(np.arange(4, dtype=np.int32), scores, np.array([0, 3, 4]), nothing, nothing)
    expected = 0.9 if tokens <= 10 else 0.5 if tokens <= 25 else 0.1
    assert cumulated(chosen, sizes, tokens).tolist() == [np.float32(expected), 7.0]


def test_vectors_that_lie_close_together_are_found_as_well(tmp_path):
    """A direction that all vectors share says nothing: with it, as few clusters have to be opened as without."""
    random = np.random.default_rng(0)
    topics = unit_rows(random, 60, 32)
    rows = topics[random.integers(60, size=6000)] + 0.5 * unit_rows(random, 6000, 32)
    queries = [topics[random.integers(60, size=6)] + 0.5 * unit_rows(random, 6, 32) for _ in range(30)]
    shared, found = 3 * unit_rows(random, 1, 32), {}
    for name, added in (("plain", 0), ("close", shared)):
        near = [array + added for array in (rows, *queries)]
        vectors, *asked = [(a / np.linalg.norm(a, axis=1, keepdims=True)).astype(np.float32) for a in near]
        corpus = clustered(built(tmp_path / name, vectors, [10] * 600, size=100))
        best = [np.argsort(-_exact_xtr(query, vectors), kind="stable")[:20] for query in asked]
        few = [ranked(corpus, query, 20, XTR.but(nprobe=6, k_prime=100))[0] for query in asked]
        found[name] = np.mean([len(set(a.tolist()) & set(b.tolist())) / 20 for a, b in zip(few, best, strict=True)])
    assert found["close"] > found["plain"] - 0.06, found


def _exact_xtr(query, vectors):
    """(600,) scores of documents of ten tokens each, k' = 100."""
    similar = query @ vectors.T
    lowest = -np.sort(-similar, axis=1)[:, 99:100]
    return np.maximum(similar.reshape(len(query), 600, 10).max(axis=2), lowest).sum(axis=0)
