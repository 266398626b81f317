"""The bench at the command line: runs without judgements, runs from anywhere, comparisons, suites, sweeps."""

import csv
import json
import os
import re
import subprocess
import sys
import threading

import pytest
import pytrec_eval

from tests.commands import in_text
from xtrkit.evaluation.run_files import read_run
from xtrkit.retriever import Retriever

TEXTS = {
    "mice": "Mice eat cheese and seeds.",
    "cats": "Cats hunt mice at night.",
    "bread": "Knead the dough and bake it in a hot oven.",
    "rain": "Rain falls from grey clouds in autumn.",
    "bees": "Bees make honey from the nectar of flowers.",
    "train": "The train to London leaves at noon.",
    "emma": "Emma is a novel that Jane Austen wrote.",
    "moon": "The moon goes round the earth in a month.",
}
QUERIES = {
    "q1": "what do mice eat?",
    "q2": "how is bread baked?",
    "q3": "who wrote Emma?",
    "q4": "where does honey come from?",
}
QRELS = {"q1": {"mice": 2, "cats": 1}, "q2": {"bread": 1}, "q3": {"emma": 1}, "q4": {"bees": 1}}


def answer(*arguments):
    ran = in_text(*arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refused(*arguments):
    ran = in_text(*arguments)
    assert ran.returncode == 1, ran.stdout
    assert ran.stderr.count("Error: ") == 1
    assert "Traceback" not in ran.stderr
    return " ".join(ran.stderr.split())


def write_beir(folder, texts=TEXTS):
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": d, "text": t}) + "\n" for d, t in texts.items()))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": q, "text": t}) + "\n" for q, t in QUERIES.items()))
    lines = [f"{q}\t{d}\t{grade}\n" for q, judged in QRELS.items() for d, grade in judged.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


@pytest.fixture(scope="module")
def beir(tmp_path_factory):
    return write_beir(tmp_path_factory.mktemp("bench") / "animals")


@pytest.fixture(scope="module")
def index(beir):
    path = beir.parent / "idx"
    Retriever.create(path, TEXTS.items()).close()
    return path


@pytest.fixture(scope="module")
def runs(beir):
    """A good run, and one that loses two queries."""
    good, bad = beir.parent / "good.trec", beir.parent / "bad.trec"
    best = {"q1": ["mice", "cats"], "q2": ["bread"], "q3": ["emma"], "q4": ["bees"]}
    worse = {"q1": ["rain", "cats"], "q2": ["bread"], "q3": ["moon", "train"], "q4": ["bees"]}
    for path, found in ((good, best), (bad, worse)):
        lines = [f"{q} Q0 {d} {n} {10 - n} x\n" for q, ranked in found.items() for n, d in enumerate(ranked, 1)]
        path.write_text("".join(lines))
    return good, bad


# run


def test_a_run_of_queries_without_judgements(index, tmp_path):
    (tmp_path / "queries.tsv").write_text("".join(f"{q}\t{text}\n" for q, text in QUERIES.items()))
    shown = answer("run", index, tmp_path / "queries.tsv", "-o", tmp_path / "run.trec", "-k", 3, "--tag", "mine")
    assert "4 queries, at most 3 documents each" in " ".join(shown.split())
    run = read_run(tmp_path / "run.trec")
    assert run.tag == "mine"
    assert not run.notes
    assert {query: ranking[0][0] for query, ranking in run.items()} == {
        "q1": "mice", "q2": "bread", "q3": "emma", "q4": "bees",
    }  # fmt: skip
    assert {len(ranking) for ranking in run.values()} == {3}
    with Retriever.open(index) as retriever:
        assert [d for d, _ in run["q1"]] == retriever.search(QUERIES["q1"], 3).ids
    for layout in ("msmarco", "colbert", "json"):
        answer("run", index, tmp_path / "queries.tsv", "-o", tmp_path / "other", "-k", 3, "--layout", layout, "--json")
        assert [d for d, _ in read_run(tmp_path / "other")["q1"]] == [d for d, _ in run["q1"]]


def test_what_a_run_leaves_out_is_in_the_json(index, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"_id": "a", "text": "honey"}\n{"_id": "a", "text": "bread"}\n')
    told = json.loads(answer("run", index, tmp_path / "q.jsonl", "-o", tmp_path / "r", "--json", "--recipe", "colbert"))
    assert (told["queries"], told["documents"], told["k"]) == (1, len(TEXTS), 1000)
    assert told["notes"]["queries_twice"]["taken"] == "first"
    assert told["notes"]["fewer_than_k"]["queries"] == 1
    assert told["recipe"]["scoring"] == "maxsim"


def test_topics_of_trec_and_a_filter_and_fusion(index, tmp_path):
    (tmp_path / "topics").write_text("<top><num>Number: 7<title>honey\n<desc>Description: baked bread</top>")
    answer("run", index, tmp_path / "topics", "-o", tmp_path / "r", "-k", 1, "--topic-field", "desc", "--fusion", "rrf")
    assert read_run(tmp_path / "r")["7"][0][0] == "bread"
    where = '{"$id": "moon"}'
    shown = answer("run", index, tmp_path / "topics", "-o", tmp_path / "r", "--where", where)
    assert [d for d, _ in read_run(tmp_path / "r")["7"]] == ["moon"]
    assert "found fewer than the 1,000 documents" in " ".join(shown.split())
    assert "JSON" in refused("run", index, tmp_path / "topics", "-o", tmp_path / "r", "--where", "lang = de")


def test_documents_and_passages_of_an_index_that_was_cut(tmp_path):
    long = " ".join(f"{text} This is what can be said about it." for text in TEXTS.values())
    with Retriever.create(tmp_path / "idx", [("long", long * 12), ("short", "Trams.")]) as retriever:
        assert len(retriever) > 3
    (tmp_path / "q.tsv").write_text("1\thoney and nectar\n")
    answer("run", tmp_path / "idx", tmp_path / "q.tsv", "-o", tmp_path / "r", "-k", 5)
    assert [d for d, _ in read_run(tmp_path / "r")["1"]] == ["long", "short"]
    answer("run", tmp_path / "idx", tmp_path / "q.tsv", "-o", tmp_path / "r", "-k", 5, "--all-passages")
    assert all(re.fullmatch(r"long¶\d+", d) for d, _ in read_run(tmp_path / "r")["1"][:3])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"-k": 0}, "k must be a whole number of at least 1"),
        ({"--layout": "csv"}, "Unknown layout of runs 'csv'"),
        ({"--tag": "two words"}, "white space"),
        ({"-o": "no/where"}, "is no folder that can be written to"),
        ({"--threads": 0}, "threads must be"),
        ({"--topic-field": "narr"}, None),
    ],
)
def test_what_a_run_refuses(index, tmp_path, change, sentence):
    (tmp_path / "q.tsv").write_text("1\thoney\n")
    arguments = {"-o": tmp_path / "r", **change}
    words = [word for pair in arguments.items() for word in pair]
    if sentence is None:  # lines have no fields
        answer("run", index, tmp_path / "q.tsv", *words)
        return
    assert sentence in refused("run", index, tmp_path / "q.tsv", *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.tsv"]


def test_a_run_is_printed_alone_and_packed_if_its_name_says_so(index, tmp_path):
    """Where standard output is a file, as behind ``>``, nothing else may get into it, nor out of it."""
    (tmp_path / "q.tsv").write_text("1\thoney\n")
    command = [sys.executable, "-m", "xtrkit", "run", str(index), str(tmp_path / "q.tsv"), "-o", "/dev/stdout"]
    with (tmp_path / "out").open("w") as out:
        out.write("q0 Q0 first 1 1 t\n")
        out.flush()
        ran = subprocess.run([*command, "-k", "99"], stdout=out, stderr=subprocess.PIPE, text=True, check=True)
    assert list(read_run(tmp_path / "out")) == ["q0", "1"]
    assert "found fewer than the 99 documents" in ran.stderr
    assert "Wrote /dev/stdout" in ran.stderr
    answer("run", index, tmp_path / "q.tsv", "-o", tmp_path / "r.gz", "-k", 2)
    assert (tmp_path / "r.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert read_run(tmp_path / "r.gz")["1"][0][0] == "bees"


def test_a_run_does_not_go_over_its_queries(index, tmp_path):
    (tmp_path / "q.tsv").write_text("1\thoney\n")
    (tmp_path / "link").symlink_to(tmp_path / "q.tsv")
    assert "q.tsv, which is read" in refused("run", index, tmp_path / "q.tsv", "-o", tmp_path / "q.tsv")
    assert "link, which is read" in refused("run", index, tmp_path / "q.tsv", "-o", tmp_path / "link")
    assert (tmp_path / "q.tsv").read_text() == "1\thoney\n"


def test_ids_that_a_run_can_not_hold_are_told_before_all_is_searched(tmp_path, beir):
    texts = {f"my {name}.md": text for name, text in TEXTS.items()}
    Retriever.create(tmp_path / "idx", texts.items()).close()
    (tmp_path / "q.tsv").write_text("".join(f"{n}\thoney\n" for n in range(100)))
    said = refused("run", tmp_path / "idx", tmp_path / "q.tsv", "-o", tmp_path / "r")
    assert "md' has white space, which a TREC run can't hold: choose --layout json" in said
    answer("run", tmp_path / "idx", tmp_path / "q.tsv", "-o", tmp_path / "r", "--layout", "json")
    (tmp_path / "set" / "qrels").mkdir(parents=True)
    (tmp_path / "set" / "queries.jsonl").write_text('{"_id": "q", "text": "honey"}\n')
    (tmp_path / "set" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tmy bees.md\t1\n")
    said = refused("evaluate", tmp_path / "idx", tmp_path / "set", "-o", tmp_path / "o.trec")
    assert "md' has white space" in said


# evaluate with runs


def test_runs_from_anywhere_are_compared(beir, runs):
    told = json.loads(answer("evaluate", beir, *with_runs(runs), "--baseline", "none", "--significance", "--json"))
    figures = {row["system"]: row["measures"] for row in told["systems"]}
    assert figures["good"] == {"nDCG@10": 1.0, "R@100": 1.0}
    assert figures["bad"]["R@100"] == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    (difference,) = told["significance"]["measures"]["R@100"]
    assert (difference["system"], difference["better"], difference["worse"]) == ("bad", 0, 2)
    assert difference["randomisation"] == 0.5  # 2 of 4 sets of signs of two queries
    expected = pytrec_eval.RelevanceEvaluator(QRELS, {"ndcg_cut"}).evaluate(
        {query: dict(ranking) for query, ranking in read_run(runs[1]).items()}
    )
    assert figures["bad"]["nDCG@10"] == pytest.approx(sum(one["ndcg_cut_10"] for one in expected.values()) / 4)
    shown = answer("evaluate", beir, *with_runs(runs), "--against", "bad")
    assert "against bad" in shown
    assert "BM25" in shown


def with_runs(runs):
    return [word for path in runs for word in ("--run", path)]


def test_where_two_systems_differ(beir, index, runs, tmp_path):
    arguments = ("evaluate", index, beir, *with_runs(runs), "--k-prime", 50, "--measures", "nDCG@10")
    told = json.loads(answer(*arguments, "--compare", "XTR k'=50", "bad", "--worst", 1, "--json"))
    (worst,) = told["comparison"]["queries"]
    assert (worst["query"], worst["first"], worst["second"]) == ("q3", 1.0, 0.0)
    assert worst["relevant"] == [{"document": "emma", "grade": 1, "first": 1, "second": None}]
    assert {one["document"] for one in worst["best"]} >= {"moon", "train"}
    explained = worst["explained"]["XTR k'=50"]
    assert explained["id"] == "emma"
    assert "emma" in [match["query_token"]["piece"] for match in explained["matches"]]
    assert "bad" not in worst["explained"]
    picture = tmp_path / "plot.svg"
    shown = answer(*arguments, "--compare", "XTR k'=50", "bad", "--plot", picture)
    assert "not found" in shown
    assert "query token" in shown
    assert f"Wrote {picture}" in shown
    assert picture.read_text().startswith("<?xml")
    assert "is below bad in no query" in " ".join(answer(*arguments, "--compare", "bad", "good").split())


def test_figures_of_each_query_and_beirs_results(beir, runs, tmp_path):
    arguments = ("evaluate", beir, "--run", runs[1], "--baseline", "none")
    answer(*arguments, "--per-query", tmp_path / "q.csv", "--beir-results", tmp_path / "beir.json")
    rows = list(csv.DictReader((tmp_path / "q.csv").read_text().splitlines()))
    assert {(row["query"], row["measure"]): float(row["bad"]) for row in rows}["q3", "nDCG@10"] == 0.0
    assert rows[0]["text"] == QUERIES["q1"]
    assert len(rows) == 2 * len(QUERIES)
    answer(*arguments, "--per-query", tmp_path / "q.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert lines[0]["values"].keys() == {"bad"}
    results = json.loads((tmp_path / "beir.json").read_text())
    assert list(results) == ["ndcg", "map", "recall", "precision", "mrr"]
    assert results["recall"]["Recall@100"] == 0.625


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--compare", "good", "best"], "No system is called 'best': there are 'good', 'bad', 'BM25'"),
        (["--against", "best"], "No system is called 'best'"),
        (["--plot", "x.svg"], "name them with --compare A B"),
        (["--compare", "good", "bad", "--plot", "x.doc"], "x.doc is no picture"),
        (["--per-query", "x.txt"], "--per-query writes .csv or .jsonl"),
        (["--layout", "csv", "-o", "x"], "Unknown layout of runs"),
        (["--run", "nowhere.trec"], "nowhere.trec can't be read"),
        (["-o", "/dev/stdout"], "--output /dev/stdout is where the figures are printed"),
        (["--beir-results", "/dev/stdout"], "--beir-results /dev/stdout is where the figures are printed"),
        (["-o", "/dev/zero"], "/dev/zero is no file, and takes one system's alone"),
        (["-o", "x.csv", "--per-query", "x.csv"], "--per-query would write to x.csv, as --output does"),
        (["--topics", "x"], "Topics belong to a file of judgements"),
    ],
)
def test_what_a_comparison_refuses(beir, runs, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused("evaluate", beir, *with_runs(runs), *arguments)
    assert not list(tmp_path.iterdir())


def test_what_is_compared_is_checked_before_anything_is_searched(beir, index, tmp_path):
    """There is no index: it would be opened first."""
    nowhere = tmp_path / "nowhere"
    for arguments in (["--compare", "XTR k'=1000", "x"], ["--against", "x"]):
        assert "No system is called 'x': there are \"XTR k'=100\"" in refused("evaluate", nowhere, beir, *arguments)
    for word in ("BM25 (index)", "XTR k'=1000 + BM25, rrf", "MaxSim"):
        assert "nothing at" in refused("evaluate", nowhere, beir, "--compare", "BM25", word)
    (tmp_path / "qrels.txt").write_text("q1 0 mice 1\n")
    said = refused("evaluate", nowhere, tmp_path / "qrels.txt", "--significance")
    assert "qrels has a single query: a test of significance needs two" in said


def test_runs_stay_as_they_are_and_each_has_a_name_and_a_file(beir, runs, tmp_path):
    good = tmp_path / "a_b.trec"
    good.write_text(runs[0].read_text())
    before = good.read_text()
    arguments = ("evaluate", beir, "--run", good, "--baseline", "none")
    assert "a_b.trec, which is read" in refused(*arguments, "-o", good)
    for name in ("a-b.trec", "o.bm25.trec", "BM25.trec"):
        (tmp_path / name).write_text(runs[1].read_text())
    assert "o.bm25.trec, which is read" in refused(
        "evaluate", beir, "--run", tmp_path / "o.bm25.trec", "-o", tmp_path / "o.trec"
    )
    assert "is given twice" in refused(*arguments, "--run", good)
    told = json.loads(answer("evaluate", beir, *with_runs([good, tmp_path / "BM25.trec"]), "--json"))
    assert [row["system"] for row in told["systems"]] == ["a_b", str(tmp_path / "BM25.trec"), "BM25"]
    (tmp_path / "a b.trec").write_text(before)
    wrote = answer(*arguments, *with_runs([tmp_path / "a-b.trec", tmp_path / "a b.trec"]), "-o", tmp_path / "x.trec.gz")
    assert [line.rsplit("/")[-1] for line in wrote.splitlines() if "Wrote" in line] == [
        "x.a_b.trec.gz", "x.a-b.trec.gz", "x.a-b-2.trec.gz",
    ]  # fmt: skip
    assert read_run(tmp_path / "x.a-b-2.trec.gz") == read_run(good)
    assert good.read_text() == before


def test_one_json_document_also_where_writing_fails(beir, runs, tmp_path, monkeypatch):
    def fails(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xtrkit.evaluation.run_files.write_whole", fails)
    ran = in_text("evaluate", beir, *with_runs(runs), "-o", tmp_path / "o.trec", "--json")
    assert ran.returncode == 1
    assert list(json.loads(ran.stdout)) == ["error"]


def test_runs_on_judgements_of_trec_need_no_topics(index, runs, tmp_path):
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("".join(f"{q} 0 {d} {grade}\n" for q, judged in QRELS.items() for d, grade in judged.items()))
    told = json.loads(answer("evaluate", qrels, *with_runs(runs), "--json"))
    expected = pytrec_eval.RelevanceEvaluator(QRELS, {"map"}).evaluate(
        {query: dict(ranking) for query, ranking in read_run(runs[1]).items()}
    )
    assert told["systems"][1]["measures"]["AP"] == pytest.approx(sum(one["map"] for one in expected.values()) / 4)
    assert told["notes"].keys() >= {"no_baseline"}
    assert "has judgements alone: name the file of the queries with --topics" in refused("evaluate", index, qrels)
    (tmp_path / "topics").write_text("".join(f"<top><num>{q}<title>{text}</top>" for q, text in QUERIES.items()))
    asked = ("--topics", tmp_path / "topics", "--k-prime", 50)
    told = json.loads(answer("evaluate", index, qrels, *asked, "--json"))
    assert told["systems"][0]["measures"] == {"AP": 1.0, "nDCG@10": 1.0, "P@10": pytest.approx(0.125)}
    assert "queries.trec" not in answer("sweep", index, qrels, *asked, "--nprobe", 1)
    assert "topics, which is read" in refused("evaluate", index, qrels, *asked, "--output", tmp_path / "topics")


def test_runs_and_judgements_from_a_pipe(beir, runs, tmp_path):
    """As ``<(zcat run.gz)`` gives them: they can be read once."""
    os.mkfifo(tmp_path / "run")
    os.mkfifo(tmp_path / "qrels")
    qrels = "".join(f"{q} 0 {d} {grade}\n" for q, judged in QRELS.items() for d, grade in judged.items())
    for name, text in (("run", runs[0].read_text()), ("qrels", qrels)):
        threading.Thread(target=(tmp_path / name).write_text, args=(text,), daemon=True).start()
    told = json.loads(answer("evaluate", tmp_path / "qrels", "--run", tmp_path / "run", "--json"))
    assert told["systems"][0]["measures"]["AP"] == 1.0


def test_too_many_paths_nothing_to_measure_and_a_run_of_something_else(beir, index, runs, tmp_path):
    assert "Expected [INDEX] DATASET, got 3 paths" in refused("evaluate", beir, beir, beir)
    bare = write_beir(tmp_path / "bare")
    (bare / "corpus.jsonl").unlink()
    told = json.loads(answer("evaluate", bare, *with_runs([runs[0]]), "--json"))
    assert told["notes"]["no_baseline"] == {"sentence": "BM25 was left out: no corpus lies beside the queries."}
    assert "nothing to measure on bare" in refused("evaluate", bare)
    assert "nothing to measure on animals" in refused("evaluate", beir, "--baseline", "none")
    assert "is an index: a test collection is expected behind it" in refused("evaluate", index)
    assert "is an index: a test collection is expected behind it" in refused("sweep", beir, index)
    (tmp_path / "other.trec").write_text("x1 Q0 d 1 1 t\n")
    assert "has none of the 4 queries of animals" in refused("evaluate", beir, "--run", tmp_path / "other.trec")


def test_oddities_of_a_run_stand_below_the_table_and_in_the_json(beir, tmp_path):
    (tmp_path / "odd.trec").write_text("q1 Q0 mice 1 1 t\nq1 Q0 cats 2 1 t\n")
    told = json.loads(answer("evaluate", beir, "--run", tmp_path / "odd.trec", "--json"))
    assert told["notes"]["run_ties odd"]["first_line"] == 2
    assert told["notes"]["unanswered_queries odd"]["queries"] == 3
    shown = " ".join(answer("evaluate", beir, "--run", tmp_path / "odd.trec").split())
    assert "odd: odd.trec has scores that are equal within a query" in shown


def test_runs_of_equal_names_are_told_by_their_paths(beir, runs, tmp_path):
    (tmp_path / "good.trec").write_text(runs[1].read_text())
    told = json.loads(answer("evaluate", beir, *with_runs([runs[0], tmp_path / "good.trec"]), "--json"))
    assert [row["system"] for row in told["systems"]][:2] == [str(runs[0]), str(tmp_path / "good.trec")]


# Several sets


def test_a_suite_has_a_table_for_each_measure_and_means(tmp_path, beir, index):
    for name in ("android", "gis"):
        write_beir(tmp_path / "suite" / name)
    written = tmp_path / "runs"
    written.mkdir()
    for name in ("android", "gis"):
        (written / f"{name}.trec").write_text("q1 Q0 mice 1 1 t\n" * (name == "gis") + "q2 Q0 bread 1 1 t\n")
    template = str(written / "{set}.trec")
    told = json.loads(answer("evaluate", index, tmp_path / "suite", "--k-prime", 50, "--run", template, "--json"))
    assert [one["dataset"] for one in told["sets"]] == ["android", "gis"]
    of_run = [
        next(row for row in one["systems"] if row["system"] == template)["measures"]["R@100"] for one in told["sets"]
    ]
    assert of_run == [0.25, 0.375]
    (means,) = told["means"]
    assert (means["group"], means["sets"]) == ("", ["android", "gis"])
    assert means["systems"][template]["R@100"] == 0.3125
    assert set(means["systems"]) == {row["system"] for row in told["sets"][0]["systems"]}
    compared = ("--compare", "BM25", template, "--worst", 1, "--significance")
    shown = answer("evaluate", tmp_path / "suite", "--run", template, *compared)
    assert "gis: q1: what do mice eat?" in shown or "gis: q3: who wrote Emma?" in shown
    assert f"android: against {template}" in shown
    assert "p (rand.)" in shown
    shown = answer("evaluate", index, tmp_path / "suite", "--k-prime", 50, "-o", tmp_path / "out.trec")
    assert "mean of 2" in shown
    assert "android: BM25 dropped English stop words" in shown
    assert (tmp_path / "out.android.xtr-50.trec").is_file()
    assert (tmp_path / "out.gis.bm25.trec").is_file()


def test_lottes_search_and_forum_queries_have_means_of_their_own(tmp_path):
    for topic, found in (("writing", "1"), ("pooled", "2")):
        folder = tmp_path / "lotte" / topic / "test"
        folder.mkdir(parents=True)
        for kind, answers in (("search", [1]), ("forum", [1, 2])):
            line = json.dumps({"qid": 0, "query": "how?", "answer_pids": answers})
            (folder / f"qas.{kind}.jsonl").write_text(f"{line}\n")
            (tmp_path / f"{topic}.{kind}.trec").write_text(f"0 Q0 {found} 1 1 t\n0 Q0 1 2 0 t\n")
    told = json.loads(
        answer("evaluate", tmp_path / "lotte", "--run", tmp_path / "{set}.trec", "--measures", "P@1", "--json")
    )
    assert [(one["group"], one["sets"]) for one in told["means"]] == [
        ("search", ["writing search", "pooled search"]), ("forum", ["writing forum", "pooled forum"]),
    ]  # fmt: skip
    figures = [list(one["systems"].values()) for one in told["means"]]
    assert figures == [[{"P@1": 0.5}], [{"P@1": 1.0}]]
    again = tmp_path / "again.trec"
    arguments = ("evaluate", tmp_path / "lotte", "--measures", "P@1", "--json", "--run")
    answer(*arguments, tmp_path / "{set}.trec", "-o", again)
    written = json.loads(answer(*arguments, tmp_path / "again.{set}.trec"))  # what is written can be named again
    assert [list(one["systems"].values()) for one in written["means"]] == figures
    shown = answer("evaluate", tmp_path / "lotte", "--run", tmp_path / "{set}.trec")
    assert "mean of 2 search" in shown
    assert "mean of 2 forum" in shown


def test_a_folder_of_indexes_called_as_the_sets(tmp_path):
    (tmp_path / "indexes").mkdir()
    for name, kept in (("a", list(TEXTS)), ("b", ["mice", "cats", "bread"])):
        write_beir(tmp_path / "suite" / name)
        Retriever.create(tmp_path / "indexes" / name, [(d, TEXTS[d]) for d in kept]).close()
    told = json.loads(
        answer("evaluate", tmp_path / "indexes", tmp_path / "suite", "--k-prime", 50, "--no-maxsim", "--json")
    )
    recall = [one["systems"][0]["measures"]["R@100"] for one in told["sets"]]
    assert recall == [1.0, 0.5]
    assert "missing_documents" in told["sets"][1]["notes"]
    write_beir(tmp_path / "suite" / "c")
    said = refused("evaluate", tmp_path / "indexes", tmp_path / "suite", "--k-prime", 50)
    assert f"has none for 1 set ('c'): expected {tmp_path / 'indexes' / 'c'}" in said
    (tmp_path / "a.trec").write_text("q1 Q0 mice 1 1 t\n")
    said = refused("evaluate", tmp_path / "suite", "--run", tmp_path / "{set}.trec")
    assert "b.trec can't be read" in said


# sweep


def test_a_sweep_finds_the_cheapest_setting(index, beir, tmp_path):
    arguments = ("sweep", index, beir, "--k-prime", "4,50", "--nprobe", "1,2", "--measures", "nDCG@10")
    told = json.loads(answer(*arguments, "--json", "-o", tmp_path / "s.csv", "--plot", tmp_path / "s.png"))
    points = told["points"]
    assert len(points) == 6  # four of XTR, two of MaxSim, to which k' is nothing
    assert [point["cpu_ms"] for point in points] == sorted(point["cpu_ms"] for point in points)
    best = max(point["measures"]["nDCG@10"] for point in points)
    (chosen,) = [point for point in points if point["setting"] == told["chosen"]]
    good_enough = [point for point in points if point["measures"]["nDCG@10"] >= best - 0.01]
    assert chosen == good_enough[0]
    front = [point["measures"]["nDCG@10"] for point in points if point["on_front"]]
    assert front == sorted(set(front))
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [row["chosen"] for row in rows].count("True") == 1
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"
    shown = answer(*arguments, "--within", 1)
    assert "→" in shown
    assert "the cheapest within 1 of the best nDCG@10" in " ".join(shown.split())


def test_a_sweep_of_an_exact_index_with_one_query_and_values_that_come_twice(tmp_path, index):
    Retriever.create(tmp_path / "exact", TEXTS.items(), nbits=16).close()
    (tmp_path / "qrels").write_text("q1 0 mice 1\n")
    (tmp_path / "topics").write_text("q1\tmice\n")
    arguments = ("sweep", tmp_path / "exact", tmp_path / "qrels", "--topics", tmp_path / "topics")
    told = json.loads(
        answer(*arguments, "--k-prime", "4,4", "--nprobe", "1,2", "--imputation", "0.2,0.20,.2,min", "--json")
    )
    assert sorted(str(point["setting"]) for point in told["points"]) == [
        "{'scoring': 'maxsim'}",
        "{'scoring': 'xtr', 'imputation': '0.2'}",
        "{'scoring': 'xtr', 'imputation': 'min'}",
    ]
    assert "no_clusters" in told["notes"]
    ran = in_text(*arguments, "--threads", 2)
    assert ran.returncode == 2  # it searches on one thread, always
    assert "No such option" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--k-prime", "many"], "--k-prime takes whole numbers apart by commas, got 'many'"),
        (["--k-prime", ""], "--k-prime is empty"),
        (["--nprobe", "0"], "nprobe must be"),
        (["--scoring", "bm25"], "Unknown scoring 'bm25'"),
        (["--plot", "x.gif"], "is no picture"),
        (["--measures", ""], "No measures were given"),
        (["-o", "/dev/stdout"], "--output /dev/stdout is where the table is printed"),
        (["-o", "x.svg", "--plot", "x.svg"], "--plot would write to x.svg, as --output does"),
    ],
)
def test_what_a_sweep_refuses(index, beir, arguments, sentence):
    assert sentence in refused("sweep", index, beir, *arguments)
