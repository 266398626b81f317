"""A process that has imported everything and forks a child for each task, so that a task can be killed every 0.1 s.

Its standard input gets lines of JSON: ``{"script": MODULE, "arguments": [...]}``. For each it forks a child, prints the
child's process id, and at last its exit status. The child waits for SIGUSR1 (somebody attaches strace to it in the
meantime), and then runs ``MODULE.run(*arguments, report)``; what it reports goes into the socket whose descriptor is
the first argument, by ``sendto``, a system call that no fault is injected into.
"""

import ctypes
import importlib
import json
import os
import signal
import socket
import sys

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
        reports.send(f"crash {type(error).__name__}: {error}".encode())
        os._exit(2)
    os._exit(0)


def main():
    reports = socket.socket(fileno=int(sys.argv[1]))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    for module in sys.argv[2:]:
        importlib.import_module(module)
    while line := sys.stdin.readline():
        process = os.fork()
        if not process:
            child(json.loads(line), reports)
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
