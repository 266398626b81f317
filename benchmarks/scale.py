"""Ten times the tokens: what building, opening and searching a compressed index cost at two sizes.

    python benchmarks/scale.py VECTORS.npy LENGTHS.npy QUERIES.npy QUERY_LENGTHS.npy [--sizes 1 10] [--nbits 4]
    python benchmarks/scale.py INDEX DATASET

VECTORS are the (M, d) token vectors of a real collection, LENGTHS the tokens of each passage; QUERIES and
QUERY_LENGTHS the same of its queries. Or INDEX is an exact index of DATASET, a BEIR folder. Larger collections are
spliced: a passage is made of runs of 32 tokens, each from a real passage drawn by chance, with a little noise, so that
no vector comes twice. Each size is built, and searched, in a process of its own, whose processor time and peak memory
the operating system tells. Times are processor time of one thread.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from xtrkit.index import Index
from xtrkit.recipes import COLBERT, XTR

RUN, PASSAGE, NOISE = 32, 128, 0.05
RECIPES = [
    ("XTR, nprobe 8", XTR.but(nprobe=8)),
    ("XTR, nprobe 32", XTR.but(nprobe=32)),
    ("ColBERT, nprobe 32, 300 candidates", COLBERT.but(nprobe=32, candidates=300)),
]


def passages(vectors, lengths, n_tokens):
    """Batches of spliced passages."""
    random, offsets = np.random.default_rng(0), np.concatenate([[0], np.cumsum(lengths)])
    long_enough = np.flatnonzero(lengths >= RUN)
    for _ in range(0, n_tokens, 256 * PASSAGE):
        batch = []
        for _ in range(256):
            runs = []
            for chosen in random.choice(long_enough, PASSAGE // RUN):
                first = offsets[chosen] + random.integers(0, lengths[chosen] - RUN + 1)
                runs.append(vectors[first : first + RUN])
            rows = np.concatenate(runs).astype(np.float32)
            rows += random.normal(scale=NOISE / np.sqrt(rows.shape[1]), size=rows.shape).astype(np.float32)
            batch.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        yield batch


def build(facts):
    vectors, lengths = np.load(facts["vectors"], mmap_mode="r"), np.load(facts["lengths"])
    spent = -time.process_time()
    splicing = 0.0

    def timed():
        nonlocal splicing
        batches = passages(vectors, lengths, facts["tokens"])
        while True:
            begin = time.process_time()
            batch = next(batches, None)
            splicing += time.process_time() - begin
            if batch is None:
                return
            yield batch

    with Index.create(facts["path"], timed(), nbits=facts["nbits"]) as index:
        spent += time.process_time() - splicing
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {
            "tokens": index.n_tokens,
            "build_cpu_s": spent,
            "peak_mb": peak,
            "bytes_a_token": index.size / index.n_tokens,
        }


def resident_mb():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


def search(facts):
    queries, lengths = np.load(facts["queries"]), np.load(facts["query_lengths"])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    chosen = [queries[a:b] for a, b in pairwise(offsets[:101])]
    Index.open(facts["path"]).close()  # imports what opening needs
    begin = time.perf_counter()
    index = Index.open(facts["path"])
    measured = {"open_ms": 1000 * (time.perf_counter() - begin), "before_mb": resident_mb()}
    for name, recipe in RECIPES:
        for query in chosen[:3]:
            index.search(query, 100, recipe=recipe)
        milliseconds = []
        for query in chosen:
            begin = time.process_time()
            index.search(query, 100, recipe=recipe)
            milliseconds.append(1000 * (time.process_time() - begin))
        measured[name] = statistics.mean(milliseconds)
    return measured | {"after_mb": resident_mb()}


def in_a_process(what, facts):
    command = [sys.executable, __file__, "--child", what, json.dumps(facts)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(told.splitlines()[-1])


def vectors_of_index(index_path, dataset, directory):
    """Write what the four files of vectors hold."""
    from xtrkit.evaluation.beir import read_test_collection
    from xtrkit.retriever import Retriever

    retriever, test = Retriever.open(index_path), read_test_collection(dataset)
    queries = retriever.encode_queries(list(test.queries.values())[:100])
    offsets = retriever.index.document_offsets
    rows = np.concatenate([retriever.index.vectors(number) for number in range(len(retriever.index))])
    arrays = {"vectors": rows, "lengths": np.diff(offsets), "queries": queries.rows, "query_lengths": queries.lengths}
    for name, values in arrays.items():
        np.save(Path(directory) / f"{name}.npy", values)
    return {name: str(Path(directory) / f"{name}.npy") for name in arrays}


def main():
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps({"build": build, "search": search}[sys.argv[2]](json.loads(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="+", help="four .npy files, or an index and a dataset")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 10], help="millions of tokens")
    parser.add_argument("--nbits", type=int, default=4)
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as directory:
        if len(arguments.inputs) == 4:
            names = ("vectors", "lengths", "queries", "query_lengths")
            facts = dict(zip(names, arguments.inputs, strict=True))
        else:
            facts = vectors_of_index(*arguments.inputs, directory)
        for size in arguments.sizes:
            facts |= {"path": f"{directory}/{size}", "tokens": int(size * 1e6), "nbits": arguments.nbits}
            built = in_a_process("build", facts)
            measured = built | in_a_process("search", facts)
            results.append(measured)
            print(f"\n{built['tokens']:,} tokens, {arguments.nbits} bits:")
            print(f"  build {built['build_cpu_s']:.0f} CPU s, peak {built['peak_mb']:,.0f} MB", end="")
            print(f", {built['bytes_a_token']:.1f} bytes a token; open {measured['open_ms']:.1f} ms")
            for name, _ in RECIPES:
                print(f"  {name}: {measured[name]:.2f} CPU ms a query")
            own = measured["after_mb"]["RssAnon"] - measured["before_mb"]["RssAnon"]
            print(f"  after {100 * len(RECIPES)} queries: {own:.0f} MB of memory more than after opening,", end="")
            print(f" and {measured['after_mb']['RssFile'] - measured['before_mb']['RssFile']:.0f} MB of pages touched")
    for name, _ in RECIPES if len(results) > 1 else []:
        print(f"{name}: x{results[-1][name] / results[0][name]:.2f} from the first size to the last")


if __name__ == "__main__":
    main()
