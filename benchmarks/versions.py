"""Two versions of xtrkit side by side, on the same vectors: what a change did to times and to recall.

    git worktree add ../before COMMIT
    python benchmarks/versions.py --data SET --before ../before/src --work WORK [--queries 100] [--rounds 3] [--nbits 4]

SET is what benchmarks/peers/prepare.py made. Each version builds an index of its own below WORK, once, and answers in a
process of its own, on one thread; they take turns, twenty queries each. Times are processor time of calls that give
document numbers, of each query the least of all rounds, then the median over queries; recall is the overlap with the
exact hundred best, of XTR with k' = 1,000 or of MaxSim.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

DEPTH, TURN = 100, 20
EFFORTS = {
    **{f"XTR, nprobe {nprobe}": {"nprobe": nprobe} for nprobe in (8, 16, 32, 64, 128)},
    **{
        f"ColBERT, nprobe {nprobe}, {candidates} candidates": {
            "scoring": "maxsim",
            "nprobe": nprobe,
            "candidates": candidates,
        }
        for nprobe, candidates in ((32, 200), (32, 300), (64, 300))
    },
}


def read(data):
    offsets = np.concatenate([[0], np.cumsum(np.load(data / "lengths.npy"))])
    of_queries = np.concatenate([[0], np.cumsum(np.load(data / "query_lengths.npy"))])
    queries = np.load(data / "queries.npy")
    return np.load(data / "documents.npy", mmap_mode="r"), offsets, [queries[a:b] for a, b in pairwise(of_queries)]


def exact_best(documents, offsets, queries):
    """The best documents by exact XTR, and by exact MaxSim."""
    vectors, found = documents[:].astype(np.float32), {"XTR": [], "ColBERT": []}
    for query in queries:
        similar = query @ vectors.T
        best = np.maximum.reduceat(similar, offsets[:-1], axis=1)
        k = min(1000, similar.shape[1])
        lowest = -np.partition(-similar, k - 1, axis=1)[:, k - 1 : k]
        found["XTR"].append(np.argsort(-np.maximum(best, lowest).sum(axis=0), kind="stable")[:DEPTH])
        found["ColBERT"].append(np.argsort(-best.sum(axis=0), kind="stable")[:DEPTH])
    return {system: np.array(rows) for system, rows in found.items()}


def answer(facts):
    """A version's process: recall of every effort first, then times as they are asked for."""
    from xtrkit.index import Index

    documents, offsets, queries = read(Path(facts["data"]))
    queries, path = queries[: facts["queries"]], Path(facts["index"])
    if not path.exists():
        arrays = [documents[a:b].astype(np.float32) for a, b in pairwise(offsets)]
        Index.create(path, [arrays[i : i + 256] for i in range(0, len(arrays), 256)], nbits=facts["nbits"]).close()
    index, truth = Index.open(path), np.load(facts["truth"])
    recall = {}
    for effort, choices in EFFORTS.items():
        expected = truth[effort.split(",")[0]]
        found = [search(index, query, choices) for query in queries]
        recall[effort] = statistics.mean(
            len(set(one) & set(best)) / DEPTH for one, best in zip(found, expected.tolist(), strict=True)
        )
    print(json.dumps(recall), flush=True)
    for line in sys.stdin:
        effort, first = json.loads(line)
        taken = []
        for query in queries[first : first + TURN]:
            begin = time.process_time()
            search(index, query, EFFORTS[effort])
            taken.append(1000 * (time.process_time() - begin))
        print(json.dumps(taken), flush=True)


def search(index, query, choices):
    (found,) = index._found([query], DEPTH, **choices)  # without looking ids up
    return found.documents.tolist()


def started(facts, source):
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, __file__, "--child", json.dumps(facts)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def show(taken, recall):
    print("| effort | before, CPU ms | now | × | overlap@100 before | now |\n|---|---|---|---|---|---|")
    for effort in EFFORTS:
        before, now = (statistics.median(map(min, taken[version, effort])) for version in recall)
        overlaps = " | ".join(f"{recall[version][effort]:.4f}" for version in recall)
        print(f"| {effort} | {before:.2f} | {now:.2f} | {before / now:.2f} | {overlaps} |")


def main():
    if sys.argv[1:2] == ["--child"]:
        answer(json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--before", type=Path, required=True, help="the other version's src")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nbits", type=int, default=4)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    documents, offsets, queries = read(arguments.data)
    queries, truth = queries[: arguments.queries], arguments.work / f"{arguments.data.name}-truth.npz"
    if not truth.exists():
        np.savez(truth, **exact_best(documents, offsets, queries))
    sources = {"before": arguments.before, "now": Path(__file__).resolve().parents[1] / "src"}
    workers = {}
    for version, source in sources.items():
        index = arguments.work / f"{arguments.data.name}-{arguments.nbits}-{version}"
        facts = {"data": str(arguments.data), "index": str(index), "truth": str(truth)}
        workers[version] = started(facts | {"queries": len(queries), "nbits": arguments.nbits}, source)
    recall = {version: json.loads(worker.stdout.readline()) for version, worker in workers.items()}
    taken = {(version, effort): [[] for _ in queries] for version in workers for effort in EFFORTS}
    for _ in range(arguments.rounds):
        for effort in EFFORTS:
            for first in range(0, len(queries), TURN):
                for version, worker in workers.items():
                    worker.stdin.write(json.dumps([effort, first]) + "\n")
                    worker.stdin.flush()
                    for place, milliseconds in enumerate(json.loads(worker.stdout.readline()), first):
                        taken[version, effort][place].append(milliseconds)
    for worker in workers.values():
        worker.communicate()
    show(taken, recall)


if __name__ == "__main__":
    main()
