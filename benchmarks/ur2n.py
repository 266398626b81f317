"""An untrained UR²N of a T5 on a BEIR dataset: retrieval, reranking, and the decoder against the base model's.

    python benchmarks/ur2n.py T5 DATASET WORK [--queries 50] [--depth 20] [--passages 5183] [--normalise]

With --passages, those judged for the chosen queries are indexed, and the first others up to that number: an easier task
than the whole collection, where CPU time is short; BM25's figure on the same passages stands beside it.
T5 is any T5 that generates; WORK is a folder for the model and the index, which are used again if they are there.
"""

import argparse
import time
from pathlib import Path

import torch
from transformers import AutoTokenizer, T5ForConditionalGeneration

from xtrkit import Index, Retriever, load_unified
from xtrkit.evaluation.beir import read_test_collection
from xtrkit.evaluation.bm25 import BM25
from xtrkit.evaluation.measures import evaluate
from xtrkit.evaluation.runs import without_identical_ids
from xtrkit.texts.reading import open_source
from xtrkit.texts.whole import whole_passages
from xtrkit.unified import init_unified


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("t5", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--passages", type=int, default=None)
    parser.add_argument("--normalise", action="store_true")
    options = parser.parse_args()
    test = read_test_collection(options.dataset)
    queries = dict(list(test.queries.items())[: options.queries])
    passages = chosen(list(whole_passages(open_source(options.dataset))), test, queries, options.passages)
    options.work.mkdir(parents=True, exist_ok=True)
    kind = "unit" if options.normalise else "plain"
    model_path, index_path = options.work / f"ur2n-{kind}", options.work / f"idx-{kind}-{len(passages)}"
    if not model_path.exists():
        init_unified(options.t5, model_path, normalise=options.normalise)
    model = load_unified(model_path)
    check_logits(options.t5, model)
    if not index_path.exists():
        begin = time.process_time()
        summary = Retriever.create(
            index_path, passages, model=model.encoder, nbits=16, split=False, progress=True
        ).indexed
        print(f"indexed {summary.passages} passages, {summary.tokens} tokens: {time.process_time() - begin:.0f} CPU-s")
    retriever = Retriever(Index.open(index_path), model.encoder, reranker=model.reranker)
    measure(options.depth, retriever, passages, test, queries)


def check_logits(t5, model):
    """Oracle 13 on real weights: the same logits, bit for bit."""
    base = T5ForConditionalGeneration.from_pretrained(t5, dtype=torch.float32).eval()
    texts = ["Query: what is xtr Document: A method of retrieval. Relevant:", "Query: who? Document: Nobody. Relevant:"]
    features = AutoTokenizer.from_pretrained(t5)(texts, padding=True, return_tensors="pt")
    inputs = {"decoder_input_ids": torch.zeros(2, 1, dtype=torch.long), "attention_mask": features["attention_mask"]}
    with torch.inference_mode():
        same = torch.equal(
            base(input_ids=features["input_ids"], **inputs).logits,
            model.reranker.model(input_ids=features["input_ids"], **inputs).logits,
        )
    print(f"decoder logits equal the base model's bit for bit: {same}")


def chosen(passages, test, queries, number):
    """All passages, or as many as asked for: those judged for the queries, then the first others."""
    if number is None:
        return passages
    judged = {document for query in queries for document in test.qrels[query]}
    first = [passage for passage in passages if passage.id in judged]
    return first + [passage for passage in passages if passage.id not in judged][: number - len(first)]


def measure(rerank_depth, retriever, passages, test, queries):
    qrels = {query: test.qrels[query] for query in queries}
    bm25 = evaluate(BM25(passages).search(queries, 100), qrels, ["nDCG@10", "R@100"])
    print(f"BM25 on the same {len(passages)} passages:", ", ".join(f"{name} {bm25[name]:.4f}" for name in bm25))
    for depth in (0, rerank_depth):
        begin = time.process_time()
        rankings = retriever.search_batch(list(queries.values()), 100 if depth == 0 else 10, rerank_depth=depth)
        seconds = (time.process_time() - begin) / len(queries)
        run = {query: list(ranking) for query, ranking in zip(queries, rankings, strict=True)}
        names = ["nDCG@10", "R@100"] if depth == 0 else ["nDCG@10"]
        measures = evaluate(without_identical_ids(run, qrels, 100), qrels, names)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in measures.items())
        print(f"{len(queries)} queries, reranked {depth}: {shown}; {seconds:.2f} CPU-s a query")


if __name__ == "__main__":
    main()
