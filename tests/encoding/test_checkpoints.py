"""Recognising a layout, and refusing what would need random weights."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling
from tokenizers import Tokenizer

from tests.encoding import checkpoint_factory as factory
from xtrkit.encoding import load_encoder
from xtrkit.encoding.checkpoints import decisive_files, recognise
from xtrkit.errors import ModelError


@pytest.fixture
def damaged(checkpoints, tmp_path):
    """A copy of one layout's directory."""
    return lambda layout: factory.copy_of(checkpoints[layout], tmp_path / "checkpoint")


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("xtr", "xtr"),
        ("mxtr", "xtr"),
        ("stanford", "stanford-colbert"),
        ("pylate", "pylate"),
        ("native", "sentence-transformers"),
        ("colxtr", "colxtr"),
    ],
)
def test_layouts_are_recognised(checkpoints, encoders, layout, name):
    assert recognise(checkpoints[layout]).name == name
    assert encoders[layout].identity.layout == name
    assert encoders[layout].identity.dim == factory.DIM


def test_pylate_is_recognised_by_its_classes_where_the_model_type_is_missing(damaged):
    directory = damaged("pylate")
    path = directory / "config_sentence_transformers.json"
    config = json.loads(path.read_text())
    del config["model_type"]
    factory.write_json(path, config)
    assert recognise(directory).name == "pylate"
    assert len(load_encoder(directory).encode_queries(["what is xtr"])[0]) == 12


def test_an_unknown_directory_says_what_was_looked_for(tmp_path):
    with pytest.raises(ModelError, match="isn't a late-interaction checkpoint") as caught:
        recognise(tmp_path)
    for sought in ("modules.json", "MultiVectorEncoder", "ColBERT", "pylate.*", "HF_ColBERT", "t5 or mt5"):
        assert sought in str(caught.value)
    assert "projection" not in str(caught.value)


@pytest.mark.parametrize("single_vector", [False, True])
def test_a_bare_transformer_is_refused(damaged, single_vector):
    directory = damaged("stanford")
    factory.write_json(directory / "config.json", {"model_type": "bert", "architectures": ["BertModel"]})
    if single_vector:
        factory.write_json(directory / "modules.json", [{"path": "", "type": "sentence_transformers.Transformer"}])
    with pytest.raises(ModelError, match="no projection of its token embeddings was found"):
        load_encoder(directory)


def test_xtr_without_its_projection(damaged):
    directory = damaged("xtr")
    shutil.rmtree(directory / "2_Dense")
    with pytest.raises(ModelError) as caught:
        load_encoder(directory)
    assert str(caught.value) == (
        f"{directory}/2_Dense is missing: it should hold XTR's projection of 32-dimensional token embeddings "
        "(linear.weight). Fetch the checkpoint again, with all its folders; a plain T5 has no projection, and a "
        "random one would give meaningless rankings."
    )


def test_xtr_with_an_empty_projection_folder(damaged):
    directory = damaged("xtr")
    (directory / "2_Dense" / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"2_Dense/model\.safetensors \(or pytorch_model\.bin\) is missing"):
        load_encoder(directory)


@pytest.mark.parametrize("shape", [(16, 31), (16,), (32, 16)])
def test_xtr_with_a_projection_of_another_shape(damaged, shape):
    directory = damaged("xtr")
    torch.save({"linear.weight": torch.zeros(shape)}, directory / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"2_Dense/pytorch_model\.bin has shape .* should be \(dimensions, 32\)"):
        load_encoder(directory)


def test_xtr_with_an_activation(damaged):
    directory = damaged("xtr")
    path = directory / "2_Dense" / "config.json"
    factory.write_json(path, {**json.loads(path.read_text()), "activation_function": "torch.nn.Tanh"})
    with pytest.raises(ModelError, match="XTR's is linear without a bias"):
        load_encoder(directory)


def test_xtr_projection_may_be_in_1_dense_and_in_safetensors(damaged, encoders):
    directory = damaged("xtr")
    (directory / "2_Dense").rename(directory / "1_Dense")
    save_file({"linear.weight": factory.projection_weight()}, directory / "1_Dense" / "model.safetensors")
    (directory / "1_Dense" / "pytorch_model.bin").write_bytes(b"not read, because the safetensors twin wins")
    expected = encoders["xtr"].encode_queries(["late token"]).rows
    assert (load_encoder(directory).encode_queries(["late token"]).rows == expected).all()


