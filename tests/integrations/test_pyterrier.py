"""The transformers, with the tests that PyTerrier ships, in pipelines and an Experiment; no Java is started."""

import os
import pickle

import pandas as pd
import pyterrier as pt
import pyterrier.testing
import pytest

from tests.integrations.collection import qrels, queries
from xtrkit import Retriever
from xtrkit.errors import IndexExistsError, IndexFormatError, InputError, XtrkitWarning
from xtrkit.integrations.pyterrier import XtrkitIndexer, XtrkitReranker, XtrkitRetriever
from xtrkit.recipes import COLBERT

DOCUMENTS = [
    {"docno": "bread", "text": "Bread rises because yeast makes gas.", "year": 1990, "tags": ["food", "science"]},
    {"docno": "ferry", "text": "The ferry to the island runs twice a day.", "year": 2001, "tags": ["boats"]},
    {"docno": "light", "text": "A lighthouse warns ships of the rocks.", "year": 1870, "tags": None},
    {"docno": "opera", "text": "A king of the north wrote an opera.", "year": 1750, "tags": ["music"]},
]
TOPICS = pd.DataFrame([["q1", "what keeps ships off the rocks?"], ["q2", "baking"]], columns=["qid", "query"])


OPEN = []
os.environ["PT_TEST_TRANSFORMER_REPORTS"] = "0"  # which are warnings


@pytest.fixture(scope="module", autouse=True)
def retriever(tmp_path_factory):
    made = XtrkitIndexer(tmp_path_factory.mktemp("pyterrier") / "index").index(iter(DOCUMENTS))
    OPEN.append(made)
    yield made
    OPEN.clear()


class Shipped(pt.testing.TransformerTestCase):
    """What PyTerrier tests of a transformer, of ours; the class of a test makes it."""

    __test__ = False

    def test_there_is_something_to_inspect(self):
        assert pt.inspect.transformer_inputs(self.transformer)


class TestOfQueries(Shipped):
    __test__ = True

    @staticmethod
    def get_transformer():
        return XtrkitRetriever(OPEN[0])


class TestOfColumns(Shipped):
    __test__ = True

    @staticmethod
    def get_transformer():
        return XtrkitRetriever(OPEN[0], k=2, columns=["text", "year"])


class TestOfTexts(Shipped):
    __test__ = True

    @staticmethod
    def get_transformer():
        return XtrkitReranker()


class TestOfAPipeline(Shipped):
    __test__ = True

    @staticmethod
    def get_transformer():
        return XtrkitRetriever(OPEN[0], columns=["text"]) >> XtrkitReranker()


def test_a_frame_of_queries(retriever):
    found = XtrkitRetriever(retriever, k=2).transform(TOPICS.assign(language="en"))
    assert list(found.columns) == ["qid", "query", "language", "docno", "score", "rank"]
    assert found["docno"].tolist()[::2] == ["light", "bread"]
    assert found["rank"].tolist() == [0, 1, 0, 1]
    (alone,) = retriever.search_batch(["baking"], 1)
    assert found["score"][2] == pytest.approx(alone[0].score)
    assert found["docno"].dtype == object


def test_columns_of_texts_and_metadata(retriever):
    found = XtrkitRetriever(retriever, columns=["tags", "text", "year"], k=1)(TOPICS)
    assert found["year"].tolist() == [1870, 1990]
    assert found["tags"].tolist() == [None, ["food", "science"]]
    assert found["text"][1].startswith("Bread rises")


def test_a_search_and_records(retriever):
    assert XtrkitRetriever(retriever).search("bakery").iloc[0].docno == "bread"
    records = XtrkitRetriever(retriever, k=1)([{"qid": "1", "query": "bakery"}])
    assert [record["docno"] for record in records] == ["bread"]


@pytest.mark.parametrize("choices", [{"recipe": COLBERT}, {"k_prime": 5}, {"where": {"year": {"$lt": 1900}}},
                                     {"fusion": "rrf"}, {"threads": 2}], ids=str)  # fmt: skip
def test_choices_are_those_of_a_search(retriever, choices):
    found = XtrkitRetriever(retriever, k=3, **choices)(TOPICS)
    wanted = retriever.search_batch(TOPICS["query"].tolist(), 3, **choices)
    assert found["docno"].tolist() == [hit.id for hits in wanted for hit in hits]
    assert found["score"].tolist() == pytest.approx([hit.score for hits in wanted for hit in hits], rel=1e-6)


def test_a_frame_of_results_is_ranked_by_the_index(retriever):
    frame = pd.DataFrame(
        [["q1", "rocks", "bread", 9.0, 0], ["q1", "rocks", "light", 8.0, 1], ["q2", "baking", "opera", 7.0, 0]],
        columns=["qid", "query", "docno", "score", "rank"],
    )
    found = XtrkitRetriever(retriever)(frame)
    assert found[["qid", "docno", "rank"]].values.tolist() == [
        ["q1", "light", 0], ["q1", "bread", 1], ["q2", "opera", 0],
    ]  # fmt: skip
    with pytest.raises(InputError, match="'nothing'"):
        XtrkitRetriever(retriever)(frame.assign(docno="nothing"))


def test_empty_frames(retriever):
    columns = ["qid", "query", "docno", "score", "rank"]
    assert list(XtrkitRetriever(retriever)(pt.new.empty_Q()).columns) == columns
    assert list(XtrkitRetriever(retriever)(pd.DataFrame(columns=["qid", "query", "docno"])).columns) == columns
    assert XtrkitReranker()(pd.DataFrame(columns=["qid", "query", "docno", "text"])).empty
    with pytest.raises(pt.validate.InputValidationError):
        XtrkitRetriever(retriever)(pd.DataFrame(columns=["query"]))


