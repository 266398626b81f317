"""The statements that tie the systems to one another; numbers are those of the list of oracles they come from.

Oracles 1 to 3 are in ``test_agreement.py``, 9 and 10 in ``compressed/test_codes.py``, 16 in ``test_segments.py``.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compressed.building import built, evidence_of, of_rows, ranked
from tests.conftest import clustered, one, random_corpus, search_exactly, unit_rows, whole
from xtrkit.indexing.codec import GridCodec
from xtrkit.recipes import COLXTR, XTR
from xtrkit.scoring import cost, xtr
from xtrkit.search.compressed import CompressedEngine
from xtrkit.token_retrieval.centroid import nearest, open_clusters, quantised, token_hits
from xtrkit.token_retrieval.error import residual_error_bounds, similarity_error_bounds
from xtrkit.token_retrieval.exact import retrieve_tokens
from xtrkit.values import Ragged, Segment, TokenVectors, offsets_of

RANDOM = np.random.default_rng(4)
LENGTHS = RANDOM.integers(1, 9, 50)
ROWS = unit_rows(RANDOM, LENGTHS.sum(), 16)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", params=[2, 4, 8])
def corpus(request, tmp_path_factory):
    return clustered(built(tmp_path_factory.mktemp("compressed") / "index", ROWS, LENGTHS, request.param))


def reconstructed_sums(corpus, query):
    """(N,) exhaustive sum of maxima over what the index knows of every vector, and of the query, not normalised."""
    index = corpus.segments[0].tokens
    similarities = of_rows(index, query)[:, index.positions]
    of_query_as_it_is = query @ np.concatenate([corpus.vectors(d) for d in range(corpus.n_documents)]).T
    np.testing.assert_allclose(similarities, of_query_as_it_is, atol=0.01)
    return np.array([similarities[:, a:b].max(axis=1).sum() for a, b in pairwise(corpus.document_offsets)])


def ranked_as(documents, scores, expected, tolerance):
    """Documents in order of ``expected`` but for differences within the tolerance."""
    np.testing.assert_allclose(scores, expected[documents], atol=tolerance)
    np.testing.assert_allclose(scores, np.sort(expected)[::-1][: len(scores)], atol=tolerance)


@given(SEEDS)
def test_oracle_4_colbert_with_everything_opened_is_exhaustive_over_reconstructions(corpus, seed):
    query = unit_rows(np.random.default_rng(seed), 4, 16)
    effort = XTR.but(nprobe=corpus.n_clusters, candidates=corpus.n_documents)
    documents, scores = ranked(corpus, query, 20, effort.but(scoring="maxsim"))
    ranked_as(documents, scores, reconstructed_sums(corpus, query), 1e-4)


@pytest.mark.parametrize("imputation", ["t1", "t50", "t100000", "min", "centroid"])
@given(seed=SEEDS)
def test_oracle_5_warp_with_everything_opened_is_exhaustive_whatever_t_prime(corpus, imputation, seed):
    query = unit_rows(np.random.default_rng(seed), 4, 16)
    effort = XTR.but(nprobe=corpus.n_clusters, k_prime=corpus.n_tokens, imputation=imputation, reduction="sum")
    documents, scores = ranked(corpus, query, 20, effort)
    ranked_as(documents, scores, reconstructed_sums(corpus, query), 1e-4)


@given(SEEDS)
def test_oracle_6_colxtr_with_everything_opened_and_retrieved_is_warp(corpus, seed):
    query = unit_rows(np.random.default_rng(seed), 4, 16)
    effort = XTR.but(
        nprobe=corpus.n_clusters, k_prime=corpus.n_tokens, imputation="retrieved", reduction="sum", shared=True
    )
    documents, scores = ranked(corpus, query, 20, effort)
    warp = effort.but(shared=False, imputation="t50")
    expected, of_expected = ranked(corpus, query, 20, warp)
    assert documents.tolist() == expected.tolist()
    np.testing.assert_allclose(scores, of_expected, rtol=1e-6)


def test_oracle_6_with_more_bits_colxtr_approaches_the_exact_engine(tmp_path):
    random = np.random.default_rng(180)
    query, exact = unit_rows(random, 4, 16), whole(TokenVectors(ROWS.astype(np.float16), offsets_of(LENGTHS)))
    (expected,) = search_exactly(exact, one(query), 50, COLXTR.but(k_prime=LENGTHS.sum()))
    by_number, errors = dict(zip(expected.documents.tolist(), expected.scores.tolist(), strict=True)), []
    for bits in (1, 2, 4, 8):
        corpus = clustered(built(tmp_path / str(bits), ROWS, LENGTHS, bits))
        effort = XTR.but(
            nprobe=corpus.n_clusters, k_prime=corpus.n_tokens, imputation="retrieved", reduction="sum", shared=True
        )
        documents, scores = ranked(corpus, query, 50, effort)
        errors.append(max(abs(by_number[d] - s) for d, s in zip(documents.tolist(), scores, strict=True)))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


@given(SEEDS, st.integers(1, 6), st.integers(1, 60))
def test_colxtr_equals_its_twin(corpus, seed, ncells, k_prime):
    """Section by section: union of cells, all their tokens for every query token, top k', the last one imputed."""
    query = unit_rows(np.random.default_rng(seed), 3, 16)
    effort = COLXTR.but(nprobe=ncells, k_prime=k_prime)
    index, quantised_query = corpus.segments[0].tokens, quantised(query, corpus.quantiser)
    union = np.unique(nearest(corpus, quantised_query, ncells).clusters)
    rows = [row for c in union for row in range(*index.cluster_offsets[c : c + 2])]
    similarities = of_rows(index, query)[:, rows]
    kth = np.sort(similarities, axis=1)[:, ::-1][:, min(k_prime, len(rows)) - 1]
    expected = {}
    for document in np.unique(index.documents[rows]):
        of = similarities[:, index.documents[rows] == document]
        if (of >= kth[:, np.newaxis] - 1e-6).any():
            expected[int(document)] = np.maximum(of.max(axis=1), kth).sum()
    documents, scores = ranked(corpus, query, 1, effort)
    assert scores[0] == pytest.approx(max(expected.values()), abs=1e-4)
    assert expected[int(documents[0])] == pytest.approx(scores[0], abs=1e-4)


