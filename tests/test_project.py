"""The project itself: its checkers pass, and its documents say what is true."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.pages import blocks, run_python

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINT_IMPORTS = "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"


@pytest.mark.parametrize(
    "arguments",
    [("-m", "ruff", "check"), ("-m", "ruff", "format", "--check"), ("-m", "mypy"), ("-c", LINT_IMPORTS)],
    ids=["ruff check", "ruff format", "mypy", "import contracts"],
)
def test_checkers_pass(arguments):
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_exactly_the_readmes_test_command():
    (command,) = re.findall(r"^.*-m pytest$", readme(), flags=re.MULTILINE)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_readmes_python_examples_run(tmp_path, monkeypatch):
    """Its code as it stands, on real indexes."""
    monkeypatch.chdir(tmp_path)
    vectors = np.eye(8, dtype=np.float32)
    names = {"batches": [[vectors[:3], vectors[3:]]], "ids": ["an id", "b"], "query": vectors[:2]}
    names["embeddings"] = [vectors[2:5]]
    first, *others = [block for block in blocks("README.md") if block.language == "python"]
    assert run_python(first, names)[0].startswith("a ")
    for block in others:
        run_python(block, names)


def test_every_command_is_in_the_readme():
    from xtrkit.cli.app import app

    for command in app.registered_commands:
        assert f"xtrkit {command.name or command.callback.__name__}" in readme()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_paper_map_names_what_there_is():
    text = (ROOT / "docs" / "paper-map.md").read_text(encoding="utf-8")
    names = re.findall(r"`(xtrkit(?:\.\w+)+)`", text)
    assert len(names) > 10
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(tests) > 10
    for file, function in tests:
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8"), (file, function)


def test_the_example_prints_a_ranking():
    example = Path("examples") / "xtr_in_one_page.py"
    ran = subprocess.run(
        [sys.executable, str(example)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0].split("document ")[1].startswith("3:")
