"""Other systems' APIs, asked by those systems' own clients where there are some, against a real server."""

import json

import cohere
import dspy
import httpx
import numpy as np
import pytest
from next_plaid_client import AsyncNextPlaidClient, NextPlaidClient, SearchParams
from next_plaid_client.exceptions import IndexNotFoundError, NextPlaidError, ValidationError

from tests.serving.conftest import READ, WRITE
from xtrkit import COLBERT, Retriever
from xtrkit.client import Client

QUESTION = "who wrote about music?"
TEXTS = ["Boats float on rivers.", "A king wrote music.", "", "Music is loud."]


@pytest.fixture(scope="module", autouse=True)
def nothing_remembered():
    """dspy keeps answers on disk, by address and query."""
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)


@pytest.fixture(scope="module")
def here(made_index):
    with Retriever.open(made_index) as retriever:
        yield retriever


@pytest.fixture(scope="module")
def plaid(server):
    with NextPlaidClient(server.url) as client:
        yield client


# -- ColBERT, dspy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("post", [False, True])
def test_dspy_finds_passages(server, here, post):
    found = dspy.ColBERTv2(f"{server.url}/api/search", post_requests=post)(QUESTION, k=3)
    expected = here.search(QUESTION, 3, recipe=COLBERT)
    assert [(one.pid, one.long_text, one.text, one.rank, one.score) for one in found] == [
        (hit.id, hit.text, hit.text, hit.rank, hit.score) for hit in expected
    ]
    odds = np.exp([hit.score for hit in expected])
    assert [one.prob for one in found] == pytest.approx((odds / odds.sum()).tolist())


@pytest.mark.parametrize("post", [False, True])
def test_dspy_is_told_why_not(server, post):
    with pytest.raises(ValueError, match="ColBERTv2 server returned an error: A query must be a text"):
        dspy.ColBERTv2(f"{server.url}/api/search", post_requests=post)(" ", k=3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"query": "a", "k": "0"}, "k: Input should be greater than or equal to 1"),
        ({"query": "a", "k": "1001"}, "k must be 1,000 at most, got 1,001"),
        ({"k": "1"}, "query: Field required"),
        ({"query": "a", "index": "nope"}, "No index 'nope' is served"),
        ({"query": "a", "nope": "1"}, "nope: Extra inputs are not permitted"),
        ({"query": "a" * 8193}, "A query has 8,192 characters at most, got 8,193"),
    ],
)
def test_colbert_refusals_come_where_its_clients_look(client, params, message):
    answer = client.get("/api/search", params=params)
    told = answer.json()
    assert (answer.status_code, told["error"]) == (200, True)
    assert message in told["message"]


def test_colbert_keys(keyed):
    with keyed.client() as stranger:
        assert stranger.get("/api/search", params={"query": "a"}).status_code == 401


# -- reranking -----------------------------------------------------------------------------------------------------


def cohere_of(url, kind=cohere.ClientV2, key="no-key"):
    """Cohere's client, whose connections are closed."""
    return kind(key, base_url=url, httpx_client=httpx.Client(headers={"Connection": "close"}))


@pytest.mark.parametrize("kind", [cohere.Client, cohere.ClientV2])
def test_cohere_reranks(server, here, kind):
    found = cohere_of(server.url, kind).rerank(model="any", query=QUESTION, documents=TEXTS, top_n=3)
    expected = here.rerank(QUESTION, [TEXTS[0], TEXTS[1], TEXTS[3]], 3)
    places = [int(hit.id) if hit.id < "2" else 3 for hit in expected]
    assert [one.index for one in found.results] == places
    n = len(here.encoder.query_tokens(QUESTION))
    assert [one.relevance_score for one in found.results] == pytest.approx([hit.score / n for hit in expected])
    assert all(0 <= one.relevance_score <= 1 for one in found.results)
    assert found.meta.billed_units.search_units == 1


def test_cohere_documents_with_fields(server):
    documents = [{"text": "Boats."}, {"text": "Horses.", "title": "Music by a king"}]
    client = cohere_of(server.url, cohere.Client)
    by_text = client.rerank(query="music", documents=documents, rank_fields=["title", "text"], return_documents=True)
    assert by_text.results[0].index == 1
    assert by_text.results[0].document.text == "Horses."
    assert by_text.results[0].document.title == "Music by a king"


def test_cohere_is_told_why_not(server):
    with pytest.raises(cohere.BadRequestError) as refused:
        cohere_of(server.url).rerank(model="any", query=" ", documents=["a"])
    assert "A query must be a text" in refused.value.body["error"]["message"]


