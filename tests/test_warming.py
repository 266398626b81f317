"""Warming up compiles what searches need: nothing is left to compile for the first one."""

import subprocess
import sys

SEARCH_AFTER = """
import sys, numpy as np, xtrkit
from numba.core.event import install_recorder
assert xtrkit.warm_up() > 0
documents = [np.random.default_rng(i).normal(size=(40, 64)).astype(np.float32) for i in range(60)]
with install_recorder("numba:compile") as compiled:
    for options in ({}, {"nbits": 4}, {"nbits": 2}, {"nbits": 4, "codec": "buckets"}, {"nbits": 8, "codec": "buckets"}):
        path = f"{sys.argv[1]}/{len(str(options))}-{options.get('nbits')}"
        index = xtrkit.Index.create(path, [documents], **options)
        for scoring in ("xtr", "maxsim"):
            assert index.search(documents[7], 5, scoring=scoring).ids[0] == "7"
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
