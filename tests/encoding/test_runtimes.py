"""One export, several ways to compute: how far apart vectors are, what is chosen, and what an index remembers."""

import json
import pickle

import numpy as np
import pytest
from llvmlite import binding

from tests.commands import in_text
from tests.encoding import checkpoint_factory as factory
from xtrkit import Retriever, load_encoder
from xtrkit.encoding import runtime_encoder
from xtrkit.encoding.default import MINI_DIRECTORY
from xtrkit.encoding.export import export
from xtrkit.encoding.export_samples import SAMPLES, agreement
from xtrkit.encoding.onnx_file import OnnxFile
from xtrkit.encoding.runtime_torch import TorchGraph
from xtrkit.errors import InputError, MissingExtraError, ModelError
from xtrkit.machine import multiplies_bytes

DEVICE = "cpu:0"
"""A device of torch's by name, where there is no other."""

LOWEST, MEAN = 0.995, 0.9995
"""Cosines of any token, and of tokens on average, between what multiplies bytes and what multiplies floats. On 7,107
tokens of Python's documentation the lowest was .998."""

TEXTS = [*SAMPLES, *(f"On day {day} we sailed {7 * day} miles, and {'saw nothing' * (day % 5)}." for day in range(20))]


@pytest.fixture(scope="module")
def as_exported():
    return load_encoder(runtime="onnx", threads=1)


@pytest.fixture(scope="module")
def right(as_exported):
    return as_exported.encode_documents(TEXTS)


@pytest.fixture(scope="module")
def on_device():
    return load_encoder(device=DEVICE)


@pytest.mark.parametrize("runtime", ["onnx-fp32", "openvino"])
def test_documents_of_another_runtime_are_those_of_the_export_but_for_rounding(as_exported, right, runtime):
    encoder = load_encoder(runtime=runtime, threads=1)
    found = encoder.encode_documents(TEXTS)
    assert list(found.lengths) == list(right.lengths)
    cosines = agreement(found.rows, right.rows)
    assert cosines.min() >= LOWEST
    assert cosines.mean() >= MEAN
    assert encoder.identity == as_exported.identity
    np.testing.assert_array_equal(encoder.encode_queries(TEXTS[:5]).rows, as_exported.encode_queries(TEXTS[:5]).rows)


def test_a_device_gives_what_full_precision_gives(as_exported, on_device):
    full = load_encoder(runtime="onnx-fp32", threads=1)
    found, right = on_device.encode_documents(TEXTS), full.encode_documents(TEXTS)
    assert agreement(found.rows, right.rows).min() >= 0.99999
    assert on_device.identity == as_exported.identity
    np.testing.assert_array_equal(on_device.encode_queries(TEXTS[:5]).rows, as_exported.encode_queries(TEXTS[:5]).rows)


def test_an_index_made_on_a_device_is_found_by_queries_of_the_cpu(tmp_path):
    # What the command line does with --device, --runtime and --workers; an exact index has no clusters to differ.
    for device in (None, DEVICE):
        Retriever.create(tmp_path / str(device), TEXTS[3:], nbits=16, device=device).close()
    queries = ["who wrote to the lighthouse keeper", "sailed 49 miles", "capital of France", "boiling water"]
    rankings = [
        [hits.ids for hits in Retriever.open(tmp_path / str(device)).search_batch(queries, k=5)]
        for device in (None, DEVICE)
    ]
    assert rankings[0] == rankings[1]


@pytest.mark.parametrize(("fast_bytes", "precision"), [(True, "int8"), (False, "fp32")])
def test_what_suits_the_processor_is_chosen(monkeypatch, fast_bytes, precision):
    monkeypatch.setattr(runtime_encoder, "multiplies_bytes", lambda: fast_bytes)
    assert load_encoder().computed_by.endswith(f", {precision}")


@pytest.mark.parametrize(
    ("features", "fast"),
    [
        ({"avx2": True, "avx512vnni": False, "avxvnni": False}, False),
        ({"avx2": True, "avx512vnni": True}, True),
        ({"avx2": True, "avxvnni": True}, True),
        ({"neon": True, "dotprod": True}, True),
        ({"avx2": False, "sse4.1": True}, True),
    ],
)
def test_which_processors_multiply_bytes_faster_than_floats(monkeypatch, features, fast):
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: features)
    assert multiplies_bytes() is fast


def test_a_processor_that_llvm_does_not_know(monkeypatch):
    def unknown():
        raise RuntimeError("failed to get host cpu features")

    monkeypatch.setattr(binding, "get_host_cpu_features", unknown)
    assert multiplies_bytes()