def test_cohere_brings_its_key(keyed):
    with pytest.raises(cohere.UnauthorizedError):
        cohere_of(keyed.url, key="another").rerank(model="any", query="a", documents=["a"])
    # Two indexes: whose encoder is meant must be said, which Cohere's client can.
    options = {"additional_body_parameters": {"index": "small"}}
    found = cohere_of(keyed.url, key=READ).rerank(model="any", query="a", documents=["a"], request_options=options)
    assert found.results[0].index == 0


JINA = {
    "model": "jina-reranker-v2-base-multilingual",
    "query": QUESTION,
    "documents": TEXTS,
    "top_n": 2,
    "return_documents": True,
}
VLLM = {
    "model": "BAAI/bge-reranker-base",
    "query": QUESTION,
    "documents": TEXTS,
    "top_n": 0,
    "truncate_prompt_tokens": 512,
    "priority": 0,
}


def test_jina_reranks_as_documented(client):
    told = client.post("/v1/rerank", json=JINA).json()
    assert [one["index"] for one in told["results"]] == [1, 3]
    assert told["results"][0]["document"] == {"text": TEXTS[1]}
    assert told["usage"]["total_tokens"] > 10


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_vllm_reranks_as_documented(client, path):
    told = client.post(path, json=VLLM).json()
    assert sorted(one["index"] for one in told["results"]) == [0, 1, 2, 3]
    assert (told["results"][-1]["index"], told["results"][-1]["relevance_score"]) == (2, 0)  # there is nothing in it
    scores = [one["relevance_score"] for one in told["results"]]
    assert scores == sorted(scores, reverse=True)
    assert ("document" in told["results"][0]) == (path != "/v2/rerank")
    assert {"id", "model", "usage", "meta"} <= told.keys()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"query": "a", "documents": []}, "1 to 1,000 documents, got 0"),
        ({"query": "a", "documents": ["b"] * 1001}, "1 to 1,000 documents, got 1,001"),
        ({"query": "", "documents": ["b"]}, "A query must be a text"),
        ({"query": "a" * 8193, "documents": ["b"]}, "8,192 characters"),
        ({"query": "a", "documents": [{"body": "b"}]}, "Document 0 must be a text, or an object with a text as 'text'"),
        ({"query": "a", "documents": [{"text": ["b"]}]}, "Document 0 must be a text"),
        ({"query": "a", "documents": ["b"], "nope": 1}, "nope: Extra inputs are not permitted"),
        ({"query": "a", "documents": ["b"], "top_n": -1}, "top_n: Input should be greater than or equal to 0"),
        ({"query": "a", "documents": ["b"], "index": "nope"}, "No index 'nope' is served"),
    ],
)
@pytest.mark.parametrize("path", ["/v2/rerank", "/rerank"])
def test_what_rerank_refuses(client, path, body, message):
    answer = client.post(path, json=body)
    assert 400 <= answer.status_code < 500
    assert message in answer.json()["error"]["message"]


# -- vectors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["query", "document"])
def test_jina_gives_multi_vectors_as_documented(client, here, task):
    body = {"model": "jina-colbert-v2", "dimensions": 128, "input_type": task, "embedding_type": "float"}
    told = client.post("/v1/multi-vector", json={**body, "input": ["a king", {"text": "music"}]}).json()
    encode = here.encode_queries if task == "query" else here.encoder.encode_documents
    for one, rows, place in zip(told["data"], encode(["a king", "music"]), (0, 1), strict=True):
        assert one["index"] == place
        np.testing.assert_array_equal(np.array(one["embeddings"], dtype=np.float32), rows)
    assert told["usage"]["total_tokens"] == sum(len(one["embeddings"]) for one in told["data"])


def test_vllm_pools_as_documented(client, here):
    body = {"model": "jinaai/jina-colbert-v2", "encoding_format": "float", "user": "me"}
    told = client.post("/pooling", json={**body, "input": ["a king", "music"]}).json()
    assert [len(one["data"]) for one in told["data"]] == [
        len(rows) for rows in here.encoder.encode_documents(["a king", "music"])
    ]
    assert told["data"][0]["object"] == "pooling"
    (one,) = client.post("/pooling", json={"input": "a king", "input_type": "query"}).json()["data"]
    np.testing.assert_array_equal(np.array(one["data"], dtype=np.float32), here.encode_queries(["a king"])[0])


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/multi-vector", {"input": []}, "1 to 64 texts to encode, got 0"),
        ("/v1/multi-vector", {"input": ["a"] * 65}, "1 to 64 texts to encode, got 65"),
        ("/v1/multi-vector", {"input": [""], "input_type": "query"}, "A query must be a text"),
        ("/v1/multi-vector", {"input": ["a"], "embedding_type": "binary"}, "embedding_type"),
        ("/v1/multi-vector", {"input": ["a"], "dimensions": 64}, "vectors of 128 dimensions, not of 64"),
        ("/v1/multi-vector", {"input": [{"image": "a"}]}, "TextInput.text: Field required"),
        ("/v1/multi-vector", {"input": ["a"], "nope": 1}, "nope: Extra inputs are not permitted"),
        ("/pooling", {"input": ["a"], "encoding_format": "base64"}, "encoding_format"),
        ("/pooling", {"input": [1, 2]}, "input"),
        ("/pooling", {"input": "a", "dimensions": 64}, "vectors of 128 dimensions, not of 64"),
    ],
)
def test_what_vectors_refuse(client, path, body, message):
    answer = client.post(path, json=body)
    assert 400 <= answer.status_code < 500
    assert message in answer.json()["error"]["message"]


