"""What the routes of other systems' APIs have in common: errors in those systems' shapes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from xtrkit.errors import XtrkitError
from xtrkit.serving.limits import StrictRoute
from xtrkit.serving.problems import STATUSES, Problem, invalid, problem_of


def router_telling(tag: str, tell: Callable[[Problem], Response], model: type[BaseModel]) -> APIRouter:
    """A group of routes whose problems are told as another system tells them.

    Args:
        tag: a name for the description.
        tell: a problem as an answer.
        model: the shape of that answer's body.
    """

    class Route(StrictRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def told(request: Request) -> Response:
                try:
                    return await handle(request)
                except RequestValidationError as error:
                    return tell(invalid(error))
                except (Problem, XtrkitError) as error:
                    return tell(problem_of(error))

            return told

    return APIRouter(route_class=Route, tags=[tag], responses={status: {"model": model} for status in STATUSES})
