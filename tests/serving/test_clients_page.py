"""The snippets of ``docs/clients.md``, run against a real server."""

import gc
import json
import re
import shutil

import dspy
import pytest

from tests.conftest import ROOT
from tests.serving.server import Server

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
READING = [snippet for snippet in SNIPPETS if "the write key" not in snippet]
WRITING = [snippet for snippet in SNIPPETS if "the write key" in snippet]


def run(snippet, url):
    """What a snippet prints."""
    shown = []
    code = snippet.replace("http://127.0.0.1:8000", url)
    exec(compile(code, "docs/clients.md", "exec"), {"print": lambda *values: shown.append(values)})
    return shown


def test_there_are_snippets_of_both_kinds():
    assert (len(READING), len(WRITING)) == (8, 1)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("snippet", READING, ids=range(len(READING)))
def test_what_reads(server, snippet):
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    assert run(snippet, server.url)
    gc.collect()  # what a snippet leaves open is collected here, and not within another test


def test_what_writes(made_index, tmp_path):
    shutil.copytree(made_index, tmp_path / "copy")
    with Server(tmp_path, tmp_path / "copy", write_key="the-write-key") as running:
        ((generation, added, ids),) = run(WRITING[0].replace("the write key", "the-write-key"), running.url)
    assert (generation, added, ids) == (2, 1, ["zeppelins"])


def test_configurations_are_json():
    first, second = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL))
    assert first["mcpServers"]["notes"]["args"][0] == "mcp"
    assert second["mcpServers"]["notes"]["url"].endswith("/mcp")
