"""What routes ask: the opened indexes, and threads to search them in.

Routes are coroutines on one event loop, and whatever takes longer than a moment runs in a thread: a few of them, since
searches use a core each. How many wait is counted before a thread is asked for: beyond a limit a request is told so at
once (503), and one that waited too long is dropped before it begins (504).
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Annotated, Any, NamedTuple, TypeVar

from fastapi import Depends, Request

from xtrkit.cluster.cluster import Cluster
from xtrkit.errors import XtrkitWarning
from xtrkit.hits import Hits
from xtrkit.index import Index
from xtrkit.passage import Passage
from xtrkit.retriever import Retriever
from xtrkit.serving.gathering import Gathering
from xtrkit.serving.logs import current, hearing, write_line
from xtrkit.serving.problems import Problem, not_found, overloaded, problem_of, timed_out
from xtrkit.serving.settings import Settings
from xtrkit.texts.given import Given
from xtrkit.values import Ragged

T = TypeVar("T")
REFRESH_SECONDS = 0.5
"""How often is looked whether somebody committed a new generation."""

WARMING = "Where do I begin?"
"""A query that is searched for before the server is ready."""

stopping = threading.Event()
"""Whether this process was told to end: streams end then, and what has not begun never will."""


class Served(NamedTuple):
    """An index that is served.

    Attributes:
        name: the last part of its path.
        retriever: it, opened, with its encoder.
        search_batch: what searches it, as :meth:`xtrkit.Retriever.search_batch`.
    """

    name: str
    retriever: Retriever
    search_batch: Callable[..., list[Hits]]


class Service:
    """Opened indexes by name, and what is done with them.

    Attributes:
        settings: what the server was told.
        served: {name: index}; empty until they are opened.
        ready: whether all is opened and warm.
        failure: why that can't be; None where it can.
        opened: set when it is known which.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.served: dict[str, Served] = {}
        self._stuck: dict[str, str] = {}
        self.ready = False
        self.failure: Exception | None = None
        self.opened = asyncio.Event()
        self.in_flight = self.streams = 0
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="search")
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="keeper")

    # -- beginning and end -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the indexes and warm them up, then look for new generations until :meth:`stop`."""
        loop, begin = asyncio.get_running_loop(), time.perf_counter()
        try:
            await loop.run_in_executor(self._keeper, self._open)
        except Exception as error:
            self.failure = error
            self.opened.set()
            write_line("error", event="start", message=str(error))
            signal.raise_signal(signal.SIGTERM)  # there is nothing to serve, which the log says
            return
        self.ready = True
        self.opened.set()
        write_line("info", event="ready", indexes=list(self.served), seconds=round(time.perf_counter() - begin, 2))
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await loop.run_in_executor(self._keeper, self._refresh)

    async def stop(self) -> None:
        """Take no more work, drop what has not begun, and let go of the indexes."""
        self.ready = False
        for pool in (self._threads, self._keeper):
            pool.shutdown(wait=False, cancel_futures=True)
        for served in self.served.values():
            if isinstance(served.retriever, Cluster):  # its searches may wait for shards that are down
                served.retriever.close()

    def _open(self) -> None:
        for name, path in self.settings.names.items():
            retriever = _opened(path, self.settings)
            if len(retriever):
                retriever.search(WARMING, 3, threads=1, explain=_has_texts(retriever.index))
            else:
                retriever.encode_queries([WARMING])
            gathered = Gathering(retriever.search_batch) if isinstance(retriever, Cluster) else retriever
            self.served[name] = Served(name, retriever, gathered.search_batch)

    def _refresh(self) -> None:
        for served in self.served.values():
            try:
                served.retriever.refresh()
                self._stuck.pop(served.name, None)
            except Exception as error:  # the old generation goes on being served, and this is tried again
                if self._stuck.get(served.name) != str(error):
                    self._stuck[served.name] = str(error)
                    write_line("error", event="refresh", index=served.name, message=str(error))

    # -- asking ------------------------------------------------------------------------------------------------------

    def index(self, name: str | None = None) -> Served:
        """The index of a name; without a name, the only one that is served.

        Raises:
            Problem: there is none, or several; or they are not opened yet.
        """
        if not self.ready:
            raise self.not_ready()
        if name is None:
            if len(self.served) > 1:
                names = ", ".join(self.served)
                raise Problem(400, "invalid_request", f'Several indexes are served: say which "index", of {names}.')
            return next(iter(self.served.values()))
        if name not in self.served:
            raise not_found(f"No index {name[:80]!a} is served: there are {', '.join(self.served)}.")
        return self.served[name]

    def not_ready(self) -> Problem:
        """What a request is told before the indexes are opened."""
        if self.failure is not None:
            return Problem(503, "internal", problem_of(self.failure).message)
        return overloaded("The server is not ready yet: it opens its indexes.")

    async def run(self, job: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Do something in a thread, unless too much is waiting.

        Raises:
            Problem: too much is, or the deadline passed.
        """
        limits = self.settings.limits
        if self.in_flight >= self.settings.threads + limits.queue:
            raise overloaded(f"{self.in_flight} requests are at work or wait already: ask again in a second.")
        end = time.monotonic() + limits.deadline_seconds
        context = contextvars.copy_context()
        self.in_flight += 1
        future = self._threads.submit(context.run, _unless_late, end, job, arguments, named)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda done: self._finished(loop))
        try:
            return await _within(future, limits.deadline_seconds)
        except (TimeoutError, _TooLateError):
            raise timed_out(limits.deadline_seconds) from None

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Count an answer that lasts."""
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    def check_streams(self) -> None:
        """Refuse another answer that lasts, where there are many.

        Raises:
            Problem: there are.
        """
        if self.streams >= self.settings.limits.streams:
            raise overloaded(f"{self.streams} clients follow jobs already: ask for the job itself.", after=5)

    def _finished(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop ended before the thread did
            loop.call_soon_threadsafe(self._count_down)

    def _count_down(self) -> None:
        self.in_flight -= 1

    async def search(self, name: str | None, queries: Sequence[str], k: int, **as_in_search: Any) -> list[Hits]:
        """What :meth:`xtrkit.Retriever.search_batch` finds, on one thread."""
        return await self.run(self.found, self.index(name), queries, k, **as_in_search)

    def found(self, served: Served, queries: Sequence[str], k: int, **as_in_search: Any) -> list[Hits]:
        """As :meth:`search`, for who is in a thread of :meth:`run` already."""
        answers = served.search_batch(queries, k, threads=1, **as_in_search)
        current().found(served.name, answers)
        return answers

    async def rerank(self, name: str | None, query: str, passages: Given, k: int | None = None) -> Hits:
        """As :meth:`xtrkit.Retriever.rerank`."""
        return await self.run(self.index(name).retriever.rerank, query, passages, k)

    async def encode(self, name: str | None, texts: Sequence[str], *, queries: bool) -> Ragged | list[Any]:
        """Token embeddings of queries, or of documents."""
        retriever = self.index(name).retriever
        encode: Callable[..., Any] = retriever.encode_queries if queries else retriever.encoder.encode_documents
        return await self.run(encode, texts)

    async def get(self, name: str | None, ids: Iterable[str] = (), *, documents: Iterable[str] = ()) -> list[Passage]:
        """As :meth:`xtrkit.Retriever.get`."""
        return await self.run(self.index(name).retriever.get, ids, documents=documents)


class _TooLateError(Exception):
    """A job's turn came after its deadline."""


def _unless_late(end: float, job: Callable[..., T], arguments: tuple[Any, ...], named: dict[str, Any]) -> T:
    if time.monotonic() >= end:
        raise _TooLateError
    return job(*arguments, **named)


async def _within(future: Future[T], seconds: float) -> T:
    """What a thread gives; a job that has not begun by then is dropped, and of one that has the result is."""
    async with asyncio.timeout(seconds):
        return await asyncio.wrap_future(future)


def _opened(path: str, settings: Settings) -> Retriever:
    """An index, or a cluster whose shards run elsewhere."""
    loaded: dict[str, Any] = {"model": settings.model, "reranker": settings.reranker, "encoder_threads": 1}
    if settings.address is None:
        return Retriever.open(path, **loaded)
    return Cluster.open(path, address=settings.address, replicas=settings.replicas, cache=settings.cache, **loaded)


def _has_texts(index: Index) -> bool:
    return index.passage(0).text is not None


def hear_warnings() -> None:
    """Have warnings of xtrkit go to the requests that they are about; others go where they went.

    ``warnings.catch_warnings`` changes what all threads see, so requests could not use it side by side.
    """
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        record = hearing()
        if record is not None and issubclass(category, XtrkitWarning):
            record.warnings.append(str(message))
        else:
            before(message, category, *where, **more)

    warnings.simplefilter("always", XtrkitWarning)
    warnings.showwarning = show


def service_of(request: Request) -> Service:
    """The service of the app that a request is for."""
    service: Service = request.app.state.service
    return service


Asked = Annotated[Service, Depends(service_of)]
"""What a route takes to ask: ``async def route(service: Asked)``."""


def facts_of(served: Served) -> dict[str, Any]:
    """What is told of an index that is served."""
    index: Index = served.retriever.index.snapshot()
    identity = served.retriever.encoder.identity
    return {
        "name": served.name,
        "documents": len(index),
        "tokens": index.n_tokens,
        "dimensions": index.dim,
        "generation": index.generation,
        "storage": index.storage,
        "bytes": index.size,
        "encoder": {"name": identity.name, "fingerprint": identity.fingerprint},
        "split": index.splitting is not None,
        "texts": not len(index) or _has_texts(index),
        "metadata_fields": index.metadata_fields(),
        "reranker": None if served.retriever.reranker is None else served.retriever.reranker.name,
    }


def figures_of(service: Service) -> Iterator[tuple[str, dict[str, float]]]:
    """What is measured of each index."""
    for served in list(service.served.values()):
        index = served.retriever.index.snapshot()
        yield (
            served.name,
            {
                "documents": len(index),
                "tokens": index.n_tokens,
                "bytes": index.size,
                "generation": index.generation,
                "segments": index.n_segments,
            },
        )
