"""Where the time of an XTR search goes, and what memory bandwidth would allow.

    python benchmarks/stages.py --data SET --index INDEX [--queries 100]

SET is what benchmarks/peers/prepare.py made, INDEX a compressed index of it (run.py leaves one below --work). Each
stage repeats the ones before it; what is shown is the difference. Processor time of one thread.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from contract import Data

from xtrkit.index import Index
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.indexing.store import Store
from xtrkit.search_compressed import Effort, search
from xtrkit.token_retrieval.centroid import choose_clusters, probe, quantised

ROUNDS = 5


def milliseconds(function, queries):
    """Mean of the queries, best of the rounds."""
    seconds = []
    for _ in range(ROUNDS + 1):
        begin = time.process_time()
        for query in queries:
            function(query)
        seconds.append((time.process_time() - begin) / len(queries))
    return 1000 * min(seconds[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=100)
    arguments = parser.parse_args()
    queries = Data(arguments.data).queries[: arguments.queries]
    tokens = Store.open(arguments.index).tokens
    assert isinstance(tokens, CompressedTokens)
    index = Index.open(arguments.index)
    row_bytes = tokens.codes.shape[1] + tokens.scales.itemsize
    print(
        "| nprobe | query | centroids | scoring | k'-th, sums, top | whole | Index.find | tokens | ns a token | GB/s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for nprobe in (8, 16, 32, 64, 128):
        effort = Effort(nprobe=nprobe)
        steps = [
            milliseconds(lambda query: quantised(query, tokens), queries),
            milliseconds(lambda query, n=nprobe: choose_clusters(tokens, quantised(query, tokens), n), queries),
            milliseconds(lambda query, n=nprobe: probe(tokens, quantised(query, tokens), n), queries),
            milliseconds(lambda query, e=effort: search(tokens, query, 100, "xtr", e), queries),
        ]
        found = milliseconds(lambda query, n=nprobe: list(index.find([query], 100, nprobe=n)), queries)
        opened = statistics.mean(len(probe(tokens, quantised(query, tokens), nprobe).scores) for query in queries)
        scoring = steps[2] - steps[1]
        shares = [steps[0], steps[1] - steps[0], scoring, steps[3] - steps[2], steps[3], found]
        print(
            f"| {nprobe} | {' | '.join(f'{share:.2f}' for share in shares)} | {opened:,.0f} "
            f"| {1e6 * scoring / opened:.1f} | {opened * row_bytes / scoring / 1e6:.1f} |"
        )


if __name__ == "__main__":
    main()
