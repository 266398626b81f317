"""Eq. 4 on cases small enough to work out by hand, and against the twin of its kernel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import one, searches, whole
from xtrkit.kernels import reference
from xtrkit.scoring import xtr
from xtrkit.scoring.imputation import constant, lowest_retrieved, none
from xtrkit.search.exact import AllSimilarities, lowest_of
from xtrkit.token_retrieval.exact import retrieve_tokens
from xtrkit.values import TokenHits

# Figure 3 of the paper, with numbers: k' = 2; the first query token retrieved a token of each of two documents, the
# second two tokens of document 0 alone.
FIGURE_3 = TokenHits(
    rows=np.array([0, 5, 1, 2]),
    documents=np.int32([0, 1, 0, 0]),
    scores=np.float32([0.75, 0.5, 0.25, 0.875]),
    offsets=np.array([0, 2, 4]),
)


def scores_of(hits, impute, reduction="mean", n_documents=3):
    missing = impute(AllSimilarities(lowest_of(hits), None)).missing
    documents, scores = xtr.score(hits, n_documents, missing, reduction)
    return dict(zip(documents.tolist(), scores.tolist(), strict=True))


def test_figure_3():
    assert scores_of(FIGURE_3, lowest_retrieved) == {0: (0.75 + 0.875) / 2, 1: (0.5 + 0.25) / 2}


def test_a_constant_stands_in():
    assert scores_of(FIGURE_3, lambda seen: constant(seen, 0.0)) == {0: (0.75 + 0.875) / 2, 1: 0.25}


def test_without_imputation_the_mean_is_over_what_was_retrieved():
    assert scores_of(FIGURE_3, none) == {0: (0.75 + 0.875) / 2, 1: 0.5}


def test_sum_is_n_times_the_mean():
    assert scores_of(FIGURE_3, lowest_retrieved, "sum") == {0: 0.75 + 0.875, 1: 0.75}


def test_documents_that_no_query_token_retrieved_are_no_candidates():
    assert 2 not in scores_of(FIGURE_3, lowest_retrieved)


def test_a_negative_similarity_that_was_retrieved_is_not_absence():
    hits = TokenHits(np.array([0]), np.int32([0]), np.float32([-0.5]), np.array([0, 1]))
    assert scores_of(hits, lambda seen: constant(seen, 0.2)) == {0: -0.5}


def test_no_hits_give_no_candidates():
    hits = TokenHits(np.zeros(0, int), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(3, int))
    assert scores_of(hits, lowest_retrieved) == {}


def test_a_query_token_without_hits_counts_alike_for_all():
    hits = TokenHits(np.array([0, 3]), np.int32([0, 1]), np.float32([0.5, 0.25]), np.array([0, 2, 2]))
    assert scores_of(hits, lowest_retrieved) == {0: 0.25, 1: 0.125}


@given(searches(), st.integers(1, 30))
def test_best_hits_are_those_of_the_twin(search, k_prime):
    corpus, query = search
    (hits,) = retrieve_tokens(whole(corpus), one(query), k_prime)
    candidates = xtr.candidates_of(hits, corpus.n_documents)
    expected = reference.best_hit_per_document(hits)
    assert candidates.documents.tolist() == sorted(expected)
    for row, document in enumerate(candidates.documents.tolist()):
        found = {i: best for i, best in enumerate(candidates.best[row].tolist()) if best != -np.inf}
        assert found == pytest.approx(expected[document])
