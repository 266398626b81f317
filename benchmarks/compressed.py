"""The compressed engine beside the exact one, on the vectors of an exact index: cost, recall and quality in one table.

    python benchmarks/compressed.py INDEX DATASET [--bits 4 2] [--queries 100] [--all]

INDEX is an exact index (made without --nbits) of DATASET, a BEIR folder. Its vectors are compressed into a temporary
index. Times are processor time of one thread, searching only; recall is the overlap with the exact engine's best.
--all also opens every cluster, which takes a second a query, and compares the ten best with the exact engine's: their
scores, and the bound of the codec that these keep to.
"""

import argparse
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from xtrkit.evaluation.beir import read_test_collection
from xtrkit.evaluation.measures import evaluate
from xtrkit.index import Index
from xtrkit.recipes import COLBERT, XTR
from xtrkit.retriever import Retriever

DEPTH = 100
EFFORTS = [
    ("XTR", XTR.but(nprobe=nprobe), f"nprobe {nprobe}") for nprobe in (8, 16, 32, 64, 128)
] + [
    ("ColBERT", COLBERT.but(nprobe=nprobe, candidates=candidates), f"nprobe {nprobe}, {candidates} candidates")
    for nprobe, candidates in ((32, 200), (32, 300), (64, 500))
]  # fmt: skip


def compress(exact, path, bits):
    numbers = iter(range(len(exact)))
    chunks = iter(lambda: list(islice(numbers, 256)), [])
    batches = ([exact.vectors(number) for number in chunk] for chunk in chunks)
    begin = time.process_time()
    index = Index.create(path, batches, ids=exact.ids(), nbits=bits)
    seconds = time.process_time() - begin
    print(f"\n{bits} bits: built in {seconds:.0f} CPU s, {index.size / index.n_tokens:.1f} bytes a token without texts")
    return index


def overlap(found, expected, depth):
    return statistics.mean(
        len(set(a.ids[:depth]) & set(b.ids[:depth])) / depth for a, b in zip(found, expected, strict=True)
    )


def measured(index, embeddings, recipe):
    for query in embeddings[:3]:
        index.search(query, DEPTH, recipe=recipe)  # compiles, and fills the caches
    rankings, milliseconds = [], []
    for query in embeddings:
        begin = time.process_time()
        rankings.append(index.search(query, DEPTH, recipe=recipe))
        milliseconds.append(1000 * (time.process_time() - begin))
    return rankings, milliseconds


def ndcg(test, queries, rankings):
    qrels = {query: test.qrels[query] for query in queries}
    return evaluate(dict(zip(queries, map(list, rankings), strict=True)), qrels)["nDCG@10"]


def compare_all(exact, index, embeddings):
    """With every cluster opened: how far the ten best are from the exact engine's, beside the bound on scores."""
    everything, mean = XTR.but(nprobe="all", k_prime=exact.n_tokens), COLBERT.but(reduction="mean")
    equal, differences, bounds = 0, [], []
    for query in embeddings:
        found, expected = index.search(query, 10, recipe=everything), exact.search(query, 10, recipe=mean)
        truth = [(query @ exact.vectors(d).astype(np.float32).T).max(axis=1).mean() for d in found.documents]
        bound = index.similarity_error_bounds(query).mean()
        by_document, by_rank = np.abs(found.scores - truth).max(), np.abs(found.scores - expected.scores).max()
        assert max(by_document, by_rank) <= bound, (by_document, by_rank, bound)
        equal += list(found.ids) == list(expected.ids)
        differences.append(by_document)
        bounds.append(bound)
    print(
        f"everything opened: the ten best are the exact engine's, in its order, for {equal} of {len(embeddings)} "
        f"queries; scores differ by {statistics.median(differences):.5f} at the median and {max(differences):.5f} at "
        f"most; bound {min(bounds):.4f} to {max(bounds):.4f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index")
    parser.add_argument("dataset")
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 2])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    retriever, test = Retriever.open(arguments.index), read_test_collection(arguments.dataset)
    queries = dict(islice(test.queries.items(), arguments.queries))
    embeddings = list(retriever.encode_queries(list(queries.values())))
    exact = retriever.index
    expected = {"XTR": exact.search_batch(embeddings, DEPTH, recipe=XTR)}
    expected["ColBERT"] = exact.search_batch(embeddings, DEPTH, recipe=COLBERT)
    tokens = statistics.mean(map(len, embeddings))
    print(f"{exact.n_tokens:,} tokens of {exact.dim} dimensions, {len(queries)} queries of {tokens:.1f} tokens")
    for system, rankings in expected.items():
        print(f"exact {system}: nDCG@10 {ndcg(test, queries, rankings):.4f}")
    for bits in arguments.bits:
        with tempfile.TemporaryDirectory() as directory:
            index = compress(exact, Path(directory) / "idx", bits)
            print("| system | effort | CPU ms p50 | p95 | recall@10 | recall@100 | nDCG@10 |")
            print("|---|---|---|---|---|---|---|")
            for system, recipe, effort in EFFORTS:
                found, milliseconds = measured(index, embeddings, recipe)
                p95 = statistics.quantiles(milliseconds, n=20)[-1]
                print(
                    f"| {system} | {effort} | {statistics.median(milliseconds):.2f} | {p95:.2f} "
                    f"| {overlap(found, expected[system], 10):.3f} | {overlap(found, expected[system], 100):.3f} "
                    f"| {ndcg(test, queries, found):.4f} |"
                )
            if arguments.all:
                compare_all(exact, index, embeddings)


if __name__ == "__main__":
    main()