# -- next-plaid ----------------------------------------------------------------------------------------------------


def test_next_plaid_lists_indexes(plaid, here):
    assert plaid.list_indices() == ["small"]
    told = plaid.get_index("small")
    assert (told.num_documents, told.num_embeddings, told.dimension) == (36, here.index.n_tokens, 128)
    assert told.num_partitions == here.index.n_clusters > 1
    assert told.has_metadata


def test_next_plaid_searches(plaid, here):
    found = plaid.search("small", [QUESTION, "bread"], params=SearchParams(top_k=4))
    for one, query in zip(found.results, (QUESTION, "bread"), strict=True):
        expected = here.search(query, 4, recipe=COLBERT)
        assert [facts["id"] for facts in one.metadata] == expected.ids
        assert one.scores == pytest.approx([hit.score for hit in expected])
        assert one.metadata[0] == {**expected[0].metadata, "id": expected[0].id, "text": expected[0].text}
    by_vectors = plaid.search("small", list(map(_rows, here.encode_queries([QUESTION]))), params=SearchParams(top_k=4))
    assert by_vectors.results[0].document_ids == found.results[0].document_ids
    assert by_vectors.results[0].scores == pytest.approx(found.results[0].scores)
    among = plaid.search("small", [QUESTION], subset=found.results[0].document_ids[2:])
    assert among.results[0].document_ids == found.results[0].document_ids[2:]


@pytest.mark.parametrize(("fusion", "ours"), [("rrf", "rrf"), ("relative_score", "relative")])
def test_next_plaid_searches_by_words_too(plaid, here, fusion, ours):
    how = {"text_query": [QUESTION], "alpha": 0.5, "fusion": fusion, "params": SearchParams(top_k=4)}
    expected = here.search(QUESTION, 4, recipe=COLBERT, fusion=ours, alpha=0.5)
    (found,) = plaid.search("small", [QUESTION], **how).results
    assert [facts["id"] for facts in found.metadata] == expected.ids
    assert found.scores == pytest.approx([hit.score for hit in expected])
    (words,) = plaid.keyword_search("small", "music", params=SearchParams(top_k=2)).results
    expected = here.index.search_words("music", 2)
    assert [(facts["id"], score) for facts, score in zip(words.metadata, words.scores, strict=True)] == list(expected)


def _rows(array):
    return array.tolist()


@pytest.mark.parametrize("task", ["query", "document"])
def test_next_plaid_encodes(plaid, client, here, task):
    encode = here.encode_queries if task == "query" else here.encoder.encode_documents
    told = plaid.encode(["a king", "music"], input_type=task)
    plain = client.post("/encode", json={"texts": ["a king", "music"], "input_type": task}).json()
    for one, other, rows in zip(told.embeddings, plain["embeddings"], encode(["a king", "music"]), strict=True):
        np.testing.assert_array_equal(np.array(one, dtype=np.float32), rows)
        np.testing.assert_array_equal(np.array(other, dtype=np.float32), rows)
    assert told.num_texts == plain["num_texts"] == 2


def test_next_plaid_reranks(plaid, here):
    given = [TEXTS[0], TEXTS[1], TEXTS[3]]
    expected = here.rerank(QUESTION, given)
    by_texts = plaid.rerank(QUESTION, given)
    query = _rows(here.encode_queries([QUESTION])[0])
    documents = [{"embeddings": _rows(rows)} for rows in here.encoder.encode_documents(given)]
    for told in (by_texts, plaid.rerank(query, documents)):
        assert [str(one.index) for one in told.results] == expected.ids
        assert [one.score for one in told.results] == pytest.approx([hit.score for hit in expected], rel=1e-6)


