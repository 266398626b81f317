"""The snippets of ``docs/moving.md``, a section's in its order."""

import json
import re

import pytest

from tests.conftest import ROOT
from tests.indexing.test_stanford import DOCLENS, write_stanford

PAGE = (ROOT / "docs" / "moving.md").read_text(encoding="utf-8")
SECTIONS = {
    heading.strip(): re.findall(r"```python\n(.*?)```", body, flags=re.DOTALL)
    for heading, _, body in (part.partition("\n") for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])
}
EXPECTED = {
    "From RAGatouille": ["1 wren ", "Whales do.", "6 text number 0"],
    "From one vector a text, and FAISS": ["Wrens are small", "Whales do."],
    "From PyLate": ["1 ", "2 ", "[[{'id': '", "[[{'id': '1'", "[[{'id': 'a'"],
    "From ColBERT": ["1 ", "[2", "(1, 1, "],
    "From Elasticsearch": ["2", "FacetCount(value='en', count=2)", "[('1', "],
}
"""What some of the lines that a section prints have in them, in order."""


@pytest.fixture
def old_index(tmp_path):
    """An index of Stanford's ColBERT with the files that RAGatouille puts beside it."""
    write_stanford(tmp_path / "old-index", 4)
    passages = range(sum(map(len, DOCLENS)))
    files = {
        "collection.json": [f"text number {place}" for place in passages],
        "pid_docid_map.json": {str(place): f"d{place // 2}" for place in passages},
        "docid_metadata_map.json": {"d0": {"lang": "en"}},
    }
    for name, content in files.items():
        (tmp_path / "old-index" / name).write_text(json.dumps(content))


@pytest.mark.parametrize("heading", [heading for heading in SECTIONS if SECTIONS[heading]])
def test_the_snippets_of_a_section_run(heading, old_index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = []
    names = {"print": lambda *values: lines.append(" ".join(map(str, values)))}
    for snippet in SECTIONS[heading]:
        exec(compile(snippet, "docs/moving.md", "exec"), names)
    left = iter(lines)
    for expected in EXPECTED.get(heading, []):
        assert any(expected in line for line in left), expected


def test_sections_have_snippets():
    for heading in EXPECTED:
        assert SECTIONS[heading]
