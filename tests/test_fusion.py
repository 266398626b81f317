"""Fusion by values that were computed by hand."""

import numpy as np
import pytest

from xtrkit.errors import InputError
from xtrkit.fusion import Fused, check_fusion, fused
from xtrkit.search.engine import Ranked


def ranked(*pairs):
    documents, scores = zip(*pairs, strict=True) if pairs else ((), ())
    return Ranked(np.array(documents, dtype=np.int64), np.array(scores, dtype=np.float64))


TOKENS = ranked((7, 0.9), (3, 0.8), (5, 0.5))
WORDS = ranked((5, 12.0), (7, 6.0), (1, 2.0))


def test_reciprocal_ranks():
    found = fused(TOKENS, WORDS, "rrf", 0.5)
    assert [one.document for one in found] == [7, 5, 3, 1]
    expected = [0.5 / 61 + 0.5 / 62, 0.5 / 63 + 0.5 / 61, 0.5 / 62, 0.5 / 63]
    assert [one.score for one in found] == pytest.approx(expected, abs=1e-15)
    assert found[2] == Fused(3, 0.5 / 62, 0.8, None)
    assert found[3] == Fused(1, 0.5 / 63, None, 2.0)


def test_normalised_scores():
    found = fused(TOKENS, WORDS, "relative", 0.75)
    assert [one.document for one in found] == [7, 3, 5, 1]
    expected = [0.75 * 1 + 0.25 * 0.4, 0.75 * 0.75, 0.25 * 1, 0]
    assert [one.score for one in found] == pytest.approx(expected, abs=1e-15)
    assert (found[0].tokens, found[0].words) == (0.9, 6.0)


@pytest.mark.parametrize("fusion", ["rrf", "relative"])
def test_the_share_of_the_tokens_decides(fusion):
    assert [one.document for one in fused(TOKENS, WORDS, fusion, 1)][:2] == [7, 3]
    assert [one.document for one in fused(TOKENS, WORDS, fusion, 0)][:2] == [5, 7]


def test_equals_come_in_the_order_in_which_they_were_indexed():
    found = fused(ranked((9, 1.0), (2, 1.0)), ranked(), "relative", 0.75)
    assert found == [Fused(2, 0.75, 1.0, None), Fused(9, 0.75, 1.0, None)]
    assert [one.document for one in fused(ranked((9, 3.0)), ranked((2, 3.0)), "rrf", 0.5)] == [2, 9]


def test_nothing_and_one_document():
    assert fused(ranked(), ranked(), "rrf", 0.5) == []
    assert fused(ranked(), ranked((4, 2.5)), "relative", 0.75) == [Fused(4, 0.25, None, 2.5)]


@pytest.mark.parametrize(
    ("fusion", "alpha", "message"),
    [
        ("sum", None, "The fusion must be 'rrf', 'relative' or None, got 'sum'"),
        ("", None, "got ''"),
        (None, 0.5, "alpha=0.5 weighs token vectors and words: choose a fusion"),
        ("rrf", 1.01, "alpha must be a number from 0 .* to 1 .*, got 1.01"),
        ("rrf", -0.1, "got -0.1"),
        ("relative", float("nan"), "got nan"),
        ("relative", True, "got True"),
        ("relative", "0.5", "got '0.5'"),
    ],
)
def test_what_is_no_fusion_is_refused(fusion, alpha, message):
    with pytest.raises(InputError, match=message):
        check_fusion(fusion, alpha)


@pytest.mark.parametrize(("fusion", "alpha"), [(None, None), ("rrf", None), ("relative", 0), ("rrf", 1), ("rrf", 0.3)])
def test_what_is_one_is_not(fusion, alpha):
    check_fusion(fusion, alpha)
