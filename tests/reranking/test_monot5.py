"""monoT5 against its definition; the prompt; the words of each checkpoint; what can't rerank."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import MT5ForConditionalGeneration, T5ForConditionalGeneration

from tests.encoding import checkpoint_factory as factory
from xtrkit.errors import InputError, ModelError
from xtrkit.reranking import Reranker, load_reranker, rerank
from xtrkit.reranking.prompt import fitting_prompt, prompt
from xtrkit.reranking.tokens import TokenPair, pair_for

QUERY = "what is late retrieval"
TEXTS = [
    "the late token",
    "XTR",
    "",
    "Straße! 日本",
    "document " * 40,
    "retrieval of the late document token",
    "\ud800",
]


@pytest.fixture(scope="module")
def monot5(rerankers):
    return load_reranker(rerankers["monot5"])


def log_probability(directory, text, words, model_class=T5ForConditionalGeneration):
    """The definition, one text at a time: one decoder step, log-softmax over the logits of the two words."""
    model = model_class.from_pretrained(directory).eval()
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    ids = torch.tensor([tokenizer.encode(f"Query: {QUERY} Document: {text} Relevant:").ids])
    with torch.no_grad():
        logits = model(input_ids=ids, decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
    chosen = torch.stack([logits[tokenizer.token_to_id(word)] for word in words])
    return float(torch.log_softmax(chosen, dim=0)[1])


def test_the_score_is_the_log_probability_of_true(rerankers, monot5):
    assert isinstance(monot5, Reranker)
    scores = monot5.score(QUERY, TEXTS[:-1])
    expected = [log_probability(rerankers["monot5"], text, ("▁false", "▁true")) for text in TEXTS[:-1]]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert scores.dtype == np.float32
    assert len(set(np.round(scores, 4))) > 3  # a model that says the same of everything would show nothing


def test_mt5_answers_with_its_own_words(rerankers):
    words = ("▁no", "▁yes")
    scores = load_reranker(rerankers["mt5"], tokens=words).score(QUERY, TEXTS[:2])
    expected = [log_probability(rerankers["mt5"], text, words, MT5ForConditionalGeneration) for text in TEXTS[:2]]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_companions_change_nothing(monot5, batch_size):
    """Oracle 14: the attention mask keeps the padding of a batch out of every score."""
    together = monot5.score(QUERY, TEXTS, batch_size=batch_size)
    alone = [float(monot5.score(QUERY, [text])[0]) for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_no_texts(monot5):
    assert monot5.score(QUERY, []).shape == (0,)
    assert rerank(monot5, QUERY, []) == []


def test_rerank_sorts_by_score_and_keeps_the_order_of_equals(monot5):
    texts = ["late", "token", "late", "the", "late"]
    scores = monot5.score(QUERY, texts, batch_size=1)
    order = [place for place, _ in rerank(monot5, QUERY, texts, batch_size=1)]
    assert order == sorted(range(5), key=lambda place: (-scores[place], place))


def words_of(text):
    """A tokenizer of letters and words: enough to cut by."""
    spans, start = [], 0
    for word in text.split(" "):
        spans += [(place, min(place + 3, start + len(word))) for place in range(start, start + len(word), 3)]
        start += len(word) + 1
    return [*spans, (0, 0)]


@settings(max_examples=200)
@given(query=st.text(max_size=80), document=st.text(max_size=200), max_length=st.integers(20, 60))
def test_a_prompt_fits_and_stays_whole(query, document, max_length):
    found = fitting_prompt(query, document, words_of, max_length)
    assert found.startswith("Query: ")
    assert " Document: " in found
    assert found.endswith(" Relevant:")
    assert len(words_of(found)) <= max_length
    if len(words_of(prompt(query, document))) <= max_length:
        assert found == prompt(query, document)


def test_only_the_document_is_cut(rerankers):
    reranker = load_reranker(rerankers["monot5"], max_length=24)
    found = fitting_prompt(QUERY, "late " * 100, reranker.prompts._offsets, 24)
    assert found.startswith(f"Query: {QUERY} Document: late late")
    assert found.endswith("late Relevant:")
    assert len(reranker.prompts._offsets(found)) == 24
    first, second = reranker.score(QUERY, ["late " * 100, "late " * 100 + "token"])
    assert first == pytest.approx(second, abs=1e-6)


def test_a_length_without_room(rerankers):
    with pytest.raises(InputError, match="max_length must be at least"):
        load_reranker(rerankers["monot5"], max_length=3)


VOCABULARY = dict.fromkeys(["▁true", "▁false", "▁yes", "▁no", "▁não", "▁sim", "▁"], 0)


@pytest.mark.parametrize(
    ("name", "model_type", "pair"),
    [
        ("castorini/monot5-base-msmarco-10k", "t5", ("▁false", "▁true")),
        ("/some/where/monot5", "t5", ("▁false", "▁true")),
        ("unicamp-dl/mt5-base-mmarco-v2", "mt5", ("▁no", "▁yes")),
        ("unicamp-dl/ptt5-base-pt-msmarco-100k-v2", "t5", ("▁não", "▁sim")),
        ("unicamp-dl/mt5-3B-mmarco-en-pt", "mt5", ("▁", "▁true")),
    ],
)
def test_the_words_of_published_checkpoints(name, model_type, pair):
    assert pair_for(name, model_type, VOCABULARY) == TokenPair(*pair)


def test_unknown_words_are_asked_for(rerankers):
    with pytest.raises(ModelError, match=r"Which two tokens .* isn't known.* tokens= \(--tokens\)"):
        load_reranker(rerankers["mt5"])


def test_a_vocabulary_without_the_words(rerankers, tmp_path):
    directory = factory.copy_of(rerankers["monot5"], tmp_path / "checkpoint")
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    for piece in tokenizer["model"]["vocab"]:
        piece[0] = piece[0].replace("▁true", "▁tru").replace("▁false", "▁fals")
    factory.write_json(directory / "tokenizer.json", tokenizer)
    with pytest.raises(ModelError, match=r"has no ▁false and no ▁true, so it can't rerank"):
        load_reranker(directory)


def test_missing_decoder_weights(rerankers, tmp_path):
    directory = factory.copy_of(rerankers["monot5"], tmp_path / "checkpoint")
    weights = load_file(directory / "model.safetensors")
    lost = next(name for name in weights if name.startswith("decoder.block.1"))
    del weights[lost]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=rf"lack 1 of the model's tensors, such as {lost}"):
        load_reranker(directory)


def test_a_reranker_that_is_a_pickle_must_be_converted(rerankers, tmp_path):
    directory = factory.copy_of(rerankers["monot5"], tmp_path / "checkpoint")
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="xtrkit convert"):
        load_reranker(directory)


def test_an_encoder_is_no_reranker(checkpoints):
    with pytest.raises(ModelError, match=r"is no reranker but an encoder \(layout xtr\)"):
        load_reranker(checkpoints["xtr"])


def test_one_string_is_refused(monot5):
    with pytest.raises(InputError, match="got one string"):
        monot5.score(QUERY, "a text")
