"""Exported models beside their torch originals: the same tokens, the same vectors, and no torch."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.encoding import checkpoint_factory as factory
from tests.encoding.checkpoint_factory import LAYOUTS
from tests.encoding.test_tokens import ODD
from tests.encoding.test_torch_encoder import TEXTS
from xtrkit.encoding import Encoder, load_encoder
from xtrkit.encoding import export as exporting
from xtrkit.encoding.batching import batches_of
from xtrkit.encoding.export import export
from xtrkit.encoding.export_int8 import blocks_of_int8
from xtrkit.encoding.export_samples import agreement
from xtrkit.errors import ExportError, InputError, ModelError


@pytest.fixture(scope="module")
def exports(checkpoints, tmp_path_factory):
    """Each layout's export in fp32."""
    root = tmp_path_factory.mktemp("exports")
    for layout, directory in checkpoints.items():
        export(directory, root / layout)
    return {layout: root / layout for layout in checkpoints}


@pytest.fixture(scope="module")
def exported(exports):
    return {layout: load_encoder(path) for layout, path in exports.items()}


@pytest.fixture(scope="module")
def int8(checkpoints, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "stanford"
    export(checkpoints["stanford"], path, precision="int8")
    return path


@pytest.mark.parametrize("task", ["queries", "documents"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_export_gives_the_vectors_of_torch(encoders, exported, layout, task):
    texts = [*TEXTS, *ODD]
    right = getattr(encoders[layout], f"encode_{task}")(texts)
    for batch_size in (1, 3, 100):
        found = getattr(exported[layout], f"encode_{task}")(texts, batch_size=batch_size)
        assert list(found.lengths) == list(right.lengths)
        np.testing.assert_allclose(found.rows, right.rows, atol=2e-5)
        assert found.rows.dtype == np.float32
    assert isinstance(exported[layout], Encoder)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40), layout=st.sampled_from(LAYOUTS))
def test_any_text_gets_the_vectors_and_tokens_that_torch_gives(encoders, exported, text, layout):
    torch_encoder, encoder = encoders[layout], exported[layout]
    np.testing.assert_allclose(
        encoder.encode_documents([text]).rows, torch_encoder.encode_documents([text]).rows, atol=2e-5
    )
    assert encoder.document_tokens(text) == torch_encoder.document_tokens(text)
    assert encoder.query_tokens(text) == torch_encoder.query_tokens(text)


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tokens_are_those_of_torch(encoders, exported, layout, text):
    assert exported[layout].query_tokens(text) == encoders[layout].query_tokens(text)
    assert exported[layout].document_tokens(text) == encoders[layout].document_tokens(text)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_either_may_search_what_the_other_indexed(encoders, exported, layout):
    given, right = exported[layout].identity, encoders[layout].identity
    assert given.fingerprint == right.fingerprint
    assert (given.layout, given.dim, given.query_length) == (right.layout, right.dim, right.query_length)


@pytest.mark.parametrize("layout", ["xtr", "stanford"])
def test_lengths_can_be_chosen(checkpoints, exports, layout):
    lengths = {"query_length": 7, "document_length": 9}
    found, right = load_encoder(exports[layout], **lengths), load_encoder(checkpoints[layout], **lengths)
    assert found.identity.fingerprint == right.identity.fingerprint
    for task in ("queries", "documents"):
        ours, torchs = (getattr(encoder, f"encode_{task}")(TEXTS) for encoder in (found, right))
        np.testing.assert_allclose(ours.rows, torchs.rows, atol=2e-5)


@pytest.mark.parametrize(("layout", "length", "message"), [("stanford", 3, "from 4 .* to 64"), ("xtr", 0, "from 2 ")])
def test_lengths_that_a_model_cannot_have(exports, layout, length, message):
    for task in ("query", "document"):
        with pytest.raises(InputError, match=message):
            load_encoder(exports[layout], **{f"{task}_length": length})


def test_streaming_equals_a_batch_and_counts_truncated_texts(encoders, exported):
    texts = [*TEXTS, "late " * 21, "late " * 22]
    chunks = list(exported["stanford"].stream_documents(iter(texts), chunk_size=3))
    assert [chunk.truncated for chunk in chunks] == [0, 1, 1]
    whole = encoders["stanford"].encode_documents(texts)
    np.testing.assert_allclose(np.concatenate([chunk.embeddings.rows for chunk in chunks]), whole.rows, atol=2e-5)


@pytest.mark.parametrize("expansion", [{"strategy": "min", "attend": True}, {"strategy": "min"}, {"attend": True}])
def test_ways_of_augmenting_queries(checkpoints, tmp_path, expansion):
    directory = factory.copy_of(checkpoints["native"], tmp_path / "native")
    config = json.loads((directory / "sentence_bert_config.json").read_text())
    config["query_expansion"] |= expansion
    factory.write_json(directory / "sentence_bert_config.json", {**config, "query_length": 16})
    export(directory, tmp_path / "out")
    texts = [*TEXTS, "late " * 12]
    right, found = (load_encoder(path).encode_queries(texts) for path in (directory, tmp_path / "out"))
    assert list(found.lengths) == list(right.lengths)
    np.testing.assert_allclose(found.rows, right.rows, atol=2e-5)


def test_a_model_without_special_tokens_still_gives_a_vector(checkpoints, tmp_path):
    directory = factory.copy_of(checkpoints["native"], tmp_path / "bare")
    tokenizer = factory.wordpiece_tokenizer()
    tokenizer.post_processor = factory.processors.Sequence([])
    tokenizer.save(str(directory / "tokenizer.json"))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    factory.write_json(directory / "tokenizer_config.json", {"tokenizer_class": "TokenizersBackend", **names})
    factory.write_json(
        directory / "config_sentence_transformers.json",
        {"model_type": "MultiVectorEncoder", "prompts": {"query": "", "document": ""}},
    )
    export(directory, tmp_path / "out")
    right, found = load_encoder(directory), load_encoder(tmp_path / "out")
    for text in ("", "...", "late"):
        np.testing.assert_allclose(found.encode_documents([text]).rows, right.encode_documents([text]).rows, atol=2e-5)
        assert found.document_tokens(text) == right.document_tokens(text)


def test_int8_is_small_close_and_a_model_of_its_own(encoders, exports, int8):
    encoder, right = load_encoder(int8), encoders["stanford"].encode_documents(TEXTS)
    found = encoder.encode_documents(TEXTS)
    assert agreement(found.rows, right.rows).min() > 0.99
    assert (int8 / "model.onnx").stat().st_size < 0.75 * (exports["stanford"] / "model.onnx").stat().st_size
    assert encoder.identity.fingerprint != encoders["stanford"].identity.fingerprint
    for text, rows in zip(TEXTS, found, strict=True):  # rounded block by block, so that companions change nothing
        np.testing.assert_allclose(encoder.encode_documents([text])[0], rows, atol=2e-5)


@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 5)), block=st.sampled_from([16, 128]), seed=st.integers(0, 99)
)
def test_blocks_of_int8_are_within_half_a_step(shape, block, seed):
    weight = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    weight[:, 0] *= seed % 3  # a column of zeros among them
    steps, scales = blocks_of_int8(weight, block)
    back = ((steps.astype(np.float32) - 128) * scales[:, :, None]).reshape(shape[1], -1)[:, : shape[0]].T
    allowed = np.repeat(scales, block, axis=1)[:, : shape[0]].T
    assert (np.abs(back - weight) <= 0.501 * allowed + 1e-7).all()


