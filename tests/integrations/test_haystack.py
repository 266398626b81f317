"""The retriever and the ranker in Haystack's pipelines; Haystack's own tests of filters, for what we make of them."""

import asyncio
import os
import time
from dataclasses import replace
from functools import cache

import pytest
from haystack import Document, Pipeline, telemetry
from haystack.components.builders import PromptBuilder
from haystack.core import serialization_security
from haystack.core.errors import DeserializationError
from haystack.errors import FilterError
from haystack.testing.document_store import FilterDocumentsTest, create_filterable_docs
from haystack.utils import Secret

from tests.integrations.conftest import LONG, QUERY
from tests.serving.server import Server
from xtrkit import Retriever, load_encoder
from xtrkit.client import Client
from xtrkit.errors import IndexFormatError, InputError, ServerError, XtrkitWarning
from xtrkit.integrations.haystack import FilterRefusedError, XtrkitRanker, XtrkitRetriever, where_of
from xtrkit.reranking import load_reranker

GERMAN = {"field": "meta.lang", "operator": "==", "value": "de"}
FEW = {"field": "meta.number", "operator": "<", "value": 4}


def test_nothing_is_told_to_haystack():
    assert os.environ["HAYSTACK_TELEMETRY_ENABLED"] == "False"
    assert telemetry._telemetry.telemetry is None


def test_documents_are_what_the_retriever_finds(source, retriever):
    documents = XtrkitRetriever(source, top_k=4).run(QUERY)["documents"]
    hits = retriever.search(QUERY, 4)
    assert [(one.id, one.content, one.score) for one in documents] == [(hit.id, hit.text, hit.score) for hit in hits]
    assert documents[1].meta == {**hits[1].metadata, "$rank": 2, "$document": hits[1].document}
    assert len(XtrkitRetriever(source).run(QUERY)["documents"]) == 10


def test_a_passage_of_a_long_document_knows_its_place(retriever):
    (one,) = XtrkitRetriever(retriever, 1).run("what happened on day 80?")["documents"]
    assert one.meta["$document"] == "log"
    assert LONG[one.meta["$first"] : one.meta["$last"]] == one.content


def numbers(answer):
    return sorted(one.meta["number"] for one in answer["documents"])


def test_filters_at_a_run(retriever):
    replacing = XtrkitRetriever(retriever, 30, filters=GERMAN)
    assert numbers(replacing.run(QUERY)) == [*range(0, 24, 2)]
    assert numbers(replacing.run(QUERY, filters=FEW)) == [0, 1, 2, 3]
    joining = XtrkitRetriever(retriever, 30, filters=GERMAN, filter_policy="merge")
    assert numbers(joining.run(QUERY, filters=FEW)) == [0, 2]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"operator": "NOT", "conditions": [GERMAN, FEW]}, [*range(1, 5), *range(5, 24)]),
        ({"operator": "NOT", "conditions": [{"operator": "OR", "conditions": [GERMAN, FEW]}]}, [*range(5, 24, 2), 100]),
        ({"field": "id", "operator": "in", "value": ["d/3", "d/4"]}, [3, 4]),
        ({"field": "meta.$document", "operator": "==", "value": "log"}, [100]),
        ({"field": "number", "operator": "==", "value": 7}, [7]),
        ({"operator": "AND", "conditions": [GERMAN, FEW]}, [0, 2]),
        ({"field": "meta.number", "operator": "not in", "value": [*range(23)]}, [23, 100]),
        ({"field": "meta.number", "operator": ">", "value": None}, []),
    ],
    ids=str,
)
def test_filters(retriever, filters, expected):
    if filters.get("operator") == "NOT" and GERMAN in filters["conditions"]:
        expected = [number for number in [*range(24), 100] if number not in (0, 2)]
    assert numbers(XtrkitRetriever(retriever, 30).run(QUERY, filters=filters)) == expected


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ([GERMAN], "filters are dicts"),
        ({"operator": "XOR", "conditions": [GERMAN]}, "joined by AND, OR, NOT"),
        ({"operator": "AND", "conditions": []}, "joined by AND, OR, NOT"),
        ({"operator": "NOT", "conditions": GERMAN}, "joined by AND, OR, NOT"),
        ({"field": "meta.lang", "operator": "like", "value": "de"}, "Unknown operator 'like'"),
        ({"field": "content", "operator": "==", "value": "de"}, "Filters are on metadata"),
        ({"field": "meta.lang", "operator": "==", "value": ["de"]}, "takes a text or a number"),
        ({"field": "meta.lang", "operator": ">", "value": "de"}, "numbers and ISO dates"),
    ],
)
def test_filters_that_are_refused(retriever, filters, message):
    with pytest.raises(FilterRefusedError, match=message) as raised:
        XtrkitRetriever(retriever, filters=filters)
    assert isinstance(raised.value, FilterError)
    with pytest.raises(InputError, match=message):
        XtrkitRetriever(retriever).run(QUERY, filters=filters)


@cache
def reopened(directory):
    """An index that is opened once for all tests of filters."""
    return Retriever.open(directory)


