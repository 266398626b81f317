"""A server of xtrkit as if its index were here: the methods and results of a retriever, over HTTP.

>>> from xtrkit.client import Client
>>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
...     for hit in client.search("who wrote it?", 3):
...         print(hit.id, hit.score, hit.text)

:class:`AsyncClient` is the same, to be awaited. What is asked, and how answers are read, is told once for both, in
:mod:`xtrkit.conversation`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from xtrkit.conversation import Ask, Conversation, Pause, Reply, Talk, persistent
from xtrkit.errors import InputError, ServerError, missing_extra

if TYPE_CHECKING:
    import httpx

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT = 60.0
"""Seconds without a byte of an answer, after which it is given up."""


def _sent(build: Callable[Concatenate[Conversation, P], Talk[T]]) -> Callable[Concatenate[Client, P], T]:
    """A method that has a conversation."""

    @functools.wraps(build)
    def method(self: Client, /, *arguments: P.args, **named: P.kwargs) -> T:
        return self._converse(build(self._conversation, *arguments, **named))

    _tell_what_comes(method, build)
    return method


def _awaited(
    build: Callable[Concatenate[Conversation, P], Talk[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """A method that has a conversation, as a coroutine."""

    @functools.wraps(build)
    async def method(self: AsyncClient, /, *arguments: P.args, **named: P.kwargs) -> T:
        return await self._converse(build(self._conversation, *arguments, **named))

    _tell_what_comes(method, build)
    return method


def _tell_what_comes(method: Callable[..., Any], build: Callable[..., Any]) -> None:
    """Give a method the signature of what it asks, with the type of what it returns: for ``help`` and for the site."""
    signature = inspect.signature(build)
    comes = signature.return_annotation.removeprefix("Talk[").removesuffix("]")
    method.__annotations__ = {**build.__annotations__, "return": comes}
    method.__signature__ = signature.replace(return_annotation=comes)  # type: ignore[attr-defined]


class Client:
    """Asks a server. It may be used from several threads; closed by :meth:`close`, or as a context manager.

    Args:
        url: the server's address, such as "http://127.0.0.1:8000".
        key: a read key, or a write key to add and delete.
        index: the name of an index; may be left out where the server has one.
        timeout: seconds without a byte of an answer, after which it is given up.

    Raises:
        InputError: the address is none.
        MissingExtraError: httpx isn't installed.
    """

    def __init__(self, url: str, *, key: str | None = None, index: str | None = None, timeout: float = TIMEOUT) -> None:
        self._conversation, self.url = Conversation(index), url
        self._http = _httpx().Client(**_options(url, key, timeout))
        weakref.finalize(self, self._http.close)  # of a client that something else opened, and let go of

    indexes = _sent(Conversation.indexes)
    search = _sent(Conversation.search)
    search_batch = _sent(Conversation.search_batch)
    rerank = _sent(Conversation.rerank)
    get = _sent(Conversation.get)
    add = _sent(Conversation.add)
    delete = _sent(Conversation.delete)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _converse(self, talk: Talk[T]) -> T:
        steps = persistent(talk, self.url)
        reply: Reply | None = None
        while True:
            try:
                said = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            reply = self._done(said)

    def _done(self, said: Ask | Pause) -> Reply | None:
        if isinstance(said, Pause):
            time.sleep(said.seconds)
            return None
        with _reached(self.url):
            return _reply_of(self._http.request(**_request(said)))


class AsyncClient:
    """As :class:`Client`, with coroutines; closed by :meth:`aclose`, or by ``async with``.

    Args:
        url: as in :class:`Client`.
        key: as in :class:`Client`.
        index: as in :class:`Client`.
        timeout: as in :class:`Client`.

    Raises:
        InputError: as in :class:`Client`.
        MissingExtraError: as in :class:`Client`.
    """

    def __init__(self, url: str, *, key: str | None = None, index: str | None = None, timeout: float = TIMEOUT) -> None:
        self._conversation, self.url = Conversation(index), url
        self._http = _httpx().AsyncClient(**_options(url, key, timeout))

    indexes = _awaited(Conversation.indexes)
    search = _awaited(Conversation.search)
    search_batch = _awaited(Conversation.search_batch)
    rerank = _awaited(Conversation.rerank)
    get = _awaited(Conversation.get)
    add = _awaited(Conversation.add)
    delete = _awaited(Conversation.delete)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def _converse(self, talk: Talk[T]) -> T:
        steps = persistent(talk, self.url)
        reply: Reply | None = None
        while True:
            try:
                said = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            reply = await self._done(said)

    async def _done(self, said: Ask | Pause) -> Reply | None:
        if isinstance(said, Pause):
            await asyncio.sleep(said.seconds)
            return None
        with _reached(self.url):
            return _reply_of(await self._http.request(**_request(said)))


def _options(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """What both kinds of connections are made with."""
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise InputError(f"The address of a server begins with http:// or https://, got {url!r:.80}.")
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return {"base_url": url, "headers": headers, "timeout": timeout}


def _httpx() -> ModuleType:
    try:
        import httpx
    except ImportError as error:
        raise missing_extra("Asking a server", "server") from error
    return httpx


def _request(ask: Ask) -> dict[str, Any]:
    return {"method": ask.method, "url": ask.path, "params": list(ask.params), "json": ask.json}


def _reply_of(response: httpx.Response) -> Reply:
    try:
        told = response.json()
    except ValueError:
        told = None
    return Reply(response.status_code, told, response.headers.get("retry-after"))


@contextmanager
def _reached(url: str) -> Iterator[None]:
    """Tell of a server that can't be reached, or does not answer.

    Raises:
        ServerError: it is so.
    """
    httpx = _httpx()
    try:
        yield
    except httpx.TimeoutException as error:
        raise ServerError(
            f"{url} did not answer in time ({type(error).__name__}): raise timeout=.", kind="timeout"
        ) from error
    except httpx.InvalidURL as error:
        raise InputError(f"{url!r:.80} is no address of a server: {error}.") from error
    except httpx.HTTPError as error:
        raise ServerError(f"No answer from {url} ({error}): is the server running there?") from error
