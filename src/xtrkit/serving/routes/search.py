"""``POST /v1/search``: what :meth:`xtrkit.Retriever.search` does, and ``GET /v1/indexes``: what can be searched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from xtrkit.answers import SNIPPET, answer_as_json
from xtrkit.errors import InputError
from xtrkit.recipes import Recipe, recipe_named
from xtrkit.serving.answer_models import FoundOfMany, FoundOfOne, Indexes
from xtrkit.serving.limits import check_count, check_query_size, group
from xtrkit.serving.logs import current
from xtrkit.serving.service import Asked, Served, Service, facts_of
from xtrkit.serving.settings import Limits

router = group("search")
MOST_FACETS = 32
"""Metadata fields whose values a request may have counted."""
Count = Annotated[StrictInt, Field(ge=1)]


class SearchRequest(BaseModel):
    """What to search for, and how; either ``query`` or ``queries``."""

    model_config = ConfigDict(extra="forbid")

    query: StrictStr | None = None
    queries: list[StrictStr] | None = None
    index: StrictStr | None = Field(None, description="Which index; may be left out where one is served.")
    k: Count = 10
    offset: Annotated[StrictInt, Field(ge=0)] = 0
    where: dict[str, Any] | None = Field(None, description="A condition on metadata.")
    subset: list[StrictStr] | None = Field(None, description="Ids of passages or documents that may be found.")
    recipe: StrictStr = "xtr"
    scoring: Literal["xtr", "maxsim"] | None = None
    k_prime: Count | None = None
    imputation: StrictStr | None = None
    reduction: Literal["mean", "sum"] | None = None
    nprobe: Count | Literal["all"] | None = None
    candidates: Count | None = None
    shared: StrictBool | None = None
    explain: StrictBool = False
    rerank: StrictBool | Count = Field(False, description="With the server's reranker; a number is how many it scores.")
    group_by_document: StrictBool | None = None
    fusion: Literal["rrf", "relative"] | None = Field(None, description="Rank by token vectors and words together.")
    alpha: Annotated[float, Field(ge=0, le=1, strict=True)] | None = Field(
        None, description="With a fusion: the share of the token vectors."
    )
    facets: Annotated[list[StrictStr], Field(max_length=MOST_FACETS)] = Field(
        [], description="Fields whose values are counted over the hits."
    )
    snippet: Count = SNIPPET

    def recipe_asked(self) -> Recipe:
        """The named recipe, with the fields that were given."""
        names = {field.name for field in fields(Recipe)} - {"rerank"}
        given = {name: getattr(self, name) for name in names & self.model_fields_set}
        return recipe_named(self.recipe).but(**{name: value for name, value in given.items() if value is not None})

    def asked(self) -> list[str]:
        """The queries."""
        if (self.query is None) == (self.queries is None):
            raise InputError('Give either "query", a text, or "queries", a list of texts.')
        return [self.query] if self.query is not None else list(self.queries or [])


@router.post("/v1/search", response_model=FoundOfOne | FoundOfMany)
async def search(request: SearchRequest, service: Asked) -> JSONResponse:
    """Find the best passages for a query, or for each of several."""
    begin = time.perf_counter()
    queries = request.asked()
    check_size(request, queries, service.settings.limits)
    served = service.index(request.index)
    told = await service.run(_found, service, served, request, queries)
    facts = {"index": served.name, "took_ms": 1000 * (time.perf_counter() - begin), "warnings": current().warnings}
    if request.queries is not None:
        return JSONResponse({**facts, "results": told})
    return JSONResponse({**facts, **told[0]})


def check_size(request: SearchRequest, queries: Sequence[str], limits: Limits) -> None:
    """Refuse what asks for more than the server gives.

    Raises:
        InputError: it does.
    """
    check_count(queries, limits.queries, "queries")
    for query in queries:
        check_query_size(query, limits)
    if request.k > limits.k:
        raise InputError(f"k must be {limits.k:,} at most, got {request.k:,}.")
    if request.offset + request.k > limits.depth:
        raise InputError(f"offset + k must be {limits.depth:,} at most, got {request.offset + request.k:,}.")
    if len(request.subset or ()) > limits.ids:
        raise InputError(f"A subset has {limits.ids:,} ids at most, got {len(request.subset or ()):,}.")


def _depth(request: SearchRequest, served: Served) -> int:
    if request.rerank is False:
        return 0
    if served.retriever.reranker is None:
        raise InputError("This server has no reranker: start it with --rerank MODEL, or leave rerank out.")
    from xtrkit.reranking.base import DEPTH

    return DEPTH if request.rerank is True else int(request.rerank)


def _found(service: Service, served: Served, request: SearchRequest, queries: list[str]) -> list[dict[str, Any]]:
    """Search, and make JSON of what was found, in one thread."""
    found = service.found(
        served,
        queries,
        request.k + request.offset,
        where=request.where,
        subset=request.subset,
        recipe=request.recipe_asked(),
        explain=request.explain,
        rerank_depth=_depth(request, served),
        group_by_document=request.group_by_document,
        fusion=request.fusion,
        alpha=request.alpha,
        facets=request.facets,
    )
    return [
        {
            "offset": request.offset,
            **answer_as_json(one, offset=request.offset, explained=request.explain, snippet=request.snippet),
        }
        for one in found
    ]


@router.get("/v1/indexes", response_model=Indexes)
async def indexes(service: Asked) -> JSONResponse:
    """What is served."""
    service.index(next(iter(service.settings.names)))
    return JSONResponse({"indexes": await service.run(_all_facts, service)})


def _all_facts(service: Service) -> list[dict[str, Any]]:
    return [facts_of(served) for served in service.served.values()]
