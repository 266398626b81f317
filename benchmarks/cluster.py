"""What sharding costs: bytes, exchanges, CPU and latency of a cluster beside the one index that it was split from.

    python benchmarks/cluster.py INDEX DATASET [--shards 3] [--queries 100] [--ray]

In process, where every message is pickled to be counted; with --ray, through actors on this machine, too. The rankings
and the bytes of the scores are compared in every mode: of exact vectors with one process that opens the cluster, since
products depend, in their last bits, on the blocks in which they are computed.
"""

import argparse
import pickle
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from xtrkit import COLBERT, COLXTR, XTR, Retriever
from xtrkit.cluster.cluster import Cluster
from xtrkit.cluster.engine import InProcess
from xtrkit.cluster.host import ShardHost
from xtrkit.cluster.index import ClusterIndex
from xtrkit.cluster.places import Here
from xtrkit.cluster.splitting import split_index
from xtrkit.evaluation.beir import read_test_collection
from xtrkit.storage.shards import read_cluster

MODES = {
    "XTR": XTR,
    "XTR, 128 probes": XTR.but(nprobe=128),
    "XTR, k' 100": XTR.but(k_prime=100),
    **{f"XTR, {name}": XTR.but(imputation=name) for name in ("found", "retrieved", "centroid", "t5000", "0.2", "none")},
    "XTR, all clusters": XTR.but(nprobe="all"),
    "ColXTR": COLXTR,
    "MaxSim": COLBERT,
}


class Counted(InProcess):
    """Counts what goes out and comes back, as Ray would pickle it."""

    def __init__(self, hosts):
        super().__init__(hosts)
        self.reset()

    def reset(self):
        self.exchanges = self.out = self.back = 0

    def ask(self, method, messages):
        answers = super().ask(method, messages)
        self.exchanges += 1
        self.out += sum(len(pickle.dumps((method, message), 5)) for message in messages)
        self.back += sum(len(pickle.dumps(answer, 5)) for answer in answers)
        return answers


def same(index, other, queries, recipe):
    """How many rankings of ten are the same, documents and score bytes."""
    pairs = zip(
        index.search_batch(queries, 10, recipe=recipe), other.search_batch(queries, 10, recipe=recipe), strict=True
    )
    return sum(list(a.ids) == list(b.ids) and a.scores.tobytes() == b.scores.tobytes() for a, b in pairs)


def one_by_one(index, queries, k=10):
    """Milliseconds of each query."""
    times = []
    for query in queries:
        begin = time.perf_counter()
        index.search(query, k)
        times.append(1000 * (time.perf_counter() - begin))
    return np.quantile(times, [0.5, 0.95])


def cpu(index, queries, recipe, rounds=5):
    """CPU milliseconds a query of this process, in batches of 16: the median of some rounds."""
    taken = []
    for _ in range(rounds):
        begin = time.process_time()
        for first in range(0, len(queries), 16):
            index.search_batch(queries[first : first + 16], 10, recipe=recipe)
        taken.append(1000 * (time.process_time() - begin) / len(queries))
    return float(np.median(taken))


def over_http(one, path, address, texts):
    """How many rankings of each mode are the same when a server is asked, one query after the other."""
    command = [sys.executable, "-m", "xtrkit", "cluster", "serve", str(path), "--address", address, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            url = re.search(r"http://\S+?:\d+", server.stdout.readline())[0]
            with httpx.Client(base_url=url, timeout=120) as client:
                while client.get("/readyz").status_code != 200:
                    time.sleep(0.2)
                for name, recipe in MODES.items():
                    equal = 0
                    for text in texts:
                        body = {"query": text, "k": 10, "group_by_document": False, **asked_as(recipe)}
                        hits = client.post("/v1/search", json=body).json()["hits"]
                        expected = one.search(text, 10, recipe=recipe, group_by_document=False)
                        equal += [(hit["id"], hit["score"]) for hit in hits] == [
                            (hit.id, hit.score) for hit in expected
                        ]
                    print(f"{name:20}  {equal:>3}/{len(texts)} over HTTP", flush=True)
        finally:
            server.terminate()


def asked_as(recipe):
    """A recipe, as a request says it."""
    name = {COLBERT: "colbert", COLXTR: "colxtr"}.get(recipe, "xtr")
    fields = ("nprobe", "k_prime", "imputation")
    return {"recipe": name, **{one: getattr(recipe, one) for one in fields if getattr(recipe, one) is not None}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--http", action="store_true", help="ask a server in front of these actors, too")
    parser.add_argument("--no-costs", action="store_true", help="leave out the part in process")
    arguments = parser.parse_args()
    one = Retriever.open(arguments.index)
    texts = list(read_test_collection(arguments.dataset).queries.values())[: arguments.queries]
    encoded = one.encode_queries(texts)
    queries = [encoded[n] for n in range(len(texts))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cluster"
        begin = time.perf_counter()
        split_index(arguments.index, path, arguments.shards)
        print(
            f"split into {arguments.shards} shards: {time.perf_counter() - begin:.1f} s, {one.index.n_tokens:,} tokens"
        )
        if one.index.storage == "float16":
            one = Retriever.open(path)
        hosts = [ShardHost(path / shard.name, shard) for shard in read_cluster(path).shards]
        counted = Counted(hosts)
        index = ClusterIndex(Here(path), lambda cluster: counted)
        print(f"{'':20}  same  exchanges  KB out, back of a query and shard  CPU ms a query: one index, shards")
        for name, recipe in () if arguments.no_costs else MODES.items():
            equal = same(one.index, index, queries, recipe)
            counted.reset()
            index.search_batch(queries[:16], 10, recipe=recipe)
            kilo = 1000 * arguments.shards * min(16, len(queries))
            exchanges, out, back = counted.exchanges, counted.out / kilo, counted.back / kilo
            alone, together = cpu(one.index, queries, recipe), cpu(index, queries, recipe)
            print(
                f"{name:20}  {equal:>3}/{len(queries)}  {exchanges:>4}  {out:>10.1f} "
                f"{back:>6.1f}  {alone:>22.2f} {together:>7.2f}  x {together / alone:.2f}",
                flush=True,
            )
        if arguments.ray:
            begin = time.perf_counter()
            with Cluster.open(path, address="local") as cluster:
                print(f"Ray and {arguments.shards} actors: {time.perf_counter() - begin:.1f} s")
                for name, recipe in MODES.items():
                    print(f"{name:20}  {same(one.index, cluster.index, queries, recipe):>3}/{len(queries)} through Ray")
                for name, asked in (("one index", one.index), ("through Ray", cluster.index)):
                    middle, high = one_by_one(asked, queries)
                    print(f"one by one, {name}: p50 {middle:.2f}, p95 {high:.2f} ms")
                for size in (4, 16):
                    begin = time.perf_counter()
                    for first in range(0, len(queries), size):
                        cluster.index.search_batch(queries[first : first + size], 10)
                    taken = 1000 * (time.perf_counter() - begin) / len(queries)
                    print(f"batches of {size} through Ray: {taken:.2f} ms a query")
                if arguments.http:
                    over_http(one, path, cluster._shards.address, texts)


if __name__ == "__main__":
    main()
