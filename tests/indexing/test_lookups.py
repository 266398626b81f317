"""What a change reads of an index: no more of a large one than of a small one; and what compacting leaves on disk."""

import gc
import os
import shutil
from itertools import chain

import numpy as np
import pytest

from tests.conftest import unit_rows
from xtrkit.encoding.base import Reading
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.indexing.store import Store
from xtrkit.passage import Part, Passage
from xtrkit.storage import passage_file
from xtrkit.storage.generations import generations
from xtrkit.storage.passage_file import PassageFile
from xtrkit.texts.given import source_of
from xtrkit.texts.updating import add_texts
from xtrkit.values import EncoderIdentity, Ragged

DIM = 4


class OneToken:
    """An encoder that makes one vector of any text."""

    identity = EncoderIdentity("one token", "test", "none", DIM, 8, 8)

    def is_document_truncated(self, text):
        return False

    def readability(self, texts, task="document"):
        return Reading(len(texts), 0)

    def stream_documents(self, texts, *, batch_size=32, chunk_size=256):
        for _ in texts:
            yield type("Chunk", (), {"embeddings": Ragged(np.eye(1, DIM, dtype=np.float32), np.array([1]))})


def made(path, count):
    """Passages of documents that were cut into five each."""
    vectors = Ragged(unit_rows(np.random.default_rng(0), count, DIM), np.ones(count, dtype=np.int64))
    parts = [Part(f"doc {n // 5}", n, n + 1) for n in range(count)]
    ids, texts = [f"p{n}" for n in range(count)], [f"text {n}" for n in range(count)]
    return Index.create(path, [vectors], ids=ids, texts=texts, parts=parts, nbits=16)


@pytest.fixture
def counted(monkeypatch):
    """{"statements": …, "rows": …, "steps": … of SQLite's machine, by hundreds} of everything that is read."""
    counts, ask = {}, PassageFile._all
    monkeypatch.setattr(passage_file, "STEPS_BETWEEN_CHECKS", 100)

    def asking(file, *arguments, **more):
        rows = ask(file, *arguments, **more)
        for what, amount in {"statements": 1, "rows": len(rows)}.items():
            counts[what] = counts.get(what, 0) + amount
        return rows

    def counting(*parts):
        """What SQLite asks after each hundred steps."""
        for answer in chain(*parts):
            counts["steps"] = counts.get("steps", 0) + 100
            yield answer

    monkeypatch.setattr(PassageFile, "_all", asking)
    monkeypatch.setattr(passage_file, "chain", counting)
    return counts


@pytest.fixture(scope="module")
def small_and_large(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sizes")
    for count in (500, 50_000):
        made(directory / str(count), count).close()
    return directory


def read_by(counts, path, change):
    with Index.open(path) as index:
        counts.clear()
        change(index)
        return dict(counts)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: add_texts(source_of([("doc 7", "it comes again, whole")]), index, OneToken()),
        lambda index: add_texts(source_of([("new", "it was never there")]), index, OneToken()),
        lambda index: index.delete(documents=["doc 7"]),
        lambda index: index._store.passages.passages([3, 400, 77]),
    ],
    ids=["add again", "add", "delete", "show"],
)
def test_a_large_index_is_not_read_for_a_small_change(tmp_path, small_and_large, counted, change):
    shutil.copytree(small_and_large, tmp_path / "copy")
    small, large = (read_by(counted, tmp_path / "copy" / count, change) for count in ("500", "50000"))
    assert large["statements"] == small["statements"]
    assert large["rows"] == small["rows"]
    assert large.get("steps", 0) <= small.get("steps", 0) + 1000


def test_a_document_that_comes_again_takes_its_passages_away(tmp_path):
    index = made(tmp_path / "idx", 500)
    summary = add_texts(source_of([("doc 7", "whole"), ("p3", "replaced")]), index, OneToken())
    assert (summary.added, summary.updated, summary.deleted) == (1, 1, 5)
    assert set(index.ids()) == {f"p{n}" for n in range(500) if not 35 <= n < 40} | {"doc 7"}
    assert index.passage(index.number("p3")) == Passage("p3", "replaced")


def test_a_search_opens_nothing(tmp_path, monkeypatch):
    index = made(tmp_path / "idx", 20)

    def refuse(*arguments):
        raise AssertionError("a search opened the index")

    monkeypatch.setattr(Store, "open", refuse)
    assert len(index.search(np.eye(2, DIM, dtype=np.float32), k=3)) == 3
    index.close()
    with pytest.raises(InputError, match="closed"):
        index.search(np.eye(2, DIM, dtype=np.float32))


def test_an_index_that_nobody_holds_is_closed(tmp_path):
    """Not when rubbish is collected, but at once: files of SQLite's and the pin on the generation."""
    made(tmp_path / "idx", 20).close()
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/dev/fd"))
        for _ in range(5):
            index = Index.open(tmp_path / "idx")
            index.search(np.eye(2, DIM, dtype=np.float32))
            del index
        assert len(os.listdir("/dev/fd")) == before
    finally:
        gc.enable()


def test_compacting_leaves_nothing_of_what_was(tmp_path):
    """Not even what the object that compacts was reading; another reader keeps what it reads."""
    index = made(tmp_path / "idx", 500)
    with Index.open(tmp_path / "idx") as other:
        index.delete(["p1"])
        generation = index.compact().generation
        assert generations(index.path) == [1, generation]
        assert other.passage(1).id == "p1"
    index.delete(["p2"])
    generation = index.compact().generation
    assert generations(index.path) == [generation]
    named = {file.name for file in index._store.pin.manifest.files} | {
        f"manifest-{generation:012d}.json",
        "writer.lock",
    }
    assert {path.name for path in index.path.iterdir()} == named
