"""What the facades say: once for each thing that does not do here what its name says elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

from xtrkit.errors import InputError, XtrkitWarning


def without_meaning(name: str, value: Any, usual: Any, why: str) -> None:
    """Say that an argument changes nothing, unless it was left as it usually is."""
    if value is not None and value != usual:
        say_once(f"{name} has no meaning in xtrkit, and changes nothing: {why}.")


def all_without_meaning(given: Mapping[str, Any], settled: Mapping[str, tuple[Any, str]], of: str) -> None:
    """Say which of some arguments change nothing.

    Args:
        given: {argument: value}.
        settled: {argument: its usual value, and why it has no meaning}.
        of: what they are arguments of.

    Raises:
        InputError: one is not even known.
    """
    for name, value in given.items():
        if name not in settled:
            raise InputError(f"Unknown argument {name!r} of {of}.")
        without_meaning(name, value, *settled[name])


@cache
def say_once(sentence: str) -> None:
    """Warn with a sentence that was not said before in this process."""
    warnings.warn(sentence, XtrkitWarning, stacklevel=4)