class Store:
    """As much of a document store as Haystack's tests of filters ask for: everything is found, in its order."""

    def __init__(self, directory):
        self._directory, self._documents = directory, []

    def write_documents(self, documents):
        passages = [{"id": one.id, "text": one.content or "nothing", "metadata": one.meta} for one in documents]
        if not self._directory.exists():
            Retriever.create(self._directory, passages).close()
        self._documents = documents

    def filter_documents(self, filters=None):
        if not self._documents:
            return []
        retriever = XtrkitRetriever(reopened(self._directory), top_k=len(self._documents), filters=filters)
        found = {one.id for one in retriever.run("test")["documents"]}
        return [one for one in self._documents if one.id in found]


@pytest.fixture(scope="module")
def filterable(tmp_path_factory):
    """Haystack's documents to filter, whose texts repeat, with ids of their own; and where they are indexed, once."""
    documents = [replace(one, id=str(place)) for place, one in enumerate(create_filterable_docs())]
    return documents, tmp_path_factory.mktemp("store")


class TestFiltersAsHaystackTestsThem(FilterDocumentsTest):
    """Every test of ``FilterDocumentsTest``, through an index that is searched."""

    @pytest.fixture
    def filterable_docs(self, filterable):
        return filterable[0]

    @pytest.fixture
    def document_store(self, filterable, request):
        return Store(filterable[1] / ("one" if request.node.name == "test_no_filters" else "many"))


def pipeline(index, **of_ranker):
    made = Pipeline()
    made.add_component("retriever", XtrkitRetriever(index, top_k=6, filters=GERMAN, search={"fusion": "rrf"}))
    made.add_component("ranker", XtrkitRanker(index, top_k=2))
    made.add_component(
        "prompt", PromptBuilder("{% for one in documents %}{{ one.content }}\n{% endfor %}", required_variables="*")
    )
    made.connect("retriever.documents", "ranker.documents")
    made.connect("ranker.documents", "prompt.documents")
    return made


def asked(question=QUERY):
    return {"retriever": {"query": question}, "ranker": {"query": question}}


async def test_a_pipeline_and_its_yaml(index_path):
    made = pipeline(str(index_path))
    answer = made.run(asked(), include_outputs_from={"ranker"})
    assert answer["prompt"]["prompt"].count("is about music") == 2
    text = made.dumps()
    assert "type: xtrkit.integrations.haystack.XtrkitRetriever" in text
    loaded = Pipeline.loads(text)
    assert loaded.run(asked(), include_outputs_from={"ranker"}) == answer
    assert await loaded.run_async(asked(), include_outputs_from={"ranker"}) == answer
    assert loaded.to_dict()["components"] == made.to_dict()["components"]
    questions = ["music", "rivers", "bread"]
    answers = await asyncio.gather(*[loaded.run_async(asked(question)) for question in questions])
    assert answers == [loaded.run(asked(question)) for question in questions]


def test_yaml_where_the_adapter_was_not_imported(index_path, monkeypatch):
    text = pipeline(str(index_path)).dumps()
    monkeypatch.setattr(serialization_security, "_extra_allowed_modules", [])
    with pytest.raises(DeserializationError, match=r"xtrkit\.integrations\.haystack"):
        Pipeline.loads(text)
    assert Pipeline.loads(text, allowed_modules=["xtrkit.integrations.haystack"]).run(asked())["prompt"]


def test_what_yaml_keeps_of_what_is_opened(index_path, retriever, server, rerankers):
    assert XtrkitRetriever(retriever).to_dict()["init_parameters"]["index"] == str(index_path)
    assert XtrkitRetriever(index_path).to_dict()["init_parameters"]["index"] == str(index_path)
    ranker = XtrkitRanker.from_dict(XtrkitRanker(reranker=rerankers["cross-encoder"], top_k=3).to_dict())
    assert (ranker.model, ranker.reranker, ranker.top_k) == (None, str(rerankers["cross-encoder"]), 3)
    with Client(server.url) as client, pytest.raises(InputError, match="Client was opened outside"):
        XtrkitRetriever(client).to_dict()
    with Retriever.open(index_path, reranker=rerankers["cross-encoder"]) as reranked:
        with pytest.raises(InputError, match="Retriever was opened outside"):
            XtrkitRetriever(reranked).to_dict()
        assert len(XtrkitRetriever(reranked).run(QUERY)["documents"]) == 10
    with pytest.raises(InputError, match="was opened outside"):
        XtrkitRanker(load_encoder()).to_dict()


def test_a_server_with_a_key(index_path, tmp_path, monkeypatch):
    key = Secret.from_env_var("XTRKIT_TEST_KEY")
    with Server(tmp_path, index_path, read_key="r" * 20) as running:
        asking = XtrkitRetriever.from_dict(XtrkitRetriever(running.url, key=key).to_dict())
        monkeypatch.setenv("XTRKIT_TEST_KEY", "r" * 20)
        assert len(asking.run(QUERY)["documents"]) == 10
        with pytest.raises(ServerError, match="key"):
            XtrkitRetriever(running.url).run(QUERY)
    with pytest.raises(InputError, match="A key is for the server at an address"):
        XtrkitRetriever(index_path, key=key)


