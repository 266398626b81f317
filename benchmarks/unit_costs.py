"""What one token, one centroid, one query costs here; and what a billion tokens, or ten, would cost at these prices.

    python benchmarks/unit_costs.py DATASET [--passages 1000] [--queries 100]

DATASET is a BEIR folder. All times are CPU times of one thread, medians of some rounds, so that a busy machine changes
them little. Measured are: encoding with the default model; assigning and compressing real token vectors with 2^18 and
2^20 centroids, which are such vectors with noise; sorting a segment and writing it, its texts and words; the bytes
that all of it takes; choosing clusters among so many centroids, whose clusters have sizes drawn by chance (lognormal,
with the spread of the real ones), and so how many tokens a query opens there; a search of the real index, per token
opened, from memory and not from a cache; and the messages of a query through three shards. The plan multiplies these:
it is reckoned, and nobody has run it.
"""

import argparse
import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
from bandwidth import total

from cluster import Counted
from xtrkit.cluster.host import ShardHost
from xtrkit.cluster.index import ClusterIndex
from xtrkit.cluster.splitting import split_index
from xtrkit.encoding import load_encoder
from xtrkit.evaluation.beir import read_test_collection
from xtrkit.index import Index
from xtrkit.indexing.centroids import SAMPLE_PER_CENTROID, centroid_count, grouped
from xtrkit.indexing.codec import codec_named
from xtrkit.indexing.postings import SAMPLE_FLOATS, encode_block, quantiser_of, write_postings
from xtrkit.indexing.segments import segment_facts
from xtrkit.indexing.store import Store
from xtrkit.indexing.workers import Workers
from xtrkit.passage import Passage
from xtrkit.recipes import XTR
from xtrkit.search.compressed import chosen_clusters
from xtrkit.storage.shards import read_cluster
from xtrkit.token_retrieval.centroid import quantised
from xtrkit.token_retrieval.corpus import ClusterTable

BITS, NPROBES, ROUNDS = 4, (32, 64, 128, 256, 512), 5
OTHER_MEMORY = np.ones(20_000_000, dtype=np.int64)
PLANS = {"1 B tokens": (10**9, 16, 4), "140 M passages, 10 B tokens": (10**10, 64, 8)}
"""What is reckoned: tokens, shards, machines."""


def cpu(work):
    """What some work gives, and its CPU seconds."""
    begin = time.process_time()
    found = work()
    return found, time.process_time() - begin


def median_of(work, rounds=ROUNDS):
    """The median of the CPU seconds of some rounds, after one that is not counted."""
    work()
    return statistics.median(cpu(work)[1] for _ in range(rounds))


def encoding(texts, encoder):
    """Token vectors and lengths of texts, and CPU milliseconds a token of ten parts, the least first."""
    vectors, lengths, per_token = [], [], []
    list(encoder.stream_documents(texts[:8], batch_size=32, chunk_size=8))
    for part in np.array_split(np.arange(len(texts)), 10):
        given = [texts[n] for n in part]
        chunks, seconds = cpu(lambda given=given: list(encoder.stream_documents(given, batch_size=32, chunk_size=256)))
        rows = [np.asarray(chunk.embeddings.rows, dtype=np.float16) for chunk in chunks]
        vectors += rows
        lengths += [length for chunk in chunks for length in chunk.embeddings.lengths]
        per_token.append(1000 * seconds / sum(map(len, rows)))
    return np.concatenate(vectors), np.array(lengths), sorted(per_token)


def synthetic(vectors, bits, spread):
    """Centroids as many as 2^bits, and sizes of their clusters: (quantiser, centroids' tree)."""
    random, n_centroids = np.random.default_rng(0), 1 << bits
    rows = vectors[random.integers(len(vectors), size=n_centroids)].astype(np.float32)
    rows += random.standard_normal(rows.shape, dtype=np.float32) * np.float32(spread / np.sqrt(rows.shape[1]))
    codec = codec_named("grid", BITS)
    rotation = codec.rotation(rows.shape[1], 0)
    rows = (rows @ rotation) / np.linalg.norm(rows, axis=1, keepdims=True)
    tree = grouped(rows, 0)
    energies = np.full(n_centroids, 0.3, dtype=np.float32)
    return quantiser_of(codec, rotation, tree, tree.centroids, energies), tree