def test_a_query_of_nothing_gets_nothing_and_is_named(retriever):
    with pytest.warns(XtrkitWarning, match=r"1 query \('q9'\) with nothing to look for"):
        found = XtrkitRetriever(retriever, k=1)(pd.DataFrame([["q9", " "], ["q1", "boats"]], columns=["qid", "query"]))
    assert found["qid"].tolist() == ["q1"]


def test_refusals(retriever, tmp_path):
    for arguments, said in [
        ({"k": 0}, "k must be a whole number"),
        ({"columns": "text"}, "put it in a list"),
        ({"columns": ["rank"]}, "PyTerrier's own"),
        ({"columns": ["colour"]}, "colour"),
        ({"kprime": 5}, "Unknown search choice 'kprime'"),
        ({"subset": ["a"]}, "'subset' of a search comes with each query"),
        ({"group_by_document": False}, "each document is found once"),
    ]:
        with pytest.raises(InputError, match=said):
            XtrkitRetriever(retriever, **arguments)
    with pytest.raises(InputError, match=r"Query 'q1': A query must be a text"):
        XtrkitRetriever(retriever)(pd.DataFrame([["q1", 5]], columns=["qid", "query"]))
    with pytest.raises(IndexFormatError):
        XtrkitRetriever(tmp_path / "nothing")
    with pytest.raises(InputError, match="colour"):
        XtrkitRetriever(retriever, where={"colour": "red"})(TOPICS)


def test_it_can_be_pickled(retriever):
    again = pickle.loads(pickle.dumps(XtrkitRetriever(retriever, k=2)))
    assert again(TOPICS)["docno"].tolist() == XtrkitRetriever(retriever, k=2)(TOPICS)["docno"].tolist()
    assert repr(again).startswith("XtrkitRetriever('/")


def test_the_reranker_scores_by_maxsim(retriever):
    candidates = XtrkitRetriever(retriever, columns=["text"])(TOPICS)
    ranked = XtrkitReranker()(candidates.sample(frac=1, random_state=1))
    for qid, query in TOPICS.itertuples(index=False):
        of_query = ranked[ranked.qid == qid]
        wanted = retriever.rerank(query, [(one["docno"], one["text"]) for one in DOCUMENTS])
        assert of_query["docno"].tolist() == wanted.ids
        assert of_query["score"].tolist() == pytest.approx([hit.score for hit in wanted], rel=1e-6)
        assert of_query["rank"].tolist() == [0, 1, 2, 3]


def test_what_has_nothing_in_it_comes_last(retriever):
    frame = pd.DataFrame([["q", "boats", "a", ""], ["q", "boats", "b", "A ship."], ["p", " ", "a", "A ship."]],
                         columns=["qid", "query", "docno", "text"])  # fmt: skip
    ranked = XtrkitReranker()(frame)
    assert ranked["docno"].tolist() == ["b", "a", "a"]
    assert ranked["score"].tolist()[1:] == [0.0, 0.0]
    with pytest.raises(InputError, match=r"The column 'text' must have texts, got None .* for the query 'q'"):
        XtrkitReranker()(frame.assign(text=None))


def test_an_experiment_with_a_baseline(beir_index):
    topics = pd.DataFrame(queries().items(), columns=["qid", "query"])
    judged = [(query, document, grade) for query, of in qrels().items() for document, grade in of.items()]
    systems = {"xtr": XtrkitRetriever(beir_index), "three": XtrkitRetriever(beir_index) % 3}
    table = pt.Experiment(systems, topics, pd.DataFrame(judged, columns=["qid", "docno", "label"]),
                          ["ndcg_cut_10", "recip_rank"], batch_size=5, baseline="three")  # fmt: skip
    assert table["ndcg_cut_10"][0] > table["ndcg_cut_10"][1] > 0.2


def test_an_index_is_made_whole_or_not_at_all(tmp_path):
    indexer = XtrkitIndexer(tmp_path / "i", text="body", split=False)
    with pytest.raises(InputError, match="docno"):
        indexer.index([{"body": "a text"}])
    with pytest.raises(InputError, match="Unknown argument 'fields'"):
        indexer.index([], fields=1)
    assert not (tmp_path / "i").exists()
    made = indexer.index({"docno": number, "body": f"text {number}"} for number in range(3))
    assert (made.index.splitting, len(made)) == (None, 3)
    with pytest.raises(IndexExistsError):
        indexer.index([{"docno": "a", "body": "b"}])


def test_a_long_document_is_found_once(tmp_path):
    long = " ".join(f"Sentence {number} tells of boats and of harbours." for number in range(70))
    made = Retriever.create(tmp_path / "i", [("long", long), ("short", "Bread is baked.")])
    assert len(made) > 2
    assert XtrkitRetriever(made)(TOPICS)["docno"].value_counts().to_dict() == {"long": 2, "short": 2}


def test_what_is_no_index_no_model_and_no_list(retriever):
    with pytest.raises(InputError, match="got None of type NoneType"):
        XtrkitRetriever(None)
    with pytest.raises(InputError, match="A server's index can't be measured so"):
        XtrkitRetriever("http://127.0.0.1:9")
    with pytest.raises(InputError, match="Columns come as a list of names, got None"):
        XtrkitRetriever(retriever, columns=None)
    with pytest.raises(InputError, match="A recipe is given as one of"):
        XtrkitRetriever(retriever, recipe="xtr")
    for model in (None, retriever):
        with pytest.raises(InputError, match="A model is given as its name, its path or loaded"):
            XtrkitReranker(model)
