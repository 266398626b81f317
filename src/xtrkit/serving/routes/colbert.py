"""``/api/search`` as the server of ColBERT answers it, and as ``dspy.ColBERTv2`` asks it, in both of its ways.

Scores are ColBERT's: sums of MaxSim. What can't be answered comes with the status 200, as ``{"error": true,
"message"}``, since that is where those clients look for it; a missing key and too much to do keep their own status.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from xtrkit.errors import InputError
from xtrkit.hits import Hit
from xtrkit.recipes import COLBERT
from xtrkit.serving.foreign import router_telling
from xtrkit.serving.limits import check_query_size
from xtrkit.serving.problems import ErrorAnswer, Problem
from xtrkit.serving.service import Asked, Service

TOLD_AS_ANSWERS = (400, 404, 422)


class ColbertRequest(BaseModel):
    """What to search for."""

    model_config = ConfigDict(extra="forbid")

    query: str
    k: int = Field(10, ge=1)
    index: str | None = Field(None, description="Which index; may be left out where one is served.")


class ColbertHit(BaseModel):
    """One found passage."""

    pid: str
    text: str
    long_text: str
    rank: int
    score: float
    prob: float


class ColbertAnswer(BaseModel):
    """What was found."""

    query: str
    topk: list[ColbertHit]


class ColbertRefusal(BaseModel):
    """Why nothing could be found."""

    error: Literal[True]
    message: str


def _tell(problem: Problem) -> Response:
    if problem.status_code not in TOLD_AS_ANSWERS:
        return problem.response()
    return JSONResponse({"error": True, "message": problem.message})


router = router_telling("colbert", _tell, ErrorAnswer)


@router.get("/api/search", response_model=ColbertAnswer | ColbertRefusal)
async def search_by_address(request: Annotated[ColbertRequest, Query()], service: Asked) -> JSONResponse:
    """Find the best passages for a query, by ColBERT's scores."""
    return await _answer(request, service)


@router.post("/api/search", response_model=ColbertAnswer | ColbertRefusal)
async def search_by_body(request: ColbertRequest, service: Asked) -> JSONResponse:
    """Find the best passages for a query, by ColBERT's scores."""
    return await _answer(request, service)


async def _answer(request: ColbertRequest, service: Service) -> JSONResponse:
    limits = service.settings.limits
    check_query_size(request.query, limits)
    if request.k > limits.k:
        raise InputError(f"k must be {limits.k:,} at most, got {request.k:,}.")
    (found,) = await service.search(request.index, [request.query], request.k, recipe=COLBERT)
    return JSONResponse({"query": request.query, "topk": _topk(found)})


def _topk(found: Sequence[Hit]) -> list[dict[str, object]]:
    best = found[0].score if found else 0.0
    weights = [math.exp(hit.score - best) for hit in found]
    total = sum(weights)
    return [
        {
            "pid": hit.id,
            "text": hit.text or "",
            "long_text": hit.text or "",
            "rank": hit.rank,
            "score": hit.score,
            "prob": weight / total,
        }
        for hit, weight in zip(found, weights, strict=True)
    ]
