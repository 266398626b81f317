"""LangChain's own tests for our retriever, and what they leave out; the compressor."""

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import ValidationError

from tests.integrations.conftest import LONG, QUERY
from xtrkit import COLBERT, Index, Retriever, load_encoder
from xtrkit.client import Client
from xtrkit.errors import IndexFormatError, InputError, XtrkitWarning
from xtrkit.integrations.langchain import XtrkitCompressor, XtrkitRetriever
from xtrkit.reranking import load_reranker


class OfLangChain(RetrieversIntegrationTests):
    """What langchain-tests asks of every retriever."""

    retriever_constructor = XtrkitRetriever
    retriever_query_example = QUERY


class TestOfAPath(OfLangChain):
    @pytest.fixture(autouse=True)
    def given(self, index_path, monkeypatch):
        monkeypatch.setattr(type(self), "retriever_constructor_params", {"index": str(index_path)})


class TestOfAServer(OfLangChain):
    @pytest.fixture(autouse=True)
    def given(self, server, monkeypatch):
        monkeypatch.setattr(type(self), "retriever_constructor_params", {"index": server.url})


def test_documents_are_what_the_retriever_finds(source, retriever):
    documents = XtrkitRetriever(source, k=4).invoke(QUERY)
    hits = retriever.search(QUERY, 4)
    assert [document.id for document in documents] == hits.ids
    for document, hit in zip(documents, hits, strict=True):
        assert document.page_content == hit.text
        assert document.metadata == {
            **hit.metadata, "$score": hit.score, "$rank": hit.rank, "$document": hit.document,
        }  # fmt: skip


def test_a_passage_of_a_long_document_knows_its_place(index_path):
    (document,) = XtrkitRetriever(index_path, k=1).invoke("what happened on day 80?")
    facts = document.metadata
    assert facts["$document"] == "log"
    assert document.id.startswith("log¶")
    assert LONG[facts["$first"] : facts["$last"]] == document.page_content


@pytest.mark.parametrize("name", ["where", "filter"])
def test_conditions_at_a_call_stand_in_the_place_of_those_before(retriever, name):
    german = XtrkitRetriever(retriever, k=5, **{name: {"lang": "de"}})
    assert {document.metadata["lang"] for document in german.invoke(QUERY)} == {"de"}
    assert {document.metadata["lang"] for document in german.invoke(QUERY, **{name: {"lang": "en"}})} == {"en"}


def test_both_names_for_a_condition(retriever):
    with pytest.raises(InputError, match="two names for one condition"):
        XtrkitRetriever(retriever, where={}, filter={})
    with pytest.raises(InputError, match="two names for one condition"):
        XtrkitRetriever(retriever).invoke(QUERY, where={"lang": "de"}, filter={"lang": "de"})


def test_choices_of_a_search(retriever):
    summed = XtrkitRetriever(retriever, k=2, search_kwargs={"reduction": "sum"})
    (mean, _), (total, _) = XtrkitRetriever(retriever, k=2).invoke(QUERY), summed.invoke(QUERY)
    assert mean.id == total.id
    assert total.metadata["$score"] > 2 > 1 > mean.metadata["$score"]
    assert summed.invoke(QUERY, recipe=COLBERT, reduction=None)[0].metadata["$score"] > 2
    assert XtrkitRetriever(retriever, search_kwargs={"fusion": "rrf"}).invoke("24", k=1)[0].metadata["$score"] < 0.1


