"""``/v1/jobs/{id}``: how a change goes on that nobody waits for, once or as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from xtrkit.serving.answer_models import JobModel
from xtrkit.serving.jobs import Jobs
from xtrkit.serving.limits import group
from xtrkit.serving.problems import RESPONSES_AS_JSON, not_found
from xtrkit.serving.service import Asked, stopping

router = group("jobs")
LOOK_SECONDS = 0.1
"""How often is looked how a job goes on."""


def _jobs_of(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.writes.jobs
    return jobs


def _job_of(id: str, jobs: Annotated[Jobs, Depends(_jobs_of)]) -> dict[str, Any]:  # noqa: A002 - the parameter's name
    told = jobs.read(id)
    if told is None:
        raise not_found(f"There is no job {id[:80]!a} (any more): they are kept for an hour after their end.")
    return told


def _check_streams(service: Asked) -> None:
    service.check_streams()


Told = Annotated[dict[str, Any], Depends(_job_of)]


@router.get("/v1/jobs/{id}", response_model=JobModel)
async def job(told: Told) -> JSONResponse:
    """How a change goes on."""
    return JSONResponse(told)


@router.get(
    "/v1/jobs/{id}/events",
    response_class=EventSourceResponse,
    responses=RESPONSES_AS_JSON,
    dependencies=[Depends(_check_streams)],
)
async def events(
    told: Told, jobs: Annotated[Jobs, Depends(_jobs_of)], service: Asked
) -> AsyncIterator[ServerSentEvent]:
    """How a change goes on, as server-sent events: ``progress`` whenever it did, and ``done`` or ``failed``."""
    with service.streaming():
        while told["status"] in ("waiting", "running"):
            yield ServerSentEvent(data=told, event="progress")
            before = told
            while told == before and not stopping.is_set():
                await asyncio.sleep(LOOK_SECONDS)
                told = jobs.read(before["id"]) or before
            if stopping.is_set():
                return
        yield ServerSentEvent(data=told, event=told["status"])
