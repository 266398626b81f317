"""What a request gets that can't be answered: ``{"error": {"type", "message", "details"}}`` and a status.

The types are few, for programs to tell apart; the message is one sentence for people. No answer has a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from xtrkit.errors import (
    CollectionError,
    IndexFormatError,
    IndexLockedError,
    InputError,
    MissingExtraError,
    ShardDownError,
    StorageError,
    XtrkitError,
)

Kind = Literal[
    "invalid_request",
    "unauthorized",
    "forbidden",
    "not_found",
    "too_large",
    "overloaded",
    "timeout",
    "conflict",
    "internal",
]
SHOWN = 10
"""Problems of a request that its answer lists."""


class ErrorBody(BaseModel):
    """What went wrong."""

    type: Kind
    message: str
    details: Any = None


class ErrorAnswer(BaseModel):
    """The answer to a request that can't be answered."""

    error: ErrorBody


class Problem(HTTPException):
    """Something that a request is told instead of an answer; of the framework's kind, which it lets through.

    Attributes:
        status_code: of HTTP.
        kind: one of a few words.
        message: a sentence.
        details: more, for programs.
        headers: of the answer.
    """

    def __init__(
        self, status: int, kind: Kind, message: str, *, details: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.kind, self.message, self.details = kind, message, details

    def as_json(self) -> dict[str, Any]:
        """The answer's body."""
        return {"error": {"type": self.kind, "message": self.message, "details": self.details}}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.as_json(), self.status_code, self.headers)


def not_found(message: str) -> Problem:
    """What was asked for is not there."""
    return Problem(404, "not_found", message)


def overloaded(message: str, *, after: int = 1) -> Problem:
    """There is too much to do; ask again after some seconds."""
    return Problem(503, "overloaded", message, headers={"Retry-After": str(after)})


def stopped() -> Problem:
    """The server ends before a request is answered."""
    return overloaded("The server stops before this was answered: ask again when it is back.", after=10)


def timed_out(seconds: float) -> Problem:
    """A request was not answered before its deadline."""
    return Problem(
        504,
        "timeout",
        f"There was no answer within {seconds:g} s: ask for less, or ask again when the server has less to do.",
    )


class Rule(NamedTuple):
    """What an error of the library is to a client."""

    status: int
    kind: Kind


# The first that fits. What is damaged, or can't be read, is nothing that another request would mend.
RULES: tuple[tuple[type[XtrkitError], Rule], ...] = (
    (InputError, Rule(400, "invalid_request")),
    (IndexLockedError, Rule(409, "conflict")),
    (ShardDownError, Rule(503, "overloaded")),
    (StorageError, Rule(507, "internal")),
    (IndexFormatError, Rule(500, "internal")),
    (MissingExtraError, Rule(501, "internal")),
    (XtrkitError, Rule(500, "internal")),
)


def problem_of(error: BaseException) -> Problem:
    """What a client is told of an error; of one that nobody thought of, no more than that it happened."""
    if isinstance(error, Problem):
        return error
    for kind, rule in RULES:
        if isinstance(error, kind):
            listed = error.problems if isinstance(error, CollectionError) else []
            details = [{"where": where, "problem": problem} for where, problem in listed[:SHOWN]] or None
            return Problem(rule.status, rule.kind, str(error), details=details)
    return Problem(500, "internal", "Something went wrong in the server; its log tells more.")


KIND_OF_STATUS: dict[int, Kind] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    413: "too_large",
    431: "too_large",
    503: "overloaded",
    504: "timeout",
}

STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 422, 431, 500, 501, 503, 504, 507)
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": HTTPStatus(status).phrase} for status in STATUSES
}
"""What every route may answer beside what it is for, for its description."""

RESPONSES_AS_JSON: dict[int | str, dict[str, Any]] = {
    status: {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}}
    for status in STATUSES
}
"""The same for routes whose right answers are no JSON: the framework takes errors for what the answers are."""


def install(app: FastAPI) -> None:
    """Have an app answer with problems, whatever is raised."""
    app.add_exception_handler(Problem, _answer)
    app.add_exception_handler(XtrkitError, _answer)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_framework)


def _answer(request: Request, error: Exception) -> JSONResponse:
    return problem_of(error).response()


def _invalid(request: Request, error: Exception) -> JSONResponse:
    return invalid(error).response()


def invalid(error: Exception) -> Problem:
    """What pydantic found: the first in a sentence, some as details."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    details = [{"where": _place(one["loc"]), "problem": str(one["msg"])} for one in found]
    sentences = "; ".join(f"{one['where'] or 'the request'}: {one['problem']}" for one in details[:3])
    more = f"; and {len(details) - 3} more" if len(details) > 3 else ""
    message = f"The request can't be used ({sentences}{more}): see /openapi.json for what is expected."
    return Problem(422, "invalid_request", message, details=details[:SHOWN])


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:80] for part in location if part != "body").encode("ascii", "backslashreplace").decode()


def _of_framework(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses: no such route, another method."""
    if not isinstance(error, HTTPException):
        return problem_of(error).response()
    method = request.method.encode("ascii", "backslashreplace").decode()
    messages = {
        404: "There is nothing at this path: /openapi.json lists what there is.",
        405: f"{method} is not what this path is for: /openapi.json lists what there is.",
    }
    kind = KIND_OF_STATUS.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal")
    message = messages.get(error.status_code, str(error.detail))
    return Problem(error.status_code, kind, message, headers=error.headers).response()
