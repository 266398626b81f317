"""Files of runs: four layouts, ties as trec_eval breaks them, and what is odd in them."""

import gzip
import json
import random

import pytest
import pytrec_eval

from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluation.measures import evaluate, of_each_query, parse_measures
from xtrkit.evaluation.run_files import LAYOUTS, read_run, write_run

RUN = {"q1": [("a", 3.0), ("b", 2.0), ("c", 1.0)], "q2": [("b", 0.5)]}
TREC = {
    "nDCG@10": "ndcg_cut_10",
    "R@1000": "recall_1000",
    "AP": "map",
    "P@5": "P_5",
    "nDCG": "ndcg",
    "RR": "recip_rank",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_as_it_was_written(tmp_path, layout):
    write_run(RUN, tmp_path / "run", layout=layout, tag="mine")
    read = read_run(tmp_path / "run")
    assert {query: [document for document, _ in ranking] for query, ranking in read.items()} == {
        "q1": ["a", "b", "c"], "q2": ["b"],
    }  # fmt: skip
    assert not read.notes
    assert read.tag == ("mine" if layout == "trec" else "")
    if layout in ("trec", "colbert", "json"):
        assert dict(read) == RUN
    with gzip.open(tmp_path / "run.gz", "wb") as packed:
        packed.write((tmp_path / "run").read_bytes())
    assert read_run(tmp_path / "run.gz") == read


def test_layouts_as_others_write_them(tmp_path):
    (tmp_path / "msmarco").write_text("10\t7\t1\n10\t9\t2\n11\t7\t1\n")
    assert read_run(tmp_path / "msmarco") == {"10": [("7", -1.0), ("9", -2.0)], "11": [("7", -1.0)]}
    (tmp_path / "colbert").write_text("0\t5\t1\t27.5\n0\t3\t2\t26.25\n")
    assert read_run(tmp_path / "colbert") == {"0": [("5", 27.5), ("3", 26.25)]}
    (tmp_path / "tabs").write_text("q 1\tQ0\td 1\t1\t0.5\tmy run\nq 1\tQ0\td\t2\t0.25\tmy run\n")
    assert read_run(tmp_path / "tabs") == {"q 1": [("d 1", 0.5), ("d", 0.25)]}
    assert read_run(tmp_path / "tabs").tag == "my run"
    (tmp_path / "mixed").write_text("q\tQ0  a\t1 5e-1  t\r\nq q0 b 2 -inf t\nq 0 c 3 1e39 t")
    assert [document for document, _ in read_run(tmp_path / "mixed")["q"]] == ["c", "a", "b"]
    (tmp_path / "beir.json").write_text(json.dumps({"q": {"d1": 0.25, "d2": 0.5}}))
    assert read_run(tmp_path / "beir.json") == {"q": [("d2", 0.5), ("d1", 0.25)]}


def test_a_thousand_random_runs_with_ties_get_the_figures_of_trec_eval(tmp_path):
    rng = random.Random(7)
    for _ in range(1000):
        documents = [f"d{n}" for n in rng.sample(range(60), 25)] + ["é", "z", "Z"]
        grades = {"q": {d: rng.choice([0, 0, 1, 2, 3]) for d in rng.sample(documents, 12)}}
        if not any(grades["q"].values()):
            continue
        step = rng.choice([1.0, 0.5, 1e-9])  # 1e-9 is nothing to a 32-bit float near 20
        scores = {d: 20 + step * rng.randint(0, 6) for d in rng.sample(documents, 20)}
        lines = [f"q Q0 {d} {rank} {score!r} t\n" for rank, (d, score) in enumerate(scores.items())]
        rng.shuffle(lines)
        (tmp_path / "run").write_text("".join(lines))
        ours = of_each_query(read_run(tmp_path / "run"), grades, list(TREC))
        theirs = pytrec_eval.RelevanceEvaluator(grades, {"ndcg_cut", "recall", "map", "P", "ndcg", "recip_rank"})
        expected = theirs.evaluate({"q": scores})["q"]
        assert {name: values["q"] for name, values in ours.items()} == {
            name: expected[trec] for name, trec in TREC.items()
        }


def test_the_test_above_can_fail(tmp_path):
    (tmp_path / "run").write_text("q Q0 a 1 1.0 t\nq Q0 b 2 1.0 t\n")
    assert read_run(tmp_path / "run")["q"] == [("b", 1.0), ("a", 1.0)]
    assert evaluate(read_run(tmp_path / "run"), {"q": {"a": 1}}, ["RR"])["RR"] == 0.5
    assert evaluate({"q": [("a", 1.0), ("b", 1.0)]}, {"q": {"a": 1}}, ["RR"])["RR"] == 1.0  # ranks, of rankings


def test_ties_gaps_and_doubles_are_told_with_line_and_count(tmp_path):
    (tmp_path / "run.trec").write_text(
        "q1 Q0 a 1 9 t\nq1 Q0 b 2 8 t\nq1 Q0 c 3 8 t\n"  # a tie in line 3
        "q2 Q0 a 1 9 t\nq2 Q0 b 4 8 t\n"  # a gap in line 5
        "q3 Q0 a 1 9 t\nq3 Q0 b 1 8 t\n"  # a rank twice in line 7
        "q4 Q0 a 1 8 t\nq4 Q0 b 2 9 t\n"  # another order in line 9
        "q5 Q0 a 1 9 t\nq5 Q0 a 2 8 t\n"  # a document twice in line 11
    )
    read = read_run(tmp_path / "run.trec")
    facts = {note.kind: note.facts for note in read.notes}
    assert {kind: (one["first_line"], one["lines"], one["examples"]) for kind, one in facts.items()} == {
        "run_ties": (3, 1, ["q1"]),
        "run_rank_gaps": (5, 1, ["q2"]),
        "run_duplicate_ranks": (7, 1, ["q3"]),
        "run_rank_order": (9, 1, ["q4"]),
        "run_documents_twice": (11, 1, ["q5"]),
    }
    assert read["q4"] == [("b", 9.0), ("a", 8.0)]
    assert read["q5"] == [("a", 9.0)]
    sentences = {note.kind: note.sentence for note in read.notes}
    assert sentences["run_ties"].startswith("run.trec has scores that are equal within a query: ordered by document id")
    assert "(1 line, the first line 3; 1 query ('q1'))" in sentences["run_ties"]


def test_what_is_odd_in_json_is_told_without_lines(tmp_path):
    (tmp_path / "run.json").write_text('{"q": {"a": 1, "b": 1.0, "c": 2, "c": 0.5}, "r": {"a": 1}, "q": {"d": 0.25}}')
    read = read_run(tmp_path / "run.json")
    assert read == {"q": [("c", 2.0), ("b", 1.0), ("a", 1.0), ("d", 0.25)], "r": [("a", 1.0)]}
    notes = {note.kind: note for note in read.notes}
    assert notes.keys() == {"run_ties", "run_documents_twice"}
    assert notes["run_ties"].facts == {"lines": 1, "first_line": None, "queries": 1, "examples": ["q"]}
    assert notes["run_documents_twice"].sentence.endswith("where they rank higher (1 time; 1 query ('q')).")


def test_scores_beyond_32_bits_are_ties_as_in_trec_eval(tmp_path):
    (tmp_path / "run").write_text("q Q0 a 1 2e39 t\nq Q0 b 2 inf t\nq Q0 c 3 -1e39 t\nq Q0 d 4 -inf t\n")
    read = read_run(tmp_path / "run")
    assert [document for document, _ in read["q"]] == ["b", "a", "d", "c"]
    assert [(note.kind, note.facts["lines"]) for note in read.notes] == [("run_ties", 2)]
    write_run(read, tmp_path / "again")
    assert [document for document, _ in read_run(tmp_path / "again")["q"]] == ["b", "a", "d", "c"]


def test_ranks_from_0_and_runs_without_oddities_have_no_notes(tmp_path):
    (tmp_path / "run").write_text("q Q0 a 0 9 t\nq Q0 b 1 8 t\nr Q0 a 0 9 t\n")
    assert not read_run(tmp_path / "run").notes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no lines: expected a run"),
        ("q Q0 a 1 x t\n", "line 1: the score 'x' is no number; expected 'query Q0"),
        ("q Q0 a 1 nan t\n", "line 1: the score 'nan' is no number"),
        ("q Q0 a 1 1.0 t\nq Q0 b 2 0.5\n", "line 2: expected"),
        ("q Q0 a 1 1.0 t\nq\tb\t2\n", "line 2: expected"),
        ("what is this?\nreally\n", "line 1: the rank 'this\\?' is no whole number; expected"),
        ("1\ta\tfirst\n", "line 1: the rank 'first' is no whole number"),
        ("1\ta\t0.25\n", "line 1: the rank '0.25' is no whole number"),
        ("qid\tpid\trank\tscore\n1\ta\t1\t2\n", "line 1: the rank 'rank' is no whole number"),
        ("q1 0 a 1\nq1 0 b 2\n", "It looks like judgements"),
        ("1 0 7 1\n1 0 9 2\n", "looks like judgements"),
        ('{"q": ["d"]}', 'expected {"query": {"document": score}}'),
        ('{"q": {"d": "x"}}', 'expected {"query": {"document": score}}'),
        ('{"q": {"d": NaN}}', "the score nan is no number"),
        ('{"q": {"d": true}}', 'expected {"query": {"document": score}}'),
        ('{"q": {"d": 1' + "0" * 400 + "}}", "the score 1000.* is no number"),
        ('{"q": [["d", 1.0]]}', 'expected {"query": {"document": score}}'),
        ('{"q": {"d": 1}', 'expected {"query": {"document": score}}'),
    ],
)
def test_what_is_no_run(tmp_path, text, sentence):
    (tmp_path / "run").write_text(text)
    with pytest.raises(CollectionError, match=sentence):
        read_run(tmp_path / "run")


