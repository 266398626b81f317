"""A part of next-plaid's API, as its client asks: what there is, searching, encoding, reranking.

Scores are sums of MaxSim, as next-plaid's. Its numbers of documents are passages' numbers here, which a compaction
changes; the id, and the text, are among the metadata of each result. ``text_query`` is plain words, ranked by BM25 over
texts. Filters in SQL are not offered: ``POST /v1/search`` has ``where``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Header, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from xtrkit.asking import check_query
from xtrkit.errors import InputError
from xtrkit.fusion import ALPHA, DEPTH, fused
from xtrkit.index import Index
from xtrkit.passage import Passage
from xtrkit.recipes import COLBERT
from xtrkit.retriever import Retriever
from xtrkit.scoring.maxsim import maxsim_ranking
from xtrkit.search.engine import Ranked
from xtrkit.serving.foreign import router_telling
from xtrkit.serving.limits import check_count, check_query_size, group
from xtrkit.serving.problems import Problem
from xtrkit.serving.routes.rerank import RerankAnswer, RerankRequest, reranked
from xtrkit.serving.routes.vectors import encoded, streamed_json
from xtrkit.serving.service import Asked, Service
from xtrkit.serving.writes import Writing
from xtrkit.values import FloatArray

Ignored = Annotated[Any, Field(description="Taken, and ignored.")]
CODES = {404: "INDEX_NOT_FOUND", 400: "VALIDATION_ERROR", 422: "VALIDATION_ERROR", 503: "OVERLOADED"}
NO_FILTERS = (
    'Filters in SQL are not offered: ask POST /v1/search with a condition such as {"where": {"year": {"$gte": 2020}}}.'
)


class PlaidError(BaseModel):
    """What went wrong, as next-plaid tells it."""

    code: str
    message: str
    details: Any = None


def _tell(problem: Problem) -> Response:
    code = CODES.get(problem.status_code, problem.kind.upper())
    body = {"code": code, "message": problem.message, "details": problem.details}
    return JSONResponse(body, problem.status_code, problem.headers)


router = router_telling("next-plaid", _tell, PlaidError)
rerank_router = group("rerank")


class Vectors(BaseModel):
    """Token vectors, as lists of numbers or as base64 of little-endian float32."""

    model_config = ConfigDict(extra="forbid")

    embeddings: list[list[float]] | None = None
    embeddings_b64: StrictStr | None = None
    shape: tuple[StrictInt, StrictInt] | None = None

    def array(self) -> FloatArray:
        """(n, d) float32."""
        return _array(self.embeddings, self.embeddings_b64, self.shape)


class PlaidParams(BaseModel):
    """How to search; what is next-plaid's way of searching is ignored."""

    model_config = ConfigDict(extra="forbid")

    top_k: int = Field(10, ge=1)
    n_ivf_probe: Ignored = None
    n_full_scores: Ignored = None
    centroid_score_threshold: Ignored = None


class _PlaidSearch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    params: PlaidParams = PlaidParams(top_k=10)
    subset: list[StrictInt] | None = Field(None, description="Numbers of the passages that may be found.")
    text_query: list[StrictStr] | None = Field(None, description="Words, for each query, or instead of queries.")
    alpha: float = Field(ALPHA, ge=0, le=1, description="With words: the share of the token vectors.")
    fusion: Literal["rrf", "relative_score"] = "rrf"
    filter_condition: StrictStr | None = Field(None, description="Not offered here: see POST /v1/search.")
    filter_parameters: Ignored = None


class PlaidTextSearch(_PlaidSearch):
    """Queries as texts."""

    queries: list[StrictStr]


class PlaidVectorSearch(_PlaidSearch):
    """Queries as token vectors."""

    queries: list[Vectors] = []


class PlaidResult(BaseModel):
    """What was found of one query."""

    query_id: int
    document_ids: list[int]
    scores: list[float]
    metadata: list[dict[str, Any] | None]


class PlaidResults(BaseModel):
    """What was found."""

    results: list[PlaidResult]
    num_queries: int


class PlaidIndex(BaseModel):
    """An index, in next-plaid's words."""

    name: str
    num_documents: int
    num_embeddings: int
    num_partitions: int
    avg_doclen: float
    dimension: int
    has_metadata: bool
    metadata_count: int


