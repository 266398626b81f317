"""A folder of real files of many kinds: one command, a report that adds up, and an answer that names its page."""

import gzip
import json
import os
import shutil
import sysconfig
from collections import defaultdict
from functools import cache
from pathlib import Path
from random import Random

import pytest

from tests.conftest import ROOT
from tests.silence.made import paragraph, pdf, write_docx

SITE, STANDARD = Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("stdlib"))
KINDS = {
    ".py": STANDARD, ".txt": SITE, ".md": SITE, ".rst": SITE, ".json": SITE, ".csv": SITE, ".html": SITE, ".js": SITE,
    ".css": SITE, ".toml": SITE, ".parquet": SITE, ".pyi": SITE, "": SITE,
}  # fmt: skip
SMALLEST = 150
PAGES = ("The harbour master counts boats.", "Nets are mended in winter.", "The lighthouse is painted white every May.")


@cache
def files_below(root):
    """{suffix: files}, of a folder of a hundred thousand files that is gone through once."""
    found = defaultdict(list)
    for folder, _, names in os.walk(root):
        for name in names:
            found[os.path.splitext(name)[1]].append(Path(folder, name))
    return found


def found(suffix, root, wanted, largest):
    """Some real files of a kind, the same ones each time."""
    limit = 20_000 if suffix == ".parquet" else largest
    named = (path for path in files_below(root).get(suffix, []) if suffix or path.name == "LICENSE")
    there = sorted(path for path in named if path.is_file() and SMALLEST <= path.stat().st_size <= limit)
    Random(0).shuffle(there)
    return there[:wanted]


def fill(folder, each, largest):
    """Real files in folders of their kinds, and one of each kind that machines don't have."""
    for suffix, root in KINDS.items():
        for number, path in enumerate(found(suffix, root, each, largest)):
            target = folder / (suffix[1:] or "none") / f"{number:02d}-{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for name in ("glossary.md", "models.md"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((ROOT / "docs" / name).read_bytes()[: 2 * largest]))
    (folder / "port.pdf").write_bytes(pdf(*PAGES))
    write_docx(folder / "letter.docx", paragraph("Dear harbour master, the crane is broken."))
    (folder / "log.jsonl").write_text('{"id": "log-1", "text": "A storm came from the west."}\n')
    (folder / "crew.tsv").write_text("1\tThe cook comes from Ghent.\n2\tThe pilot comes from Bruges.\n")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "secret.txt").write_text("Nobody reads this.")
    (folder / "empty.txt").write_text(" \n")
    (folder / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")


@pytest.mark.parametrize(
    ("each", "largest"), [(2, 800), pytest.param(30, 4000, marks=pytest.mark.slow)], ids=["some", "two hundred"]
)
def test_a_folder_of_real_files(tmp_path, here, monkeypatch, checkpoints, each, largest):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "folder", each, largest)
    files = [path for path in (tmp_path / "folder").rglob("*") if path.is_file() and ".hidden" not in path.parts]
    assert len(files) > (190 if each > 10 else 20)
    ran = here("index", "folder", "idx", "--json")
    assert ran.returncode == 0, ran.stderr
    done = json.loads(ran.stdout)
    report = done["report"]
    assert len(report["files"]) >= 9  # all source code is one kind
    read, skipped = sum(report["files"].values()), report["skipped"]
    assert [one["file"].rstrip("/") for one in skipped if one["reason"] == "hidden"] == [".hidden"]
    assert read + len(skipped) - 1 == len(files)  # the hidden folder counts as one
    assert "image.png" in [one["file"] for one in skipped]
    assert "empty.txt" in report["empty"]
    assert report["bad"] == []
    assert done["documents"] == report["documents"] <= done["passages"]

    ran = here("search", "idx", "when is the lighthouse painted?", "-k", "1", "--json")
    (hit,) = json.loads(ran.stdout)["hits"]
    assert (hit["part"]["document"], hit["metadata"]["page"], hit["text"]) == ("port.pdf", 3, PAGES[2])
    shown = here("search", "idx", "when is the lighthouse painted?", "-k", "1").stdout
    assert "port.pdf" in shown
    assert "page: 3" in shown
    ran = here("search", "idx", "what is wrong with the crane?", "-k", "1", "--json")
    assert json.loads(ran.stdout)["hits"][0]["id"] == "letter.docx"

    if each < 10:
        told = here("index", "folder", "again", "--model", checkpoints["stanford"], "--no-split").stdout  # quicker
        assert f"Read {read:,} files: " in told
        assert f"Passed over {len(skipped):,}: " in told
        assert f"Left out {len(report['empty']):,} with nothing in them to be found (" in told


def test_the_fields_are_named_at_the_command_line(tmp_path, here, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("films.csv").write_text(
        "name,plot,year,code\nJaws,A shark hunts.,1975,a\nRan,A king goes mad.,1985,b\n", "cp1252"
    )
    named = ["--text-field", "plot", "--title-field", "name", "--id-field", "code", "--metadata-fields", "year"]
    for command in (["index", "films.csv", "idx"], ["add", "idx", "films.csv"], ["sync", ".", "synced"]):
        ran = here(*command, *named, "--encoding", "cp1252", "--json")
        assert ran.returncode == 0, ran.stderr
    for made in ("idx", "synced"):
        (hit,) = json.loads(here("search", made, "a shark", "-k", "1", "--json").stdout)["hits"]
        assert (hit["id"], hit["text"], hit["metadata"]) == ("a", "Jaws A shark hunts.", {"year": 1975})
    assert here("index", "", "none").returncode == 1
