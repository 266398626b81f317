"""Warming up compiles what searches need: nothing is left to compile for the first one."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba.core import config

from tests.conftest import ROOT
from xtrkit.kernels import compiling

SEARCH_AFTER = """
import sys, numpy as np, xtrkit
from numba.core.event import install_recorder
assert xtrkit.warm_up() > 0
documents = [np.random.default_rng(i).normal(size=(40, 64)).astype(np.float32) for i in range(60)]
with install_recorder("numba:compile") as compiled:
    for options in ({}, {"nbits": 4}, {"nbits": 2}, {"nbits": 4, "codec": "buckets"}, {"nbits": 8, "codec": "buckets"}):
        path = f"{sys.argv[1]}/{len(str(options))}-{options.get('nbits')}"
        index = xtrkit.Index.create(path, [documents], metadata=[{"n": i} for i in range(60)], **options)
        for scoring in ("xtr", "maxsim"):
            for imputation in ("min", "found", "retrieved", "t50"):
                assert index.search(documents[7], 5, scoring=scoring, imputation=imputation, nprobe=3).ids
        assert index.search(documents[7], 5, where={"n": {"$lt": 9}}).ids[0] == "7"
        index.delete(["8"])
        index.refresh()
        assert index.search(documents[7], 5).ids[0] == "7"
        with index.writer() as writer:
            writer.add(["new"], [documents[8]])
        index.refresh()
        assert index.search(documents[8], 5, subset=["new", "7"]).ids
names = {str(event.data["dispatcher"]) for _, event in compiled.buffer}
sys.exit(f"compiled after the warm-up: {names}" if names else 0)
"""


def test_nothing_is_left_to_compile(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", SEARCH_AFTER, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_the_command(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "xtrkit", "warm-up"], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("Kernels are compiled (")


BEGIN = """
import os, sys, time
print("runs")  # as a script without a guard around its main part: this must happen once
from xtrkit.kernels.compiling import begin_compiling
began = time.perf_counter()
handle = begin_compiling(4)
print(f"{time.perf_counter() - began:.2f}", handle.running, flush=True)
if sys.argv[1:] == ["killed"]:
    print(handle._process.pid, flush=True)
    time.sleep(600)
print(handle.wait(120), flush=True)
print(begin_compiling(4).running)
handle._process.terminate()
time.sleep(0.5)
with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as children:
    print("children:", children.read())
from numba.core.event import install_recorder
import numpy as np, tempfile, xtrkit
documents = [np.random.default_rng(i).normal(size=(40, 64)).astype(np.float32) for i in range(60)]
with install_recorder("numba:compile") as compiled, tempfile.TemporaryDirectory() as place:
    index = xtrkit.Index.create(place + "/index", [documents], nbits=4)
    index.search(documents[7], 5)
print(len(compiled.buffer), "compiled")
"""


def script(tmp_path, *arguments, **environment):
    (tmp_path / "script.py").write_text(BEGIN)
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), *arguments],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), **environment},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_kernels_compile_while_something_else_is_done(tmp_path):
    said = script(tmp_path).communicate(timeout=300)[0].splitlines()
    assert said.count("runs") == 1
    seconds, running = said[1].split()
    assert float(seconds) < 2
    assert [running, *said[2:]] == ["True", "True", "False", "children: ", "0 compiled"]


def test_who_compiles_ends_when_its_parent_is_killed(tmp_path):
    with script(tmp_path, "killed") as process:
        process.stdout.readline(), process.stdout.readline()
        behind = int(process.stdout.readline())
        process.kill()
    for _ in range(100):
        if not Path(f"/proc/{behind}").exists() or " Z " in Path(f"/proc/{behind}/stat").read_text():
            return
        time.sleep(0.1)
    raise AssertionError("it goes on")


@pytest.mark.parametrize("executable", ["", "/usr/sbin/uwsgi", "/nowhere/python3"])
def test_where_python_is_no_program_nothing_is_started(tmp_path, monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(compiling, "mark_of", lambda *kind: tmp_path / "mark")
    handle = compiling.begin_compiling(4)
    assert not handle.running
    assert handle.wait() is False


def test_where_machine_code_cannot_be_kept_nothing_is_started(tmp_path):
    (tmp_path / "file").write_text("no directory")
    code = "from xtrkit.kernels.compiling import begin_compiling as b; h = b(4); print(h.running, h.wait())"
    package = tmp_path / "site-packages"
    shutil.copytree(ROOT / "src" / "xtrkit", package / "xtrkit", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "xtrkit" / "kernels" / "__pycache__").write_text("in the way")
    nowhere = {"NUMBA_CACHE_DIR": str(tmp_path / "file" / "cache"), "HOME": str(tmp_path / "file")}
    ran = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env={**os.environ, **nowhere, "PYTHONPATH": str(package), "XDG_CACHE_HOME": str(tmp_path / "file")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ran.stdout, ran.stderr) == ("False False\n", "")


def test_machine_code_of_another_processor_is_not_taken_for_this_ones(monkeypatch):
    here = compiling.mark_of(4, "grid")
    monkeypatch.setattr(config, "CPU_NAME", "generic")
    monkeypatch.setattr(config, "CPU_FEATURES", "")
    assert compiling.mark_of(4, "grid") not in (None, here)
