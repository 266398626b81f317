"""Hard negatives and teacher scores: from ids to files that training reads."""

import json

import numpy as np
import pytest

from tests.training.conftest import write_lines
from xtrkit.encoding import load_encoder
from xtrkit.errors import CollectionError, InputError
from xtrkit.retriever import Retriever
from xtrkit.training import mine, score
from xtrkit.training.formats import read_training_data
from xtrkit.training.mining import Selection
from xtrkit.training.teaching import EncoderTeacher

RANKING = [("a", 10.0), ("b", 9.8), ("p", 9.0), ("c", 8.8), ("d", 8.0), ("e", 2.0)]
TEXTS = {name: name for name in "abpde"} | {"c": "p"}


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"n": 9}, ["a", "b", "d", "e"]),  # c has the text of the positive
        ({"n": 2}, ["a", "b"]),
        ({"n": 2, "skip": 1}, ["b", "d"]),
        ({"n": 9, "margin": 0.05}, ["d", "e"]),
        ({"n": 9, "margin": 0.2}, ["e"]),
    ],
)
def test_what_may_be_a_negative(choices, expected):
    assert Selection(**choices).negatives(RANKING, ["p"], TEXTS) == expected


def test_where_the_positive_was_not_found_the_margin_says_nothing():
    assert Selection(n=9, margin=0.5).negatives(RANKING[:2], ["p"], TEXTS) == ["a", "b"]


@pytest.fixture
def folder(tmp_path):
    """Four documents about tokens, one relevant; two others."""
    folder = tmp_path / "set"
    texts = ["late token", "late token retrieval", "token what", "late", "strasse", "document"]
    write_lines(folder / "corpus.jsonl", [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    write_lines(folder / "queries.jsonl", [{"_id": "q0", "text": "late token"}, {"_id": "q1", "text": "strasse"}])
    write_lines(folder / "qrels" / "train.tsv", ["query-id\tcorpus-id\tscore", "q0\td1\t1", "q0\td3\t1", "q1\td4\t1"])
    return folder


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_bm25_mines(folder, tmp_path):
    written = mine(folder, tmp_path / "mined.jsonl", selection=Selection(n=2, depth=6))
    lines = lines_of(tmp_path / "mined.jsonl")
    assert lines == [["q0", "d1", "d0", "d2"], ["q0", "d3", "d0", "d2"], ["q1", "d4"]]
    assert written == (3, 4)
    data = read_training_data(f"{tmp_path / 'mined.jsonl'}@{folder}")
    assert len(data.examples) == 3
    assert {data.documents[place] for place in data.positives[0]} == {"late token retrieval", "late"}


def test_an_index_mines(folder, checkpoints, tmp_path):
    encoder = load_encoder(checkpoints["xtr"])
    Retriever.create(tmp_path / "idx", folder, model=encoder)
    mine(f"{folder}:train", tmp_path / "mined.jsonl", index=tmp_path / "idx", selection=Selection(n=3, depth=6))
    query, positive, *negatives = lines_of(tmp_path / "mined.jsonl")[2]
    assert (query, positive) == ("q1", "d4")
    assert len(negatives) == 3
    assert "d4" not in negatives


def test_a_teacher_scores(folder, checkpoints, tmp_path):
    ids = write_lines(tmp_path / "ids.jsonl", [["q0", "d1", "d0", "d5"], ["q1", "d4", "d2"]])
    encoder = load_encoder(checkpoints["xtr"])
    assert score(f"{ids}@{folder}", tmp_path / "scored.jsonl", EncoderTeacher(encoder)) == (2, 0)
    line = lines_of(tmp_path / "scored.jsonl")[1]
    query = encoder.encode_queries(["strasse"])[0]
    expected = [
        ["d4", float(np.mean(np.max(query @ encoder.encode_documents(["strasse"])[0].T, axis=1)))],
        ["d2", float(np.mean(np.max(query @ encoder.encode_documents(["token what"])[0].T, axis=1)))],
    ]
    assert line[0] == "q1"
    assert [name for name, _ in line[1:]] == ["d4", "d2"]
    assert [value for _, value in line[1:]] == pytest.approx([value for _, value in expected], abs=1e-5)
    data = read_training_data(f"{tmp_path / 'scored.jsonl'}@{folder}")
    assert data.examples[0].scores is not None
    assert len(data.examples[0].scores) == 3


class Fixed:
    """A teacher that gives numbers of the test's choice."""

    def __init__(self, *scores):
        self._scores = scores

    def score(self, query, texts):
        return self._scores


def test_what_the_teacher_finds_nearly_as_good_is_left_out(folder, tmp_path):
    ids = write_lines(tmp_path / "ids.jsonl", [["q0", "d1", "d0", "d5", "d2"]])
    assert score(f"{ids}@{folder}", tmp_path / "scored.jsonl", Fixed(2.0, 1.8, 1.0, 2.5), margin=0.5) == (1, 2)
    assert lines_of(tmp_path / "scored.jsonl") == [["q0", ["d1", 2.0], ["d5", 1.0]]]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ((1.0,), "The teacher gave 1 scores for 2 documents of the query 'q0'."),
        ((1.0, float("nan")), "The teacher gave 2 scores for 2 documents of the query 'q0', and some are not finite."),
    ],
)
def test_a_teacher_that_fails_is_told(folder, tmp_path, scores, message):
    ids = write_lines(tmp_path / "ids.jsonl", [["q0", "d1", "d0"]])
    with pytest.raises(InputError) as caught:
        score(f"{ids}@{folder}", tmp_path / "scored.jsonl", Fixed(*scores))
    assert str(caught.value) == message
    assert not (tmp_path / "scored.jsonl").exists()


def test_wrong_input_is_told(folder, tmp_path):
    out = tmp_path / "x.jsonl"
    with pytest.raises(InputError, match="8 negatives after the first 0 need a depth of 8, got 5"):
        mine(folder, out, selection=Selection(n=8, depth=5))
    with pytest.raises(InputError, match="margin is a share of the positive's score"):
        mine(folder, out, selection=Selection(margin=2))
    with pytest.raises(InputError, match=r"Say where the texts of the ids are: ids.jsonl@FOLDER"):
        score("ids.jsonl", out, Fixed())
    (folder / "qrels" / "train.tsv").write_text("q0\td1\t1\nq1\td4\t0\n")
    with pytest.raises(CollectionError, match="the query 'q1' has no positive"):
        mine(folder, out)
    (folder / "qrels" / "train.tsv").write_text("q0\td77\t1\n")
    with pytest.raises(CollectionError, match="does not have 'd77', which the judgements or the index name"):
        mine(folder, out)
    assert not out.exists()
