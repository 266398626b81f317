"""``/v1/documents``: what is stored of passages, and changing it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import JSONResponse

from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.serving.answer_models import PassageModel, Passages
from xtrkit.serving.limits import group
from xtrkit.serving.problems import Problem, not_found
from xtrkit.serving.service import Asked, passage_as_json

router = group("documents")
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


def _several(view: Index, ids: list[str], documents: list[str]) -> list[dict[str, Any]]:
    try:
        return [passage_as_json(passage) for passage in view.get(ids, documents=documents)]
    except InputError as error:
        raise not_found(str(error)) from None


def _one(view: Index, identifier: str) -> dict[str, Any]:
    found = view.numbers([identifier])
    if identifier in found:
        return passage_as_json(view.passages_of([found[identifier]])[0])
    try:
        passages = [passage.id for passage in view.get(documents=[identifier])]
    except InputError:
        raise not_found(f"No passage of this index has the id {identifier[:80]!a}.") from None
    raise Problem(
        404,
        "not_found",
        f"{identifier[:80]!a} is a document that was cut into {len(passages)} passages: ask for one, or for all of "
        "them with /v1/documents?document=….",
        details={"passages": passages},
    )
