"""An index and what must be in it: a model in plain Python and NumPy that every operation is compared with."""

import zlib
from contextlib import contextmanager

import numpy as np

from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.indexing import writer as writers
from xtrkit.passage import Passage

DIM = 8


def vectors_of(identifier, version):
    """(m, d) unit vectors that depend on id and version."""
    random = np.random.default_rng(zlib.crc32(f"{identifier} {version}".encode()))
    rows = random.normal(size=(int(random.integers(1, 4)), DIM)).astype(np.float16).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def fields_of(identifier, version):
    return {"version": version, "even": len(identifier) % 2 == 0}


@contextmanager
def merging_late():
    """Let small indexes have several segments and dead documents; they would be merged at nearly each commit."""
    before, writers.MOST_CHANGED = writers.MOST_CHANGED, 2.0
    try:
        yield
    finally:
        writers.MOST_CHANGED = before


class World:
    """Documents are ids with a version; ``content`` says which live."""

    def __init__(self, path, nbits=16, first=("a", "b", "c")):
        self.path, self.content = path, dict.fromkeys(first, 0)
        Index.create(path, [self._vectors(first, 0)], **self._facts(first, 0), nbits=nbits).close()
        self.index, self.version, self.old = Index.open(path), 0, {}

    def _vectors(self, ids, version):
        return [vectors_of(identifier, version) for identifier in ids]

    def _facts(self, ids, version):
        texts = [f"text {identifier} {version}" for identifier in ids]
        return {"ids": list(ids), "texts": texts, "metadata": [fields_of(identifier, version) for identifier in ids]}

    def batch(self, put):
        """New versions of some documents, as ``IndexWriter.add`` takes them."""
        self.version += 1
        facts = self._facts(put, self.version)
        passages = map(Passage, facts["ids"], facts["texts"], facts["metadata"])
        return list(passages), self._vectors(put, self.version)

    def change(self, put=(), delete=()):
        """One commit."""
        batch = self.batch(put)
        with self.index.writer() as writer:
            if put:
                writer.add(*batch)
            present = [identifier for identifier in delete if identifier in self.content or identifier in put]
            writer.delete(present)
        self.content |= dict.fromkeys(put, self.version)
        for identifier in present:
            self.content.pop(identifier, None)
        assert writer.summary.documents == len(self.content)
        return writer.summary

    def pin(self):
        """Remember an opened generation and its content."""
        pinned = self.index.snapshot()
        self.old[pinned.generation] = (pinned, dict(self.content))

    def refresh(self):
        before = self.index.generation
        moved = self.index.refresh()
        assert self.index.generation >= before
        assert moved == (self.index.generation > before)

    def check(self, index=None, content=None):
        """Ids, texts, metadata, vectors, and an exact search, with and without a filter."""
        index, content = index or self.index, self.content if content is None else content
        assert set(index.ids()) == set(content)
        assert len(index) == len(content)
        for identifier, version in content.items():
            passage = index.get([identifier])[0]
            assert (passage.text, passage.metadata) == (f"text {identifier} {version}", fields_of(identifier, version))
            if index.storage == "float16":
                assert np.array_equal(index.vectors(index.number(identifier)), vectors_of(identifier, version))
        if content:
            assert set(dict(index.search_words("text", k=100))) == set(content)
            assert dict(index.search_words(f"{max(content.values())}0")) == {}
        if index.storage == "float16":
            query = vectors_of("query", 1).astype(np.float32)
            self.check_search(index, content, query, None)
            self.check_search(index, content, query, {"even": True})
            self.check_search(index, content, query, {"version": {"$gte": 2}})
        for identifier in ("nobody", *(set("abcdefghij") - set(content))):
            try:
                index.number(identifier)
            except InputError:
                continue
            raise AssertionError(identifier)

    def check_search(self, index, content, query, where):
        scores = {}
        for identifier, version in content.items():
            fields = fields_of(identifier, version)
            wanted = where is None or ("even" in where and fields["even"]) or ("version" in where and version >= 2)
            if wanted:
                scores[identifier] = float((query @ vectors_of(identifier, version).astype(np.float32).T).max(1).sum())
        found = dict(index.search(query, k=100, scoring="maxsim", where=where))
        assert found.keys() == scores.keys()
        for identifier, score in scores.items():
            assert abs(found[identifier] - score) < 1e-4
        assert list(found.values()) == sorted(found.values(), reverse=True)
