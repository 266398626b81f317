"""Whether the server lives, and whether it is ready for requests."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from xtrkit.serving.limits import group
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
