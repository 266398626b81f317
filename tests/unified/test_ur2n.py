"""UR²N: the reranker stays what it was, bit for bit; the branch begins as the encoder's last block; one call."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from tokenizers import Tokenizer
from transformers import T5EncoderModel, T5ForConditionalGeneration
from typer.testing import CliRunner

from tests.encoding import checkpoint_factory as factory
from xtrkit import load_encoder, load_unified
from xtrkit.cli.app import app
from xtrkit.encoding.export import export
from xtrkit.errors import InputError, ModelError
from xtrkit.index import Index
from xtrkit.passage import Passage
from xtrkit.reranking import load_reranker
from xtrkit.reranking.export import LARGEST_ERROR, largest_error
from xtrkit.retriever import Retriever
from xtrkit.unified import init_unified
from xtrkit.unified.model import initial_projection

TEXTS = ["What is XTR?", "the retrieval of late token, token", "a", "", "Straße! 日本"]
PASSAGES = [Passage(str(place), text) for place, text in enumerate([*TEXTS, "document " * 200, "late document"])]


@pytest.fixture(scope="module")
def directory(rerankers, tmp_path_factory):
    path = tmp_path_factory.mktemp("ur2n") / "model"
    init_unified(rerankers["monot5"], path, dim=factory.DIM)
    return path


@pytest.fixture(scope="module")
def model(directory):
    return load_unified(directory)


@pytest.fixture(scope="module")
def trained(directory, tmp_path_factory):
    """What training changes: the branch alone."""
    path = factory.copy_of(directory, tmp_path_factory.mktemp("trained") / "model")
    random = torch.Generator().manual_seed(4)
    branch = load_file(path / "ur2n.safetensors")
    moved = {name: tensor + 0.1 * torch.randn(tensor.shape, generator=random) for name, tensor in branch.items()}
    save_file(moved, path / "ur2n.safetensors")
    return path


def batch(directory, texts=TEXTS):
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=0, pad_token="<pad>")
    encodings = tokenizer.encode_batch(texts)
    masks = [encoding.attention_mask for encoding in encodings]
    return torch.tensor([encoding.ids for encoding in encodings]), torch.tensor(masks)


@pytest.mark.parametrize("state", ["directory", "trained"])
def test_the_decoders_logits_are_the_base_models_bit_for_bit(rerankers, state, request):
    """Oracle 13: before training and after it."""
    path = request.getfixturevalue(state)
    base = T5ForConditionalGeneration.from_pretrained(rerankers["monot5"]).eval()
    unified = load_unified(path)
    unified.encoder.encode_documents(TEXTS)
    ids, mask = batch(path)
    inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": torch.zeros(len(ids), 1, dtype=torch.long)}
    with torch.no_grad():
        assert torch.equal(base(**inputs).logits, unified.reranker.model(**inputs).logits)
    assert (path / "model.safetensors").read_bytes() == (rerankers["monot5"] / "model.safetensors").read_bytes()
    scores = load_reranker(rerankers["monot5"]).score("what is xtr", TEXTS)
    np.testing.assert_array_equal(unified.reranker.score("what is xtr", TEXTS), scores)


def test_the_branch_begins_as_the_last_block(rerankers, tmp_path):
    """Oracle 13: with the identity as projection its vectors are the encoder's last hidden states."""
    init_unified(rerankers["monot5"], tmp_path / "model", dim=factory.WIDTH)
    encoder = T5EncoderModel.from_pretrained(rerankers["monot5"]).eval()
    tokenizer = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    for text, rows in zip(TEXTS, load_encoder(tmp_path / "model").encode_queries(TEXTS), strict=True):
        ids = torch.tensor([tokenizer.encode("Query: " + text).ids])
        with torch.no_grad():
            np.testing.assert_allclose(rows, encoder(input_ids=ids).last_hidden_state[0].numpy(), atol=1e-5)


