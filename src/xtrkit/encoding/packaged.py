"""Encoders that come in packages of their own, which name themselves to xtrkit by an entry point.

    [project.entry-points."xtrkit.models"]
    xtrkit-multi = "xtrkit_multi"

The name is what ``--model`` takes; the module is the folder in which ``xtrkit export``'s files lie. Its code isn't run.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from xtrkit.encoding.runtime_settings import SETTINGS
from xtrkit.errors import MissingExtraError, ModelError

GROUP = "xtrkit.models"
MULTI = "xtrkit-multi"
"""The encoder of many languages that xtrkit's authors ship beside it."""
MODEL_PACKAGES = {MULTI: "pip install xtrkit-multi (from a clone: pip install models/xtrkit-multi)"}
"""Encoders of ours that are packages of their own, and how to get them."""


def packaged_models() -> dict[str, Path]:
    """{name: directory} of the encoders that are installed as packages."""
    found = {}
    for entry in entry_points(group=GROUP):
        spec = find_spec(entry.value)
        for place in (spec.submodule_search_locations or []) if spec else []:
            found[entry.name] = Path(place)
    return found


def packaged_directory(name: str) -> Path | None:
    """Where the encoder of a package lies; None where no package has, or could have, one of this name.

    Raises:
        MissingExtraError: it is one of ``MODEL_PACKAGES``, which isn't installed.
        ModelError: the package has no export in it.
    """
    directory = packaged_models().get(name)
    if directory is None and name in MODEL_PACKAGES:
        raise MissingExtraError(f"{name} is a package of its own, which isn't installed: run {MODEL_PACKAGES[name]}.")
    if directory is not None and not (directory / SETTINGS).is_file():
        raise ModelError(f"The package of the model {name!r} has no {SETTINGS} in {directory}: install it again.")
    return directory


def is_installed(name: str) -> bool:
    """Whether a package has an encoder of this name."""
    return name in packaged_models()
