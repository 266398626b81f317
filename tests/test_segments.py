"""Segments, dead documents and subsets: a search finds what it finds in one index of the living, filtered."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compressed.building import built, evidence_of, ranked
from tests.conftest import one, random_corpus, search_exactly, unit_rows
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.kernels.gathering import ROWS_PER_MARK
from xtrkit.recipes import COLBERT, XTR
from xtrkit.token_retrieval.corpus import ClusteredCorpus, ExactCorpus
from xtrkit.token_retrieval.exact import retrieve_tokens
from xtrkit.values import Segment, TokenVectors, offsets_of

RANDOM = np.random.default_rng(21)
LENGTHS = RANDOM.integers(1, 9, 60)
SEEDS = st.integers(0, 2**32 - 1)
EVERY_WAY = [("xtr", name) for name in ("min", "found", "centroid", "none", "0.2", "t9")] + [("maxsim", "min")]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    random = np.random.default_rng(131)
    return built(tmp_path_factory.mktemp("compressed") / "index", unit_rows(random, LENGTHS.sum(), 16), LENGTHS)


def part_of(index: CompressedTokens, kept) -> CompressedTokens:
    """Some documents of an index, in their order, as an index with the same centroids."""
    numbers = np.full(index.n_documents, -1)
    numbers[kept] = np.arange(len(kept))
    rows = np.flatnonzero(numbers[index.documents] >= 0)
    new_row = np.full(index.n_tokens, -1)
    new_row[rows] = np.arange(len(rows))
    clusters = index.clusters_of(rows)
    offsets = offsets_of(np.bincount(clusters, minlength=index.n_clusters))
    lengths = np.diff(index.document_offsets)[kept]
    tokens = np.concatenate([np.arange(0)] + [np.arange(*index.document_offsets[[d, d + 1]]) for d in kept])
    marked = np.arange(0, len(rows), ROWS_PER_MARK)
    return replace(
        index,
        cluster_offsets=offsets,
        codes=np.ascontiguousarray(index.codes[rows]),
        scales=np.ascontiguousarray(index.scales[rows]),
        documents=numbers[index.documents[rows]].astype(np.int32),
        positions=new_row[index.positions[tokens]].astype(np.uint32),
        document_offsets=offsets_of(lengths),
        marks=(np.searchsorted(offsets, marked, side="right") - 1).astype(np.int32),
    )


def splits(random, n_documents):
    """Documents in one to five runs, some of them dead: borders and (N,) live."""
    borders = np.sort(random.choice(np.arange(1, n_documents), random.integers(0, 5), replace=False))
    live = random.random(n_documents) < random.choice([0.3, 0.8, 1.0])
    live[random.integers(n_documents)] = True
    return [0, *borders.tolist(), n_documents], live


def query_of(random):
    return unit_rows(random, int(random.integers(1, 6)), 16)


@settings(max_examples=40)
@given(SEEDS, st.sampled_from(EVERY_WAY), st.integers(1, 12), st.integers(1, 70))
def test_oracle_16_segments_with_dead_documents_are_an_index_of_the_living(index, seed, way, nprobe, k):
    """Same centroids: same documents, same scores to the last bit, whatever stands for missing similarities."""
    random = np.random.default_rng(seed)
    borders, live = splits(random, index.n_documents)
    alive = np.flatnonzero(live)
    segments = [
        Segment(part_of(index, np.arange(a, b)), np.zeros(0, bool) if live[a:b].all() else live[a:b])
        for a, b in pairwise(borders)
    ]
    rebuilt, corpus = ClusteredCorpus([Segment(part_of(index, alive))]), ClusteredCorpus(segments)
    assert corpus.n_tokens == rebuilt.n_tokens
    scoring, imputation = way
    effort = XTR.but(nprobe=nprobe, k_prime=9, imputation=imputation)
    query = query_of(random)
    expected, of_expected = ranked(rebuilt, query, k, effort.but(scoring=scoring))
    found, scores = ranked(corpus, query, k, effort.but(scoring=scoring))
    assert found.tolist() == alive[expected].tolist()
    assert scores.tolist() == of_expected.tolist()


def test_vectors_and_evidence_of_segments(index):
    random = np.random.default_rng(104)
    borders, live = splits(np.random.default_rng(3), index.n_documents)
    segments = [Segment(part_of(index, np.arange(a, b)), live[a:b]) for a, b in pairwise(borders)]
    corpus, merged = ClusteredCorpus(segments), ClusteredCorpus([Segment(index, live)])
    assert corpus.document_offsets.tolist() == index.document_offsets.tolist()
    for document in range(index.n_documents):
        np.testing.assert_array_equal(corpus.vectors(document), merged.vectors(document))
    for effort in (XTR, XTR.but(nprobe=3, k_prime=7)):
        query = query_of(random)
        (hits, missing), (expected, of_expected) = (
            evidence_of(corpus, query, effort),
            evidence_of(merged, query, effort),
        )
        assert live[hits.documents].all()
        assert hits.rows.tolist() == expected.rows.tolist()
        assert hits.scores.tolist() == expected.scores.tolist()
        assert missing.tolist() == of_expected.tolist()


@settings(max_examples=40)
@given(SEEDS, st.sampled_from(["min", "found", "0.2", "none"]), st.integers(1, 8), st.integers(1, 12))
def test_a_subset_is_a_filter(index, seed, imputation, nprobe, k):
    """Documents that are reached have the scores, to the last bit, and the order that they have without a filter."""
    random = np.random.default_rng(seed)
    corpus = ClusteredCorpus([Segment(index, random.random(index.n_documents) < 0.9)])
    subset, query = random.random(index.n_documents) < random.choice([0.02, 0.2, 0.7]), query_of(random)
    effort = XTR.but(nprobe=nprobe, k_prime=20, imputation=imputation)
    hits, missing = evidence_of(corpus, query, effort)
    n_reached = len(np.unique(hits.documents))
    everyone, of_everyone = ranked(corpus, query, n_reached, effort)
    inside = subset[everyone]
    found, scores = ranked(corpus, query, k, effort, subset)
    assert len(found) == min(k, np.count_nonzero(subset & corpus.findable))
    assert subset[found].all()
    assert (np.diff(scores) <= 0).all()
    filtered = dict(zip(everyone[inside].tolist(), of_everyone[inside].tolist(), strict=True))
    reached = [document for document in found.tolist() if document in filtered]
    assert [s for d, s in zip(found.tolist(), scores.tolist(), strict=True) if d in filtered] == [
        filtered[document] for document in reached
    ]
    assert reached == everyone[inside].tolist()[: len(reached)]
    left_out = [score for document, score in filtered.items() if document not in reached]
    assert max(left_out, default=-np.inf) <= scores.min(initial=np.inf)
    if imputation == "min" and len(reached) < len(filtered):
        assert len(reached) == len(found) or max(left_out) == pytest.approx(missing.mean())  # a draw
    similarities = [(query @ corpus.vectors(d).T).max(axis=1) for d in found]
    for document, score, similarity in zip(found.tolist(), scores, similarities, strict=True):
        if document not in filtered:
            assert score == pytest.approx(np.minimum(similarity, 0.0 if missing is None else missing).mean(), abs=2e-3)


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 8), st.integers(1, 12))
def test_a_large_subset_is_searched_again_until_k_of_it_are_reached(index, monkeypatch_module, seed, nprobe, k):
    random = np.random.default_rng(seed)
    corpus, query = ClusteredCorpus([Segment(index)]), query_of(random)
    subset = random.random(index.n_documents) < 0.5
    monkeypatch_module.setattr("xtrkit.search.widening.FILLED_UP", 0)
    effort = XTR.but(nprobe=nprobe, k_prime=2)
    found, scores = ranked(corpus, query, k, effort, subset)
    monkeypatch_module.undo()
    assert len(found) == min(k, np.count_nonzero(subset))
    while True:
        hits, _ = evidence_of(corpus, query, effort)
        reached = np.unique(hits.documents)
        if np.count_nonzero(subset[reached]) >= len(found):
            break
        effort = effort.but(nprobe=2 * effort.nprobe, k_prime=2 * effort.k_prime)
    everyone, of_everyone = ranked(corpus, query, len(reached), effort)
    assert found.tolist() == everyone[subset[everyone]].tolist()[:k]
    assert scores.tolist() == of_everyone[subset[everyone]].tolist()[:k]


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 70))
def test_maxsim_of_a_small_subset_is_exhaustive(index, seed, k):
    random = np.random.default_rng(seed)
    corpus, query = ClusteredCorpus([Segment(index)]), query_of(random)
    subset = random.random(index.n_documents) < 0.4
    everyone, of_everyone = ranked(corpus, query, 60, COLBERT.but(candidates=60))
    for candidates in (None, 60):
        found, scores = ranked(corpus, query, k, COLBERT.but(nprobe=1, candidates=candidates), subset)
        assert found.tolist() == everyone[subset[everyone]].tolist()[:k]
        assert scores.tolist() == of_everyone[subset[everyone]].tolist()[:k]


def exact_case(seed):
    """Vectors whose products are exact in any order of summation, cut into segments, some documents dead."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 6, random.integers(1, 30))
    corpus = random_corpus(random, lengths, values=np.arange(-8, 9) / 8)
    borders, live = (
        splits(random, len(lengths)) if len(lengths) > 5 else ([0, len(lengths)], np.ones(len(lengths), bool))
    )
    rows_of = [slice(*corpus.document_offsets[list(border)]) for border in pairwise(borders)]
    segments = [
        Segment(TokenVectors(corpus.halves[rows], offsets_of(lengths[a:b])), live[a:b])
        for rows, (a, b) in zip(rows_of, pairwise(borders), strict=True)
    ]
    alive = np.flatnonzero(live)
    rows = np.repeat(live, lengths)
    rebuilt = ExactCorpus([Segment(TokenVectors(corpus.halves[rows], offsets_of(lengths[alive])))])
    query = (random.integers(-8, 9, (random.integers(1, 5), 8)) / 8).astype(np.float32)
    return random, ExactCorpus(segments), rebuilt, alive, query