class EncodeRequest(BaseModel):
    """Texts to encode."""

    model_config = ConfigDict(extra="forbid")

    texts: list[StrictStr]
    input_type: Literal["query", "document"] = "document"
    pool_factor: Literal[1] | None = Field(None, description="Token vectors are not pooled: leave it out.")
    index: StrictStr | None = Field(None, description="Whose encoder; may be left out where one index is served.")


class Encoded(BaseModel):
    """Token vectors of each text."""

    embeddings: list[list[list[float]]]
    num_texts: int


class EncodedBase64(BaseModel):
    """Token vectors of each text, as base64 of little-endian float32."""

    embeddings_b64: list[str]
    shapes: list[tuple[int, int]]
    num_texts: int


class PlaidTextRerank(BaseModel):
    """Texts to rank."""

    model_config = ConfigDict(extra="forbid")

    query: StrictStr
    documents: list[StrictStr]
    pool_factor: Literal[1] | None = Field(None, description="Token vectors are not pooled: leave it out.")
    index: StrictStr | None = Field(None, description="Whose encoder; may be left out where one index is served.")


class PlaidVectorRerank(BaseModel):
    """Token vectors to rank."""

    model_config = ConfigDict(extra="forbid")

    query: list[list[float]] | None = None
    query_b64: StrictStr | None = None
    query_shape: tuple[StrictInt, StrictInt] | None = None
    documents: list[Vectors]


class PlaidUpdate(BaseModel):
    """Texts to add."""

    model_config = ConfigDict(extra="forbid")

    documents: list[StrictStr] = Field(min_length=1)
    metadata: list[dict[str, Any]] | None = Field(
        None, description='One for each document; its "id" is the passage\'s, which gets a number without one.'
    )
    pool_factor: Literal[1] | None = Field(None, description="Token vectors are not pooled: leave it out.")


class PlaidScore(BaseModel):
    """The score of one document."""

    index: int
    score: float


class PlaidScores(BaseModel):
    """Documents, best first."""

    results: list[PlaidScore]
    num_documents: int


@router.get("/indices", response_model=list[str])
async def indices(service: Asked) -> JSONResponse:
    """The names of the indexes."""
    service.index(next(iter(service.settings.names)))
    return JSONResponse(list(service.served))


@router.get("/indices/{name}", response_model=PlaidIndex)
async def info(name: str, service: Asked) -> JSONResponse:
    """How large an index is."""
    return JSONResponse(await service.run(_facts, name, service.index(name).retriever.index.snapshot()))


def _facts(name: str, index: Index) -> dict[str, Any]:
    return {
        "name": name,
        "num_documents": len(index),
        "num_embeddings": index.n_tokens,
        "num_partitions": index.n_clusters,
        "avg_doclen": index.n_tokens / max(1, len(index)),
        "dimension": index.dim,
        "has_metadata": bool(index.metadata_fields()),
        "metadata_count": len(index),
    }


@router.post("/indices/{name}/search_with_encoding", response_model=PlaidResults)
async def search_texts(name: str, request: PlaidTextSearch, service: Asked) -> JSONResponse:
    """Find the best passages for each query."""
    retriever = _checked(name, request, service)
    for query in request.queries:
        check_query(query)
        check_query_size(query, service.settings.limits)
    return JSONResponse(await service.run(_search_texts, retriever, request))


@router.post("/indices/{name}/search", response_model=PlaidResults)
async def search_vectors(name: str, request: PlaidVectorSearch, service: Asked) -> JSONResponse:
    """Find the best passages for each query, which comes as token vectors."""
    retriever = _checked(name, request, service)
    queries = [query.array() for query in request.queries]
    return JSONResponse(await service.run(_search, retriever.index.snapshot(), queries, request))


@router.post("/indices/{name}/search/filtered", response_model=PlaidResults)
@router.post("/indices/{name}/search/filtered_with_encoding", response_model=PlaidResults)
async def search_filtered(name: str, service: Asked) -> JSONResponse:
    """Not offered: says where conditions are."""
    service.index(name)
    raise InputError(NO_FILTERS)


