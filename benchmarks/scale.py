"""From one to a hundred million tokens: what building, opening and searching a compressed index cost.

    python benchmarks/scale.py VECTORS.npy LENGTHS.npy QUERIES.npy QUERY_LENGTHS.npy [--sizes 1 10 100] [--nbits 4]
    python benchmarks/scale.py INDEX DATASET
    python benchmarks/scale.py … --directory KEPT --only build
    python benchmarks/scale.py … --directory KEPT --only search
    python benchmarks/scale.py … --only search --index KEPT/10M-4

VECTORS are the (M, d) token vectors of a real collection, LENGTHS the tokens of each passage; QUERIES and
QUERY_LENGTHS the same of its queries. Or INDEX is an exact index of DATASET, a BEIR folder. Larger collections are
spliced: a passage is made of runs of 32 tokens, each from a real passage drawn by chance, with a little noise, so that
no vector comes twice. Each size is built, and searched, in a process of its own, whose processor time and peak memory
the operating system tells. In KEPT, indexes and what their builds cost stay for a later run. A hundred million tokens
of 128 dimensions need 41 GB of disk while they are built at 4 bits, 8 afterwards.

Queries are timed one by one, on one thread. "Warm": a second time round, after all were searched once. "Cold": after
the index's files were dropped from the page cache, before each query; what a query then reads is told beside it.
"""

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from xtrkit.index import Index
from xtrkit.indexing.creating import Making, write_store
from xtrkit.indexing.documents import joined
from xtrkit.indexing.halves import to_floats
from xtrkit.progress import Reporter
from xtrkit.recipes import COLBERT, XTR

RUN, PASSAGE, NOISE = 32, 128, 0.05
RECIPES = [
    ("XTR, nprobe 8", XTR.but(nprobe=8)),
    ("XTR, nprobe 32", XTR.but(nprobe=32)),
    ("ColBERT, nprobe 32, 300 candidates", COLBERT.but(nprobe=32, candidates=300)),
]
QUERIES, COLD_QUERIES = 100, 30
MADV_DONTNEED = 4


def passages(vectors, lengths, n_tokens):
    """Batches of spliced passages."""
    random, offsets = np.random.default_rng(0), np.concatenate([[0], np.cumsum(lengths)])
    long_enough = np.flatnonzero(lengths >= RUN)
    noise = random.standard_normal(1 << 24, dtype=np.float32) * np.float32(NOISE / np.sqrt(vectors.shape[1]))
    size = 256 * PASSAGE * vectors.shape[1]
    for _ in range(0, n_tokens, 256 * PASSAGE):
        chosen = random.choice(long_enough, 256 * PASSAGE // RUN)
        firsts = offsets[chosen] + random.integers(0, lengths[chosen] - RUN + 1)
        rows = vectors[(firsts[:, np.newaxis] + np.arange(RUN)).ravel()]
        rows = to_floats(rows) if rows.dtype == np.float16 else rows.astype(np.float32)
        first = random.integers(len(noise) - size)  # nobody sees that it comes again elsewhere
        rows += noise[first : first + size].reshape(rows.shape)
        rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, np.newaxis]
        yield list(rows.reshape(-1, PASSAGE, rows.shape[1]))


@dataclass(frozen=True)
class Timed(Reporter):
    """What each phase of a build cost: {phase: (processor seconds, seconds)}."""

    costs: dict = field(default_factory=dict)

    @contextmanager
    def phase(self, description, total, unit="", done=0):
        busy, wall = time.process_time(), time.perf_counter()
        with super().phase(description, total, unit, done) as advance:
            yield advance
        before = self.costs.get(description, (0, 0))
        self.costs[description] = (
            before[0] + time.process_time() - busy,
            before[1] + time.perf_counter() - wall,
        )


