"""The shapes of answers, for the API's description; what is sent is made by :mod:`xtrkit.answers`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from xtrkit.serving.problems import ErrorBody


class PartModel(BaseModel):
    """Where a passage comes from."""

    document: str
    first: int
    last: int


class SnippetModel(BaseModel):
    """The part of a passage that tells most of why it was found; places in characters."""

    text: str
    first: int
    last: int
    matched: list[tuple[int, int]]


class TokenModel(BaseModel):
    """A token, and where it stands in its text, in characters."""

    piece: str
    start: int
    end: int


class MatchModel(BaseModel):
    """What a query token added to a score; ``others`` share the document token's vector, in an index that pools."""

    query_token: TokenModel
    document_token: TokenModel | None
    others: list[TokenModel]
    similarity: float | None
    imputed: bool


class ScoresModel(BaseModel):
    """What a hit scored by token vectors and by words; null where that one did not find it."""

    tokens: float | None
    words: float | None


class HitModel(BaseModel):
    """One found passage."""

    rank: int
    id: str
    score: float
    text: str | None
    snippet: SnippetModel | None
    metadata: dict[str, Any]
    part: PartModel | None
    matches: list[MatchModel] | None
    scores: ScoresModel | None


class FacetModel(BaseModel):
    """How many hits have a value."""

    value: Any
    count: int


class FoundModel(BaseModel):
    """What was found of one query."""

    query: str
    generation: int | None
    k_prime: int | None
    truncated: bool
    unknown: int
    pieces: int
    seconds: dict[str, float]
    offset: int
    fusion: Literal["rrf", "relative"] | None
    facets: dict[str, list[FacetModel]] | None
    hits: list[HitModel]


class FoundOfOne(FoundModel):
    """The answer to ``query``."""

    index: str
    took_ms: float
    warnings: list[str]


class FoundOfMany(BaseModel):
    """The answer to ``queries``."""

    index: str
    took_ms: float
    warnings: list[str]
    results: list[FoundModel]


class EncoderModel(BaseModel):
    """Which model made an index's vectors."""

    name: str
    fingerprint: str


class IndexModel(BaseModel):
    """An index that is served."""

    name: str
    documents: int
    tokens: int
    dimensions: int
    generation: int
    storage: str
    bytes: int
    encoder: EncoderModel
    split: bool
    texts: bool
    reranker: str | None
    metadata_fields: list[str]


class Indexes(BaseModel):
    """What is served."""

    indexes: list[IndexModel]


class PassageModel(BaseModel):
    """A passage."""

    index: str
    generation: int
    id: str
    text: str | None
    metadata: dict[str, Any]
    part: PartModel | None


class StoredPassage(BaseModel):
    """A passage of several."""

    id: str
    text: str | None
    metadata: dict[str, Any]
    part: PartModel | None


class Passages(BaseModel):
    """Some passages."""

    index: str
    generation: int
    passages: list[StoredPassage]


class Changed(BaseModel):
    """What a change did; the last five where documents were added."""

    index: str
    generation: int
    added: int
    updated: int
    deleted: int
    documents: int
    advice: str | None
    warnings: list[str] = []
    read: int = 0
    passages: int = 0
    truncated: int = 0
    unreadable: int = 0
    ids: list[str] = []


class Progress(BaseModel):
    """Passages that are encoded, of how many."""

    done: int
    total: int


class JobModel(BaseModel):
    """A change that goes on, or has ended."""

    id: str
    status: Literal["waiting", "running", "done", "failed"]
    url: str
    index: str
    created: float
    progress: Progress
    result: Changed | None
    error: ErrorBody | None


class Accepted(BaseModel):
    """A change that nobody waits for."""

    job: JobModel
