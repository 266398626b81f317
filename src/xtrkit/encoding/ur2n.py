"""UR²N's retrieval branch: a clone of the encoder's last block, run beside it, and a projection (Bhat et al. 2025).

A UR²N directory is its monoT5's, untouched, with two more files: ``ur2n.safetensors`` (the branch) and ``ur2n.json``
(what the paper leaves open). Whatever reads a T5 reads the reranker in it.

The paper writes the branch as one attention sublayer with a LayerNorm after it (eq. 4), and in words as the cloned last
layer of the encoder, initialised with its parameters. T5 normalises before each sublayer, so its last layer is the
whole block, attention and feed-forward, and the encoder's final LayerNorm comes after it: all of these are cloned.
"""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from xtrkit.encoding import treatment
from xtrkit.encoding.checkpoints import UR2N_SETTINGS, UR2N_WEIGHTS, decisive_files, read_object
from xtrkit.encoding.treatment import Treatment
from xtrkit.errors import ModelError

OPEN_IN_THE_PAPER = (
    "query_prefix", "document_prefix", "query_length", "document_length", "lower_case", "normalise",
)  # fmt: skip
"""The values of a treatment that ``ur2n.json`` may choose."""


@dataclass(frozen=True)
class Branch:
    """The tensors of the branch and its treatment of text.

    Attributes:
        layer: parameters of the cloned block, by their names in a ``T5Block``.
        norm: (width,) weight of the cloned final LayerNorm.
        projection: (d, width) W of eq. 5.
        treatment: prefixes, lengths, normalisation.
    """

    layer: dict[str, torch.Tensor]
    norm: torch.Tensor
    projection: torch.Tensor
    treatment: Treatment

    def put_into(self, encoder: Any) -> None:
        """Make a T5 encoder stack one of retrieval: its last block and final LayerNorm become the branch's.

        Raises:
            ModelError: the branch is of another model.
        """
        try:
            encoder.block[-1].load_state_dict(self.layer)
            encoder.final_layer_norm.load_state_dict({"weight": self.norm})
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[-1].strip().rstrip(".")
            raise ModelError(
                f"{UR2N_WEIGHTS} does not fit the encoder beside it ({reason}): it is of another model. Make the "
                "directory again with xtrkit ur2n init."
            ) from error


def clone_last_block(encoder: Any, projection: torch.Tensor, values: Treatment = treatment.UR2N) -> Branch:
    """The branch before training: copies of the encoder's last block and final LayerNorm."""
    layer = copy.deepcopy(encoder.block[-1].state_dict())
    return Branch(layer, encoder.final_layer_norm.weight.detach().clone(), projection, values)


def write_ur2n(base: Path, path: Path, branch: Branch, settings: dict[str, Any]) -> None:
    """Fill a UR²N directory: the files of its monoT5, and the branch beside them.

    Args:
        base: directory of the monoT5, or of another UR²N of it.
        path: the directory, which is there.
        branch: goes into ``ur2n.safetensors`` and, what its treatment chose, into ``ur2n.json``.
        settings: what ``ur2n.json`` says beside that.
    """
    for file in [*decisive_files(base), *base.glob("*.index.json"), *base.glob("generation_config*")]:
        shutil.copyfile(file, path / file.name)
    tensors = {f"xtr_layer.{name}": tensor for name, tensor in branch.layer.items()}
    tensors |= {"final_layer_norm.weight": branch.norm, "projection.weight": branch.projection}
    save_file(
        {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()},
        path / UR2N_WEIGHTS,
        {"format": "pt"},
    )
    chosen = {name: getattr(branch.treatment, name) for name in OPEN_IN_THE_PAPER}
    (path / UR2N_SETTINGS).write_text(json.dumps({**chosen, **settings}, indent=1, ensure_ascii=False) + "\n")


def read_branch(directory: Path, width: int) -> Branch:
    """The branch in a UR²N directory, for an encoder of the given width.

    Raises:
        ModelError: a file or a tensor is missing, of another shape, or says what can't be.
    """
    path = directory / UR2N_WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path}, UR²N's retrieval branch, is missing or damaged: make the directory again with xtrkit ur2n init."
        ) from error
    norm, projection = tensors.get("final_layer_norm.weight"), tensors.get("projection.weight")
    if norm is None or projection is None or projection.ndim != 2 or projection.shape[1] != width:
        shape = None if projection is None else tuple(projection.shape)
        raise ModelError(
            f"{path} should hold final_layer_norm.weight and projection.weight of (dimensions, {width}), but the "
            f"latter is {shape}: it is of another model. Make the directory again with xtrkit ur2n init."
        )
    layer = {
        name.removeprefix("xtr_layer."): tensor for name, tensor in tensors.items() if name.startswith("xtr_layer.")
    }
    return Branch(layer, norm, projection, _read_treatment(directory))


def answers(directory: Path) -> tuple[str, str] | None:
    """The two pieces that the monoT5 of a UR²N directory answers with; None where ``ur2n.json`` doesn't say."""
    tokens = read_object(directory / UR2N_SETTINGS).get("tokens")
    if tokens is None:
        return None
    if not isinstance(tokens, list) or len(tokens) != 2:
        raise ModelError(
            f"{directory / UR2N_SETTINGS} should name two tokens, got {tokens!r}: make the directory again with xtrkit "
            "ur2n init."
        )
    return str(tokens[0]), str(tokens[1])


def _read_treatment(directory: Path) -> Treatment:
    settings = read_object(directory / UR2N_SETTINGS)
    kinds = {"query_prefix": str, "document_prefix": str, "query_length": int, "document_length": int}
    chosen = {name: settings[name] for name in OPEN_IN_THE_PAPER if name in settings}
    for name, value in chosen.items():
        if not isinstance(value, kinds.get(name, bool)):
            raise ModelError(
                f"{directory / UR2N_SETTINGS} says {name} is {value!r}, which it can't be: make the directory again "
                "with xtrkit ur2n init."
            )
    return replace(treatment.UR2N, **chosen)
