"""Where machine code can't be kept, kernels work all the same: real processes, real directories."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Two small kernels: one called by NumPy arrays, one by another kernel.
USE = """
import numpy as np
from xtrkit.kernels import dense, hits
from xtrkit.kernels.selection import kth_largest
values = np.float32([3, 1, 2])
assert kth_largest(values, 2) == 2
print("cached" if kth_largest.stats.cache_hits else "compiled", kth_largest._cache.__class__.__name__)
"""


def run(package, code=USE, **environment):
    """Use kernels of a package in a process that may write nowhere but where the environment says."""
    clean = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME")}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


@pytest.fixture
def package(tmp_path):
    """The package in a place where no cache can be written beside the source: ``__pycache__`` is a file."""
    place = tmp_path / "site-packages"
    shutil.copytree(ROOT / "src" / "xtrkit", place / "xtrkit", ignore=shutil.ignore_patterns("__pycache__"))
    for directory in [place / "xtrkit", *(p for p in (place / "xtrkit").rglob("*") if p.is_dir())]:
        (directory / "__pycache__").write_text("in the way")
    return place


def test_the_users_cache_is_used_where_the_package_is_read_only(tmp_path, package):
    for expected in ("compiled", "cached"):
        assert run(package, HOME=str(tmp_path / "home")) == [expected, "FunctionCache"]
    assert list((tmp_path / "home").rglob("*.nbc"))


def test_without_any_place_kernels_compile_in_each_process(tmp_path, package):
    (tmp_path / "file").write_text("no directory")
    for _ in range(2):
        assert run(package, HOME=str(tmp_path / "file")) == ["compiled", "NullCache"]


@pytest.mark.slow
def test_a_cache_directory_that_cannot_be_made_is_passed_over(tmp_path, package):
    (tmp_path / "file").write_text("no directory")
    nowhere = str(tmp_path / "file" / "cache")
    assert run(package, NUMBA_CACHE_DIR=nowhere, HOME=str(tmp_path / "home")) == ["compiled", "FunctionCache"]
    assert run(package, NUMBA_CACHE_DIR=nowhere, HOME=str(tmp_path / "file")) == ["compiled", "NullCache"]


def test_a_cache_that_breaks_later_is_passed_over(tmp_path, package):
    """As on a disk that gets full: the directory is writable when kernels are defined, not when they are compiled."""
    cache = tmp_path / "cache"
    breaking = USE.replace(
        "values =",
        f"import pathlib, shutil; shutil.rmtree({str(cache)!r}); pathlib.Path({str(cache)!r}).write_text('')\nvalues =",
        1,
    )
    assert run(package, breaking, NUMBA_CACHE_DIR=str(cache))[0] == "compiled"


def test_damaged_files_in_the_cache_are_passed_over(tmp_path, package):
    cache = tmp_path / "cache"
    run(package, NUMBA_CACHE_DIR=str(cache))
    for file in (*cache.rglob("*.nbi"), *cache.rglob("*.nbc")):
        file.write_bytes(file.read_bytes()[:-7])
    assert run(package, NUMBA_CACHE_DIR=str(cache))[0] == "compiled"


def test_machine_code_is_never_that_of_another_source(tmp_path, package):
    """A comment in any file of kernels is enough: a kernel contains parts from others, which Numba does not look at."""
    cache, changed = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}, package / "xtrkit" / "kernels" / "vectors.py"
    assert run(package, **cache)[0] == "compiled"
    os.utime(changed)
    assert run(package, **cache)[0] == "cached"
    changed.write_text(changed.read_text(encoding="utf-8") + "# Another comment.\n", encoding="utf-8")
    for expected in ("compiled", "cached"):
        assert run(package, **cache)[0] == expected
