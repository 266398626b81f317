"""Tables in four bits: what they keep, and that a graph looks rows up as they are kept."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from xtrkit.encoding.export import export
from xtrkit.encoding.export_int8 import quantise
from xtrkit.encoding.int4 import BLOCK, packed, unpacked
from xtrkit.errors import InputError


def table(rows, width, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def test_rounding_is_at_most_half_a_step_but_at_the_far_end():
    """Steps go from -8 to 7, of which -8 is the largest by magnitude: as much on the other side is cut."""
    numbers = table(50, 64)
    kept = unpacked(*packed(numbers)).reshape(50, -1, BLOCK)
    blocks = numbers.reshape(50, -1, BLOCK)
    step = np.abs(blocks).max(axis=2, keepdims=True) / 8
    assert (np.abs(kept - blocks) <= 1.01 * step).all()
    assert np.mean(np.abs(kept - blocks) <= 0.505 * step) > 0.97


def test_a_table_that_came_in_four_bits_loses_nothing():
    once = unpacked(*packed(table(200, 128)))
    np.testing.assert_array_equal(unpacked(*packed(once)), once)


def test_rows_of_zeros_stay():
    numbers = table(3, 64)
    numbers[1] = 0
    assert not unpacked(*packed(numbers))[1].any()


@pytest.mark.parametrize(("width", "name"), [(64, "table_int4"), (48, "table_int8")])
def test_a_graph_looks_up_what_is_kept(width, name, tmp_path):
    """A width that is no multiple of 64 stays in eight bits."""
    numbers = table(1200, width)
    node = helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0)
    taken = helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["texts", "tokens"])
    given = helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["texts", "tokens", width])
    graph = helper.make_graph([node], "look up", [taken], [given], [numpy_helper.from_array(numbers, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "a.onnx")
    quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", table_bits=4)
    assert name in {tensor.name for tensor in onnx.load(tmp_path / "b.onnx").graph.initializer}
    ids = np.random.default_rng(1).integers(0, 1200, (3, 17))
    session = onnxruntime.InferenceSession(tmp_path / "b.onnx", providers=["CPUExecutionProvider"])
    (rows,) = session.run(None, {"ids": ids})
    if name.endswith("int4"):
        np.testing.assert_allclose(rows, unpacked(*packed(numbers))[ids], rtol=1e-6)
    else:
        np.testing.assert_allclose(rows, numbers[ids], atol=0.02)


@pytest.mark.parametrize(("precision", "bits"), [("int8", 5), ("fp32", 4)])
def test_bits_that_a_table_can_not_have(precision, bits, tmp_path):
    with pytest.raises(InputError, match=r"table_bits is 8, or 4 with precision='int8'"):
        export("all-MiniLM-L6-v2", tmp_path / "out", precision=precision, table_bits=bits)
