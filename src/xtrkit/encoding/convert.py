"""Checkpoints that can't be used as they are -> directories that can: pickles to safetensors, one layout for all.

Pickles are read as plain tensors (``weights_only``), nowhere else than here and where a projection is published as one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from xtrkit.encoding.checkpoints import (
    COLXTR,
    T5_COLBERT,
    UR2N,
    XTR,
    Layout,
    read_object,
    recognise,
    tokenizer_files,
)
from xtrkit.encoding.load import find_checkpoint
from xtrkit.encoding.new_directory import new_directory
from xtrkit.encoding.savedmodel import convert_savedmodel
from xtrkit.encoding.tensors import read_pickle
from xtrkit.encoding.torch_encoder import TorchEncoder
from xtrkit.encoding.treatment import COLBERT_V1
from xtrkit.errors import InputError, ModelError

# What a directory holds beside weights: configurations, tokenizers, folders of further parts.
_NOT_COPIED = ("*.bin", "*.h5", "*.msgpack", "*.onnx", "*.ot", "*.pt", "*.bin.index.json", ".*", "*.gguf")
V1_SUFFIX = ".dnn"
KINDS = ("checkpoint", "tf-savedmodel")
CHOSEN_LAYOUTS = {T5_COLBERT.name: T5_COLBERT, XTR.name: XTR}
"""Layouts that can be chosen, as nothing in the files tells them apart."""


def convert(
    source: str | Path,
    path: str | Path,
    *,
    kind: str = "checkpoint",
    layout: str | None = None,
    base: str | Path | None = None,
) -> str:
    """Write a copy of a checkpoint: encoders as sentence-transformers' ``MultiVectorEncoder``, weights in safetensors.

    Rerankers, ColXTR and UR²N, which that format can't say, keep their own layout; their pickles become safetensors.

    Args:
        source: the directory or hub name of a checkpoint, or a ``.dnn`` file of ColBERT v1.
        path: directory to make.
        kind: "tf-savedmodel" for XTR's SavedModel of Kaggle, which needs TensorFlow; "checkpoint" for all else.
        layout: "t5-colbert" for a T5-ColBERT in XTR's layout; by default what is recognised.
        base: directory or hub name of what has the tokenizer: of ColBERT v1 the BERT, of a SavedModel a T5.

    Returns:
        the name of the layout that was written.

    Raises:
        ModelError: the checkpoint can't be loaded, or a pickle holds more than tensors.
        InputError: something is at ``path`` already, or an argument can't be used.
    """
    if layout is not None and layout not in CHOSEN_LAYOUTS:
        raise InputError(
            f"Unknown layout {layout!r}: {' or '.join(CHOSEN_LAYOUTS)} can be chosen; others are recognised."
        )
    if kind not in KINDS:
        raise InputError(f"Unknown kind of model {kind!r}: {' or '.join(KINDS)} can be converted.")
    with new_directory(Path(path)) as building, tempfile.TemporaryDirectory() as scratch:
        if kind == "tf-savedmodel":
            found = convert_savedmodel(Path(source), base, Path(scratch) / "model")
        elif Path(source).suffix == V1_SUFFIX:
            found = _from_v1(Path(source), base, Path(scratch))
        else:
            found = find_checkpoint(str(source))
            if _pickles(found):
                found = _without_pickles(found, Path(scratch) / "model")
        return _write(str(source), found, building, layout)


def _write(name: str, directory: Path, building: Path, chosen: str | None) -> str:
    recognised = recognise(directory)
    if chosen is not None:
        if recognised != XTR:
            raise ModelError(f"{name} is of layout {recognised.name}, not XTR's: it can't be taken for {chosen}.")
        recognised = CHOSEN_LAYOUTS[chosen]
    if recognised.kind == "reranker" or recognised in (COLXTR, UR2N):
        shutil.copytree(directory, building, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        _check(name, building, recognised)
        return recognised.name
    encoder = TorchEncoder(name, directory, recognised, device="cpu")
    building.rmdir()  # save makes it
    encoder.save(building)
    return recognise(building).name


def _check(name: str, directory: Path, layout: Layout) -> None:
    """Refuse a copy that can't be opened; a reranker is opened by whoever reranks."""
    if layout.kind == "encoder":
        TorchEncoder(name, directory, layout, device="cpu")


def _pickles(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("pytorch_model*.bin"))


def _without_pickles(directory: Path, target: Path) -> Path:
    """A copy whose weights are safetensors, those of its folders, too."""
    shutil.copytree(directory, target, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    for folder in sorted({path.parent for path in _pickles(directory)}):
        there = target / folder.relative_to(directory)
        if any(there.glob("model*.safetensors")):
            continue  # the pickle is a twin of these
        tensors: dict[str, torch.Tensor] = {}
        for path in sorted(folder.glob("pytorch_model*.bin")):
            tensors |= _tensors(path, read_pickle(path))
        save_file(tensors, there / "model.safetensors", {"format": "pt"})
    return target


def _tensors(path: Path, content: Any) -> dict[str, torch.Tensor]:
    """A state dictionary whose tensors share no memory, as safetensors wants them.

    Raises:
        ModelError: it isn't one.
    """
    if not isinstance(content, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in content.values()):
        raise ModelError(f"{path} should hold a dictionary of tensors alone, which it doesn't: nothing was converted.")
    return {str(name): tensor.detach().clone().contiguous() for name, tensor in content.items()}


def _from_v1(path: Path, base: str | Path | None, scratch: Path) -> Path:
    """ColBERT v1's checkpoint ({model_state_dict, arguments, …}) and a BERT's files as a directory of v2."""
    if not path.is_file():
        raise ModelError(f"There is no {path}: give the .dnn file that ColBERT v1 wrote.")
    if base is None:
        raise InputError(
            "A .dnn file of ColBERT v1 holds neither the configuration nor the vocabulary of its BERT: say with --base "
            "(base=) where they are, such as google-bert/bert-base-uncased."
        )
    content = read_pickle(path)
    if not isinstance(content, Mapping) or "model_state_dict" not in content:
        raise ModelError(f"{path} has no model_state_dict: it isn't a checkpoint of ColBERT v1.")
    weights = _tensors(path, content["model_state_dict"])
    weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    if "linear.weight" not in weights or not any(name.startswith("bert.") for name in weights):
        raise ModelError(f"{path} holds no bert.* and linear.weight: it isn't a checkpoint of ColBERT v1.")
    weights.pop("bert.embeddings.position_ids", None)  # not a weight, though once saved as one
    directory, bert = scratch / "v1", find_checkpoint(str(base))
    directory.mkdir()
    for file in tokenizer_files(bert):
        shutil.copyfile(file, directory / file.name)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    config = {**read_object(bert / "config.json"), "architectures": ["HF_ColBERT"]}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "artifact.metadata").write_text(json.dumps(_v1_settings(content.get("arguments"))))
    return directory


def _v1_settings(arguments: Any) -> dict[str, Any]:
    """The settings that v2 keeps in ``artifact.metadata``, from the command line that v1 keeps in its checkpoint."""
    given = arguments if isinstance(arguments, Mapping) else {}
    return {
        "query_token_id": COLBERT_V1.query_prefix,
        "doc_token_id": COLBERT_V1.document_prefix,
        "query_maxlen": int(given.get("query_maxlen") or COLBERT_V1.query_length or 0),
        "doc_maxlen": int(given.get("doc_maxlen") or COLBERT_V1.document_length or 0),
        "attend_to_mask_tokens": False,
        "mask_punctuation": bool(given.get("mask_punctuation", False)),
        "similarity": str(given.get("similarity", "cosine")),
    }
