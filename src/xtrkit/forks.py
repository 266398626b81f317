"""What becomes of things in a forked child: it has its parent's memory, but none of its threads.

Three kinds of things do not survive that. A lock that another thread held stays held for ever: so a fork waits for the
locks made here. What waits for its threads, or writes to its parent's files, when it is destroyed is kept for ever in
the child (:func:`keep_for_ever`), which opens its own. And what a parent has begun to write is the parent's to finish
or to remove: whoever would tidy up asks first whether it is still in the process that began (:func:`begun_here`).
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import Protocol
from weakref import WeakSet

LONGEST_WAIT = 20.0
"""Seconds that a fork waits for a lock; a child whose parent held it longer gets a new one."""


class Forked(Protocol):
    """Something that is told when it finds itself in a forked child, before anything else runs there."""

    def after_fork(self) -> None:
        """Do without what the parent alone has."""


class ForkLock:
    """A lock for a ``with``, which its holder may take again; a process does not fork while another thread has it."""

    def __init__(self) -> None:
        self._lock, self._held_for_fork = threading.RLock(), False
        _LOCKS.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        """Wait until no other thread holds it."""
        self._held_for_fork = self._lock.acquire(timeout=LONGEST_WAIT)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._held_for_fork:
            self._held_for_fork = False
            self._lock.release()

    def after_fork(self) -> None:
        """Go on; a lock that was not to be had is held by a thread that this process does not have."""
        if self._held_for_fork:
            self._held_for_fork = False
            self._lock.release()
        else:
            self._lock = threading.RLock()


_WAITING_AT_THE_END = frozenset({"onnxruntime", "openvino"})
_LOCKS: WeakSet[ForkLock] = WeakSet()
_HELD: list[ForkLock] = []
_TOLD: WeakSet[Forked] = WeakSet()


def tell_of_forks(one: Forked) -> None:
    """Have something told when it finds itself in a forked child, for as long as it lives."""
    _TOLD.add(one)


def keep_for_ever(one: object) -> None:
    """Have an object never destroyed in this process, not even at its end."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


def begun_here(process: int) -> bool:
    """Whether this is the process that had this number when something began, and not a child of it."""
    return os.getpid() == process


def _end_without_destructors() -> None:
    """Have this process, when it ends, flush its streams and be gone.

    Libraries in C++ destroy their global objects then, and ONNX Runtime's wait for a thread. Python's own end (what
    ``atexit`` and ``finally`` are told to do) comes before and is as always.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # glibc's, which tells a function the status: the last one told is called first
        libc.on_exit(libc._exit, None)
        libc.on_exit(libc.fcloseall, None)


def _before() -> None:
    _HELD[:] = list(_LOCKS)
    for lock in _HELD:
        lock.before_fork()


def _in_parent() -> None:
    for lock in _HELD:
        lock.after_fork_in_parent()
    _HELD.clear()


def _in_child() -> None:
    for lock in list(_LOCKS):
        lock.after_fork()
    _HELD.clear()
    for one in list(_TOLD):
        one.after_fork()
    if not _WAITING_AT_THE_END.isdisjoint(sys.modules):
        _end_without_destructors()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
