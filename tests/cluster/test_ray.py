"""Sessions of Ray: three shards as actors answer as the index does, killed or not, and leave nothing behind."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.commands import in_text
from tests.conftest import ROOT
from tests.serving.server import WORDS, passages
from xtrkit import COLBERT, COLXTR, XTR, Retriever
from xtrkit.cluster import places
from xtrkit.cluster.cluster import Cluster
from xtrkit.cluster.ray_session import NAMESPACE
from xtrkit.cluster.ray_shards import RayGeneration, actor_name
from xtrkit.cluster.rebalancing import rebalance
from xtrkit.cluster.splitting import split_index
from xtrkit.errors import IndexFormatError, InputError, ShardDownError
from xtrkit.serving.app import create_app
from xtrkit.serving.settings import Settings
from xtrkit.storage.generations import WriterLock
from xtrkit.storage.shards import read_cluster
from xtrkit.storage.transport.pushing import push

QUERIES = [f"which passage tells of {word}?" for word in WORDS] + [
    "who wrote it?", "a king of the north", "nobody wrote it down", "number 7", "bread and wine", "stars over rivers",
    "passage number 12", "what is written of code and ink",
]  # fmt: skip
WAYS = [
    {"explain": True},
    {"recipe": COLBERT},
    {"recipe": COLXTR},
    {"recipe": XTR.but(k_prime=20, nprobe=2), "explain": True},
    {"recipe": XTR.but(imputation="none")},
    {"recipe": XTR.but(nprobe="all", imputation="found")},
    {"where": {"lang": "de"}, "explain": True},
    {"subset": ["d/1", "d/2", "d/30"], "where": {"number": {"$lt": 9}}},
    {"fusion": "rrf"},
    {"facets": ["lang"]},
]


def told(hits):
    return [(hit.id, hit.score.hex(), hit.text, hit.metadata, hit.matches) for hit in hits], hits.facets


def pids(cluster):
    """The processes of the shards."""
    shards = cluster._shards
    return [pid_of(shards._ray, shards._actors[replica]) for replica in sorted(shards._actors)]


def pid_of(ray, actor):
    """The process of an actor, which may be about to be started again."""
    while True:
        try:
            return ray.get(actor.__ray_call__.remote(lambda host: os.getpid()))
        except ray.exceptions.ActorUnavailableError:
            time.sleep(0.05)


def kill(pid):
    """Kill a process and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while lives(pid) and time.monotonic() < end:
        time.sleep(0.01)


