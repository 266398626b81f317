"""Agents: the SDK's own client against ``xtrkit mcp`` on standard streams, and against a server's ``/mcp``."""

import json
import shutil
import subprocess
import sys

import anyio
import httpx
import httpx2
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from tests.commands import in_text
from tests.conftest import ROOT
from tests.serving.conftest import READ
from tests.serving.server import Server
from xtrkit import Retriever
from xtrkit.serving import agents, shelf
from xtrkit.serving.agents import agents_server
from xtrkit.serving.shelf import OpenedShelf

QUESTION = "who wrote about music?"
LONG = " ".join(f"Sentence {number} of a long report about glaciers." for number in range(60))


@pytest.fixture(scope="module")
def library(tmp_path_factory, made_index):
    """A second index: of files, one of which is cut, and of passages with an address and a title."""
    directory = tmp_path_factory.mktemp("library")
    folder = directory / "notes"
    folder.mkdir()
    (folder / "glaciers.txt").write_text(LONG)
    Retriever.create(directory / "notes-index", folder).close()
    with Retriever.open(directory / "notes-index") as retriever:
        retriever.add(
            [
                {"id": "web", "text": "Volcanoes erupt.", "url": "https://example.org/volcanoes"},
                {"id": "titled", "text": "It has a name.", "metadata": {"title": "Earthquakes"}},
            ]
        )
    return directory


def stdio(index, errlog):
    """``xtrkit mcp`` in a process of its own."""
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "xtrkit", "mcp", str(index)], env={"PYTHONPATH": str(ROOT / "src")}
    )
    return Client(stdio_client(command, errlog=errlog))


def opened(*indexes):
    """The same in this process."""
    return Client(agents_server(OpenedShelf({index.name: Retriever.open(index) for index in indexes})))


def spoken(client, *calls):
    """What tools answer to calls (name, arguments), in one session."""

    async def session():
        async with client as agent:
            return [await agent.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(session)


def text_of(result):
    """The one text item of an answer."""
    (item,) = result.content
    assert item.type == "text"
    return item.text


def refused(result):
    assert result.is_error
    return text_of(result)


@pytest.fixture(scope="module")
def talked(made_index, tmp_path_factory):
    """One session on standard streams: its answers by name, and what the server said on standard error."""
    log = tmp_path_factory.mktemp("stdio") / "log"

    async def session():
        with log.open("w") as errlog:
            return await conversation(errlog)

    async def conversation(errlog):
        async with stdio(made_index, errlog) as agent:
            told = {"tools": (await agent.list_tools()).tools}
            for name, tool, arguments in [
                ("search", "search", {"query": QUESTION}),
                ("few", "search", {"query": QUESTION, "k": 2, "where": {"lang": "de"}}),
                ("fetch", "fetch", {"id": "d/12"}),
                ("empty", "search", {"query": "  "}),
                ("missing", "fetch", {"id": "nope"}),
                ("nameless", "fetch", {"id": ""}),
                ("unknown", "search", {"query": "a", "limit": 3}),
                ("without", "search", {}),
                ("many", "search", {"query": "a", "k": 101}),
                ("field", "search", {"query": "a", "where": {"nope": 1}}),
                ("tool", "nope", {}),
            ]:
                told[name] = await agent.call_tool(tool, arguments)
            async with anyio.create_task_group() as group:
                told["parallel"] = []

                async def one(number):
                    told["parallel"].append((number, await agent.call_tool("search", {"query": f"about {number}"})))

                for number in range(20):
                    group.start_soon(one, number)
            return told

    return {**anyio.run(session), "log": log.read_text()}


def test_the_tools_are_what_connectors_require(talked):
    tools = {tool.name: tool for tool in talked["tools"]}
    assert sorted(tools) == ["fetch", "search"]
    assert tools["search"].input_schema["required"] == ["query"]
    assert tools["fetch"].input_schema["required"] == ["id"]
    assert all(tool.input_schema["additionalProperties"] is False for tool in tools.values())
    assert all(tool.annotations.read_only_hint for tool in tools.values())
    assert tools["search"].description.endswith("Metadata fields for where: lang, number.")
    assert set(tools["search"].input_schema["properties"]) == {"query", "k", "where"}
    shape = tools["search"].output_schema
    assert set(shape["properties"]) == {"results"}
    assert set(tools["fetch"].output_schema["properties"]) == {"id", "title", "text", "url", "metadata"}


def test_search_gives_exactly_the_shape(talked, made_index):
    answer = talked["search"]
    told = json.loads(text_of(answer))
    assert told == answer.structured_content
    assert set(told) == {"results"}
    assert all(set(one) == {"id", "title", "url"} for one in told["results"])
    with Retriever.open(made_index) as retriever:
        assert [one["id"] for one in told["results"]] == retriever.search(QUESTION).ids
    first = told["results"][0]
    assert first["url"] == f"xtrkit:small/{first['id']}"
    assert first["title"].startswith("Passage number")
    assert len(first["title"]) <= 81


def test_search_takes_more_where_it_is_given(talked, made_index):
    with Retriever.open(made_index) as retriever:
        expected = retriever.search(QUESTION, 2, where={"lang": "de"}).ids
    assert [one["id"] for one in talked["few"].structured_content["results"]] == expected


def test_fetch_gives_exactly_the_shape(talked):
    told = json.loads(text_of(talked["fetch"]))
    assert told == talked["fetch"].structured_content
    assert set(told) == {"id", "title", "text", "url", "metadata"}
    assert told["id"] == "d/12"
    assert told["text"].startswith("Passage number 12 is about music.")
    assert told["metadata"] == {"lang": "de", "number": 12}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "A query must be a text with something in it, got '  ': write what to look for."),
        ("missing", "has the id 'nope': call search, and fetch an id that it gives."),
        ("nameless", "An id is needed: give one that search gave."),
        ("unknown", "limit: Extra inputs are not permitted. Mend the arguments and call it again."),
        ("without", "query: Field required. Mend the arguments and call it again."),
        ("many", "k: Input should be less than or equal to 100. Mend"),
        ("field", "has the metadata field 'nope', which the filter names. There are 'lang', 'number'."),
        ("tool", "nope"),
    ],
)
def test_errors_tell_the_agent_what_to_do(talked, name, message):
    assert message in refused(talked[name])


