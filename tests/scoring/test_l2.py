"""The L2 score from the cosine score against its definition."""

import numpy as np
from hypothesis import given

from tests.conftest import searches
from xtrkit.scoring.l2 import l2_scores


@given(searches())
def test_l2_is_the_sum_of_the_least_squared_distances(search):
    corpus, query = search
    rows = corpus.halves.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    query = query.astype(np.float64)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    documents = np.split(rows, corpus.document_offsets[1:-1])
    cosine = np.array([(query @ document.T).max(axis=1).sum() for document in documents])
    slow = [sum(max(-np.sum((token - other) ** 2) for other in document) for token in query) for document in documents]
    np.testing.assert_allclose(l2_scores(cosine, len(query)), slow, atol=1e-9)
