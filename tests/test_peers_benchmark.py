"""What the benchmark against the peers measures with: its exact rankings, and XTR on top of a vector library."""

import importlib
import json

import numpy as np
import pytest

from tests.conftest import ROOT
from xtrkit.index import Index

DOCUMENTS, DIM, K = 40, 16, 10


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "peers"))
    return importlib.import_module


@pytest.fixture
def prepared(tmp_path):
    """A folder as prepare.py leaves it."""
    rng = np.random.default_rng(3)
    lengths, query_lengths = rng.integers(1, 12, DOCUMENTS), np.array([4, 1, 7])
    for name, count, kind in (("documents", lengths.sum(), "f2"), ("queries", query_lengths.sum(), "f4")):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(count, DIM)).astype(kind))
    np.save(tmp_path / "lengths.npy", lengths)
    np.save(tmp_path / "query_lengths.npy", query_lengths)
    np.save(tmp_path / "vocabulary.npy", np.zeros(lengths.sum(), dtype=np.int32))
    (tmp_path / "meta.json").write_text(json.dumps({"ids": [], "query_ids": [], "qrels": {}}))
    return tmp_path


def test_its_exact_rankings_are_the_exact_engines(peers, prepared, monkeypatch):
    oracle, data = peers("oracle"), peers("contract").Data(prepared)
    monkeypatch.setattr(oracle, "K_PRIME", 30)
    monkeypatch.setattr(oracle, "ROWS", 50)  # several blocks
    index = Index.create(prepared / "idx", [[data.document(n) for n in range(DOCUMENTS)]], nbits=16)
    expected = {
        "XTR": index.search_batch(data.queries, K, k_prime=30),
        "MaxSim": index.search_batch(data.queries, K, scoring="maxsim"),
    }
    found = oracle.exact_rankings(data, K, [0, 2])
    for name, rankings in expected.items():
        assert found[name][0].tolist() == rankings[0].documents.tolist()
        assert found[name][2].tolist() == rankings[2].documents.tolist()
        assert (found[name][1] == -1).all()  # was not asked for
    assert (oracle.exact_rankings(data, K, [1])["XTR"][0] == found["XTR"][0]).all()  # kept


def test_xtr_on_top_of_a_vector_library(peers):
    """Against the definition: the best retrieved similarity of each document, or else the lowest that is valid."""
    search = peers("token_search").TokenSearch(16, 1)
    rng = np.random.default_rng(4)
    lengths = rng.integers(1, 8, DOCUMENTS)
    search.document_of, search.n_documents = np.repeat(np.arange(DOCUMENTS), lengths), DOCUMENTS
    search.winner = np.empty(0, dtype=np.int64)
    rows = np.array([rng.permutation(lengths.sum())[:50] for _ in range(5)])
    similarities = -np.sort(-rng.random((5, 50)), axis=1)
    rows[2, 30:], similarities[2, 30:] = -1, -np.inf
    scores = np.zeros(DOCUMENTS)
    for token in range(5):
        kept = rows[token] >= 0
        best = np.full(DOCUMENTS, similarities[token][kept].min())
        np.maximum.at(best, search.document_of[rows[token][kept]], similarities[token][kept])
        scores += best
    assert search.ranked(rows, similarities, K) == np.argsort(-scores)[:K].tolist()
