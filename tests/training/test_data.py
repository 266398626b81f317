"""Reading training data: every format, and one sentence for everything that is wrong with it."""

import gzip
import json

import pytest

from tests.training.conftest import write_lines
from xtrkit.errors import CollectionError, InputError
from xtrkit.training.data import joined, most_negatives, with_negatives
from xtrkit.training.formats import read_training_data


def as_texts(data):
    return [
        (data.queries[query], [data.documents[place] for place in documents], scores)
        for query, documents, scores in data.examples
    ]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "set"
    write_lines(folder / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": f"text {i}"} for i in range(5)])
    write_lines(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"query {i}"} for i in range(3)])
    write_lines(folder / "qrels" / "train.tsv", ["query-id\tcorpus-id\tscore", "q0\td0\t1", "q0\td1\t2", "q1\td2\t1"])
    return folder


def test_beir(folder):
    data = read_training_data(folder)
    assert as_texts(data) == [
        ("query 0", ["text 0"], None),
        ("query 0", ["text 1"], None),
        ("query 1", ["text 2"], None),
    ]
    assert data.positives == {0: {0, 1}, 1: {2}}
    assert data.sources == [("set", 3)]
    assert as_texts(read_training_data(f"{folder}:train")) == as_texts(data)


def test_texts(tmp_path):
    expected = [("a", ["b", "c"], None), ("d", ["e", "f"], None)]
    tsv = write_lines(tmp_path / "x.tsv", ["a\tb\tc", "d\te\tf"])
    lists = write_lines(tmp_path / "x.jsonl", [["a", "b", "c"], ["d", "e", "f"]])
    rows = write_lines(
        tmp_path / "y.jsonl",
        [{"query": "a", "positive": "b", "negative": "c"}, {"query": "d", "negative_1": "f", "positive": "e"}],
    )
    packed = tmp_path / "z.jsonl.gz"
    packed.write_bytes(gzip.compress(lists.read_bytes()))
    for path in (tsv, lists, rows, packed):
        assert as_texts(read_training_data(path)) == expected


def test_ids_and_teacher_scores(folder, tmp_path):
    ids = write_lines(tmp_path / "ids.jsonl", [["q0", "d0", "d3"], ["q1", "d2", "d4"]])
    data = read_training_data(f"{ids}@{folder}")
    assert as_texts(data) == [("query 0", ["text 0", "text 3"], None), ("query 1", ["text 2", "text 4"], None)]
    judged = {data.documents[place] for place in data.positives[0]}
    assert judged == {"text 0"}  # d1 is relevant, too, but no example has it

    scored = write_lines(tmp_path / "scored.jsonl", [["q0", ["d0", 2], ["d3", -1.5]]])
    assert as_texts(read_training_data(f"{scored}@{folder}")) == [("query 0", ["text 0", "text 3"], (2.0, -1.5))]


def test_sentence_transformers_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    columns = {
        "query": ["a"],
        "document_1": ["b"],
        "document_2": ["c"],
        "document_10": ["d"],
        "label": [[3.0, 2.0, 1.0]],
    }
    dataset = datasets.Dataset.from_dict(columns)
    dataset.save_to_disk(str(tmp_path / "saved"))
    for given in (dataset, tmp_path / "saved"):
        assert as_texts(read_training_data(given)) == [("a", ["b", "c", "d"], (3.0, 2.0, 1.0))]


def test_several_sets_are_one(folder, tmp_path):
    other = write_lines(tmp_path / "x.tsv", ["query 0\ttext 4", "new\ttext 0"])
    data = read_training_data([str(folder), str(other)])
    assert [query for query, _, _ in as_texts(data)] == ["query 0", "query 0", "query 1", "query 0", "new"]
    assert {data.documents[place] for place in data.positives[0]} == {"text 0", "text 1", "text 4"}
    assert data.sources == [("set", 3), ("x.tsv", 2)]


