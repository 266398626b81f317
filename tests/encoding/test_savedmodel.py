"""XTR's SavedModel: T5X's variable names and the published signature, on a small model that the test writes."""

import numpy as np
import pytest
from safetensors.torch import load_file

from tests.encoding import checkpoint_factory as factory
from tests.encoding.test_torch_encoder import TEXTS
from xtrkit.encoding import load_encoder
from xtrkit.encoding.convert import convert
from xtrkit.errors import InputError, ModelError

tf = pytest.importorskip("tensorflow", reason="TensorFlow (extra `tensorflow`) isn't installed")

PARTS = {"q": "query", "k": "key", "v": "value", "o": "out"}


def t5x_variables(directory):
    """A small XTR under T5X's names: kernels (in, out), position biases (heads, buckets)."""
    weights = {name: tensor.numpy() for name, tensor in load_file(directory / "model.safetensors").items()}
    found = {
        "token_embedder/embedding": weights["shared.weight"],
        "encoder/encoder_norm/scale": weights["encoder.final_layer_norm.weight"],
        "encoder/relpos_bias/rel_embedding": weights[
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        ].T,
        "projection_layer/kernel": factory.projection_weight().numpy().T,
    }
    for block in range(2):
        theirs, ours = f"encoder.block.{block}.layer.", f"encoder/layers_{block}/"
        found[ours + "pre_attention_layer_norm/scale"] = weights[theirs + "0.layer_norm.weight"]
        found[ours + "pre_mlp_layer_norm/scale"] = weights[theirs + "1.layer_norm.weight"]
        for short, name in PARTS.items():
            found[f"{ours}attention/{name}/kernel"] = weights[f"{theirs}0.SelfAttention.{short}.weight"].T
        for name in ("wi_0", "wi_1", "wo"):
            found[f"{ours}mlp/{name}/kernel"] = weights[f"{theirs}1.DenseReluDense.{name}.weight"].T
    return found


def save(path, variables, outputs=("encodings", "mask"), prefix="target/"):
    """A module with a signature from strings to encodings (texts, 512, d) and mask (texts, 512)."""
    module = tf.Module()
    module.parameters = [tf.Variable(value, name=prefix + name) for name, value in variables.items()]
    module.steps = tf.Variable(5, name="step")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(texts):
        ids = tf.cast(tf.io.decode_raw(texts, tf.uint8, fixed_length=512), tf.int32)
        vectors = tf.gather(module.parameters[0], ids) @ module.parameters[3]
        return dict(zip(outputs, (vectors, tf.cast(ids > 0, tf.float32)), strict=True))

    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
    return path


@pytest.mark.parametrize("prefix", ["", "target/encoder/"])
def test_a_savedmodel_becomes_the_same_encoder(checkpoints, encoders, tmp_path, prefix):
    source = save(tmp_path / "saved", t5x_variables(checkpoints["xtr"]), prefix=prefix)
    written = convert(source, tmp_path / "new", kind="tf-savedmodel", base=checkpoints["xtr"])
    assert written == "sentence-transformers"
    found, expected = load_encoder(tmp_path / "new"), encoders["xtr"]
    np.testing.assert_allclose(found.encode_documents(TEXTS).rows, expected.encode_documents(TEXTS).rows, atol=1e-5)
    assert (found.query_length, found.document_length) == (512, 512)


def test_what_is_no_xtr(checkpoints, tmp_path):
    variables = t5x_variables(checkpoints["xtr"])
    options = {"kind": "tf-savedmodel", "base": checkpoints["xtr"]}
    with pytest.raises(ModelError, match="gives a, b under serving_default, not XTR's encodings and mask"):
        convert(save(tmp_path / "other", variables, outputs=("a", "b")), tmp_path / "new", **options)
    with pytest.raises(ModelError, match="but has 2 other variables, such as 'target/decoder/x'"):
        convert(save(tmp_path / "more", {**variables, "decoder/x": np.ones(3, "f")}), tmp_path / "new", **options)
    del variables["encoder/layers_0/mlp/wo/kernel"]
    with pytest.raises(ModelError, match=r"has no variable for encoder\.block\.0.*wo\.weight"):
        convert(save(tmp_path / "less", variables), tmp_path / "new", **options)
    with pytest.raises(InputError, match="say with --base"):
        convert(tmp_path / "less", tmp_path / "new", kind="tf-savedmodel")
    assert {path.name for path in tmp_path.iterdir()} == {"other", "more", "less"}
