"""A cluster under load: searches over HTTP, while shards are killed and new generations roll in.

    python benchmarks/cluster_soak.py INDEX DATASET --seconds 600 --kill-every 10 --roll-every 20 [--shards 3]

A server in front of shards on a Ray of this machine; clients ask one query after the other, with and without filters
and fusion. Each answer names its generation, and must be what the one index of that generation answers: the same
documents, the same scores to the last bit. Nothing may be lost or wrong, and each answer come within ten seconds.
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx

from xtrkit import Retriever
from xtrkit.cluster.splitting import split_index
from xtrkit.evaluation.beir import read_test_collection

KEY = "soak-key"
WAYS = [{}, {"fusion": "rrf"}, {"where": {"even": True}}, {"k": 3, "explain": True}]
CHANGED = 25
"""Passages that a roll replaces."""


class Expected:
    """What the one index of each generation answers."""

    def __init__(self, path, texts):
        self._path, self._texts, self._lock = path, texts, threading.Lock()
        self._of = {}
        self.opened = [Retriever.open(path)]  # which keeps its files

    def note(self):
        """Open the generation that is the newest now."""
        with self._lock:
            self.opened.append(Retriever.open(self._path))

    def answer(self, generation, query, way):
        """(id, score) of each hit."""
        with self._lock:
            one = next((one for one in self.opened if one.index.generation == generation), None)
            if one is None:
                return None
            key = generation, query, way
            if key not in self._of:
                asked = dict(WAYS[way])
                asked.pop("explain", None)
                hits = one.search(self._texts[query], asked.pop("k", 10), **asked)
                self._of[key] = [(hit.id, hit.score) for hit in hits]
            return self._of[key]


def actors(server):
    """The processes of shards that come of a process."""
    parents, shards = {}, []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if (entry / "cmdline").read_bytes().startswith(b"ray::_ShardActor"):
                    shards.append(int(entry.name))
        except OSError:
            continue
    return [shard for shard in shards if comes_of(shard, server, parents)]


def comes_of(process, ancestor, parents):
    """Whether a process is a child of another, or a child of one."""
    while process not in (ancestor, 0, 1, None):
        process = parents.get(process)
    return process == ancestor


def ask(url, texts, expected, ended, told):
    """Ask until the end; one client."""
    chance = random.Random(threading.get_ident())
    with httpx.Client(base_url=url, timeout=60) as client:
        while not ended.is_set():
            query, way = chance.randrange(len(texts)), chance.randrange(len(WAYS))
            begin = time.monotonic()
            try:
                answer = client.post("/v1/search", json={"query": texts[query], "k": 10, **WAYS[way]})
            except httpx.HTTPError as error:
                told["lost"].append(f"{type(error).__name__}: {error}")
                continue
            told["seconds"].append(time.monotonic() - begin)
            if answer.status_code != 200:
                told["refused"].append(answer.text[:300])
                continue
            found = answer.json()
            told["answers"].append(
                (found["generation"], query, way, [(hit["id"], hit["score"]) for hit in found["hits"]])
            )


def check(told, expected):
    """Compare answers as they come in; those of a generation that is not noted yet wait."""
    waiting, answers = [], told["answers"]
    while answers:
        generation, query, way, hits = answers.pop()
        wanted = expected.answer(generation, query, way)
        if wanted is None:
            waiting.append((generation, query, way, hits))
        elif wanted == hits:
            told["right"][generation] += 1
        else:
            told["wrong"].append((generation, query, way))
    answers.extend(waiting)


def roll(client, number, expected):
    """Replace some passages, and delete one of them: two generations."""
    documents = [
        {
            "id": f"soak/{place}",
            "text": f"Roll {number}: {WORDS[(place + number) % len(WORDS)]} {place}",
            "metadata": {"even": place % 2 == 0},
        }
        for place in range(CHANGED)
    ]
    for method, body in (
        ("POST", {"documents": documents, "wait": True}),
        ("DELETE", {"ids": [f"soak/{number % 20}"]}),
    ):
        answer = client.request(method, "/v1/documents", json=body)
        assert answer.status_code == 200, answer.text
        expected.note()


WORDS = ["harbour", "lantern", "glacier", "meadow", "copper", "violin", "orchard", "falcon", "cellar", "bridge"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--kill-every", type=float, default=0, help="seconds; 0 for never")
    parser.add_argument("--roll-every", type=float, default=0, help="seconds; 0 for never")
    arguments = parser.parse_args()
    texts = list(read_test_collection(arguments.dataset).queries.values())[: arguments.queries]
    texts += [f"{word} of the roll" for word in WORDS]
    with tempfile.TemporaryDirectory() as folder:
        path, key = Path(folder) / "cluster", Path(folder) / "write.key"
        split_index(arguments.index, path, arguments.shards)
        with Retriever.open(path) as one:
            one.add(
                [
                    {"id": f"soak/{place}", "text": f"Passage {place}", "even": place % 2 == 0}
                    for place in range(CHANGED)
                ]
            )
        key.write_text(KEY)
        key.chmod(0o600)
        command = [sys.executable, "-m", "xtrkit", "cluster", "serve", path, "--address", "local", "--port", "0",
                   "--replicas", arguments.replicas, "--write-key-file", key]  # fmt: skip
        log = (Path(folder) / "log").open("w")
        server = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            soak(arguments, server, path, texts)
        finally:
            shards, begin = actors(server.pid), time.monotonic()
            server.terminate()
            server.wait(120)
            left = [shard for shard in shards if Path(f"/proc/{shard}").exists()]
            print(f"stopped in {time.monotonic() - begin:.1f} s; processes of shards left: {len(left)}")
            errors = [line for line in (Path(folder) / "log").read_text().splitlines() if '"level": "error"' in line]
            print(f"errors in the server's log: {len(errors)}", *errors[:3], sep="\n")


def soak(arguments, server, path, texts):
    """The load, and what goes on meanwhile."""
    url = re.search(r"http://\S+?:\d+/", server.stdout.readline())[0]
    expected = Expected(path, texts)
    told = {"answers": [], "seconds": [], "lost": [], "refused": [], "wrong": [], "right": Counter()}
    with httpx.Client(base_url=url, timeout=120, headers={"Authorization": f"Bearer {KEY}"}) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.2)
        ended = threading.Event()
        clients = [
            threading.Thread(target=ask, args=(url, texts, expected, ended, told)) for _ in range(arguments.clients)
        ]
        for thread in clients:
            thread.start()
        begin, chance = time.monotonic(), random.Random(0)
        next_kill, next_roll = arguments.kill_every or 1e9, arguments.roll_every or 1e9
        kills = rolls = 0
        while (now := time.monotonic() - begin) < arguments.seconds:
            if now >= next_kill and (running := actors(server.pid)):
                os.kill(chance.choice(running), signal.SIGKILL)
                kills, next_kill = kills + 1, next_kill + arguments.kill_every
            if now >= next_roll:
                roll(client, rolls, expected)
                rolls, next_roll = rolls + 1, next_roll + arguments.roll_every
            check(told, expected)
            time.sleep(0.05)
        ended.set()
        for thread in clients:
            thread.join(120)
        check(told, expected)
        generations = json.dumps(dict(told["right"]))
    seconds = sorted(told["seconds"])
    print(
        f"{arguments.seconds:.0f} s, {arguments.clients} clients, {arguments.shards} shards x {arguments.replicas}, "
        f"{kills} kills, {rolls} rolls: {sum(told['right'].values())} right, {len(told['wrong'])} wrong, "
        f"{len(told['answers'])} of a generation that nobody made, {len(told['lost'])} lost, "
        f"{len(told['refused'])} refused; "
        f"p50 {1000 * statistics.median(seconds):.0f} ms, p99 {1000 * seconds[int(0.99 * len(seconds))]:.0f} ms, "
        f"longest {seconds[-1]:.1f} s; right by generation {generations}"
    )
    print(*told["wrong"][:3], *told["lost"][:3], *told["refused"][:3], sep="\n")


if __name__ == "__main__":
    main()
