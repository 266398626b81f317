"""What a missing similarity is worth: one policy, one test."""

import numpy as np
import pytest

from xtrkit.errors import InputError
from xtrkit.scoring.imputation import constant, imputation_named, lowest_retrieved, none
from xtrkit.values import TokenHits


def hits_with(*scores_of_query_tokens):
    """One hit a score, each of its own document."""
    scores = np.float32([score for scores in scores_of_query_tokens for score in scores])
    offsets = np.cumsum([0, *(len(scores) for scores in scores_of_query_tokens)])
    rows = np.concatenate([np.arange(len(scores)) for scores in scores_of_query_tokens])
    return TokenHits(rows, rows.astype(np.int32), scores, offsets)


def test_min_is_the_lowest_similarity_that_was_retrieved():
    np.testing.assert_allclose(lowest_retrieved(hits_with([0.9, 0.5, 0.7], [0.25])), [0.5, 0.25])


def test_min_may_be_negative():
    np.testing.assert_allclose(lowest_retrieved(hits_with([0.5, -0.25])), [-0.25])


def test_min_of_a_query_token_without_hits_tells_nothing_about_any_document():
    np.testing.assert_array_equal(lowest_retrieved(hits_with([], [0.5])), [0.0, 0.5])


def test_constant_is_the_same_for_every_query_token():
    np.testing.assert_array_equal(constant(hits_with([0.9], [0.1]), 0.2), [0.2, 0.2])


def test_none_puts_nothing_in_its_place():
    assert none(hits_with([0.9])) is None


@pytest.mark.parametrize(("name", "expected"), [("min", [0.5]), ("0.2", [0.2]), ("0", [0.0]), ("-1", [-1.0])])
def test_policies_by_name(name, expected):
    np.testing.assert_allclose(imputation_named(name)(hits_with([0.9, 0.5])), expected)


@pytest.mark.parametrize("name", ["max", "", "nan", "inf", "0,2"])
def test_unknown_names_are_refused(name):
    with pytest.raises(InputError, match=r"Unknown imputation .* use 'min'.*'none', or a number"):
        imputation_named(name)
