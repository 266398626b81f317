"""The command line as people run it: a real model, everything that they may type wrong; some in real processes."""

import json
import subprocess
import sys

import pytest

from tests.commands import in_text

CORPUS = [
    {"_id": "mice", "title": "Mice", "text": "Mice eat cheese and seeds."},
    {"_id": "cats", "title": "", "text": "Cats hunt mice at night."},
    {"_id": "bread", "title": "Bread", "text": "Knead the dough and bake it."},
]


def xtrkit(*arguments):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "xtrkit", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def answer(*arguments, run=in_text):
    """What the command prints; it must succeed."""
    ran = run(*arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def beir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beir")
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in CORPUS))
    (folder / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "what do mice eat"}\n{"_id": "q2", "text": "baking"}\n'
    )
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tmice\t1\nq2\tbread\t1\n")
    return folder


@pytest.fixture(scope="module")
def index(beir):
    shown = answer("index", beir, beir / "idx", run=xtrkit)
    assert "Indexed 3 passages" in shown
    return beir / "idx"


def test_search_prints_the_best_first(index):
    shown = answer("search", index, "what do mice eat", "-k", 2, run=xtrkit)
    assert "1. mice" in shown
    assert "2. cats" in shown
    assert "bread" not in shown


def test_explain_shows_tokens_in_context_and_what_was_imputed(index):
    shown = answer("search", index, "mice eat cheese", "-k", 3, "--explain", "--k-prime", 3)
    assert "Mice Mice eat [cheese] and seeds." in shown
    assert "not retrieved: imputed" in shown


def test_search_as_json(index):
    found = json.loads(answer("search", index, "mice 🐭", "-k", 1, "--explain", "--json", "--scoring", "maxsim"))
    assert found["query"] == "mice 🐭"
    assert found["recipe"]["scoring"] == "maxsim"
    (hit,) = found["hits"]
    assert hit["rank"] == 1
    assert {match["imputed"] for match in hit["matches"]} == {False}
    assert [match["query_token"]["piece"] for match in hit["matches"]][1] == "mice"


@pytest.mark.parametrize("nbits", [16, 4])
def test_every_imputation_that_python_takes(beir, tmp_path, nbits, here):
    assert not here("index", beir, tmp_path / "idx", "--nbits", nbits, "--json").returncode
    for name in ("min", "found", "retrieved", "centroid", "t5000", "t1", "none", "0.2", "-1"):
        found = json.loads(
            here("search", tmp_path / "idx", "mice", f"--imputation={name}", "--json", "--explain").stdout
        )
        assert found["recipe"]["imputation"] == name
        assert (found["truncated"], found["k_prime"] >= 1) == (False, True)
        for hit in found["hits"]:
            known = [match["similarity"] for match in hit["matches"] if match["similarity"] is not None]
            assert sum(known) / len(known) == pytest.approx(hit["score"], abs=2e-6)


