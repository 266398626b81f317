"""The retriever and the postprocessor in LlamaIndex, which ships no tests for either."""

import asyncio
import pickle

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores import FilterCondition, MetadataFilter, MetadataFilters

from tests.integrations.conftest import LONG, QUERY
from xtrkit import Retriever
from xtrkit.errors import IndexFormatError, InputError, XtrkitWarning
from xtrkit.integrations.llama_index import XtrkitPostprocessor, XtrkitRetriever, where_of
from xtrkit.reranking import load_reranker


def found(nodes):
    return [(one.node.node_id, one.score) for one in nodes]


async def test_nodes_are_what_the_retriever_finds(source, retriever):
    asking, hits = XtrkitRetriever(source, similarity_top_k=4), retriever.search(QUERY, 4)
    assert isinstance(asking, BaseRetriever)
    nodes = asking.retrieve(QUERY)
    assert found(nodes) == [(hit.id, hit.score) for hit in hits]
    for one, hit in zip(nodes, hits, strict=True):
        assert one.node.get_content(metadata_mode=MetadataMode.NONE) == hit.text
        assert one.node.metadata == {**hit.metadata, "$rank": hit.rank}
        assert one.node.ref_doc_id == hit.document
        assert "rank" not in one.node.get_content(metadata_mode=MetadataMode.LLM)
    assert await asking.aretrieve(QueryBundle(QUERY)) == nodes
    questions = ["music", "rivers", "bread"]
    side_by_side = await asyncio.gather(*map(asking.aretrieve, questions))
    assert side_by_side == [asking.retrieve(question) for question in questions]


def test_a_passage_of_a_long_document_knows_its_place(retriever):
    (one,) = XtrkitRetriever(retriever, 1).retrieve("what happened on day 80?")
    assert one.node.ref_doc_id == "log"
    assert LONG[one.node.start_char_idx : one.node.end_char_idx] == one.node.text


def filters(*conditions, joined=FilterCondition.AND):
    parts = [
        one if isinstance(one, MetadataFilters) else MetadataFilter(key=one[0], operator=one[1], value=one[2])
        for one in conditions
    ]
    return MetadataFilters(filters=parts, condition=joined)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (filters(("lang", "==", "de")), range(0, 24, 2)),
        (filters(("lang", "!=", "de")), [*range(1, 24, 2), 100]),
        (filters(("number", ">", 3), ("number", "<=", 6)), [4, 5, 6]),
        (filters(("number", "<", 2), ("number", ">=", 23), joined=FilterCondition.OR), [0, 1, 23, 100]),
        (filters(("number", ">", 3), joined=FilterCondition.NOT), [0, 1, 2, 3]),
        (filters(("lang", "==", "de"), ("number", "<", 90), joined=FilterCondition.NOT), [*range(1, 24, 2), 100]),
        (filters(("number", "in", [3, 7, 70])), [3, 7]),
        (filters(("number", "nin", [*range(20)])), [20, 21, 22, 23, 100]),
        (filters(("lang", "any", ["de", "fr"]), ("number", "<", 3)), [0, 2]),
        (filters(("lang", "text_match", "e"), ("number", "<", 3)), [0, 1, 2]),
        (filters(("lang", "contains", "d"), ("number", "<", 3)), [0, 2]),
        (filters(("lang", "all", ["d", "e"]), ("number", "<", 3)), [0, 2]),
        (filters(("lang", "is_empty", None)), []),
        (filters(filters(("lang", "==", "en")), ("number", "<", 4)), [1, 3]),
    ],
    ids=str,
)
def test_filters(retriever, given, expected):
    asking = XtrkitRetriever(retriever, 30, filters=given, search_kwargs={"group_by_document": True})
    assert sorted(one.node.metadata["number"] for one in asking.retrieve(QUERY)) == list(expected)
    assert len(XtrkitRetriever(retriever, 30, filters=filters()).retrieve(QUERY)) == 25


def test_what_is_refused(retriever, tmp_path):
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        XtrkitRetriever(retriever, 0)
    with pytest.raises(InputError, match="where and filters are two names"):
        XtrkitRetriever(retriever, where={}, filters=filters())
    with pytest.raises(InputError, match=r"'text_match_insensitive'.* has no counterpart"):
        where_of(filters(("lang", "text_match_insensitive", "DE")))
    with pytest.raises(InputError, match="did you mean 'lang'"):
        XtrkitRetriever(retriever, filters=filters(("langue", "==", "de"))).retrieve(QUERY)
    with pytest.raises(InputError, match="A query must be a text"):
        XtrkitRetriever(retriever).retrieve("")
    with pytest.raises(IndexFormatError, match="There is nothing at"):
        XtrkitRetriever(tmp_path / "none")


