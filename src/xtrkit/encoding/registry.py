"""Which encoders are known, which are on this machine, and how to get the others. Nothing here asks a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from xtrkit.encoding.checkpoints import LAYOUTS
from xtrkit.encoding.default import MINI, MINI_DIRECTORY, ORIGINAL, original_directory
from xtrkit.encoding.packaged import MODEL_PACKAGES, MULTI, packaged_models
from xtrkit.encoding.runtime_settings import SETTINGS
from xtrkit.errors import XtrkitError


@dataclass(frozen=True)
class Model:
    """An encoder, and whether it can be used at once.

    Attributes:
        name: what ``--model`` takes.
        megabytes: of the files that are read; None where nobody knows before they are here.
        licence: as its authors state it; check it for your purpose.
        languages: which it was trained for.
        about: what it is, in a line.
        get: how to get it.
        state: ``"default"``, ``"installed"`` (with a package), ``"cached"`` (by the hub's client) or ``"absent"``.
        path: where it lies, if it is here.
    """

    name: str
    megabytes: int | None
    licence: str
    languages: str
    about: str
    get: str
    state: str = "absent"
    path: Path | None = None


_HUB = "needs the extra 'torch', is downloaded when first used"

# Sizes are of the weights in full precision, as their repositories list them; licences as their pages or papers do.
KNOWN = (
    Model(
        MINI,
        25,
        "Apache-2.0",
        "English",
        f"{ORIGINAL} trained as XTR, 128 dimensions, int8, no torch",
        "comes with xtrkit",
    ),
    Model(
        MULTI,
        57,
        "MIT",
        "about 100",
        "multilingual-e5-small trained as XTR, 128 dimensions, int8, no torch",
        MODEL_PACKAGES[MULTI],
    ),
    Model(
        ORIGINAL,
        91,
        "Apache-2.0",
        "English",
        "a single-vector model: its token embeddings, 384 dimensions",
        "needs the extra 'torch'",
    ),
    Model("google/xtr-base-en", 439, "Apache-2.0", "English", "XTR, T5 base, 128 dimensions", _HUB),
    Model("google/xtr-base-multilingual", 1110, "Apache-2.0", "101", "mXTR, mT5 base, 128 dimensions", _HUB),
    Model("colbert-ir/colbertv2.0", 438, "MIT", "English", "ColBERTv2, BERT base, 128 dimensions", _HUB),
    Model("answerdotai/answerai-colbert-small-v1", 134, "Apache-2.0", "English", "ColBERT, 33M, 96 dimensions", _HUB),
    Model("lightonai/GTE-ModernColBERT-v1", 596, "Apache-2.0", "English", "PyLate, 149M, 128 dimensions", _HUB),
)


def models() -> list[Model]:
    """The known encoders, each with its state, then those of other packages, and those in the hub's local cache."""
    known = [_with_state(model) for model in KNOWN]
    names = {model.name for model in known}
    known += [_of_package(name, path) for name, path in packaged_models().items() if name not in names]
    return known + [model for model in _cached() if model.name not in names]


def _with_state(model: Model) -> Model:
    if model.name == MINI:
        return replace(model, state="default", path=MINI_DIRECTORY)
    if model.name == ORIGINAL:
        try:
            return replace(model, state="installed", path=original_directory())
        except XtrkitError:
            return model
    if model.name in MODEL_PACKAGES:
        path = packaged_models().get(model.name)
        return replace(model, state="installed" if path else "absent", path=path)
    snapshot = _snapshot(model.name)
    return replace(model, state="cached" if snapshot else "absent", path=snapshot)


def _of_package(name: str, path: Path) -> Model:
    """An encoder that a package of somebody else's brings."""
    about = "a late-interaction model that is a package of its own"
    return Model(name, None, "see its package", "see its package", about, "is here", "installed", path)


def _snapshot(name: str) -> Path | None:
    """Where the hub's client keeps a model's files, if it has them."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def _cached() -> list[Model]:
    """Late-interaction models in the hub's local cache."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    found = []
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        snapshot = _snapshot(repository.repo_id) if repository.repo_type == "model" else None
        if snapshot is None or not _is_encoder(snapshot):
            continue
        megabytes = round(repository.size_on_disk / 1e6)
        about = "a late-interaction model in the hub's local cache"
        found.append(
            Model(repository.repo_id, megabytes, "see its page", "see its page", about, "is here", "cached", snapshot)
        )
    return found


def _is_encoder(directory: Path) -> bool:
    try:
        return any(layout.holds(directory) for layout in LAYOUTS)
    except XtrkitError:
        return False


def usable_now(model: Model) -> bool:
    """Whether ``load_encoder`` can open it as things stand."""
    if model.path is not None and (model.path / SETTINGS).is_file():
        return True
    return model.state == "default" or (model.state != "absent" and find_spec("sentence_transformers") is not None)
