"""Running the server: starting, stopping, several processes, figures and logs."""

import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from tests.serving.conftest import WRITE
from tests.serving.server import Server
from xtrkit import Index, Retriever

BATCH = {"queries": [f"Who wrote passage number {number} about horses?" for number in range(24)]}


def metric(text, name):
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_figures_for_prometheus(client):
    before = client.get("/metrics").text
    assert client.post("/v1/search", json={"query": "bread"}).status_code == 200
    assert client.post("/v1/search", json={"query": ""}).status_code == 400
    response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    after = response.text

    def more(name):
        return metric(after, name) - metric(before, name)

    assert more('xtrkit_requests_total{method="POST",route="/v1/search",status="200"}') == 1
    assert more('xtrkit_requests_total{method="POST",route="/v1/search",status="400"}') == 1
    assert more('xtrkit_request_seconds_count{route="/v1/search"}') == 2
    for stage in ("encode", "codes", "passages"):
        assert more(f'xtrkit_stage_seconds_count{{stage="{stage}"}}') == 1
    assert metric(after, 'xtrkit_index_documents{index="small"}') == 36
    assert metric(after, 'xtrkit_index_generation{index="small"}') == 1
    assert metric(after, 'xtrkit_index_bytes{index="small"}') > 10_000
    assert metric(after, "xtrkit_requests_in_flight") >= 1  # the one that asks


def test_paths_that_are_none_are_one_figure(client):
    for number in range(3):
        client.get(f"/no/{number}")
    text = client.get("/metrics").text
    assert 'route="(none)"' in text
    assert "/no/1" not in text
    assert "d/3" not in text


def last_line(server, **wanted):
    for _ in range(100):
        for line in reversed(server.log):
            if all(line.get(name) == value for name, value in wanted.items()):
                return line
        time.sleep(0.05)
    raise AssertionError(f"no line with {wanted}")


def test_a_line_a_request(server, client):
    told = client.post("/v1/search", json={"query": "a secret question", "k": 3}, headers={"X-Request-ID": "mine.1"})
    assert told.headers["X-Request-ID"] == "mine.1"
    line = last_line(server, id="mine.1")
    assert (line["event"], line["level"], line["method"], line["route"]) == ("request", "info", "POST", "/v1/search")
    assert (line["status"], line["index"], line["generation"], line["hits"]) == (200, "small", 1, 3)
    assert line["ms"] >= sum(line["stages_ms"].values()) > 0
    assert line["time"].endswith("+00:00")
    client.get("/v1/documents/d/3", headers={"X-Request-ID": "mine.2"})
    assert last_line(server, id="mine.2")["route"] == "/v1/documents/{id:path}"
    text = server.log_file.read_text()
    assert "secret" not in text
    assert "d/3" not in text


@pytest.mark.parametrize("identifier", ["a b", "a" * 65, "a;b", "é", ""])
def test_ids_that_could_be_something_else_are_replaced(client, identifier):
    told = client.get("/livez", headers={"X-Request-ID": identifier.encode()}).headers["X-Request-ID"]
    assert told != identifier
    assert len(told) == 32


@pytest.fixture(scope="module")
def pair(made_index, tmp_path_factory):
    """Two processes that serve one index, which can be changed."""
    directory = tmp_path_factory.mktemp("pair")
    shutil.copytree(made_index, directory / "pair")
    options = ("--workers", 2, "--threads", 1, "--log-queries", "--allow-host", "search.example")
    with Server(directory, directory / "pair", *options, write_key=WRITE) as running:
        running.index = directory / "pair"
        yield running


def test_two_processes_serve_and_write_one_index(pair):
    def add(number):
        documents = [{"id": f"p/{number}", "text": f"Number {number} of a pair."}]
        with pair.client(WRITE) as client:  # a connection of its own, so that either process may get it
            response = client.post("/v1/documents", json={"documents": documents, "wait": number % 4 != 0})
            assert response.status_code in (200, 202), response.text
            if response.status_code == 200:
                return
            url = response.json()["job"]["url"]
        for _ in range(600):
            with pair.client() as client:
                response = client.get(url)
            assert response.status_code == 200, response.text
            if response.json()["status"] == "done":
                return
            time.sleep(0.05)
        raise AssertionError(response.text)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    with Index.open(pair.index) as index:
        assert {f"p/{number}" for number in range(12)} <= set(index.ids())
        assert index.verify(full=True).ok
        newest = index.generation
    time.sleep(1.5)  # two looks for new generations
    for _ in range(6):
        with pair.client() as client:
            told = client.post("/v1/search", json={"query": "a pair", "k": 3}).json()
        assert told["generation"] == newest


