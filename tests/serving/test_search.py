"""Searching over HTTP gives what :class:`xtrkit.Retriever` gives, and refuses what it refuses."""

import pytest

from tests.serving.conftest import READ
from xtrkit import Retriever
from xtrkit.answers import answer_as_json, answer_of_json


@pytest.fixture(scope="module")
def retriever(made_index):
    with Retriever.open(made_index) as opened:
        yield opened


def ask(client, **request):
    response = client.post("/v1/search", json=request)
    assert response.status_code == 200, response.text
    return response.json()


def refused(client, status, **request):
    response = client.post("/v1/search", json=request)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"type", "message", "details"}
    assert error["message"].endswith(".")
    return error


ALIKE = [
    ({}, {}),
    ({"k": 3, "explain": True}, {"k": 3, "explain": True}),
    ({"where": {"lang": "en"}}, {"where": {"lang": "en"}}),
    ({"where": {"number": {"$gte": 30}}, "k": 50}, {"where": {"number": {"$gte": 30}}, "k": 50}),
    ({"subset": ["d/1", "d/2"]}, {"subset": ["d/1", "d/2"]}),
    ({"scoring": "maxsim", "reduction": "mean"}, {"scoring": "maxsim", "reduction": "mean"}),
    ({"k_prime": 20, "imputation": "0.2", "nprobe": 4}, {"k_prime": 20, "imputation": "0.2", "nprobe": 4}),
    (
        {"nprobe": "all", "imputation": "none", "explain": True},
        {"nprobe": "all", "imputation": "none", "explain": True},
    ),
    ({"shared": True, "group_by_document": False}, {"shared": True, "group_by_document": False}),
    ({"fusion": "rrf", "explain": True}, {"fusion": "rrf", "explain": True}),
    ({"fusion": "relative", "alpha": 0.5}, {"fusion": "relative", "alpha": 0.5}),
    ({"facets": ["lang", "number"]}, {"facets": ["lang", "number"]}),
]


@pytest.mark.parametrize(("request_", "choices"), ALIKE)
def test_an_answer_is_that_of_the_retriever(client, retriever, request_, choices):
    query = "who wrote about the horses?"
    told, here = ask(client, query=query, **request_), retriever.search(query, **choices)
    expected = answer_as_json(here, explained=choices.get("explain", False))
    assert {name: told[name] for name in expected if name != "seconds"} == {
        name: value for name, value in expected.items() if name != "seconds"
    }
    assert answer_of_json(told) == here
    assert told["index"] == "small"
    assert told["took_ms"] > 0
    assert (told["offset"], told["warnings"]) == (0, [])
    assert {"encode", "passages"} <= told["seconds"].keys()


@pytest.mark.parametrize("name", ["xtr", "ColBERT", "colxtr"])
def test_recipes_by_name(client, retriever, name):
    from xtrkit.recipes import recipe_named

    here = retriever.search("bread", recipe=recipe_named(name), k_prime=50)
    told = ask(client, query="bread", recipe=name, k_prime=50)
    assert [(hit["id"], hit["score"]) for hit in told["hits"]] == [(hit.id, hit.score) for hit in here]


def test_pages_of_an_answer_follow_one_another(client):
    whole = ask(client, query="wine", k=6)["hits"]
    assert [hit["rank"] for hit in whole] == [1, 2, 3, 4, 5, 6]
    assert ask(client, query="wine", k=3, offset=3)["hits"] == whole[3:]
    assert ask(client, query="wine", k=3, offset=3)["offset"] == 3
    assert ask(client, query="wine", k=3, offset=1000)["hits"] == []


def test_several_queries_in_one_request(client):
    told = ask(client, queries=["bread", "wine"], k=2)
    assert [one["query"] for one in told["results"]] == ["bread", "wine"]
    alone = ask(client, query="wine", k=2)
    assert told["results"][1]["hits"] == alone["hits"]
    assert ask(client, queries=["bread"])["results"][0]["query"] == "bread"


def test_snippets_are_as_long_as_asked(client):
    hit = ask(client, query="wine", k=1, snippet=20)["hits"][0]
    assert len(hit["snippet"]["text"].strip("…")) <= 20
    assert len(hit["text"]) > 20