@pytest.mark.parametrize("layout", ["xtr", "stanford", "pylate", "native"])
def test_missing_encoder_weights(damaged, layout):
    directory = damaged(layout)
    weights = load_file(directory / "model.safetensors")
    lost = next(name for name in weights if "layer.1" in name or "block.1" in name)
    save_file(
        {name: weights[name] for name in weights if name != lost}, directory / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ModelError, match=r"lack 1 of the model's tensors, such as .*1\."):
        load_encoder(directory)


def test_no_encoder_weights(damaged):
    directory = damaged("xtr")
    (directory / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors \(or pytorch_model\.bin\) is missing: .* T5 encoder"):
        load_encoder(directory)


def test_no_tokenizer(damaged):
    directory = damaged("xtr")
    (directory / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing: .* pip install sentencepiece"):
        load_encoder(directory)


def test_truncated_weights(damaged):
    directory = damaged("xtr")
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="can't be loaded"):
        load_encoder(directory)


def test_stanford_without_its_projection(damaged):
    directory = damaged("stanford")
    weights = load_file(directory / "model.safetensors")
    del weights["linear.weight"]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.safetensors holds no linear\.weight"):
        load_encoder(directory)


@pytest.mark.parametrize("layout", ["pylate", "native"])
def test_listed_projection_is_missing(damaged, layout):
    directory = damaged(layout)
    (directory / "1_Dense" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"1_Dense/model\.safetensors .* is missing"):
        load_encoder(directory)
    shutil.rmtree(directory / "1_Dense")
    with pytest.raises(ModelError, match=r"1_Dense/config\.json can't be read"):
        load_encoder(directory)


def test_pylate_without_a_listed_projection(damaged):
    directory = damaged("pylate")
    modules = json.loads((directory / "modules.json").read_text())
    factory.write_json(directory / "modules.json", modules[:1])
    with pytest.raises(ModelError, match="lists no Dense module"):
        load_encoder(directory)


def test_listed_projection_of_another_width(damaged):
    directory = damaged("native")
    path = directory / "1_Dense" / "config.json"
    factory.write_json(path, {**json.loads(path.read_text()), "in_features": 31})
    save_file({"linear.weight": torch.zeros(16, 31)}, directory / "1_Dense" / "model.safetensors")
    with pytest.raises(ModelError, match="1_Dense projects 31 dimensions, but what comes before it gives 32"):
        load_encoder(directory)


@pytest.mark.parametrize("layout", ["pylate", "native"])
@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.zeros(16, 32)}, r"1_Dense/model\.safetensors holds no linear\.weight"),
        ({"linear.weight": torch.zeros(16, 31)}, r"1_Dense/model\.safetensors has shape \(16, 31\), but should be"),
    ],
)
def test_listed_projection_lacks_its_weight_or_has_another_shape(damaged, layout, tensors, message):
    directory = damaged(layout)
    save_file(tensors, directory / "1_Dense" / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        load_encoder(directory)


def test_stanford_projection_of_another_shape(damaged):
    directory = damaged("stanford")
    weights = load_file(directory / "model.safetensors") | {"linear.weight": torch.zeros(16, 31)}
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"has shape \(16, 31\), but should be \(dimensions, 32\)"):
        load_encoder(directory)


def test_stanford_without_metadata_has_the_markers_of_the_released_checkpoint(tmp_path):
    encoder = load_encoder(factory.write_stanford(tmp_path / "stanford", metadata=False))
    assert encoder.query_tokens("late")[1].piece == "[unused0]"
    assert encoder.document_tokens("late")[1].piece == "[unused1]"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04"])
def test_damaged_projection(damaged, content):
    directory = damaged("xtr")
    (directory / "2_Dense" / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ModelError, match=r"2_Dense/pytorch_model\.bin is damaged or incomplete"):
        load_encoder(directory)


@pytest.mark.parametrize("content", [[1, 2], {"linear.weight": [1, 2]}])
def test_projection_that_is_no_dictionary_of_tensors(damaged, content):
    directory = damaged("xtr")
    torch.save(content, directory / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"2_Dense/pytorch_model\.bin isn't a plain dictionary of tensors"):
        load_encoder(directory)


def test_configurations_that_say_something_else(damaged):
    directory = damaged("xtr")
    factory.write_json(directory / "2_Dense" / "config.json", [])
    with pytest.raises(ModelError, match=r"2_Dense/config\.json should hold a JSON object, got a list"):
        load_encoder(directory)
    factory.write_json(directory / "config.json", {"model_type": "t5"})
    with pytest.raises(ModelError, match=r"config\.json should say how wide token embeddings are, d_model"):
        load_encoder(directory)


def test_token_pooling_is_refused(encoders, checkpoints, tmp_path):
    model = load_encoder(checkpoints["native"]).model
    model.append(HierarchicalTokenPooling(pool_factor=2))
    model.save_pretrained(str(tmp_path / "pooled"), create_model_card=False)
    with pytest.raises(ModelError, match="holds a HierarchicalTokenPooling"):
        load_encoder(tmp_path / "pooled")