def test_ten_nodes_unless_said_otherwise_and_pickles(index_path):
    asking = XtrkitRetriever(index_path, where={"lang": "en"}, search_kwargs={"fusion": "rrf"})
    again = pickle.loads(pickle.dumps(asking))
    assert again.retrieve(QUERY) == asking.retrieve(QUERY)
    assert len(again.retrieve(QUERY)) == 10


def test_in_a_query_engine(retriever):
    engine = RetrieverQueryEngine.from_args(
        XtrkitRetriever(retriever, 8, where={"lang": "de"}),
        llm=MockLLM(),
        node_postprocessors=[XtrkitPostprocessor(retriever, top_n=2)],
    )
    response = engine.query(QUERY)
    assert len(response.source_nodes) == 2
    assert str(response).count("is about music") == 2
    assert "$rank" not in str(response)


NODES = [
    NodeWithScore(node=TextNode(id_=str(place), text=text, metadata={"place": place}), score=0.5)
    for place, text in enumerate(["Boats float on the lake.", "A king wrote music.", "Bread needs flour and music."])
]


async def test_nodes_are_ranked_by_maxsim(retriever, index_path):
    ranking = XtrkitPostprocessor(str(index_path), top_n=2)
    assert isinstance(ranking, BaseNodePostprocessor)
    expected = retriever.rerank(QUERY, [one.node.text for one in NODES], 2)
    kept = ranking.postprocess_nodes(NODES, query_str=QUERY)
    assert found(kept) == [(hit.id, pytest.approx(hit.score)) for hit in expected]
    assert kept[0].node.metadata == {"place": 1}
    assert [one.score for one in NODES] == [0.5] * 3
    assert await ranking.apostprocess_nodes(NODES, query_str=QUERY) == kept
    for again in (pickle.loads(pickle.dumps(ranking)), XtrkitPostprocessor.from_json(ranking.to_json())):
        assert (again.model, again.top_n) == (str(index_path), 2)
        assert again.postprocess_nodes(NODES, query_bundle=QueryBundle(QUERY)) == kept
    assert ranking.postprocess_nodes([], query_str=QUERY) == []
    everything = XtrkitPostprocessor().postprocess_nodes(NODES, query_str=QUERY)  # the default model
    assert found(everything)[:2] == found(kept)
    assert len(everything) == 3


def test_nodes_are_ranked_by_a_reranker(rerankers):
    path = rerankers["cross-encoder"]
    texts = ["the late token", "xtr", "document token"]
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
    scores = load_reranker(path).score("what is xtr", texts)
    kept = XtrkitPostprocessor(reranker=path).postprocess_nodes(nodes, query_str="what is xtr")
    assert [one.score for one in kept] == pytest.approx(sorted(scores)[::-1])


def test_what_a_postprocessor_refuses(retriever):
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        XtrkitPostprocessor(retriever, top_n=0)
    with pytest.raises(InputError, match="Nodes are ranked for a query"):
        XtrkitPostprocessor(retriever).postprocess_nodes(NODES)
    with pytest.raises(InputError, match="A query must be a text"):
        XtrkitPostprocessor(retriever).postprocess_nodes(NODES, query_str=" ")
    given = [NODES[0], NodeWithScore(node=TextNode(text=""))]
    with pytest.warns(XtrkitWarning, match="1 of 2 texts have nothing in them"):
        assert len(XtrkitPostprocessor(retriever).postprocess_nodes(given, query_str=QUERY)) == 1


def test_a_given_retriever_stays_what_it_is(retriever):
    asking = XtrkitRetriever(retriever)
    assert isinstance(asking.index, Retriever)
    assert asking.index is retriever


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"filters": {"lang": "de"}}, "Filters are LlamaIndex's MetadataFilters"),
        ({"search_kwargs": {"k": 3}}, "'k' is not among the other choices of a search: give it as similarity_top_k"),
        ({"search_kwargs": {"where": {"lang": "de"}}}, "give it as where"),
        ({"search_kwargs": {"alpha_": 3}}, "Unknown search choice 'alpha_'"),
        ({"search_kwargs": "rrf"}, "come as a dict"),
    ],
)
def test_choices_that_are_refused_when_it_is_made(retriever, given, message):
    with pytest.raises(InputError, match=message):
        XtrkitRetriever(retriever, **given)