@pytest.mark.parametrize("recipe", [XTR.but(k_prime=7), XTR.but(k_prime=4, imputation="none"), COLBERT])
@given(seed=SEEDS, k=st.integers(1, 30))
def test_exact_segments_with_dead_documents_are_an_index_of_the_living(recipe, seed, k):
    _, corpus, rebuilt, alive, query = exact_case(seed)
    (expected,) = search_exactly(rebuilt, one(query), k, recipe)
    (found,) = search_exactly(corpus, one(query), k, recipe)
    assert found.documents.tolist() == alive[expected.documents].tolist()
    assert found.scores.tolist() == expected.scores.tolist()
    assert found.k_prime == expected.k_prime


@pytest.mark.parametrize("recipe", [XTR.but(k_prime=7), COLBERT])
@given(seed=SEEDS, k=st.integers(1, 30))
def test_an_exact_subset_is_a_filter_of_an_exhaustive_ranking(recipe, seed, k):
    random, corpus, _, _, query = exact_case(seed)
    subset = random.random(corpus.n_documents) < random.choice([0.1, 0.5])
    (sums,) = (found.scores for found in search_exactly(corpus, one(query), 10**6, COLBERT.but(reduction="mean")))
    (order,) = (found.documents for found in search_exactly(corpus, one(query), 10**6, COLBERT))
    expected = dict(zip(order.tolist(), sums.tolist(), strict=True))
    if recipe.scoring == "xtr":  # documents without a hit keep their MaxSim: below every document with one
        (hits,) = retrieve_tokens(corpus, one(query), 7)
        (reached,) = search_exactly(corpus, one(query), len(np.unique(hits.documents)), recipe)
        expected |= dict(zip(reached.documents.tolist(), reached.scores.tolist(), strict=True))
    else:
        expected = {document: score * len(query) for document, score in expected.items()}
    ranked = sorted((-score, document) for document, score in expected.items() if subset[document])[:k]
    (found,) = search_exactly(corpus, one(query), k, recipe, subset)
    np.testing.assert_allclose(found.scores, [-score for score, _ in ranked], rtol=1e-12)
    assert found.documents.tolist() == [document for _, document in ranked]
