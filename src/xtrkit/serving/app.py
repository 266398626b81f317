"""The app: routes, and what stands around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware

from xtrkit.serving import problems
from xtrkit.serving.keys import Gate, Keys
from xtrkit.serving.limits import BodyLimits
from xtrkit.serving.logs import Accounts
from xtrkit.serving.metrics import Metrics
from xtrkit.serving.routes import agents, colbert, documents, health, jobs, next_plaid, page, rerank, search, vectors
from xtrkit.serving.service import Service, figures_of, hear_warnings
from xtrkit.serving.settings import Settings
from xtrkit.serving.writes import Writes

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    search.router,
    documents.router,
    jobs.router,
    colbert.router,
    rerank.router,
    vectors.router,
    next_plaid.router,
    next_plaid.rerank_router,
    page.router,
)
"""What is served; a group of routes is added here."""


def create_app(settings: Settings) -> FastAPI:
    """An app that serves indexes. They are opened when it starts, beside answering ``/livez``.

    Raises:
        InputError: a key file can't be used.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
        hear_warnings()
        app.state.writes.start()
        opening = asyncio.create_task(service.start())
        if settings.workers > 1:  # others share the port: this one takes no connection before it can answer
            await service.opened.wait()
        async with agents_run:
            yield {"limits": settings.limits}
        opening.cancel()
        await app.state.writes.stop()
        await service.stop()
        with suppress(asyncio.CancelledError):
            await opening

    service = Service(settings)
    app = FastAPI(
        title="xtrkit",
        version=version("xtrkit"),
        lifespan=lifespan,
        responses=problems.RESPONSES,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service, app.state.keys = service, Keys.of(settings)
    app.state.metrics = Metrics(partial(figures_of, service))
    app.state.writes = Writes(service, app.state.metrics)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    agents_run = agents.add_agents(app, service)
    _surround(app, settings)
    return app


def _surround(app: FastAPI, settings: Settings) -> None:
    """Put around the routes what every request goes through, the innermost first."""
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Gate, keys=app.state.keys, settings=settings)
    if settings.allow_origins:  # a browser asks without a key whether it may ask with one
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allow_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    app.add_middleware(Accounts, metrics=app.state.metrics, log_queries=settings.log_queries)
