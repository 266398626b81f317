"""A training that is killed goes on where it was, and ends where it would have ended."""

import signal
import subprocess
import sys

import pytest
import torch

from tests.training.test_run import SMALL, plain, weights  # noqa: F401 (a fixture)
from xtrkit.errors import TrainingError
from xtrkit.training import train

CHOICES = {**SMALL, "dim": 8, "steps": 14, "eval_steps": 4, "accumulate": 1}

# Reports come after every step; at a step between two checkpoints the process kills itself, as the system would.
KILLED = """
import os, signal, sys, torch
from xtrkit.training import train
torch.set_num_threads(1)
model, data, out, step = sys.argv[1:5]
def report(report):
    if report.step == int(step) and report.loss is not None:
        os.kill(os.getpid(), signal.SIGKILL)
train("xtr", model, data, out, report=report, **{choices!r})
"""


@pytest.mark.slow  # another process has to import torch
@pytest.mark.parametrize(("step", "changes"), [(11, {}), (6, {"top_layers": 1})])
def test_a_killed_training_ends_as_if_nothing_had_been(step, changes, plain, beir, tmp_path):  # noqa: F811
    """Killed in the third pass over the data, or the second; dropout and shuffling go on as they would have."""
    choices = {**CHOICES, **changes}
    train("xtr", str(plain), beir, tmp_path / "whole", **choices)
    script = KILLED.replace("{choices!r}", repr(choices))
    arguments = [sys.executable, "-c", script, str(plain), str(beir), str(tmp_path / "killed"), str(step)]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert not (tmp_path / "killed" / "modules.json").exists()

    with pytest.raises(TrainingError, match=r"can't go on with other choices: seed was 12345, now it is 9"):
        train("xtr", str(plain), beir, tmp_path / "killed", resume=True, **choices, seed=9)
    half_written = tmp_path / "killed" / "training" / "checkpoint-999"
    half_written.mkdir()
    summary = train("xtr", str(plain), beir, tmp_path / "killed", resume=True, **choices)
    assert [point for point, _ in summary.curve] == [0, 4, 8, 12, 14]
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    for name in whole:
        assert torch.equal(whole[name], killed[name]), name


def test_an_interrupted_training_ends_as_if_nothing_had_been(plain, beir, tmp_path):  # noqa: F811
    """The same without another process."""

    def interrupt(report):
        if report.step == 6 and report.loss is not None:
            raise KeyboardInterrupt

    choices = {**CHOICES, "steps": 9}
    train("xtr", str(plain), beir, tmp_path / "whole", **choices)
    with pytest.raises(KeyboardInterrupt):
        train("xtr", str(plain), beir, tmp_path / "stopped", report=interrupt, **choices)
    train("xtr", str(plain), beir, tmp_path / "stopped", resume=True, **choices)
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_a_directory_in_use_is_refused(plain, beir, tmp_path):  # noqa: F811
    """While one training is at work in a directory, another is told so."""
    seen = []

    def report(report):
        if not seen:
            for options in ({"resume": True}, {"overwrite": True}):
                with pytest.raises(TrainingError, match="Another training is at work in") as caught:
                    train("xtr", str(plain), beir, tmp_path / "out", **options, **CHOICES)
                seen.append(caught.value)

    train("xtr", str(plain), beir, tmp_path / "out", report=report, **{**CHOICES, "steps": 2, "eval_steps": 2})
    assert len(seen) == 2
