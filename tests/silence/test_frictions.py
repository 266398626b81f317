"""What stands in the way of a first hour: snippets, names of recipes, log files, install commands, other systems."""

import json
import re
import subprocess
import sys
import time
from importlib.metadata import requires

import pytest

import xtrkit
from tests.commands import in_text, streams
from tests.conftest import ROOT
from xtrkit import progress
from xtrkit.encoding.base import Token
from xtrkit.errors import InputError, MissingExtraError, missing_extra
from xtrkit.explain import Match
from xtrkit.hits import Hit


def own_process(*arguments, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    place = tmp_path_factory.mktemp("frictions")
    filler = "Nothing of note was said about anything at all that day. " * 12
    passages = [
        {
            "id": "cats",
            "text": filler + "In the end the volcano erupted over Iceland. " + filler,
            "metadata": {"page": 3},
        },
        {"id": "mice", "text": "Mice eat cheese.", "metadata": {"headings": "Animals > Small"}},
        {"id": "owls", "text": "Owls hunt at night."},
    ]
    (place / "c.jsonl").write_text("\n".join(json.dumps(passage) for passage in passages))
    xtrkit.Retriever.create(place / "idx", place / "c.jsonl")
    return place / "idx"


# Snippets


def hit(text, *matched):
    """A hit of which some words matched, each with a similarity."""
    found = [(text.index(word), word, similarity) for word, similarity in matched]
    return Hit(
        "1", 1.0, text, 1,
        matches=[Match(Token("q", 0, 1), s, Token(word, at, at + len(word))) for at, word, s in found],
    )  # fmt: skip


def test_the_snippet_is_where_most_matched():
    text = "weak " + "x y " * 200 + "alpha beta gamma " + "z w " * 200 + "strong"
    snippet = hit(text, ("weak", 0.5), ("alpha", 0.4), ("gamma", 0.4), ("strong", 0.7)).snippet(80)
    assert [snippet.text[begin:end] for begin, end in snippet.matched] == ["alpha", "gamma"]
    assert snippet.text.startswith("…")
    assert snippet.text.endswith("…")
    assert snippet.text.strip("…") == text[snippet.first : snippet.last]
    assert snippet.last - snippet.first <= 80


@pytest.mark.parametrize("length", [1, 5, 12, 30, 79, 1000])
@pytest.mark.parametrize(
    "text", ["one two three four five six seven", "無限の猿が無限の時間を与えられた場合", "a\n\n  b\tc" * 9]
)
def test_snippets_of_any_length_are_of_the_text(text, length):
    words = re.findall(r"\w+", text)
    for found in (hit(text), hit(text, (words[-1][-1:], 0.9)), hit(text, (words[0], 0.2))):
        snippet = found.snippet(length)
        assert snippet.text.removeprefix("…" if snippet.first else "").removesuffix("…") in text
        assert 0 <= snippet.first < snippet.last <= len(text)


def test_a_snippet_is_cut_between_words_and_marks_whole_words():
    text = "unbelievable things happened " * 20
    snippet = hit(text, ("liev", 0.9)).snippet(50)
    assert snippet.text == "unbelievable things happened unbelievable things…"
    assert snippet.matched == ((0, 12),)


def test_without_a_text_or_with_a_senseless_length():
    assert Hit("1", 1.0, None, 1).snippet() is None
    with pytest.raises(InputError, match="must be a whole number of at least 1, got 0"):
        Hit("1", 1.0, "text", 1).snippet(0)


def test_the_command_shows_the_matched_place(index):
    shown = in_text("search", index, "volcano eruption in Iceland", "-k", 1).stdout
    assert "volcano erupted over Iceland" in shown
    assert "matched in the passage" not in shown
    assert "page: 3" in shown
    assert "headings: Animals > Small" in in_text("search", index, "mice", "-k", 1).stdout
    found = json.loads(in_text("search", index, "volcano eruption in Iceland", "-k", 1, "--json").stdout)["hits"][0]
    assert "volcano erupted over Iceland" in found["snippet"]["text"]
    assert found["matches"] is None


# Options


def test_ranks_go_on_after_an_offset(index):
    every = json.loads(in_text("search", index, "mice", "--json").stdout)["hits"]
    rest = json.loads(in_text("search", index, "mice", "-k", 1, "--offset", 1, "--json").stdout)
    assert (rest["offset"], rest["hits"]) == (1, every[1:2])
    assert "Nothing was found beyond rank 3." in in_text("search", index, "mice", "--offset", 50).stdout
    assert in_text("search", index, "mice", "--offset", -1).stderr == "Error: --offset must be 0 or more, got -1.\n"


def test_recipes_have_names_and_options_go_before_them(index):
    def recipe(*options):
        return json.loads(in_text("search", index, "mice", "--json", *options).stdout)["recipe"]

    assert recipe("--recipe", "ColXTR") == vars(xtrkit.COLXTR)
    assert recipe("--recipe", "colxtr", "--nprobe", 32) == vars(xtrkit.COLXTR.but(nprobe=32))  # though 32 is XTR's
    assert recipe("--recipe", "colbertv2", "--exact") == vars(xtrkit.COLBERT.but(nprobe="all"))
    said = in_text("search", index, "mice", "--recipe", "plaid")
    assert (said.returncode, said.stderr) == (
        1, "Error: Unknown recipe 'plaid': there are xtr, colxtr, colbert, colbertv2.\n"
    )  # fmt: skip


def test_the_version():
    assert own_process("-m", "xtrkit", "--version").stdout == in_text("-V").stdout == "xtrkit 0.1.0\n"


@pytest.mark.parametrize("options", [["-h"], ["search", "-h"], ["warm-up", "-h"], ["ur2n", "-h"]])
def test_help_has_a_short_name(options):
    assert "Usage" in in_text(*options).stdout


# Log files


def told_of_work(total, done, pause):
    """What a log file gets of eight steps."""
    with (
        streams() as (_, err),
        progress.progress_bar("Encoding", total, shown=True, unit="passages", done=done) as advance,
    ):
        for _ in range(8):
            time.sleep(pause)
            advance(128)
    return err.getvalue().decode()


@pytest.mark.parametrize(
    ("work", "line"),
    [
        ({"total": 5183, "done": 0, "pause": 0.1}, r"Encoding: \d+ of 5,183 passages \(\d+ %\), 0:0\d left"),
        ({"total": 2048, "done": 1024, "pause": 0.1}, r"Encoding: 1,\d+ of 2,048 passages \(\d\d %\), 0:0\d left"),
        ({"total": None, "done": 0, "pause": 0.1}, r"Encoding: \d+ passages"),
    ],
)
def test_a_log_file_gets_a_line_now_and_then(monkeypatch, work, line):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.3)
    lines = told_of_work(**work).splitlines()
    assert 2 <= len(lines) <= 4
    assert all(re.fullmatch(line, said) for said in lines[:-1])
    assert lines[-1].endswith(", took 0:01")


