"""What importing costs: no torch for searching, half a second for the package, no cycle."""

import pkgutil
import subprocess
import sys

import pytest

import xtrkit

SEARCH_WITHOUT_TORCH = """
import sys, tempfile, numpy as np
import xtrkit
index = xtrkit.Index.create(tempfile.mkdtemp() + "/idx", [[np.eye(8, dtype=np.float32)]])
assert len(index.search(np.eye(8, dtype=np.float32)[:2])) == 1
assert xtrkit.Retriever and xtrkit.load_encoder
"""
NOTHING_OF_TORCH = """
loaded = {name.partition(".")[0] for name in sys.modules} & {"torch", "transformers", "sentence_transformers"}
sys.exit(f"loaded {loaded}" if loaded else 0)
"""


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)


def test_searching_needs_no_torch():
    ran = run_python(SEARCH_WITHOUT_TORCH + NOTHING_OF_TORCH)
    assert ran.returncode == 0, ran.stderr


def test_the_test_above_can_fail():
    ran = run_python("import sys, torch\n" + NOTHING_OF_TORCH)
    assert ran.returncode == 1
    assert "loaded {'torch'}" in ran.stderr


def test_the_package_itself_loads_nothing_heavy():
    ran = run_python(
        "import sys, xtrkit\n"
        "assert not {'numba', 'numpy', 'torch', 'rich', 'typer'} & set(sys.modules), sorted(sys.modules)\n"
    )
    assert ran.returncode == 0, ran.stderr


def test_help_loads_neither_kernels_nor_torch():
    ran = run_python(
        "import sys\n"
        "sys.argv = ['xtrkit', 'search', '--help']\n"
        "from xtrkit.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'numba', 'torch', 'sentence_transformers'} & set(sys.modules)\n"
    )
    assert ran.returncode == 0, ran.stderr


def test_the_public_names():
    assert xtrkit.__all__ == sorted(xtrkit.__all__, key=lambda name: (not name.isupper(), name))
    assert len(xtrkit.__all__) <= 16
    for name in xtrkit.__all__:
        assert name.isupper() or getattr(xtrkit, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xtrkit.nothing


def module_names():
    return sorted(
        module.name for module in pkgutil.walk_packages(xtrkit.__path__, "xtrkit.") if "__main__" not in module.name
    )


FORGET = """
import sys

def forget():
    \"\"\"As if nothing of xtrkit had been imported; what it stands on stays, to be quick.\"\"\"
    for loaded in [name for name in sys.modules if name.partition(".")[0] == "xtrkit"]:
        del sys.modules[loaded]
"""


def test_every_module_can_be_imported_first():
    """Import cycles show only in the module that comes first: each is the first once."""
    code = (
        "import importlib\n"
        f"for name in {module_names()!r}:\n"
        "    forget()\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except BaseException as error:\n        sys.exit(f'{name}: {error!r}')\n"
    )
    ran = run_python(FORGET + code)
    assert ran.returncode == 0, ran.stderr


def test_the_test_above_can_fail_too(tmp_path):
    """One module of a cycle can be imported first, the other can't."""
    package = tmp_path / "xtrkit"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from xtrkit.b import B\nA = 1\n")
    (package / "b.py").write_text("import xtrkit.c\nB = 2\n")
    (package / "c.py").write_text("from xtrkit.b import B\n")
    code = f"{FORGET}\nsys.path.insert(0, {str(tmp_path)!r})\nimport xtrkit.c\nforget()\nimport xtrkit.b\n"
    ran = run_python(code)
    assert ran.returncode == 1
    assert "partially initialized module 'xtrkit.b'" in ran.stderr
