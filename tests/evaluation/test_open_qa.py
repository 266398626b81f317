"""Answers in texts, token by token, as DPR's evaluation looks for them."""

import csv
import json

import pytest

from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluating.measuring import IndexedDocuments, measure, measure_run, notes_of
from xtrkit.evaluation.open_qa import has_answer, judged_by_answers
from xtrkit.evaluation.opening import open_tests
from xtrkit.evaluation.run_files import FileRun
from xtrkit.recipes import XTR
from xtrkit.retriever import Retriever
from xtrkit.texts.document import Fields
from xtrkit.texts.reading import open_source


@pytest.mark.parametrize(
    ("text", "answers", "found"),
    [
        ("It was Paris, France.", ["paris"], True),
        ("Parisian life", ["Paris"], False),  # tokens, not characters
        ("the U.S. Senate", ["U.S."], True),  # u . s .
        ("the US Senate", ["U.S."], False),
        ("C'est l'été à Zürich", ["zürich"], True),
        ("Zu\u0308rich", ["Z\u00fcrich"], True),  # composed or not
        ("Zurich", ["Zürich"], False),  # marks count
        ("in 1,000 days", ["1,000"], True),
        ("in 1, 000 days", ["1,000"], True),  # white space between tokens doesn't
        ("Louis  XIV\nof France", ["louis xiv"], True),
        ("東京は首都", ["東京"], False),  # one run of letters is one token
        ("東京 は 首都", ["東京"], True),
        ("anything", [""], False),
        ("anything", ["  "], False),
        ("", ["a"], False),
        ("a b a b c", ["a b c"], True),
    ],
)
def test_answers_in_texts(text, answers, found):
    assert has_answer(text, answers) is found


def test_one_of_the_answers_is_enough_and_all_questions_are_judged():
    texts = {"d1": "Lyon lies on the Rhône.", "d2": "Paris lies on the Seine."}
    run = {"0": [("d1", 2.0), ("d2", 1.0)]}
    qrels = judged_by_answers(run, {"0": ["London", "the seine"], "1": ["x"]}, lambda ids: {d: texts[d] for d in ids})
    assert qrels == {"0": {"d1": 0, "d2": 1}, "1": {}}
    with pytest.raises(CollectionError, match="passage 'd1', found for the query '0', has no text"):
        judged_by_answers(run, {"0": ["x"]}, lambda ids: {})


def dpr(path):
    path.write_text(
        "who wrote emma?\t['Jane Austen', \"Austen's hand\"]\n"
        'where is "the shard"?\t["London"]\n'
        "what rains?\t['Water']\n",
        encoding="utf-8",
    )
    return path


def test_questions_as_dpr_publishes_them(tmp_path):
    (test,) = open_tests(dpr(tmp_path / "nq-test.qa.csv"))
    assert (test.name, test.protocol.measures) == ("nq-test", ("Success@20", "Success@100"))
    assert test.queries == {"0": "who wrote emma?", "1": 'where is "the shard"?', "2": "what rains?"}
    assert test.answers["0"] == ["Jane Austen", "Austen's hand"]
    assert open_tests(tmp_path)[0].queries == test.queries