def test_a_log_file_gets_nothing_of_what_is_quick():
    assert told_of_work(total=1024, done=0, pause=0) == ""


# Installing


def test_no_message_names_an_index_of_packages():
    sources = {path: path.read_text() for path in (ROOT / "src" / "xtrkit").rglob("*.py")}
    assert not [
        str(path) for path, source in sources.items() if re.search(r"xtrkit\[\w", source) and path.name != "errors.py"
    ]
    assert not re.search(r"pip install (?!models/)\S*xtrkit", (ROOT / "README.md").read_text())


EXTRAS = sorted(set(re.findall(r"extra == ['\"](\w+)['\"]", "\n".join(requires("xtrkit") or []))))


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_is_told_as_packages(extra):
    assert re.fullmatch(
        rf"Reading needs the extra '{extra}': run pip install \"(?!xtrkit)[^\"]+\"( \"(?!xtrkit)[^\"]+\")*",
        str(missing_extra("Reading", extra)),
    )


@pytest.mark.parametrize(
    ("blocked", "code", "said"),
    [
        (
            "ir_measures",
            "from xtrkit.evaluation.measures import parse_measures as p; p('RR')",
            "Evaluation needs the extra 'eval'",
        ),
        (
            "bm25s",
            "from xtrkit.evaluation.bm25 import libraries as l; l()",
            "BM25 needs the extra 'eval'",
        ),
        (
            "matplotlib",
            "from xtrkit.reproduction.outcome import draw as d; d([], None)",
            "Drawing pictures needs the extra 'plots'",
        ),
        (
            "yaml",
            "from xtrkit.reproduction.record import _yaml as y; y()",
            "Reading records of claims needs the extra 'train'",
        ),
    ],
)
def test_what_is_not_installed_is_said_with_a_command_that_works(monkeypatch, blocked, code, said):
    monkeypatch.setitem(sys.modules, blocked, None)
    with pytest.raises(MissingExtraError, match=f'^{said}: run pip install "'):
        exec(code, {})


# Systems without file locks


WITHOUT_LOCKS = """
import os, sys
sys.modules["fcntl"] = None
import numpy, numba, typer, rich
for arguments in {commands!r}:
    child = os.fork()
    if not child:
        sys.argv = ["xtrkit", *arguments]
        from xtrkit.cli import main
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=sys.stderr)
import xtrkit
for kind in ("Index", "Retriever"):
    try:
        getattr(xtrkit, kind).open("idx")
    except xtrkit.XtrkitError as error:
        print(error)
"""


def test_without_file_locks_there_is_one_sentence(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("Mice eat cheese.")
    commands = [["info", "idx"], ["search", "idx", "mice"], ["index", "notes", "idx"], ["compact", "idx"]]
    ran = own_process("-W", "ignore", "-c", WITHOUT_LOCKS.format(commands=commands), cwd=tmp_path)
    told = ran.stderr.splitlines()
    assert len(told) == 2 * len(commands)
    assert set(told[1::2]) == {"1"}
    for sentence in told[::2]:
        assert sentence.startswith("Error: An index needs POSIX file locks (Python's module fcntl)")
    from_the_library = ran.stdout.splitlines()
    assert len(from_the_library) == 2
    assert all(sentence.startswith("An index needs POSIX file locks") for sentence in from_the_library)


def test_the_snippets_of_the_training_page_can_be_run():
    page = (ROOT / "docs" / "training.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {*re.findall(r"xtrkit\.training\.(\w+)", page), "train"}
    checked = "\n".join(f"import inspect; xtrkit.training.{name}" for name in sorted(names))
    call = re.search(r"train\((.*)\)", code)[1]
    exec(f"import xtrkit.training\n{checked}\ninspect.signature(xtrkit.training.train).bind({call})", {})
