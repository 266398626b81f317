"""Exact token retrieval: which tokens are found, and what happens at the edges (systems with few tokens, ties)."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import document_of, one, random_corpus, searches, unit_rows, whole
from xtrkit.kernels import reference
from xtrkit.token_retrieval import exact
from xtrkit.values import Ragged, TokenVectors


@given(searches(), st.integers(1, 80))
def test_finds_the_k_prime_most_similar_tokens(search, k_prime):
    corpus, query = search
    (hits,) = exact.retrieve_tokens(whole(corpus), one(query), k_prime)
    similarities = query @ corpus.halves.astype(np.float32).T
    for i in range(len(query)):
        of = hits.of(i)
        kept = np.sort(-similarities[i])[:k_prime]
        assert len(hits.rows[of]) == min(k_prime, len(corpus.halves))
        np.testing.assert_allclose(np.sort(-hits.scores[of]), kept, atol=1e-6)
        assert (np.diff(hits.rows[of]) > 0).all()
        np.testing.assert_array_equal(hits.documents[of], document_of(corpus)[hits.rows[of]])


@given(searches(values=[0.0, 1.0]), st.integers(1, 20))
def test_of_equal_tokens_the_earlier_are_retrieved(search, k_prime):
    corpus, query = search
    (hits,) = exact.retrieve_tokens(whole(corpus), one(query), k_prime)
    similarities = query @ corpus.halves.astype(np.float32).T
    for i in range(len(query)):
        np.testing.assert_array_equal(hits.rows[hits.of(i)], reference.top_k_rows(similarities[i], k_prime))


@given(searches(), st.integers(1, 20), st.integers(1, 20))
def test_a_narrower_retrieval_is_part_of_a_wider_one(search, k_prime, more):
    corpus, query = search
    (wide,) = exact.retrieve_tokens(whole(corpus), one(query), k_prime + more)
    (narrow,) = exact.retrieve_tokens(whole(corpus), one(query), k_prime)
    for i in range(len(query)):
        assert set(narrow.rows[narrow.of(i)]) <= set(wide.rows[wide.of(i)])


@pytest.mark.parametrize("block_tokens", [1, 7, 4096])
def test_block_size_changes_nothing(monkeypatch, block_tokens):
    random = np.random.default_rng(0)
    corpus = random_corpus(random, [3, 1, 12, 2, 1, 5], values=[0.0, 0.5, 1.0])
    query = random.choice([0.0, 1.0], size=(3, 8)).astype(np.float32)
    spans = list(itertools.pairwise(corpus.document_offsets))
    (expected,) = exact.retrieve_tokens(whole(corpus), one(query), 6)
    monkeypatch.setattr(exact, "BLOCK_TOKENS", block_tokens)
    (hits,) = exact.retrieve_tokens(whole(corpus), one(query), 6)
    np.testing.assert_array_equal(hits.rows, expected.rows)
    expected_sums = [reference.sum_of_max(query, corpus.halves[a:b].astype(np.float32)) for a, b in spans]
    np.testing.assert_allclose(exact.sum_of_max_scores(whole(corpus), one(query)), [expected_sums], atol=1e-5)


def test_a_batch_gives_what_its_queries_give_alone(monkeypatch):
    random = np.random.default_rng(1)
    corpus = random_corpus(random, [3, 4, 2])
    queries = [unit_rows(random, n, 8) for n in (2, 5, 1)]
    alone = [exact.retrieve_tokens(whole(corpus), one(query), 4)[0] for query in queries]
    for buffer_entries in (1, 40, 1 << 24):  # split after each query, somewhere, and not at all
        monkeypatch.setattr(exact, "BUFFER_ENTRIES", buffer_entries)
        together = exact.retrieve_tokens(whole(corpus), Ragged.from_arrays(queries), 4)
        assert [hits.rows.tolist() for hits in together] == [hits.rows.tolist() for hits in alone]


def test_a_corpus_without_tokens_gives_no_hits():
    corpus = TokenVectors(np.zeros((0, 8), np.float16), np.zeros(1, np.int64))
    (hits,) = exact.retrieve_tokens(whole(corpus), one(np.ones((2, 8), np.float32)), 5)
    assert hits.n_query_tokens == 2
    assert len(hits.rows) == 0
