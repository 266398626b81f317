"""Where the time of an XTR search goes, and what memory bandwidth would allow.

    python benchmarks/stages.py --data SET --index INDEX [--queries 100] [--warm]

SET is what benchmarks/peers/prepare.py made, INDEX a compressed index of it, of one segment (run.py leaves one below
--work). Of each query's stages the best of five rounds (--rounds), by the clock; one thread. Before each, 160 MB of
other memory are read, so that what it reads comes from memory; with --warm, from where the round before left it.
"Reading" is a loop that does nothing but add up the words of the codes and scales that the search opens, the same runs
in the same order, likewise from memory: the limit of the stage "codes".
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from bandwidth import total, totals
from contract import K_PRIME, Data

from xtrkit.index import Index
from xtrkit.indexing.store import Store
from xtrkit.token_retrieval.centroid import promising, quantised
from xtrkit.token_retrieval.corpus import ClusteredCorpus

OTHER_MEMORY = np.ones(20_000_000, dtype=np.int64)


def best_stages(index, query, nprobe, runs, arguments):
    """{stage: milliseconds} and those of reading the same runs alone, each the best of the rounds."""
    rounds = []
    for _ in range(arguments.rounds + 1):
        if not arguments.warm:
            total(OTHER_MEMORY)
        seconds = dict(index.search(query, 100, nprobe=nprobe, k_prime=K_PRIME).seconds)
        if not arguments.warm:
            total(OTHER_MEMORY)
        begin = time.perf_counter()
        for array, starts, stops in runs:
            totals(array, starts, stops)
        rounds.append({**seconds, "reading": time.perf_counter() - begin})
    return {stage: 1000 * min(seconds[stage] for seconds in rounds[1:]) for stage in rounds[0]}


def opened_rows(corpus, query, nprobe):
    """The first row of each cluster that a search opens, and the row after its last; a cluster for each token."""
    clusters = promising(corpus, quantised(query, corpus.quantiser), nprobe, K_PRIME).clusters
    return corpus.cluster_offsets[clusters], corpus.cluster_offsets[clusters + 1]


def runs_of(tokens, starts, stops):
    """What is read of some rows: words of codes, and scales."""
    words = np.ascontiguousarray(tokens.codes).reshape(-1).view(np.int64)
    a_row = len(words) // len(tokens.codes)
    return [
        (words, starts * a_row, stops * a_row),
        (tokens.scales.view(f"u{tokens.scales.itemsize}"), starts, stops),
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5, help="more on a machine that has other things to do")
    parser.add_argument("--warm", action="store_true", help="leave what the round before read in the caches")
    arguments = parser.parse_args()
    queries = Data(arguments.data).queries[: arguments.queries]
    store, index = Store.open(arguments.index), Index.open(arguments.index)
    corpus, tokens = ClusteredCorpus(store.corpus()), store.segments[0].tokens
    row_bytes = tokens.codes.shape[1] + tokens.scales.itemsize
    for place, nprobe in enumerate((8, 16, 32, 64, 128)):
        rows = [opened_rows(corpus, query, nprobe) for query in queries]
        measured = [
            best_stages(index, query, nprobe, runs_of(tokens, *opened), arguments)
            for query, opened in zip(queries, rows, strict=True)
        ]
        means = {stage: statistics.mean(one[stage] for one in measured) for stage in measured[0]}
        reading = means.pop("reading")
        opened = statistics.mean(int((stops - starts).sum()) for starts, stops in rows)
        if not place:
            limits = "tokens opened | ns a token | GB/s | reading, ns a token | codes ÷ reading"
            print(f"| nprobe | {' | '.join(means)} | together, ms | {limits} |")
            print("|---" * (len(means) + 7) + "|")
        shares = " | ".join(f"{value:.2f}" for value in means.values())
        print(
            f"| {nprobe} | {shares} | {sum(means.values()):.2f} | {opened:,.0f} | {1e6 * means['codes'] / opened:.1f} "
            f"| {opened * row_bytes / means['codes'] / 1e6:.1f} | {1e6 * reading / opened:.1f} "
            f"| {means['codes'] / reading:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