@router.post("/indices/{name}/update_with_encoding", response_model=str, status_code=202)
async def update(name: str, request: PlaidUpdate, writes: Writing) -> JSONResponse:
    """Add texts, by and by."""
    metadata = request.metadata or [{}] * len(request.documents)
    if len(metadata) != len(request.documents):
        raise InputError(f"There are {len(request.documents)} documents, and metadata of {len(metadata)}.")
    given = [_document(text, one) for text, one in zip(request.documents, metadata, strict=True)]
    outcome = await writes.add(name, given, wait=False)
    return JSONResponse(
        f"Update queued for index {name!r}: {(outcome.job or {}).get('url')} tells how it goes on.", 202
    )


@router.post("/encode", response_model=Encoded | EncodedBase64)
async def encode(
    request: EncodeRequest, service: Asked, x_embeddings_format: Annotated[str | None, Header()] = None
) -> Response:
    """Token vectors of texts."""
    vectors = await encoded(service, request.index, request.texts, request.input_type)
    if x_embeddings_format == "base64":
        packed = [base64.b64encode(rows.astype("<f4").tobytes()).decode() for rows in vectors]
        shapes = [list(rows.shape) for rows in vectors]
        return JSONResponse({"embeddings_b64": packed, "shapes": shapes, "num_texts": len(vectors)})
    return _streamed(vectors)


def _streamed(vectors: Sequence[FloatArray]) -> StreamingResponse:
    return streamed_json({"num_texts": len(vectors)}, "embeddings", vectors, lambda place, rows: rows.tolist())


@router.post("/rerank_with_encoding", response_model=PlaidScores)
async def rerank_texts(request: PlaidTextRerank, service: Asked) -> JSONResponse:
    """Rank texts by MaxSim."""
    limits = service.settings.limits
    check_query(request.query)
    check_query_size(request.query, limits)
    check_count(request.documents, limits.texts, "documents")
    retriever = service.index(request.index).retriever
    return JSONResponse(await service.run(_rerank_texts, retriever, request))


@rerank_router.post("/rerank", response_model=RerankAnswer | PlaidScores, response_model_exclude_none=True)
async def rerank(request: RerankRequest | PlaidVectorRerank, service: Asked) -> JSONResponse:
    """Rank texts for a query, as Jina and vLLM do; or token vectors, as next-plaid does."""
    if isinstance(request, RerankRequest):
        return await reranked(request, service, "1", documents=True)
    check_count(request.documents, service.settings.limits.texts, "documents")
    query = _array(request.query, request.query_b64, request.query_shape)
    documents = [document.array() for document in request.documents]
    return JSONResponse(await service.run(_rerank, query, documents))


