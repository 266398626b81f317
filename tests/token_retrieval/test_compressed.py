"""Search of a compressed index against exhaustive search of the same vectors."""

import numpy as np
import pytest

from tests.compressed_corpus import clustered, compressed
from tests.conftest import one, unit_rows
from xtrkit.errors import InputError
from xtrkit.recipes import COLBERT, XTR
from xtrkit.search import search as exact_search
from xtrkit.search_compressed import COMPRESSED_COLBERT, COMPRESSED_XTR, best_first, search, search_batch
from xtrkit.token_retrieval.centroid import probe, quantised
from xtrkit.token_retrieval.exact import TokenVectors
from xtrkit.token_retrieval.exact import retrieve_tokens as exact_tokens
from xtrkit.token_retrieval.gather import decompress, maxsim_scores, token_rows
from xtrkit.token_retrieval.imputation import default_mass
from xtrkit.token_retrieval.probed import retrieve_tokens

LENGTHS = [3, 1, 20, 7, 1, 30, 2, 40, 5, 9] * 30
EVERYTHING = 10**6


@pytest.fixture(scope="module")
def corpus():
    return clustered(np.random.default_rng(1), LENGTHS)


@pytest.fixture(scope="module")
def index(corpus, tmp_path_factory):
    return compressed(tmp_path_factory.mktemp("compressed") / "index", corpus)


@pytest.fixture(scope="module")
def fine_index(corpus, tmp_path_factory):
    return compressed(tmp_path_factory.mktemp("compressed") / "index", corpus, 8)


@pytest.fixture(scope="module")
def queries():
    random = np.random.default_rng(2)
    return [unit_rows(random, n, 16) for n in (1, 2, 5, 17, 40)]


def reconstructed(index):
    """The corpus as the index knows it, turned back."""
    vectors = np.empty((index.n_tokens, index.dim), np.float32)
    decompress(index, token_rows(index, np.arange(index.n_documents)), vectors)
    return vectors @ index.rotation.T


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_every_cluster_and_every_token_give_the_sum_of_max_of_reconstructions(tmp_path, corpus, queries, bits):
    index = compressed(tmp_path / "index", corpus, bits)
    vectors = reconstructed(index)
    recipe = COMPRESSED_XTR.but(nprobe=EVERYTHING, k_prime=EVERYTHING)
    for query in queries:
        documents, scores = search(index, query, len(LENGTHS), recipe)
        ends = np.cumsum(LENGTHS)
        expected = [(query @ vectors[end - n : end].T).max(axis=1).mean() for n, end in zip(LENGTHS, ends, strict=True)]
        np.testing.assert_allclose(scores, np.array(expected)[documents], atol=3e-3)
        everyone = maxsim_scores(index, query, np.arange(len(LENGTHS))) / len(query)
        np.testing.assert_allclose(everyone, expected, atol=1e-4)


def test_eight_bits_rank_as_the_exact_engine_but_for_tiny_differences(corpus, fine_index, queries):
    vectors = TokenVectors(corpus.rows.astype(np.float16), corpus.offsets)
    for recipe, exact_recipe in (
        (COMPRESSED_XTR.but(nprobe=EVERYTHING, imputation="min", k_prime=100), XTR.but(k_prime=100)),
        (COMPRESSED_COLBERT.but(nprobe=EVERYTHING, n_candidates=len(LENGTHS)), COLBERT),
    ):
        for query in queries:
            expected = exact_search(vectors, one(query), 10, exact_recipe)[0]
            documents, scores = search(fine_index, query, 10, recipe)
            bound = 0.01 * (len(query) if recipe.scoring == "maxsim" else 1)
            np.testing.assert_allclose(scores, expected.scores, atol=bound)
            assert len(set(documents.tolist()) & set(expected.documents.tolist())) >= 8


def test_expected_and_actual_kth_score_agree_where_everything_is_open(fine_index, queries):
    for query in queries:
        by_name = {
            name: search(fine_index, query, 10, COMPRESSED_XTR.but(nprobe=EVERYTHING, k_prime=200, imputation=name))
            for name in ("min", "expected")
        }
        np.testing.assert_allclose(by_name["min"][1], by_name["expected"][1], atol=0.01)


def test_hits_are_those_of_exact_retrieval(corpus, fine_index, queries):
    vectors = TokenVectors(reconstructed(fine_index).astype(np.float16), corpus.offsets)
    for query in queries:
        hits = retrieve_tokens(fine_index, query, EVERYTHING, 50)
        expected = exact_tokens(vectors, one(query), 50)[0]
        assert hits.n_query_tokens == len(query)
        for i in range(len(query)):
            rows, expected_rows = hits.rows[hits.of(i)], expected.rows[expected.of(i)]
            assert (np.diff(rows) > 0).all()
            assert len(set(rows.tolist()) & set(expected_rows.tolist())) >= 48
        document_of = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
        np.testing.assert_array_equal(hits.documents, document_of[hits.rows])


def test_k_results_where_there_are_k(index, queries):
    for recipe in (
        COMPRESSED_XTR.but(nprobe=1, k_prime=1),
        COMPRESSED_COLBERT.but(nprobe=1, k_prime=1, n_candidates=1),
    ):
        for k in (1, 10, len(LENGTHS), len(LENGTHS) + 5):
            documents, scores = search(index, queries[2], k, recipe)
            assert len(documents) == len(scores) == len(set(documents.tolist())) == min(k, len(LENGTHS))
            assert (np.diff(scores) <= 0).all()


