"""What stands between a request's body and a route: its size, its pace, and that it is JSON as the standard has it."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xtrkit.errors import InputError
from xtrkit.serving.problems import Problem
from xtrkit.serving.settings import Limits, Settings

LARGE_BODIES = re.compile(r"/v1/documents")
"""Paths whose requests bring documents to be added, which may be large."""

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON may write half a character."""


class BodyLimits:
    """Middleware: counts a request's body as it arrives, and waits for it no longer than it may take."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self._limits = app, settings.limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, if its body is of a size that it may have."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._limits.header_bytes:
            await _too_large_headers(self._limits).response()(scope, receive, send)
            return
        large = LARGE_BODIES.fullmatch(scope["path"]) is not None
        body = _Body(receive, self._limits.write_bytes if large else self._limits.search_bytes, self._limits)
        try:
            body.check_announced(dict(scope["headers"]).get(b"content-length"))
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        await self.app(scope, body.receive, send)


class _Body:
    """A body on its way in."""

    def __init__(self, receive: Receive, most: int, limits: Limits) -> None:
        self._receive, self._most, self._limits = receive, most, limits
        self._bytes, self._begun, self._complete = 0, time.monotonic(), False

    def check_announced(self, length: bytes | None) -> None:
        """Refuse a body that says itself that it is too large, before any of it is read."""
        if length is not None and length.isdigit() and int(length[:20]) > self._most:
            self._refuse(f"{int(length[:20]):,} bytes")

    async def receive(self) -> Message:
        """The next piece."""
        if self._complete:
            return await self._receive()
        allowed = self._limits.body_seconds + self._bytes / self._limits.body_pace
        try:
            async with asyncio.timeout(allowed - (time.monotonic() - self._begun)):
                message = await self._receive()
        except TimeoutError:
            raise Problem(
                408,
                "timeout",
                f"The request's body did not arrive: {self._bytes:,} bytes came in {allowed:.1f} s.",
                headers={"Connection": "close"},
            ) from None
        self._bytes += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._bytes > self._most:
            self._refuse("more")
        return message

    def _refuse(self, got: str) -> NoReturn:
        raise Problem(
            413,
            "too_large",
            f"The request's body must have {self._most:,} bytes at most, got {got}: send it in parts.",
        )


class StrictRequest(Request):
    """A request whose JSON is JSON: UTF-8, no NaN, no half characters, not nested without end."""

    async def json(self) -> Any:
        """The body's value.

        Raises:
            Problem: it isn't JSON.
        """
        if not hasattr(self, "_strict"):
            limits: Limits = self.app.state.service.settings.limits
            self._strict = parsed(await self.body(), limits.json_depth)
        return self._strict


class StrictRoute(APIRoute):
    """A route whose bodies are JSON as :class:`StrictRequest` reads it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As the framework's, with another kind of request."""
        handle = super().get_route_handler()
        takes_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            if takes_body:
                _check_type(request)
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def group(tag: str) -> APIRouter:
    """A group of routes, with a name for the description."""
    return APIRouter(route_class=StrictRoute, tags=[tag])


def check_query_size(query: str, limits: Limits) -> None:
    """Refuse a query that is too long to be one.

    Raises:
        InputError: it is.
    """
    if len(query) > limits.query_characters:
        raise InputError(
            f"A query has {limits.query_characters:,} characters at most, got {len(query):,}: models read no more than "
            "some hundred words."
        )


def check_count(texts: Sequence[Any], most: int, what: str) -> None:
    """Refuse too many texts, and none.

    Raises:
        InputError: there are.
    """
    if not 1 <= len(texts) <= most:
        raise InputError(f"A request has 1 to {most:,} {what}, got {len(texts):,}: send several requests.")


def parsed(body: bytes, depth: int) -> Any:
    """The value of a body.

    Raises:
        Problem: it isn't JSON, or is nested deeper than so.
    """
    try:
        text = body.decode()
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise _too_deep(depth) from None
    except UnicodeDecodeError as error:
        raise _no_json(f"byte {error.start} is no UTF-8") from None
    except json.JSONDecodeError as error:
        raise _no_json(f"{error.msg}, at character {error.pos}") from None
    except ValueError as error:  # a number of thousands of digits
        raise _no_json(str(error).partition(":")[0]) from None
    _check_depth(value, depth)
    if SURROGATE.search(text):
        _check_characters(value)
    return value


def _too_large_headers(limits: Limits) -> Problem:
    return Problem(431, "too_large", f"The headers must have {limits.header_bytes:,} bytes at most.")


def _check_type(request: Request) -> None:
    """Refuse what is no JSON; the pages of other sites can't send it without asking first, which keeps them out."""
    told = request.headers.get("content-type", "")
    kind = told.partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        got = f"got {told[:80]!a}" if told else "got none"
        raise Problem(
            415, "invalid_request", f"The body must be JSON with the header Content-Type: application/json, {got}."
        )


def _check_depth(value: Any, depth: int) -> None:
    level = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _too_deep(depth)


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _no_json("an escape stands for half a character (a surrogate without its other half)") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _no_json(f"the number {text[:40]} is too large")
    return number


def _no_number(name: str) -> NoReturn:
    raise _no_json(f"{name} is no number that JSON has")


def _no_json(why: str) -> Problem:
    return Problem(400, "invalid_request", f"The body is no JSON ({why}): send JSON in UTF-8.")


def _too_deep(depth: int) -> Problem:
    return Problem(400, "invalid_request", f"The body has lists and objects more than {depth} deep: send it flatter.")
