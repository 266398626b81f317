"""The documentation as a site: it builds without a warning, every page can be reached, every public name is told."""

import importlib
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import PurePosixPath

import pytest

import xtrkit
from tests.conftest import ROOT

TOLD_WHOLE = ("evaluation", "reranking", "training")
"""Packages whose public names are all in the reference."""

INSIDE = ("answering", "chunks", "corpus_index", "opening", "saying", "vectors")
"""Modules of the adapters and facades that are theirs alone."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(out)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    return out


def page(site, name):
    return (site / f"{name}.html").read_text(encoding="utf-8")


def names_of(site):
    """The names that the site's inventory has."""
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ", 1)[0] for line in zlib.decompress(packed).decode().splitlines()}


class Links(HTMLParser):
    """The targets and the anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.anchors = [], {""}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.add(given.get("id"))
        self.targets += [given[name] for name in ("href", "src") if given.get(name)]


def test_every_page_is_reached_from_the_first(site):
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.DOTALL)
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    there = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(listed) == sorted(there - {"index"})
    links = Links(page(site, "index")).targets
    assert {f"{name}.html" for name in listed} <= set(links)


def test_every_link_within_the_site_leads_somewhere(site):
    pages = {
        path.relative_to(site).as_posix(): Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    followed = 0
    for name, links in pages.items():
        for target in links.targets:
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            place = (site / name).parent / file.partition("?")[0] if file else site / name
            place = place.resolve()
            assert place.exists(), f"{name} links to {target}"
            if anchor and place.suffix == ".html":
                assert anchor in pages[place.relative_to(site.resolve()).as_posix()].anchors, (
                    f"{name} links to {target}"
                )
            followed += 1
    assert followed > 1000


def test_every_public_name_is_in_the_reference(site):
    names = names_of(site)
    assert {f"xtrkit.{name}" for name in xtrkit.__all__} <= names
    for package in TOLD_WHOLE:
        module = importlib.import_module(f"xtrkit.{package}")
        assert {f"xtrkit.{package}.{name}" for name in module.__all__} <= names
    assert "xtrkit.nothing" not in names


def test_adapters_and_facades_are_in_the_reference(site):
    """The public classes of each of their modules, which are read, not imported."""
    names = names_of(site)
    for path in [*ROOT.glob("src/xtrkit/integrations/*.py"), *ROOT.glob("src/xtrkit/compat/**/*.py")]:
        if path.name == "__init__.py" or path.stem in INSIDE:
            continue
        module = PurePosixPath(path.relative_to(ROOT / "src").as_posix()).with_suffix("")
        assert f"{'.'.join(module.parts)}" in names, f"{path.name} is not in docs/api.md"


def test_pages_stand_for_files_outside(site):
    assert "Keep a Changelog" in page(site, "changelog")
    assert "The slow twin first" in page(site, "contributing")
    assert "xtrkit sync FOLDER INDEX" in re.sub("<[^>]+>", "", page(site, "readme"))
    guide = Links(page(site, "guide")).targets
    assert "readme.html" in guide
    assert "../README.md" not in guide


def test_notebooks_show_what_came_of_them(site):
    notes = page(site, "tutorials/search_your_notes")
    assert 'class="xtrkit output"' in notes  # a hit that shows itself
    assert "eighty degrees" in notes
    assert any(target.endswith("search_your_notes.ipynb") for target in Links(notes).targets)
    assert "of 48 before" in page(site, "tutorials/fine_tune_on_clicks")
    assert "../fine_tune_on_clicks.html" not in page(site, "tutorials/explain_a_failure")
    assert "fine_tune_on_clicks.html" in Links(page(site, "tutorials/explain_a_failure")).targets


def test_a_broken_link_fails(tmp_path):
    """The test of the build can fail."""
    (tmp_path / "conf.py").write_text('extensions = ["myst_parser"]\n')
    (tmp_path / "index.md").write_text("# A page\n\n[nothing](nothing.md)\n")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(tmp_path), str(tmp_path / "out")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode != 0
    assert "nothing" in ran.stderr
