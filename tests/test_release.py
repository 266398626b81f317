"""What a release is made of: docs/releasing.md's commands, run as they stand there on a copy of the tree."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.pages import blocks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILDING, BARE = [block for block in blocks("docs/releasing.md") if block.language == "sh"]
LEFT = {".ci/run", ".gitignore"}
"""What is of the repository, and of no use in an archive."""
OTHER_PACKAGES = "models/"


def run(code, folder):
    """Commands of the page, with the environment of these tests in the place of .venv."""
    script = code.replace(".venv/bin/", f"{Path(sys.executable).parent}/").replace("python3 -m", f"{sys.executable} -m")
    ran = subprocess.run(["bash", "-e", "-c", script], cwd=folder, capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def tracked():
    """The files of the repository, or None where this is no clone."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    return None if listed.returncode else set(listed.stdout.splitlines())


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the tree in which the archives were built and checked."""
    folder = tmp_path_factory.mktemp("release") / "source"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "xtrkit-demo", "build", "dist")
    shutil.copytree(ROOT, folder, ignore=ignored)
    said = run(BUILDING.code, folder)
    assert said.count("PASSED") == 2
    assert said.rstrip().endswith(".whl: OK")
    return folder


def test_the_wheel_holds_the_whole_package(source):
    """What users install, not the checkout: every module is in it, and nothing else."""
    (wheel,) = (source / "dist").glob("*.whl")
    assert wheel.name == f"xtrkit-{PROJECT['version']}-py3-none-any.whl"
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {
        path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "xtrkit").rglob("*") if path.is_file()
    }
    assert packed == {name for name in there if "__pycache__" not in name}
    assert "xtrkit/py.typed" in packed


def test_the_source_archive_holds_the_repository(source):
    files = tracked()
    if files is None:
        pytest.skip("this is no clone")
    (archive,) = (source / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    missing = {name for name in files - packed - LEFT if (ROOT / name).exists()}
    assert not {name for name in missing if not name.startswith(OTHER_PACKAGES)}
    assert not {name for name in packed if name.startswith(OTHER_PACKAGES)}


@pytest.mark.slow
def test_a_bare_environment_is_enough(source):
    """It installs what the wheel asks for, from where pip has its packages."""
    said = run(BARE.code, source)
    assert "No broken requirements found." in said
    assert "1. a  " in said


def test_the_citation_is_of_this_version():
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(told)  # what the format asks for
    assert (told["cff-version"], told["type"]) == ("1.2.0", "software")
    assert (told["version"], told["license"]) == (PROJECT["version"], PROJECT["license"])
    for work in (told, *told["references"]):
        assert all("name" in author or {"given-names", "family-names"} <= set(author) for author in work["authors"])


def test_the_changelog_tells_of_this_version():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert len(headings) == 1 or headings[1].startswith(f"{PROJECT['version']} – ")
