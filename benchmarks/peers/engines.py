"""The engines behind one small contract; each class is used in a process, and a virtual environment, of its own.

An engine builds an index of a prepared set, opens it, and gives document numbers, best first. ``settings`` are its
ways of searching, from the least effort to the most; a name such as "xtrkit:2" asks for another number of bits.
"""

from contract import Engine
from multi_vector import ExactTorch, FastPlaid, Lemur, LemurUntrained, Tachiom, Warp
from token_search import Faiss, Scann


class Xtrkit(Engine):
    packages = ("xtrkit", "numba", "numpy")
    settings = [(f"XTR, nprobe {n}", {"scoring": "xtr", "nprobe": n}) for n in (4, 8, 16, 32, 64, 128, 256)]
    # A larger k' moves the ranking from exact XTR's, of k' = 1,000, to MaxSim's, for the same work.
    settings += [
        (f"XTR, k' {k:,}, nprobe {n}", {"scoring": "xtr", "nprobe": n, "k_prime": k})
        for k, n in (
            (1600, 8), (1600, 16), (1400, 32), (1200, 64), (1100, 128), (1050, 256), (2500, 8), (2500, 16), (2500, 32),
            (4000, 8), (4000, 16), (4000, 32), (4000, 48), (4000, 64),
        )
    ]  # fmt: skip
    settings += [
        (f"ColBERT, nprobe {n}, {c} candidates", {"scoring": "maxsim", "nprobe": n, "candidates": c})
        for n, c in (
            (16, 100), (16, 150), (32, 150), (32, 175), (32, 200), (32, 250), (32, 300),
            (64, 200), (64, 300), (64, 500), (128, 1000),
        )
    ]  # fmt: skip

    usual = ("XTR, nprobe 32", "ColBERT, nprobe 32, 300 candidates")
    elsewhere = (*usual, "XTR, nprobe 128", "ColBERT, nprobe 32, 200 candidates", "ColBERT, nprobe 64, 500 candidates")
    """What is measured at other numbers of bits than 4."""

    def __init__(self, bits, threads):
        super().__init__(bits, threads)
        if bits in (1, 2, 8):
            self.settings = [setting for setting in self.settings if setting[0] in self.elsewhere]

    def build(self, data, path):
        from xtrkit import Index

        batches = (
            [data.document(n) for n in range(first, min(first + 256, len(data.lengths)))]
            for first in range(0, len(data.lengths), 256)
        )
        Index.create(path, batches, nbits=self.bits)

    def prepare(self):
        import xtrkit.index
        import xtrkit.search.compressed

        self.Index = xtrkit.index.Index

    def open(self, data, path):
        self.index = self.Index.open(path)

    def search(self, query, k, **setting):
        return self.search_batch([query], k, **setting)[0]

    def search_batch(self, queries, k, **setting):
        # As the peers do: numbers of documents, not their ids.
        found = self.index._found(queries, k, threads=self.threads, **setting)
        return [ranking.documents.tolist() for ranking in found]


class XtrkitExact(Xtrkit):
    bits = 16
    settings = [("exact XTR, k' 1,000", {"scoring": "xtr"}), ("exact MaxSim", {"scoring": "maxsim"})]


ENGINES = {
    "xtrkit": Xtrkit,
    "xtrkit-exact": XtrkitExact,
    "xtr-warp-rs": Warp,
    "fast-plaid": FastPlaid,
    "lemur": Lemur,
    "lemur-untrained": LemurUntrained,
    "exact-torch": ExactTorch,
    "tachiom": Tachiom,
    "faiss": Faiss,
    "scann": Scann,
}


def engine_named(name, threads=1):
    kind, _, bits = name.partition(":")
    return ENGINES[kind](int(bits) if bits else ENGINES[kind].bits, threads)