def _document(text: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """A text and its metadata as a document, as :meth:`xtrkit.Retriever.add` takes it."""
    rest = {name: value for name, value in metadata.items() if name != "id"}
    return {"text": text, "metadata": rest, **({"id": metadata["id"]} if "id" in metadata else {})}


def _checked(name: str, request: _PlaidSearch, service: Service) -> Retriever:
    """The retriever that a search is for.

    Raises:
        Problem: there is no index of that name.
        InputError: what is asked is not offered, or too much.
    """
    retriever, limits = service.index(name).retriever, service.settings.limits
    if request.filter_condition is not None:
        raise InputError(NO_FILTERS)
    queries: Sequence[Any] = getattr(request, "queries", ())
    words = request.text_query
    check_count(queries or words or (), limits.queries, "queries")
    for one in words or ():
        check_query(one)
        check_query_size(one, limits)
    if queries and words is not None and len(words) != len(queries):
        raise InputError(f"There are {len(queries)} queries, and {len(words)} in text_query: give one for each.")
    if request.params.top_k > limits.k:
        raise InputError(f"top_k must be {limits.k:,} at most, got {request.params.top_k:,}.")
    if len(request.subset or ()) > limits.ids:
        raise InputError(f"A subset has {limits.ids:,} numbers at most, got {len(request.subset or ()):,}.")
    return retriever


def _search_texts(retriever: Retriever, request: PlaidTextSearch) -> dict[str, Any]:
    index = retriever.index.snapshot()
    return _search(index, list(retriever.encode_queries(request.queries)), request)


def _search(index: Index, queries: list[FloatArray], request: _PlaidSearch) -> dict[str, Any]:
    """What was found of each query: by its token vectors, by its words, or by both."""
    k, subset = request.params.top_k, None if request.subset is None else _numbers(request.subset)
    depth = k if request.text_query is None else max(k, DEPTH)
    rankings = index.search_batch(queries, depth, subset=subset, recipe=COLBERT, threads=1) if queries else []
    found = [Ranked(ranking.documents, ranking.scores) for ranking in rankings]
    if request.text_query is not None:
        words = [index._words_found(query, depth, subset, None) for query in request.text_query]
        found = [_fused(*both, request) for both in zip(found, words, strict=True)] if found else words
    results = []
    for place, (documents, scores) in enumerate(found):
        numbers = documents[:k].tolist()
        metadata = [_metadata(passage) for passage in index.passages_of(numbers)]
        told = {"document_ids": numbers, "scores": scores[:k].tolist(), "metadata": metadata}
        results.append({"query_id": place, **told})
    return {"results": results, "num_queries": len(results)}


def _fused(tokens: Ranked, words: Ranked, request: _PlaidSearch) -> Ranked:
    ranked = fused(tokens, words, "rrf" if request.fusion == "rrf" else "relative", request.alpha)
    return Ranked(np.array([one.document for one in ranked], dtype=np.int64), np.array([one.score for one in ranked]))


def _numbers(subset: list[int]) -> Any:
    try:
        return np.array(subset, dtype=np.int64)
    except OverflowError as error:
        raise InputError("A subset holds a number that no passage has.") from error


def _metadata(passage: Passage) -> dict[str, Any]:
    text = {} if passage.text is None else {"text": passage.text}
    return {**text, **(passage.metadata or {}), "id": passage.id}


def _rerank_texts(retriever: Retriever, request: PlaidTextRerank) -> dict[str, Any]:
    query = retriever.encode_queries([request.query])[0]
    return _rerank(query, list(retriever.encoder.encode_documents(request.documents)))


def _rerank(query: FloatArray, documents: Sequence[FloatArray]) -> dict[str, Any]:
    for place, rows in enumerate(documents):
        if rows.shape[1] != query.shape[1]:
            raise InputError(
                f"Document {place} has vectors of {rows.shape[1]} dimensions, the query of {query.shape[1]}: encode "
                "both with one model."
            )
    ranked = zip(*(column.tolist() for column in maxsim_ranking(query, documents)), strict=True)
    results = [{"index": place, "score": score} for place, score in ranked]
    return {"results": results, "num_documents": len(documents)}


def _array(given: list[list[float]] | None, packed: str | None, shape: tuple[int, int] | None) -> FloatArray:
    """(n, d) float32 token vectors, as they came.

    Raises:
        InputError: they are none.
    """
    if (given is None) == (packed is None):
        raise InputError("Token vectors come either as lists of numbers or as base64, with their shape.")
    if given is not None:
        if not given or not given[0] or any(len(row) != len(given[0]) for row in given):
            raise InputError("Token vectors must be one row or more, all of one length.")
        rows = np.array(given, dtype=np.float32)
    else:
        rows = _unpacked(packed or "", shape)
    if not (np.abs(rows) <= np.finfo(np.float16).max).all():
        raise InputError(
            "Token vectors must be numbers up to 65504: there is NaN, infinity or a larger one among them."
        )
    return rows


def _unpacked(packed: str, shape: tuple[int, int] | None) -> FloatArray:
    try:
        data = base64.b64decode(packed, validate=True)
    except ValueError as error:  # characters that are no ASCII, or none of base64
        raise InputError(f"Token vectors are no base64 ({error}).") from error
    if shape is None or min(shape) < 1 or 4 * shape[0] * shape[1] != len(data):
        raise InputError(
            f"Token vectors of {len(data):,} bytes need their shape, (tokens, dimensions) of float32, got {shape}."
        )
    return np.frombuffer(data, dtype="<f4").reshape(shape).astype(np.float32)
