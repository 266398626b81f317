"""The properties that tie XTR, ColBERT and the paper's page of NumPy together (``docs/paper-map.md``)."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.conftest import document_of, one, random_corpus, search_exactly, searches, unit_rows, whole
from xtrkit.recipes import COLBERT, XTR
from xtrkit.scoring import xtr
from xtrkit.search.exact import lowest_of
from xtrkit.token_retrieval.exact import retrieve_tokens, sum_of_max_scores
from xtrkit.values import TokenVectors


def xtr_scores(corpus, query, k_prime):
    (hits,) = retrieve_tokens(whole(corpus), one(query), k_prime)
    documents, scores = xtr.score(hits, corpus.n_documents, lowest_of(hits).astype(np.float64))
    return dict(zip(documents.tolist(), scores.tolist(), strict=True))


def maxsim_scores(corpus, query):
    return sum_of_max_scores(whole(corpus), one(query))[0] / len(query)


@pytest.mark.parametrize("imputation", ["min", "none", "0.2"])
@given(search_case=searches(), k_prime=st.integers(1, 80))
def test_search_is_the_paper_on_one_page(one_page, imputation, search_case, k_prime):
    corpus, query = search_case
    tokens = corpus.halves.astype(np.float32)
    expected = one_page.xtr(query, tokens, document_of(corpus), k_prime, imputation)
    recipe = XTR.but(k_prime=k_prime, imputation=imputation)
    (found,) = search_exactly(whole(corpus), one(query), len(expected), recipe)
    assert found.k_prime == min(k_prime, len(tokens))
    assert dict(zip(found.documents.tolist(), found.scores.tolist(), strict=True)) == pytest.approx(expected, abs=1e-6)


@given(searches())
def test_maxsim_is_the_paper_on_one_page(one_page, search_case):
    corpus, query = search_case
    expected = one_page.colbert(query, corpus.halves.astype(np.float32), document_of(corpus))
    (found,) = search_exactly(whole(corpus), one(query), len(expected), COLBERT.but(reduction="mean"))
    assert dict(zip(found.documents.tolist(), found.scores.tolist(), strict=True)) == pytest.approx(expected, abs=1e-6)


@given(searches())
def test_a_with_k_prime_of_all_tokens_xtr_is_maxsim_to_the_last_bit(search_case):
    corpus, query = search_case
    n_documents, n_tokens = corpus.n_documents, corpus.n_tokens
    (all_tokens,) = search_exactly(whole(corpus), one(query), n_documents, XTR.but(k_prime=n_tokens, reduction="sum"))
    (maxsim,) = search_exactly(whole(corpus), one(query), n_documents, COLBERT)
    np.testing.assert_array_equal(all_tokens.documents, maxsim.documents)
    np.testing.assert_array_equal(all_tokens.scores, maxsim.scores)


@given(searches(), st.integers(1, 40))
def test_b_xtr_bounds_maxsim_from_above(search_case, k_prime):
    corpus, query = search_case
    exact = maxsim_scores(corpus, query)
    (hits,) = retrieve_tokens(whole(corpus), one(query), k_prime)
    complete = ~np.isneginf(xtr.candidates_of(hits, len(exact)).best).any(axis=1)
    for (document, score), nothing_missing in zip(xtr_scores(corpus, query, k_prime).items(), complete, strict=True):
        assert score >= exact[document] - 1e-6
        if nothing_missing:
            assert score == pytest.approx(exact[document], abs=1e-6)


@given(searches(), st.integers(1, 30), st.integers(1, 30))
def test_c_a_documents_score_never_rises_with_k_prime(search_case, k_prime, more):
    corpus, query = search_case
    wider = xtr_scores(corpus, query, k_prime + more)
    for document, score in xtr_scores(corpus, query, k_prime).items():
        assert wider[document] <= score + 1e-6


@given(searches(), st.integers(1, 30), st.randoms(use_true_random=False))
def test_d_the_order_of_tokens_within_a_document_changes_nothing(search_case, k_prime, random):
    corpus, query = search_case
    similarities = query @ corpus.halves.astype(np.float32).T
    assume(
        all(len(np.unique(row)) == len(row) for row in similarities)
    )  # which of equal tokens is retrieved may change
    order = [
        row
        for first, last in itertools.pairwise(corpus.document_offsets.tolist())
        for row in random.sample(range(first, last), last - first)
    ]
    shuffled = TokenVectors(corpus.halves[order], corpus.document_offsets)
    assert xtr_scores(shuffled, query, k_prime) == pytest.approx(xtr_scores(corpus, query, k_prime), abs=1e-6)


@given(searches(), st.integers(1, 30), st.integers(1, 12))
def test_mean_ranks_as_sum(search_case, k_prime, k):
    corpus, query = search_case
    (mean,) = search_exactly(whole(corpus), one(query), k, XTR.but(k_prime=k_prime))
    (total,) = search_exactly(whole(corpus), one(query), k, XTR.but(k_prime=k_prime, reduction="sum"))
    np.testing.assert_array_equal(mean.documents, total.documents)
    np.testing.assert_allclose(mean.scores * len(query), total.scores)


@given(searches(), st.integers(1, 30), st.integers(1, 15))
def test_always_k_documents_where_there_are_k(search_case, k_prime, k):
    corpus, query = search_case
    n_documents = corpus.n_documents
    for recipe in (XTR.but(k_prime=k_prime), COLBERT):
        (found,) = search_exactly(whole(corpus), one(query), k, recipe)
        assert len(found.documents) == len(found.scores) == min(k, n_documents)
        assert len(set(found.documents.tolist())) == len(found.documents)
        assert (np.diff(found.scores) <= 0).all()


@given(searches(values=[0.0, 1.0]), st.integers(1, 30))
def test_of_equal_scores_the_document_indexed_first_wins(search_case, k_prime):
    corpus, query = search_case
    n_documents = corpus.n_documents
    (all_of_them,) = search_exactly(whole(corpus), one(query), n_documents, XTR.but(k_prime=corpus.n_tokens))
    ranked = list(zip(-all_of_them.scores, all_of_them.documents, strict=True))
    assert ranked == sorted(ranked)
    for k in range(1, n_documents):
        (best,) = search_exactly(whole(corpus), one(query), k, XTR.but(k_prime=corpus.n_tokens))
        np.testing.assert_array_equal(best.documents, all_of_them.documents[:k])


def test_a_search_changes_nothing_for_the_next():
    random = np.random.default_rng(3)
    corpus = random_corpus(random, [3, 1, 4, 2, 6])
    query = unit_rows(random, 3, 8)
    (before,) = search_exactly(whole(corpus), one(query), 5, XTR.but(k_prime=2))
    search_exactly(whole(corpus), one(query), 1, XTR.but(k_prime=7, imputation="none"))
    search_exactly(whole(corpus), one(query), 5, COLBERT)
    (after,) = search_exactly(whole(corpus), one(query), 5, XTR.but(k_prime=2))
    np.testing.assert_array_equal(before.documents, after.documents)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_documents_of_one_token():
    corpus = TokenVectors(np.eye(3, dtype=np.float16), np.arange(4))
    (found,) = search_exactly(whole(corpus), one(np.float32([[0.6, 0.8, 0.0]])), 3, XTR.but(k_prime=1))
    assert found.documents.tolist() == [1, 0, 2]
    assert found.k_prime == 3  # doubled until three documents were found, or all tokens were looked at
    np.testing.assert_allclose(found.scores, [0.8, 0.6, 0.0], atol=1e-6)