def test_a_subset_is_the_ranking_without_the_others(index, queries):
    subset = np.random.default_rng(0).random(len(LENGTHS)) < 0.2
    recipe = COMPRESSED_XTR.but(nprobe=EVERYTHING, k_prime=EVERYTHING)
    for query in queries:
        documents, scores = search(index, query, len(LENGTHS), recipe)
        some, some_scores = search(index, query, 10, recipe, subset)
        np.testing.assert_array_equal(some_scores, scores[subset[documents]][:10])
        kept = subset[documents]
        np.testing.assert_array_equal(some, documents[kept][: len(some)])
        assert len(some) == 10
        everyone, _ = search(index, query, 1000, COMPRESSED_COLBERT, subset)
        np.testing.assert_array_equal(np.sort(everyone), np.flatnonzero(subset))
    nobody = np.zeros(len(LENGTHS), np.bool_)
    assert len(search(index, queries[0], 5, recipe, nobody)[0]) == 0


def test_threads_change_nothing(index, queries):
    for recipe in (COMPRESSED_XTR.but(nprobe=4), COMPRESSED_COLBERT.but(nprobe=4)):
        alone = search_batch(index, queries * 5, 7, recipe)
        together = search_batch(index, queries * 5, 7, recipe, threads=3)
        for (documents, scores), (others, other_scores) in zip(alone, together, strict=True):
            np.testing.assert_array_equal(documents, others)
            np.testing.assert_array_equal(scores, other_scores)


def test_of_equal_documents_the_first_comes_first(tmp_path):
    corpus = clustered(np.random.default_rng(0), [4])
    twins = type(corpus)(np.tile(corpus.rows, (30, 1)), np.full(30, 4))
    index = compressed(tmp_path / "index", twins)
    for recipe in (COMPRESSED_XTR, COMPRESSED_COLBERT):
        documents, _ = search(index, corpus.rows[:2], 12, recipe)
        np.testing.assert_array_equal(documents, np.arange(12))


@pytest.mark.parametrize("imputation", ["expected", "min", "mass", "none", "0.2", "0"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_every_policy_ranks_a_document_first_for_itself(index, corpus, imputation, reduction):
    recipe = COMPRESSED_XTR.but(imputation=imputation, reduction=reduction, nprobe=4, k_prime=30)
    for document in (2, 5, 7):
        documents, scores = search(index, corpus[document], 3, recipe)
        assert np.isfinite(scores).all()
        if imputation != "none":
            assert documents[0] == document


def test_more_clusters_find_more(index, queries):
    exhaustive = COMPRESSED_XTR.but(nprobe=EVERYTHING, k_prime=100)
    overlaps = []
    for nprobe in (1, 16, 128):
        found = [set(search(index, q, 20, exhaustive.but(nprobe=nprobe))[0].tolist()) for q in queries]
        best = [set(search(index, q, 20, exhaustive)[0].tolist()) for q in queries]
        overlaps.append(np.mean([len(a & b) / 20 for a, b in zip(found, best, strict=True)]))
    assert overlaps[0] <= overlaps[1] <= overlaps[2]
    assert overlaps[2] > 0.9


def test_clusters_opened_are_the_nearest(index, queries):
    centroids = index.centroid_vectors.astype(np.float32) * index.centroid_scales[:, np.newaxis]
    for query in queries:
        similarities = (query @ index.rotation) @ centroids.T
        probes = probe(index, quantised(query, index), 5)
        for i in range(len(query)):
            nearest = np.argsort(-similarities[i])[:5]
            assert len(set(probes.clusters[i].tolist()) & set(nearest.tolist())) >= 4
            np.testing.assert_allclose(probes.cluster_scores[i], similarities[i, probes.clusters[i]], atol=2e-3)


def test_tiny_indexes_are_searched(tmp_path):
    for name, lengths in (("one", [1]), ("two", [1, 1]), ("five", [1, 2, 1, 1, 1])):
        corpus = clustered(np.random.default_rng(0), lengths, dim=8)
        index = compressed(tmp_path / name, corpus, 1)
        for recipe in (COMPRESSED_XTR, COMPRESSED_XTR.but(imputation="mass"), COMPRESSED_COLBERT):
            documents, scores = search(index, unit_rows(np.random.default_rng(1), 3, 8), 10, recipe)
            assert sorted(documents.tolist()) == list(range(len(lengths)))
            assert np.isfinite(scores).all()


def test_the_cumulated_size_is_never_nothing():
    assert [default_mass(m) for m in (1, 500, 10_000, 661_120, 10**8)] == [1, 500, 1000, 2000, 28_000]


def test_choices_that_cannot_be_used(index, queries):
    for choice, message in (
        ({"nprobe": 0}, "nprobe must be a whole number of at least 1, got 0"),
        ({"nprobe": True}, "nprobe must be"),
        ({"k_prime": 1.5}, "k' must be a whole number of at least 1, got 1.5"),
        ({"n_candidates": -1}, "n_candidates must be"),
        ({"imputation": "lowest"}, "Unknown imputation 'lowest' for a compressed index"),
        ({"imputation": "nan"}, "Unknown imputation 'nan'"),
        ({"scoring": "sum"}, "Unknown scoring 'sum'"),
        ({"reduction": "max"}, "Unknown reduction 'max'"),
        ({"probes": 3}, "Unknown search choice 'probes'"),
    ):
        with pytest.raises(InputError, match=message):
            COMPRESSED_XTR.but(**choice)
    with pytest.raises(InputError, match="k must be"):
        search(index, queries[0], 0)
    with pytest.raises(InputError, match="one entry for each of 300 documents, got 3"):
        search(index, queries[0], 5, subset=np.ones(3, np.bool_))


def test_best_first():
    documents, scores = best_first(np.array([5, 1, 9, 3]), np.array([1.0, 2.0, 1.0, 1.0]), 3)
    np.testing.assert_array_equal(documents, [1, 3, 5])
    np.testing.assert_array_equal(scores, [2, 1, 1])
