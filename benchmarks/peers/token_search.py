"""Libraries for the nearest vectors, with XTR's score on top."""

from pathlib import Path

import numpy as np
from contract import K_PRIME, Engine


class TokenSearch(Engine):
    """Nearest tokens of a vector library, and XTR's score on top: the recipe of the XTR repository."""

    def open(self, data, path):
        self.document_of = np.repeat(np.arange(len(data.lengths)), data.lengths)
        self.n_documents = len(data.lengths)
        self.winner = np.empty(0, dtype=np.int64)
        self.open_tokens(data, path)

    def search(self, query, k, **setting):
        return self.ranked(*self.tokens(query, **setting), k)

    def search_batch(self, queries, k, **setting):
        ends = np.cumsum([len(query) for query in queries])[:-1]
        rows, similarities = self.tokens(np.concatenate(queries), **setting)
        pairs = zip(np.split(rows, ends), np.split(similarities, ends), strict=True)
        return [self.ranked(*pair, k) for pair in pairs]

    def ranked(self, rows, similarities, k):
        """(n, k') token rows and similarities, best first, -1 where there was none -> the k best documents."""
        valid = (rows >= 0) & np.isfinite(similarities)
        lowest = np.where(valid, similarities, np.inf).min(axis=1)
        token, _ = np.nonzero(valid)
        documents = self.document_of[rows[valid]]
        gains = (similarities - lowest[:, None])[valid]
        # The best similarity of a query token to a document: the first that is met, so the last that is written.
        key, order = token * self.n_documents + documents, np.arange(len(token))
        if len(self.winner) < len(rows) * self.n_documents:
            self.winner = np.empty(len(rows) * self.n_documents, dtype=np.int64)
        self.winner[key[::-1]] = order[::-1]
        first = self.winner[key] == order
        totals = np.bincount(documents[first], weights=gains[first] + 1e-12, minlength=self.n_documents)
        found = np.flatnonzero(totals)
        if len(found) > k:
            found = found[np.argpartition(-totals[found], k)[:k]]
        return found[np.argsort(-totals[found], kind="stable")].tolist()


class Faiss(TokenSearch):
    packages, usual = ("faiss-cpu", "numpy"), ("k' 1,000, nprobe 32",)
    settings = [(f"k' {k:,}, nprobe {n}", {"nprobe": n, "k_prime": k})
                for k, n in ((1000, 4), (1000, 8), (1000, 16), (1000, 32), (1000, 128), (10_000, 128))]  # fmt: skip
    bits = 16

    def prepare(self):
        import faiss

        faiss.omp_set_num_threads(self.threads)
        self.faiss = faiss

    def build(self, data, path):
        faiss, dim = self.faiss, data.documents.shape[1]
        kind = {16: faiss.ScalarQuantizer.QT_fp16, 8: faiss.ScalarQuantizer.QT_8bit, 4: faiss.ScalarQuantizer.QT_4bit}
        lists = 2 ** int(np.log2(4 * np.sqrt(len(data.documents))))
        quantizer = faiss.IndexFlatIP(dim)
        index = faiss.IndexIVFScalarQuantizer(quantizer, dim, lists, kind[self.bits], faiss.METRIC_INNER_PRODUCT)
        sample = np.random.default_rng(0).choice(len(data.documents), min(128 * lists, len(data.documents)), False)
        index.train(np.asarray(data.documents[np.sort(sample)], dtype=np.float32))
        for first in range(0, len(data.documents), 65_536):
            index.add(np.asarray(data.documents[first : first + 65_536], dtype=np.float32))
        Path(path).mkdir()
        faiss.write_index(index, f"{path}/index.faiss")

    def open_tokens(self, data, path):
        self.index = self.faiss.read_index(f"{path}/index.faiss")

    def tokens(self, query, nprobe, k_prime=K_PRIME):
        self.index.nprobe = nprobe
        similarities, rows = self.index.search(query, k_prime)
        return rows, similarities


class Scann(TokenSearch):
    packages, usual = ("scann", "numpy"), ("k' 1,000, 32 leaves",)
    settings = [(f"k' 1,000, {n} leaves", {"leaves": n}) for n in (4, 8, 16, 32, 128)]

    def prepare(self):
        import scann

        self.scann = scann.scann_ops_pybind

    def build(self, data, path):
        leaves = round(np.sqrt(len(data.documents)))
        builder = self.scann.builder(data.floats(), K_PRIME, "dot_product")
        builder = builder.tree(num_leaves=leaves, num_leaves_to_search=32, training_sample_size=250_000)
        builder = builder.score_ah(1, anisotropic_quantization_threshold=0.1)
        if self.threads == 1:
            builder = builder.set_n_training_threads(1)
        Path(path).mkdir()
        builder.build().serialize(str(path))

    def open_tokens(self, data, path):
        self.index = self.scann.load_searcher(str(path))

    def tokens(self, query, leaves):
        searched = self.index.search_batched_parallel if self.threads > 1 else self.index.search_batched
        rows, similarities = searched(query, final_num_neighbors=K_PRIME, leaves_to_search=leaves)
        rows = rows.astype(np.int64)
        rows[~np.isfinite(similarities)] = -1
        return rows, similarities
