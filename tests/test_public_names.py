"""Every name of xtrkit in the documents can be reached as a user would: by attribute, and by from-import."""

import re

import pytest

from tests.conftest import ROOT
from tests.test_imports import run_python

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = ("json", "md", "py", "toml", "yaml")

FORGET = """
import sys

def forget():
    \"\"\"As if nothing of xtrkit had been imported; what it stands on stays, to be quick.\"\"\"
    for loaded in [name for name in sys.modules if name.partition(".")[0] == "xtrkit"]:
        del sys.modules[loaded]
"""
BY_ATTRIBUTE = """
def reach(name):
    import xtrkit

    found = xtrkit
    for part in name.split(".")[1:]:
        found = getattr(found, part)
"""
BY_FROM_IMPORT = """
import types
from importlib import import_module

def reach(name):
    \"\"\"Of a method it is the class that is imported.\"\"\"
    module, *parts = name.split(".")
    for place, part in enumerate(parts):
        into = {}
        exec(f"from {module} import {part}", into)
        if not isinstance(into[part], types.ModuleType):
            break
        module += f".{part}"
    found = into[part]
    for part in parts[place + 1 :]:
        found = getattr(found, part)
"""
EACH_FIRST = """
for name in {names!r}:
    forget()
    reach(name)
"""


def names_in(text):
    """What code in a Markdown text calls xtrkit.something, or imports from it; shell lines are code too."""
    code = "\n".join(
        [*re.findall(r"^```.*?^```", text, flags=re.DOTALL | re.MULTILINE), *re.findall(r"`[^`\n]+`", text)]
    )
    found = set(re.findall(r"(?<![\w./-])xtrkit(?:\.[A-Za-z]\w*)+", code))
    for module, imported in re.findall(r"from (xtrkit[\w.]*) import (\w+(?: as \w+)?(?:, \w+(?: as \w+)?)*)", code):
        found |= {f"{module}.{name.split()[0]}" for name in imported.split(", ")}
    return {name for name in found if name.rpartition(".")[2] not in FILES}


def documented_names():
    return sorted({name for path in DOCUMENTS for name in names_in(path.read_text(encoding="utf-8"))})


def test_what_counts_as_a_name():
    text = "`xtrkit.json`, `xtrkit index`, `xtrkit.a.b`, xtrkit.c\n```sh\nxtrkit index xtrkit.d(1)\nsrc/xtrkit.e\n```\n"
    assert names_in(text) == {"xtrkit.a.b", "xtrkit.d"}
    assert names_in("`from xtrkit.a import b as c, d`") == {"xtrkit.a", "xtrkit.a.b", "xtrkit.a.d"}


def test_the_documents_name_the_facade_and_the_training():
    assert {"xtrkit.Retriever.open", "xtrkit.Index.create", "xtrkit.training.train"} <= set(documented_names())


def test_every_documented_name_can_be_reached_by_attribute_and_by_from_import():
    names = documented_names()
    first_of_each = {name.rpartition(".")[0]: name for name in reversed(names)}.values()
    each_first = EACH_FIRST.format(names=sorted(first_of_each))
    every = f"for name in {names!r}:\n    reach(name)\n"
    ran = run_python(f"{FORGET}{BY_ATTRIBUTE}{each_first}\n{every}\nforget()\n{BY_FROM_IMPORT}\n{every}")
    assert ran.returncode == 0, ran.stderr


def test_packages_load_what_they_export_when_it_is_asked_for():
    ran = run_python(
        "import sys, xtrkit\n"
        "packages = [xtrkit.training, xtrkit.encoding, xtrkit.reranking, xtrkit.unified, xtrkit.evaluation]\n"
        "packages += [xtrkit.kernels, xtrkit.scoring, xtrkit.indexing, xtrkit.storage, xtrkit.reproduction]\n"
        "assert not {'numba', 'numpy', 'torch'} & set(sys.modules), sorted(sys.modules)\n"
        "for package in packages:\n"
        "    for name in getattr(package, '__all__', []):\n"
        "        assert name in dir(package) and getattr(package, name) is not None, name\n"
        "assert 'training' in dir(xtrkit) and 'run' in dir(xtrkit.training)\n"
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ["xtrkit.nothing", "xtrkit.training.nothing", "xtrkit.__main__", "xtrkit._homes"])
def test_names_that_are_not_there(name):
    ran = run_python(f"import xtrkit\n{name}\n")
    package, _, attribute = name.rpartition(".")
    assert f"AttributeError: module '{package}' has no attribute '{attribute}'" in ran.stderr
