"""The search that BEIR's evaluator calls; the evaluator itself where beir is installed."""

import pytest

from tests.integrations.collection import corpus, qrels, queries
from xtrkit import Retriever
from xtrkit.errors import InputError
from xtrkit.integrations.beir import XtrkitSearch


def test_the_answer_is_that_of_the_index(beir_index):
    found = XtrkitSearch.of(beir_index).search(corpus(), queries(), 5, "cos_sim")
    assert list(found) == list(queries())
    with Retriever.open(beir_index) as retriever:
        for query, text in queries().items():
            wanted = retriever.search(text, 5)
            assert list(found[query]) == wanted.ids
            assert list(found[query].values()) == pytest.approx([hit.score for hit in wanted], rel=1e-6)


def test_it_is_cut_to_top_k_without_the_query_itself(beir_index):
    found = XtrkitSearch.of(beir_index).search(corpus(), {"d50": "Passage 0 is about music.", "q": "music"}, 4, "dot")
    assert [len(of) for of in found.values()] == [4, 4]
    assert "d50" not in found["d50"]
    assert "d50" in found["q"]


def test_an_index_is_made_of_the_corpus():
    search = XtrkitSearch(split=False, k_prime=50)
    found = search.search({"a": {"title": "Bread", "text": "rises."}, "b": {"text": "Boats float."}}, {"q": "bread"}, 9)
    assert list(found["q"]) == ["a", "b"]
    search.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"top_k": 0}, "k must be a whole number"),
        ({"score_function": "euclid"}, "Unknown score function 'euclid'"),
        ({"return_sorted": True}, "Unknown argument 'return_sorted'"),
        ({"queries": {"q": None}}, "Query 'q': A query must be a text"),
        ({"corpus": {"x": {"text": "y"}}}, "is of another corpus"),
        ({"corpus": {"x": "y"}}, "Documents of a corpus are dicts"),
        ({"corpus": [{"text": "y"}]}, "BEIR's corpus come as a dict by id"),
        ({"queries": ["who?"]}, "BEIR's queries come as a dict by id"),
    ],
)
def test_refusals(beir_index, arguments, said):
    usual = {"corpus": corpus(), "queries": queries(), "top_k": 5, "score_function": "cos_sim"}
    with pytest.raises(InputError, match=said):
        XtrkitSearch.of(beir_index).search(**usual | arguments)


def test_under_beirs_evaluator(beir_index):
    evaluation = pytest.importorskip("beir.retrieval.evaluation")
    evaluator = evaluation.EvaluateRetrieval(XtrkitSearch.of(beir_index))
    ndcg, _, recall, _ = evaluator.evaluate(qrels(), evaluator.retrieve(corpus(), queries()), [10, 1000])
    assert ndcg["NDCG@10"] > 0.5
    assert recall["Recall@1000"] == 1
