"""Peers that search token vectors of documents by themselves, and exact torch."""

from pathlib import Path

import numpy as np
from contract import Engine


class TorchEngine(Engine):
    def prepare(self):
        import torch

        torch.set_num_threads(self.threads)
        self.torch = torch

    def documents(self, data):
        return [self.torch.from_numpy(data.document(n).astype(np.float32)) for n in range(len(data.lengths))]

    def query(self, query):
        return self.torch.from_numpy(query)[None]


class Warp(TorchEngine):
    packages, usual = ("xtr-warp-rs", "torch"), ("default", "nprobe 32")
    settings = [
        ("default", {}),
        ("nprobe 8", {"nprobe": 8}),
        ("nprobe 16", {"nprobe": 16}),
        ("nprobe 32", {"nprobe": 32}),
        ("nprobe 32, t' 100,000", {"nprobe": 32, "t_prime": 100_000}),
        ("nprobe 64, no threshold", {"nprobe": 64, "centroid_score_threshold": 0.0, "bound": 1024}),
    ]

    def engine(self, path):
        from xtr_warp.search import XTRWarp

        return XTRWarp(str(path), device="cpu")

    def build(self, data, path):
        self.engine(path).create(self.documents(data), device="cpu", nbits=self.bits, show_progress=False)

    def open(self, data, path):
        self.index = self.engine(path)
        self.index.load("cpu")

    def search(self, query, k, **setting):  # one by one: in a batch, queries are padded, which changes rankings
        (found,) = self.index.search(
            self.query(query), top_k=k, num_threads=self.threads, show_progress=False, **setting
        )
        return [int(number) for number, _ in found]


class FastPlaid(TorchEngine):
    packages, usual = ("fast-plaid", "torch"), ("default (8 probes, 4,096 full scores)",)
    settings = [
        ("2 probes, 512 full scores", {"n_ivf_probe": 2, "n_full_scores": 512}),
        ("4 probes, 1,024 full scores", {"n_ivf_probe": 4, "n_full_scores": 1024}),
        ("default (8 probes, 4,096 full scores)", {}),
    ]

    def engine(self, path):
        from fast_plaid.search import FastPlaid as Engine

        return Engine(str(path), device="cpu")

    def build(self, data, path):
        self.engine(path).create(self.documents(data), nbits=self.bits)

    def open(self, data, path):
        self.index = self.engine(path)

    def search(self, query, k, **setting):
        (found,) = self.index.search(self.query(query), top_k=k, show_progress=False, **setting)
        return [int(number) for number, _ in found]


class Lemur(TorchEngine):
    """A learned vector of 2,048 a document; all are multiplied with a query's, and the best ranked by exact MaxSim.

    The network is trained for as many epochs as in the example of its README; its default, 100, takes hours here.
    """

    packages, usual, bits, epochs = ("lemur", "torch"), ("300 candidates",), 32, 10
    settings = [(f"{n} candidates", {"candidates": n}) for n in (200, 300, 400)]

    def engine(self, path):
        from lemur import Lemur as Engine

        return Engine(str(path), device="cpu")

    def build(self, data, path):
        torch, vectors = self.torch, data.floats()
        torch.manual_seed(0)
        counts = torch.from_numpy(data.lengths.astype(np.int32))
        self.engine(path).fit(torch.from_numpy(vectors), counts, epochs=self.epochs)
        np.save(f"{path}/vectors.npy", vectors)

    def open(self, data, path):
        from lemur.maxsim import MaxSim

        self.index = self.engine(path)
        self.index.load_mlp()
        self.weights = self.index.load_w().T
        self.counts = data.lengths.astype(np.int32)
        self.vectors = np.load(f"{path}/vectors.npy", mmap_mode="r")
        self.reranker = MaxSim(self.vectors, self.counts)  # borrows both

    def search(self, query, k, candidates):
        return self.search_batch([query], k, candidates)[0]

    def search_batch(self, queries, k, candidates):
        tokens, counts = np.concatenate(queries), np.array([len(query) for query in queries], dtype=np.int32)
        features = self.index.compute_features((tokens, counts))
        found = self.torch.topk(features @ self.weights, candidates, dim=1).indices.numpy().astype(np.int32)
        return self.reranker.rerank_subset(tokens, counts, k, found, num_threads=self.threads).tolist()


class LemurUntrained(Lemur):
    """Without the training of its network, which its README offers for less quality."""

    epochs = 0


class ExactTorch(TorchEngine):
    """All products, the documents padded to one length: what most code for MaxSim does."""

    packages, usual, bits = ("torch",), ("exact MaxSim",), 32
    settings = [("exact MaxSim", {})]

    def build(self, data, path):
        Path(path).mkdir()

    def open(self, data, path):
        longest, count = int(data.lengths.max()), len(data.lengths)
        padded = np.zeros((count, longest, data.documents.shape[1]), dtype=np.float32)
        there = np.arange(longest) < data.lengths[:, None]
        padded[there] = data.documents
        self.rows = self.torch.from_numpy(padded.reshape(count * longest, -1))
        self.absent = self.torch.from_numpy(np.where(there, 0, -np.inf).astype(np.float32))[:, :, None]

    def search(self, query, k):
        products = self.rows @ self.torch.from_numpy(query).T
        similarities = products.view(*self.absent.shape[:2], -1) + self.absent
        return similarities.amax(1).sum(1).topk(k).indices.tolist()


class Tachiom(Engine):
    packages, usual = ("tachiom",), ("default (20 centroids, 500 documents)",)
    settings = [
        ("10 centroids, 200 documents", {"k_centroids": 10, "k_docs_to_score": 200}),
        ("default (20 centroids, 500 documents)", {}),
        ("60 centroids, 1,500 documents", {"k_centroids": 60, "ef_search": 80, "k_docs_to_score": 1500}),
    ]  # fmt: skip

    def prepare(self):
        import tachiom

        self.engine = tachiom.Tachiom

    def build(self, data, path):
        Path(path).mkdir()
        index = self.engine.build_from_arrays(
            np.ascontiguousarray(data.documents).view(np.uint16), np.asarray(data.vocabulary, dtype=np.uint32),
            data.lengths.astype(np.int32),
        )  # fmt: skip
        index.save(f"{path}/index.bin")

    def open(self, data, path):
        self.index = self.engine.load(f"{path}/index.bin")

    def search(self, query, k, **setting):
        return self._documents(self.index.search(query, k, **setting)[1])

    def search_batch(self, queries, k, **setting):
        offsets = np.concatenate([[0], np.cumsum([len(query) for query in queries])]).astype(np.uint64)
        _, found = self.index.batch_search(
            np.concatenate(queries), len(queries), k, offsets=offsets, num_threads=self.threads, **setting
        )
        return [self._documents(row) for row in found]

    @staticmethod
    def _documents(row):
        return [int(number) for number in row if number != np.iinfo(np.uint32).max]