WRONG = [
    ({"query": ""}, 400, "something in it"),
    ({"query": "?\n"}, 200, ""),
    ({"query": "a", "queries": ["b"]}, 400, "either"),
    ({}, 400, "either"),
    ({"queries": []}, 400, "1 to 64 queries"),
    ({"queries": ["a"] * 65}, 400, "1 to 64 queries"),
    ({"queries": ["a", " "]}, 400, "something in it"),
    ({"query": "a" * 8_193}, 400, "8,192 characters at most, got 8,193"),
    ({"query": "a", "k": 0}, 422, "k"),
    ({"query": "a", "k": 1.5}, 422, "k"),
    ({"query": "a", "k": True}, 422, "k"),
    ({"query": "a", "k": "3"}, 422, "k"),
    ({"query": "a", "k": 1_001}, 400, "k must be 1,000 at most"),
    ({"query": "a", "k": 10**30}, 400, "k must be 1,000 at most"),
    ({"query": "a", "k": 1_000, "offset": 9_001}, 400, "offset + k must be 10,000 at most"),
    ({"query": "a", "offset": -1}, 422, "offset"),
    ({"query": "a", "subset": ["d/1"] * 10_001}, 400, "10,000 ids at most"),
    ({"query": "a", "subset": ["nope"]}, 400, "'nope'"),
    ({"query": "a", "subset": ["a\0b"]}, 400, "NUL"),
    ({"query": "a", "where": {"nope": 1}}, 400, "'nope'"),
    ({"query": "a", "where": {"lang": {"$regex": "."}}}, 400, "$regex"),
    ({"query": "a", "where": {"lang": 3}}, 400, "lang"),
    ({"query": "a", "where": []}, 422, "where"),
    ({"query": "a", "recipe": "bm25"}, 400, "Unknown recipe"),
    ({"query": "a", "imputation": "most"}, 400, "imputation"),
    ({"query": "a", "scoring": "cosine"}, 422, "scoring"),
    ({"query": "a", "nprobe": 0}, 422, "nprobe"),
    ({"query": "a", "rerank": True}, 400, "no reranker"),
    ({"query": "a", "rerank": 5}, 400, "no reranker"),
    ({"query": "a", "snippet": 0}, 422, "snippet"),
    ({"query": "a", "fusion": "sum"}, 422, "fusion"),
    ({"query": "a", "fusion": "rrf", "alpha": 1.5}, 422, "alpha"),
    ({"query": "a", "alpha": 0.5}, 400, "choose a fusion"),
    ({"query": "a", "facets": "lang"}, 422, "facets"),
    ({"query": "a", "facets": ["nope"]}, 400, "'nope'"),
    ({"query": "a", "facets": ["lang"] * 33}, 422, "facets"),
    ({"query": "a", "index": "other"}, 404, "'other'"),
    ({"query": 3}, 422, "query"),
    ({"query": "a", "limit": 3}, 422, "limit"),
]


@pytest.mark.parametrize(("request_", "status", "part"), WRONG)
def test_what_cannot_be_asked_is_told(client, request_, status, part):
    if status == 200:
        ask(client, **request_)
        return
    error = refused(client, status, **request_)
    assert part in error["message"]
    assert error["type"] == ("not_found" if status == 404 else "invalid_request")


BODIES = [
    (b"", 422, "Field required"),
    (b"{", 400, "no JSON"),
    (b'{"query": "a"', 400, "no JSON"),
    (b"[]", 422, "see /openapi.json"),
    (b'"query"', 422, "see /openapi.json"),
    (b"null", 422, "see /openapi.json"),
    (b'{"query": "a", "alpha": NaN}', 400, "NaN"),
    (b'{"query": "a", "alpha": -Infinity}', 400, "-Infinity"),
    (b'{"query": "a", "alpha": 1e999}', 400, "too large"),
    (b'{"query": "a", "k": ' + b"1" * 5_000 + b"}", 400, "digits"),
    (b'{"query": "\xff"}', 400, "UTF-8"),
    (b'{"query": "\\ud800"}', 400, "surrogate"),
    (b'{"query": "a", "where": {"lang": "\\udfff"}}', 400, "surrogate"),
    (b'{"query": "a", "where": ' + b'{"$not": ' * 40 + b"1" + b"}" * 41, 400, "32 deep"),
    (b"[" * 100_000, 400, "deep"),
    (b'{"query": "a"} {}', 400, "Extra data"),
]


