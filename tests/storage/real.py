"""The index itself, compressed to 4 bits, taken through the steps of :mod:`tests.storage.toy`.

Its files are those of real life: centroids that are found anew, codes that are merged, temporary files of the build.
"""

import re
import zlib
from pathlib import Path

import numpy as np

from tests.indexing.world import merging_late
from tests.storage import toy
from xtrkit.index import Index
from xtrkit.indexing.store import Store
from xtrkit.indexing.writer import compact
from xtrkit.passage import Passage
from xtrkit.storage.files import check_content

STEPS, STATES, LAST = toy.STEPS, toy.STATES, toy.LAST
DIM = 8


def vectors_of(text):
    random = np.random.default_rng(zlib.crc32(text.encode()))
    rows = random.normal(size=(2 + len(text) % 2, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def facts_of(texts):
    metadata = [{"length": len(text)} for text in texts.values()]
    return {"ids": list(texts), "texts": list(texts.values()), "metadata": metadata}


class Opened:
    """A generation, read as users read it."""

    def __init__(self, directory, generation=None):
        self._index = Index.open(directory, generation=generation)
        self.manifest = self._index._store.pin.manifest

    def content(self):
        """{id: text} of what lives; everything that is read is compared with what was written."""
        found = {}
        for number, _ in self._index._store.passages.living():
            passage = self._index.passage(number)
            assert passage.id not in found
            assert passage.metadata == {"length": len(passage.text)}
            stored, vectors = self._index.vectors(number), vectors_of(passage.text)
            assert stored.shape == vectors.shape
            assert ((stored * vectors).sum(axis=1) > 0.8).all(), passage.id
            found[passage.id] = passage.text
        if found:
            query = vectors_of(next(iter(found.values())))
            assert set(dict(self._index.search(query, k=99))) == set(found)
        assert [name for name, _ in self._index.search_words("text", k=99)] == list(found)  # all score alike
        for name, text in found.items():
            (own,) = re.findall(r"n\d+g\d+", text)
            assert [name for name, _ in self._index.search_words(own)] == [name]
        return found

    def close(self):
        self._index.close()


def apply(directory, step):
    with merging_late():
        _apply(directory, *step)


def _apply(directory, kind, what):
    if kind == "create":
        embeddings = [vectors_of(text) for text in what.values()]
        Index.create(directory, [embeddings], **facts_of(what), nbits=4).close()
    elif kind == "compact":
        generation = Store.open(Path(directory)).generation
        compact(Path(directory), retrain=generation < 8)
    else:
        with Index.open(directory) as index, index.writer() as writer:
            if kind == "delete":
                writer.delete(what)
            else:
                passages = [Passage(name, text, {"length": len(text)}) for name, text in what.items()]
                writer.add(passages, [vectors_of(text) for text in what.values()])


def run(directory, first, last, report):
    """Take some steps and say so: "ack N" when N steps have been acknowledged."""
    for number, step in enumerate(STEPS[int(first) : int(last)], int(first) + 1):
        apply(directory, step)
        report(f"ack {number}")


def warm_up(directory):
    """Compile what the steps need, so that children of this process do not."""
    for step in STEPS:
        apply(directory / "index", step)
    opened = Opened(directory / "index")
    for file in opened.manifest.files:
        check_content(directory / "index", file)
    assert opened.content() == STATES[LAST]
    opened.close()