def test_a_trained_branch_is_a_t5_with_another_last_block(trained):
    """Embeddings by hand: the base's lower blocks, the branch's block and LayerNorm, the projection, no unit length."""
    branch = load_file(trained / "ur2n.safetensors")
    encoder = T5EncoderModel.from_pretrained(trained).eval()
    weights = encoder.state_dict()
    for name, tensor in branch.items():
        if name.startswith("xtr_layer."):
            weights[f"encoder.block.1.{name.removeprefix('xtr_layer.')}"] = tensor
    weights["encoder.final_layer_norm.weight"] = branch["final_layer_norm.weight"]
    encoder.load_state_dict(weights)
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    found = load_unified(trained).encoder.encode_documents(TEXTS)
    for text, rows in zip(TEXTS, found, strict=True):
        ids = torch.tensor([tokenizer.encode("Document: " + text).ids])
        with torch.no_grad():
            expected = encoder(input_ids=ids).last_hidden_state[0] @ branch["projection.weight"].T
        np.testing.assert_allclose(rows, expected.numpy(), atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(found.rows, load_encoder(trained).encode_documents(TEXTS).rows)


def test_lower_layers_are_shared_and_computed_once(trained):
    model = load_unified(trained)
    base, branch = model.reranker.model, model.encoder.model[0].model
    assert branch.encoder.embed_tokens.weight is base.encoder.embed_tokens.weight is branch.shared.weight
    assert branch.encoder.block[0] is base.encoder.block[0]
    assert branch.encoder.block[-1] is not base.encoder.block[-1]
    calls = []
    base.encoder.block[0].register_forward_hook(lambda *_: calls.append(1))
    ids, mask = batch(trained)
    with torch.no_grad():
        hidden, vectors = model.both(ids, mask)
        assert len(calls) == 1
        own = base.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        other = model.encoder.model[1].linear(branch(input_ids=ids, attention_mask=mask).last_hidden_state)
    assert torch.equal(hidden, own)
    torch.testing.assert_close(vectors[mask.bool()], other[mask.bool()])


def test_any_t5_reader_opens_the_reranker_and_sentence_transformers_the_branch(directory, model, tmp_path):
    assert T5ForConditionalGeneration.from_pretrained(directory).config.d_model == factory.WIDTH
    model.encoder.save(tmp_path / "saved")
    theirs = MultiVectorEncoder(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    for text, rows in zip(TEXTS[:3], model.encoder.encode_queries(TEXTS[:3]), strict=True):
        np.testing.assert_allclose(rows, theirs.encode_query(text, convert_to_numpy=True), atol=1e-5)


@pytest.mark.parametrize("opened", ["one model for both", "by their directories"])
def test_one_call_retrieves_and_reranks(directory, model, tmp_path, opened):
    Retriever.create(tmp_path / "idx", PASSAGES, model=model.encoder, split=False)
    index = Index.open(tmp_path / "idx")
    assert index.encoder.layout == "ur2n"
    if opened == "one model for both":
        retriever = Retriever(index, model.encoder, reranker=model.reranker)
    else:
        retriever = Retriever.open(tmp_path / "idx", reranker=directory)
    first = [hit.id for hit in Retriever(index, model.encoder).search("late token", 7)]
    scores = model.reranker.score("late token", [PASSAGES[int(name)].text for name in first[:4]])
    best = sorted(zip(first[:4], scores.tolist(), strict=True), key=lambda entry: -entry[1])[:2]
    hits = retriever.search("late token", 2, rerank_depth=4)
    assert [hit.id for hit in hits] == [name for name, _ in best]
    (ranking,) = retriever.search_batch(["late token"], 2, rerank_depth=4)
    assert list(ranking.ids) == [hit.id for hit in hits]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_export_is_the_monot5(trained, rerankers, tmp_path, precision):
    """What ``xtrkit export`` makes of a UR²N reranks as the monoT5 that went into it."""
    flags = ["--int8"] if precision == "int8" else []
    ran = CliRunner().invoke(app, ["export", str(trained), str(tmp_path / "out"), *flags])
    assert ran.exit_code == 0, ran.output
    exported, expected = load_reranker(tmp_path / "out"), load_reranker(rerankers["monot5"]).score("late xtr", TEXTS)
    assert exported.settings.tokens == ("▁false", "▁true")
    assert largest_error(exported.score("late xtr", TEXTS), expected) <= LARGEST_ERROR[precision]


def test_the_retrieval_half_is_exported_from_a_copy_of_it(trained, tmp_path):
    load_unified(trained).encoder.save(tmp_path / "encoder")
    export(tmp_path / "encoder", tmp_path / "out")
    expected, found = (load_encoder(path).encode_documents(TEXTS) for path in (trained, tmp_path / "out"))
    np.testing.assert_allclose(found.rows, expected.rows, atol=1e-3)


def test_pairs_of_many_queries_score_as_each_query_does(model):
    pairs = [(query, text) for query in ("late token", "what is xtr", "") for text in [*TEXTS, "document " * 600]]
    found = model.reranker.score_pairs(pairs, batch_size=2)
    alone = [float(model.reranker.score(query, [text])[0]) for query, text in pairs]
    np.testing.assert_allclose(found, alone, atol=1e-5)
    assert model.reranker.score_pairs([]).shape == (0,)
    coarse = model.reranker.score_pairs(pairs, bf16=True)
    assert 0 < np.abs(coarse - found).max() < 0.2
    assert len(set(coarse.tolist())) >= len(set(found.round(4).tolist()))  # the decoder is not computed in bfloat16


def test_a_pickled_model_is_loaded_again_as_one(directory):
    made = load_unified(directory, device="cpu", query_length=9)
    again = pickle.loads(pickle.dumps(made))
    assert again.encoder.identity == made.encoder.identity
    assert again.encoder.model[0].model.shared is again.reranker.model.shared
    np.testing.assert_array_equal(again.reranker.score("late", TEXTS), made.reranker.score("late", TEXTS))


def test_settings_are_the_models_own(rerankers, tmp_path):
    init_unified(rerankers["monot5"], tmp_path / "model", dim=8, normalise=True, query_length=9, document_length=11)
    encoder = load_encoder(tmp_path / "model")
    assert (encoder.query_length, encoder.document_length) == (9, 11)
    found = encoder.encode_documents(["late " * 50])
    assert found[0].shape == (11, 8)
    np.testing.assert_allclose(np.linalg.norm(found.rows, axis=1), 1, atol=1e-5)
    settings = json.loads((tmp_path / "model" / "ur2n.json").read_text())
    assert settings["tokens"] == ["▁false", "▁true"]


@pytest.mark.parametrize(("dim", "width"), [(4, 9), (9, 9)])
def test_the_first_projection_is_orthonormal(dim, width):
    weight = initial_projection(dim, width)
    torch.testing.assert_close(weight @ weight.T, torch.eye(dim), atol=1e-5, rtol=0)
    assert torch.equal(weight, initial_projection(dim, width))


def test_bad_input_leaves_nothing_behind(rerankers, checkpoints, tmp_path):
    with pytest.raises(ModelError, match="is of layout xtr, but a UR²N is made of a monoT5"):
        init_unified(checkpoints["xtr"], tmp_path / "out")
    with pytest.raises(InputError, match="dim must be at most 32, the width of this model, got 33"):
        init_unified(rerankers["monot5"], tmp_path / "out", dim=33)
    with pytest.raises(InputError, match="query_length must be at least 1, got 0"):
        init_unified(rerankers["monot5"], tmp_path / "out", query_length=0)
    with pytest.raises(ModelError, match="Which two tokens"):
        init_unified(rerankers["mt5"], tmp_path / "out", dim=8)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out exists already"):
        init_unified(rerankers["monot5"], tmp_path / "out", dim=8)


def test_an_mt5_can_be_unified(rerankers, tmp_path):
    init_unified(rerankers["mt5"], tmp_path / "out", dim=8, tokens=("▁no", "▁yes"))
    model = load_unified(tmp_path / "out")
    assert model.reranker.pair == ("▁no", "▁yes")
    assert load_reranker(tmp_path / "out").pair == ("▁no", "▁yes")
    assert model.encoder.encode_queries(["late"]).dim == 8


def test_damaged_branches(directory, rerankers, tmp_path):
    path = factory.copy_of(directory, tmp_path / "model")
    branch = load_file(path / "ur2n.safetensors")
    name = next(name for name in branch if name.endswith("wo.weight"))
    for changed, message in (
        (
            {**branch, "projection.weight": torch.zeros(8, 31)},
            r"projection\.weight of \(dimensions, 32\), .* \(8, 31\)",
        ),
        ({key: branch[key] for key in branch if key != "projection.weight"}, "the latter is None"),
        ({**branch, name: torch.zeros(3, 4)}, "does not fit the encoder beside it"),
        ({key: branch[key] for key in branch if key != name}, "does not fit the encoder beside it"),
    ):
        save_file(changed, path / "ur2n.safetensors")
        with pytest.raises(ModelError, match=message):
            load_encoder(path)
    (path / "ur2n.safetensors").unlink()
    with pytest.raises(ModelError, match="UR²N's retrieval branch, is missing or damaged"):
        load_unified(path)
    with pytest.raises(ModelError, match="is no UR²N but of layout monot5: make one of it with xtrkit ur2n init"):
        load_unified(rerankers["monot5"])


def test_settings_that_can_not_be(directory, tmp_path):
    path = factory.copy_of(directory, tmp_path / "model")
    settings = json.loads((path / "ur2n.json").read_text())
    factory.write_json(path / "ur2n.json", {**settings, "query_length": "long"})
    with pytest.raises(ModelError, match=r"ur2n\.json says query_length is 'long', which it can't be"):
        load_encoder(path)
    factory.write_json(path / "ur2n.json", {**settings, "tokens": ["▁true"]})
    with pytest.raises(ModelError, match="should name two tokens"):
        load_unified(path)