@given(SEEDS, st.integers(1, 60))
def test_colxtr_reranked_over_the_whole_corpus_is_exhaustive(corpus, seed, k):
    query = unit_rows(np.random.default_rng(seed), 3, 16)
    effort = XTR.but(nprobe=1, imputation="retrieved", reduction="sum", shared=True, rerank=50)
    every = effort.but(nprobe=corpus.n_clusters, k_prime=corpus.n_tokens)
    sums = reconstructed_sums(corpus, query)
    documents, scores = ranked(corpus, query, k, every)
    ranked_as(documents, scores, sums, 1e-4)
    documents, scores = ranked(corpus, query, k, effort)
    np.testing.assert_allclose(scores, sums[documents], atol=1e-4)


def test_rerank_of_the_exact_engine_is_maxsim_of_the_best():
    random = np.random.default_rng(140)
    exact, query = whole(TokenVectors(ROWS.astype(np.float16), offsets_of(LENGTHS))), unit_rows(random, 4, 16)
    (candidates,) = search_exactly(exact, one(query), 12, XTR.but(k_prime=20))
    (found,) = search_exactly(exact, one(query), 5, XTR.but(k_prime=20, rerank=12))
    assert set(found.documents) <= set(candidates.documents)
    sums = {d: (query @ ROWS[a:b].T).max(axis=1).mean() for d, (a, b) in enumerate(pairwise(offsets_of(LENGTHS)))}
    np.testing.assert_allclose(
        found.scores, sorted((sums[d] for d in candidates.documents), reverse=True)[:5], atol=2e-3
    )


