"""What a missing similarity is worth: one policy, one test."""

import numpy as np
import pytest

from xtrkit.errors import InputError
from xtrkit.recipes import XTR
from xtrkit.scoring.imputation import (
    Imputation,
    constant,
    cumulated,
    found,
    imputation_named,
    lowest_retrieved,
    none,
)
from xtrkit.search.exact import AllSimilarities, lowest_of
from xtrkit.values import TokenHits


def hits_with(*scores_of_query_tokens):
    """One hit a score, each of its own document."""
    scores = np.float32([score for scores in scores_of_query_tokens for score in scores])
    offsets = np.cumsum([0, *(len(scores) for scores in scores_of_query_tokens)])
    rows = np.concatenate([np.arange(len(scores)) for scores in scores_of_query_tokens])
    return TokenHits(rows, rows.astype(np.int32), scores, offsets)


def seen(*scores_of_query_tokens):
    return AllSimilarities(lowest_of(hits_with(*scores_of_query_tokens)), None)


def test_min_is_the_lowest_similarity_that_was_retrieved():
    np.testing.assert_allclose(lowest_retrieved(seen([0.9, 0.5, 0.7], [0.25])).missing, [0.5, 0.25])


def test_min_may_be_negative():
    np.testing.assert_allclose(lowest_retrieved(seen([0.5, -0.25])).missing, [-0.25])


def test_min_of_a_query_token_without_hits_tells_nothing_about_any_document():
    np.testing.assert_array_equal(lowest_retrieved(seen([], [0.5])).missing, [0.0, 0.5])


def test_constant_is_the_same_for_every_query_token():
    np.testing.assert_array_equal(constant(seen([0.9], [0.1]), 0.2).missing, [0.2, 0.2])


def test_none_puts_nothing_in_its_place():
    assert none(seen([0.9])).missing is None


def test_found_bounds_the_lowest_seen_by_the_last_centroid_where_clusters_stayed_closed():
    class Closed:
        complete = np.array([False, False, True])

        def kth_seen(self):
            return np.float32([0.1, 0.8, 0.1])

        def last_opened(self):
            return np.float32([0.5, 0.5, 0.5])

    np.testing.assert_array_equal(found(Closed()).lowest, np.float32([0.5, 0.8, 0.1]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("min", 0.5), ("found", 0.5), ("retrieved", 0.5), ("centroid", 0.5), ("0.2", 0.2), ("0", 0.0), ("-1", -1.0)],
)
def test_policies_by_name(name, expected):
    lowest, missing = imputation_named(name)(seen([0.9, 0.5]))
    np.testing.assert_allclose(missing, [expected])
    assert lowest[0] <= 0.5


def test_t_5000_is_the_estimate_of_warp_for_so_many_tokens():
    assert imputation_named("t5000") == Imputation(cumulated, 5000)
    assert imputation_named("t1.5e3") == Imputation(cumulated, 1500)


@pytest.mark.parametrize(
    "name", ["max", "", "nan", "inf", "0,2", "t", "t0", "t-5", "tnan", "MIN", " min", None, True, []]
)
def test_unknown_names_are_refused_wherever_they_are_given(name):
    for given in (imputation_named, lambda name: XTR.but(imputation=name)):
        with pytest.raises(InputError, match=r"Unknown imputation .* use 'min'.*'none', 't5000'.* or a number"):
            given(name)


def test_a_number_is_a_name():
    assert XTR.but(imputation=0.25) == XTR.but(imputation="0.25")
