"""One collection through MTEB, PyTerrier, BEIR's search and ``xtrkit evaluate``: the same figure to four digits."""

import json

import mteb
import pandas as pd
import pyterrier as pt
import pytest
import pytrec_eval

from tests.integrations.collection import corpus, qrels, queries
from xtrkit import Retriever
from xtrkit.integrations import beir
from xtrkit.integrations.mteb import XtrkitSearch, beir_task
from xtrkit.integrations.pyterrier import XtrkitRetriever

MEASURES = "nDCG@10 R@1000"
WAYS = {"XTR k'=1000": {}, "XTR k'=100": {"k_prime": 100}, "MaxSim": {"scoring": "maxsim"}}


TOLD = {}


def of_evaluate(here, beir_index, beir_folder):
    """{system: nDCG@10}, as the command tells them; it runs once."""
    if not TOLD:
        TOLD.update(figures_of_command(here, beir_index, beir_folder))
    return TOLD


def figures_of_command(here, beir_index, beir_folder):
    ran = here("evaluate", beir_index, beir_folder, "--measures", MEASURES, "--k-prime", "1000", "--k-prime", "100",
               "--baseline", "none", "--no-fusion", "--json")  # fmt: skip
    assert not ran.returncode, ran.stderr
    return {row["system"]: row["measures"]["nDCG@10"] for row in json.loads(ran.stdout)["systems"]}


def of_mteb(folder, index, choices):
    """Through an index that MTEB has made, for the first way of searching it."""
    model = XtrkitSearch(folder=folder.parent / "made-by-mteb", **choices)
    (result,) = mteb.evaluate(model, beir_task(folder, "Small"), cache=None, show_progress_bar=False).task_results
    model.close()
    return result.scores["test"][0]["ndcg_at_10"]


def of_pyterrier(folder, index, choices):
    """Through the index that is there."""
    topics = pd.DataFrame(queries().items(), columns=["qid", "query"])
    judged = pd.DataFrame(
        [(query, document, grade) for query, of in qrels().items() for document, grade in of.items()],
        columns=["qid", "docno", "label"],
    )
    table = pt.Experiment([XtrkitRetriever(index, **choices)], topics, judged, ["ndcg_cut_10"])
    return table["ndcg_cut_10"][0]


def of_beir(folder, index, choices):
    """Through BEIR's call, and pytrec_eval as BEIR's evaluator calls it."""
    return mean_of_trec_eval(beir.XtrkitSearch.of(index, **choices).search(corpus(), queries(), 1000, "cos_sim"))


def mean_of_trec_eval(found):
    values = pytrec_eval.RelevanceEvaluator(qrels(), {"ndcg_cut.10"}).evaluate(found)
    return sum(of["ndcg_cut_10"] for of in values.values()) / len(values)


@pytest.mark.parametrize("system", WAYS)
def test_the_same_figure_everywhere(beir_folder, beir_index, here, system):
    wanted = of_evaluate(here, beir_index, beir_folder)[system]
    figures = {way.__name__: way(beir_folder, beir_index, WAYS[system]) for way in (of_mteb, of_pyterrier, of_beir)}
    assert figures == pytest.approx(dict.fromkeys(figures, wanted), abs=5e-5)


def test_equal_scores_as_they_are_would_give_another_figure(beir_folder, beir_index, here):
    """So the test above can fail: the collection has equals whose ids stand in another order than they."""
    with Retriever.open(beir_index) as retriever:
        answers = retriever.search_batch(list(queries().values()), 1000)
    found = {query: {hit.document: hit.score for hit in hits} for query, hits in zip(queries(), answers, strict=True)}
    assert abs(mean_of_trec_eval(found) - of_evaluate(here, beir_index, beir_folder)["XTR k'=1000"]) > 1e-3