def test_queries_are_logged_where_asked(pair):
    with pair.client() as client:
        client.post("/v1/search", json={"queries": ["first", "second"]}, headers={"X-Request-ID": "logged"})
        assert client.get("/livez", headers={"Host": "search.example"}).status_code == 200
    assert last_line(pair, id="logged")["queries"] == ["first", "second"]


def test_two_processes_stop_together(pair):
    assert pair.stop() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{pair.url}/livez")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_what_is_at_work_is_done(made_index, tmp_path, number):
    shutil.copytree(made_index, tmp_path / "stopping")
    with Server(tmp_path, tmp_path / "stopping", write_key=WRITE, wait=False) as server:
        assert httpx.get(f"{server.url}/livez", timeout=30).status_code == 200
        first = httpx.get(f"{server.url}/readyz", timeout=30)
        assert first.status_code == 200 or first.json()["error"]["type"] == "overloaded"
        assert "http://127.0.0.1:" in server.line
        assert "Serving stopping at" in server.line
        assert "no key is needed; adding and deleting need the write key" in server.line
        server.wait_ready()
        many = {"documents": [{"id": f"s/{n}", "text": f"Number {n}. " * 40} for n in range(1_000)], "wait": False}
        with server.client(WRITE) as client, ThreadPoolExecutor(2) as pool:
            url = client.post("/v1/documents", json=many).json()["job"]["url"]
            following = threading.Event()

            def follow():
                with client.stream("GET", f"{url}/events") as stream:
                    for _ in stream.iter_lines():
                        following.set()
                return stream.status_code

            stream = pool.submit(follow)
            assert following.wait(30)
            searching = pool.submit(httpx.post, f"{server.url}/v1/search", json=BATCH, timeout=60)
            while not searching.done() and "in_flight 3.0" not in client.get("/metrics").text:
                time.sleep(0.01)  # the stream, the search and this
            begin = time.monotonic()
            server.process.send_signal(number)
            assert searching.result().status_code == 200
            assert len(searching.result().json()["results"]) == 24
            assert stream.result() == 200
            assert server.stop(number=0) == 0
            assert time.monotonic() - begin < 25
    with Retriever.open(tmp_path / "stopping") as retriever:
        assert len(retriever) in (36, 1_036)
        assert retriever.verify(full=True).ok


def test_what_cannot_be_opened_ends_the_server(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(5, 8, 16)).astype(np.float32)
    Index.create(tmp_path / "bare", [list(vectors)], nbits=16).close()
    with Server(tmp_path, tmp_path / "bare", wait=False) as server:
        assert server.process.wait(100) == 1
    text = server.log_file.read_text()
    assert "Error: The index at" in text
    assert "pass the model that made them" in text
    assert "Traceback" not in text
    assert [line["level"] for line in server.log if line["event"] == "start"] == ["error"]


@pytest.mark.slow
def test_what_was_acknowledged_outlives_a_kill(made_index, tmp_path):
    shutil.copytree(made_index, tmp_path / "killed")
    acknowledged = set()
    for turn in range(5):
        with Server(tmp_path, tmp_path / "killed", write_key=WRITE) as server, server.client(WRITE) as client:
            killer = threading.Timer(0.5 + 0.3 * turn, server.process.kill)
            killer.start()
            try:
                for number in range(10_000):
                    name = f"k/{turn}/{number}"
                    response = client.post(
                        "/v1/documents", json={"documents": [{"id": name, "text": f"Text {number}."}]}
                    )
                    if response.status_code == 200:
                        acknowledged.add(name)
            except httpx.HTTPError:
                pass
            killer.join()
        with Index.open(tmp_path / "killed") as index:
            assert acknowledged <= set(index.ids())
    assert acknowledged
