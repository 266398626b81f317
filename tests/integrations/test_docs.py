"""The snippets of ``docs/integrations.md``, a section's in its order, over the index that the page makes."""

import re
import shutil

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
SHARED = "What the adapters for applications share"
SECTIONS = {
    heading.strip(): re.findall(r"```python\n(.*?)```", body, flags=re.DOTALL)
    for heading, _, body in (part.partition("\n") for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])
}
EXPECTED = {
    "LangChain": [
        "moor 1902 ",
        "[Document(id='whale'",
        "Human: Answer from these passages:",
        "The hound was heard again.",
    ],
    "LlamaIndex": ["winter ", "hurdy-gurdy"],
    "Haystack": ["id=whale", "id=whale"],
    "DSPy": ["hunts the white whale", "a hound is heard at night"],
    "PyTerrier": ["bread", "moor", "XTR, then MaxSim"],
    "MTEB": ["1.0"],
    "sentence-transformers": ["dev_nDCG@10"],
    "ir_datasets": ["nDCG@10: 1", "doc_id='bread'"],
    "BEIR": ["bread"],
}
"""What some of the lines that a section prints have in them, in order."""


def run(snippets):
    """The lines that they print."""
    lines = []
    names = {"print": lambda *values: lines.append(" ".join(map(str, values)))}
    for snippet in snippets:
        exec(compile(snippet, "docs/integrations.md", "exec"), names)
    return lines


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The index that the page's sections search."""
    directory = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        run(SECTIONS[SHARED])
    return directory / "library"


@pytest.mark.parametrize("heading", [heading for heading in SECTIONS if SECTIONS[heading] and heading != SHARED])
def test_the_snippets_of_a_section_run(library, heading, tmp_path, monkeypatch):
    shutil.copytree(library, tmp_path / "library")
    monkeypatch.chdir(tmp_path)
    lines = iter(run(SECTIONS[heading]))
    for expected in EXPECTED.get(heading, []):
        assert any(expected in line for line in lines), expected


def test_every_framework_has_a_section_with_snippets():
    for heading in EXPECTED:
        assert SECTIONS[heading]


def test_the_extras_that_are_named_are_declared():
    declared = set(re.findall(r"^([a-z-]+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r'pip install "\.\[([a-z-]+)\]"', PAGE)) <= declared
