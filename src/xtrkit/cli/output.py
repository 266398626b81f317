"""What commands print: JSON that every stream can carry, and text of which no character is lost.

JSON is UTF-8 where the stream is, and ASCII with escapes elsewhere, and where something in it (a file's name) is no
Unicode. A number that JSON doesn't have, NaN or infinity, is null. Text for people is written as it is; what a terminal
can't show comes as a backslash, u and its number, so that an id can still be told from another.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import typer


def json_text(value: Any, *, ascii_only: bool = False) -> str:
    """A value as JSON on several lines."""
    text = json.dumps(_without_nan(value), ensure_ascii=ascii_only, indent=1, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json_text(value, ascii_only=True)
    return text


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    ascii_only = codecs.lookup(encoding).name != "utf-8"
    print_text(json_text(value, ascii_only=ascii_only))


def print_text(text: str) -> None:
    """Print a text on standard output, at once, so that a stream that refuses it is told while somebody listens."""
    if sys.stdout is not None:
        print(text, flush=True)  # noqa: T201 - it is what this is for


def say_all() -> None:
    """Let streams carry whatever is printed, and escape what they can't show; there may be no stream."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def print_error(sentence: str, as_json: bool, problems: Any = None) -> None:
    """Tell an error: a sentence on standard error, and as JSON on standard output for who asked for JSON."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"Error: {sentence}\n")
        sys.stderr.flush()
    if as_json:
        found: dict[str, Any] = {"error": sentence}
        if problems:
            found |= {"problems": [one._asdict() if hasattr(one, "_asdict") else one for one in problems]}
        with suppress(OSError, ValueError):
            print_json(found)


@contextmanager
def stopped_in(workplace: Path) -> Iterator[None]:
    """Say what Ctrl-C leaves of a build that goes on where it was: its workplace, or nothing."""
    try:
        yield
    except KeyboardInterrupt:
        if workplace.exists():
            left = f"The same command goes on where this one was; if you will not, remove {workplace}."
        else:
            left = "It had kept nothing yet, and has left nothing behind."
        typer.echo(f"Stopped. {left}", err=True)
        raise typer.Exit(130) from None


def let_go() -> None:
    """Have nothing flushed to streams whose readers went away, or whose disk is full, when the program ends."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
            continue
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_key(name): _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    if isinstance(value, np.generic | np.ndarray):
        return _without_nan(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, os.PathLike) else value


def _key(name: Any) -> Any:
    return str(name) if isinstance(name, float | os.PathLike) else name
