"""Each limit at its place: an app in this process with small ones, and the parts that hold requests back."""

import asyncio
import shutil
import time
from contextlib import asynccontextmanager
from dataclasses import fields

import httpx
import pytest

from tests.serving.conftest import WRITE
from xtrkit.serving.app import create_app
from xtrkit.serving.jobs import Job, Jobs
from xtrkit.serving.problems import Problem
from xtrkit.serving.service import Service
from xtrkit.serving.settings import Limits, Settings

SMALL = Limits(
    k=5,
    depth=7,
    queries=2,
    query_characters=20,
    ids=2,
    documents=2,
    changes=0,
    streams=0,
    search_bytes=300,
    write_bytes=600,
    json_depth=3,
    header_bytes=500,
    body_seconds=0.2,
)
KEY = {"X-API-Key": WRITE}


def test_the_defaults_are_those_of_the_documentation():
    told = Limits()
    assert (told.k, told.depth, told.queries, told.query_characters) == (1_000, 10_000, 64, 8_192)
    assert (told.search_bytes, told.write_bytes, told.json_depth) == (1 << 20, 32 << 20, 32)
    assert (told.documents, told.ids, told.inline_documents, told.inline_characters) == (10_000, 10_000, 128, 200_000)
    assert (told.changes, told.waiting_characters, told.queue, told.streams) == (256, 64_000_000, 64, 64)
    assert (told.header_bytes, told.connections) == (32 << 10, 512)
    assert (told.header_seconds, told.body_seconds, told.body_pace) == (3.0, 3.0, 16 << 10)
    assert (told.deadline_seconds, told.write_seconds, told.stop_seconds, told.job_seconds) == (30.0, 30.0, 10.0, 600.0)


def test_settings_travel_as_json():
    settings = Settings(indexes=("a/b", "c"), port=0, allow_hosts=("x.example",), limits=SMALL, log_queries=True)
    assert Settings.of_json(settings.as_json()) == settings
    assert len(fields(Settings)) == len(vars(settings))


@asynccontextmanager
async def small_app(index, tmp_path, limits=SMALL):
    key = tmp_path / "key"
    key.write_text(WRITE)
    key.chmod(0o600)
    app = create_app(Settings(indexes=(str(index),), write_key_file=str(key), limits=limits, threads=1))
    async with app.router.lifespan_context(app):
        while not app.state.service.ready:
            await asyncio.sleep(0.02)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield app, client


REFUSED = [
    ({"query": "a", "k": 6}, 400, "k must be 5 at most"),
    ({"query": "a", "k": 5, "offset": 3}, 400, "offset + k must be 7 at most, got 8"),
    ({"queries": ["a", "b", "c"], "k": 1}, 400, "1 to 2 queries"),
    ({"query": "a" * 21, "k": 1}, 400, "20 characters at most, got 21"),
    ({"query": "a", "k": 1, "subset": ["d/1", "d/2", "d/3"]}, 400, "2 ids at most"),
    ({"query": "a", "where": {"$and": [{"$not": {}}]}}, 400, "more than 3 deep"),
    ({"query": "a", "imputation": "0." + "0" * 300}, 413, "300 bytes at most"),
]
LET_THROUGH = [
    {"query": "a", "k": 5, "offset": 2},
    {"queries": ["a", "b"], "k": 5},
    {"query": "a" * 20, "k": 5},
    {"query": "a", "k": 5, "subset": ["d/1", "d/2"]},
    {"query": "a", "k": 5, "where": {"$not": {"lang": "en"}}},
]


def test_limits_of_requests(made_index, tmp_path):
    async def run():
        async with small_app(made_index, tmp_path) as (_, client):
            for request, status, part in REFUSED:
                response = await client.post("/v1/search", json=request)
                assert response.status_code == status, (request, response.text)
                assert part in response.json()["error"]["message"]
                assert response.json()["error"]["type"] == ("too_large" if status == 413 else "invalid_request")
            for request in LET_THROUGH:
                assert (await client.post("/v1/search", json=request)).status_code == 200, request
            response = await client.get("/livez", headers={"X": "a" * 500})
            assert (response.status_code, response.json()["error"]["type"]) == (431, "too_large")
            response = await client.get("/v1/documents", params={"id": ["d/1", "d/2", "d/3"]})
            assert "1 to 2 passages" in response.json()["error"]["message"]

    asyncio.run(run())


def test_limits_of_changes(made_index, tmp_path):
    async def run():
        async with small_app(made_index, tmp_path) as (app, client):
            for documents, status, part in [
                (["a", "b", "c"], 400, "1 to 2 documents, got 3"),
                (["a" * 600], 413, "600 bytes at most"),
                (["a" * 400], 503, "0 changes wait already"),
            ]:
                response = await client.post("/v1/documents", json={"documents": documents}, headers=KEY)
                assert response.status_code == status, response.text
                assert part in response.json()["error"]["message"]
                assert ("Retry-After" in response.headers) == (status == 503)
            response = await client.request("DELETE", "/v1/documents", json={"ids": ["a", "b", "c"]}, headers=KEY)
            assert "2 ids at most, got 3" in response.json()["error"]["message"]
            job = Job("small").published(app.state.writes.jobs)
            assert (await client.get(job["url"])).json()["status"] == "waiting"
            response = await client.get(f"{job['url']}/events")
            assert (response.status_code, response.headers["Retry-After"]) == (503, "5")

    asyncio.run(run())