def building(vectors, quantiser, tree):
    """CPU microseconds a token of assigning and of compressing."""
    random = np.random.default_rng(1)
    blocks = [vectors[random.integers(len(vectors), size=1 << 15)] for _ in range(2)]
    found = {}
    with Workers(1):  # no threads of BLAS's

        def assign():
            for block in blocks:
                found["clusters"] = tree.assign(block.astype(np.float32) @ quantiser.rotation)

        def compress():
            for block in blocks:
                encode_block(quantiser, block, found["clusters"])

        n_tokens = sum(map(len, blocks))
        return [1e6 * median_of(work, 3) / n_tokens for work in (assign, compress)]


def writing(store, texts, ids):
    """Of a token: CPU microseconds of sorting and writing codes, and of texts and words; bytes of both."""
    tokens = store.segments[0].tokens
    lengths = np.diff(tokens.document_offsets)
    random = np.random.default_rng(2)
    sizes = np.diff(tokens.cluster_offsets)
    assigned = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    random.shuffle(assigned)
    codes, scales = np.asarray(tokens.codes), np.asarray(tokens.scales)
    passages = [Passage(name, text, None, None) for name, text in zip(ids, texts, strict=True)]
    taken = {"codes": [], "texts": []}
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            blocks = ((slice(n, n + (1 << 15)), codes[n : n + (1 << 15)]) for n in range(0, len(codes), 1 << 15))
            given = (Path(folder), "v.safetensors", blocks, lengths, assigned, scales, store.quantiser)
            vectors, seconds = cpu(lambda given=given: write_postings(*given))
            taken["codes"].append(1e6 * seconds / len(codes))
            facts, seconds = cpu(
                lambda folder=folder, vectors=vectors: segment_facts(Path(folder), "s", lengths, vectors, passages)
            )
            taken["texts"].append(1e6 * seconds / len(codes))
    sizes = (facts.vectors.size / len(codes), (facts.passages.size + facts.words.size) / len(codes))
    return [statistics.median(values) for values in taken.values()], sizes


def searching(index, queries):
    """CPU milliseconds of a query and nanoseconds for each token that it opens: a line through several nprobe."""
    (store,) = [index._store]
    sizes = np.diff(store.segments[0].tokens.cluster_offsets)
    table = ClusterTable(store.quantiser, sizes.astype(np.int64))
    opened, taken = [], []
    for nprobe in NPROBES:
        recipe = XTR.but(nprobe=nprobe)
        opened.append(np.mean([tokens_opened(table, query, recipe) for query in queries]))
        times = []
        for query in queries:
            rounds = []
            for _ in range(3):
                total(OTHER_MEMORY)
                rounds.append(cpu(lambda query=query, recipe=recipe: index.search(query, 10, recipe=recipe))[1])
            times.append(statistics.median(rounds))
        taken.append(statistics.mean(times))
    slope, offset = np.polyfit(opened, taken, 1)
    return 1e9 * slope, 1e3 * offset, dict(zip(NPROBES, zip(opened, taken, strict=True), strict=True))


def tokens_opened(table, query, recipe):
    """How many tokens are in the clusters that a query opens."""
    chosen = chosen_clusters(table, quantised(query, table.quantiser), recipe)
    return int(table.sizes[chosen.clusters].sum())


def choosing(quantiser, n_tokens, spread, queries):
    """CPU milliseconds of choosing clusters for a query, and how many tokens it opens."""
    sizes = np.random.default_rng(3).lognormal(0, spread, quantiser.n_clusters)
    table = ClusterTable(quantiser, np.maximum(1, sizes * (n_tokens / sizes.sum())).astype(np.int64))
    opened = [tokens_opened(table, query, XTR) for query in queries]
    times = []
    for query in queries:
        rounds = []
        for _ in range(3):
            total(OTHER_MEMORY)
            rounds.append(cpu(lambda query=query: chosen_clusters(table, quantised(query, quantiser), XTR))[1])
        times.append(statistics.median(rounds))
    return 1e3 * statistics.mean(times), statistics.mean(opened)


