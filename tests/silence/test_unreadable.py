"""Texts that a model reads wrongly or not at all: its own tokens in them, too long ones, unknown and empty ones."""

import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer
from typer.testing import CliRunner

from xtrkit import Retriever, load_encoder
from xtrkit.asking import check_query
from xtrkit.cli.app import app
from xtrkit.content import has_content
from xtrkit.encoding import text_encoder
from xtrkit.encoding.export import export
from xtrkit.errors import InputError
from xtrkit.reranking import load_reranker

LAYOUTS = ("xtr", "stanford", "pylate", "colxtr", "default")
SPECIAL = ["[SEP]", "[MASK]", "[CLS]", "[PAD]", "[UNK]", "[unused0]", "[unused1]", "</s>", "<pad>", "<unk>"]
SPECIAL += ["<extra_id_0>", "<extra_id_99>"]
CONTENTLESS = {
    "nothing": "", "spaces": " \t\n\u3000", "zero-width": "\u200b\u200d", "a byte order mark": "\ufeff",
    "a soft hyphen": "\u00ad", "variation selectors": "\ufe0f\U000e0100", "marks alone": "\u0301\u0308",
    "controls": "\x00\x1b\x7f", "private": "\ue000\U000f0000", "unassigned": "\u0378", "a filler of Hangul": "\u3164",
    "directions": "\u202e\u2066", "a tag": "\U000e0041", "blank Braille": "\u2800", "a stand-in": "\ufffc",
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(checkpoints, tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    for layout in ("xtr", "stanford"):
        export(checkpoints[layout], root / layout)
    return {layout: load_encoder(root / layout) for layout in ("xtr", "stanford")}


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_special_token_in_a_text_is_text(encoders, layout, special):
    encoder = encoders[layout]
    for tokens in (encoder.document_tokens, encoder.query_tokens):
        markers = [token.piece for token in tokens("late retrieval") if token.piece != "[MASK]"]
        found = [token for token in tokens(f"late {special} retrieval x{special}") if token.piece != "[MASK]"]
        strange = [token for token in found if token.piece == special and token.piece not in markers]
        assert not strange
        assert sum(token.piece == special for token in found) == markers.count(special)
        # Those that stand for characters are of these characters.
        text = f"late {special} retrieval x{special}"
        for token in found:
            piece = token.piece.removeprefix("##").removeprefix("▁").lower()
            if token.end > token.start and piece:
                assert text[token.start : token.end].lower() == piece


@pytest.mark.parametrize("layout", ["stanford", "pylate"])
def test_the_markers_of_a_model_stay_tokens(encoders, layout):
    encoder = encoders[layout]
    assert [token.piece for token in encoder.query_tokens("[unused0] late")][:5] == [
        "[CLS]",
        "[unused0]",
        "[",
        "u",
        "##n",
    ]
    assert [token.piece for token in encoder.document_tokens("late")][:3] == ["[CLS]", "[unused1]", "late"]


@pytest.mark.parametrize("layout", ["xtr", "stanford"])
def test_an_export_reads_special_tokens_as_torch_does(encoders, exported, layout):
    for text in (f"late {special} x{special}{special} token" for special in SPECIAL):
        assert exported[layout].document_tokens(text) == encoders[layout].document_tokens(text)
        assert exported[layout].query_tokens(text) == encoders[layout].query_tokens(text)
        right = encoders[layout].encode_documents([text]).rows
        np.testing.assert_allclose(exported[layout].encode_documents([text]).rows, right, atol=2e-5)


# Long texts.

RUNS = st.one_of(
    st.sampled_from(
        ["late ", "retrieval, ", "   ", "\n", "\t ", "é", "e\u0301 ", "日本", "🙂", "x", "\u200b", "Σ ", ". ", "־ש "]
    ),
    st.text(max_size=4),
)
LONG = st.lists(st.tuples(RUNS, st.integers(1, 200)), min_size=1, max_size=8).map(
    lambda runs: "".join(run * times for run, times in runs)
)


@pytest.mark.parametrize("layout", ["xtr", "stanford", "colxtr"])
@given(text=LONG)
def test_the_beginning_of_a_text_has_the_first_tokens_of_the_whole(encoders, layout, text):
    encoder = encoders[layout]
    users = encoder._users_text
    read = encoder._as_tokenised

    def ids(part):
        return encoder._pieces(part)[1]

    beginning = users.beginning(text, 8, lambda part: len(ids(part)))
    assert text.startswith(beginning)
    if beginning != text:
        assert len(ids(beginning)) > 8
    assert ids(beginning) == ids(text)[: len(ids(beginning))]
    assert read(text).startswith(read(beginning))


@pytest.mark.parametrize("layout", ["xtr", "stanford", "default"])
@given(text=LONG)
def test_tokens_are_counted_block_by_block(encoders, layout, text):
    encoder = encoders[layout]
    text = text * max(1, 3000 // max(1, len(text)))
    before, text_encoder.BLOCK = text_encoder.BLOCK, 64
    try:
        assert encoder.document_token_count(text) == encoder._counted(text, "document")
    finally:
        text_encoder.BLOCK = before
    assert encoder.is_document_truncated(text) == (encoder._counted(text, "document") > encoder.document_length)
    assert encoder.is_query_truncated(text) == (encoder._counted(text, "query") > encoder.query_length)


HUGE = {
    "words": "The keeper wrote it down. " * 430_000,
    "lines": "The keeper\nwrote it down.\n" * 430_000,
    "Chinese": "他写下了每一艘船。" * 1_200_000,
}


@pytest.mark.parametrize("kind", HUGE)
def test_eleven_megabytes_are_encoded_as_fast_as_what_is_read_of_them(kind):
    encoder = load_encoder()
    short = HUGE[kind][:20_000]
    right = encoder.encode_documents([short]).rows
    start = time.process_time()
    (chunk,) = encoder.stream_documents([HUGE[kind]])
    assert time.process_time() - start < 5  # a minute, when all of it was tokenised
    assert chunk.truncated == 1
    np.testing.assert_array_equal(chunk.embeddings.rows, right)
    assert encoder.is_query_truncated(HUGE[kind])
    assert len(encoder.encode_queries([HUGE[kind]])[0]) == encoder.query_length


# What a model has no piece for.


def test_unknown_pieces_are_counted(encoders):
    assert encoders["default"].readability(["🙂 🎉"]) == (2, 2)
    assert encoders["default"].readability(["the keeper 🙂", "mice"], "query") == (4, 1)
    assert encoders["xtr"].readability(["🙂 🎉"]) == (2, 2)
    assert encoders["xtr"].readability(["late 🙂"]) == (2, 1)
    assert encoders["stanford"].readability(["日本 Ж ᚠ"], "query").unknown == 2
    assert encoders["default"].readability([""]) == (0, 0)


def test_a_search_tells_what_of_the_query_is_unknown(tmp_path):
    path = tmp_path / "idx"
    retriever = Retriever.create(path, ["the lighthouse keeper wrote it", "mice eat cheese"])
    assert (retriever.search("mice").unknown, retriever.search("🙂 mice 🎉").unknown) == (0, 2)
    assert retriever.search("🙂 mice 🎉").pieces == 3
    assert retriever.rerank("🎉", ["late"]).unknown == 1
    found = CliRunner().invoke(app, ["search", str(path), "🙂 🎉"])
    assert "2 of 2 pieces of the query are unknown to the model" in " ".join(found.output.split())
    assert json.loads(CliRunner().invoke(app, ["search", str(path), "🙂 mice", "--json"]).output)["unknown"] == 1
    assert "unknown" not in CliRunner().invoke(app, ["search", str(path), "mice"]).output


# Texts without content.


@pytest.mark.parametrize("kind", CONTENTLESS)
def test_a_query_without_content_is_refused(kind):
    text = CONTENTLESS[kind]
    assert not has_content(text)
    with pytest.raises(InputError, match="A query must be a text with something in it, got"):
        check_query(text)


@pytest.mark.parametrize("text", ["a", "7", "?", "🙂", "日", "\u200ba\u0301", "€", "ﬁ"])
def test_a_query_with_any_content_is_none_of_these(text):
    assert has_content(text)
    check_query(text)


# Rerankers.


@pytest.mark.parametrize("kind", ["monot5", "cross-encoder"])
def test_a_special_token_is_text_to_a_reranker(rerankers, kind):
    reranker = load_reranker(rerankers[kind])
    tokenizer = AutoTokenizer.from_pretrained(rerankers[kind])

    def ids(text):
        if kind == "monot5":  # as it reads them
            return reranker.prompts.ids("what", [text])[0]
        return reranker.model.tokenizer(text, add_special_tokens=False)["input_ids"]

    for special in tokenizer.all_special_tokens:
        text = f"late {special} retrieval x{special}"
        own = tokenizer.convert_tokens_to_ids(special)
        assert own == tokenizer.unk_token_id or ids(text).count(own) == ids("late retrieval").count(own)
        assert np.isfinite(reranker.score(f"what is {special}", [text, "late"])).all()


@pytest.mark.parametrize("kind", ["monot5", "cross-encoder"])
def test_megabytes_are_reranked_by_their_beginning(rerankers, kind):
    reranker = load_reranker(rerankers[kind])
    long = "the late retrieval " * 400_000
    start = time.process_time()
    scores = reranker.score("late", [long, long[:40_000]])
    assert time.process_time() - start < 10
    assert scores[0] == scores[1]
