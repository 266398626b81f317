"""``/v1/documents``: what is stored of passages, and changing it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictBool, StrictStr, Tag

from xtrkit.answers import passage_as_json
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.serving.answer_models import Accepted, Changed, PassageModel, Passages
from xtrkit.serving.limits import group
from xtrkit.serving.problems import Problem, not_found
from xtrkit.serving.service import Asked
from xtrkit.serving.writes import Outcome, Writing

router = group("documents")


class NewDocument(BaseModel):
    """A document: its text, and what else is known of it."""

    model_config = ConfigDict(extra="forbid")

    id: StrictStr | None = Field(None, description="Without one it gets a number that no passage has.")
    text: StrictStr
    title: StrictStr | None = Field(None, description="Put before the text.")
    metadata: dict[str, Any] | None = None


def _kind(given: object) -> str:
    return "text" if isinstance(given, str) else "document"


Given = Annotated[Annotated[StrictStr, Tag("text")] | Annotated[NewDocument, Tag("document")], Discriminator(_kind)]
"""A text, or a document: told apart before they are checked, so that one thing is said of each."""


class AddRequest(BaseModel):
    """Documents to be added; those whose ids are there already are replaced."""

    model_config = ConfigDict(extra="forbid")

    index: StrictStr | None = Field(None, description="Which index; may be left out where one is served.")
    documents: list[Given] = Field(min_length=1)
    wait: StrictBool | None = Field(
        None, description="Until they can be found; by default where they are few. A job is answered otherwise."
    )


class DeleteRequest(BaseModel):
    """Passages to be deleted, or documents, all of whose passages are."""

    model_config = ConfigDict(extra="forbid")

    index: StrictStr | None = Field(None, description="Which index; may be left out where one is served.")
    ids: list[StrictStr] = []
    documents: list[StrictStr] = []
    missing_ok: StrictBool = False


Which = Annotated[str | None, Query(description="Which index; may be left out where one is served.")]


@router.get("/v1/documents", response_model=Passages)
async def several(
    service: Asked,
    id: Annotated[list[str], Query(description="Ids of passages.")] = [],  # noqa: A002, B006 - the parameter's name
    document: Annotated[list[str], Query(description="Ids of documents that were cut into passages.")] = [],  # noqa: B006
    index: Which = None,
) -> JSONResponse:
    """Passages by id, and all passages of documents."""
    served, most = service.index(index), service.settings.limits.ids
    if not 1 <= len(id) + len(document) <= most:
        raise InputError(f"Name 1 to {most:,} passages or documents, got {len(id) + len(document):,}.")
    view = served.retriever.index.snapshot()
    found = await service.run(_several, view, id, document)
    return JSONResponse({"index": served.name, "generation": view.generation, "passages": found})


@router.get("/v1/documents/{id:path}", response_model=PassageModel)
async def one(id: str, service: Asked, index: Which = None) -> JSONResponse:  # noqa: A002 - the parameter's name
    """One passage: its text and metadata, and which part of which document it is."""
    served = service.index(index)
    view = served.retriever.index.snapshot()
    found = await service.run(_one, view, id)
    return JSONResponse({"index": served.name, "generation": view.generation, **found})


@router.post("/v1/documents", response_model=Changed, responses={202: {"model": Accepted}})
async def add(request: AddRequest, writes: Writing) -> JSONResponse:
    """Add documents in one commit; they are cut as those of the index were, and can be found when this is answered."""
    documents = [one if isinstance(one, str) else one.model_dump(exclude_none=True) for one in request.documents]
    return _answer(await writes.add(request.index, documents, wait=request.wait))


@router.delete("/v1/documents", response_model=Changed, responses={202: {"model": Accepted}})
async def delete(request: DeleteRequest, writes: Writing) -> JSONResponse:
    """Delete passages by id, or all those of documents, in one commit."""
    outcome = writes.delete(request.index, request.ids, documents=request.documents, missing_ok=request.missing_ok)
    return _answer(await outcome)


@router.delete("/v1/documents/{id:path}", response_model=Changed, responses={202: {"model": Accepted}})
async def delete_one(id: str, service: Asked, writes: Writing, index: Which = None) -> JSONResponse:  # noqa: A002
    """Delete one passage, or all those of the document with this id."""
    view = service.index(index).retriever.index.snapshot()
    if not await service.run(_is_there, view, id):
        raise not_found(f"No passage of this index has the id {id[:80]!a}.")
    return _answer(await writes.delete(index, [id]))


def _answer(outcome: Outcome) -> JSONResponse:
    if outcome.job is not None:
        return JSONResponse({"job": outcome.job}, 202, {"Location": outcome.job["url"]})
    return JSONResponse(outcome.result)


def _is_there(view: Index, identifier: str) -> bool:
    return bool(view.numbers([identifier])) or bool(_of_document(view, identifier))


def _of_document(view: Index, identifier: str) -> list[str]:
    try:
        return [passage.id for passage in view.get(documents=[identifier])]
    except InputError:
        return []


def _several(view: Index, ids: list[str], documents: list[str]) -> list[dict[str, Any]]:
    try:
        return [passage_as_json(passage) for passage in view.get(ids, documents=documents)]
    except InputError as error:
        raise not_found(str(error)) from None


def _one(view: Index, identifier: str) -> dict[str, Any]:
    found = view.numbers([identifier])
    if identifier in found:
        return passage_as_json(view.passages_of([found[identifier]])[0])
    passages = _of_document(view, identifier)
    if not passages:
        raise not_found(f"No passage of this index has the id {identifier[:80]!a}.")
    raise Problem(
        404,
        "not_found",
        f"{identifier[:80]!a} is a document that was cut into {len(passages)} passages: ask for one, or for all of "
        "them with /v1/documents?document=….",
        details={"passages": passages},
    )
