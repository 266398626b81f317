"""Encoders and rerankers go to other processes by name: what is opened there is the same model."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from tests.encoding import checkpoint_factory as factory
from tests.encoding.described import QUERY, described
from xtrkit.encoding import load_encoder
from xtrkit.errors import ModelError
from xtrkit.reranking import load_reranker

TEXTS = ["the late token", "document token", ""]


def assert_same(found, encoder):
    identity, rows, query_length = described(encoder)
    assert (found[0], found[2]) == (identity, query_length)
    np.testing.assert_array_equal(found[1], rows)


def test_the_default_encoder_in_a_spawned_process():
    encoder = load_encoder(threads=1, query_length=9)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert_same(pool.submit(described, encoder).result(), encoder)


@pytest.mark.parametrize("layout", ["stanford", "xtr"])
def test_an_encoder_on_torch(checkpoints, layout, tmp_path, monkeypatch):
    factory.copy_of(checkpoints[layout], tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    encoder = load_encoder("model", device="cpu", document_length=11)
    pickled = pickle.dumps(encoder)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    assert_same(described(again), encoder)
    assert again.document_length == 11


@pytest.mark.parametrize("kind", ["monot5", "mt5", "cross-encoder"])
def test_rerankers(rerankers, kind, tmp_path, monkeypatch):
    factory.copy_of(rerankers[kind], tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    choices = {"cross-encoder": {}, "monot5": {"max_length": 40}, "mt5": {"tokens": ("▁no", "▁yes")}}[kind]
    reranker = load_reranker("model", device="cpu", **choices)
    pickled = pickle.dumps(reranker)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.score(QUERY, TEXTS), reranker.score(QUERY, TEXTS))


def test_a_model_that_is_not_there_any_more(checkpoints, rerankers, tmp_path):
    encoder = load_encoder(factory.copy_of(checkpoints["xtr"], tmp_path / "encoder"))
    reranker = load_reranker(factory.copy_of(rerankers["monot5"], tmp_path / "reranker"))
    for what, model in (("encoder", encoder), ("reranker", reranker)):
        pickled = pickle.dumps(model)
        (tmp_path / what).rename(tmp_path / "elsewhere")
        with pytest.raises(ModelError, match=rf"The {what} '.*{what}' was pickled, .* can't be opened in this process"):
            pickle.loads(pickled)
        (tmp_path / "elsewhere").rename(tmp_path / what)