@pytest.mark.parametrize("k", [0, -1, True, 2.5, "3"])
def test_a_k_that_can_not_be_asked_for(retriever, k):
    with pytest.raises(InputError, match="k must be a whole number of at least 1"):
        XtrkitRetriever(retriever, k=k)
    with pytest.raises(InputError, match="k must be a whole number of at least 1"):
        XtrkitRetriever(retriever).invoke(QUERY, k=k)
    with pytest.raises(InputError, match="k must be a whole number of at least 1"):
        asyncio.run(XtrkitRetriever(retriever).ainvoke(QUERY, k=k))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"input": " "}, "A query must be a text with something in it"),
        ({"input": QUERY, "where": {"langue": "de"}}, "did you mean 'lang'"),
        ({"input": QUERY, "depth": 3}, "depth"),
    ],
)
def test_what_is_refused_at_a_call(source, asked, message):
    with pytest.raises(InputError, match=message):
        XtrkitRetriever(source).invoke(**asked)


def test_what_is_refused_when_it_is_made(tmp_path, retriever):
    with pytest.raises(IndexFormatError, match="There is nothing at"):
        XtrkitRetriever(tmp_path / "none")
    with pytest.raises(InputError, match="An index is given as its path"):
        XtrkitRetriever(12)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        XtrkitRetriever(retriever, top_k=3)


def test_an_index_without_texts(tmp_path, retriever):
    encoder = retriever.encoder
    Index.create(tmp_path / "idx", [encoder.encode_documents(["a king", "a boat"])], encoder=encoder.identity).close()
    with pytest.raises(InputError, match="This index has no texts"):
        XtrkitRetriever(tmp_path / "idx").invoke(QUERY)


async def test_many_questions_side_by_side(source):
    asking = XtrkitRetriever(source, k=2)
    questions = ["music", "rivers", "bread", "stars"]
    one_by_one = [asking.invoke(question) for question in questions]
    assert asking.batch(questions) == one_by_one
    assert await asking.abatch(questions) == one_by_one
    assert await asyncio.gather(*map(asking.ainvoke, questions)) == one_by_one
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(asking.invoke, questions)) == one_by_one


async def test_the_loop_goes_on_while_an_answer_is_awaited(retriever):
    turns = 0

    async def counting():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(counting())
    await XtrkitRetriever(retriever, k=3).ainvoke(QUERY, where={"lang": "de"})
    other.cancel()
    assert turns > 3


def test_a_pickled_retriever(index_path):
    asking = XtrkitRetriever(index_path, k=2, where={"lang": "de"})
    again = pickle.loads(pickle.dumps(asking))
    assert again.invoke(QUERY) == asking.invoke(QUERY)
    assert (again.k, again.where, again.index.index.path) == (2, {"lang": "de"}, index_path)


def test_one_with_a_client_can_not_be_pickled(server):
    with Client(server.url) as client, pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(XtrkitRetriever(client))


def test_in_a_chain(retriever):
    asking = XtrkitRetriever(retriever, k=3).configurable_fields(k=ConfigurableField(id="k"))
    prompt = PromptTemplate.from_template("{context}\n\nQuestion: {question}")
    answering = RunnableLambda(lambda given: given.text.splitlines()[0]) | StrOutputParser()
    context = asking | (lambda documents: "\n".join(document.page_content for document in documents))
    chain = {"context": context, "question": RunnablePassthrough()} | prompt | answering
    assert "is about music" in chain.invoke(QUERY)
    assert len(asking.with_config(configurable={"k": 1}).invoke(QUERY)) == 1


def documents_of(*texts):
    return [Document(page_content=text, id=str(place), metadata={"place": place}) for place, text in enumerate(texts)]


CANDIDATES = documents_of("Boats float on the lake.", "A king wrote music.", "Bread needs flour and music.")


@pytest.mark.parametrize("model", ["default", "index", "retriever", "encoder", "address"])
def test_documents_are_compressed_by_maxsim(request, index_path, retriever, model):
    given = {
        "default": lambda: None,
        "index": lambda: str(index_path),
        "retriever": lambda: retriever,
        "encoder": load_encoder,
        "address": lambda: request.getfixturevalue("server").url,
    }
    kept = XtrkitCompressor(given[model](), k=2).compress_documents(CANDIDATES, QUERY)
    expected = retriever.rerank(QUERY, [document.page_content for document in CANDIDATES], 2)
    assert [document.id for document in kept] == expected.ids == ["1", "2"]
    assert [document.metadata["relevance_score"] for document in kept] == pytest.approx([hit.score for hit in expected])
    assert kept[0].metadata["place"] == 1
    assert "relevance_score" not in CANDIDATES[1].metadata