def test_oracle_11_postings_are_sorted_by_centroid_then_document(corpus):
    index, quantiser = corpus.segments[0].tokens, corpus.quantiser
    assert np.diff(index.cluster_offsets).sum() == index.n_tokens == LENGTHS.sum()
    for first, last in pairwise(index.cluster_offsets):
        assert (np.diff(index.documents[first:last]) >= 0).all()
    # Expanded again: each token stands where its document says, with the codes that its own vector gets.
    rows = index.positions.astype(np.int64)
    cluster = np.searchsorted(index.cluster_offsets, rows, side="right") - 1
    centroids = quantiser.centroids.vectors[cluster] * quantiser.centroids.scales[cluster, np.newaxis]
    residuals = (ROWS.astype(np.float16).astype(np.float32) @ quantiser.rotation - centroids).astype(np.float32)
    codes, scales = quantiser.codec.encode(residuals, np.zeros_like(residuals))
    np.testing.assert_array_equal(index.codes[rows], codes)
    np.testing.assert_array_equal(index.scales[rows], scales)
    np.testing.assert_array_equal(index.documents[rows], np.repeat(np.arange(len(LENGTHS)), LENGTHS))


@given(SEEDS)
def test_oracle_12_the_order_of_clusters_changes_nothing(corpus, seed):
    """Opened in another order, the same tokens give every document the same score, to the last bit."""
    random = np.random.default_rng(seed)
    query = quantised(unit_rows(random, 4, 16), corpus.quantiser)
    chosen = nearest(corpus, query, 5)
    order = np.concatenate([a + random.permutation(b - a) for a, b in pairwise(chosen.starts)])
    shuffled = chosen._replace(clusters=chosen.clusters[order], scores=chosen.scores[order])
    lowest = np.full(4, -np.inf, dtype=np.float32)
    by_document = []
    for clusters in (chosen, shuffled):
        probes = open_clusters(corpus, query, clusters)
        hits = token_hits(corpus, probes, lowest)
        best = np.full((corpus.n_documents, 4), -np.inf)
        np.maximum.at(best, (hits.documents, np.repeat(np.arange(4), np.diff(hits.offsets))), hits.scores)
        by_document.append(best)
    np.testing.assert_array_equal(*by_document)


@pytest.mark.parametrize("scoring", ["xtr", "maxsim"])
def test_oracle_12_the_number_of_threads_changes_nothing_and_ties_go_to_the_lower_number(tmp_path, scoring):
    random = np.random.default_rng(102)
    twice = np.concatenate([ROWS, ROWS])  # every document a second time: nothing but ties
    engine = CompressedEngine([Segment(built(tmp_path / "index", twice, np.concatenate([LENGTHS, LENGTHS])))])
    queries = Ragged.from_arrays([unit_rows(random, 4, 16) for _ in range(6)])
    recipe = XTR.but(scoring=scoring, nprobe=4, candidates=100)
    alone = engine.search(queries, 40, recipe)
    for documents, scores in ((found.documents, found.scores) for found in alone):
        assert sorted(zip(-scores, documents, strict=True)) == list(zip(-scores, documents, strict=True))
        assert len(np.unique(scores)) < len(scores)
    for threads in (2, 3, 7):
        for found, expected in zip(engine.search(queries, 40, recipe, threads=threads), alone, strict=True):
            assert found.documents.tolist() == expected.documents.tolist()
            assert found.scores.tolist() == expected.scores.tolist()


def test_oracle_18_the_papers_table_1():
    assert cost.colbert_flops(16, 100, 55, 128) == 361_881_600
    assert cost.xtr_flops(16, 100, 2.5) == 89_600
    assert cost.colbert_flops(16, 100, 55, 128) / cost.xtr_flops(16, 100, 2.5) > 4000
    assert cost.gathered_bytes(16, 1000, 55, 128) == 450_560_000


