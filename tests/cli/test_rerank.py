"""``xtrkit search --rerank`` and ``xtrkit rerank``, as people run them."""

import json

import pytest
from typer.testing import CliRunner

from tests.cli.test_cli import CORPUS, beir  # noqa: F401 (fixture)
from tests.commands import in_text
from xtrkit.cli.app import app
from xtrkit.errors import InputError
from xtrkit.evaluation.run_files import read_run, write_run
from xtrkit.reranking import load_reranker
from xtrkit.retriever import Retriever

TEXTS = {passage["_id"]: f"{passage['title']} {passage['text']}".strip() for passage in CORPUS}


def in_process(*arguments):
    """A command without the seconds that a new process takes to load torch; it must succeed."""
    ran = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.fixture(scope="module")
def index(beir, encoders):  # noqa: F811
    Retriever.create(beir / "reranked", beir, model=encoders["default"])
    return beir / "reranked"


@pytest.fixture
def run(tmp_path):
    write_run({"q1": [("cats", 2.0), ("mice", 1.0), ("bread", 0.5)], "q2": [("bread", 1.0)]}, tmp_path / "first.trec")
    return tmp_path / "first.trec"


def test_search_can_rerank(index, rerankers):
    monot5 = rerankers["monot5"]
    hits = json.loads(in_process("search", index, "what is late", "--rerank", monot5, "--rerank-depth", 3, "--json"))[
        "hits"
    ]
    scores = {name: float(load_reranker(monot5).score("what is late", [text])[0]) for name, text in TEXTS.items()}
    assert [hit["id"] for hit in hits] == sorted(scores, key=lambda name: -scores[name])
    assert hits[0]["score"] == pytest.approx(max(scores.values()), abs=1e-4)


def test_a_run_is_reranked(run, beir, rerankers):  # noqa: F811
    output = run.with_name("second.trec")
    shown = in_process("rerank", run, beir, "--model", rerankers["monot5"], "--output", output, "--depth", 2)
    assert f"Wrote {output}: 2 queries" in shown
    again = read_run(output)
    scores = load_reranker(rerankers["monot5"]).score("what do mice eat", [TEXTS["cats"], TEXTS["mice"]])
    expected = sorted(zip(["cats", "mice"], scores.tolist(), strict=True), key=lambda entry: -entry[1])
    assert [document for document, _ in again["q1"]] == [document for document, _ in expected]
    assert [score for _, score in again["q1"]] == pytest.approx([score for _, score in expected], abs=1e-5)
    assert [document for document, _ in again["q2"]] == ["bread"]


def test_a_run_stays_as_it_is(run, beir):  # noqa: F811
    before = run.read_bytes()
    for output, sentence in ((run, "which is read"), ("/dev/stdout", "is where the summary is printed")):
        ran = in_text("rerank", run, beir, "--model", "none", "--output", output)
        assert ran.returncode == 1
        assert sentence in ran.stderr
    assert run.read_bytes() == before


def test_an_mt5_is_told_its_words(run, beir, rerankers):  # noqa: F811
    output = run.with_name("second.trec")
    options = ("--model", rerankers["mt5"], "--tokens", "▁no", "▁yes", "--output", output, "--json")
    assert json.loads(in_process("rerank", run, beir, *options))["queries"] == 2
    scores = load_reranker(rerankers["mt5"], tokens=("▁no", "▁yes")).score("baking", [TEXTS["bread"]])
    assert read_run(output)["q2"] == [("bread", pytest.approx(float(scores[0]), abs=1e-5))]


def test_a_run_of_another_collection(tmp_path, beir, rerankers):  # noqa: F811
    path, options = tmp_path / "first.trec", ("--model", rerankers["monot5"], "--output", tmp_path / "second.trec")
    for ranking, message in (({"q9": [("cats", 1.0)]}, "query 'q9'"), ({"q1": [("dogs", 1.0)]}, "document 'dogs'")):
        write_run(ranking, path)
        with pytest.raises(InputError, match=f"names the {message}, which .* does not have"):
            in_process("rerank", path, beir, *options)
    assert not (tmp_path / "second.trec").exists()


def test_an_encoder_can_not_rerank(index, checkpoints):
    ran = in_text("search", index, "mice", "--rerank", checkpoints["xtr"])
    assert ran.returncode == 1
    assert "is no reranker but an encoder" in ran.stderr
    assert "Traceback" not in ran.stderr
