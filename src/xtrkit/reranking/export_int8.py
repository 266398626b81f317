"""Bytes for the encoder of a reranker's graph: weights, and what they are multiplied with.

A column of a weight has one scale, and so has each token: T5's activations have outliers, for which one scale of a
whole batch is too coarse, and with which a pair's score would depend on the pairs beside it. On CPUs without
instructions for it (VNNI) this is still one and a half times as fast as full precision, where the ``MatMulNBits`` of
encoders is slower. The decoder's one step keeps full precision: it takes hardly any time, and made half of the error.

Weights go from -63 to 63: sums of two products of larger ones overflow on CPUs without VNNI, silently, and scores would
differ from machine to machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from xtrkit.encoding.export_int8 import CONTRIB, gathered, is_matrix, is_table, write_with

_LARGEST_WEIGHT = 63
_SCALE, _ZERO, _LEAST, _LAST_AXIS = "int8_scale", "int8_zero", "int8_least", "int8_last_axis"


def quantise(source: Path, target: Path, n_matrices: int) -> None:
    """Write a graph with 8-bit weights.

    Args:
        source: the graph in full precision.
        target: the file to write.
        n_matrices: how many multiplications with a weight are the encoder's, which come first.
    """
    model = onnx.load(source)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    fresh = {
        _SCALE: numpy_helper.from_array(np.array(1 / 127, dtype=np.float32), _SCALE),
        _ZERO: numpy_helper.from_array(np.array(128, dtype=np.uint8), _ZERO),
        _LEAST: numpy_helper.from_array(np.array(1e-20, dtype=np.float32), _LEAST),
        _LAST_AXIS: numpy_helper.from_array(np.array([-1], dtype=np.int64), _LAST_AXIS),
    }
    nodes: list[onnx.NodeProto] = []
    rows_of: set[str] = set()
    for node in graph.node:
        if node.op_type == "MatMul" and is_matrix(weights.get(node.input[1])) and n_matrices:
            n_matrices -= 1
            if node.input[0] not in rows_of:
                rows_of.add(node.input[0])
                nodes += _rows(node.input[0])
            nodes += _product(node, weights[node.input[1]], fresh)
        elif node.op_type == "Gather" and is_table(weights.get(node.input[0])):
            nodes += gathered(node, weights[node.input[0]], fresh)
        else:
            nodes.append(node)
    write_with(model, nodes, fresh.values(), target)


def _rows(name: str) -> Iterator[onnx.NodeProto]:
    """A token's activations -> bytes around 128, and the largest of them, which 127 stands for."""
    yield helper.make_node("Abs", [name], [f"{name}_sizes"])
    yield helper.make_node("ReduceMax", [f"{name}_sizes", _LAST_AXIS], [f"{name}_top"], keepdims=1)
    yield helper.make_node("Max", [f"{name}_top", _LEAST], [f"{name}_largest"])
    yield helper.make_node("Div", [name, f"{name}_largest"], [f"{name}_unit"])
    yield helper.make_node("QuantizeLinear", [f"{name}_unit", _SCALE, _ZERO], [f"{name}_int8"])


def _product(
    node: onnx.NodeProto, tensor: onnx.TensorProto, fresh: dict[str, onnx.TensorProto]
) -> Iterator[onnx.NodeProto]:
    weight = numpy_helper.to_array(tensor)
    scales = (np.abs(weight).max(axis=0) / _LARGEST_WEIGHT).astype(np.float32)
    parts = {
        "int8": np.rint(weight / np.where(scales == 0, 1, scales)).astype(np.int8),
        "scales": scales,
        "zeros": np.zeros(len(scales), dtype=np.int8),
    }
    for part, values in parts.items():
        fresh[f"{tensor.name}_{part}"] = numpy_helper.from_array(values, f"{tensor.name}_{part}")
    rows, of_weight, (out,) = node.input[0], [f"{tensor.name}_{part}" for part in parts], node.output
    yield helper.make_node(
        "MatMulIntegerToFloat",
        [f"{rows}_int8", of_weight[0], _SCALE, of_weight[1], _ZERO, of_weight[2]],
        [f"{out}_unit"],
        name=node.name,
        domain=CONTRIB,
    )
    yield helper.make_node("Mul", [f"{out}_unit", f"{rows}_largest"], [out])
