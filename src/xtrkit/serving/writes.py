"""Changing indexes: requests that wait are committed together.

A commit costs some flushes to disk, whatever is in it. So there is one writer for each index, and while it commits,
requests gather; the next commit has all of them (:mod:`xtrkit.serving.committing`). A request is answered when its
commit is on disk. One that takes long, or needn't be waited for, is answered with a job (:mod:`xtrkit.serving.jobs`).
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request

from xtrkit.errors import InputError
from xtrkit.serving.committing import Adding, Answer, Change, Committer, Deleting, StoppedError
from xtrkit.serving.jobs import Job, Jobs
from xtrkit.serving.keys import MayWrite
from xtrkit.serving.logs import current
from xtrkit.serving.metrics import Metrics
from xtrkit.serving.problems import overloaded, problem_of
from xtrkit.serving.service import Served, Service
from xtrkit.serving.settings import Limits

PATIENCE = 0.8
"""The part of a request's time that it waits for another writer: there is some left to say that it was in vain."""


class Outcome(NamedTuple):
    """What became of a change: what it did, or the job that will tell."""

    result: dict[str, Any] | None
    job: dict[str, Any] | None


class Writes:
    """What changes the indexes of a server.

    Attributes:
        jobs: changes that nobody waits for.
    """

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service, self._metrics = service, metrics
        self._limits, self._ending = service.settings.limits, threading.Event()
        self._own = None if service.settings.jobs else tempfile.TemporaryDirectory(prefix="xtrkit-jobs-")
        self.jobs = Jobs(Path(service.settings.jobs or (self._own.name if self._own else "")))
        self._queues: dict[str, _Queue] = {}

    async def add(self, name: str | None, documents: list[Any], *, wait: bool | None = None) -> Outcome:
        """Add documents; those whose ids are there already are replaced.

        Args:
            name: the index.
            documents: as :meth:`xtrkit.Retriever.add` takes them.
            wait: until they can be found, but no longer than a request may take; by default where they are few.

        Raises:
            XtrkitError: something can't be used; nothing was added.
            Problem: there is no such index, or too much waits.
        """
        limits = self._limits
        if not 1 <= len(documents) <= limits.documents:
            raise InputError(f"A request adds 1 to {limits.documents:,} documents, got {len(documents):,}.")
        adding = Adding(documents, sum(map(_characters, documents)))
        large = len(documents) > limits.inline_documents or adding.weight > limits.inline_characters
        return await self._change(name, adding, wait=not large if wait is None else wait)

    async def delete(
        self, name: str | None, ids: Iterable[str] = (), *, documents: Iterable[str] = (), missing_ok: bool = False
    ) -> Outcome:
        """Delete passages, or all those of some documents.

        Raises:
            XtrkitError: one is not there; nothing was deleted.
            Problem: there is no such index, or too much waits.
        """
        deleting = Deleting(list(ids), list(documents), missing_ok)
        asked = len(deleting.ids) + len(deleting.documents)
        if asked > self._limits.ids:
            raise InputError(f"A request deletes {self._limits.ids:,} ids at most, got {asked:,}.")
        return await self._change(name, deleting, wait=True)

    async def stop(self) -> None:
        """Let the commit at work end, or leave it uncommitted, and begin no other."""
        self._ending.set()
        for queue in self._queues.values():
            await queue.stop()
        if self._own is not None:
            self._own.cleanup()

    async def _change(self, name: str | None, what: Adding | Deleting, *, wait: bool) -> Outcome:
        served = self._service.index(name)
        if served.name not in self._queues:
            self._queues[served.name] = _Queue(served, self._limits, self._metrics, self._ending)
        job, limits = Job(served.name), self._limits
        patience = PATIENCE * limits.deadline_seconds if wait else limits.job_seconds
        change = Change(what, job, time.monotonic() + patience)
        answered = self._queues[served.name].put(change)
        if not wait:
            return Outcome(None, job.published(self.jobs))
        try:
            async with asyncio.timeout(limits.deadline_seconds):
                result = await asyncio.shield(answered)
        except TimeoutError:
            return Outcome(None, job.published(self.jobs))
        current().facts |= {"index": served.name, "generation": result["generation"]}
        return Outcome(result, None)


class _Waiting(NamedTuple):
    """A change that waits, and who waits for it."""

    change: Change
    answered: asyncio.Future[dict[str, Any]]


class _Queue:
    """Changes of one index that wait, and the thread that commits them."""

    def __init__(self, served: Served, limits: Limits, metrics: Metrics, ending: threading.Event) -> None:
        self._limits, self._metrics = limits, metrics
        self._committer = Committer(served.name, served.retriever, ending)
        self._waiting: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"write-{served.name}")
        self._task: asyncio.Task[None] | None = None

    def put(self, change: Change) -> asyncio.Future[dict[str, Any]]:
        """Take in a change; what it did will be known.

        Raises:
            Problem: too many wait.
        """
        weight = sum(one.change.what.weight for one in self._waiting)
        if len(self._waiting) >= self._limits.changes or weight > self._limits.waiting_characters:
            raise overloaded(f"{len(self._waiting)} changes wait already: come again in some seconds.", after=5)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[dict[str, Any]] = loop.create_future()
        answered.add_done_callback(_heard)
        self._waiting.append(_Waiting(change, answered))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work())
        return answered

    async def stop(self) -> None:
        """Begin no other commit, and wait for the one at work."""
        while self._waiting:
            _answer(self._waiting.popleft(), StoppedError())
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._limits.stop_seconds)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            together = {one.change: one for one in self._group()}
            done = await loop.run_in_executor(self._thread, self._committer.commit, list(together))
            self._waiting.extendleft(together[change] for change in reversed(done.left))
            for change, answer in done.answers:
                _answer(together[change], answer)
            committed = sum(not isinstance(answer, Exception) for _, answer in done.answers)
            if committed:
                self._metrics.commits.labels(self._committer.name).inc()
                self._metrics.changes.labels(self._committer.name).inc(committed)

    def _group(self) -> Iterator[_Waiting]:
        """The first that wait, as many as one commit may have; a large one goes alone."""
        weight = 0
        while self._waiting and (not weight or weight + self._waiting[0].change.what.weight <= self._most):
            weight += 1 + self._waiting[0].change.what.weight
            yield self._waiting.popleft()

    @property
    def _most(self) -> int:
        return self._limits.inline_characters


def _answer(waiting: _Waiting, answer: Answer) -> None:
    """Tell who waits for a change, or may ask for its job."""
    job, answered = waiting.change.job, waiting.answered
    if isinstance(answer, Exception):
        job.fail(problem_of(answer).as_json()["error"])
        if not answered.done():
            answered.set_exception(answer)
    else:
        job.succeed(answer)
        if not answered.done():
            answered.set_result(answer)


def _heard(answered: asyncio.Future[dict[str, Any]]) -> None:
    """Have nobody complain of an error that nobody waits for: its job tells."""
    if not answered.cancelled():
        answered.exception()


def _characters(document: object) -> int:
    if isinstance(document, dict):
        return sum(len(value) for value in document.values() if isinstance(value, str))
    return len(document) if isinstance(document, str) else 0


def _writes_of(request: Request, allowed: MayWrite) -> Writes:
    writes: Writes = request.app.state.writes
    return writes


Writing = Annotated[Writes, Depends(_writes_of)]
"""What a route takes that changes an index: it is reached with the write key only."""