def test_pickled_it_stays_what_it_was(as_exported):
    encoder = load_encoder(runtime="openvino", threads=1)
    again = pickle.loads(pickle.dumps(encoder))
    assert again.computed_by == encoder.computed_by
    assert again.computed_by.startswith("openvino ")
    assert as_exported.computed_by.startswith("onnxruntime ")


def test_an_index_remembers_all_that_encoded_it(tmp_path):
    index, more = tmp_path / "idx", tmp_path / "more.jsonl"
    made = Retriever.create(index, TEXTS[1:9], nbits=16, runtime="onnx")
    first = made.indexed.encoded_by
    assert first == load_encoder(runtime="onnx").computed_by
    assert made.index.encoded_by == (first,)
    more.write_text(json.dumps({"id": "new", "text": "something else"}) + "\n")
    added = in_text("add", index, more, "--runtime", "onnx-fp32", "--json")
    second = json.loads(added.stdout)["encoded_by"]
    assert second != first
    told = json.loads(in_text("info", index, "--json").stdout)
    assert told["encoded_by"] == sorted([first, second])
    assert first in in_text("info", index).stdout
    in_text("delete", index, "new")
    in_text("compact", index)
    assert json.loads(in_text("info", index, "--json").stdout)["encoded_by"] == sorted([first, second])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"runtime": "tensorrt"}, "Unknown runtime 'tensorrt': use auto, onnx, onnx-fp32, openvino"),
        ({"runtime": "onnx", "device": "cuda"}, "On the device 'cuda' torch encodes"),
        ({"device": "no-such-device"}, "There is no device 'no-such-device' here"),
    ],
)
def test_choices_that_cannot_be(choices, message):
    with pytest.raises(InputError, match=message):
        load_encoder(**choices)


def test_choices_that_cannot_be_of_other_models(checkpoints, as_exported, tmp_path):
    with pytest.raises(InputError, match="runs on torch, which runtime='onnx' can't change"):
        load_encoder(checkpoints["stanford"], runtime="onnx")
    with pytest.raises(InputError, match="There is no device 'no-such-device' here"):
        load_encoder(checkpoints["stanford"], device="no-such-device")
    with pytest.raises(InputError, match=r"loaded already: load it with load_encoder\(…, runtime='openvino'\)"):
        Retriever.create(tmp_path / "idx", TEXTS, model=as_exported, runtime="openvino")
    for_openvino = factory.copy_of(MINI_DIRECTORY, tmp_path / "openvino")
    settings = json.loads((for_openvino / "xtrkit.json").read_text())
    factory.write_json(for_openvino / "xtrkit.json", settings | {"runtime": "openvino"})
    for choice in ({"runtime": "onnx"}, {"device": DEVICE}):
        with pytest.raises(InputError, match="was exported for OpenVINO, which runs it on the CPU"):
            load_encoder(for_openvino, **choice)


def test_without_openvino(monkeypatch):
    monkeypatch.setattr(runtime_encoder, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="Encoding with OpenVINO needs the extra 'openvino'"):
        load_encoder(runtime="openvino")


def test_the_command_says_so_in_a_sentence(tmp_path):
    (tmp_path / "note.txt").write_text("A note.")
    ran = in_text("index", tmp_path / "note.txt", tmp_path / "idx", "--device", "no-such-device")
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "There is no device 'no-such-device' here" in ran.stderr
    assert not (tmp_path / "idx").exists()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_other_exports_of_bert_run_on_a_device(checkpoints, tmp_path, precision):
    export(checkpoints["stanford"], tmp_path / "out", precision=precision)
    full = load_encoder(tmp_path / "out", runtime="onnx-fp32")
    on_device = load_encoder(tmp_path / "out", device=DEVICE)
    found, right = on_device.encode_documents(TEXTS), full.encode_documents(TEXTS)
    np.testing.assert_allclose(found.rows, right.rows, atol=2e-5)


def test_an_architecture_that_no_device_runs(checkpoints, tmp_path):
    export(checkpoints["xtr"], tmp_path / "out")
    with pytest.raises(ModelError, match=r"isn't a BERT's graph .* load the checkpoint that it was exported from"):
        load_encoder(tmp_path / "out", device=DEVICE)


def test_a_device_that_computes_wrong(monkeypatch):
    run = TorchGraph.run
    monkeypatch.setattr(TorchGraph, "run", lambda self, ids, attended: run(self, ids, attended)[..., ::-1])
    with pytest.raises(ModelError, match=r"the vectors are not those of xtrkit-mini: a token has a cosine of .* CPU\."):
        load_encoder(device=DEVICE)


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="isn't an ONNX graph"):
        OnnxFile(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="has no weight 'nothing'"):
        OnnxFile(MINI_DIRECTORY / "model.onnx").weight("nothing")