def test_cells_with_quotation_marks_are_quoted_as_dpr_writes_them(tmp_path):
    """A list with an apostrophe in it is quoted, which Python would take for one string that is nowhere."""
    rows = [("what is it about?", ["matchmaking", "O'Brien", 'a "quoted" word']), ('"who" sleeps?', ["Cat's"])]
    with (tmp_path / "nq-test.qa.csv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows((question, repr(answers)) for question, answers in rows)
    (test,) = open_tests(tmp_path / "nq-test.qa.csv")
    assert list(test.queries.values()) == [question for question, _ in rows]
    assert list(test.answers.values()) == [answers for _, answers in rows]


def test_entity_questions_are_a_set_for_each_relation(tmp_path):
    for relation in ("P17", "P19"):
        questions = [{"question": f"where is {relation}?", "answers": ["France"], "subject": "s"}]
        (tmp_path / f"{relation}.test.json").write_text(json.dumps(questions))
        (tmp_path / f"{relation}.dev.json").write_text(json.dumps(questions))
    assert [test.name for test in open_tests(tmp_path)] == ["P17", "P19"]
    assert [test.name for test in open_tests(tmp_path, "dev")] == ["P17", "P19"]
    (tmp_path / "test").mkdir()
    for file in tmp_path.glob("*.test.json"):
        file.rename(tmp_path / "test" / file.name)
    assert [test.name for test in open_tests(tmp_path)] == ["P17", "P19"]  # the folder of the splits


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("x.qa.csv", "a question without answers\n", "line 1: expected a question, a tab, and a list"),
        ("x.qa.csv", "q\t['a']\nq2\t[]\n", "line 2: expected"),
        ("x.qa.csv", "q\t__import__('os')\n", "line 1: expected"),
        ("x.qa.csv", "q\t[1, 2]\n", "line 1: expected"),
        ("x.qa.csv", "q\t'Paris'\n", "line 1: expected"),
        ("x.json", '[{"question": "q"}]', "entry 1: expected"),
        ("x.json", "[no", "not JSON"),
        ("curatedtrec-test.qa.csv", "q\t['Paris|Lyon']\n", "are regular expressions"),
    ],
)
def test_what_is_no_questions(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(CollectionError, match=sentence):
        open_tests(tmp_path / name)


def test_an_index_is_measured_by_the_answers_in_its_passages(tmp_path):
    texts = {"7": "Emma is a novel by Jane Austen.", "8": "The Shard stands in London.", "9": "Cats sleep."}
    (tmp_path / "psgs_w100.tsv").write_text(
        "id\ttext\ttitle\n" + "".join(f"{number}\t{text}\tA title\n" for number, text in texts.items())
    )
    (test,) = open_tests(dpr(tmp_path / "nq-test.qa.csv"))
    with Retriever.create(tmp_path / "idx", tmp_path / "psgs_w100.tsv", nbits=16) as retriever:
        assert list(retriever.index.ids()) == ["7", "8", "9"]
        embeddings = retriever.encode_queries(list(test.queries.values()))
        (row,) = measure(
            retriever, test, [("XTR", XTR)], ["Success@1", "Success@20"], embeddings=embeddings,
            advance=lambda n: None, documents=IndexedDocuments.of(retriever.index),
        )  # fmt: skip
        assert row.measures == {"Success@1": pytest.approx(2 / 3), "Success@20": pytest.approx(2 / 3)}
        run = FileRun({"0": [("9", 2.0), ("7", 1.0)]})
        row = measure_run("run", run, test, ["Success@1", "Success@2"], retriever.index)
        assert row.measures == {"Success@1": 0.0, "Success@2": pytest.approx(1 / 3)}
        with pytest.raises(InputError, match="judged by answers in texts: give the index"):
            measure_run("run", run, test, ["Success@1"], None)
        with pytest.raises(InputError, match=r"belongs to a document 'x'.* give the index that the run is of"):
            measure_run("run", FileRun({"0": [("x", 2.0)]}), test, ["Success@1"], retriever.index)


def test_titles_are_no_part_of_the_texts_if_they_are_known(tmp_path):
    """DPR looks for answers in the text alone; an index has the title before it."""
    (tmp_path / "psgs_w100.tsv").write_text("id\ttext\ttitle\n7\tShe wrote Emma.\tJane Austen\n8\tRain falls.\tWater\n")
    (test,) = open_tests(dpr(tmp_path / "nq-test.qa.csv"))
    run, counted = FileRun({"0": [("7", 1.0)], "2": [("8", 1.0)]}), {}
    for name, metadata in (("known", ("title",)), ("unknown", "all")):
        source = open_source(tmp_path / "psgs_w100.tsv", Fields(metadata=metadata))
        with Retriever.create(tmp_path / name, source, nbits=16) as retriever:
            assert retriever.index.get(["7"])[0].text == "Jane Austen She wrote Emma."
            row = measure_run("run", run, test, ["Success@1"], retriever.index)
            documents = IndexedDocuments.of(retriever.index)
            notes = notes_of(test, ["Success@1"], [row], retriever=retriever, documents=documents)
            counted[name] = row.measures["Success@1"], "answers_in_titles" in {note.kind for note in notes}
    assert counted == {"known": (0.0, False), "unknown": (pytest.approx(2 / 3), True)}