def wrong(tmp_path, name, lines):
    return str(write_lines(tmp_path / name, lines))


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("x.tsv", ["a\tb", "c"], r"line 2: the query 'c' has no positive: put a relevant document's text or id behind"),
        ("x.jsonl", [["a", "b"], ["c"]], "line 2: the query 'c' has no positive"),
        ("x.jsonl", [{"query": "a"}], "line 1: the query 'a' has no positive"),
        ("x.jsonl", [["a", 1]], r"expected a list of texts .* say where their texts are, x.jsonl@FOLDER"),
        ("x.jsonl", ["{"], "line 1: not JSON"),
        ("x.jsonl", [{"positive": "b"}], "row 1: no text in a column query or anchor or question"),
        ("x.jsonl", [{"query": "a", "document_1": "b", "document_2": "c", "label": [1]}],
         "row 1: 2 documents need as many teacher scores, got 1"),
        ("x.jsonl", [{"query": "a", "document_1": "b", "label": [float("nan")]}], r"must be numbers, got \[nan\]"),
        ("x.jsonl", [], "x.jsonl has no training examples"),
        ("x.parquet", ["?"], "isn't training data: expected a BEIR folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, name, lines, message):
    with pytest.raises(InputError, match=message):
        read_training_data(wrong(tmp_path, name, lines))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([["q0"]], "line 1: the query 'q0' has no positive"),
        ([["q0", "d9"], ["q1", "d8"]], r"ids.jsonl names 'd8' \(and 1 more\), which .*corpus.jsonl does not have"),
        ([["q7", "d0"]], "ids.jsonl names 'q7', which .*queries.jsonl does not have"),
        ([["q0", ["d0", 1], ["d1"]]], r"line 1: every document needs one teacher score, \[document, score\]"),
        ([["q0", ["d0", 1], "d1"]], "line 1: every document needs one teacher score"),
        ([["q0", ["d0", 1]], ["q1", "d2"]], "some lines have teacher scores and some don't"),
    ],
)
def test_what_is_wrong_with_ids_is_said(folder, tmp_path, lines, message):
    with pytest.raises(CollectionError, match=message):
        read_training_data(f"{wrong(tmp_path, 'ids.jsonl', lines)}@{folder}")


def test_what_is_wrong_with_a_beir_folder_is_said(folder):
    with pytest.raises(CollectionError, match=r"There is no .*nothing.tsv: .* \(splits found: train\)"):
        read_training_data(f"{folder}:nothing")
    judged = folder / "qrels" / "train.tsv"
    judged.write_text("q0\td0\t0\nq1\td2\t1\n")
    with pytest.raises(CollectionError, match="the query 'q0' has no positive: judge a document relevant"):
        read_training_data(folder)
    judged.write_text("q0\td77\t1\n")
    with pytest.raises(CollectionError, match=r"train.tsv names 'd77', which .*corpus.jsonl does not have"):
        read_training_data(folder)
    with pytest.raises(CollectionError, match=r"There are no training data at .*nowhere"):
        read_training_data(folder / "nowhere")


def test_scores_for_some_sets_only_are_refused(folder, tmp_path):
    scored = write_lines(tmp_path / "scored.jsonl", [["q0", ["d0", 2], ["d3", -1.5]]])
    with pytest.raises(InputError, match="Some of the data have teacher scores and some don't"):
        read_training_data([str(folder), f"{scored}@{folder}"])


def test_negatives_are_chosen_once_for_all(tmp_path):
    lines = [[f"q{i}", f"p{i}", *(f"n{i}-{j}" for j in range(i))] for i in range(5)]
    data = read_training_data(write_lines(tmp_path / "x.jsonl", lines))
    assert most_negatives(data) == 4
    two = with_negatives(data, 2, seed=1)
    assert two == with_negatives(data, 2, seed=1)
    assert two != with_negatives(data, 2, seed=2)
    for example, before in zip(two.examples, data.examples, strict=True):
        assert len(set(example.documents)) == 3
        assert example.documents[0] == before.documents[0]
        own = before.documents
        assert set(example.documents) <= set(own) if len(own) >= 3 else set(own) <= set(example.documents)


def test_a_relevant_document_never_fills_up(folder):
    data = joined([read_training_data(folder)])
    for seed in range(20):
        for example in with_negatives(data, 1, seed).examples:
            assert example.documents[1] not in data.positives[example.query]


def test_too_few_documents_are_told(folder, tmp_path):
    with pytest.raises(InputError, match="too few documents to give each query 7 negatives"):
        with_negatives(read_training_data(folder), 7, seed=0)
    line = json.dumps({"query": "a", "document_1": "b", "document_2": "c", "label": [1, 2]})
    data = read_training_data(write_lines(tmp_path / "x.jsonl", [line]))
    with pytest.raises(InputError, match="has 2 documents with teacher scores, but 4 are needed for 3 negatives"):
        with_negatives(data, 3, seed=0)
