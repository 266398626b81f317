"""Estimates against indexes that were built."""

import numpy as np
import pytest

from xtrkit import progress
from xtrkit.index import Index
from xtrkit.indexing.estimate import Estimate, estimated, told
from xtrkit.passage import Passage
from xtrkit.retriever import Retriever


@pytest.mark.parametrize(("nbits", "codec"), [(16, "grid"), (4, "grid"), (1, "grid"), (2, "buckets")])
def test_the_index_is_as_large_as_was_said(tmp_path, nbits, codec):
    random = np.random.default_rng(0)
    documents = [random.normal(size=(random.integers(20, 60), 64)).astype(np.float32) for _ in range(400)]
    ids, texts = [f"document {i}" for i in range(400)], [f"text {i} " * 20 for i in range(400)]
    index = Index.create(tmp_path / "idx", [documents], ids=ids, texts=texts, nbits=nbits, codec=codec)
    text_bytes = sum(map(len, ids)) + sum(map(len, texts))
    expected = estimated(index.n_tokens, 400, text_bytes, 64, None if nbits == 16 else nbits)
    assert index.size == pytest.approx(expected.index, rel=0.15)
    assert expected.building >= 2 * 64 * index.n_tokens


def test_a_build_of_ten_million_tokens_is_known():
    """What was measured for 10 M tokens of 128 dimensions at 4 bits: 74.8 bytes a token, a peak of .82 GB."""
    expected = estimated(10_000_000, 100_000, 0, 128, 4)
    assert expected.index / 10e6 == pytest.approx(74.5, rel=0.02)
    assert 0.82e9 < expected.memory < 1.2e9


def test_what_is_told(tmp_path):
    said = told(Estimate(74_500_000, 2_600_000_000, 1_400_000_000), 1_234_567, 9_876, tmp_path / "idx")
    assert said.startswith("9,876 passages, about 1,200,000 tokens: an index of about 74 MB; while it is built ")
    assert "another 2.6 GB on disk, and at most about 1.4 GB of memory beside the model's." in said
    assert "There is not that much room" in told(Estimate(10**18, 0, 0), 1, 1, tmp_path / "idx")


def test_indexing_tells_it_first(tmp_path, encoders, capfd, monkeypatch):
    passages = [Passage(str(i), f"Paris is the capital of France, {i} times.") for i in range(40)]
    Retriever.create(tmp_path / "idx", passages, model=encoders["default"], nbits=4, progress=True)
    told_lines = capfd.readouterr().err
    tokens = Index.open(tmp_path / "idx").n_tokens
    assert told_lines.startswith(f"40 passages, about {tokens} tokens: an index of about 1 MB")

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    Retriever.create(tmp_path / "again", passages, model=encoders["default"], nbits=4, progress=True)
    told_lines = capfd.readouterr().err
    for phase in ("Encoding", "Drawing a sample", "Finding centroids", "Assigning tokens", "Compressing", "Ordering"):
        assert phase in told_lines