def test_another_writer_that_does_not_end(made_index, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made_index, copy)

    async def run():
        async with small_app(copy, tmp_path, Limits(deadline_seconds=1.0, job_seconds=0.5)) as (app, client):
            with app.state.service.index().retriever.index.writer():
                add = {"documents": [{"id": "late", "text": "It comes too late."}]}
                response = await client.post("/v1/documents", json=add, headers=KEY)
                assert (response.status_code, response.json()["error"]["type"]) == (409, "conflict")
                job = (await client.post("/v1/documents", json={**add, "wait": False}, headers=KEY)).json()["job"]
                while job["status"] in ("waiting", "running"):
                    await asyncio.sleep(0.05)
                    job = (await client.get(job["url"])).json()
                assert (job["status"], job["error"]["type"]) == ("failed", "conflict")
            told = await client.post("/v1/documents", json=add, headers=KEY)
            assert told.json()["added"] == 1

    asyncio.run(run())


def test_what_is_not_through_at_its_deadline_is_a_job(made_index, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made_index, copy)

    async def run():
        async with small_app(copy, tmp_path, Limits(deadline_seconds=0.001)) as (_, client):
            add = {"documents": [{"id": "slow", "text": "It takes longer than that."}]}
            response = await client.post("/v1/documents", json=add, headers=KEY)
            assert response.status_code == 202
            assert response.headers["Location"] == response.json()["job"]["url"]
            job = response.json()["job"]
            while job["status"] in ("waiting", "running"):
                await asyncio.sleep(0.05)
                job = (await client.get(job["url"])).json()
            assert job["status"] == "done"

    asyncio.run(run())


def test_a_body_that_stops_half_way(made_index, tmp_path):
    async def half():
        yield b'{"query"'
        await asyncio.sleep(1.5)
        yield b': "a"}'

    async def run():
        async with small_app(made_index, tmp_path) as (_, client):
            headers = {"Content-Type": "application/json", "Content-Length": "14"}
            response = await client.post("/v1/search", content=half(), headers=headers)
            assert (response.status_code, response.json()["error"]["type"]) == (408, "timeout")
            assert "8 bytes came in 0.2 s" in response.json()["error"]["message"]

    asyncio.run(run())


def service_with(**limits):
    return Service(Settings(indexes=("some/index",), threads=1, limits=Limits(**limits)))


def test_a_full_queue_is_told_at_once_and_empties():
    async def run():
        service = service_with(queue=1)
        at_work = [asyncio.create_task(service.run(time.sleep, 0.3)) for _ in range(2)]
        await asyncio.sleep(0.05)
        begin = time.monotonic()
        with pytest.raises(Problem) as refused:
            await service.run(time.sleep, 0)
        assert time.monotonic() - begin < 0.2
        assert (refused.value.status_code, refused.value.kind) == (503, "overloaded")
        assert refused.value.headers["Retry-After"] == "1"
        await asyncio.gather(*at_work)
        await asyncio.sleep(0.05)
        assert service.in_flight == 0
        assert await service.run(len, "abc") == 3

    asyncio.run(run())


def test_what_waits_too_long_never_begins():
    async def run():
        service, begun = service_with(deadline_seconds=0.2, queue=8), []
        working = asyncio.create_task(service.run(time.sleep, 0.6))
        late = asyncio.create_task(service.run(begun.append, 1))
        for task in (working, late):
            with pytest.raises(Problem) as refused:
                await task
            assert (refused.value.status_code, refused.value.kind) == (504, "timeout")
        await asyncio.sleep(0.05)
        assert service.in_flight == 1  # the thread can't be stopped: its place is taken until it ends
        await asyncio.sleep(0.7)
        assert begun == []
        assert service.in_flight == 0

    asyncio.run(run())


def test_before_the_indexes_are_opened(made_index):
    async def run():
        app = create_app(Settings(indexes=(str(made_index),)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            assert (await client.get("/livez")).status_code == 200
            for method, path in (
                ("GET", "/readyz"),
                ("GET", "/health"),
                ("GET", "/v1/indexes"),
                ("POST", "/v1/search"),
            ):
                response = await client.request(method, path, json={"query": "a"} if method == "POST" else None)
                assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
            app.state.service.failure = OSErrorLike("It is damaged.")
            response = await client.get("/readyz")
            assert (response.status_code, response.json()["error"]["message"]) == (503, "It is damaged.")

    from xtrkit.errors import IndexDamagedError as OSErrorLike

    asyncio.run(run())


def test_jobs_are_forgotten_after_an_hour(tmp_path, monkeypatch):
    jobs = Jobs(tmp_path)
    old = Job("small").published(jobs)
    monkeypatch.setattr("xtrkit.serving.jobs.KEPT_SECONDS", -1.0)
    new = Job("small")
    new.published(jobs)
    assert jobs.read(old["id"]) is None
    assert jobs.read(new.id)["id"] == new.id
    for name in ("../x", "", "a" * 32, f"{new.id}\n", new.id.upper() + "g"):
        assert jobs.read(name) is None


def test_cors_is_for_the_sites_that_were_named(made_index):
    async def run():
        settings = Settings(indexes=(str(made_index),), allow_origins=("https://a.example",))
        app = create_app(settings)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
            response = await client.options("/v1/search", headers=asked)
            assert response.status_code == 200
            assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
            other = await client.options("/v1/search", headers={**asked, "Origin": "https://b.example"})
            assert "Access-Control-Allow-Origin" not in other.headers
            told = await client.get("/livez", headers={"Origin": "https://a.example"})
            assert told.headers["Access-Control-Allow-Origin"] == "https://a.example"

    asyncio.run(run())