def test_documents_are_compressed_by_a_reranker(rerankers):
    path = rerankers["cross-encoder"]
    documents = documents_of("the late token", "xtr", "document token")
    by_path = XtrkitCompressor(reranker=path).compress_documents(documents, "what is xtr")
    scores = load_reranker(path).score("what is xtr", [document.page_content for document in documents])
    assert [document.metadata["relevance_score"] for document in by_path] == pytest.approx(sorted(scores)[::-1])
    loaded = XtrkitCompressor(reranker=load_reranker(path), k=1)
    assert loaded.compress_documents(documents, "what is xtr") == by_path[:1]


async def test_what_a_compressor_gives_otherwise(retriever):
    compressor = XtrkitCompressor(retriever, k=2)
    expected = compressor.compress_documents(CANDIDATES, QUERY)
    assert await compressor.acompress_documents(CANDIDATES, QUERY) == expected
    assert pickle.loads(pickle.dumps(compressor)).compress_documents(CANDIDATES, QUERY) == expected
    assert len(XtrkitCompressor(retriever).compress_documents(CANDIDATES, QUERY)) == 3
    assert compressor.compress_documents([], QUERY) == []
    with pytest.warns(XtrkitWarning, match="1 of 4 texts have nothing in them"):
        assert len(XtrkitCompressor(retriever).compress_documents([*CANDIDATES, *documents_of("")], QUERY)) == 3
    with pytest.warns(XtrkitWarning, match="1 of 1 texts have nothing in them"):
        assert compressor.compress_documents(documents_of(" "), QUERY) == []


def test_what_a_compressor_refuses(retriever, rerankers):
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        XtrkitCompressor(retriever, k=0)
    with pytest.raises(InputError, match="give one of the two"):
        XtrkitCompressor(retriever, reranker=rerankers["cross-encoder"])
    with pytest.raises(InputError, match="A reranker is given as its name"):
        XtrkitCompressor(reranker=3)
    with pytest.raises(InputError, match="A model is given as its name or path"):
        XtrkitCompressor(3)
    with pytest.raises(InputError, match="A query must be a text"):
        XtrkitCompressor(retriever).compress_documents(CANDIDATES, "")


def test_a_retriever_with_a_reranker_is_searched_with_it(index_path, rerankers):
    with Retriever.open(index_path, reranker=rerankers["cross-encoder"]) as reranked:
        documents = XtrkitRetriever(reranked, k=3).invoke(QUERY)
        assert [document.id for document in documents] == reranked.search(QUERY, 3).ids


def test_choices_as_langchains_vector_stores_have_them(retriever):
    asking = XtrkitRetriever(retriever, search_kwargs={"k": 2, "filter": {"lang": "de"}})
    assert [document.metadata["lang"] for document in asking.invoke(QUERY)] == ["de", "de"]
    assert (asking.k, asking.where, asking.search_kwargs) == (2, {"lang": "de"}, {})
    assert len(XtrkitRetriever(retriever, k=1, search_kwargs={"k": 2, "where": {"lang": "en"}}).invoke(QUERY)) == 1
    with pytest.raises(InputError, match="k must be a whole number"):
        XtrkitRetriever(retriever, search_kwargs={"k": 0})
    with pytest.raises(InputError, match=r"Unknown search choice 'score_threshold': there are subset, .*fusion"):
        XtrkitRetriever(retriever, search_kwargs={"score_threshold": 0.5})
    with pytest.raises(InputError, match="'query' is not among the other choices of a search"):
        XtrkitRetriever(retriever, search_kwargs={"query": "a"})
