"""The nouns that travel."""

import numpy as np
import pytest

from xtrkit.errors import InputError
from xtrkit.recipes import XTR
from xtrkit.search.engine import Ranking
from xtrkit.values import Ragged, TokenHits


def test_ragged_is_a_sequence_of_its_texts():
    arrays = [np.full((n, 2), n, np.float32) for n in (2, 0, 1)]
    ragged = Ragged.from_arrays(arrays)
    assert len(ragged) == 3
    assert ragged.dim == 2
    assert ragged.lengths.tolist() == [2, 0, 1]
    assert ragged.offsets.tolist() == [0, 2, 2, 3]
    for given, got in zip(arrays, ragged, strict=True):
        np.testing.assert_array_equal(given, got)
    np.testing.assert_array_equal(ragged[-1], arrays[-1])
    with pytest.raises(IndexError):
        ragged[3]


def test_ragged_views_its_rows():
    ragged = Ragged(np.zeros((3, 2), np.float32), np.array([1, 2]))
    assert np.shares_memory(ragged[1], ragged.rows)


def test_ragged_of_nothing_needs_a_dimension():
    assert Ragged.from_arrays([], dim=4).rows.shape == (0, 4)
    with pytest.raises(InputError, match="needs the dimension"):
        Ragged.from_arrays([])


@pytest.mark.parametrize(
    ("rows", "lengths", "message"),
    [
        (np.zeros((3, 2)), np.array([1, 1]), "lengths add up to 2, but there are 3 rows"),
        (np.zeros(3), np.array([3]), r"two axes \(tokens, dimensions\), got shape \(3,\)"),
        (np.zeros((3, 2)), np.array([4, -1]), "not negative"),
    ],
)
def test_ragged_that_does_not_fit(rows, lengths, message):
    with pytest.raises(InputError, match=message):
        Ragged(rows, lengths)


def test_hits_of_a_query_token():
    hits = TokenHits(np.arange(3), np.zeros(3, np.int32), np.zeros(3, np.float32), np.array([0, 2, 2, 3]))
    assert hits.n_query_tokens == 3
    assert [hits.rows[hits.of(i)].tolist() for i in range(3)] == [[0, 1], [], [2]]


def test_a_ranking_is_pairs_of_id_and_score():
    ranking = Ranking(np.array([4, 2]), np.array([0.5, 0.25]), XTR, ids=["d4", "d2"])
    assert len(ranking) == 2
    assert list(ranking) == [("d4", 0.5), ("d2", 0.25)]
