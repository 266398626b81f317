"""What importing costs: no torch for searching, half a second for the package, no cycle."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

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
    assert len(xtrkit.__all__) <= 17
    for name in xtrkit.__all__:
        assert name.isupper() or getattr(xtrkit, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xtrkit.nothing


def imports_of(root):
    """{module: modules of the package that importing it imports}, with the packages that they are in; not what
    functions import when they run, nor what is there for types alone."""
    files = {path: ".".join(path.relative_to(root.parent).with_suffix("").parts) for path in root.rglob("*.py")}
    names = {name.removesuffix(".__init__") for name in files.values()}
    graph = {}
    for path, file_name in files.items():
        name = file_name.removesuffix(".__init__")
        found = graph.setdefault(name, set())
        statements = list(ast.parse(path.read_text(encoding="utf-8")).body)
        while statements:
            one = statements.pop()
            if isinstance(one, ast.ImportFrom) and one.module:
                inside = {f"{one.module}.{alias.name}" for alias in one.names} & names
                found |= inside or {one.module} & names
            elif isinstance(one, ast.Import):
                found |= {alias.name for alias in one.names} & names
            elif isinstance(one, ast.If) and "TYPE_CHECKING" in ast.unparse(one.test):
                statements += one.orelse
            elif isinstance(one, ast.If | ast.Try | ast.With | ast.ClassDef):
                statements += [child for child in ast.iter_child_nodes(one) if isinstance(child, ast.stmt)]
        packages = {parent for module in found for parent in parents_of(module)}
        graph[name] = (found | packages) - {name, *parents_of(name)} | (found & set(parents_of(name)))
    return graph


def parents_of(name):
    """The packages that a module is in, which are imported before it."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def test_no_module_imports_one_that_imports_it():
    """A cycle shows only in the module of it that is imported first: so none may be there at all."""
    graph = imports_of(Path(xtrkit.__file__).parent)
    assert len(graph) > 250
    assert "xtrkit.search.engine" in graph["xtrkit.retriever"]
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)


def test_the_test_above_can_fail_too(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from package.b import B\nA = 1\n")
    (package / "b.py").write_text("try:\n    import package.c\nexcept ImportError:\n    pass\nB = 2\n")
    (package / "c.py").write_text("def later():\n    from package.b import B\n")
    graphlib.TopologicalSorter(imports_of(package)).prepare()
    (package / "c.py").write_text("from package.b import B\n")
    with pytest.raises(graphlib.CycleError, match=r"'package\.[bc]', 'package\.[bc]'"):
        graphlib.TopologicalSorter(imports_of(package)).prepare()