def lives(pid):
    """Whether a process is there, and no zombie that nobody has waited for."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def descendants():
    """Processes that come of this one, dead ones left out: {number: command}."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and ") Z " not in (stat := (entry / "stat").read_text()):
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
                commands[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    found, last = {os.getpid()}, set()
    while found != last:
        last = set(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return {pid: commands[pid] for pid in found - {os.getpid()}}


@pytest.fixture
def handlers():
    """Ray takes signals over."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def world(tmp_path, handlers, monkeypatch):
    """An index, the cluster split from it, and what the index answers."""
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with Retriever.create(tmp_path / "idx", passages(60)) as made:
        made.delete(["d/5"])
    split_index(tmp_path / "idx", tmp_path / "shards", 3)
    with Retriever.open(tmp_path / "idx") as index:
        yield index, [[told(hits) for hits in index.search_batch(QUERIES, 10, **way)] for way in WAYS]


@pytest.mark.filterwarnings("default")  # of Ray's
def test_a_session(tmp_path, world, monkeypatch, capfd):
    """One test, so that there is one session whatever processes the tests are spread over: half a minute."""
    index, expected = world
    path, before = tmp_path / "shards", descendants()
    with Cluster.open(path, address="local") as cluster:
        ours = pids(cluster)
        assert len(set(ours)) == 3
        assert not set(ours) & set(before)
        the_same_answers(index, cluster, expected)
        errors_of_ours(index, cluster)
        shards_that_die(cluster, expected, monkeypatch)
        the_commands(path, tmp_path / "idx", cluster)
        over_http(path, cluster, expected[0])
        ours += pids(cluster)
    assert "raylet" not in capfd.readouterr().out  # Ray's own words about shards that died
    with pytest.raises(InputError, match="This cluster is closed: open it again"):
        cluster.search("q")
    nothing_is_left(ours, before)


@pytest.mark.slow  # a minute of two cores
@pytest.mark.filterwarnings("default")  # of Ray's
def test_a_longer_session(tmp_path, world, monkeypatch):
    """Replicas, exact vectors, a store, and new generations."""
    _, expected = world
    path, before = tmp_path / "shards", descendants()
    with Cluster.open(path, address="local") as cluster:
        ours = replicas_take_over(path, cluster, expected)
        ours += exact_vectors(tmp_path, cluster)
        ours += pushed_to_a_store(path, cluster, expected, monkeypatch)
        a_roll(path, cluster)
        ours += pids(cluster)
        other = Cluster.open(path, address="local")
    with other, Retriever.open(path) as one:  # the Ray goes with the last
        assert told(other.search(QUERIES[0])) == told(one.search(QUERIES[0]))
        ours += pids(other)
    other.close()
    nothing_is_left(ours, before)


def the_same_answers(index, cluster, expected):
    for way, answers in zip(WAYS, expected, strict=True):
        assert [told(hits) for hits in cluster.search_batch(QUERIES, 10, **way)] == answers, way
    assert [told(cluster.search(query, 10, **WAYS[0])) for query in QUERIES[:5]] == expected[0][:5]
    assert list(cluster.index.ids()) == list(index.index.ids())
    assert cluster.get(["d/7"]) == index.get(["d/7"])
    assert cluster.index.search_words("king of the north") == index.index.search_words("king of the north")
    assert cluster._shards.restarts == 0


def errors_of_ours(index, cluster):
    """Errors that a shard raises come as what they are, without a traceback of Ray's."""
    with pytest.raises(InputError) as raised:
        cluster.index._remote.shards.ask_those("passages", {1: ([10**6],)})
    assert str(raised.value).startswith("No document has the number 1000000: there are 0 to ")
    bad = [facts._replace(generation="one") for facts in read_cluster(cluster.index.path).shards]
    with pytest.raises(ShardDownError, match=r"Shard 0 can't be opened by its actor \(ValueError: .*same xtrkit"):
        RayGeneration(cluster._shards, bad).ask("ready", [()] * len(bad))
    for choices in ({"where": {"lenght": 4}}, {"where": {"number": "four"}}, {"subset": ["nobody"]}):
        with pytest.raises(InputError) as of_index:
            index.search("q", **choices)
        with pytest.raises(InputError) as of_cluster:
            cluster.search("q", **choices)
        assert str(of_cluster.value) == str(of_index.value)
    with pytest.raises(InputError, match="A query must be a text with something in it"):
        cluster.search(" ")


def shards_that_die(cluster, expected, monkeypatch):
    shards = cluster._shards
    kill(pids(cluster)[1])  # between searches
    assert told(cluster.search(QUERIES[0], 10, **WAYS[0])) == expected[0][0]
    assert shards.restarts == 1
    victims, ask = [pids(cluster)[2], pids(cluster)[0]], RayGeneration.ask

    def ask_and_kill(self, method, messages):
        if victims and method == ("score" if len(victims) == 2 else "look"):
            kill(victims.pop(0))  # the one that has looked already, and the one that is about to
        return ask(self, method, messages)

    monkeypatch.setattr(RayGeneration, "ask", ask_and_kill)
    assert [told(hits) for hits in cluster.search_batch(QUERIES, 10, **WAYS[0])] == expected[0]
    assert not victims
    monkeypatch.undo()
    assert shards.restarts == 3
    filtered = WAYS.index({"where": {"lang": "de"}, "explain": True})
    kill(pids(cluster)[0])
    assert [told(hits) for hits in cluster.search_batch(QUERIES, 10, **WAYS[filtered])] == expected[filtered]


def the_commands(path, index, cluster):
    """They meet the session that runs."""
    ran = in_text("cluster", "status", path, "--address", cluster._shards.address, "--json")
    assert ran.returncode == 0, ran.stderr
    found = [shard["replicas"] for shard in json.loads(ran.stdout)["shards"]]
    assert [[(one["answers"], one["restarts"], one["lag"]) for one in of_shard] for of_shard in found] == [
        [(True, 2, 0)], [(True, 1, 0)], [(True, 1, 0)]
    ]  # fmt: skip
    shown = in_text("cluster", "status", path, "--address", cluster._shards.address).stdout
    assert "1 of 1 answer" in shown
    answers = [in_text("search", one, QUERIES[0], "--explain", *more).stdout for one, more in (
        (index, ()), (path, ("--address", cluster._shards.address)),
    )]  # fmt: skip
    assert answers[0] == answers[1] != ""


def replicas_take_over(path, cluster, expected):
    """Where each shard has two, a search whose shard dies goes on with the other at once."""
    with Cluster.open(path, address=cluster._shards.address, replicas=2) as doubled:
        ours = pids(doubled)
        assert len(set(ours)) == 6
        for way, answers in zip(WAYS[:3], expected, strict=False):
            assert [told(hits) for hits in doubled.search_batch(QUERIES, 10, **way)] == answers
        for victim in (ours[0], ours[1]):  # both of one shard, one after the other has come back
            kill(victim)
            begin = time.monotonic()
            for query, answer in zip(QUERIES[:4], expected[0], strict=False):
                assert told(doubled.search(query, 10, **WAYS[0])) == answer
            assert time.monotonic() - begin < 10
            assert victim not in pids(doubled)
        return [*ours, *pids(doubled)]


def exact_vectors(folder, cluster):
    """Searched over shards as by one process that opens the cluster."""
    Retriever.create(folder / "exact", passages(24), nbits=16).close()
    split_index(folder / "exact", folder / "of-exact", 2)
    address = cluster._shards.address
    with Retriever.open(folder / "of-exact") as one, Cluster.open(folder / "of-exact", address=address) as shards:
        for way in (*WAYS[:2], WAYS[4], {"where": {"lang": "de"}}):
            answers = [told(hits) for hits in one.search_batch(QUERIES, 10, **way)]
            assert [told(hits) for hits in shards.search_batch(QUERIES, 10, **way)] == answers
        return pids(shards)


def pushed_to_a_store(path, cluster, expected, monkeypatch):
    """From a URL each machine pulls what it needs; a new generation is pushed there, and rolls in."""
    url, cache = f"file://{path.parent}/store/wiki", path.parent / "cache"
    push(path, url)
    with Cluster.open(url, address=cluster._shards.address, cache=cache) as pulled:
        ours = pids(pulled)
        assert not set(ours) & set(pids(cluster))
        assert [told(hits) for hits in pulled.search_batch(QUERIES, 10, **WAYS[0])] == expected[0]
        assert {entry.name for entry in cache.glob("*/*")} == {"codec", "shard-0000", "shard-0001", "shard-0002"}
        for change in (pulled.compact, pulled.verify, lambda: pulled.delete(["d/1"]), lambda: pulled.add(["text"])):
            with pytest.raises(InputError, match="is a cluster in a store, where it is searched and not changed"):
                change()
        shutil.copytree(path, path.parent / "changed")
        with Retriever.open(path.parent / "changed") as changed:
            changed.delete(["d/9"])
            push(path.parent / "changed", url)
            monkeypatch.setattr(places, "LISTED_S", 0)
            with ThreadPoolExecutor(1) as pool:
                with contextlib.ExitStack() as busy:  # as where pulling takes long
                    for directory in cache.glob("*/shard-*"):
                        busy.enter_context(WriterLock(directory))
                    moving = pool.submit(pulled.refresh)
                    time.sleep(2)
                    assert told(pulled.search(QUERIES[0], 10, **WAYS[0])) == expected[0][0]
                    assert not moving.done()
                assert moving.result(60)
            for query in QUERIES:
                assert told(pulled.search(query)) == told(changed.search(query))
    with pytest.raises(InputError, match="is in a store: pull it"):
        Cluster.open(url)
    with pytest.raises(IndexFormatError, match="There is no cluster and no index at"):
        Cluster.open(f"{url}-3", address=cluster._shards.address)
    return ours


def a_roll(path, cluster):
    """Changes, a shard that is split: the old generation is answered until the new one is everywhere."""
    old = cluster.index.snapshot()
    query = cluster.encode_queries([QUERIES[0]])[0]
    before = old.search(query)
    cluster.add([{"id": f"new/{number}", "text": f"{QUERIES[0]} It is {number}."} for number in range(40)])
    cluster.delete(["d/7"])
    assert cluster.index.generation == 3
    with Retriever.open(path) as one:
        assert [told(hits) for hits in cluster.search_batch(QUERIES, 10)] == [
            told(hits) for hits in one.search_batch(QUERIES, 10)
        ]
    assert rebalance(path, 1.01).split
    assert cluster.refresh()
    with Retriever.open(path) as one:
        assert [told(hits) for hits in cluster.search_batch(QUERIES, 10, explain=True)] == [
            told(hits) for hits in one.search_batch(QUERIES, 10, explain=True)
        ]
    ray, split = cluster._shards._ray, set(cluster._shards._actors)
    for _ in range(2):
        cluster.delete([next(cluster.index.ids())])
        assert rebalance(path, 1.01).split
        assert cluster.refresh()
    gone = min(split - set(cluster._shards._actors))
    with pytest.raises(ValueError, match="Failed to look up actor"):
        ray.get_actor(actor_name(cluster._shards._place, gone), namespace=NAMESPACE)
    again = old.search(query)  # whose shards' actors are started again
    assert (again.ids, again.scores.tobytes()) == (before.ids, before.scores.tobytes())


def over_http(path, cluster, expected):
    """The same app in front of the same shards, many requests at a time, while a shard is killed."""
    from starlette.testclient import TestClient

    def ask(query):
        answer = client.post("/v1/search", json={"query": query, "k": 10})
        assert answer.status_code == 200, answer.text
        return [(hit["id"], hit["score"]) for hit in answer.json()["hits"]]

    settings = Settings((str(path),), address=cluster._shards.address, threads=32)
    wanted = {}
    for query, (hits, _) in zip(QUERIES, expected, strict=True):
        wanted[query] = [(identifier, float.fromhex(score)) for identifier, score, *_ in hits]
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        with ThreadPoolExecutor(16) as pool:
            asked = [*QUERIES, *QUERIES]
            futures = [pool.submit(ask, query) for query in asked]
            kill(pids(cluster)[1])
            for query, future in zip(asked, futures, strict=True):
                assert future.result(60) == wanted[query]
        told_of = client.get("/v1/indexes").json()["indexes"]
        assert (told_of[0]["documents"], told_of[0]["name"]) == (59, "shards")


def nothing_is_left(ours, before):
    """Neither children nor shards, which are nobody's children when the process that started them is gone."""
    end = time.monotonic() + 30
    while time.monotonic() < end and ((descendants().keys() - before.keys()) or any(map(lives, ours))):
        time.sleep(0.1)
    assert {pid: command for pid, command in descendants().items() if pid not in before} == {}
    assert [pid for pid in ours if lives(pid)] == []


@pytest.mark.slow  # starts a Ray with Serve, which takes a minute of two cores
def test_routers_of_serve(tmp_path):
    """By command: routers answer as the index does, and stop with everything that they started."""
    pytest.importorskip("ray.serve")
    Retriever.create(tmp_path / "idx", passages(60)).close()
    split_index(tmp_path / "idx", tmp_path / "shards", 3)
    before = descendants()
    command = [sys.executable, "-m", "xtrkit", "cluster", "serve", tmp_path / "shards", "--address", "local"]
    command += ["--port", "0", "--routers", "2"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as server:
        try:
            url = re.search(r"http://\S+?:\d+", server.stdout.readline())[0]
            with Retriever.open(tmp_path / "idx") as index:
                routers_answer(url, index)
            started = [pid for pid in descendants() if pid not in before]
        finally:
            server.terminate()
        assert server.wait(60) == 0
    nothing_is_left(started, before)


def routers_answer(url, index):
    with httpx.Client(base_url=url, timeout=60) as client:
        for query in QUERIES:
            answer = client.post("/v1/search", json={"query": query, "k": 5})
            found = [(hit["id"], hit["score"]) for hit in answer.json()["hits"]]
            assert found == [(hit.id, hit.score) for hit in index.search(query, 5)]
        assert client.post("/v1/search", json={"query": ""}).status_code == 400
        assert client.post("/v1/documents", json={"documents": ["a"]}).status_code == 403


@pytest.mark.slow  # starts a Ray
def test_the_readme(tmp_path, monkeypatch):
    """The commands of "Beyond one machine" as they are pasted; the shards' answer is that of the index."""
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    Retriever.create("xtrkit-demo", passages(30)).close()
    (lines,) = re.findall(r"Beyond one machine.*?```\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    split, *searches = [
        shlex.split(line.removeprefix("$ "))
        for line in lines.splitlines()
        if line.startswith("$ xtrkit") and "serve" not in line
    ]
    assert subprocess.run([sys.executable, "-m", *split], check=False).returncode == 0
    answers = [
        subprocess.run([sys.executable, "-m", *search], check=True, capture_output=True).stdout for search in searches
    ]
    assert answers[0] == answers[1] != b""
