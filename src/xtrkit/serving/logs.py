"""Around every request: an id, a line in the log, figures, headers, and a sentence where something went wrong.

The log is one JSON object a line on standard error. It has no text of queries unless the settings say so, and no path
but the route's template: ids of documents may be names of people.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
import uuid
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xtrkit.hits import Hits
from xtrkit.serving.metrics import Metrics
from xtrkit.serving.problems import problem_of

OWN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Ids of requests that are taken over from a client; others could write into logs what isn't there."""

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""What browsers are told of all answers; a route's own headers go before these."""


@dataclass
class Record:
    """What is known of a request at work, for its log line and its answer.

    Attributes:
        id: its id.
        warnings: sentences for its answer.
        facts: what routes add to the log line.
        queries: the texts of its queries.
    """

    id: str
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    queries: list[str] = field(default_factory=list)

    def found(self, index: str, answers: Sequence[Hits]) -> None:
        """Note what a search found."""
        stages: dict[str, float] = {}
        for answer in answers:
            for stage, seconds in answer.seconds.items():
                stages[stage] = stages.get(stage, 0.0) + seconds
        self.queries += [answer.query for answer in answers]
        self.facts |= {
            "index": index,
            "generation": answers[0].generation if answers else None,
            "hits": sum(map(len, answers)),
            "stages": stages,
        }


_current: ContextVar[Record | None] = ContextVar("request", default=None)


def current() -> Record:
    """The request that this is done for, in whatever thread; one of its own where there is none."""
    return _current.get() or Record("")


def hearing() -> Record | None:
    """The request that this is done for, if it is done for one."""
    return _current.get()


class Accounts:
    """Middleware, the outermost: gives each request an id and accounts for it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, log_queries: bool = False) -> None:
        self.app, self._metrics, self._log_queries = app, metrics, log_queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and write down what became of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record, begin, status = Record(_id_of(scope)), time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, record)
            await send(message)

        token = _current.set(record)
        error: BaseException | None = None
        try:
            with self._metrics.at_work():
                await self.app(scope, receive, sending)
        except Exception as unforeseen:
            error = unforeseen
            if not status:
                await problem_of(unforeseen).response()(scope, receive, sending)
        finally:
            _current.reset(token)
            seconds = time.perf_counter() - begin
            route = _template(scope)
            self._metrics.answered(route, scope["method"], status, seconds, record.facts.get("stages", {}))
            self._write(record, scope["method"], route, status, seconds, error)

    def _write(
        self, record: Record, method: str, route: str, status: int, seconds: float, error: BaseException | None
    ) -> None:
        facts = dict(record.facts)
        stages = facts.pop("stages", {})
        line = {
            "event": "request",
            "id": record.id,
            "method": method,
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 2),
            **facts,
            **({"stages_ms": {name: round(1000 * took, 2) for name, took in stages.items()}} if stages else {}),
            **({"queries": record.queries} if self._log_queries and record.queries else {}),
        }
        if error is not None:
            line["error"] = "".join(traceback.format_exception(error))
        write_line("error" if status >= 500 and status not in (503, 504) else "info", **line)


def write_line(level: str, **facts: Any) -> None:
    """Write a line into the log."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    if sys.stderr is not None:
        sys.stderr.write(json.dumps({"time": now, "level": level, **facts}, default=str) + "\n")
        sys.stderr.flush()


class Lines(logging.Handler):
    """What libraries log, as lines of the same kind."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one down."""
        facts = {"event": record.name, "message": record.getMessage()}
        if record.exc_info:
            facts["error"] = logging.Formatter().formatException(record.exc_info)
        write_line(record.levelname.lower(), **facts)


def take_over() -> None:
    """Have the HTTP server's messages be lines of this log."""
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], name == "uvicorn.error"
        logger.setLevel(logging.WARNING)
    for name in ("uvicorn", "asyncio"):
        logging.getLogger(name).addHandler(Lines())


def _id_of(scope: Scope) -> str:
    """The client's id of a request where that is harmless, or a new one."""
    for name, value in scope["headers"]:
        given: str = value.decode("latin-1")
        if name == b"x-request-id" and OWN_ID.fullmatch(given):
            return given
    return uuid.uuid4().hex


def _template(scope: Scope) -> str:
    """The path with names for what varies; an unknown path is none of ours to write down."""
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path else "(none)"


def _add_headers(message: Message, record: Record) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in SAFE_HEADERS.items():
        headers.setdefault(name, value)
    headers["X-Request-ID"] = record.id
