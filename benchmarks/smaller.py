"""What smaller indexes cost: token pooling, fewer bits, fewer dimensions.

    python benchmarks/smaller.py --data DATASETS --work DIR [--sets scifact nfcorpus cranfield hotpotqa-dev]

DATASETS has BEIR folders. Each is encoded once, into an exact index under DIR from which all others are made; a run
that was stopped goes on where it was. Printed for each way of making an index: bytes a passage of all that is kept of
vectors (codes, scales, places, centroids; no texts, no ids), how many times that is less than with 4 bits a dimension
alone, nDCG@10, R@100, and the processor's time a query, on one thread.

With --passages N a collection is a sample: the passages that are relevant to the queries, drawn first, and others, up
to N; judgements of passages that are left out are left out, and queries that have none left.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np

from xtrkit import Index, Retriever, load_encoder
from xtrkit.encoding.base import markers_before
from xtrkit.evaluation.beir import open_corpus, read_test_collection
from xtrkit.evaluation.measures import of_each_query
from xtrkit.evaluation.significance import against

SETS = ("scifact", "nfcorpus", "cranfield", "hotpotqa-dev")
MEASURES = ("nDCG@10", "R@100")
BASELINE = "4 bits"
WARMING = 20
"""Queries that are asked before time is taken."""

WAYS = {
    BASELINE: {},
    "2 bits": {"nbits": 2},
    "1 bit": {"nbits": 1},
    "96 dimensions": {"dim": 96},
    "64 dimensions": {"dim": 64},
    "pooled by 2": {"pool_factor": 2},
    "pooled by 3": {"pool_factor": 3},
    "pooled by 2, 2 bits": {"pool_factor": 2, "nbits": 2},
    "pooled by 2, 2 bits, 96 dimensions": {"pool_factor": 2, "nbits": 2, "dim": 96},
    "pooled by 2, 2 bits, 64 dimensions": {"pool_factor": 2, "nbits": 2, "dim": 64},
    "pooled by 3, 2 bits": {"pool_factor": 3, "nbits": 2},
    "pooled by 2, 1 bit": {"pool_factor": 2, "nbits": 1},
}


def sampled(folder, passages, queries):
    """(passages, {query: text}, judgements), as many as are wanted."""
    test, corpus = read_test_collection(folder, "test"), {passage.id: passage for passage in open_corpus(folder)}
    chosen, draw = dict(test.queries), random.Random(17)
    if queries and len(chosen) > queries:
        chosen = {name: chosen[name] for name in sorted(draw.sample(sorted(chosen), queries))}
    if passages and passages < len(corpus):
        relevant = sorted({name for query in chosen for name, grade in test.qrels[query].items() if grade > 0})
        others = sorted(set(corpus) - set(relevant))
        draw.shuffle(relevant)
        kept = {*relevant[:passages], *draw.sample(others, max(0, passages - len(relevant)))}
        corpus = {name: passage for name, passage in corpus.items() if name in kept}
    qrels = {query: {name: grade for name, grade in test.qrels[query].items() if name in corpus} for query in chosen}
    qrels = {query: grades for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    return list(corpus.values()), {query: chosen[query] for query in qrels}, qrels


def exact_index(path, corpus, encoder):
    """The vectors of a collection."""
    if not path.exists():
        begin = time.process_time()
        Retriever.create(path, corpus, model=encoder, nbits=16, split=False).close()
        print(f"encoded in {time.process_time() - begin:.0f} s of the processor", flush=True)
    return Index.open(path)


def made(exact, path, protected, options):
    """An index of the same vectors, made in another way."""
    if path.exists():
        return Index.open(path)
    batches = ([exact.vectors(number)] for number in range(len(exact)))
    protected = {"protected_tokens": protected} if "pool_factor" in options else {}
    return Index.create(path, batches, ids=exact.ids(), encoder=exact.encoder, threads=1, **options, **protected)


def measured(index, queries, k=100):
    """({query: ranking}, seconds of the processor a query)."""
    for vectors in list(queries.values())[:WARMING]:
        index.search(vectors, k, threads=1)
    begin, run = time.process_time(), {}
    for name, vectors in queries.items():
        ranking = index.search(vectors, k, threads=1)
        run[name] = list(zip(ranking.ids, ranking.scores.tolist(), strict=True))
    return run, (time.process_time() - begin) / len(queries)


def bytes_of_vectors(index):
    """What the files of vectors and centroids take."""
    return sum(file.stat().st_size for file in index.path.glob("*.safetensors") if ".words." not in file.name)


def table(name, arguments, encoder):
    """Print the table of one collection."""
    corpus, texts, qrels = sampled(arguments.data / name, arguments.passages, arguments.queries)
    work = arguments.work / f"{name}-{len(corpus)}"
    work.mkdir(parents=True, exist_ok=True)
    exact = exact_index(work / "exact", corpus, encoder)
    if arguments.encode:
        return
    queries = dict(zip(texts, encoder.encode_queries(list(texts.values())), strict=True))
    print(
        f"\n{name}: {len(exact):,} passages, {exact.n_tokens / len(exact):.0f} tokens each, {len(queries):,} queries\n"
    )
    print("| | bytes a passage | smaller | nDCG@10 | | R@100 | CPU ms a query |\n|---|--:|--:|--:|--:|--:|--:|")
    figures, rows = {}, {}
    for way, options in WAYS.items():
        with made(exact, work / way.replace(", ", "-").replace(" ", "_"), markers_before(encoder), options) as index:
            run, seconds = measured(index, queries)
            figures[way] = of_each_query(run, qrels, MEASURES)
            rows[way] = (bytes_of_vectors(index) / len(index), 1000 * seconds)
    base, _ = rows[BASELINE]
    differences = against(
        figures[BASELINE]["nDCG@10"], {way: of[MEASURES[0]] for way, of in figures.items() if way != BASELINE}
    )
    tested = {one.system: one for one in differences}
    for way, (size, milliseconds) in rows.items():
        ndcg, recall = (np.mean([*figures[way][measure].values()]) for measure in MEASURES)
        told = f"{tested[way].mean:+.4f}" + ("*" if tested[way].randomisation < 0.05 else "") if way in tested else ""
        print(
            f"| {way} | {size:,.0f} | {base / size:.2f} × | {ndcg:.4f} | {told} | {recall:.4f} | {milliseconds:.2f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--passages", type=int, help="how many of each collection, a sample")
    parser.add_argument("--queries", type=int, help="how many of each collection at most, a sample")
    parser.add_argument("--encode", action="store_true", help="encode, and no more")
    arguments = parser.parse_args()
    encoder = load_encoder("default", threads=1)
    for name in arguments.sets:
        table(name, arguments, encoder)


if __name__ == "__main__":
    main()