def test_twenty_calls_at_a_time(talked):
    assert sorted(number for number, _ in talked["parallel"]) == list(range(20))
    assert all(len(answer.structured_content["results"]) == 10 for _, answer in talked["parallel"])


def test_nothing_but_the_protocol_is_said(talked, made_index):
    assert "Traceback" not in talked["log"]
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
    }
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}
    calls = [
        hello,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {**call, "params": {"name": "search", "arguments": {"query": "楽 " * 2000}}},  # which warns
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "xtrkit", "mcp", str(made_index)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for one in calls:
            process.stdin.write(json.dumps(one) + "\n")
        process.stdin.flush()
        said = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(20) == 0
    assert [one["id"] for one in said] == [1, 2]


def test_what_is_committed_is_found(made_index, tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "FRESH", 0)
    index = tmp_path / "growing"
    shutil.copytree(made_index, index)

    async def session():
        async with opened(index) as agent:
            before = await agent.call_tool("search", {"query": "zeppelins", "k": 1})
            with Retriever.open(index) as retriever:
                retriever.add([{"id": "new", "text": "Zeppelins float over the lake.", "sort": "craft"}])
            after = await agent.call_tool("search", {"query": "zeppelins", "k": 1})
            return before, after, (await agent.list_tools()).tools[0].description

    before, after, description = anyio.run(session)
    assert before.structured_content["results"][0]["id"] != "new"
    assert after.structured_content["results"][0]["id"] == "new"
    assert "lang, number, sort" in description


def test_several_indexes_files_and_addresses(made_index, library):
    found, of_one, other, whole, part, titled, plain = spoken(
        opened(made_index, library / "notes-index"),
        ("search", {"query": "glaciers or music", "k": 4}),
        ("search", {"query": "volcanoes", "k": 1, "index": "notes-index"}),
        ("search", {"query": "volcanoes", "index": "nope"}),
        ("fetch", {"id": "notes-index:glaciers.txt"}),
        ("fetch", {"id": "notes-index:glaciers.txt¶1"}),
        ("fetch", {"id": "notes-index:titled"}),
        ("fetch", {"id": "d/1"}),
    )
    ids = [one["id"] for one in found.structured_content["results"]]
    assert [identifier.partition(":")[0] for identifier in ids] == ["small", "notes-index"] * 2
    assert of_one.structured_content["results"] == [
        {"id": "notes-index:web", "title": "Volcanoes erupt.", "url": "https://example.org/volcanoes"}
    ]
    assert "There is no index 'nope': there are small, notes-index." in refused(other)
    file = (library / "notes" / "glaciers.txt").as_uri()
    assert whole.structured_content["url"] == part.structured_content["url"] == file
    assert "Sentence 59 of" in whole.structured_content["text"]
    assert "Sentence 59 of" not in part.structured_content["text"]
    assert part.structured_content["metadata"]["$document"] == "notes-index:glaciers.txt"
    assert titled.structured_content["title"] == "Earthquakes"
    assert "ids begin with the name of an index and a colon" in refused(plain)


def test_a_long_document_is_cut_and_says_so(library, monkeypatch):
    monkeypatch.setattr(agents, "LONGEST_TEXT", 500)
    (whole,) = spoken(opened(library / "notes-index"), ("fetch", {"id": "glaciers.txt"}))
    text = whole.structured_content["text"]
    assert text.startswith(LONG[:500] + "…")
    assert text.endswith("characters follow: search for passages of it.]")
    assert len(text) < 600


def test_what_nobody_thought_of_is_told_without_its_text(made_index, monkeypatch):
    def fail(*arguments, **named):
        raise RuntimeError("a secret path")

    monkeypatch.setattr(OpenedShelf, "search", fail)
    (answer,) = spoken(opened(made_index), ("search", {"query": "a"}))
    assert refused(answer).endswith("search failed on the server: try it again, and tell the user if that fails, too.")


# -- over HTTP -----------------------------------------------------------------------------------------------------


def test_a_server_has_them_too(server, made_index):
    found, fetched, empty, missing = spoken(
        Client(f"{server.url}/mcp"),
        ("search", {"query": QUESTION}),
        ("fetch", {"id": "d/12"}),
        ("search", {"query": ""}),
        ("fetch", {"id": "nope"}),
    )
    results = found.structured_content["results"]
    with Retriever.open(made_index) as retriever:
        assert [one["id"] for one in results] == retriever.search(QUESTION).ids
    assert json.loads(text_of(found)) == found.structured_content
    cited = httpx.get(fetched.structured_content["url"]).json()  # the address answers
    assert (cited["id"], cited["text"]) == ("d/12", fetched.structured_content["text"])
    assert "write what to look for" in refused(empty)
    assert "call search, and fetch an id that it gives" in refused(missing)


def test_twenty_calls_at_a_time_over_http(server):
    async def session():
        answers = []
        async with Client(f"{server.url}/mcp") as agent, anyio.create_task_group() as group:

            async def one(number):
                answers.append(await agent.call_tool("search", {"query": f"about {number}"}))

            for number in range(20):
                group.start_soon(one, number)
        return answers

    answers = anyio.run(session)
    assert [len(one.structured_content["results"]) for one in answers] == [10] * 20


def test_a_key_is_needed_where_one_is(keyed):
    async def session(key):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(f"{keyed.url}/mcp", http_client=http)) as agent,
        ):
            return await agent.call_tool("search", {"query": QUESTION, "k": 2})

    results = anyio.run(session, READ).structured_content["results"]
    assert [one["id"].partition(":")[0] for one in results] == ["small", "changing"]
    cited = httpx.get(results[1]["url"], headers={"X-API-Key": READ}).json()
    assert (cited["index"], f"changing:{cited['id']}") == ("changing", results[1]["id"])
    with pytest.raises(Exception, match=r"401|Unauthorized|unhandled errors"):
        anyio.run(session, None)
    assert httpx.post(f"{keyed.url}/mcp", json={}).status_code == 401