class _Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_projection_with_code_is_refused(damaged, tmp_path):
    directory = damaged("xtr")
    torch.save({"linear.weight": _Malicious(tmp_path / "ran")}, directory / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"2_Dense/pytorch_model.bin isn't a plain dictionary of tensors, .* refused"):
        load_encoder(directory)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("layout", ["pylate", "native"])
def test_a_listed_projection_with_code_is_refused(damaged, tmp_path, layout):
    directory = damaged(layout)
    (directory / "1_Dense" / "model.safetensors").unlink()
    torch.save({"linear.weight": _Malicious(tmp_path / "ran")}, directory / "1_Dense" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"1_Dense/pytorch_model\.bin isn't a plain dictionary of tensors, .* refused"):
        load_encoder(directory)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("layout", ["xtr", "stanford", "pylate", "native", "colxtr"])
def test_an_encoder_that_is_a_pickle_must_be_converted(damaged, layout):
    directory = damaged(layout)
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"are a pickle \(pytorch_model\.bin\), which can run code: .* xtrkit convert"):
        load_encoder(directory)


def test_colxtr_without_its_bottleneck(damaged):
    directory = damaged("colxtr")
    weights = load_file(directory / "model.safetensors")
    del weights["bottleneck.weight"]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.safetensors holds no bottleneck\.weight"):
        load_encoder(directory)


@pytest.mark.parametrize("layout", ["xtr", "stanford", "native", "colxtr"])
def test_a_tokenizer_of_a_larger_vocabulary(damaged, layout):
    directory = damaged(layout)
    path = directory / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens([f"word{number}" for number in range(400)])
    tokenizer.save(str(path))
    with pytest.raises(
        ModelError, match=r"The tokenizer in .* counts to \d+, but the model has only [23]00 embeddings"
    ):
        load_encoder(directory)


def test_weights_of_other_shapes(damaged):
    directory = damaged("xtr")
    weights = load_file(directory / "model.safetensors")
    name = next(name for name in weights if name.endswith("block.0.layer.1.DenseReluDense.wo.weight"))
    save_file(weights | {name: torch.zeros(3, 4)}, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"\(layout xtr\) can't be loaded"):
        load_encoder(directory)


def test_a_reranker_is_no_encoder(rerankers):
    with pytest.raises(
        ModelError, match=r"is a reranker \(layout monot5\).* can't encode .* --rerank .* xtrkit ur2n init"
    ):
        load_encoder(rerankers["monot5"])
    with pytest.raises(
        ModelError, match=r"is a reranker \(layout cross-encoder\).* can't encode .* --rerank \(reranker=\)\.$"
    ):
        load_encoder(rerankers["cross-encoder"])


@pytest.mark.parametrize("architecture", ["T5EncoderModel", "T5Model", "T5ForConditionalGeneration"])
def test_a_projection_makes_an_xtr_of_any_t5(damaged, architecture):
    directory = damaged("xtr")
    config = json.loads((directory / "config.json").read_text())
    factory.write_json(directory / "config.json", {**config, "architectures": [architecture]})
    assert recognise(directory).name == "xtr"


def test_the_layout_is_logged(checkpoints, caplog):
    caplog.set_level("INFO", logger="xtrkit")
    recognise(checkpoints["colxtr"])
    assert f"{checkpoints['colxtr']} is laid out as" in caplog.text
    assert "(colxtr)" in caplog.text


def test_decisive_files(checkpoints):
    def names(layout):
        directory = checkpoints[layout]
        return {path.relative_to(directory).as_posix() for path in decisive_files(directory)}

    assert names("xtr") == {
        "config.json", "model.safetensors", "tokenizer.json", "2_Dense/config.json", "2_Dense/pytorch_model.bin"
    }  # fmt: skip
    assert {"artifact.metadata", "tokenizer_config.json"} <= names("stanford")
    assert {"modules.json", "sentence_bert_config.json", "1_Dense/model.safetensors"} <= names("native")


def test_fingerprint(encoders, damaged):
    directory = damaged("xtr")
    original = encoders["xtr"].identity.fingerprint
    (directory / "README.md").write_text("# A model card")
    assert len(original) == 64
    assert load_encoder(directory).identity.fingerprint == original
    assert load_encoder(directory, document_length=100).identity.fingerprint != original
    torch.save({"linear.weight": factory.projection_weight(seed=8)}, directory / "2_Dense" / "pytorch_model.bin")
    assert load_encoder(directory).identity.fingerprint != original