def test_a_query_beyond_the_window_and_metadata_are_told(tmp_path, here):
    line = {"_id": "a", "text": "Mice eat cheese.", "metadata": {"year": 2020}}
    (tmp_path / "c.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert not here("index", tmp_path / "c.jsonl", tmp_path / "idx", "--json").returncode
    words = " ".join(f"word{n}" for n in range(300))
    assert "The query is longer than the model's window" in here("search", tmp_path / "idx", words).stdout
    found = json.loads(here("search", tmp_path / "idx", words, "--json").stdout)
    assert found["truncated"]
    assert found["hits"][0]["metadata"] == {"year": 2020}
    assert "year: 2020" in here("search", tmp_path / "idx", "mice").stdout


def test_timings_and_threads_and_exact(beir, tmp_path, here):
    assert not here("index", beir, tmp_path / "idx", "--nbits", 4, "--json").returncode
    shown = answer("search", tmp_path / "idx", "mice", "--timings", "--exact", "--threads", 2)
    assert "1. " in shown
    for stage in ("encode", "centroids", "codes", "imputation", "documents", "together"):
        assert f"{stage} " in shown
    found = json.loads(here("search", tmp_path / "idx", "mice", "--timings", "--json", "--scoring", "maxsim").stdout)
    assert list(found["seconds"]) == ["encode", "quantise", "rerank", "passages"]  # few documents: all are candidates
    rows = [
        json.loads(here("evaluate", tmp_path / "idx", beir, "--exact", "--threads", threads, "--json").stdout)[
            "systems"
        ]
        for threads in (1, 2)
    ]
    assert [row["measures"] for row in rows[0]] == [row["measures"] for row in rows[1]]


def test_info(index):
    facts = json.loads(answer("info", index, "--json"))
    assert facts["documents"] == 3
    assert facts["encoder"]["name"] == "xtrkit-mini"
    assert "documents" in answer("info", index)


def test_evaluate_prints_every_system_and_writes_runs(index, beir):
    shown = answer("evaluate", index, beir, "--measures", "nDCG@10 RR@10", "-o", beir / "out.trec")
    fused = ("BM25 (index)", "XTR k'=1000 + BM25, rrf", "XTR k'=1000 + BM25, relative")
    for system in ("XTR k'=100", "XTR k'=1000", "XTR k'=10000", "MaxSim", *fused, "BM25"):
        assert system in shown
    for name in ("bm25-index", "xtr-1000-bm25-rrf", "xtr-1000-bm25-relative", "bm25"):
        assert (beir / f"out.{name}.trec").read_text().splitlines()[0].split()[:3] == ["q1", "Q0", "mice"]
    assert (beir / "out.maxsim.trec").read_text().splitlines()[0].split()[:3] == ["q1", "Q0", "mice"]


def test_evaluate_as_json_with_one_system_writes_one_run(index, beir):
    found = json.loads(
        answer(
            "evaluate",
            index,
            beir,
            "--k-prime",
            5,
            "--no-maxsim",
            "--no-fusion",
            "--baseline",
            "none",
            "--output",
            beir / "one.trec",
            "--json",
        )
    )
    (system,) = found["systems"]
    assert system["system"] == "XTR k'=5"
    assert system["measures"]["nDCG@10"] == 1.0
    assert (beir / "one.trec").exists()


def test_json_is_all_that_stands_on_standard_output(beir, tmp_path):
    ran = xtrkit("index", beir, tmp_path / "idx", "--json")
    assert json.loads(ran.stdout)["passages"] == 3
    assert ran.stderr == ""


def test_an_encoder_given_as_a_directory(beir, tmp_path, checkpoints, here):
    assert not here(
        "index", beir / "corpus.jsonl", tmp_path / "idx", "--model", checkpoints["xtr"], "--json"
    ).returncode
    assert json.loads(here("info", tmp_path / "idx", "--json").stdout)["encoder"]["layout"] == "xtr"
    assert "1. " in answer("search", tmp_path / "idx", "mice")
    ran = here("search", tmp_path / "idx", "mice", "--model", "default")
    assert ran.returncode == 1
    assert "was made with the model" in ran.stderr


@pytest.mark.parametrize("command", [(), ("index",), ("search",), ("evaluate",), ("info",), ("demo",)])
def test_help_teaches(command):
    shown = answer(*command, "--help", run=in_text if command else xtrkit)
    assert "Usage" in shown
    assert len(shown.splitlines()) > 8


def bad(tmp_path, index):
    """(arguments, what the sentence must say)"""
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jsonl").write_text('{"_id": "a", "text": "t"}\n{oops\n')
    (tmp_path / "latin.jsonl").write_bytes(b'{"_id": "a", "text": "caf\xe9"}\n')
    (tmp_path / "twice.tsv").write_text("a\tx\na\ty\n")
    new = tmp_path / "new"
    corpus = index.parent / "corpus.jsonl"
    return {
        "no collection": (("index", tmp_path / "nowhere", new), "There is no collection at"),
        "empty collection": (("index", tmp_path / "empty", new), "There is nothing to index"),
        "malformed line": (("index", tmp_path / "bad.jsonl", new), "line 2: not JSON"),
        "not UTF-8": (("index", tmp_path / "latin.jsonl", new), "line 1: byte 26 is not UTF-8"),
        "duplicate id": (("index", tmp_path / "twice.tsv", new), "The id 'a' comes twice"),
        "index exists": (("index", corpus, index), "exists already"),
        "index on a folder": (("index", corpus, tmp_path, "--overwrite"), "is not an index, so it is not overwritten"),
        "no model": (("index", corpus, new, "--model", tmp_path / "empty"), "empty"),
        "unknown model": (("index", corpus, new, "--model", "nosuchmodel"), "nosuchmodel"),
        "no index": (("search", tmp_path / "nowhere", "q"), "There is nothing at"),
        "not an index": (("search", tmp_path / "empty", "q"), "There is no index at"),
        "k of zero": (("search", index, "q", "-k", 0), "k must be a whole number of at least 1, got 0"),
        "k' of zero": (("search", index, "q", "--k-prime", 0), "k' must be a whole number of at least 1"),
        "threads of zero": (("search", index, "q", "--threads", 0), "threads must be a whole number of at least 1"),
        "empty query": (("search", index, ""), "A query must be a text with something in it"),
        "unknown scoring": (("search", index, "q", "--scoring", "bm25"), "Unknown scoring 'bm25'"),
        "unknown imputation": (("search", index, "q", "--imputation", "max"), "Unknown imputation 'max'"),
        "no dataset": (("evaluate", index, tmp_path / "empty"), "expected a BEIR folder"),
        "unknown measure": (("evaluate", index, index.parent, "--measures", "xyz"), "Unknown measure 'xyz'"),
        "unknown baseline": (("evaluate", index, index.parent, "--baseline", "tfidf"), "Unknown baseline"),
        "run into nowhere": (
            ("evaluate", index, index.parent, "-o", tmp_path / "no" / "r"),
            "is no folder that can be",
        ),
        "below a file": (("index", corpus, tmp_path / "twice.tsv" / "idx"), "is no folder that can be written to"),
        "a name too long": (("index", corpus, tmp_path / ("x" * 300)), "File name too long"),
        "measure without cut-off": (("evaluate", index, index.parent, "--measures", "R@0"), "Unknown measure 'R@0'"),
        "info of nothing": (("info", tmp_path / "nowhere"), "There is nothing at"),
    }


def test_every_mistake_is_one_sentence_without_traceback_and_leaves_nothing(tmp_path, index, here):
    before = sorted(path.name for path in index.iterdir())
    for number, (name, (arguments, message)) in enumerate(bad(tmp_path, index).items()):
        ran = here(*arguments) if number else xtrkit(*arguments)
        told = " ".join(ran.stderr.split())
        assert ran.returncode == 1, name
        assert told.count("Error: ") == 1, (name, told)
        assert message in told, (name, told)
        assert "Traceback" not in told, name
        assert ran.stdout == "", name
        assert not (tmp_path / "new").exists(), name
    assert sorted(path.name for path in index.iterdir()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "empty", "latin.jsonl", "twice.tsv"]
