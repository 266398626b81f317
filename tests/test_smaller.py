"""Smaller indexes of texts: explanations that still point at words, additions, and what the command line tells."""

import json

import numpy as np
import pytest

from xtrkit import Retriever, load_encoder
from xtrkit.answers import answer_as_json, answer_of_json
from xtrkit.encoding.base import markers_before
from xtrkit.errors import InputError
from xtrkit.evaluation.collection import TestCollection
from xtrkit.indexing.pooling import groups_of, pooled
from xtrkit.indexing.repairing import encoder_of
from xtrkit.reproduction.tokens import TokenView
from xtrkit.texts.updating import reencode
from xtrkit.values import Pooling, Ragged

TEXTS = {
    "paris": "Paris is the capital of France, on the river Seine. The river runs through the city.",
    "berlin": "Berlin is the capital of Germany. It lies on the river Spree, and the river Havel.",
    "cells": "Mitochondria are the powerhouse of the cell; a cell has many of them.",
    "bread": "Knead flour, water, salt and yeast, let it rise, then bake the bread.",
    "short": "Yes",
    "whale": "The whale swam on.",
}


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture(scope="module")
def path(tmp_path_factory, encoder):
    path = tmp_path_factory.mktemp("smaller") / "idx"
    Retriever.create(path, list(TEXTS.items()), model=encoder, pool_factor=2, nbits=8, dim=96).close()
    return path


@pytest.fixture
def retriever(path):
    with Retriever.open(path) as retriever:
        yield retriever


def test_markers_stay_apart(retriever, encoder):
    assert markers_before(encoder) == 1
    assert retriever.index.pooling == Pooling(2, protected=1)
    assert retriever.index.code_dim == 96


@pytest.mark.parametrize(
    ("query", "best"), [("the capital of France", "paris"), ("baking", "bread"), ("power of cells", "cells")]
)
def test_questions_find_their_passage(retriever, query, best):
    assert retriever.search(query, 2)[0].id == best


def test_an_explanation_as_json_loses_nothing(retriever):
    hits = retriever.search("which river runs through the capital?", 6, explain=True)
    assert any(match.others for hit in hits for match in hit.matches)
    assert [hit.matches for hit in answer_of_json(json.loads(json.dumps(answer_as_json(hits))))] == [
        list(hit.matches) for hit in hits
    ]


@pytest.mark.parametrize("scoring", ["xtr", "maxsim"])
def test_explanations_point_at_words_that_share_the_vector(retriever, scoring):
    told = 0
    for hit in retriever.search("which river runs through the capital?", 6, explain=True, scoring=scoring):
        tokens = retriever.encoder.document_tokens(hit.text)
        for match in hit.matches:
            if match.document_token is None:
                assert match.others == ()
                continue
            shared = [match.document_token, *match.others]
            assert all(token in tokens for token in shared)
            assert len({(token.start, token.end, token.piece) for token in shared}) == len(shared)
            told += len(match.others)
            if match.document_token.start < match.document_token.end:
                written = hit.text[match.document_token.start : match.document_token.end].lower()
                assert match.document_token.piece.removeprefix("##") in (written, "[UNK]")
    assert told
    (best, *_) = retriever.search("river", 1, explain=True)
    (of_river,) = [match for match in best.matches if match.query_token.piece == "river"]
    assert best.text[of_river.document_token.start : of_river.document_token.end] == "river"


def test_the_vectors_are_those_that_pooling_the_texts_again_gives(retriever):
    for identifier, text in TEXTS.items():
        (vectors,) = retriever.encoder.encode_documents([text])
        kept = retriever.index.vectors(retriever.index.number(identifier))
        (expected,) = pooled(Ragged.from_arrays([vectors.astype(np.float16)]), retriever.index.pooling)
        assert len(kept) == len(expected)
        cosines = (kept * expected).sum(axis=1) / np.linalg.norm(kept, axis=1) / np.linalg.norm(expected, axis=1)
        assert cosines.min() > 0.8  # a quarter of the dimensions is gone
        assert len(groups_of(vectors.astype(np.float16), retriever.index.pooling)) == len(
            retriever.encoder.document_tokens(text)
        )


def test_what_is_added_later_or_encoded_again_is_pooled(tmp_path, encoder):
    texts = list(TEXTS.items())
    whole = Retriever.create(tmp_path / "whole", texts, model=encoder, nbits=16, pool_factor=2)
    later = Retriever.create(tmp_path / "later", texts[:3], model=encoder, nbits=16, pool_factor=2)
    later.add(texts[3:])
    expected = [whole.index.vectors(number) for number in range(len(whole))]
    for number, rows in enumerate(expected):
        np.testing.assert_allclose(later.index.vectors(number), rows, atol=2e-3)
    later.compact()
    (segment,) = later.index._store.segments
    assert encoder_of(later.index.path).fingerprint == encoder.identity.fingerprint
    assert reencode(later.index.path, segment.facts.name, encoder)[1] == len(TEXTS)
    later.refresh()
    for number, rows in enumerate(expected):
        np.testing.assert_allclose(later.index.vectors(number), rows, atol=2e-3)


def test_claims_about_tokens_want_a_vector_for_each(retriever):
    with pytest.raises(InputError, match="pools token vectors"):
        TokenView(retriever, TestCollection(retriever.index.path, {}, {}), retriever.encode_queries(["who"]))


def test_the_command_line_makes_and_tells_of_them(tmp_path, here):
    notes = tmp_path / "notes"
    notes.mkdir()
    for name, text in TEXTS.items():
        (notes / f"{name}.txt").write_text(text)
    index = tmp_path / "idx"
    made = json.loads(here("index", notes, index, "--pool-factor", "2", "--dim", "64", "--nbits", "2", "--json").stdout)
    told = json.loads(here("info", index, "--json").stdout)
    assert (told["dimensions"], told["kept_dimensions"], told["tokens"]) == (128, 64, made["tokens"])
    assert told["pooling"] == {"factor": 2, "protected": 1}
    assert "a vector for 2 tokens, the first 1 apart" in here("info", index).stdout
    assert "paris" in here("search", index, "capital of France", "-k", "1", "--explain").stdout
    refused = here("index", notes, tmp_path / "no", "--pool-factor", "0")
    assert refused.returncode
    assert "pool_factor must be a whole number of at least 1, got 0." in refused.stderr
    assert not (tmp_path / "no").exists()
