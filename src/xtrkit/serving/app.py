"""The app: routes, and what stands around them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import APIRouter, FastAPI

from xtrkit.serving import problems
from xtrkit.serving.limits import BodyLimits
from xtrkit.serving.routes import documents, health, page, search
from xtrkit.serving.service import Service, hear_warnings
from xtrkit.serving.settings import Settings

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    search.router,
    documents.router,
    page.router,
)
"""What is served; a group of routes is added here."""

ENVIRONMENT = "XTRKIT_SERVE"
"""Where worker processes find the settings."""


def create_app(settings: Settings) -> FastAPI:
    """An app that serves indexes. They are opened when it starts, beside answering ``/livez``."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hear_warnings()
        opening = asyncio.create_task(service.start())
        yield
        opening.cancel()
        await service.stop()
        with suppress(asyncio.CancelledError, Exception):
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
    app.state.service = service
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(BodyLimits, settings=settings)
    return app


def app_of_environment() -> FastAPI:
    """The app of a worker process."""
    return create_app(Settings.of_json(os.environ[ENVIRONMENT]))
