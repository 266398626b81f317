"""The guide's snippets, in its order and in one directory, and the first ten lines of a stranger."""

import re
import subprocess
import sys

from tests.conftest import ROOT


def test_every_snippet_of_the_guide_runs(tmp_path, monkeypatch):
    guide = ROOT / "docs" / "guide.md"
    snippets = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(snippets) >= 10
    monkeypatch.chdir(tmp_path)
    shown, names = [], {"print": lambda *values: shown.append(values)}
    for snippet in snippets:
        exec(compile(snippet, str(guide), "exec"), names)
    said = [" ".join(map(str, values)) for values in shown]
    assert said[0].startswith("2 ")
    assert any(line.startswith("why does bread rise? → Bread rises") for line in said)
    assert any(line.startswith("tt3 ") and "'lang': 'fr'" in line and "'year': 1990" in line for line in said)
    assert any(line.startswith("log.txt Part(document='log.txt'") for line in said)
    assert "['tt1', 'tt3', 'tt4'] ['A captain hunts a white whale.']" in said
    assert said.count("True") == 2  # verified, and the explanation adds up
    assert "Whales breathe air." in said
    assert said[-1].endswith("{'lang': 'de'}")


def test_the_first_ten_lines_of_a_stranger(tmp_path):
    example = ROOT / "examples" / "first_ten_lines.py"
    code = [line for line in example.read_text(encoding="utf-8").splitlines() if line and line[0] not in '"#']
    assert len(code) <= 14
    ran = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found, why, without, again = ran.stdout.splitlines()
    name = found.split()[0]
    assert name.startswith("Bergen-wine-18")
    assert {"wine", "bergen"} <= {part.split("=")[0] for part in why.split()}
    assert name not in without
    assert name in again