def test_requests_that_are_none(client):
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    assert client.post("/mcp", json=call, headers=accept).json()["result"]["tools"]
    assert client.post("/mcp", json=call, headers={**accept, "Host": "evil.example"}).status_code == 421
    assert client.get("/mcp").status_code == 405  # a stream would be held for ever
    assert client.delete("/mcp").status_code == 405
    assert client.post("/mcp", content=b"{", headers={**accept, "Content-Type": "application/json"}).status_code == 400
    large = client.post("/mcp", content=b" " * (2 << 20), headers={**accept, "Content-Type": "application/json"})
    assert large.status_code == 413


def test_the_command_serves_http_too(made_index, tmp_path):
    with Server(tmp_path, made_index, "--transport", "http", command="mcp") as running:
        assert "Agents ask at /mcp." in running.line
        (found,) = spoken(Client(f"{running.url}/mcp"), ("search", {"query": QUESTION, "k": 1}))
        assert len(found.structured_content["results"]) == 1


@pytest.mark.parametrize(
    "option", [("--port", "9"), ("--read-key-file", "f"), ("--allow-public",), ("--allow-host", "a")]
)
def test_standard_streams_have_no_address(made_index, option):
    ran = in_text("mcp", made_index, *option)
    assert ran.returncode == 1
    assert "neither an address nor a key: add --transport http" in ran.stderr


def test_what_is_no_index(tmp_path):
    ran = in_text("mcp", tmp_path / "nope")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "nope" in ran.stderr
