"""Reranking of given texts by MaxSim, as Cohere (v1 and v2), Jina and vLLM offer it, and as the client of xtrkit asks.

One shape serves them all: every field that one of them documents is taken, and those that say how another model works
are ignored. ``relevance_score`` is MaxSim over the number of query tokens, 0 to 1 as thresholds expect it; ``score`` is
the sum itself. Texts with nothing in them come last, with 0.

``/rerank`` is also next-plaid's, which sends token vectors instead of texts (:mod:`xtrkit.serving.routes.next_plaid`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from xtrkit.asking import check_query
from xtrkit.content import has_content
from xtrkit.errors import InputError
from xtrkit.hits import Hits
from xtrkit.passage import Passage
from xtrkit.retriever import Retriever
from xtrkit.serving.limits import check_count, check_query_size, group
from xtrkit.serving.service import Asked, Service

router = group("rerank")
Ignored = Annotated[Any, Field(description="Taken, and ignored.")]
SEARCH_UNIT = 100
"""Documents that Cohere counts as one unit."""


class RerankRequest(BaseModel):
    """What to rank, and for which query."""

    model_config = ConfigDict(extra="forbid")

    query: StrictStr
    documents: list[StrictStr | dict[str, Any]] = Field(description='Texts, or objects with a "text".')
    top_n: int | None = Field(None, ge=0, description="How many results; all where it is left out, or 0.")
    return_documents: bool | None = Field(
        None, description="Give the documents back: by default not at /v2/rerank, elsewhere so."
    )
    rank_fields: list[StrictStr] | None = Field(
        None, description="Which fields of documents that are objects are read, in order; by default their text."
    )
    index: StrictStr | None = Field(None, description="Whose encoder; may be left out where one index is served.")
    model: StrictStr | None = Field(None, description="Taken, and ignored: the model is that of the index.")
    max_tokens_per_doc: Ignored = None
    max_chunks_per_doc: Ignored = None
    relevant_spans: Ignored = None
    priority: Ignored = None
    truncation: Ignored = None
    truncate_prompt_tokens: Ignored = None
    truncation_side: Ignored = None
    max_doc_length: Ignored = None
    max_query_length: Ignored = None
    user: Ignored = None
    request_id: Ignored = None
    activation: Ignored = None
    use_activation: Ignored = None
    additional_data: Ignored = None
    mm_processor_kwargs: Ignored = None


class RerankResult(BaseModel):
    """One document.

    Attributes:
        index: its place among those that were given, from 0.
        relevance_score: MaxSim over the number of query tokens.
        score: MaxSim, the sum over query tokens.
        document: it, where it is given back.
    """

    index: int
    relevance_score: float
    score: float
    document: dict[str, Any] | None = None


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class BilledUnits(BaseModel):
    """What Cohere counts."""

    search_units: int


class Meta(BaseModel):
    """What Cohere tells beside results."""

    api_version: dict[str, str]
    billed_units: BilledUnits


class HeardQuery(BaseModel):
    """How much of the query the model could read."""

    pieces: int
    unknown: int
    truncated: bool


class RerankAnswer(BaseModel):
    """Documents, best first."""

    id: str
    model: str
    results: list[RerankResult]
    query: HeardQuery
    usage: Usage
    meta: Meta


@router.post("/v2/rerank", response_model=RerankAnswer, response_model_exclude_none=True)
async def second(request: RerankRequest, service: Asked) -> JSONResponse:
    """Rank texts for a query, as Cohere's v2 does."""
    return await reranked(request, service, "2", documents=False)


@router.post("/v1/rerank", response_model=RerankAnswer, response_model_exclude_none=True)
async def first(request: RerankRequest, service: Asked) -> JSONResponse:
    """Rank texts for a query, as Cohere's v1, Jina and vLLM do."""
    return await reranked(request, service, "1", documents=True)


async def reranked(request: RerankRequest, service: Service, api: str, *, documents: bool) -> JSONResponse:
    """The answer to a request.

    Args:
        request: it.
        service: what is served.
        api: Cohere's version.
        documents: whether documents are given back where the request does not say.
    """
    limits = service.settings.limits
    check_query(request.query)
    check_query_size(request.query, limits)
    check_count(request.documents, limits.texts, "documents")
    texts = [_text(one, request.rank_fields, place) for place, one in enumerate(request.documents)]
    shown = documents if request.return_documents is None else request.return_documents
    retriever = service.index(request.index).retriever
    told = await service.run(_answer, retriever, request.query, texts, request.top_n or len(texts))
    if shown:
        for result in told["results"]:
            given = request.documents[result["index"]]
            result["document"] = {"text": given} if isinstance(given, str) else given
    units = -(-len(texts) // SEARCH_UNIT)
    meta = {"api_version": {"version": api}, "billed_units": {"search_units": units}}
    return JSONResponse({"id": str(uuid.uuid4()), "model": retriever.encoder.identity.name, **told, "meta": meta})


def _text(document: str | dict[str, Any], fields: Sequence[str] | None, place: int) -> str:
    """What is read of a document.

    Raises:
        InputError: there is nothing to read.
    """
    if isinstance(document, str):
        return document
    wanted = fields or ["text"]
    values = [document[name] for name in wanted if name in document]
    if not values or not all(isinstance(value, str | int | float) for value in values):
        raise InputError(
            f"Document {place} must be a text, or an object with a text as {' or '.join(map(repr, wanted))}, "
            f"got the fields {', '.join(map(repr, list(document)[:5])) or 'none'}."
        )
    return "\n".join(map(str, values))


def _answer(retriever: Retriever, query: str, texts: list[str], top_n: int) -> dict[str, Any]:
    """Results, and what is told of the query; in a thread."""
    encoder = retriever.encoder
    given = [Passage(str(place), text) for place, text in enumerate(texts) if has_content(text)]
    hits = retriever.rerank(query, given) if given else Hits((), query)
    n = len(encoder.query_tokens(query))
    results = [
        {"index": int(hit.id), "relevance_score": min(max(hit.score / n, 0.0), 1.0), "score": hit.score} for hit in hits
    ]
    there = {result["index"] for result in results}
    results += [
        {"index": place, "relevance_score": 0.0, "score": 0.0} for place in range(len(texts)) if place not in there
    ]
    read = encoder.readability(texts, "document").pieces + n
    return {
        "results": results[:top_n],
        "query": {"pieces": hits.pieces, "unknown": hits.unknown, "truncated": hits.truncated},
        "usage": {"prompt_tokens": read, "total_tokens": read},
    }
