"""What serving costs, and what a server stands: overhead of HTTP, load with commits, made-up requests, kills.

    python benchmarks/serving.py --index IDX --queries scifact/queries.jsonl --overhead
    python benchmarks/serving.py --index IDX --queries scifact/queries.jsonl --minutes 10
    python benchmarks/serving.py --schemathesis 20000
    python benchmarks/serving.py --kills 200

Each part is run where it is asked for; --out FILE keeps the figures as JSON. Parts change a copy of the index, or a
small one of their own. Server and load generator share the machine's cores.

Goals: overhead up to 1.5 ms at p50; at 80 % of the peak with a commit each second no errors but 503, a p99 up to twice
the quiet one, memory within 1 %, as many files open at the end as at the beginning, no answer of two generations; no
answer with 5xx and none that the description does not have; no acknowledged document lost.

How it is looked whether an answer mixes generations: each commit rewrites one of twenty passages, whose text says by
which commit, or deletes one. An answer names its generation; whatever it shows of these passages must be what they were
in it, and its other ids must be the index's.
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np

from xtrkit import Index, Retriever
from xtrkit.client import Client
from xtrkit.errors import XtrkitError

KEY = "benchmark-key"
CLIENTS, LIVE, SHARE = 16, 20, 0.8
WORDS = ["harbour", "lantern", "glacier", "meadow", "copper", "violin", "orchard", "falcon", "cellar", "bridge"]


class Server:
    """``xtrkit serve`` in a process of its own."""

    def __init__(self, index, directory, *options):
        key = directory / "write.key"
        key.write_text(KEY)
        key.chmod(0o600)
        self.log = (directory / "server.log").open("a")
        command = [sys.executable, "-m", "xtrkit", "serve", index, "--port", "0", "--write-key-file", key, *options]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.port = int(re.search(r"http://\S+?:(\d+)/", self.process.stdout.readline())[1])
        self.url = f"http://127.0.0.1:{self.port}"
        end = time.monotonic() + 300
        while time.monotonic() < end:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise RuntimeError("the server did not get ready")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop(signal.SIGTERM)

    def stop(self, number):
        self.process.send_signal(number)
        self.process.wait(60)
        self.process.stdout.close()
        self.log.close()

    def state(self):
        """(resident bytes, of these not of files, open files)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        resident, anonymous = (1024 * int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("VmRSS", "RssAnon"))
        return resident, anonymous, len(os.listdir(f"/proc/{self.process.pid}/fd"))


def request(method, path, body):
    """A request as bytes."""
    content = json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def p(values, share):
    return float(np.quantile(values, share))


# -- overhead ------------------------------------------------------------------------------------------------------


