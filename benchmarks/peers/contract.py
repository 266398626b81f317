"""What an engine is given, and what it must be able to do."""

import json
from pathlib import Path

import numpy as np

K_PRIME = 1000


class Data:
    """A set that prepare.py made."""

    def __init__(self, folder):
        folder = Path(folder)
        self.folder = folder
        self.documents = np.load(folder / "documents.npy", mmap_mode="r")
        self.lengths = np.load(folder / "lengths.npy").astype(np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.vocabulary = np.load(folder / "vocabulary.npy", mmap_mode="r")
        queries, lengths = np.load(folder / "queries.npy"), np.load(folder / "query_lengths.npy")
        self.queries = [np.ascontiguousarray(query) for query in np.split(queries, np.cumsum(lengths)[:-1])]

    def meta(self):
        return json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))

    def document(self, number):
        return self.documents[self.offsets[number] : self.offsets[number + 1]]

    def floats(self):
        return np.asarray(self.documents, dtype=np.float32)


class Engine:
    """Its settings are (label, keyword arguments of a search); ``usual`` are those that several threads run, too."""

    packages, bits, settings, usual = (), 4, [], ()

    def __init__(self, bits, threads):
        self.bits, self.threads = bits, threads

    def search_batch(self, queries, k, **setting):
        return [self.search(query, k, **setting) for query in queries]
