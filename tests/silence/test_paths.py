"""What was opened by a relative path is where it was, wherever the program goes afterwards."""

import pickle

import numpy as np
import pytest

from tests.conftest import unit_rows
from xtrkit import Index, Retriever
from xtrkit.encoding import load_encoder
from xtrkit.indexing.writer import IndexWriter
from xtrkit.reranking.load import load_reranker

DIM = 8


def documents(n, seed=0):
    return [unit_rows(np.random.default_rng(seed + i), 3, DIM) for i in range(n)]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The folder where things are opened, in which we are, and another that has something of the same name."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "there" / "idx").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here", tmp_path / "there"


def test_an_index(folders, monkeypatch):
    here, there = folders
    Index.create("idx", [documents(3)]).close()
    index = Index.open("idx")
    writer, pickled = IndexWriter(index.path.relative_to(here)), pickle.dumps(index)
    monkeypatch.chdir(there)
    with writer:
        writer.add(["new"], documents(1, 9))
    assert index.refresh()
    assert len(index) == 4
    index.delete(["new"])
    index.compact()
    assert index.verify(full=True).ok
    index.backup("copy")
    assert len(Index.open(there / "copy")) == len(pickle.loads(pickled)) == 3
    assert not list((there / "idx").iterdir())


@pytest.mark.parametrize("nbits", [16, 4])
def test_batches_that_go_elsewhere(folders, monkeypatch, nbits):
    here, there = folders

    def batches():
        monkeypatch.chdir(there)
        yield documents(40)

    index = Index.create("idx", batches(), nbits=nbits)
    assert index.path == here / "idx"
    assert [entry.name for entry in there.iterdir()] == ["idx"]
    assert not list((there / "idx").iterdir())


def test_passages_that_go_elsewhere(folders, monkeypatch):
    here, there = folders

    def texts():
        yield "Mice eat cheese."
        monkeypatch.chdir(there)
        yield "Cats eat mice."

    retriever = Retriever.create("idx", texts())
    assert retriever.index.path == here / "idx"
    assert len(retriever.search("cheese", 1)) == 1


def test_an_encoder_by_its_folder(folders, monkeypatch, checkpoints):
    here, there = folders
    (here / "model").symlink_to(checkpoints["stanford"])
    (there / "model").mkdir()
    encoder = load_encoder("model")
    Retriever.create("idx", ["Mice eat cheese."], model="model").close()
    monkeypatch.chdir(there)
    again = pickle.loads(pickle.dumps(encoder))
    assert again.identity == encoder.identity
    assert len(Retriever.open(here / "idx")) == 1


def test_a_reranker_by_its_folder(folders, monkeypatch, rerankers):
    here, there = folders
    (here / "model").symlink_to(rerankers["monot5"])
    (there / "model").mkdir()
    reranker = load_reranker("model")
    expected = reranker.score("mice", ["Mice eat cheese."])
    monkeypatch.chdir(there)
    again = pickle.loads(pickle.dumps(reranker))
    assert again.score("mice", ["Mice eat cheese."]) == pytest.approx(expected)
