"""Running an exported graph of BERT's on a device that torch drives, from the weights in its ``.onnx`` file.

xtrkit ships its default model as an export, and no checkpoint. The export's weights, out of their 8 bits, are put into
transformers' own BERT, whose attention suits a GPU; the projection and the normalisation that follow are two lines.
Nothing is guessed: a weight that is missing, or left over, is an error, and whoever loads the graph compares it with
ONNX Runtime's vectors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import BertConfig, BertModel

from xtrkit.devices import check_device_survived, device_named
from xtrkit.encoding.int4 import unpacked
from xtrkit.encoding.onnx_file import OnnxFile, Operation
from xtrkit.errors import ModelError
from xtrkit.values import FloatArray

_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_PART = re.compile(r"/parts\.0/(.+)/(?:MatMul|LayerNormalization|Add|Gather)")
"""A step of the transformer, and the module of torch's that it was made of."""

_TABLE = "embeddings.word_embeddings.weight"
# Of three steps to token vectors these are the last two: a linear projection, and unit length.
_PROJECTION = re.compile(r"/parts\.\d+/linear/MatMul")
_NORM = "ReduceL2"
_SMALLEST_NORM = 1e-12


class TorchGraph:
    """A BERT with a projection, on a device.

    Attributes:
        threads: of the CPU that take part.
        times_as_many: texts in a batch for each that is asked for.
        most_tokens: tokens of a batch beyond which a larger one gains nothing.
        precision: what is computed in: ``"fp16"`` on a GPU, ``"fp32"`` elsewhere.
    """

    threads = 1
    times_as_many = 16
    most_tokens = 1 << 16

    def __init__(self, path: Path, device: str, precision: str | None = None) -> None:
        """Read the weights and put them on a device.

        Args:
            path: the ``.onnx`` file.
            device: "cuda", "cuda:1", "mps", …
            precision: "fp32", "fp16" or "bf16"; by default "fp16" on a GPU and "fp32" elsewhere.

        Raises:
            InputError: torch has no such device here.
            ModelError: the graph is none of a BERT's.
        """
        self._device, self._path, self._process = device_named(device), path, os.getpid()
        self.precision = precision or ("fp16" if self._device.type == "cuda" else "fp32")
        kind = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.precision]
        file = OnnxFile(path)
        self._model = _transformer(path, file).to(self._device, kind).eval()
        self._projection, self._normalised = None, False
        for operation in file.operations():
            if _PROJECTION.fullmatch(operation.name):
                self._projection = torch.from_numpy(np.array(file.matrix(operation))).to(self._device)
            self._normalised = self._normalised or operation.kind == _NORM

    @property
    def name(self) -> str:
        """What computes."""
        return f"torch {torch.__version__}, {self._device}"

    def run(self, ids: npt.NDArray[np.int64], attended: npt.NDArray[np.int64]) -> FloatArray:
        """(texts, tokens) ids and attention mask -> (texts, tokens, d) float32 vectors."""
        check_device_survived(self._path.parent.name, self._device, self._process)
        with torch.inference_mode():
            given = [torch.from_numpy(array).to(self._device) for array in (ids, attended)]
            rows = self._model(input_ids=given[0], attention_mask=given[1]).last_hidden_state.float()
            if self._projection is not None:
                rows = rows @ self._projection
            if self._normalised:
                rows = rows / rows.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST_NORM)
            vectors: FloatArray = rows.cpu().numpy()
        return vectors


def _transformer(path: Path, file: OnnxFile) -> Any:
    """Transformers' BERT with the weights of a file, in full precision.

    Raises:
        ModelError: weights are missing or left over.
    """
    operations = file.operations()
    weights = {name: torch.from_numpy(np.array(values)) for name, values in _weights(file, operations)}
    try:
        model = BertModel(_configuration(operations, weights), add_pooling_layer=False)
        model.load_state_dict(weights)
    except (KeyError, StopIteration, RuntimeError) as error:
        raise ModelError(
            f"{path} isn't a BERT's graph as xtrkit exports it, and nothing else runs on a device: load the checkpoint "
            "that it was exported from."
        ) from error
    return model


def _weights(file: OnnxFile, operations: list[Operation]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The transformer's weights by the names that its modules have, from where they are used."""
    names = file.names()
    for operation in operations:
        found = _PART.fullmatch(operation.name)
        used = [name for name in operation.inputs if name in names]
        if not (found and used):
            continue
        module = found[1].replace("/", ".")
        if operation.kind in ("MatMul", "MatMulNBits"):
            yield f"{module}.weight", file.matrix(operation).T
        elif operation.kind == "LayerNormalization":
            yield f"{module}.weight", file.weight(used[0])
            yield f"{module}.bias", file.weight(used[1])
        elif operation.kind == "Add":
            yield f"{module}.bias", file.weight(used[0])
        elif operation.kind == "Gather":
            yield f"{module}.weight", file.weight(used[0])
    table = f"parts.0.model.{_TABLE}"
    if f"{table}_int8" in names:
        yield _TABLE, file.weight(f"{table}_int8").astype(np.float32) * file.weight(f"{table}_scales")
    elif f"{table}_int4" in names:
        yield _TABLE, unpacked(file.weight(f"{table}_int4"), file.weight(f"{table}_int4_scales"))


def _configuration(operations: list[Operation], weights: dict[str, torch.Tensor]) -> Any:
    """Sizes, as the weights have them; the width of a head is among the constants, the epsilon at a normalisation."""
    rows, width = weights[_TABLE].shape
    layers = {int(found[1]) for name in weights if (found := _LAYER.match(name))}
    return BertConfig(
        vocab_size=rows,
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=width // _head_width(operations),
        intermediate_size=len(weights["encoder.layer.0.intermediate.dense.weight"]),
        max_position_embeddings=len(weights["embeddings.position_embeddings.weight"]),
        type_vocab_size=len(weights["embeddings.token_type_embeddings.weight"]),
        layer_norm_eps=next(one.numbers["epsilon"] for one in operations if one.kind == "LayerNormalization"),
        hidden_act="gelu",
    )


def _head_width(operations: list[Operation]) -> int:
    """What the vectors of queries, keys and values are cut into: a constant of the first layer's attention."""
    within = "/parts.0/encoder/layer.0/attention/self/Constant"
    sizes = [one.constant for one in operations if one.name.startswith(within) and one.constant is not None]
    return next(int(size[0]) for size in sizes if size.dtype == np.int64 and size.shape == (1,) and size[0] > 1)
