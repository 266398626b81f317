"""Run a task in a child process, watched by strace: record its system calls, or let the n-th of a kind fail."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

CALLS = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "link", "unlink", "mkdir", "rmdir", "rename",
    "flock",
)  # fmt: skip
"""Calls that change files, or that decide whether they may be changed."""
READS = ("openat", "read", "pread64", "lseek", "mmap", "getdents64", "newfstatat", "close")

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt install strace)")


class Outcome(NamedTuple):
    """What became of a task.

    Attributes:
        acknowledged: the last number that it acknowledged with "ack N"; 0 where it got to none.
        status: its exit status; negative where a signal ended it.
        error: what it reported as an error, "" where nothing.
        log: strace's lines.
    """

    acknowledged: int
    status: int
    error: str
    log: list[str]


class Zygote:
    """The process that forks tasks; use it in a ``with``."""

    def __init__(self, workplace, subject):
        self.subject, self._script, self._log = subject, subject.__name__, workplace / "strace.log"
        self._reports, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._reports.settimeout(0)
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        self._process = subprocess.Popen(
            [sys.executable, "-B", str(ROOT / "tests/storage/zygote.py"), str(theirs.fileno()), self._script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[theirs.fileno()], env=environment,
        )  # fmt: skip
        theirs.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)
        self._reports.close()

    def run(self, *arguments, strace=None):
        """Run a task; ``strace`` are the options of the strace that watches it."""
        self._say({"script": self._script, "arguments": [str(argument) for argument in arguments]})
        child, watcher = int(self._process.stdout.readline()), None
        if strace is not None:
            command = ["strace", "-f", "-o", str(self._log), *strace, "-p", str(child)]
            watcher = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            assert "attached" in watcher.stderr.readline()
        os.kill(child, signal.SIGUSR1)
        status = int(self._process.stdout.readline())
        log = []
        if watcher:
            watcher.wait(30)
            watcher.stderr.close()
            log = list(whole(self._log.read_text(encoding="latin-1").splitlines()))
        acknowledged, error = 0, ""
        for report in self._drained():
            if report.startswith("ack "):
                acknowledged = int(report[4:])
            else:
                error = report
        return Outcome(acknowledged, status, error, log)

    def _say(self, task):
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()

    def _drained(self):
        while True:
            try:
                yield self._reports.recv(1 << 16).decode()
            except BlockingIOError:
                return


def whole(log):
    """strace's lines with each call in one, where it ended: another thread's line may come between its two halves."""
    begun = {}
    for line in log:
        thread, _, rest = line.partition(" ")
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>").rstrip()
        elif resumed := re.match(r" *<\.\.\. \w+ resumed>(.*)", rest):
            yield begun.pop(thread) + resumed[1]
        else:
            yield line
    yield from begun.values()


def calls_of(log, root):
    """How often a task called each system call with a path or descriptor below a directory: {(name, n-th)}, in order.

    n counts every call of the name by one thread, as strace's ``when`` does.
    """
    counts, found = Counter(), []
    for line in log:
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match:
            thread, name = match.groups()
            counts[thread, name] += 1
            if str(root) in line:
                found.append((name, counts[thread, name]))
    return found


def spread(points, number):
    """About ``number`` of the points, evenly spread, the first and last among them."""
    step = max(1, len(points) // number)
    return points[::step] + points[-1:]