@given(SEEDS, st.integers(1, 40))
def test_oracle_18_a_real_search_stays_within_the_closed_forms(seed, k_prime):
    """Operations counted in what token retrieval gave: equal to the forms where no candidate is found twice."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 7, 30)
    corpus, n = random_corpus(random, lengths), 4
    (hits,) = retrieve_tokens(whole(corpus), one(unit_rows(random, n, 8)), k_prime)
    candidates = xtr.candidates_of(hits, len(lengths)).documents
    tokens, retrieved = lengths[candidates].mean(), len(hits.rows) / len(candidates)
    compared, added = len(hits.rows), n * len(candidates)
    multiplied = sum(2 * n * m * 8 + n * m + n for m in lengths[candidates])
    share = len(candidates) / (n * k_prime)
    assert share <= 1
    assert compared + added <= cost.xtr_flops(n, k_prime, retrieved) * share * (1 + 1e-12)
    assert multiplied == pytest.approx(cost.colbert_flops(n, k_prime, tokens, 8) * share)
    assert len(hits.rows) <= n * k_prime


@given(SEEDS, st.integers(1, 32).map(lambda eighths: 8 * eighths), st.sampled_from([4, 8]), st.floats(1e-4, 10))
def test_no_residual_is_farther_than_the_codecs_bound(seed, dim, bits, size):
    random = np.random.default_rng(seed)
    residuals = (size * random.standard_t(2, size=(20, dim))).astype(np.float32)  # some components far out
    nothing = np.zeros_like(residuals)
    codes, scales = GridCodec(bits).encode(residuals, nothing)
    errors = np.linalg.norm(residuals - GridCodec(bits).decode(codes, scales, nothing), axis=1)
    assert (errors <= residual_error_bounds(scales, bits, dim) * (1 + 1e-5)).all()


def test_where_there_is_no_bound_it_is_infinite():
    assert residual_error_bounds(np.float16([1]), 2, 128).tolist() == [np.inf]
    assert 0 < residual_error_bounds(np.float16([1e-3]), 8, 128)[0] < 0.007


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 6), st.sampled_from(["xtr", "maxsim"]))
def test_with_everything_opened_scores_are_within_the_stated_bound_of_the_exact_engines(corpus, seed, n, scoring):
    if corpus.quantiser.bits < 4:
        return
    query = unit_rows(np.random.default_rng(seed), n, 16)
    effort = XTR.but(nprobe=corpus.n_clusters, k_prime=corpus.n_tokens, candidates=corpus.n_documents, reduction="mean")
    documents, scores = ranked(corpus, query, 50, effort.but(scoring=scoring))
    halves = ROWS.astype(np.float16).astype(np.float64)
    exact = np.array([(query @ halves[a:b].T).max(axis=1).mean() for a, b in pairwise(offsets_of(LENGTHS))])
    bound = similarity_error_bounds(corpus, query).mean() + 1e-6
    assert np.abs(scores - exact[documents]).max() <= bound
    assert np.abs(scores - np.sort(exact)[::-1]).max() <= bound
    hits, _ = evidence_of(corpus, query, effort)
    similarities = (np.repeat(query, np.diff(hits.offsets), axis=0) * halves[hits.rows]).sum(axis=1)
    assert np.abs(hits.scores - similarities).max() <= similarity_error_bounds(corpus, query).max() + 1e-6


@settings(max_examples=40)
@given(SEEDS, st.sampled_from(["evenly", "one component", "far out"]))
def test_no_similarity_is_farther_off_than_its_bound(corpus, seed, shape):
    """Query tokens of every shape, whose rounding to 8 bits is coarse where one component is large."""
    if corpus.quantiser.bits < 4:
        return
    random = np.random.default_rng(seed)
    query = unit_rows(random, 5, 16)
    if shape == "one component":  # after rotation
        query = (np.eye(16)[random.integers(0, 16, 5)] @ corpus.quantiser.rotation.T + 0.004 * query).astype(np.float32)
    elif shape == "far out":
        query = (query * random.standard_t(2, size=query.shape)).astype(np.float32)
    index, halves = corpus.segments[0].tokens, ROWS.astype(np.float16).astype(np.float64)
    rounded = quantised(query, corpus.quantiser)
    everything = open_clusters(corpus, rounded, nearest(corpus, rounded, corpus.n_clusters))
    similarities = everything.scores.reshape(5, -1)[:, index.positions]
    off = np.abs(similarities - query.astype(np.float64) @ halves.T).max(axis=1)
    bounds = similarity_error_bounds(corpus, query)
    assert (off <= bounds * (1 + 1e-5)).all()
    # Of rounding alone, against what is decoded.
    decoded = np.concatenate([corpus.vectors(d) for d in range(corpus.n_documents)]).astype(np.float64)
    of_rounding = bounds - np.linalg.norm(query @ corpus.quantiser.rotation, axis=1) * residual_error_bounds(
        index.scales.max(keepdims=True), index.bits, 16
    )
    off = np.abs(similarities - query.astype(np.float64) @ decoded.T).max(axis=1)
    assert (off <= of_rounding + 1e-6 * np.linalg.norm(query, axis=1)).all()