def test_what_is_refused(retriever, tmp_path):
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        XtrkitRetriever(retriever, 0)
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        XtrkitRetriever(retriever).run(QUERY, top_k=0)
    with pytest.raises(InputError, match="A query must be a text"):
        XtrkitRetriever(retriever).run("")
    with pytest.raises(InputError, match="did you mean 'lang'"):
        XtrkitRetriever(retriever).run(QUERY, filters={**GERMAN, "field": "meta.langue"})
    lazily = XtrkitRetriever(tmp_path / "none")
    with pytest.raises(IndexFormatError, match="There is nothing at"):
        lazily.warm_up()
    with pytest.raises(ValueError, match="FilterPolicy"):
        XtrkitRetriever(retriever, filter_policy="both")


CANDIDATES = [
    Document(id=str(place), content=text, meta={"place": place})
    for place, text in enumerate(["Boats float on the lake.", "A king wrote music.", "Bread needs flour and music."])
]


async def test_documents_are_ranked_by_maxsim(retriever, index_path):
    ranker = XtrkitRanker(str(index_path), top_k=2)
    expected = retriever.rerank(QUERY, [one.content for one in CANDIDATES], 2)
    kept = ranker.run(QUERY, CANDIDATES)["documents"]
    assert [(one.id, one.score) for one in kept] == [(hit.id, pytest.approx(hit.score)) for hit in expected]
    assert (kept[0].meta, CANDIDATES[1].score) == ({"place": 1}, None)
    assert (await ranker.run_async(QUERY, CANDIDATES))["documents"] == kept
    assert ranker.run(QUERY, CANDIDATES, top_k=1)["documents"] == kept[:1]
    assert ranker.run(QUERY, [])["documents"] == []
    assert len(XtrkitRanker().run(QUERY, CANDIDATES)["documents"]) == 3
    with pytest.warns(XtrkitWarning, match="1 of 4 texts have nothing in them"):
        assert len(XtrkitRanker(retriever).run(QUERY, [*CANDIDATES, Document(id="empty")])["documents"]) == 3


def test_documents_are_ranked_by_a_reranker(rerankers):
    path, texts = rerankers["cross-encoder"], ["the late token", "xtr", "document token"]
    scores = load_reranker(path).score("what is xtr", texts)
    kept = XtrkitRanker(reranker=path).run("what is xtr", [Document(content=text) for text in texts])["documents"]
    assert [one.score for one in kept] == pytest.approx(sorted(scores)[::-1])


def test_what_a_ranker_refuses(retriever, rerankers):
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        XtrkitRanker(retriever, top_k=0)
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        XtrkitRanker(retriever).run(QUERY, CANDIDATES, top_k=0)
    with pytest.raises(InputError, match="A query must be a text"):
        XtrkitRanker(retriever).run("", CANDIDATES)
    with pytest.raises(InputError, match="give one of the two"):
        XtrkitRanker(retriever, reranker=rerankers["cross-encoder"]).warm_up()


def test_nothing_is_more_than_none():
    assert where_of({"field": "meta.number", "operator": "<=", "value": None}) == {"$id": {"$in": []}}
    assert where_of({}) is where_of(None) is None


def test_a_condition_holds_beside_the_filters(retriever):
    asking = XtrkitRetriever(retriever, 30, filters=FEW, search={"where": {"lang": "de"}})
    assert numbers(asking.run(QUERY)) == [0, 2]
    other = {"field": "meta.number", "operator": ">", "value": 20}
    assert numbers(asking.run(QUERY, filters=other)) == [22]
    assert numbers(XtrkitRetriever(retriever, 30, search={"where": {"lang": "de"}}).run(QUERY)) == [*range(0, 24, 2)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"search": {"k": 3}}, "'k' is not among the other choices of a search: give it as top_k"),
        ({"search": {"al": 3}}, "Unknown search choice 'al'"),
        ({"search": "rrf"}, "come as a dict"),
        ({"index": "http://127.0.0.1:9", "key": "abc"}, "A key is given as a Secret of Haystack"),
        ({"filters": {"field": "meta.lang", "operator": ["=="], "value": "de"}}, "Unknown operator"),
        ({"filters": {"operator": ["AND"], "conditions": [GERMAN]}}, "joined by AND, OR, NOT"),
    ],
)
def test_what_is_refused_when_it_is_made(index_path, given, message):
    with pytest.raises(InputError, match=message):
        XtrkitRetriever(**{"index": str(index_path), **given})


async def test_threads_that_run_first_open_it_once(index_path, monkeypatch):
    opened = []

    def opening(index):
        time.sleep(0.02)
        opened.append(index)
        return index

    monkeypatch.setattr("xtrkit.integrations.haystack.opened", opening)
    asking = XtrkitRetriever(str(index_path))
    await asyncio.gather(*(asyncio.to_thread(asking.warm_up) for _ in range(8)))
    assert opened == [str(index_path)]
