"""What the benchmark against the peers measures with: its sets, exact rankings, XTR on a vector library, goals."""

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


def test_a_gathered_set_lies_as_close_together_as_was_asked(peers, prepared, tmp_path):
    prepare, contract = peers("prepare"), peers("contract")
    out = tmp_path / "close"
    out.mkdir()
    before = contract.Data(prepared)
    kept = 20
    prepare.gather(out, prepared, 0.9, before.offsets[kept])
    after = contract.Data(out)
    vectors = after.floats()
    cosines = vectors @ vectors.T
    assert cosines[~np.eye(len(vectors), dtype=bool)].mean() == pytest.approx(0.9, abs=1e-3)
    assert np.linalg.norm(after.queries[2], axis=1) == pytest.approx(1, abs=1e-5)
    assert (after.lengths == before.lengths[:kept]).all()
    # Documents and queries alike went towards one direction: each lies in the plane of that and of what it was.
    direction = np.random.default_rng(0).normal(size=DIM)
    for now, then in zip(
        np.concatenate([vectors, *after.queries]),
        np.concatenate([before.floats()[: len(vectors)], *before.queries]),
        strict=True,
    ):
        assert np.linalg.svd(np.stack([now, then, direction]))[1][-1] < 1e-2


def test_pieces_have_one_number_in_all_parts(peers, tmp_path):
    parts = []
    for name, pieces, tokens in (("a", ["x", "y"], [0, 1, 1]), ("b", ["z", "y"], [1, 0])):
        parts.append(tmp_path / name)
        parts[-1].mkdir()
        (parts[-1] / "pieces.json").write_text(json.dumps(pieces))
        np.array(tokens, dtype=np.int32).tofile(parts[-1] / "vocabulary.raw")
    assert peers("prepare").numbered_pieces(parts).tolist() == [0, 1, 1, 1, 2]


def _row(engine, setting, milliseconds, recall):
    recalls = dict.fromkeys(("XTR@10", "XTR@100", "MaxSim@10", "MaxSim@100"), recall)
    return {"engine": engine, "setting": setting, "CPU ms p50": milliseconds, "CPU ms p95": 2 * milliseconds, **recalls}


def test_goals_compare_with_the_cheapest_setting_that_is_as_good(peers):
    rows = [
        _row("xtrkit", "XTR, nprobe 4", 1, 0.5),
        _row("xtrkit", "XTR, nprobe 8", 2, 0.8),
        _row("xtrkit", "XTR, nprobe 16", 4, 0.9),
        _row("xtrkit", "ColBERT, nprobe 8", 1.5, 0.8),  # the other mode
        _row("xtr-warp-rs", "default", 40, 0.75),
        _row("xtr-warp-rs", "nprobe 32", 50, 0.85),
        _row("xtr-warp-rs", "best", 60, 0.95),
        _row("tachiom", "60 centroids", 90, 0.7),  # no goal
    ]
    costs = {"lemur": {"build_cpu_s": 30}, "xtrkit": {"build_cpu_s": 60}}
    first, second, third, build = peers("goals").goals_met(rows, costs)
    assert first[3:] == ["xtrkit, XTR, nprobe 8", "2.00, 4.00", "20.0", "≥ 15", "yes"]
    assert second[3:] == ["xtrkit, XTR, nprobe 16", "4.00, 8.00", "12.5", "≥ 15", "no"]
    assert third[3:] == ["none", "–", "–", "≥ 15", "no"]
    assert build == ["lemur, build", "–", "30 s", "xtrkit", "60.0 s", "0.5", "≥ 1", "no"]