def test_openvino_gives_the_vectors_of_torch(checkpoints, encoders, tmp_path):
    """T5, which other exporters get wrong in OpenVINO."""
    export(checkpoints["xtr"], tmp_path / "out", runtime="openvino")
    encoder = load_encoder(tmp_path / "out")
    np.testing.assert_allclose(
        encoder.encode_documents(TEXTS).rows, encoders["xtr"].encode_documents(TEXTS).rows, atol=2e-5
    )
    assert encoder.identity.fingerprint == encoders["xtr"].identity.fingerprint


def test_an_export_that_is_not_close_enough_leaves_nothing(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.LOWEST_COSINE, "int8", 0.9999)
    with pytest.raises(ExportError, match=r"token \d+ \('.*'\) of the (query|document) '.*' has a cosine of 0\.99"):
        export(checkpoints["stanford"], tmp_path / "out", precision="int8")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_the_exporter_cannot_export_leaves_nothing(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr("xtrkit.encoding.export_graph._OPSET", 1)
    with pytest.raises(ExportError, match="The exporter failed on this model"):
        export(checkpoints["stanford"], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_comparison_notices_another_model(encoders, exported):
    expected = {task: exporting._encode(encoders["mxtr"], task) for task in ("query", "document")}
    tokens, lowest = exporting._compare(expected, exported["mxtr"], 0.999)
    assert tokens > 1000
    assert 0.999 < lowest <= 1
    with pytest.raises(ExportError, match="vectors for the query"):
        exporting._compare(expected, exported["stanford"], 0.999)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"runtime": "tensorrt"}, "Unknown runtime 'tensorrt': use onnx or openvino"),
        ({"precision": "int4"}, "Unknown precision 'int4'"),
        ({"precision": "bf16"}, "doesn't compute in bf16 on a CPU: use int8, or openvino"),
    ],
)
def test_choices_that_do_not_exist(checkpoints, tmp_path, choices, message):
    with pytest.raises(InputError, match=message):
        export(checkpoints["xtr"], tmp_path / "out", **choices)


