"""Options that belong together, as one parameter of a command: a frozen dataclass whose fields are the options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let typer see an option for each field of those parameters of a command that are dataclasses.

    The fields are annotated as options are, with ``Annotated[int, typer.Option(…)]``; their defaults are the options'.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    seen: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        if parameter.name not in groups:
            seen.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[parameter.name]))
            continue
        options = get_type_hints(groups[parameter.name], include_extras=True)
        seen += [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=Parameter.empty if field.default is MISSING else field.default,
                annotation=options[field.name],
            )
            for field in fields(groups[parameter.name])
        ]

    @wraps(command)
    def called(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in groups.items()
        }
        command(**given, **made)

    called.__dict__["__signature__"] = signature(command).replace(parameters=seen)
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in seen}
    return called
