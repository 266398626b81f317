"""What is in an ``.onnx`` file, as far as the weights of an int8 export are concerned, without the package ``onnx``.

The file is a message of Protocol Buffers. Its fields that are read here are declared below (they are those of ONNX's
``onnx.proto``); all others are kept as they are when it is written again. The library ``protobuf`` comes with
ONNX Runtime.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import ModelError

FLOAT32 = 1
_TYPES = {
    FLOAT32: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64
}  # fmt: skip
_MIDPOINT = 128
"""What MatMulNBits takes for zero where no zero point is given."""

# Message -> field -> (number, type, repeated); the types are those of FieldDescriptorProto, or a message.
_INT, _BYTES, _TEXT, _REAL = 3, 12, 9, 2
_MESSAGES: dict[str, dict[str, tuple[int, int | str, bool]]] = {
    "Tensor": {
        "dims": (1, _INT, True), "data_type": (2, _INT, False), "name": (8, _TEXT, False),
        "raw_data": (9, _BYTES, False),
    },
    "Attribute": {
        "name": (1, _TEXT, False), "f": (2, _REAL, False), "i": (3, _INT, False), "t": (5, "Tensor", False)
    },
    "Node": {
        "input": (1, _TEXT, True), "output": (2, _TEXT, True), "name": (3, _TEXT, False), "op_type": (4, _TEXT, False),
        "attribute": (5, "Attribute", True), "domain": (7, _TEXT, False),
    },
    "Graph": {"node": (1, "Node", True), "initializer": (5, "Tensor", True)},
    "Model": {"graph": (7, "Graph", False)},
}  # fmt: skip


class Operation(NamedTuple):
    """A node of a graph.

    Attributes:
        kind: what it does, such as ``"MatMul"``.
        name: the module of torch's that it was made of, as a path: ``"/parts.0/encoder/layer.0/output/dense/MatMul"``.
        inputs: names of what it works on.
        numbers: its attributes that are numbers.
        constant: the value of a constant, and of other operations None.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    numbers: dict[str, float]
    constant: npt.NDArray[Any] | None


class OnnxFile:
    """An ``.onnx`` file that was read."""

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            ModelError: it is none.
        """
        from google.protobuf.message import DecodeError

        self._path, self._model = path, _model_class()()
        try:
            self._model.ParseFromString(path.read_bytes())
        except (DecodeError, OSError) as error:
            raise ModelError(f"{path} isn't an ONNX graph ({error}): export the model again.") from error
        self._tensors = {tensor.name: tensor for tensor in self._model.graph.initializer}

    def operations(self) -> list[Operation]:
        """All nodes, in the order in which they are computed."""
        return [_operation(node) for node in self._model.graph.node]

    def names(self) -> set[str]:
        """The names of the weights."""
        return set(self._tensors)

    def weight(self, name: str) -> npt.NDArray[Any]:
        """A weight by name, as it is stored.

        Raises:
            ModelError: there is none, or it is of another type than exports have.
        """
        if name not in self._tensors:
            raise ModelError(f"{self._path} has no weight {name!r}: export the model again.")
        return _values(self._tensors[name])

    def matrix(self, operation: Operation) -> npt.NDArray[np.float32]:
        """(K, N) what a MatMul or a MatMulNBits multiplies with, in full precision."""
        if operation.kind == "MatMul":
            return np.asarray(self.weight(operation.inputs[1]), dtype=np.float32)
        steps, scales = (self.weight(name) for name in operation.inputs[1:3])
        values = (steps.astype(np.float32) - _MIDPOINT) * scales.reshape(*steps.shape[:2], 1)
        columns = values.reshape(len(steps), -1)[:, : int(operation.numbers["K"])]
        return np.ascontiguousarray(columns.T, dtype=np.float32)

    def unpacked(self) -> bytes:
        """The file's content with weights of 8 bits in full precision: what is left of them is what rounding left."""
        graph = self._model.graph
        packed = [node for node in graph.node if node.op_type == "MatMulNBits"]
        matrices = {node.input[1]: self.matrix(_operation(node)) for node in packed}
        scales = {node.input[2] for node in packed}
        for node in packed:
            node.op_type, node.domain = "MatMul", ""
            del node.input[2:], node.attribute[:]
        for name, values in matrices.items():
            tensor = self._tensors[name]
            tensor.data_type, tensor.raw_data = FLOAT32, values.tobytes()
            tensor.dims[:] = values.shape
        kept = [tensor for tensor in graph.initializer if tensor.name not in scales]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        content: bytes = self._model.SerializeToString()
        return content


def _operation(node: Any) -> Operation:
    numbers = {one.name: one.i or one.f for one in node.attribute}
    values = [_values(one.t) for one in node.attribute if one.name == "value" and one.t.raw_data]
    return Operation(node.op_type, node.name, tuple(node.input), numbers, values[0] if values else None)


def _values(tensor: Any) -> npt.NDArray[Any]:
    if tensor.data_type not in _TYPES:
        raise ModelError(f"The weight {tensor.name!r} is of type {tensor.data_type}, which no export of xtrkit's has.")
    return np.frombuffer(tensor.raw_data, dtype=_TYPES[tensor.data_type]).reshape(tuple(tensor.dims))


@cache
def _model_class() -> Any:
    """The class of a model's messages."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    package = "xtrkit.onnx"
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    for message, members in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, repeated) in members.items():
            entry = described.field.add(name=name, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                entry.type, entry.type_name = 11, f".{package}.{kind}"
            else:
                entry.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Model"))
