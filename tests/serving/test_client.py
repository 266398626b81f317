"""The client against a real server: what it gives is what a retriever gives."""

import asyncio
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.serving.conftest import READ, WRITE
from xtrkit import COLBERT, COLXTR, XTR, Retriever
from xtrkit.client import AsyncClient, Client
from xtrkit.conversation import AT_A_TIME, RETRIES
from xtrkit.errors import InputError, ServerError, XtrkitWarning
from xtrkit.passage import Part, Passage

QUESTIONS = ["who wrote about music?", "a passage about rivers", "bread of the north"]


class Awaiting:
    """The asynchronous client, each call of which is awaited: the same tests are for both."""

    def __init__(self, *arguments, **named):
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*arguments, **named)

    def __getattr__(self, name):
        return lambda *arguments, **named: self._loop.run_until_complete(
            getattr(self._client, name)(*arguments, **named)
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()


@pytest.fixture(params=[Client, Awaiting])
def kind(request):
    return request.param


@pytest.fixture
def asked(kind, server):
    with kind(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def here(made_index):
    with Retriever.open(made_index) as retriever:
        yield retriever


def same(found, expected):
    """Everything of an answer but what it took."""
    assert found.hits == expected.hits
    for name in ("query", "k_prime", "truncated", "unknown", "pieces", "generation", "fusion", "facets"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.seconds.keys() == expected.seconds.keys()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"k": 3, "explain": True},
        {"where": {"lang": "de"}},
        {"subset": ["d/3", "d/4"]},
        {"recipe": COLBERT},
        {"recipe": COLXTR, "explain": True},
        {"recipe": XTR.but(k_prime=20), "imputation": "none"},
        {"nprobe": "all", "reduction": "sum"},
        {"group_by_document": False},
        {"fusion": "rrf", "alpha": 0.5},
        {"facets": ["lang"]},
    ],
    ids=str,
)
def test_a_search_finds_what_a_retriever_finds(asked, here, how):
    same(asked.search(QUESTIONS[0], **how), here.search(QUESTIONS[0], **how))


def test_snippets_and_words_come_from_the_explanation(asked, here):
    found, expected = (one.search(QUESTIONS[0], 1, explain=True)[0] for one in (asked, here))
    assert found.snippet() == expected.snippet()
    assert found.snippet().matched


def test_a_batch_may_be_longer_than_a_request(asked, here):
    queries = [f"{QUESTIONS[place % 3]} {place}" for place in range(AT_A_TIME + 3)]
    found, expected = asked.search_batch(queries, 2), here.search_batch(queries, 2)
    assert len(found) == len(queries)
    for one, other in zip(found, expected, strict=True):
        same(one, other)


def test_reranking_is_the_same(asked, here):
    texts = ["nothing of it", "music is written by kings", "bread"]
    same(asked.rerank("who writes music?", texts), here.rerank("who writes music?", texts))
    given = [Passage("a", "bread", {"lang": "de"}), {"id": "b", "text": "music"}, ("c", "a king")]
    same(asked.rerank("who writes music?", given, 2), here.rerank("who writes music?", given, 2))
    with pytest.warns(XtrkitWarning, match="1 of 3 texts have nothing in them"):
        assert asked.rerank("music", ["a", "", "music"]).ids == ["2", "0"]


def test_passages_are_the_same(asked, here):
    names = [f"d/{number}" for number in (5, 0, 30)]
    assert asked.get(names) == here.get(names)
    assert asked.get(documents=["d/7"]) == here.get(documents=["d/7"])
    assert len(asked.get([f"d/{number % 36}" for number in range(AT_A_TIME + 1)])) == AT_A_TIME + 1
    assert asked.get() == []


def test_what_there_is(asked):
    (one,) = asked.indexes()
    assert (one["name"], one["documents"], one["metadata_fields"]) == ("small", 36, ["lang", "number"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda client: client.search(""), "A query must be a text with something in it"),
        (lambda client: client.search_batch("one text"), "Queries come as a list"),
        (lambda client: client.search_batch(["a", " "]), "A query must be a text with something in it"),
        (lambda client: client.search("a", 0), "k must be a whole number"),
        (lambda client: client.search("a", 10**6), "k must be 1,000 at most, got 1,000,000"),
        (
            lambda client: client.search("a", where={"nope": 1}),
            "No passage of this index has the metadata field 'nope'",
        ),
        (lambda client: client.search("a", subset=["nope"]), "No document of this index has the id 'nope'"),
        (lambda client: client.search("a", subset="d/1"), "A server takes a subset as a list of ids"),
        (lambda client: client.search("a", scoring="nope"), "Unknown scoring 'nope'"),
        (lambda client: client.search("a", nope=1), "nope: Extra inputs are not permitted"),
        (lambda client: client.search("a", recipe=XTR.but(rerank=10)), "does not rerank by MaxSim inside a search"),
        (lambda client: client.search("a", rerank_depth=10), "This server has no reranker"),
        (lambda client: client.get(["nope"]), "No document of this index has the id 'nope'"),
        (lambda client: client.get("d/1"), "Ids come as a list"),
        (lambda client: client.get([1]), "Ids must be strings, got 1 of type int"),
        (lambda client: client.rerank("a", ["b"], k=0), "k must be a whole number"),
        (lambda client: client.delete("d/1"), "Ids come as a list"),
        (lambda client: client.add([Passage("a", "b", None, Part("c", 0, 1))]), "'a' is a part of 'c'"),
        (lambda client: client.add([{"id": "a"}]), "text"),
    ],
)
def test_what_is_wrong_with_a_request_is_an_input_error(asked, call, message):
    with pytest.raises(InputError, match=message):
        call(asked)


