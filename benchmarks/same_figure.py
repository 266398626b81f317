"""One index through four evaluators: ``xtrkit evaluate``, MTEB, PyTerrier's Experiment and BEIR's EvaluateRetrieval.

Usage: python benchmarks/same_figure.py INDEX DATASET [RESULTS.json]

INDEX is an index of DATASET, a BEIR folder, made with ``xtrkit index DATASET INDEX --no-split``. All four search 1,000
deep: a search that must find more looks wider, which can change the places of the first. Where beir isn't installed,
pytrec_eval is called as BEIR calls it.
"""

import json
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mteb
import pandas as pd
import pyterrier as pt
import pytrec_eval

from xtrkit.evaluation.beir import open_corpus, read_test_collection
from xtrkit.integrations import beir
from xtrkit.integrations.mteb import XtrkitSearch, beir_task
from xtrkit.integrations.pyterrier import XtrkitRetriever

WAYS = {"XTR k'=1000": {}, "MaxSim": {"scoring": "maxsim"}}
DEPTH = 1000


def of_evaluate(index, dataset):
    options = ["--measures", f"nDCG@10 R@{DEPTH}", "--k-prime", "1000", "--no-fusion", "--baseline", "none", "--json"]
    command = [sys.executable, "-m", "xtrkit", "evaluate", index, dataset, *options]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {row["system"]: row["measures"]["nDCG@10"] for row in told["systems"]}


def of_mteb(index, dataset, choices):
    model = XtrkitSearch.of(index, **choices)
    task = beir_task(dataset, Path(dataset).name)
    (result,) = mteb.evaluate(model, task, cache=None, show_progress_bar=False).task_results
    return result.scores["test"][0]["ndcg_at_10"]


def of_pyterrier(index, dataset, choices):
    test = read_test_collection(dataset)
    topics = pd.DataFrame(test.queries.items(), columns=["qid", "query"])
    judged = [(query, document, grade) for query, of in test.qrels.items() for document, grade in of.items()]
    qrels = pd.DataFrame(judged, columns=["qid", "docno", "label"])
    table = pt.Experiment([XtrkitRetriever(index, k=DEPTH, **choices)], topics, qrels, ["ndcg_cut_10"])
    return float(table["ndcg_cut_10"][0])


def of_beir(index, dataset, choices):
    test = read_test_collection(dataset)
    corpus = {passage.id: {"title": "", "text": passage.text} for passage in open_corpus(Path(dataset))}
    search = beir.XtrkitSearch.of(index, **choices)
    try:
        from beir.retrieval.evaluation import EvaluateRetrieval
    except ImportError:
        found = search.search(corpus, test.queries, DEPTH, "cos_sim")
        values = pytrec_eval.RelevanceEvaluator(test.qrels, {"ndcg_cut.10"}).evaluate(found)
        return sum(of["ndcg_cut_10"] for of in values.values()) / len(values)
    evaluator = EvaluateRetrieval(search)
    ndcg, *_ = evaluator.evaluate(test.qrels, evaluator.retrieve(corpus, test.queries), [10])
    return ndcg["NDCG@10"]


def versions():
    for name in ("mteb", "pyterrier", "beir", "pytrec-eval-terrier"):
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


def main(index, dataset, results=None):
    wanted = of_evaluate(index, dataset)
    told = {"dataset": Path(dataset).name, "depth": DEPTH, "versions": dict(versions()), "nDCG@10": {}}
    print(", ".join(f"{name} {number}" for name, number in told["versions"].items()))
    for system, choices in WAYS.items():
        figures = {"xtrkit evaluate": wanted[system]}
        for way in (of_mteb, of_pyterrier, of_beir):
            begin = time.perf_counter()
            figures[way.__name__.removeprefix("of_")] = way(index, dataset, choices)
            print(f"{way.__name__.removeprefix('of_')}: {time.perf_counter() - begin:.1f} s", file=sys.stderr)
        told["nDCG@10"][system] = figures
        print(system, ", ".join(f"{name} {figure:.4f}" for name, figure in figures.items()))
        assert len({round(figure, 4) for figure in figures.values()}) == 1, figures
    if results:
        Path(results).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