def test_next_plaid_adds(keyed):
    with NextPlaidClient(keyed.url, headers={"X-API-Key": WRITE}) as plaid, Client(keyed.url, key=WRITE) as own:
        told = plaid.add("changing", ["Submarines dive.", "A nameless text."], metadata=[{"id": "plaid/1", "n": 1}, {}])
        assert told.startswith("Update queued for index 'changing'")
        job = own._http.get(told.split(": ")[1].split()[0])
        while job.json()["status"] in ("waiting", "running"):
            job = own._http.get(str(job.url))
        assert job.json()["result"]["ids"][0] == "plaid/1"
        found = plaid.search("changing", ["submarines"], params=SearchParams(top_k=1))
        assert found.results[0].metadata == [{"id": "plaid/1", "n": 1, "text": "Submarines dive."}]
        for identifier in job.json()["result"]["ids"]:
            own._http.delete(f"/v1/documents/{identifier}", params={"index": "changing"}).raise_for_status()
    with NextPlaidClient(keyed.url, headers={"X-API-Key": READ}) as plaid, pytest.raises(NextPlaidError) as refused:
        plaid.add("changing", ["a"])
    assert (refused.value.status_code, refused.value.code) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda plaid: plaid.get_index("nope"), IndexNotFoundError, "No index 'nope' is served"),
        (lambda plaid: plaid.search("nope", ["a"]), IndexNotFoundError, "No index 'nope' is served"),
        (lambda plaid: plaid.search("small", [""]), ValidationError, "A query must be a text"),
        (lambda plaid: plaid.search("small", ["a"] * 65), ValidationError, "1 to 64 queries, got 65"),
        (lambda plaid: plaid.search("small", ["a"], filter_condition="x = 1"), ValidationError, "Filters in SQL"),
        (lambda plaid: plaid.search("small", [[[0.5]]], filter_condition="x = 1"), ValidationError, "Filters in SQL"),
        (
            lambda plaid: plaid.search("small", ["a"], text_query=["a", "b"]),
            ValidationError,
            "1 queries, and 2 in text_",
        ),
        (lambda plaid: plaid.keyword_search("small", " "), ValidationError, "A query must be a text"),
        (lambda plaid: plaid.search("small", ["a"], text_query=["a"], alpha=2), NextPlaidError, "alpha"),
        (lambda plaid: plaid.search("small", [[[0.5]]]), ValidationError, "1 dimensions, the index 128"),
        (lambda plaid: plaid.search("small", [[[float("nan")] * 128]]), ValidationError, "numbers up to 65504"),
        (lambda plaid: plaid.search("small", ["a"], subset=[99]), ValidationError, "numbers from 0 to 35"),
        (lambda plaid: plaid.search("small", ["a"], subset=[1 << 70]), ValidationError, "a number that no passage has"),
        (lambda plaid: plaid.search("small", ["a"], params=SearchParams(top_k=1001)), ValidationError, "top_k"),
        (lambda plaid: plaid.encode(["a"] * 65), ValidationError, "1 to 64 texts to encode"),
        (lambda plaid: plaid.rerank("a", []), ValidationError, "1 to 1,000 documents, got 0"),
        (lambda plaid: plaid.search("small", ["a"], params=SearchParams(top_k=0)), NextPlaidError, "top_k"),
        (lambda plaid: plaid.encode(["a"], pool_factor=2), NextPlaidError, "pool_factor"),
    ],
)
def test_next_plaid_is_told_why_not(plaid, call, kind, message):
    with pytest.raises(kind, match=message):
        call(plaid)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"embeddings_b64": "AAAA", "shape": [1, 1]}, "need their shape"),
        ({"embeddings_b64": "*", "shape": [1, 1]}, "no base64"),
        ({"embeddings_b64": "\U0001f40b", "shape": [1, 1]}, "no base64"),
        ({"embeddings_b64": "AACAPw=="}, "need their shape"),
        ({"embeddings_b64": "AACAPw==", "shape": [-1, -1]}, "need their shape"),
        ({"embeddings": [[1.0], [1.0, 2.0]]}, "all of one length"),
        ({"embeddings": []}, "one row or more"),
        ({}, "either as lists of numbers or as base64"),
        ({"embeddings": [[1.0]], "embeddings_b64": "AACAPw==", "shape": [1, 1]}, "either as lists"),
    ],
)
def test_vectors_that_are_none(client, query, message):
    for path, body in (
        ("/indices/small/search", {"queries": [query]}),
        ("/rerank", {"query": [[1.0]], "documents": [query]}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 400
        assert message in json.dumps(answer.json())


def test_next_plaids_asynchronous_client(server):
    import asyncio

    async def ask():
        async with AsyncNextPlaidClient(server.url) as plaid:
            return await plaid.search("small", [QUESTION], params=SearchParams(top_k=2))

    assert len(asyncio.run(ask()).results[0].document_ids) == 2
