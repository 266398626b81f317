"""XTR as Kaggle publishes it, a TensorFlow 2 SavedModel -> the layout of google/xtr-base-en.

The SavedModel is never run, which would need ``tensorflow_text``: its variables are read by name. T5X, which XTR was
trained with, names them ``encoder/layers_0/attention/query/kernel`` and so on, under whatever prefix the export chose.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from xtrkit.encoding.checkpoints import tokenizer_files
from xtrkit.encoding.load import find_checkpoint
from xtrkit.errors import InputError, ModelError, missing_extra

Array = npt.NDArray[np.float32]

_BLOCK = r"layers_(\d+)/"
# T5X's names, and what transformers calls the same; kernels are transposed there.
_NAMES = (
    (r"token_embedder/embedding$", "shared.weight"),
    (r"encoder_norm/scale$", "encoder.final_layer_norm.weight"),
    (r"relpos_bias/rel_embedding$", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
    (_BLOCK + r"pre_attention_layer_norm/scale$", "encoder.block.{}.layer.0.layer_norm.weight"),
    (_BLOCK + r"pre_mlp_layer_norm/scale$", "encoder.block.{}.layer.1.layer_norm.weight"),
    (_BLOCK + r"attention/query/kernel$", "encoder.block.{}.layer.0.SelfAttention.q.weight"),
    (_BLOCK + r"attention/key/kernel$", "encoder.block.{}.layer.0.SelfAttention.k.weight"),
    (_BLOCK + r"attention/value/kernel$", "encoder.block.{}.layer.0.SelfAttention.v.weight"),
    (_BLOCK + r"attention/out/kernel$", "encoder.block.{}.layer.0.SelfAttention.o.weight"),
    (_BLOCK + r"mlp/(?P<part>wi|wi_0|wi_1|wo)/kernel$", "encoder.block.{}.layer.1.DenseReluDense.{part}.weight"),
)
_MT5_VOCABULARY = 200_000
"""T5 has some 32,000 pieces, mT5 250,112."""


def convert_savedmodel(path: Path, base: str | Path | None, target: Path) -> Path:
    """Write the XTR in a SavedModel as T5 encoder, ``2_Dense`` and tokenizer.

    Args:
        path: the directory with ``saved_model.pb`` and ``variables/``.
        base: directory or hub name that has the tokenizer, such as google/xtr-base-en or a T5.
        target: directory to make.

    Raises:
        ModelError: it isn't a SavedModel of XTR; the message names what is missing or not known.
        InputError: no tokenizer was given.
        MissingExtraError: TensorFlow isn't installed.
    """
    if not (path / "saved_model.pb").is_file() or not (path / "variables" / "variables.index").is_file():
        raise ModelError(f"{path} is no SavedModel: expected saved_model.pb and variables/variables.index in it.")
    if base is None:
        raise InputError(
            "The tokenizer in a SavedModel can't be read without running it: say with --base (base=) which checkpoint "
            "has the same, such as google/xtr-base-en."
        )
    variables = _read_variables(path)
    weights, projection = _renamed(path, variables)
    target.mkdir()
    (target / "config.json").write_text(json.dumps(_config(path, weights)))
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    dense = {"in_features": projection.shape[1], "out_features": projection.shape[0], "bias": False}
    (target / "2_Dense").mkdir()
    (target / "2_Dense" / "config.json").write_text(
        json.dumps({**dense, "activation_function": "torch.nn.modules.linear.Identity"})
    )
    save_file({"linear.weight": projection}, target / "2_Dense" / "model.safetensors")
    for file in tokenizer_files(find_checkpoint(str(base))):
        shutil.copyfile(file, target / file.name)
    return target


def _read_variables(path: Path) -> dict[str, Array]:
    """{name: array} of all variables of floats, by the names that they had when the model was saved."""
    try:
        import tensorflow as tf  # type: ignore[import-untyped, import-not-found, unused-ignore]
        from tensorflow.core.protobuf import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
            saved_model_pb2,
            trackable_object_graph_pb2,
        )
    except ImportError as error:
        raise missing_extra("Reading a SavedModel", "tensorflow") from error
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    outputs = {name for graph in saved.meta_graphs for name in graph.signature_def["serving_default"].outputs}
    if not {"encodings", "mask"} <= outputs:
        given = ", ".join(sorted(outputs)) or "nothing"
        raise ModelError(f"{path} gives {given} under serving_default, not XTR's encodings and mask.")
    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
        reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    )
    found = {
        attribute.full_name: reader.get_tensor(attribute.checkpoint_key)
        for node in graph.nodes
        for attribute in node.attributes
        if attribute.name == "VARIABLE_VALUE"
    }
    return {
        name: np.asarray(value, dtype=np.float32)
        for name, value in found.items()
        if np.issubdtype(np.asarray(value).dtype, np.floating)
    }


def _renamed(path: Path, variables: Mapping[str, Array]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The encoder's weights under transformers' names, and the (d, width) projection: the one kernel that is left."""
    weights, left = {}, {}
    for name, value in variables.items():
        known = _known(name)
        if known is None:
            left[name] = value
        else:
            weights[known] = _oriented(name, value)
    width = weights["shared.weight"].shape[1] if "shared.weight" in weights else 0
    candidates = [value for value in left.values() if value.ndim == 2 and value.shape[0] == width]
    if len(candidates) != 1 or len(left) != 1:
        raise ModelError(
            f"{path} should hold a T5 encoder with T5X's names and one projection of its {width} dimensions, but has "
            f"{len(left)} other variables, such as {min(left, default='none')!r}: nothing was converted."
        )
    return weights, torch.from_numpy(np.ascontiguousarray(candidates[0].T))


def _known(name: str) -> str | None:
    for pattern, known in _NAMES:
        if match := re.search(pattern, name):
            return known.format(*match.groups()[:1], **match.groupdict())
    return None


def _oriented(name: str, value: Array) -> torch.Tensor:
    """T5X's array as transformers lays it out: kernels and position biases transposed, heads flattened."""
    if name.endswith("kernel"):
        joined = value.reshape(-1, value.shape[-1]) if "/out/" in name else value.reshape(value.shape[0], -1)
        value = joined.T
    elif name.endswith("rel_embedding"):
        value = value.T
    return torch.from_numpy(np.ascontiguousarray(value))


def _config(path: Path, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What ``config.json`` must say of these weights."""
    first, bias = "encoder.block.0.layer.", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    try:
        vocabulary, width = weights["shared.weight"].shape
        buckets, heads = weights[bias].shape
        inner = weights[f"{first}0.SelfAttention.q.weight"].shape[0]
        feed_forward = weights[f"{first}1.DenseReluDense.wo.weight"].shape[1]
    except KeyError as error:
        raise ModelError(f"{path} has no variable for {error.args[0]}: it isn't an XTR.") from error
    gated = f"{first}1.DenseReluDense.wi_0.weight" in weights
    blocks = {name.split(".")[2] for name in weights if name.startswith("encoder.block.")}
    multilingual = vocabulary > _MT5_VOCABULARY
    return {
        "model_type": "mt5" if multilingual else "t5",
        "architectures": ["MT5EncoderModel" if multilingual else "T5EncoderModel"],
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": inner // heads,
        "d_ff": feed_forward,
        "num_heads": heads,
        "num_layers": len(blocks),
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
    }
