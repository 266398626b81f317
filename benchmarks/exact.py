"""The exact engine's kernels beside NumPy's own ways, and a whole search, on vectors of the size of SciFact.

    python benchmarks/exact.py [--tokens 661120] [--dim 128]

Prints medians and ratios, and checks that both sides give the same numbers. Vectors are random here, because none of
these costs depends on their values but that of the running top k', which random order makes typical.
"""

import argparse
import statistics
import time

import numpy as np

from xtrkit.kernels import dense, reference
from xtrkit.recipes import COLBERT, XTR
from xtrkit.search.exact import ExactEngine
from xtrkit.token_retrieval.exact import BLOCK_TOKENS
from xtrkit.values import Ragged, Segment, TokenVectors


def median_seconds(function, times=7):
    function()  # compiles, and fills the caches
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def report(what, ours, theirs, unit, scale):
    print(f"{what:44} {ours * scale:9.2f} {unit:12} NumPy {theirs * scale:9.2f}   ratio {theirs / ours:5.1f}")


def conversion(random, dim):
    halves = random.normal(size=(BLOCK_TOKENS, dim)).astype(np.float16)
    floats = np.empty(halves.shape, np.float32)

    def ours():
        dense.halves_to_floats(halves.view(np.uint16).ravel(), floats.view(np.uint32).ravel(), floats.ravel())

    ours()
    np.testing.assert_array_equal(floats, reference.halves_to_floats(halves))
    report(
        "float16 to float32, a block",
        median_seconds(ours),
        median_seconds(lambda: reference.halves_to_floats(halves)),
        "ns a number",
        1e9 / halves.size,
    )


def selection(random, tokens, k_prime):
    similarities = random.normal(size=(1, tokens)).astype(np.float32)

    def ours():
        scores, rows = np.empty((1, 2 * k_prime), np.float32), np.empty((1, 2 * k_prime), np.int64)
        counts, thresholds = np.zeros(1, np.int64), np.full(1, -np.inf, np.float32)
        dense.keep_best(similarities, 0, k_prime, scores, rows, counts, thresholds)
        dense.cut_back(scores[0], rows[0], counts[0], k_prime)
        return rows[0, :k_prime]

    def theirs():
        return np.sort(np.argpartition(-similarities[0], k_prime)[:k_prime])

    np.testing.assert_array_equal(ours(), theirs())
    report(f"top {k_prime:,} of {tokens:,}", median_seconds(ours), median_seconds(theirs), "ms", 1e3)


def whole_search(random, tokens, dim, n_query_tokens=20, document_tokens=128):
    rows = random.normal(size=(tokens, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    offsets = np.append(np.arange(0, tokens, document_tokens), tokens)
    engine = ExactEngine([Segment(TokenVectors(rows.astype(np.float16), offsets))])
    query = Ragged.from_arrays([rows[:n_query_tokens]])
    product = median_seconds(lambda: query.rows @ rows.T, times=3)
    for name, recipe in (("XTR, k' = 1,000", XTR), ("MaxSim", COLBERT)):
        ours = median_seconds(lambda recipe=recipe: engine.search(query, 100, recipe), times=3)
        print(f"{name:44} {ours * 1e3:9.1f} ms a query  the matrix product alone {product * 1e3:.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=661_120)
    parser.add_argument("--dim", type=int, default=128)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    conversion(random, arguments.dim)
    for k_prime in (100, 1_000, 10_000):
        selection(random, arguments.tokens, k_prime)
    whole_search(random, arguments.tokens, arguments.dim)


if __name__ == "__main__":
    main()
