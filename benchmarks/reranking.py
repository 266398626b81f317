"""What reranking costs: torch, and what ``xtrkit export`` makes of the same monoT5, on one core.

    python benchmarks/reranking.py MONOT5 DATASET [--pairs 40] [--tokens 180] [--rounds 5]

MONOT5 is a checkpoint, DATASET a BEIR folder, of whose documents the first ``--tokens`` tokens are read. CPU time,
which other work disturbs least: medians over the rounds of milliseconds a pair; how far log-odds are from
torch's, and how alike the two orders are (Spearman).
"""

import argparse
import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from xtrkit.evaluation.beir import open_corpus, read_test_collection
from xtrkit.reranking import load_reranker
from xtrkit.reranking.export import export_reranker, log_odds


def cut(texts, tokenizer, n_tokens):
    """The first tokens of each text, as text; shorter ones are passed over."""
    for text in texts:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        if len(encoding.ids) >= n_tokens:
            yield text[: encoding.offsets[n_tokens - 1][1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=180)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(chosen.model / "tokenizer.json"))
    texts = (passage.text or "" for passage in open_corpus(chosen.dataset))
    documents = list(islice(cut(texts, tokenizer, chosen.tokens), chosen.pairs))
    query = next(iter(read_test_collection(chosen.dataset).queries.values()))
    original = load_reranker(chosen.model, device="cpu")
    lengths = [len(ids) for ids in original.prompts.ids(query, documents)]
    print(f"{len(documents)} pairs of {np.mean(lengths):.0f} tokens")
    expected = original.score(query, documents)
    show("torch", original, (query, documents), expected, max(1, chosen.rounds // 2))
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("fp32", "int8"):
            done = export_reranker(chosen.model, Path(folder) / precision, precision=precision)
            reranker = load_reranker(done.path, threads=1)
            show(f"onnx {precision}, {done.size / 1e6:.0f} MB", reranker, (query, documents), expected, chosen.rounds)


def show(name, reranker, asked, expected, rounds):
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        found = reranker.score(*asked)
        times.append(1e3 * (time.process_time() - begin) / len(found))
    error = np.abs(log_odds(found) - log_odds(expected)).max()
    ranks = [np.argsort(np.argsort(scores)) for scores in (found, expected)]
    alike = np.corrcoef(*ranks)[0, 1]
    facts = {"ms": round(statistics.median(times), 1), "least": round(min(times), 1)}
    print(
        json.dumps({"how": name, **facts, "log-odds off": round(float(error), 3), "order": round(float(alike), 4)}),
        flush=True,
    )


if __name__ == "__main__":
    main()
