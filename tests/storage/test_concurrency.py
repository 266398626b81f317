"""Readers beside a writer, killed at random: every reader sees one whole generation, and generations never go back."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.storage import toy
from tests.storage.workers import texts_at
from xtrkit.storage.generations import OWN_NAME, WriterLock, collect, generations

CODE = "import sys; from tests.storage import workers as w; w.{}(*sys.argv[1:])"


def start(function, directory, seed, log):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OPENBLAS_NUM_THREADS": "1"}
    with log.open("a") as output, log.with_suffix(".errors").open("a") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", CODE.format(function), str(directory), str(seed)],
            stdout=output, stderr=errors, env=environment,
        )  # fmt: skip


def size_of(log):
    return log.stat().st_size if log.exists() else 0


def wait_for_a_sign(process, log, begun):
    """Wait until a process has done something since it began: it needs a second to start."""
    end = time.monotonic() + 60
    while size_of(log) <= begun and time.monotonic() < end:
        assert process.poll() is None, log.with_suffix(".errors").read_text()
        time.sleep(0.02)
    assert size_of(log) > begun


def check_concurrency(box, seconds, readers):
    directory, random, seed = box / "index", np.random.default_rng(0), 0
    toy.create(directory, texts_at(1))
    logs = [box / "writer.log", *(box / f"reader{number}.log" for number in range(readers))]
    functions = ["write", *["read"] * readers]
    processes = [start(function, directory, 0, log) for function, log in zip(functions, logs, strict=True)]
    begun = [0] * len(processes)
    killed, end = [0, 0], time.monotonic() + seconds
    while time.monotonic() < end:
        victim = int(random.integers(len(processes))) if random.random() < 0.5 else 0
        wait_for_a_sign(processes[victim], logs[victim], begun[victim])
        time.sleep(float(random.random()))
        begun[victim] = size_of(logs[victim])
        processes[victim].send_signal(signal.SIGKILL)
        processes[victim].wait()
        killed[victim > 0] += 1
        seed += 1
        processes[victim] = start(functions[victim], directory, seed, logs[victim])
    for process, log in zip(processes, logs, strict=True):
        assert process.poll() is None, log.with_suffix(".errors").read_text()
        process.kill()
        process.wait()
        assert log.with_suffix(".errors").read_text() == ""
    committed = [int(line) for line in logs[0].read_text().splitlines()]
    assert committed == sorted(set(committed)), "a generation was acknowledged twice"
    newest = toy.Opened(directory)
    assert newest.manifest.generation >= committed[-1], "an acknowledged commit is lost"
    assert newest.content() == texts_at(newest.manifest.generation)
    newest.close()
    lock = WriterLock(directory)
    collect(directory)
    lock.close()
    named = {file.name for g in generations(directory) for file in toy.Opened(directory, g).manifest.files}
    assert {path.name for path in directory.iterdir() if OWN_NAME.fullmatch(path.name)} == named
    opened = sum(len(log.read_text().splitlines()) for log in logs[1:])
    print(f"{committed[-1]} commits, {opened} openings, killed {killed[0]} writers and {killed[1]} readers")  # noqa: T201
    assert killed[0]
    assert opened


def test_readers_beside_a_writer(box):
    check_concurrency(box, seconds=4, readers=2)


@pytest.mark.slow
def test_readers_beside_a_writer_for_five_minutes(box):
    check_concurrency(box, seconds=300, readers=4)
