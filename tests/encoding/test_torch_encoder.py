"""Embeddings against a plain transformers forward pass; batching, streaming, lengths, saving."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import MultiVectorEncoder
from tokenizers import Tokenizer
from transformers import AutoModel, BertModel, MT5EncoderModel, T5EncoderModel

from tests.encoding import checkpoint_factory as factory
from tests.encoding.checkpoint_factory import LAYOUTS
from xtrkit import progress
from xtrkit.encoding import Encoder, load_encoder
from xtrkit.encoding.checkpoints import T5_COLBERT
from xtrkit.encoding.default import ORIGINAL, original_directory
from xtrkit.encoding.torch_encoder import TorchEncoder
from xtrkit.errors import InputError, ModelError

TEXTS = ["What is XTR?", "the retrieval of late token, token", "a", "", "Straße! 日本", "document " * 30]


def normalised(rows):
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


def bert_weights(directory):
    """A plain BertModel of a Stanford checkpoint, whose names start with `bert.`, and its projection."""
    weights = factory.load_file(directory / "model.safetensors")
    bert = BertModel(AutoModel.from_pretrained(directory).config)
    bert.load_state_dict({name.removeprefix("bert."): weights[name] for name in weights if name != "linear.weight"})
    return bert.eval(), weights["linear.weight"]


@pytest.mark.parametrize("task", ["queries", "documents"])
@pytest.mark.parametrize(("layout", "model_class"), [("xtr", T5EncoderModel), ("mxtr", MT5EncoderModel)])
def test_xtr_is_t5_of_lower_case_projected_and_normalised(checkpoints, encoders, layout, model_class, task):
    model = model_class.from_pretrained(checkpoints[layout]).eval()
    tokenizer = Tokenizer.from_file(str(checkpoints[layout] / "tokenizer.json"))
    found = getattr(encoders[layout], f"encode_{task}")(TEXTS)
    for text, rows in zip(TEXTS, found, strict=True):
        ids = torch.tensor([tokenizer.encode(text.lower()).ids])
        assert ids[0, -1] == 1  # </s> has a vector
        with torch.no_grad():
            expected = normalised(model(input_ids=ids).last_hidden_state[0] @ factory.projection_weight().T)
        np.testing.assert_allclose(rows, expected, atol=1e-5)


@pytest.mark.parametrize("layout", ["stanford", "pylate", "native"])
def test_colbert_documents(checkpoints, encoders, layout):
    """[CLS] [D] words [SEP], at most 24; punctuation is seen by the encoder, but has no vector."""
    bert, projection = bert_weights(checkpoints["stanford"])
    tokenizer = Tokenizer.from_file(str(checkpoints["stanford"] / "tokenizer.json"))
    skipped = [tokenizer.token_to_id(mark) for mark in factory.SKIPLIST]
    for text, rows in zip(TEXTS, encoders[layout].encode_documents(TEXTS), strict=True):
        first, *words, last = tokenizer.encode(text).ids
        ids = torch.tensor([[first, tokenizer.token_to_id("[unused1]"), *words[:21], last]])
        with torch.no_grad():
            expected = normalised(bert(input_ids=ids).last_hidden_state[0] @ projection.T)
        np.testing.assert_allclose(rows, expected[~np.isin(ids[0], skipped)], atol=1e-5)


@pytest.mark.parametrize("layout", ["stanford", "pylate", "native"])
def test_colbert_queries(checkpoints, encoders, layout):
    """[CLS] [Q] words [SEP], then [MASK] up to 12: no token attends to those, but each has a vector."""
    bert, projection = bert_weights(checkpoints["stanford"])
    tokenizer = Tokenizer.from_file(str(checkpoints["stanford"] / "tokenizer.json"))
    for text, rows in zip(TEXTS, encoders[layout].encode_queries(TEXTS), strict=True):
        first, *words, last = tokenizer.encode(text).ids
        real = [first, tokenizer.token_to_id("[unused0]"), *words[:9], last]
        ids = torch.tensor([real + [tokenizer.token_to_id("[MASK]")] * (12 - len(real))])
        attended = torch.tensor([[1] * len(real) + [0] * (12 - len(real))])
        with torch.no_grad():
            expected = normalised(bert(input_ids=ids, attention_mask=attended).last_hidden_state[0] @ projection.T)
        np.testing.assert_allclose(rows, expected, atol=1e-5)


@pytest.mark.parametrize(("task", "prefix", "length"), [("queries", "Query: ", 32), ("documents", "Document: ", 180)])
def test_colxtr_has_prefixes_a_sequence_mean_and_any_length(checkpoints, encoders, task, prefix, length):
    """Bhat & Sen 2025 as PrimeQA runs it: padded to the longest length, </s> is the sum of rows over that length."""
    model = T5EncoderModel.from_pretrained(checkpoints["colxtr"]).eval()
    tokenizer = Tokenizer.from_file(str(checkpoints["colxtr"] / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=0, pad_token="<pad>")
    for text, rows in zip(TEXTS, getattr(encoders["colxtr"], f"encode_{task}")(TEXTS), strict=True):
        encoding = tokenizer.encode(prefix + text)
        ids, mask = torch.tensor([encoding.ids]), torch.tensor([encoding.attention_mask])
        with torch.no_grad():
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state[0] @ factory.projection_weight().T
        hidden[ids[0] == 1] = (hidden * mask[0, :, None]).sum(0) / length
        np.testing.assert_allclose(rows, hidden[mask[0].bool()].numpy(), atol=1e-5)


def test_t5_colbert_has_its_lengths_its_case_and_no_mask_tokens(checkpoints):
    """Qian et al. 2022: 64 and 256 tokens, unit vectors, "no pad or mask token embeddings for retrieval"."""
    encoder = TorchEncoder("t5", checkpoints["xtr"], T5_COLBERT)
    model = T5EncoderModel.from_pretrained(checkpoints["xtr"]).eval()
    tokenizer = Tokenizer.from_file(str(checkpoints["xtr"] / "tokenizer.json"))
    for encode, length in ((encoder.encode_queries, 64), (encoder.encode_documents, 256)):
        tokenizer.enable_truncation(length)
        texts = [*TEXTS, "Late " * 300]
        for text, rows in zip(texts, encode(texts), strict=True):
            ids = torch.tensor([tokenizer.encode(text).ids])
            with torch.no_grad():
                expected = normalised(model(input_ids=ids).last_hidden_state[0] @ factory.projection_weight().T)
            np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert encoder.model.similarity_fn_name == "maxsim"


def test_all_minilm_is_the_normalised_last_hidden_state(encoders):
    model = AutoModel.from_pretrained(original_directory()).eval()
    tokenizer = Tokenizer.from_file(str(original_directory() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for text, rows in zip(TEXTS, encoders[ORIGINAL].encode_documents(TEXTS), strict=True):
        with torch.no_grad():
            expected = normalised(model(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0])
        assert rows.shape[1] == 384
        np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert encoders[ORIGINAL].document_length == 256


@pytest.mark.parametrize("layout", [*(layout for layout in LAYOUTS if layout != "colxtr"), "default"])
def test_vectors_are_float32_of_unit_length_and_alike_on_every_call(encoders, layout):
    encoder = encoders[layout]
    assert isinstance(encoder, Encoder)
    first, again = encoder.encode_documents(TEXTS), encoder.encode_documents(TEXTS)
    assert first.rows.dtype == np.float32
    assert first.rows.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(first.rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(first.rows, again.rows)


@pytest.mark.parametrize("task", ["queries", "documents"])
@pytest.mark.parametrize("layout", [*LAYOUTS, "default"])
def test_companions_and_batch_size_change_nothing(encoders, layout, task):
    encode = getattr(encoders[layout], f"encode_{task}")
    together = encode(TEXTS)
    in_pairs = encode(TEXTS, batch_size=2)
    assert list(together.lengths) == list(in_pairs.lengths)
    np.testing.assert_allclose(together.rows, in_pairs.rows, atol=1e-5)
    for text, rows in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(encode([text])[0], rows, atol=1e-5)


def test_no_texts(encoders):
    found = encoders["xtr"].encode_documents([])
    assert found.rows.shape == (0, factory.DIM)
    assert list(encoders["xtr"].stream_documents([])) == []


def test_streaming_equals_a_batch_and_counts_truncated_texts(encoders):
    encoder = encoders["stanford"]
    texts = [*TEXTS, "late " * 21, "late " * 22]  # 24 tokens with their three markers just fit
    chunks = list(encoder.stream_documents(iter(texts), chunk_size=3))
    assert [len(chunk.embeddings) for chunk in chunks] == [3, 3, 2]
    assert [chunk.truncated for chunk in chunks] == [0, 1, 1]
    whole = encoder.encode_documents(texts)
    np.testing.assert_allclose(np.concatenate([chunk.embeddings.rows for chunk in chunks]), whole.rows, atol=1e-5)


def test_streaming_is_lazy(encoders):
    consumed = []

    def texts():
        for number in range(10):
            consumed.append(number)
            yield f"document {number}"

    chunks = encoders["xtr"].stream_documents(texts(), chunk_size=4)
    assert consumed == []
    assert len(next(chunks).embeddings) == 4
    assert len(consumed) == 4
    assert [len(chunk.embeddings) for chunk in chunks] == [4, 2]


def test_progress_goes_to_standard_error_and_only_when_asked_for(encoders, capfd, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    encoders["xtr"].encode_documents(TEXTS)
    assert capfd.readouterr() == ("", "")
    encoders["xtr"].encode_documents(TEXTS, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Encoding documents" in err


@pytest.mark.parametrize("layout", [*LAYOUTS, "default"])
def test_lengths_can_be_chosen(checkpoints, layout):
    encoder = load_encoder(checkpoints.get(layout, layout), query_length=8, document_length=9)
    assert (encoder.query_length, encoder.document_length) == (8, 9)
    queries, documents = encoder.encode_queries(["late " * 50]), encoder.encode_documents(["late " * 50])
    assert (len(queries[0]), len(documents[0])) == (8, 9)
    expanded = layout in ("stanford", "pylate", "native")
    assert (len(encoder.encode_queries(["late"])[0]) == 8) == expanded


@pytest.mark.parametrize(("layout", "length", "message"), [("stanford", 3, "from 4 .* to 64"), ("xtr", 0, "from 2 ")])
def test_lengths_that_a_model_cannot_have(checkpoints, layout, length, message):
    with pytest.raises(InputError, match=message):
        load_encoder(checkpoints[layout], document_length=length)
    with pytest.raises(InputError, match=message):
        load_encoder(checkpoints[layout], query_length=length)


def test_lengths_beyond_the_positions_of_the_model(checkpoints):
    with pytest.raises(InputError, match="got 65"):
        load_encoder(checkpoints["stanford"], document_length=65)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "colxtr"])
def test_saving_and_reloading_changes_nothing(encoders, layout, tmp_path):
    encoder = encoders[layout]
    encoder.model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    reloaded = load_encoder(tmp_path / "saved")
    texts = [*TEXTS, "LATE Token Αα ΟΔΟΣ İs"]
    assert reloaded.identity.layout == "sentence-transformers"
    np.testing.assert_array_equal(reloaded.encode_queries(texts).rows, encoder.encode_queries(texts).rows)
    np.testing.assert_array_equal(reloaded.encode_documents(texts).rows, encoder.encode_documents(texts).rows)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "colxtr"])
def test_sentence_transformers_opens_what_was_saved(encoders, layout, tmp_path):
    encoder = encoders[layout]
    encoder.save(tmp_path / "saved")
    theirs = MultiVectorEncoder(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    for ours, encode in ((encoder.encode_queries, "encode_query"), (encoder.encode_documents, "encode_document")):
        for text, rows in zip(TEXTS[:3], ours(TEXTS[:3]), strict=True):
            np.testing.assert_allclose(rows, getattr(theirs, encode)(text, convert_to_numpy=True), atol=1e-5)
    assert theirs.similarity_fn_name == ("meanmaxsim" if layout in ("xtr", "mxtr") else "maxsim")


def test_nothing_half_saved(encoders, tmp_path):
    with pytest.raises(ModelError, match=r"ColXTR can't be saved .* no module for its sequence mean"):
        encoders["colxtr"].save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="mine exists already"):
        encoders["xtr"].save(tmp_path / "mine")


def test_lower_case_survives_in_sentence_transformers_alone(encoders, tmp_path):
    encoders["xtr"].model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    load_encoder(tmp_path / "saved").model.save_pretrained(str(tmp_path / "again"), create_model_card=False)
    assert json.loads((tmp_path / "again" / "sentence_bert_config.json").read_text())["do_lower_case"] is True
    reloaded = MultiVectorEncoder(str(tmp_path / "again"), device="cpu", local_files_only=True)
    upper, lower = reloaded.encode_document(["LATE Token", "late token"], convert_to_numpy=True)
    np.testing.assert_allclose(upper, lower, atol=1e-5)


def test_lower_casing_knows_the_final_sigma(encoders):
    first, second = encoders["xtr"].encode_queries(["ΟΔΟΣ", "οδος"])
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_threads_may_share_an_encoder(encoders):
    encoder, logger = encoders["stanford"], logging.getLogger("transformers")
    before, texts = logger.level, [*TEXTS * 5]
    expected = encoder.encode_documents(texts)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda text: encoder.encode_documents([text])[0], texts))
    np.testing.assert_allclose(np.concatenate(alone), expected.rows, atol=1e-5)
    assert logger.level == before


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=4), layout=st.sampled_from(["xtr", "stanford"]))
def test_any_text_has_a_vector_whatever_stands_beside_it(encoders, texts, layout):
    found = encoders[layout].encode_documents(texts)
    assert (found.lengths >= 1).all()
    np.testing.assert_allclose(found[0], encoders[layout].encode_documents(texts[:1])[0], atol=1e-5)


@pytest.mark.parametrize("texts", ["one string", [b"bytes"], [None]])
def test_what_is_not_a_list_of_strings_is_refused(encoders, texts):
    with pytest.raises(InputError, match="got"):
        encoders["xtr"].encode_documents(texts)
    with pytest.raises(InputError, match="got"):
        next(encoders["xtr"].stream_documents(texts))


def test_sizes_below_one_are_refused(encoders):
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        encoders["xtr"].encode_queries(["a"], batch_size=0)
    with pytest.raises(InputError, match="chunk_size must be at least 1, got 0"):
        next(encoders["xtr"].stream_documents(["a"], chunk_size=0))