def build(facts):
    vectors, lengths = np.load(facts["vectors"]), np.load(facts["lengths"])
    reporter, splicing = Timed(shown=True), [0.0, 0.0]

    def timed():
        batches = passages(vectors, lengths, facts["tokens"])
        while True:
            busy, wall = time.process_time(), time.perf_counter()
            batch = next(batches, None)
            splicing[0] += time.process_time() - busy
            splicing[1] += time.perf_counter() - wall
            if batch is None:
                return
            yield batch

    resource_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    busy, wall = time.process_time(), time.perf_counter()
    write_store(
        Path(facts["path"]),
        timed(),
        joined(None, None, None, None),
        encoder=None,
        making=Making(facts["nbits"], threads=facts["threads"], overwrite=True),
        reporter=reporter,
    )
    busy, wall = time.process_time() - busy - splicing[0], time.perf_counter() - wall - splicing[1]
    spooling = reporter.costs.pop("Encoding")
    phases = {"Taking in": [spooling[0] - splicing[0], spooling[1] - splicing[1]], **reporter.costs}
    rest = [busy - sum(cost[0] for cost in phases.values()), wall - sum(cost[1] for cost in phases.values())]
    with Index.open(facts["path"]) as index:
        return {
            "tokens": index.n_tokens,
            "passages": len(index),
            "clusters": index._store.quantiser.n_clusters,
            "nbits": facts["nbits"],
            "threads": facts["threads"],
            "cpu_s": busy,
            "wall_s": wall,
            "phases": phases | {"The rest": rest},
            "loaded_mb": resource_before,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "bytes_a_token": index.size / index.n_tokens,
        }


def memory_mb():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


def bytes_read():
    fields = dict(line.split(":") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["read_bytes"])


def unmap(path):
    """Take the pages of an index's files out of this process's tables."""
    madvise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text().splitlines():
        if str(path) in line:
            first, last = (int(place, 16) for place in line.split()[0].split("-"))
            madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_DONTNEED)


def forget(path):
    """Drop an index's files from the page cache, as far as no other process has them mapped."""
    unmap(path)
    for file in Path(path).iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def read_whole(path):
    """Have an index's files in the page cache."""
    buffer = bytearray(1 << 24)
    for file in Path(path).iterdir():
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass


def p50_and_p95(milliseconds):
    return statistics.median(milliseconds), float(np.quantile(milliseconds, 0.95))


def opening(path):
    milliseconds = []
    for _ in range(5):
        begin = time.perf_counter()
        Index.open(path).close()
        milliseconds.append(1000 * (time.perf_counter() - begin))
    return min(milliseconds)


def timed_queries(index, queries, recipe, before=lambda: None):
    """Processor and wall-clock ms of each query, and what was read from disk for it, MB."""
    busy, wall, read = [], [], []
    for query in queries:
        before()
        begin_busy, begin, begin_read = time.process_time(), time.perf_counter(), bytes_read()
        index.search(query, 100, recipe=recipe)
        busy.append(1000 * (time.process_time() - begin_busy))
        wall.append(1000 * (time.perf_counter() - begin))
        read.append((bytes_read() - begin_read) / 1e6)
    return busy, wall, read


def search(facts):
    queries, lengths = np.load(facts["queries"]), np.load(facts["query_lengths"])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    chosen = [queries[a:b] for a, b in pairwise(offsets[: QUERIES + 1])]
    path = facts["path"]
    read_whole(path)
    with Index.open(path) as index:  # compiles
        for _, recipe in RECIPES:
            index.search(chosen[0], 100, recipe=recipe)
    measured = {"open_ms": opening(path)}
    forget(path)
    begin = time.perf_counter()
    index = Index.open(path)
    measured["cold_open_ms"] = 1000 * (time.perf_counter() - begin)
    read_whole(path)
    for name, recipe in RECIPES:
        unmap(path)
        before = memory_mb()
        timed_queries(index, chosen, recipe)
        after = memory_mb()
        busy, wall, _ = timed_queries(index, chosen, recipe)
        measured[name] = {
            "cpu_ms": p50_and_p95(busy),
            "wall_ms": p50_and_p95(wall),
            "own_mb": after["RssAnon"] - before["RssAnon"],
            "pages_mb": after["RssFile"] - before["RssFile"],
        }
    for name, recipe in RECIPES:
        _, wall, read = timed_queries(index, chosen[:COLD_QUERIES], recipe, lambda: forget(path))
        measured[name] |= {"cold_ms": p50_and_p95(wall), "cold_read_mb": statistics.median(read)}
    return measured


