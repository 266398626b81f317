"""Whether the server lives, whether it is ready for requests, and its figures."""

from __future__ import annotations

from typing import Literal

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from xtrkit.serving.limits import group
from xtrkit.serving.metrics import Metrics
from xtrkit.serving.service import Asked

router = group("health")


class Health(BaseModel):
    """That all is well."""

    status: Literal["ok"] = "ok"


@router.get("/livez")
async def alive() -> Health:
    """Whether the process answers at all."""
    return Health()


@router.get("/readyz")
async def ready(service: Asked) -> Health:
    """Whether the indexes are opened and warm."""
    if not service.ready:
        raise service.not_ready()
    return Health()


@router.get("/health")
async def health(service: Asked) -> Health:
    """As ``/readyz``, under the name that other servers have for it."""
    return await ready(service)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Figures of this process for Prometheus."""
    figures: Metrics = request.app.state.metrics
    return Response(figures.text(), media_type=CONTENT_TYPE_LATEST)
