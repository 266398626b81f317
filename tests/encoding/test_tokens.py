"""Tokens and rows go together, and spans point into the text that the caller gave."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from tests.encoding import checkpoint_factory as factory
from tests.encoding.checkpoint_factory import LAYOUTS
from xtrkit.encoding import load_encoder
from xtrkit.encoding.spans import origins

ODD = [
    "", " ", "...", "?!,;", "a", "Late retrieval", "😀 👩‍👩‍👧 ok", "日本語 token", "שלום עולם", "مرحبا",
    "late " * 100, "x" * 300, "tab\tand\nline", "  two  spaces  ", "İstanbul İ", "e\u0301 é ﬁ ㎆", "\x00 \u200b \ufeff",
    "\ud800 alone", "[MASK] [unused0] </s>", "https://example.org/cat.jpg",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("layout", [*LAYOUTS, "default"])
def test_one_token_a_row(encoders, layout, text):
    encoder = encoders[layout]
    for tokens, rows in (
        (encoder.query_tokens(text), encoder.encode_queries([text])[0]),
        (encoder.document_tokens(text), encoder.encode_documents([text])[0]),
    ):
        assert len(tokens) == len(rows) >= 1
        assert all(0 <= token.start <= token.end <= len(text) for token in tokens)


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=40), layout=st.sampled_from(["xtr", "pylate"]))
def test_one_token_a_row_for_any_text(encoders, layout, text):
    tokens = encoders[layout].document_tokens(text)
    assert len(tokens) == len(encoders[layout].encode_documents([text])[0])
    assert all(0 <= token.start <= token.end <= len(text) for token in tokens)


def spans(tokens, text):
    return [(token.piece, text[token.start : token.end]) for token in tokens]


def test_xtr_spans_are_of_the_text_before_lower_casing(encoders):
    text = "The  İS Token"
    assert spans(encoders["xtr"].document_tokens(text), text) == [
        ("▁the", "The"), ("▁", "İ"), ("i", "İ"), ("̇", "İ"), ("s", "S"), ("▁token", "Token"), ("</s>", "")
    ]  # fmt: skip


def test_a_letter_is_whole_however_it_is_written():
    encoder = load_encoder()
    apart = "Cafe\u0301s in Go\u0308ttingen, na\u0131\u0308ve"
    found = [text for _, text in spans(encoder.document_tokens(apart), apart) if text]
    assert "".join(found) == apart.replace(" ", "")
    # A mark that stands for itself stays one.
    assert [text for _, text in spans(encoder.document_tokens("\u0301 a"), "\u0301 a")][1:-1] == ["a"]


@pytest.mark.parametrize("layout", ["stanford", "pylate", "native"])
def test_colbert_document_spans(encoders, layout):
    text = "The late, token."
    assert spans(encoders[layout].document_tokens(text), text) == [
        ("[CLS]", ""), ("[unused1]", ""), ("the", "The"), ("late", "late"), ("token", "token"), ("[SEP]", "")
    ]  # fmt: skip


@pytest.mark.parametrize("layout", ["stanford", "pylate", "native"])
def test_colbert_query_spans(encoders, layout):
    text = "What is late?"
    assert spans(encoders[layout].query_tokens(text), text) == [
        ("[CLS]", ""), ("[unused0]", ""), ("what", "What"), ("is", "is"), ("late", "late"), ("?", "?"), ("[SEP]", ""),
        *[("[MASK]", "")] * 5,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "...", "late"])
def test_a_model_without_special_tokens_still_gives_a_vector(checkpoints, tmp_path, text):
    """Nothing is left of such a text when the skiplist has taken its punctuation."""
    directory = factory.copy_of(checkpoints["native"], tmp_path / "bare")
    tokenizer = factory.wordpiece_tokenizer()
    tokenizer.post_processor = processors.Sequence([])
    tokenizer.save(str(directory / "tokenizer.json"))
    factory.write_json(
        directory / "tokenizer_config.json",
        {"tokenizer_class": "TokenizersBackend", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"},
    )
    settings_file = directory / "config_sentence_transformers.json"
    factory.write_json(settings_file, {"model_type": "MultiVectorEncoder", "prompts": {"query": "", "document": ""}})
    encoder = load_encoder(directory)
    rows, tokens = encoder.encode_documents(["late", text])[1], encoder.document_tokens(text)
    assert len(rows) == len(tokens) == max(len(text) if text != "late" else 1, 1)
    assert all(token.end <= len(text) for token in tokens)


@given(st.text())
def test_origins_cover_the_text(text):
    places = origins(text)
    assert len(places) == len(text.lower()) + 1
    assert list(places) == sorted(places)
    assert places[len(places) - 1] == len(text)