def in_a_process(what, facts):
    command = [sys.executable, __file__, "--child", what, json.dumps(facts)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(told.splitlines()[-1])


def vectors_of_index(index_path, dataset, directory):
    """Write what the four files of vectors hold."""
    from xtrkit.evaluation.beir import read_test_collection
    from xtrkit.retriever import Retriever

    retriever, test = Retriever.open(index_path), read_test_collection(dataset)
    queries = retriever.encode_queries(list(test.queries.values())[:QUERIES])
    offsets = retriever.index.document_offsets
    rows = np.concatenate([retriever.index.vectors(number) for number in range(len(retriever.index))])
    arrays = {"vectors": rows, "lengths": np.diff(offsets), "queries": queries.rows, "query_lengths": queries.lengths}
    for name, values in arrays.items():
        np.save(Path(directory) / f"{name}.npy", values)
    return {name: str(Path(directory) / f"{name}.npy") for name in arrays}


def show_build(built):
    millions = built["tokens"] / 1e6
    print(f"\n{built['tokens']:,} tokens, {built['clusters']:,} clusters, {built['nbits']} bits:")
    print(f"  build {built['cpu_s']:,.0f} CPU s ({built['cpu_s'] / 3600:.2f} hours), {built['wall_s']:,.0f} s", end="")
    print(f" on {built['threads'] or 'all'} threads; peak {built['peak_mb']:,.0f} MB,", end="")
    print(f" {built['loaded_mb']:,.0f} before; {built['bytes_a_token']:.1f} bytes a token")
    for phase, (busy, wall) in built["phases"].items():
        print(f"    {phase}: {busy / millions:.2f} CPU s, {wall / millions:.2f} s a million tokens")


def show_search(measured):
    print(f"  open {measured['open_ms']:.1f} ms, cold {measured['cold_open_ms']:.1f}")
    for name, _ in RECIPES:
        of_one = measured[name]
        print(f"  {name}, p50 and p95:", end="")
        print(" warm {:.2f} {:.2f} CPU ms,".format(*of_one["cpu_ms"]), end="")
        print(" {:.2f} {:.2f} ms;".format(*of_one["wall_ms"]), end="")
        print(" cold {:.1f} {:.1f} ms".format(*of_one["cold_ms"]), end="")
        print(f" ({of_one['cold_read_mb']:.1f} MB read)")
        print(f"    {QUERIES} queries: {of_one['own_mb']:.0f} MB of memory more, {of_one['pages_mb']:.0f} of pages")


def show_growth(results):
    """What each size costs, over what the first does; beside it what tokens a cluster predict."""
    first = results[0]
    print("\nGrowth from the first size, tokens · a cluster's tokens · p50 warm:")
    for built in results:
        clusters = (built["tokens"] / built["clusters"]) / (first["tokens"] / first["clusters"])
        searched = (f"{name} ×{built[name]['cpu_ms'][0] / first[name]['cpu_ms'][0]:.2f}" for name, _ in RECIPES)
        print(f"  ×{built['tokens'] / first['tokens']:.0f} · ×{clusters:.2f} · {', '.join(searched)}")


def arguments_given():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="+", help="four .npy files, or an index and a dataset")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 10], help="millions of tokens")
    parser.add_argument("--nbits", type=int, default=4)
    parser.add_argument("--threads", type=int, help="threads that build; all cores by default")
    parser.add_argument("--directory", help="where indexes are kept; nowhere by default")
    parser.add_argument("--only", choices=("build", "search"))
    parser.add_argument("--index", help="search this index, which was built before")
    return parser.parse_args()


def run(arguments, directory):
    if len(arguments.inputs) == 4:
        facts = dict(zip(("vectors", "lengths", "queries", "query_lengths"), arguments.inputs, strict=True))
    else:
        facts = vectors_of_index(*arguments.inputs, directory)
    paths = [Path(directory) / f"{size:g}M-{arguments.nbits}" for size in arguments.sizes]
    results = []
    for path in [Path(arguments.index)] if arguments.index else paths:
        told = path.with_suffix(".json")
        if arguments.only != "search":
            size = arguments.sizes[paths.index(path)]
            facts |= {"path": str(path), "tokens": int(size * 1e6), "nbits": arguments.nbits}
            told.write_text(json.dumps(in_a_process("build", facts | {"threads": arguments.threads})))
        results.append(json.loads(told.read_text()))
        show_build(results[-1])
        if arguments.only != "build":
            results[-1] |= in_a_process("search", facts | {"path": str(path)})
            show_search(results[-1])
        sys.stdout.flush()
    if len(results) > 1 and arguments.only != "build":
        show_growth(results)


def main():
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps({"build": build, "search": search}[sys.argv[2]](json.loads(sys.argv[3]))))
        return
    arguments = arguments_given()
    if arguments.directory:
        Path(arguments.directory).mkdir(parents=True, exist_ok=True)
        run(arguments, arguments.directory)
    else:
        with tempfile.TemporaryDirectory() as directory:
            run(arguments, directory)


if __name__ == "__main__":
    main()
