"""``/mcp``: what ``xtrkit mcp`` offers agents, beside the other routes of a server, over streamable HTTP.

The key and the name of the server are checked before, as for every route. Each request stands for itself, so that
several processes can serve them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

from anyio import from_thread
from fastapi import FastAPI
from starlette.routing import Route

from xtrkit.errors import ServerError
from xtrkit.hits import Hit, Hits
from xtrkit.passage import Passage
from xtrkit.serving.problems import Problem
from xtrkit.serving.service import Service
from xtrkit.serving.shelf import passages_named, uri_of

T = TypeVar("T")


class ServedShelf:
    """The indexes of a server. Its methods are called in threads, and ask the service as routes do."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._fields: dict[str, tuple[int, Sequence[str]]] = {}

    @property
    def names(self) -> Sequence[str]:
        """Their names."""
        return list(self._service.settings.names)

    def search(self, name: str, query: str, k: int, where: Mapping[str, Any] | None) -> Sequence[Hit]:
        """The k best passages of one of them."""
        found: list[Hits] = _asked(partial(self._service.search, name, [query], k, where=where))
        return found[0]

    def passages(self, name: str, identifier: str) -> list[Passage]:
        """The passage with an id, or all those of the document with that id."""
        found: list[Passage] = _asked(self._run, name, passages_named, identifier)
        return found

    def fields(self, name: str) -> Sequence[str]:
        """The names of the metadata fields of one of them; none before it is opened."""
        if not self._service.ready:
            return []
        generation = self._service.index(name).retriever.index.generation
        if self._fields.get(name, (-1, ()))[0] != generation:
            self._fields[name] = generation, _asked(self._run, name, lambda index: index.metadata_fields())
        return self._fields[name][1]

    def place(self, name: str, identifier: str, document: str) -> str:
        """A name for the passage."""
        return uri_of(name, identifier)

    async def _run(self, name: str, job: Callable[..., T], *arguments: Any) -> T:
        return await self._service.run(job, self._service.index(name).retriever.index.snapshot(), *arguments)


def _asked(ask: Callable[..., Any], *arguments: Any) -> Any:
    """What a coroutine function gives, from a thread.

    Raises:
        ServerError: the service has too much to do, or is not ready.
    """
    try:
        return from_thread.run(ask, *arguments)
    except Problem as problem:
        raise ServerError(problem.message, status=problem.status_code, kind=problem.kind) from problem


def add_agents(app: FastAPI, service: Service) -> AbstractAsyncContextManager[Any]:
    """Give an app the route ``/mcp``, where the packages for it are installed; return what is entered while it runs."""
    try:
        from mcp.server.transport_security import TransportSecuritySettings

        from xtrkit.serving.agents import agents_server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("xtrkit"):
            raise
        return nullcontext()
    server = agents_server(ServedShelf(service))
    names_are_checked_before = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    served = server.streamable_http_app(
        streamable_http_path="/mcp",
        json_response=True,
        stateless_http=True,
        max_request_body_size=service.settings.limits.search_bytes,
        transport_security=names_are_checked_before,
    )
    (route,) = served.routes
    # Streams that agents open to be told of changes would be held for ever, and there is nothing to tell: POST alone.
    app.router.routes.append(Route("/mcp", route.app, methods=["POST"], include_in_schema=False))  # type: ignore[attr-defined]
    return server.session_manager.run()
