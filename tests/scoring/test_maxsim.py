"""MaxSim of given vectors."""

import numpy as np
import pytest

from xtrkit.kernels.reference import sum_of_max
from xtrkit.scoring.maxsim import maxsim_ranking


@pytest.mark.parametrize("k", [None, 1, 3, 9])
def test_documents_are_ranked_by_their_maxsim(k):
    random = np.random.default_rng(0)
    query = random.normal(size=(4, 8)).astype(np.float32)
    documents = [random.normal(size=(n, 8)).astype(np.float32) for n in (3, 1, 7, 2, 5)]
    documents.append(documents[1])  # an equal, which comes later
    expected = [sum_of_max(query, document) for document in documents]
    order = sorted(range(6), key=lambda place: -expected[place])[:k]
    places, scores = maxsim_ranking(query, documents, k)
    assert places.tolist() == order
    np.testing.assert_allclose(scores, [expected[place] for place in order], rtol=1e-6)


def test_of_no_documents_there_are_none():
    places, scores = maxsim_ranking(np.ones((2, 4), np.float32), [])
    assert (len(places), len(scores)) == (0, 0)
