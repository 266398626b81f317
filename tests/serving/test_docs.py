"""The lines of docs/serving.md that ask a server, as they stand there, against a server of the index they name."""

import json
import re
import subprocess

import pytest

from tests.conftest import ROOT
from tests.serving.server import Server
from xtrkit import Passage, Retriever

TEXT = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = [block for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL) if "curl" in block]
SOME = {
    "subprocess.run": "subprocess.run: run a shell command with arguments and wait for it to complete.",
    "shutil.move": "shutil.move: recursively move a file or directory to another location.",
    "shutil.copy": "shutil.copy: copy a file and its permission bits.",
    "collections.Counter": "collections.Counter: count words and other hashable items of a list.",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    directory = tmp_path_factory.mktemp("docs")
    passages = [Passage(name, text) for name, text in SOME.items()]
    Retriever.create(directory / "xtrkit-demo", passages).close()
    with Server(directory, directory / "xtrkit-demo", read_key="read" * 8, write_key="write" * 8) as running:
        yield running, directory


def run(block, served):
    """What the commands of a block print, one after the other."""
    server, directory = served
    script = block.replace("http://127.0.0.1:8000", server.url).replace("curl ", "curl -sS --fail-with-body ")
    if "key" not in block:  # these lines are for a server without keys
        script = script.replace("curl ", f"curl -H 'X-API-Key: {server.read_key}' ")
    ran = subprocess.run(["bash", "-e", "-c", script], cwd=directory, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_there_are_such_lines():
    assert len(BLOCKS) == 6


def test_the_lines_work_as_pasted(served):
    """One block after the other: some delete what those before them find."""
    expected = ["subprocess.run", '"results":', "shutil.move", "shutil.copy", '"ids":["notes/lava"', "event: done"]
    for block, wanted in zip(BLOCKS, expected, strict=True):
        assert wanted in run(block, served)


def test_the_limits_that_are_named_are_the_limits():
    from xtrkit.serving.settings import Limits

    told, told_here = Limits(), TEXT.partition("| limit | |")[2].partition("## Running it")[0]
    for number in (told.k, told.depth, told.queries, told.query_characters, told.documents, told.ids, told.changes):
        assert f"{number:,}" in told_here
    for number in (told.json_depth, told.queue, told.connections, told.streams, int(told.deadline_seconds)):
        assert re.search(rf"\b{number}\b", told_here)
    assert f"{told.search_bytes >> 20} MiB; {told.write_bytes >> 20} MiB" in told_here
    assert f"{told.header_bytes >> 10} KiB, complete after {told.header_seconds:g} s" in told_here
    assert f"{told.body_seconds:g} s, and 1 s for each {told.body_pace >> 10} KiB" in told_here
    assert f"more than {told.inline_documents} documents or {told.inline_characters:,} characters" in TEXT
    assert f"requests at work have {told.stop_seconds:g} s" in TEXT


def test_every_option_that_is_named_is_one():
    from typer.main import get_command

    from xtrkit.cli.app import app

    told = "".join(part for part in TEXT.split("\n## ") if not part.startswith("Measured"))  # of a benchmark's options
    named = set(re.findall(r"--[a-z][a-z-]+", told))
    assert "--read-key-file" in named
    assert named <= {option for parameter in get_command(app).commands["serve"].params for option in parameter.opts}


def test_the_answer_in_the_documentation_is_json(served):
    json.loads(run(BLOCKS[0], served))