def test_a_taken_place_and_an_export_of_an_export(checkpoints, exports, tmp_path):
    with pytest.raises(InputError, match="exists already"):
        export(checkpoints["xtr"], tmp_path)
    with pytest.raises(InputError, match="is an export already"):
        export(exports["xtr"], tmp_path / "out")


def damaged(tmp_path, exports, **changes):
    directory = factory.copy_of(exports["xtr"], tmp_path / "damaged")
    content = json.loads((directory / "xtrkit.json").read_text()) | changes
    factory.write_json(directory / "xtrkit.json", {key: value for key, value in content.items() if value != "gone"})
    return directory


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "isn't of a model that xtrkit exported"),
        ({"version": 2}, "another version of the format"),
        ({"dim": "gone"}, "lacks 'dim'"),
        ({"expansion": {"length": 3}}, "is damaged"),
        ({"runtime": "tensorrt"}, "asks for runtime 'tensorrt'"),
        ({"files": {"model.onnx": "", "elsewhere.bin": ""}}, "elsewhere.bin is missing"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path, exports, changes, message):
    with pytest.raises(ModelError, match=message):
        load_encoder(damaged(tmp_path, exports, **changes))


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json"])
def test_files_that_are_damaged_or_changed(tmp_path, exports, file):
    directory = damaged(tmp_path, exports)
    whole = (directory / file).read_bytes()
    (directory / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="export the model again"):
        load_encoder(directory)
    shutil.copy(exports["mxtr"] / "xtrkit.json", directory / "xtrkit.json")
    (directory / file).write_bytes(whole + b"\n")
    with pytest.raises(ModelError, match=r"has changed|can't be run"):
        _ = load_encoder(directory).identity


def test_an_export_runs_on_the_cpu_alone(exports):
    with pytest.raises(InputError, match="runs on the CPU, got device 'cuda'"):
        load_encoder(exports["xtr"], device="cuda")


def test_encoding_needs_no_torch(exports):
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'sentence_transformers', 'onnx'): sys.modules[name] = None\n"
        "from xtrkit.encoding import load_encoder\n"
        f"print(load_encoder({str(exports['stanford'])!r}).encode_queries(['late retrieval']).rows.shape)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "(12, 16)\n"


def test_a_graph_knows_nothing_of_where_it_was_made(exports):
    session = onnxruntime.InferenceSession(exports["xtr"] / "model.onnx", providers=["CPUExecutionProvider"])
    assert [(entry.name, entry.shape) for entry in session.get_inputs()] == [
        ("input_ids", ["texts", "tokens"]), ("attention_mask", ["texts", "tokens"])
    ]  # fmt: skip
    assert str(exports["xtr"].parent).encode() not in (exports["xtr"] / "model.onnx").read_bytes()


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=50),
    batch_size=st.integers(1, 40),
    most=st.none() | st.integers(1, 2000),
)
def test_batches_hold_every_text_once_and_keep_to_their_budget(lengths, batch_size, most):
    batches = [list(batch) for batch in batches_of(np.array(lengths), batch_size, most)]
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    budget = min(batch_size * 128, most or batch_size * 128)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= budget


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_can_be_chosen_and_change_nothing(encoders, exports, threads):
    found = load_encoder(exports["stanford"], threads=threads).encode_documents(TEXTS * 20)
    np.testing.assert_allclose(found.rows, encoders["stanford"].encode_documents(TEXTS * 20).rows, atol=2e-5)


def test_no_threads_are_refused(exports):
    with pytest.raises(InputError, match="threads must be at least 1, got 0"):
        load_encoder(exports["xtr"], threads=0)


def test_threads_may_share_an_encoder(exported):
    encoder, texts = exported["stanford"], [*TEXTS * 5]
    expected = encoder.encode_documents(texts)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda text: encoder.encode_documents([text])[0], texts))
    np.testing.assert_allclose(np.concatenate(alone), expected.rows, atol=2e-5)