def test_what_can_not_be_written(tmp_path):
    with pytest.raises(InputError, match="Unknown layout of runs 'csv'"):
        write_run(RUN, tmp_path / "run", layout="csv")
    with pytest.raises(InputError, match="white space"):
        write_run({"q 1": []}, tmp_path / "run")
    with pytest.raises(InputError, match="white space"):
        write_run(RUN, tmp_path / "run", tag="two words")
    write_run({"q 1": [("a b", 1.0)]}, tmp_path / "run", layout="json")
    assert read_run(tmp_path / "run") == {"q 1": [("a b", 1.0)]}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_appears_whole_and_links_stay_links(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    write_run(RUN, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert read_run(tmp_path / "old") == RUN


def test_capped_recall():
    qrels = {"q": {f"d{n}": 1 for n in range(200)}, "r": {"a": 1, "b": 0}, "s": {"a": 0}}
    run = {"q": [(f"d{n}", 1.0 - n / 1000) for n in range(50)], "r": [("b", 1.0), ("a", 0.5)], "s": [("a", 1.0)]}
    of_each = of_each_query(run, qrels, ["R@100", "R_cap@100", "R_cap@1"])
    assert of_each["R@100"] == {"q": 0.25, "r": 1.0, "s": 0.0}
    assert of_each["R_cap@100"] == {"q": 0.5, "r": 1.0, "s": 0.0}
    assert of_each["R_cap@1"] == {"q": 1.0, "r": 0.0, "s": 0.0}
    assert parse_measures("R_cap@100") == ["R_cap@100"]
    with pytest.raises(InputError, match="Unknown measure 'R_cap'"):
        parse_measures("R_cap")
