"""Estimates of the time left: on a terminal and in lines, also where work is done by others, in portions."""

import io
import re

import pytest
import rich.console

from xtrkit import progress
from xtrkit.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """What the time is, for all who ask."""
    now = [1000.0]
    monkeypatch.setattr(rich.console, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("seconds", [1, 90])
def test_a_bar_tells_what_is_left_from_the_first_portion_on(clock, monkeypatch, seconds):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("Encoding", 100, shown=True, unit="passages", done=20) as advance:
        for _ in range(2):
            clock[0] += seconds
            advance(20)
    last = [line for line in shown.getvalue().split("\r") if "passages" in line][-1]
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", last)
    assert "60/100 passages" in last
    left = progress._clock(2 * seconds).rjust(4, "0")
    assert f"{left} left" in last


def test_lines_do(clock, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    with progress_bar("Encoding", 100, shown=True, unit="passages", done=20) as advance:
        for _ in range(2):
            clock[0] += 90
            advance(20)
    assert shown.getvalue() == (
        "Encoding: 40 of 100 passages (40 %), 4:30 left\n"
        "Encoding: 60 of 100 passages (60 %), 3:00 left\n"
        "Encoding: 60 of 100 passages (60 %), took 3:00\n"
    )
