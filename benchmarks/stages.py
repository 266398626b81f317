"""Where the time of an XTR search goes, and what memory bandwidth would allow.

    python benchmarks/stages.py --data SET --index INDEX [--queries 100]

SET is what benchmarks/peers/prepare.py made, INDEX a compressed index of it, of one segment (run.py leaves one below
--work). Of each query's stages the best of five rounds, by the clock; one thread.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from contract import Data

from xtrkit.index import Index
from xtrkit.indexing.store import Store
from xtrkit.token_retrieval.centroid import choose_clusters, quantised
from xtrkit.token_retrieval.corpus import ClusteredCorpus

ROUNDS = 5


def best_stages(index, query, nprobe):
    """{stage: milliseconds}, each the best of the rounds."""
    rounds = [index.search(query, 100, nprobe=nprobe).seconds for _ in range(ROUNDS + 1)][1:]
    return {stage: 1000 * min(seconds[stage] for seconds in rounds) for stage in rounds[0]}


def opened_tokens(corpus, query, nprobe):
    chosen = choose_clusters(corpus, quantised(query, corpus.quantiser), nprobe)
    there = [clusters[:count] for clusters, count in zip(chosen.clusters, chosen.counts, strict=True)]
    return sum(int(corpus.sizes[clusters].sum()) for clusters in there)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=100)
    arguments = parser.parse_args()
    queries = Data(arguments.data).queries[: arguments.queries]
    store, index = Store.open(arguments.index), Index.open(arguments.index)
    corpus, tokens = ClusteredCorpus(store.corpus()), store.segments[0].tokens
    row_bytes = tokens.codes.shape[1] + tokens.scales.itemsize
    for place, nprobe in enumerate((8, 16, 32, 64, 128)):
        measured = [best_stages(index, query, nprobe) for query in queries]
        means = {stage: statistics.mean(one[stage] for one in measured) for stage in measured[0]}
        opened = statistics.mean(opened_tokens(corpus, query, nprobe) for query in queries)
        if not place:
            print(f"| nprobe | {' | '.join(means)} | together, ms | tokens opened | ns a token | GB/s |")
            print("|---" * (len(means) + 5) + "|")
        shares = " | ".join(f"{value:.2f}" for value in means.values())
        print(
            f"| {nprobe} | {shares} | {sum(means.values()):.2f} | {opened:,.0f} "
            f"| {1e6 * means['codes'] / opened:.1f} | {opened * row_bytes / means['codes'] / 1e6:.1f} |"
        )


if __name__ == "__main__":
    main()
