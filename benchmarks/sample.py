"""A part of a BEIR folder that is about as hard to search: some queries, what is judged for them, and BM25's best.

    python benchmarks/sample.py scifact small/scifact --queries 60 --passages 1300

BM25 is then measured on its own best documents, as on the whole; models are spared what BM25 does not find, either.
"""

import argparse
import json
from pathlib import Path

from xtrkit.evaluating.measuring import build_bm25
from xtrkit.evaluation.beir import read_test_collection


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--queries", type=int, default=60, help="the first of them")
    parser.add_argument("--passages", type=int, default=1300, help="about how many")
    arguments = parser.parse_args()
    test = read_test_collection(arguments.folder)
    queries = [name for name, judged in test.qrels.items() if any(r > 0 for r in judged.values())][: arguments.queries]
    kept = {document for query in queries for document in test.qrels[query]}
    run = build_bm25(test).search({query: test.queries[query] for query in queries}, 100)
    for rank in range(100):  # the best of every query first
        for query in queries:
            if len(kept) < arguments.passages and rank < len(run[query]):
                kept.add(run[query][rank][0])
    (arguments.out / "qrels").mkdir(parents=True)
    for name, wanted in (("corpus.jsonl", kept), ("queries.jsonl", set(queries))):
        lines = (arguments.folder / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (arguments.out / name).write_text("".join(line for line in lines if json.loads(line)["_id"] in wanted), "utf-8")
    judgements = [(q, d, r) for q in queries for d, r in test.qrels[q].items()]
    lines = ["query-id\tcorpus-id\tscore\n", *(f"{q}\t{d}\t{r}\n" for q, d, r in judgements)]
    (arguments.out / "qrels" / "test.tsv").write_text("".join(lines), encoding="utf-8")
    print(f"{arguments.out}: {len(queries)} queries, {len(kept):,} passages")


if __name__ == "__main__":
    main()
