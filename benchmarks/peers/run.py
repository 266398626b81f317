"""xtrkit and its peers on the same token vectors, in one run.

    python benchmarks/peers/run.py --data SET [--engines xtrkit tachiom …] [--threads 1 2] [--queries 300]

SET is what prepare.py made. Peers are installed into virtual environments below --peers, and what they build stays
below --work, with what the building cost, for later runs; xtrkit's index is built anew in every run. Each engine is a
process of its own, pinned to as many cores as it has threads; the engines take turns, a block of queries each. A peer
that can't be installed, loaded or built, or takes longer to build than --limit, is left out, and named. The tables go
to --results, by default benchmarks/results/.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

from contract import Data
from engines import engine_named
from environments import python_of
from oracle import exact_rankings
from report import write_report

HERE = Path(__file__).resolve().parent
CACHE = Path.home() / ".cache" / "xtrkit-peers"
DEFAULT_ENGINES = [
    "xtrkit", "xtrkit:8", "xtrkit:2", "xtrkit:1", "xtrkit-exact",
    "xtr-warp-rs", "fast-plaid", "tachiom", "lemur", "lemur-untrained", "scann", "faiss", "faiss:4", "exact-torch",
]  # fmt: skip
THREAD_VARIABLES = [
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS",
]  # fmt: skip
BUILD_THREADS = 1
BLOCKS_WITH_THREADS = 2


class Worker:
    """A process with one engine in it, ended after ``limit`` seconds of processor time."""

    def __init__(self, name, arguments, threads, limit=resource.RLIM_INFINITY):
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "TOKENIZERS_PARALLELISM": "false"}
        cores = set(arguments.cores[:threads])
        self.log = (arguments.work / f"{name}.log").open("a")
        self.process = subprocess.Popen(
            [*python_of(name, arguments.peers, arguments.glibc), str(HERE / "worker.py"), name, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment,
            preexec_fn=lambda: (
                os.sched_setaffinity(0, cores), resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            ),
        )  # fmt: skip

    def ask(self, do, **details):
        """The engine's answer; ``{"error": …}`` where it has none."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **details}) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            return {"error": f"its process ended with {self.process.wait()}"}

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def built(name, arguments):
    """The folder of an engine's index and what it cost; built where it isn't there, or is xtrkit's own."""
    path = arguments.work / name.replace(":", "-")
    record = path.with_suffix(".json")
    own = name.startswith("xtrkit")
    if record.exists() and (not own or arguments.keep):
        return path, {**json.loads(record.read_text()), "kept from": str(date.fromtimestamp(record.stat().st_mtime))}
    shutil.rmtree(path, ignore_errors=True)
    worker = Worker(name, arguments, BUILD_THREADS, arguments.limit)
    cost = worker.ask("build", data=str(arguments.data), path=str(path))
    worker.close()
    if "error" in cost:
        shutil.rmtree(path, ignore_errors=True)
    else:
        record.write_text(json.dumps(cost))
        print(f"{name}: built in {cost['build_cpu_s']:.0f} CPU s", flush=True)
    return path, cost


def opened(name, path, arguments, threads):
    worker = Worker(name, arguments, threads)
    answer = worker.ask("open", data=str(arguments.data), path=str(path))
    return worker, answer


def take_turns(workers, arguments, threads):
    """``{(engine, label): {"found": …, "cpu_ms": …, "wall_ms": …}}``, a block of queries and an engine at a time."""
    do = "search" if threads == 1 else "search_batch"
    results, failed = {}, {}
    blocks = [
        arguments.numbers[first : first + arguments.block] for first in range(0, arguments.queries, arguments.block)
    ]
    blocks = blocks if threads == 1 else blocks[:BLOCKS_WITH_THREADS]
    # The first turn compiles and fills caches, and doesn't count.
    for turn, block in enumerate([blocks[0][:5], *blocks]):
        for name, worker in workers.items():
            engine = engine_named(name)
            for label, setting in engine.settings:
                if (name, label) in failed or (threads > 1 and label not in engine.usual):
                    continue
                answer = worker.ask(do, numbers=block, k=100, setting=setting)
                if "error" in answer:
                    failed[name, label] = answer["error"]
                    print(f"{name}, {label}: left out: {answer['error']}", flush=True)
                elif turn:
                    kept = results.setdefault((name, label), {"numbers": [], "found": [], "cpu_ms": [], "wall_ms": []})
                    for field, values in {**answer, "numbers": block}.items():
                        kept[field] += values
        print(f"{threads} thread(s): {turn} of {len(blocks)} blocks of queries", end="\r", flush=True)
    return {key: value for key, value in results.items() if key not in failed}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a set that prepare.py made")
    parser.add_argument("--engines", nargs="+", default=DEFAULT_ENGINES, help="such as xtrkit:2 for 2 bits")
    parser.add_argument("--peers", type=Path, default=CACHE, help="where virtual environments are made")
    parser.add_argument("--work", type=Path, help="where indexes are built; by default below --peers")
    parser.add_argument("--glibc", type=Path, help="a folder with a newer glibc, where tachiom asks for one")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cores", type=int, nargs="+", default=sorted(os.sched_getaffinity(0)))
    parser.add_argument("--queries", type=int, default=10**9, help="so many, evenly chosen; all by default")
    parser.add_argument("--block", type=int, default=20, help="queries a turn")
    parser.add_argument("--keep", action="store_true", help="do not build xtrkit's own indexes anew, either")
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--limit", type=int, default=3600, help="most CPU seconds of a build")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="where the tables go")
    parser.add_argument("--name", help="of the results; by default the set's")
    arguments = parser.parse_args()
    arguments.data, data = arguments.data.resolve(), Data(arguments.data)
    arguments.work = (arguments.work or arguments.peers / "indexes").resolve() / arguments.data.name
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.queries = min(arguments.queries, len(data.queries))
    arguments.numbers = [n * len(data.queries) // arguments.queries for n in range(arguments.queries)]
    engines, left_out = {}, {}
    for name in arguments.engines:
        path, cost = built(name, arguments)
        if "error" in cost:
            left_out[name] = cost["error"]
            print(f"{name}: left out: {cost['error']}", flush=True)
        else:
            engines[name] = {"path": path, **cost}
    if arguments.build_only:
        return
    oracle = exact_rankings(data, 100, arguments.numbers)
    passes = {}
    for threads in arguments.threads:
        workers = {}
        for name, engine in engines.items():
            workers[name], answer = opened(name, engine["path"], arguments, threads)
            if "error" in answer:
                left_out[name] = answer["error"]
                print(f"{name}: left out: {answer['error']}", flush=True)
                workers.pop(name).close()
            elif threads == arguments.threads[0]:
                engine.update(answer)
        passes[threads] = take_turns(workers, arguments, threads)
        for name, worker in workers.items():
            if threads == arguments.threads[0]:
                engines[name].update(worker.ask("memory"))
            worker.close()
        report = write_report(data, arguments, engines, left_out, passes, oracle)  # kept, should the next pass fail
    print(*report, sep="\n")


if __name__ == "__main__":
    sys.exit(main())
