"""Four bits for the table of a large vocabulary, in operations that any runtime has.

Where a vocabulary is of many languages, nearly all of a small model is its table. ``int4.py`` says how rows lie.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from xtrkit.encoding.int4 import BLOCK, ZERO, packed


def fits(tensor: onnx.TensorProto) -> bool:
    """Whether a table's rows are whole blocks, in two halves."""
    return bool(tensor.dims[1] % (2 * BLOCK) == 0)


def gathered_int4(
    node: onnx.NodeProto, tensor: onnx.TensorProto, fresh: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """Nodes that look up rows, for (texts, tokens) ids, of a table in 4 bits; new tensors are put into ``fresh``."""
    table, width = f"{tensor.name}_int4", tensor.dims[1]
    tensors = {
        f"{table}_sixteenth": np.float32(1 / 16),
        f"{table}_sixteen": np.float32(16),
        f"{table}_zero": np.float32(ZERO),
        f"{table}_last": np.array([3], dtype=np.int64),
        f"{table}_in_blocks": np.array([0, 0, width // BLOCK, BLOCK], dtype=np.int64),
        f"{table}_in_rows": np.array([0, 0, width], dtype=np.int64),
    }
    if table not in fresh:
        tensors[table], tensors[f"{table}_scales"] = packed(numpy_helper.to_array(tensor))
    for name, values in tensors.items():
        fresh[name] = numpy_helper.from_array(np.asarray(values), name)
    (out,), ids = node.output, node.input[1]
    steps: tuple[tuple[str, list[str], str, dict[str, int]], ...] = (
        ("Gather", [table, ids], "bytes", {"axis": 0}),
        ("Cast", [f"{out}_bytes"], "pairs", {"to": onnx.TensorProto.FLOAT}),
        ("Mul", [f"{out}_pairs", f"{table}_sixteenth"], "shifted", {}),
        ("Floor", [f"{out}_shifted"], "high", {}),
        ("Mul", [f"{out}_high", f"{table}_sixteen"], "above", {}),
        ("Sub", [f"{out}_pairs", f"{out}_above"], "low", {}),
        ("Concat", [f"{out}_low", f"{out}_high"], "steps", {"axis": -1}),
        ("Sub", [f"{out}_steps", f"{table}_zero"], "signed", {}),
        ("Reshape", [f"{out}_signed", f"{table}_in_blocks"], "blocks", {}),
        ("Gather", [f"{table}_scales", ids], "halves", {"axis": 0}),
        ("Cast", [f"{out}_halves"], "scales", {"to": onnx.TensorProto.FLOAT}),
        ("Unsqueeze", [f"{out}_scales", f"{table}_last"], "scale", {}),
        ("Mul", [f"{out}_blocks", f"{out}_scale"], "numbers", {}),
    )
    nodes = [helper.make_node(kind, inputs, [f"{out}_{name}"], **more) for kind, inputs, name, more in steps]
    last = helper.make_node("Reshape", [f"{out}_numbers", f"{table}_in_rows"], [out], name=node.name)
    return [*nodes, last]
