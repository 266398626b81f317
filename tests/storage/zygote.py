"""A process that has imported everything and forks a child for each task, so that a task can be killed every 0.1 s.

Its standard input gets lines of JSON: ``{"script": MODULE, "arguments": [...]}``. For each it forks a child, prints the
child's process id, and at last its exit status. The child waits for SIGUSR1 (somebody attaches strace to it in the
meantime), and then runs ``MODULE.run(*arguments, report)``; what it reports goes into the socket whose descriptor is
the first argument, by ``sendto``, a system call that no fault is injected into.
"""

import ctypes
import importlib
import itertools
import json
import os
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

from xtrkit.errors import XtrkitError

PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, -1


def child(task, reports):
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(PR_SET_PTRACER_ANY), 0, 0, 0)
    run = importlib.import_module(task["script"]).run
    sys.stdout.write(f"{os.getpid()}\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGUSR1})
    try:
        run(*task["arguments"], lambda text: reports.send(text.encode()))
    except XtrkitError as error:
        reports.send(f"error {type(error).__name__}: {error}".encode())
        os._exit(1)
    except BaseException as error:
        reports.send(f"crash {type(error).__name__}: {error}\n{traceback.format_exc()}".encode())
        os._exit(2)
    os._exit(0)


def in_children(function, inputs, at_a_time=100):
    """Call a function on each input in a child process, many in one child: yields (input, (status, result)).

    Where a child dies, the input that it died of gets its status and no result, and another child goes on.
    """
    inputs = iter(inputs)
    while part := list(itertools.islice(inputs, at_a_time)):
        while part:
            done = _in_child(function, part)
            for given, result in zip(part, done.results, strict=False):
                yield given, (0, result)
            part = part[len(done.results) :]
            if part:
                yield part[0], (done.status, None)
                part = part[1:]


class Done(NamedTuple):
    """What a child process made of its inputs, until it ended with a status."""

    results: list
    status: int


def _in_child(function, inputs):
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        try:
            with os.fdopen(writing, "w") as results:
                for given in inputs:
                    signal.alarm(20)  # a hang ends here
                    results.write(json.dumps(function(given)) + "\n")
                    results.flush()
        except BaseException:
            traceback.print_exc()
            os._exit(3)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as results:
        found = [json.loads(line) for line in results]
    return Done(found, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def main():
    reports = socket.socket(fileno=int(sys.argv[1]))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    for module in sys.argv[2:]:
        imported = importlib.import_module(module)
        if hasattr(imported, "warm_up"):
            with tempfile.TemporaryDirectory() as directory:
                imported.warm_up(Path(directory))
    while line := sys.stdin.readline():
        process = os.fork()
        if not process:
            child(json.loads(line), reports)
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