def test_an_index_that_is_not_served(kind, server):
    with kind(server.url, index="other") as client, pytest.raises(InputError, match="No index 'other' is served"):
        client.search("a")


def test_keys_open_what_they_are_for(kind, keyed):
    with kind(keyed.url, index="small") as client, pytest.raises(ServerError, match="needs a key") as refused:
        client.search("a")
    assert (refused.value.status, refused.value.kind) == (401, "unauthorized")
    with kind(keyed.url, key=READ, index="changing") as client:
        assert len(client.search("a")) == 10
        with pytest.raises(ServerError, match="the write key") as refused:
            client.add(["a new text"])
        assert (refused.value.status, refused.value.kind) == (403, "forbidden")


def test_adding_and_deleting(kind, keyed):
    with kind(keyed.url, key=WRITE, index="changing") as client:
        before = client.indexes()[1]["documents"]
        added = client.add(
            [{"id": "client/1", "text": "Zeppelins float over the lake.", "tags": ("b", "a")}, "Nameless."]
        )
        assert (added.added, added.updated, added.read, added.documents) == (2, 0, 2, before + 2)
        assert added.ids[0] == "client/1"
        (passage,) = client.get(["client/1"])
        assert (passage.text, passage.metadata) == ("Zeppelins float over the lake.", {"tags": ["b", "a"]})
        found = client.search("zeppelins", 1)
        assert (found.ids, found.generation) == (["client/1"], added.generation)
        assert client.add([("client/1", "Balloons.")]).updated == 1
        deleted = client.delete(list(added.ids))
        assert (deleted.deleted, deleted.documents) == (2, before)
        assert client.delete(["client/1"], missing_ok=True).deleted == 0
        with pytest.raises(InputError, match="client/1"):
            client.delete(["client/1"])
        with pytest.raises(InputError, match="no ids to delete"):
            client.delete()


def test_what_takes_long_is_waited_for(kind, keyed):
    documents = [{"id": f"long/{number}", "text": f"Number {number} of a long list."} for number in range(300)]
    with kind(keyed.url, key=WRITE, index="changing") as client:
        assert client.add(documents).added == 300
        assert client.delete([one["id"] for one in documents]).deleted == 300


class Answering(HTTPServer):
    """A server that gives prepared answers, one after the other."""

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.asked = list(answers), 0
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        status, headers, body = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


BUSY = (503, {"Retry-After": "0"}, json.dumps({"error": {"type": "overloaded", "message": "Too much."}}).encode())
NOTHING = (200, {}, b'{"indexes": []}')


def test_a_server_without_room_is_asked_again(kind):
    with Answering(*[BUSY] * RETRIES, NOTHING) as busy, kind(busy.url) as client:
        assert client.indexes() == []
        assert busy.asked == RETRIES + 1


def test_but_not_for_ever(kind):
    with Answering(*[BUSY] * (RETRIES + 2)) as busy, kind(busy.url) as client:
        with pytest.raises(ServerError, match="Too much") as refused:
            client.indexes()
        assert (refused.value.status, refused.value.kind, busy.asked) == (503, "overloaded", RETRIES + 1)


def test_a_server_of_something_else(kind):
    with Answering((200, {}, b"<html>"), (404, {}, b"{}")) as other, kind(other.url) as client:
        for _ in range(2):
            with pytest.raises(ServerError, match="not as a server of xtrkit does: check the address"):
                client.indexes()


def test_no_server(kind):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with (
            kind(url) as client,
            pytest.raises(ServerError, match=f"No answer from {url}.*is the server running") as told,
        ):
            client.indexes()
        assert told.value.status is None


def test_a_server_that_does_not_answer(kind):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with kind(url, timeout=0.2) as client, pytest.raises(ServerError, match="did not answer in time") as told:
            client.indexes()
        assert told.value.kind == "timeout"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "", None])
def test_what_is_no_address(url):
    for kind in (Client, AsyncClient):
        with pytest.raises(InputError, match="begins with http"):
            kind(url)


def test_both_kinds_have_the_methods_of_a_retriever():
    methods = {"search", "search_batch", "rerank", "get", "add", "delete"}
    for kind in (Client, AsyncClient):
        assert methods <= {name for name in vars(kind) if not name.startswith("_")}
        assert all(getattr(kind, name).__doc__ for name in methods)
    assert methods <= set(dir(Retriever))