def messages(path, queries):
    """Bytes out and back of a query and shard, three shards, in batches of 16; exchanges of a batch."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "cluster"
        split_index(path, target, 3)
        hosts = [ShardHost(target / shard.name, shard) for shard in read_cluster(target).shards]
        counted = Counted(hosts)
        index = ClusterIndex(target, lambda cluster: counted)
        counted.reset()
        batches = range(0, len(queries), 16)
        for first in batches:
            index.search_batch(queries[first : first + 16], 10)
        asked = 3 * len(queries)
        return counted.out / asked, counted.back / asked, counted.exchanges / len(batches)


def plan(name, costs, dim):
    """What a collection would take, at the costs of one token."""
    n_tokens, shards, machines = PLANS[name]
    n_centroids = centroid_count(n_tokens)
    bits = int(np.log2(n_centroids))
    assign, compress, choose, opened = costs[f"2^{bits}"]
    sample = min(SAMPLE_PER_CENTROID * n_centroids, SAMPLE_FLOATS // dim)
    hours = n_tokens / 3600
    together = max(1 << 20, 16 * n_centroids)
    sums = -(-n_tokens // together) * 8 * n_centroids * (dim + 2)
    search = choose + 1e-6 * costs["ns a token opened"] * opened
    giga = 1e-9
    return {
        "index; texts and words, GB": (
            giga * n_tokens * costs["bytes a token"],
            giga * n_tokens * costs["bytes of text a token"],
        ),
        "vectors meanwhile; codes; sums of clusters, GB": (
            giga * 2 * dim * n_tokens,
            giga * n_tokens * (4 + 2 + dim * BITS / 8),
            giga * sums,
        ),
        "centroids, 2^; codec, MB; sample, GB; of a centroid": (
            bits,
            1e-6 * n_centroids * (dim + 8),
            giga * 4 * dim * sample,
            sample / n_centroids,
        ),
        "shards; machines; GB of index a machine": (
            shards,
            machines,
            giga * n_tokens * costs["bytes a token"] / machines,
        ),
        "encoding; all the rest, CPU h": (
            hours * 1e-3 * costs["ms a token encoded"],
            hours * 1e-6 * (assign + compress + costs["us a token sorted"] + costs["us a token's text"]),
        ),
        "tokens opened a query, M; choosing; all, CPU ms": (opened / 1e6, choose, search),
        "network a query, MB out; back": (1e-6 * shards * costs["out"], 1e-6 * shards * costs["back"]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--passages", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--spread", type=float, default=0.3, help="length of the noise of synthetic centroids")
    arguments = parser.parse_args()
    test = read_test_collection(arguments.dataset)
    with (arguments.dataset / "corpus.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line in islice(file, arguments.passages)]
    texts = [f"{record.get('title', '')} {record['text']}".strip() for record in records]
    encoder = load_encoder(threads=1)
    vectors, lengths, per_token = encoding(texts, encoder)
    dim = vectors.shape[1]
    costs = {"ms a token encoded": statistics.median(per_token), "least of ten parts": per_token[0]}
    costs["tokens a passage"] = float(lengths.mean())
    print(f"{len(texts):,} passages, {len(vectors):,} tokens of {dim} dimensions")
    encoded = encoder.encode_queries(list(test.queries.values())[: arguments.queries])
    queries = [encoded[n] for n in range(len(encoded))]
    with tempfile.TemporaryDirectory() as folder:
        path, ids = Path(folder) / "idx", [record["_id"] for record in records]
        documents = np.split(vectors.astype(np.float32), np.cumsum(lengths)[:-1])
        with Index.create(path, [documents], ids=ids, nbits=BITS, threads=1) as index:
            store = Store.open(path)
            times, sizes = writing(store, texts, ids)
            costs["us a token sorted"], costs["us a token's text"] = times
            costs["bytes a token"], costs["bytes of text a token"] = sizes
            costs["ns a token opened"], costs["ms a query beside"], points = searching(index, queries)
            spread = float(np.log(np.maximum(1, np.diff(store.segments[0].tokens.cluster_offsets))).std())
        costs["out"], costs["back"], costs["exchanges"] = messages(path, queries)
    costs["tokens a query"] = statistics.mean(map(len, queries))
    for bits in sorted({int(np.log2(centroid_count(n_tokens))) for n_tokens, _, _ in PLANS.values()}):
        quantiser, tree = synthetic(vectors, bits, arguments.spread)
        n_tokens = max(n_tokens for n_tokens, _, _ in PLANS.values() if centroid_count(n_tokens) == 1 << bits)
        costs[f"2^{bits}"] = [*building(vectors, quantiser, tree), *choosing(quantiser, n_tokens, spread, queries)]
        print(
            f"2^{bits} centroids, {n_tokens:,} tokens:", [round(value, 2) for value in costs[f"2^{bits}"]], flush=True
        )
    for name, value in costs.items():
        print(f"{name:>24}: {value if isinstance(value, list) else f'{value:.3f}'}")
    print("CPU ms of a query by nprobe:", {n: f"{o:,.0f} tokens, {1000 * t:.2f}" for n, (o, t) in points.items()})
    print(f"spread of the logarithm of clusters' sizes: {spread:.2f}")
    for name in PLANS:
        print(f"\n{name}")
        for what, value in plan(name, costs, dim).items():
            values = value if isinstance(value, tuple) else (value,)
            print(f"  {what:52} {' · '.join(f'{one:,.2f}' for one in values)}")


if __name__ == "__main__":
    main()