@pytest.mark.parametrize(("body", "status", "part"), BODIES, ids=[repr(body[:30]) for body, _, _ in BODIES])
def test_bodies_that_are_no_json(client, body, status, part):
    response = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    assert part in response.json()["error"]["message"]


def test_a_pair_of_surrogates_is_a_character(client):
    body = b'{"query": "wine \\ud83c\\udf77"}'
    response = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200
    assert response.json()["query"] == "wine 🍷"


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_other_kinds_of_bodies(client, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    response = client.post("/v1/search", content=b'{"query": "a"}', headers=headers)
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"])
def test_json_by_its_other_names(client, kind):
    response = client.post("/v1/search", content=b'{"query": "a"}', headers={"Content-Type": kind})
    assert response.status_code == 200


def test_what_is_served_is_told(client, retriever):
    (told,) = client.get("/v1/indexes").json()["indexes"]
    assert (told["name"], told["documents"], told["generation"]) == ("small", 36, 1)
    assert told["tokens"] == retriever.index.n_tokens
    assert told["bytes"] == retriever.index.size
    assert (told["storage"], told["dimensions"]) == ("4 bits, grid", retriever.index.dim)
    assert told["encoder"]["fingerprint"] == retriever.encoder.identity.fingerprint
    assert told["metadata_fields"] == ["lang", "number"]
    assert (told["split"], told["reranker"]) == (True, None)


def test_documents_by_id(client):
    told = client.get("/v1/documents/d/3").json()
    assert told["text"].startswith("Passage number 3 is about code.")
    assert (told["id"], told["metadata"], told["part"]) == ("d/3", {"lang": "en", "number": 3}, None)
    assert (told["index"], told["generation"]) == ("small", 1)
    several = client.get("/v1/documents", params={"id": ["d/3", "d/1"], "document": "d/2"}).json()
    assert [one["id"] for one in several["passages"]] == ["d/3", "d/1", "d/2"]
    assert several["passages"][0] == {name: told[name] for name in ("id", "text", "metadata", "part")}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/documents/nope", 404),
        ("/v1/documents/%00", 404),
        ("/v1/documents/d/3?index=other", 404),
        ("/v1/documents/d/3/../../../../etc/passwd", 404),
        ("/v1/documents/..%2f..%2fetc%2fpasswd", 404),
        ("/v1/documents?id=nope", 404),
        ("/v1/documents?document=nope", 404),
        ("/v1/documents", 400),
        ("/v1/jobs/../small", 404),
        ("/v1/jobs/" + "0" * 32, 404),
        ("/nothing", 404),
        ("/v1/search", 405),
    ],
)
def test_paths_that_lead_nowhere(client, path, status):
    response = client.get(path)
    assert response.status_code == status, response.text
    assert response.json()["error"]["type"] == ("not_found" if status == 404 else "invalid_request")


def test_where_several_are_served_one_is_named(reader):
    error = refused(reader, 400, query="a")
    assert "small, changing" in error["message"]
    assert ask(reader, query="a", index="small")["index"] == "small"
    assert len(reader.get("/v1/indexes").json()["indexes"]) == 2
    assert reader.get("/v1/documents/d/3", params={"index": "small"}).status_code == 200


def test_the_description_names_every_answer(client):
    described = client.get("/openapi.json").json()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert {"400", "401", "403", "404", "408", "413", "422", "500", "503", "504"} <= operation[
                "responses"
            ].keys(), (
                path,
                method,
            )
    assert "/v1/search" in described["paths"]


def test_answers_tell_browsers_to_be_careful(client):
    for path in ("/livez", "/nothing", "/v1/indexes"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


def test_keys_open_what_they_are_for(keyed):
    with keyed.client(READ) as client:
        assert client.get("/v1/indexes").status_code == 200
