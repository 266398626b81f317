"""Compiling kernels in the background, while something else has to be done first, such as encoding texts.

Kernels compile when they are first called (:mod:`xtrkit.kernels.jit`), some ten seconds of processor time for a search.
Another process does that meanwhile and leaves the machine code in the cache, where the first search finds it. That
process is an optional help: it runs at low priority, says nothing, ends when its parent does, and where it can't be
started, or there is no cache to write to, nothing happens and kernels compile later.

A file beside the machine code tells that a search of some kind of index is compiled, so that this is found out without
starting anything. Its name holds what machine code depends on: the source of the kernels, Numba, and the processor.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from xtrkit.kernels import choosing
from xtrkit.kernels.jit import STAMP

_PROGRAM = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[1])
from xtrkit.warming import warm_up_behind
warm_up_behind(json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
"""
NICENESS = 10
_ASKED = 0.05
"""Seconds between two looks whether a search is compiled."""


class Compiling:
    """Kernels that are being compiled by another process; or none, where there was no need or no way to."""

    def __init__(self, process: subprocess.Popen[bytes] | None, mark: Path | None) -> None:
        self._process, self._mark = process, mark
        if process is not None:  # somebody has to ask for its exit code, or it stays in the table of processes
            threading.Thread(target=_reap, args=(process,), daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether the first search would still have to compile what is being compiled now."""
        compiled = self._mark is not None and self._mark.exists()
        return self._process is not None and self._process.returncode is None and not compiled

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait until a search would find its machine code; return whether it would. Never raises.

        Args:
            timeout: seconds after which waiting ends; the process goes on.
        """
        ended = threading.Event()
        for _ in range(int(timeout / _ASKED)):
            if not self.running:
                break
            ended.wait(_ASKED)
        return self._mark is not None and self._mark.exists()


def begin_compiling(nbits: int, codec: str = "grid") -> Compiling:
    """Compile in another process what indexing and searching an index of some kind needs, unless that was done before.

    To be called before long work that needs no kernels yet; afterwards ``.wait()``, where ``.running``. The process
    imports xtrkit alone, never the caller's ``__main__``. Where Python isn't a program of its own (embedded, frozen),
    and where there is no cache that can be written, nothing is done. Never raises.

    Args:
        nbits: bits a dimension of the index that will be searched.
        codec: its codec.
    """
    try:
        mark = mark_of(nbits, codec)
        if mark is None or mark.exists() or not os.access(mark.parent, os.W_OK) or not _python_is_a_program():
            return Compiling(None, mark)
        return Compiling(_started(nbits, codec), mark)
    except Exception:  # compiling later is always possible
        return Compiling(None, None)


def mark_compiled(nbits: int, codec: str) -> None:
    """Note that a search of such an index is compiled; where nothing can be written, nothing is noted."""
    mark = mark_of(nbits, codec)
    if mark is not None:
        with suppress(OSError):
            mark.touch()


def mark_of(nbits: int, codec: str) -> Path | None:
    """The file that tells that a search of such an index is compiled; None where machine code isn't kept."""
    import numba
    from llvmlite import binding

    cache = getattr(choosing.promising_clusters, "_cache", None)
    directory = getattr(cache, "cache_path", None)
    if not directory:
        return None
    machine = (binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten(), sys.version)
    key = sha256(repr((STAMP, numba.__version__, machine, nbits, codec)).encode()).hexdigest()
    return Path(directory) / f"searched-{key[:24]}.mark"


def end_with(parent: int) -> None:
    """End this process when it has another parent than ``parent``: that one has ended, or was killed."""

    def look() -> None:
        pause = threading.Event()
        while os.getppid() == parent:
            pause.wait(0.5)
        os._exit(0)

    threading.Thread(target=look, daemon=True).start()


def _started(nbits: int, codec: str) -> subprocess.Popen[bytes]:
    import json

    return subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), json.dumps(codec), str(nbits), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _python_is_a_program() -> bool:
    executable = Path(sys.executable or "")
    named = executable.name.lower().startswith(("python", "pypy"))
    return named and executable.is_file() and not getattr(sys, "frozen", False) and hasattr(os, "getppid")


def _reap(process: subprocess.Popen[bytes]) -> None:
    with suppress(Exception):
        process.wait()
