"""Token vectors of given texts, as Jina (``/v1/multi-vector``) and vLLM (``/pooling``) give them.

vLLM's request does not say whether its texts are queries or documents: they are documents, unless ``input_type``, which
is ours, says otherwise. Answers are sent text by text, since numbers as JSON take ten times their room.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from xtrkit.asking import check_query
from xtrkit.errors import InputError
from xtrkit.retriever import Retriever
from xtrkit.serving.limits import check_count, check_query_size, group
from xtrkit.serving.service import Asked, Service
from xtrkit.values import FloatArray

router = group("vectors")
Ignored = Annotated[Any, Field(description="Taken, and ignored.")]


class TextInput(BaseModel):
    """A text, as Jina has it where inputs may be pictures."""

    model_config = ConfigDict(extra="forbid")

    text: StrictStr


class MultiVectorRequest(BaseModel):
    """Texts, as Jina's API has them."""

    model_config = ConfigDict(extra="forbid")

    input: StrictStr | list[StrictStr | TextInput]
    input_type: Literal["query", "document"] = "document"
    embedding_type: Literal["float"] | list[Literal["float"]] = "float"
    dimensions: StrictInt | None = Field(None, description="Only as many as the model has.")
    index: StrictStr | None = Field(None, description="Whose encoder; may be left out where one index is served.")
    model: StrictStr | None = Field(None, description="Taken, and ignored: the model is that of the index.")
    truncate: Ignored = None
    return_tokens: Ignored = None


class PoolingRequest(BaseModel):
    """Texts, as vLLM's API has them."""

    model_config = ConfigDict(extra="forbid")

    input: StrictStr | list[StrictStr]
    input_type: Literal["query", "document"] = "document"
    encoding_format: Literal["float"] = "float"
    dimensions: StrictInt | None = Field(None, description="Only as many as the model has.")
    index: StrictStr | None = Field(None, description="Whose encoder; may be left out where one index is served.")
    model: StrictStr | None = Field(None, description="Taken, and ignored: the model is that of the index.")
    task: Literal["token_embed"] | None = None
    user: Ignored = None
    request_id: Ignored = None
    priority: Ignored = None
    truncate_prompt_tokens: Ignored = None
    truncation_side: Ignored = None
    add_special_tokens: Ignored = None
    normalize: Ignored = None
    activation: Ignored = None
    use_activation: Ignored = None
    softmax: Ignored = None
    mm_processor_kwargs: Ignored = None


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class MultiVector(BaseModel):
    """The token vectors of one text."""

    object: Literal["embeddings"]
    index: int
    embeddings: list[list[float]]


class MultiVectors(BaseModel):
    """Token vectors, in the order of the texts."""

    object: Literal["list"]
    model: str
    data: list[MultiVector]
    usage: Usage


class Pooled(BaseModel):
    """The token vectors of one text."""

    object: Literal["pooling"]
    index: int
    data: list[list[float]]


class Poolings(BaseModel):
    """Token vectors, in the order of the texts."""

    object: Literal["list"]
    id: str
    created: int
    model: str
    data: list[Pooled]
    usage: Usage


@router.post("/v1/multi-vector", response_model=MultiVectors)
async def multi_vector(request: MultiVectorRequest, service: Asked) -> StreamingResponse:
    """Token vectors of texts, as Jina gives them."""
    inputs = [request.input] if isinstance(request.input, str) else request.input
    texts = [one if isinstance(one, str) else one.text for one in inputs]
    vectors = await encoded(service, request.index, texts, request.input_type, request.dimensions)
    return _streamed(_head(service, request.index, vectors), vectors, "embeddings", "embeddings")


@router.post("/pooling", response_model=Poolings)
async def pooling(request: PoolingRequest, service: Asked) -> StreamingResponse:
    """Token vectors of texts, as vLLM gives them."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    vectors = await encoded(service, request.index, texts, request.input_type, request.dimensions)
    head = {"id": f"pool-{uuid.uuid4().hex}", "created": int(time.time())}
    return _streamed({**head, **_head(service, request.index, vectors)}, vectors, "pooling", "data")


async def encoded(
    service: Service, index: str | None, texts: Sequence[str], input_type: str, dimensions: int | None = None
) -> list[FloatArray]:
    """(n, d) token vectors of each text.

    Args:
        service: what is served.
        index: whose encoder.
        texts: the texts.
        input_type: "query" or "document".
        dimensions: how many the request asks for; None for as many as there are.

    Raises:
        InputError: there are too many texts, or none, or a query is empty or too long, or the model has other
            dimensions.
    """
    retriever, limits = service.index(index).retriever, service.settings.limits
    check_count(texts, limits.queries, "texts to encode")
    if dimensions is not None and dimensions != retriever.index.dim:
        raise InputError(f"The model makes vectors of {retriever.index.dim} dimensions, not of {dimensions}.")
    if input_type == "query":
        for text in texts:
            check_query(text)
            check_query_size(text, limits)
    return await service.run(_encode, retriever, list(texts), input_type)


def _encode(retriever: Retriever, texts: list[str], input_type: str) -> list[FloatArray]:
    encoder = retriever.encoder
    return list(encoder.encode_queries(texts) if input_type == "query" else encoder.encode_documents(texts))


def _head(service: Service, index: str | None, vectors: Sequence[FloatArray]) -> dict[str, Any]:
    read = sum(map(len, vectors))
    name = service.index(index).retriever.encoder.identity.name
    return {"object": "list", "model": name, "usage": {"prompt_tokens": read, "total_tokens": read}}


def _streamed(head: Mapping[str, Any], vectors: Sequence[FloatArray], kind: str, field: str) -> StreamingResponse:
    def entry(place: int, rows: FloatArray) -> dict[str, Any]:
        return {"object": kind, "index": place, field: rows.tolist()}

    return streamed_json(head, "data", vectors, entry)


def streamed_json(
    head: Mapping[str, Any], name: str, rows: Sequence[Any], entry: Callable[[int, Any], Any]
) -> StreamingResponse:
    """An object as JSON, one of whose fields is a long list, made and sent entry by entry.

    Args:
        head: its other fields.
        name: that field.
        rows: what the entries are made of.
        entry: makes one, of its place and what it is made of.
    """

    def parts() -> Iterator[str]:
        yield json.dumps(head)[:-1] + f', "{name}": ['
        for place, one in enumerate(rows):
            yield (", " if place else "") + json.dumps(entry(place, one))
        yield "]}"

    return StreamingResponse(parts(), media_type="application/json")
