"""One engine in a process of its own: a line of JSON in, a line of JSON out. Started by run.py.

python worker.py ENGINE THREADS
"""

import json
import os
import resource
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path

from contract import Data
from engines import engine_named


def resident():
    """MB in memory: what the process itself holds, and its pages of mapped files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {name: int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


def cpu_seconds():
    """Processor time of all threads, and of child processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Worker:
    def __init__(self, name, threads):
        self.engine = engine_named(name, threads)

    def build(self, data, path):
        self.engine.prepare()
        source = Data(data)
        begin, wall = cpu_seconds(), time.perf_counter()
        self.engine.build(source, path)
        seconds = cpu_seconds() - begin
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        size = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
        return {"build_cpu_s": seconds, "build_wall_s": time.perf_counter() - wall, "build_peak_mb": peak / 1024,
                "bytes_a_token": size / len(source.documents)}  # fmt: skip

    def open(self, data, path):
        self.engine.prepare()
        self.source = Data(data)
        self.before = resident()
        begin, wall = cpu_seconds(), time.perf_counter()
        self.engine.open(self.source, path)
        opened = {"open_cpu_ms": 1000 * (cpu_seconds() - begin), "open_wall_ms": 1000 * (time.perf_counter() - wall)}
        return {**opened, "versions": {name: version(name) for name in self.engine.packages}}

    def search(self, numbers, k, setting):
        """Queries one by one."""
        found, cpu, wall = [], [], []
        for query in map(self.source.queries.__getitem__, numbers):
            begin, began = time.process_time(), time.perf_counter()
            ranking = self.engine.search(query, k, **setting)
            cpu.append(1000 * (time.process_time() - begin))
            wall.append(1000 * (time.perf_counter() - began))
            found.append(ranking)
        return {"found": found, "cpu_ms": cpu, "wall_ms": wall}

    def search_batch(self, numbers, k, setting):
        """Queries all at once: the mean time of one."""
        queries = [self.source.queries[number] for number in numbers]
        begin, began = time.process_time(), time.perf_counter()
        found = self.engine.search_batch(queries, k, **setting)
        cpu, wall = (time.process_time() - begin) / len(queries), (time.perf_counter() - began) / len(queries)
        return {"found": found, "cpu_ms": [1000 * cpu], "wall_ms": [1000 * wall]}

    def memory(self):
        """What opening and searching added."""
        now = resident()
        return {"own_mb": now["RssAnon"] - self.before["RssAnon"], "mapped_mb": now["RssFile"] - self.before["RssFile"]}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    worker = Worker(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
