"""Eight bits for the weights of an ONNX graph, and for what they are multiplied with.

Weights lie in blocks of up to 64 of a column, with a scale for each block, and are multiplied by the runtime's
``MatMulNBits``, which rounds the other side to eight bits block by block as well. The usual dynamic quantisation has
one scale for the whole batch instead: a single outlier costs every token its precision (on MiniLM some fell to a
cosine of 0.976), and a text's vectors depend on the texts beside it.

Embedding tables get a scale for each row, or four bits (``export_int4.py``). A projection to token vectors keeps its 32
bits: it is small, and nothing after it evens its rounding out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from xtrkit.encoding.export_int4 import fits, gathered_int4

CONTRIB = "com.microsoft"
_LARGEST_BLOCK = 64
_SMALLEST_BLOCK = 16
# MatMulNBits at this level multiplies integers.
_INT8_ACTIVATIONS = 4
# Tables of positions and of relative distances are small: they stay as they are.
_SMALLEST_TABLE = 1000


def quantise(source: Path, target: Path, table_bits: int = 8) -> None:
    """Write the graph in ``source`` with 8-bit weights to ``target``, a vocabulary's table in 8 or 4 bits."""
    model = onnx.load(source)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    projection = _projection(graph.node, weights)
    nodes: list[onnx.NodeProto] = []
    fresh: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] != projection and is_matrix(weights.get(node.input[1])):
            nodes.append(_matmul(node, weights[node.input[1]], fresh))
        elif node.op_type == "Gather" and is_table(weights.get(node.input[0])):
            table = weights[node.input[0]]
            nodes += (gathered_int4 if table_bits == 4 and fits(table) else gathered)(node, table, fresh)
        else:
            nodes.append(node)
    write_with(model, nodes, fresh.values(), target)


def write_with(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], fresh: Iterable[onnx.TensorProto], target: Path
) -> None:
    """Write a model with other nodes.

    Args:
        model: the model, which is changed.
        nodes: all its nodes.
        fresh: their new weights; of the old ones those stay that they use.
        target: the file to write.
    """
    nodes, graph = list(nodes), model.graph
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *fresh])
    model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    onnx.save(model, target)


def blocks_of_int8(
    weight: npt.NDArray[np.float32], block: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """(K, N) weights -> (N, blocks, block) bytes, 128 for zero, and (N, blocks) scales; the last block is padded."""
    n_blocks = -(-len(weight) // block)
    padded = np.zeros((weight.shape[1], n_blocks * block), dtype=np.float32)
    padded[:, : len(weight)] = weight.T
    blocks = padded.reshape(len(padded), n_blocks, block)
    scales = np.abs(blocks).max(axis=2) / 127
    steps = np.rint(blocks / np.where(scales == 0, 1, scales)[:, :, None])
    return (steps + 128).astype(np.uint8), scales.astype(np.float32)


def _matmul(node: onnx.NodeProto, tensor: onnx.TensorProto, fresh: dict[str, onnx.TensorProto]) -> onnx.NodeProto:
    weight = numpy_helper.to_array(tensor)
    block = _LARGEST_BLOCK
    while block > _SMALLEST_BLOCK and block >= 2 * len(weight):
        block //= 2
    names = [f"{tensor.name}_int8", f"{tensor.name}_scales"]
    if names[0] not in fresh:
        for name, values in zip(names, blocks_of_int8(weight, block), strict=True):
            fresh[name] = numpy_helper.from_array(values, name)
    return helper.make_node(
        "MatMulNBits",
        [node.input[0], *names],
        list(node.output),
        name=node.name,
        domain=CONTRIB,
        K=weight.shape[0],
        N=weight.shape[1],
        bits=8,
        block_size=block,
        accuracy_level=_INT8_ACTIVATIONS,
    )


def gathered(
    node: onnx.NodeProto, tensor: onnx.TensorProto, fresh: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """Nodes that look up rows of a table in 8 bits with a scale each; the new tensors are put into ``fresh``."""
    table = numpy_helper.to_array(tensor)
    names = [f"{tensor.name}_int8", f"{tensor.name}_scales"]
    if names[0] not in fresh:
        scales = np.abs(table).max(axis=1, keepdims=True) / 127
        steps = np.rint(table / np.where(scales == 0, 1, scales)).astype(np.int8)
        for name, values in zip(names, (steps, scales.astype(np.float32)), strict=True):
            fresh[name] = numpy_helper.from_array(values, name)
    (out,), ids = node.output, node.input[1]
    return [
        helper.make_node("Gather", [names[0], ids], [f"{out}_steps"], axis=0),
        helper.make_node("Gather", [names[1], ids], [f"{out}_scale"], axis=0),
        helper.make_node("Cast", [f"{out}_steps"], [f"{out}_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{out}_float", f"{out}_scale"], [out], name=node.name),
    ]


def is_matrix(tensor: onnx.TensorProto | None) -> bool:
    """Whether a tensor is a matrix in full precision."""
    return tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2


def _projection(nodes: Iterable[onnx.NodeProto], weights: dict[str, onnx.TensorProto]) -> str | None:
    """The matrix that makes token vectors of hidden states: the last, if it has fewer columns than any other."""
    names = [node.input[1] for node in nodes if node.op_type == "MatMul" and is_matrix(weights.get(node.input[1]))]
    columns = [weights[name].dims[1] for name in names]
    return names[-1] if len(names) > 1 and columns[-1] < min(columns[:-1]) else None


def is_table(tensor: onnx.TensorProto | None) -> bool:
    """Whether a tensor is a table of a vocabulary."""
    return is_matrix(tensor) and tensor is not None and tensor.dims[0] >= _SMALLEST_TABLE
