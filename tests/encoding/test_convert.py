"""``convert``: pickles become safetensors, ColBERT v1 and T5-ColBERT become MultiVectorEncoders, nothing runs code."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import MultiVectorEncoder
from tokenizers import Tokenizer
from typer.testing import CliRunner

from tests.encoding import checkpoint_factory as factory
from tests.encoding.test_torch_encoder import TEXTS, bert_weights, normalised
from xtrkit.cli.app import app
from xtrkit.encoding import load_encoder
from xtrkit.encoding.checkpoints import recognise
from xtrkit.encoding.convert import convert
from xtrkit.encoding.export import export
from xtrkit.errors import InputError, ModelError
from xtrkit.reranking import load_reranker
from xtrkit.training.base import load_base
from xtrkit.training.recipes import XTR_TRAINING


def pickled(directory, target):
    """A copy whose weights are a pickle."""
    directory = factory.copy_of(directory, target)
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    return directory


@pytest.mark.parametrize("layout", ["xtr", "mxtr", "stanford", "pylate", "native", "colxtr"])
def test_pickled_encoders(checkpoints, encoders, layout, tmp_path):
    written = convert(pickled(checkpoints[layout], tmp_path / "old"), tmp_path / "new")
    assert written == ("colxtr" if layout == "colxtr" else "sentence-transformers")
    assert not list((tmp_path / "new").rglob("*.bin"))
    found = load_encoder(tmp_path / "new")
    np.testing.assert_array_equal(found.encode_queries(TEXTS).rows, encoders[layout].encode_queries(TEXTS).rows)
    np.testing.assert_array_equal(found.encode_documents(TEXTS).rows, encoders[layout].encode_documents(TEXTS).rows)


@pytest.mark.parametrize("layout", ["monot5", "cross-encoder"])
def test_pickled_rerankers(rerankers, layout, tmp_path):
    assert convert(pickled(rerankers[layout], tmp_path / "old"), tmp_path / "new") == layout
    scores = load_reranker(rerankers[layout]).score("late", ["token", "the"])
    np.testing.assert_array_equal(load_reranker(tmp_path / "new").score("late", ["token", "the"]), scores)


def test_weights_in_several_pickles(checkpoints, encoders, tmp_path):
    directory = factory.copy_of(checkpoints["xtr"], tmp_path / "old")
    weights = list(load_file(directory / "model.safetensors").items())
    (directory / "model.safetensors").unlink()
    torch.save(dict(weights[:5]), directory / "pytorch_model-00001-of-00002.bin")
    torch.save(dict(weights[5:]), directory / "pytorch_model-00002-of-00002.bin")
    convert(directory, tmp_path / "new")
    expected = encoders["xtr"].encode_queries(TEXTS).rows
    np.testing.assert_array_equal(load_encoder(tmp_path / "new").encode_queries(TEXTS).rows, expected)


@pytest.fixture
def v1(checkpoints, tmp_path):
    """What `torch.save` of ColBERT v1 leaves: model, optimizer, and the command line."""
    bert, projection = bert_weights(checkpoints["stanford"])
    state = {f"bert.{name}": tensor for name, tensor in bert.state_dict().items()} | {"linear.weight": projection}
    arguments = {"query_maxlen": 12, "doc_maxlen": 24, "mask_punctuation": False, "similarity": "l2", "dim": 16}
    content = {"epoch": 0, "batch": 9, "model_state_dict": state, "optimizer_state_dict": {}, "arguments": arguments}
    torch.save(content, tmp_path / "colbert.dnn")
    return tmp_path / "colbert.dnn"


def test_colbert_v1(v1, checkpoints, tmp_path):
    """[CLS] [D] words [SEP] at most 24, all of them; queries filled up with [MASK] to 12, which nothing attends to."""
    assert convert(v1, tmp_path / "new", base=checkpoints["stanford"]) == "sentence-transformers"
    encoder = load_encoder(tmp_path / "new")
    bert, projection = bert_weights(checkpoints["stanford"])
    tokenizer = Tokenizer.from_file(str(checkpoints["stanford"] / "tokenizer.json"))
    queries, documents = encoder.encode_queries(TEXTS), encoder.encode_documents(TEXTS)
    for text, query, document in zip(TEXTS, queries, documents, strict=True):
        first, *words, last = tokenizer.encode(text).ids
        ids = torch.tensor([[first, tokenizer.token_to_id("[unused1]"), *words[:21], last]])
        real = [first, tokenizer.token_to_id("[unused0]"), *words[:9], last]
        filled = torch.tensor([real + [tokenizer.token_to_id("[MASK]")] * (12 - len(real))])
        attended = torch.tensor([[1] * len(real) + [0] * (12 - len(real))])
        with torch.no_grad():
            expected = normalised(bert(input_ids=ids).last_hidden_state[0] @ projection.T)
            np.testing.assert_allclose(document, expected, atol=1e-5)
            expected = normalised(bert(input_ids=filled, attention_mask=attended).last_hidden_state[0] @ projection.T)
            np.testing.assert_allclose(query, expected, atol=1e-5)


def test_t5_colbert(checkpoints, tmp_path):
    assert convert(checkpoints["xtr"], tmp_path / "new", layout="t5-colbert") == "sentence-transformers"
    encoder = load_encoder(tmp_path / "new")
    assert (encoder.query_length, encoder.document_length) == (64, 256)
    theirs = MultiVectorEncoder(str(tmp_path / "new"), device="cpu", local_files_only=True)
    assert theirs.similarity_fn_name == "maxsim"
    rows = theirs.encode_document("The Late token", convert_to_numpy=True)
    np.testing.assert_allclose(encoder.encode_documents(["The Late token"])[0], rows, atol=1e-5)
    with pytest.raises(ModelError, match="is of layout colxtr, not XTR's: it can't be taken for t5-colbert"):
        convert(checkpoints["colxtr"], tmp_path / "other", layout="t5-colbert")


class _Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_pickles_with_code_are_refused(v1, checkpoints, tmp_path):
    bad = _Malicious(tmp_path / "ran")
    directory = pickled(checkpoints["xtr"], tmp_path / "old")
    torch.save({"shared.weight": bad}, directory / "pytorch_model.bin")
    torch.save({**torch.load(v1, weights_only=True), "arguments": bad}, v1)
    for source in (directory, v1):
        with pytest.raises(ModelError, match="could run code: refused"):
            convert(source, tmp_path / "new", base=checkpoints["stanford"])
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.glob("*new*"))
    assert not list(tmp_path.glob(".*new*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "has no model_state_dict"),
        ({"model_state_dict": {"bert.x": 1}}, "should hold a dictionary of tensors alone"),
        ({"model_state_dict": {"bert.x": torch.zeros(1)}}, r"holds no bert\.\* and linear\.weight"),
    ],
)
def test_what_is_no_colbert_v1(content, message, checkpoints, tmp_path):
    torch.save(content, tmp_path / "odd.dnn")
    with pytest.raises(ModelError, match=message):
        convert(tmp_path / "odd.dnn", tmp_path / "new", base=checkpoints["stanford"])
    assert {path.name for path in tmp_path.iterdir()} == {"odd.dnn"}


def test_arguments_that_can_not_be_used(v1, checkpoints, tmp_path):
    with pytest.raises(InputError, match="say with --base"):
        convert(v1, tmp_path / "new")
    with pytest.raises(InputError, match="Unknown layout 'colbert': t5-colbert or xtr can be chosen"):
        convert(checkpoints["xtr"], tmp_path / "new", layout="colbert")
    with pytest.raises(InputError, match="Unknown kind of model 'onnx': checkpoint or tf-savedmodel"):
        convert(checkpoints["xtr"], tmp_path / "new", kind="onnx")
    with pytest.raises(ModelError, match=r"There is no .*none\.dnn"):
        convert(tmp_path / "none.dnn", tmp_path / "new")
    with pytest.raises(ModelError, match=r"is no SavedModel: expected saved_model\.pb"):
        convert(checkpoints["xtr"], tmp_path / "new", kind="tf-savedmodel")
    (tmp_path / "old").mkdir()
    with pytest.raises(InputError, match="old exists already"):
        convert(checkpoints["xtr"], tmp_path / "old")
    with pytest.raises(InputError, match="is no folder"):
        convert(checkpoints["xtr"], tmp_path / "none" / "new")


def test_the_command(checkpoints, tmp_path):
    ran = CliRunner().invoke(app, ["convert", str(checkpoints["stanford"]), str(tmp_path / "new")])
    assert ran.exit_code == 0
    assert "in the layout sentence-transformers" in ran.stdout
    assert recognise(tmp_path / "new").name == "sentence-transformers"


def test_a_t5_colbert_is_exported_and_can_be_trained(checkpoints, tmp_path):
    convert(checkpoints["xtr"], tmp_path / "new", layout="t5-colbert")
    export(tmp_path / "new", tmp_path / "fast", precision="fp32")
    right, found = load_encoder(tmp_path / "new"), load_encoder(tmp_path / "fast")
    assert found.identity.fingerprint == right.identity.fingerprint
    for task in ("queries", "documents"):
        ours, torchs = (getattr(encoder, f"encode_{task}")(["A cat.", "cats and DOGS"]) for encoder in (found, right))
        assert list(ours.lengths) == list(torchs.lengths)
        np.testing.assert_allclose(ours.rows, torchs.rows, atol=2e-5)
    model, is_new = load_base(str(tmp_path / "new"), XTR_TRAINING)
    assert not is_new
    assert not model[0].do_lower_case
