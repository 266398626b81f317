"""Reading single tensors from weight files: one that is missing or of another shape is an error, never replaced."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from xtrkit.encoding.checkpoints import read_object, weights_file
from xtrkit.errors import ModelError


def read_projection(folder: Path, width: int, name: str = "linear.weight") -> torch.Tensor:
    """The projection of (dimensions, ``width``) from the weights in ``folder``; no other tensor is used.

    Raises:
        ModelError: it is missing, or of another shape.
    """
    file = weights_file(folder, f"the projection of {width}-dimensional token embeddings, {name}")
    weight = read_tensor(file, name)
    if weight is None:
        raise ModelError(
            f"{file} holds no {name}, the projection of the token embeddings, and a random one would give "
            "meaningless rankings. Fetch the checkpoint again, or use another."
        )
    if weight.ndim != 2 or weight.shape[1] != width:
        raise ModelError(
            f"{name} in {file} has shape {tuple(weight.shape)}, but should be (dimensions, {width}) to project "
            f"this model's {width}-dimensional token embeddings: it is of another model. Fetch the checkpoint again."
        )
    return weight


def stated_width(folder: Path, key: str) -> int:
    """The dimensions of a token embedding, as ``config.json`` in ``folder`` states them."""
    width = read_object(folder / "config.json").get(key)
    if not isinstance(width, int):
        raise ModelError(
            f"{folder / 'config.json'} should say how wide token embeddings are, {key}, as a whole number, but says "
            f"{width}: fetch the checkpoint again."
        )
    return width


def read_tensor(file: Path, name: str) -> torch.Tensor | None:
    """One tensor of a file; None where it holds none of that name.

    Raises:
        ModelError: the file is damaged, or a pickle of something else than tensors.
    """
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                if name not in tensors.keys():  # noqa: SIM118 (not a mapping)
                    return None
                return torch.as_tensor(tensors.get_tensor(name))
        weights = read_pickle(file)
    except SafetensorError as error:
        raise damaged(file) from error
    if not isinstance(weights, dict) or not isinstance(weights.get(name), torch.Tensor | None):
        raise refused(file)
    return weights.get(name)


def read_pickle(file: Path) -> Any:
    """The content of a file that ``torch.save`` wrote: tensors, numbers, texts, and lists and dictionaries of them.

    Raises:
        ModelError: the file is damaged, or holds anything else, which could run code.
    """
    try:
        # Never without weights_only: a pickle can run any code.
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise refused(file) from error
    except (EOFError, RuntimeError) as error:
        raise damaged(file) from error


def damaged(file: Path) -> ModelError:
    """The error for a file that can't be read."""
    return ModelError(f"{file} is damaged or incomplete: fetch the checkpoint again.")


def refused(pickled: Path) -> ModelError:
    """The error for a pickle that may hold code."""
    return ModelError(
        f"{pickled} isn't a plain dictionary of tensors, so reading it could run code: refused. Use the checkpoint's "
        "model.safetensors instead, or fetch it again."
    )