def exchange(connection, asked):
    """(status, body) of an answer, by the least that HTTP takes."""
    connection.sendall(asked)
    received = b""
    while b"\r\n\r\n" not in received:
        received += some_of(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    parts, have = [body], len(body)
    while have < length:
        parts.append(some_of(connection))
        have += len(parts[-1])
    return int(head[9:12]), b"".join(parts)


def some_of(connection):
    received = connection.recv(1 << 16)
    if not received:
        raise ConnectionError("the server closed the connection")
    return received


def overhead(index, queries, directory, rounds=3):
    """One client: a query in process, through a socket, and through the client, one after the other."""
    kinds = {"in process": [], "socket": [], "xtrkit.client": [], "in the server": []}
    with (
        Server(index, directory) as server,
        Retriever.open(index) as retriever,
        Client(server.url) as client,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for turn in range(rounds + 1):  # the first warms up
            for query in queries:
                asked = request("POST", "/v1/search", {"query": query, "k": 10})
                marks = [time.perf_counter()]
                hits = retriever.search(query, 10, threads=1)
                marks.append(time.perf_counter())
                told = json.loads(exchange(connection, asked)[1])
                marks.append(time.perf_counter())
                found = client.search(query, 10)
                marks.append(time.perf_counter())
                if not hits.ids == found.ids == [hit["id"] for hit in told["hits"]]:
                    raise RuntimeError(f"other hits over HTTP: {query}")
                if turn:
                    for kind, took in zip(kinds, [*np.diff(marks), told["took_ms"] / 1000], strict=True):
                        kinds[kind].append(1000 * took)
    found = {kind: {"p50_ms": p(ms, 0.5), "p99_ms": p(ms, 0.99)} for kind, ms in kinds.items()}
    for kind in ("socket", "xtrkit.client"):
        differences = np.array(kinds[kind]) - np.array(kinds["in process"])
        found[kind]["overhead_p50_ms"] = found[kind]["p50_ms"] - found["in process"]["p50_ms"]
        found[kind]["paired_overhead_p50_ms"] = float(np.median(differences))
    print(f"\nOne client, {len(queries)} queries, {rounds} rounds, ms:")
    for kind, ms in found.items():
        more = f"   overhead {ms['overhead_p50_ms']:.2f}" if "overhead_p50_ms" in ms else ""
        print(f"  {kind:14} p50 {ms['p50_ms']:6.2f}  p99 {ms['p99_ms']:6.2f}{more}")
    return {**found, "queries": len(queries), "rounds": rounds}


# -- load ----------------------------------------------------------------------------------------------------------


class Load:
    """Clients that ask a server, and what became of their requests."""

    def __init__(self, port, queries):
        self.port, self.queries = port, queries
        self.random = random.Random(0)
        self.latencies, self.statuses, self.seen = [], Counter(), []

    async def connection(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, streams, asked):
        """(status, body)."""
        reader, writer = streams
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        return int(head[9:12]), await reader.readexactly(length)

    def next_request(self):
        if self.random.random() < 0.25:
            word = self.random.choice(WORDS)
            return request("POST", "/v1/search", {"query": f"report of the {word} commit", "k": 10})
        return request("POST", "/v1/search", {"query": self.random.choice(self.queries), "k": 10})

    def note(self, status, body, took):
        self.statuses[status] += 1
        if status != 200:
            return
        self.latencies.append(took)
        told = json.loads(body)
        self.seen.append((told["generation"], [(hit["id"], hit["text"]) for hit in told["hits"]]))

    async def client(self, arrivals):
        streams = await self.connection()
        while (arrival := await arrivals.get()) is not None:
            try:
                status, body = await self.ask(streams, self.next_request())
            except (OSError, asyncio.IncompleteReadError) as error:
                self.statuses[type(error).__name__] += 1
                streams = await self.connection()
                continue
            self.note(status, body, time.perf_counter() - arrival)
        streams[1].close()

    async def peak(self, seconds):
        """Requests a second where every client asks again as soon as it is answered."""
        arrivals = asyncio.Queue(1)
        clients = [asyncio.create_task(self.client(arrivals)) for _ in range(CLIENTS)]
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds:
            await arrivals.put(time.perf_counter())
        answered = self.statuses[200]
        await self.end(arrivals, clients)
        return answered / seconds

    async def at(self, rate, seconds):
        """Requests that come at random, so many a second on average; latency counts from when each came."""
        arrivals = asyncio.Queue()
        clients = [asyncio.create_task(self.client(arrivals)) for _ in range(CLIENTS)]
        begin = arrival = time.perf_counter()
        while arrival < begin + seconds:
            await asyncio.sleep(max(0, arrival - time.perf_counter()))
            arrivals.put_nowait(arrival)
            arrival += self.random.expovariate(rate)
        await self.end(arrivals, clients)

    async def end(self, arrivals, clients):
        for _ in clients:
            await arrivals.put(None)
        await asyncio.gather(*clients)

    def told(self):
        ms = 1000 * np.array(self.latencies)
        return {"requests": sum(self.statuses.values()), "statuses": {str(k): v for k, v in self.statuses.items()}} | (
            {"p50_ms": p(ms, 0.5), "p99_ms": p(ms, 0.99), "longest_ms": float(ms.max())} if len(ms) else {}
        )


class Commits:
    """One commit a second, and what the passages that they change were in each generation."""

    def __init__(self, load):
        self.load, self.alive, self.of_generation, self.times = load, {}, {}, []
        self.statuses, self.going = Counter(), True

    async def run(self):
        streams = await self.load.connection()
        begin, number = time.perf_counter(), 0
        while self.going:
            await asyncio.sleep(max(0, begin + number - time.perf_counter()))
            name = f"live/{number % LIVE}"
            text = f"The report of the {WORDS[number % len(WORDS)]} was written by commit {number}."
            if number % 7 == 6 and name in self.alive:
                asked, after = request("DELETE", "/v1/documents", {"ids": [name]}), None
            else:
                asked, after = request("POST", "/v1/documents", {"documents": [{"id": name, "text": text}]}), text
            at = time.perf_counter()
            status, body = await self.load.ask(streams, asked)
            self.times.append(time.perf_counter() - at)
            self.statuses[status] += 1
            if status == 200:
                self.alive = {**self.alive, name: after}
                self.of_generation[json.loads(body)["generation"]] = self.alive
            number += 1
        streams[1].close()

    def mixed(self, base):
        """Answers with something that was not so in the generation that they name."""
        first = min(self.of_generation, default=0)
        return [
            (generation, identifier)
            for generation, hits in self.load.seen
            for identifier, text in hits
            if (
                (generation < first or self.of_generation.get(generation, {}).get(identifier) != text)
                if identifier.startswith("live/")
                else identifier not in base
            )
        ]


async def watched(server, states):
    while True:
        states.append((time.perf_counter(), *server.state()))
        await asyncio.sleep(1)


async def loaded(server, queries, base, minutes):
    warm = Load(server.port, queries)
    await warm.at(20, 5)
    closed = Load(server.port, queries)
    peak = await closed.peak(15)
    rate = SHARE * peak
    quiet = Load(server.port, queries)
    await quiet.at(rate, min(60, 30 * minutes))
    load, states = Load(server.port, queries), []
    commits = Commits(load)
    watching, committing = asyncio.create_task(watched(server, states)), asyncio.create_task(commits.run())
    await load.at(rate, 60 * minutes)
    commits.going = False
    await committing
    watching.cancel()
    mixed = commits.mixed(base)
    resident, anonymous, files = (np.array([state[place] for state in states]) for place in (1, 2, 3))
    tenth = max(1, len(states) // 10)
    begin, end = slice(tenth, 2 * tenth), slice(-tenth, None)

    def growth(values):
        return float(values[end].mean() / values[begin].mean() - 1)

    return {
        "peak_per_second": peak,
        "rate_per_second": rate,
        "quiet": quiet.told(),
        "with_commits": load.told(),
        "p99_over_quiet": load.told()["p99_ms"] / quiet.told()["p99_ms"],
        "commits": {
            "statuses": {str(status): count for status, count in commits.statuses.items()},
            "p50_ms": 1000 * p(commits.times, 0.5),
            "p99_ms": 1000 * p(commits.times, 0.99),
        },
        "errors_but_503": sum(count for status, count in load.statuses.items() if status not in (200, 503)),
        "answers_checked": len(load.seen),
        "mixed_answers": len(mixed),
        "memory": {
            "resident_mb": [resident[begin].mean() / 1e6, resident[end].mean() / 1e6],
            "resident_growth": growth(resident),
            "anonymous_mb": [anonymous[begin].mean() / 1e6, anonymous[end].mean() / 1e6],
            "anonymous_growth": growth(anonymous),
        },
        "files": {"begin": int(files[begin].mean()), "end": int(files[end].mean()), "most": int(files.max())},
    }


def under_load(index, queries, directory, minutes):
    """16 clients at 80 % of the peak, a commit each second."""
    copy = directory / "loaded"
    shutil.copytree(index, copy)
    with Index.open(copy) as opened:
        base = set(opened.ids())
    with Server(copy, directory) as server:
        found = asyncio.run(loaded(server, queries, base, minutes))
    peak, rate, memory = found["peak_per_second"], found["rate_per_second"], found["memory"]
    print(
        f"\n{CLIENTS} clients, {minutes:g} minutes, {rate:.0f} requests a second of {peak:.0f}, a commit each second:"
    )
    for name in ("quiet", "with_commits"):
        one = found[name]
        print(f"  {name:13} p50 {one['p50_ms']:.1f} ms  p99 {one['p99_ms']:.1f} ms  {one['statuses']}")
    print(f"  p99 × {found['p99_over_quiet']:.2f}   errors but 503: {found['errors_but_503']}")
    print(f"  answers of two generations: {found['mixed_answers']} of {found['answers_checked']:,}")
    print(f"  commits: {found['commits']}")
    for name in ("resident", "anonymous"):
        begin, end = memory[f"{name}_mb"]
        print(f"  {name} memory {begin:.0f} → {end:.0f} MB ({memory[f'{name}_growth']:+.1%})")
    print(f"  files: {found['files']}")
    return {**found, "minutes": minutes}


# -- made-up requests ----------------------------------------------------------------------------------------------


def small_index(directory, n=60):
    index = directory / "small"
    texts = [
        {"id": f"d/{n}", "text": f"Passage {n} is about the {WORDS[n % 10]}.", "n": n, "lang": "en"} for n in range(n)
    ]
    Retriever.create(index, texts).close()
    return index


CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def fuzzed(directory, cases):
    """Requests that schemathesis makes of the server's description, right ones and wrong ones."""
    index = small_index(directory)
    with Server(index, directory) as server:
        described = httpx.get(f"{server.url}/openapi.json").json()
        operations = sum(len(path) for path in described["paths"].values())
        events = directory / "events.ndjson"
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json",
            "--phases", "examples,coverage,fuzzing", "--max-examples", str(-(-cases // operations)), "--checks", CHECKS,
            "--header", f"X-API-Key:{KEY}", "--seed", "1", "--continue-on-failure", "--no-shrink", "--workers", "2",
            "--request-timeout", "60", "--suppress-health-check", "all", "--warnings", "off",
            "--report", "ndjson", "--report-ndjson-path", str(events),
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
        alive = server.process.poll() is None
    print(f"\nschemathesis, {operations} operations:\n{ran.stdout[-6000:]}{ran.stderr[-2000:]}")
    statuses = Counter(re.findall(r'"status_code":\s*(\d+)', events.read_text() if events.exists() else ""))
    made = re.search(r"([\d,]+) generated", ran.stdout)
    return {
        "operations": operations,
        "cases": int(made[1].replace(",", "")) if made else None,
        "statuses": dict(sorted(statuses.items())),
        "5xx": sum(count for status, count in statuses.items() if status >= "5"),
        "exit_code": ran.returncode,
        "server_lived": alive,
    }


# -- kills ---------------------------------------------------------------------------------------------------------


def killed(directory, times):
    """Kill the server while four clients write; whatever it said is written must be there."""
    index, acknowledged, answered, seconds = small_index(directory), {}, Counter(), []
    chance, lost = random.Random(2), []
    for kill in range(times):
        begin = time.monotonic()
        server = Server(index, directory)
        threads = [
            threading.Thread(target=write, args=(server.port, f"{kill}/{writer}", acknowledged, answered))
            for writer in range(4)
        ]
        for thread in threads:
            thread.start()
        first, end = len(acknowledged), time.monotonic() + 60
        while len(acknowledged) == first and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 1))
        server.stop(signal.SIGKILL)
        for thread in threads:
            thread.join()
        with Index.open(index) as opened:
            there = {passage.id: passage.text for passage in opened.get(set(opened.ids()))}
        lost += [name for name, text in acknowledged.items() if there.get(name) != text]
        seconds.append(time.monotonic() - begin)
        if kill % 10 == 9:
            print(
                f"  {kill + 1} kills, {len(acknowledged):,} documents acknowledged, {len(set(lost))} lost", flush=True
            )
    with Index.open(index) as opened:
        report = opened.verify(full=True)
    found = {
        "kills": times,
        "acknowledged": len(acknowledged),
        "answers": {str(status): count for status, count in answered.items()},
        "lost": len(set(lost)),
        "intact": report.ok,
        "seconds_each": statistics.mean(seconds),
    }
    print(f"\nkill -9 during writes: {found}")
    return found


def write(port, name, acknowledged, answered):
    """Add document after document until the server is gone."""
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for number in range(1_000_000):
                document = {"id": f"w/{name}/{number}", "text": f"Document {number} of writer {name}."}
                status, _ = exchange(connection, request("POST", "/v1/documents", {"documents": [document]}))
                answered[status] += 1
                if status == 200:
                    acknowledged[document["id"]] = document["text"]
    except OSError:
        return


def queries_of(path, most):
    lines = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines[:most]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--queries", type=Path, help="JSON lines with a text each, as BEIR's queries.jsonl")
    parser.add_argument("--most", type=int, default=300, help="of the queries, the first so many")
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--schemathesis", type=int, metavar="CASES")
    parser.add_argument("--kills", type=int, metavar="TIMES")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if (given.overhead or given.minutes) and not (given.index and given.queries):
        parser.error("--overhead and --minutes need --index and --queries")
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)

        def own(name):
            (directory / name).mkdir()
            return directory / name

        if given.overhead:
            found["overhead"] = overhead(given.index, queries_of(given.queries, given.most), own("a"), given.rounds)
        if given.minutes:
            found["load"] = under_load(given.index, queries_of(given.queries, given.most), own("b"), given.minutes)
        if given.schemathesis:
            found["schemathesis"] = fuzzed(own("c"), given.schemathesis)
        if given.kills:
            found["kills"] = killed(own("d"), given.kills)
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    try:
        main()
    except XtrkitError as error:
        sys.exit(f"Error: {error}")
