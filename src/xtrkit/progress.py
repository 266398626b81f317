"""Progress on long work: silent unless asked for, with an estimate of the time left.

A terminal gets bars. Where standard error is a file or a pipe, bars would say nothing until the end: a plain line a
minute says how far the work is, and one how long a phase took that was longer than that.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int], None]

SECONDS_BETWEEN_LINES = 60.0
"""How often a line is written where there is no terminal."""

SPEED_OVER = 1800.0
"""Seconds whose work tells how fast it is. What is done by others comes in portions, minutes apart: over half a minute,
as is usual, there would be no estimate."""


@contextmanager
def progress_bar(
    description: str, total: int | None, *, shown: bool, unit: str = "", done: int = 0
) -> Iterator[Advance]:
    """Show a bar on standard error while the block runs; call the yielded function with how much was done.

    Where standard error is no terminal, there are lines instead of a bar.

    Args:
        description: what is being done, such as "Encoding".
        total: how much there is to do; None where nobody knows, which gives a counter without an end.
        shown: False makes this a no-op.
        unit: what is counted, such as "passages".
        done: how much of it was done before.
    """
    if not shown:
        yield lambda amount: None
        return
    if not sys.stderr.isatty():
        lines = _Lines(description, total, unit, done)
        yield lines.advance
        lines.end()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("·"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=SPEED_OVER) as bars:
        task = bars.add_task(description, total=total, completed=done)
        bars.advance(task, 0)  # speed is measured from here on
        yield lambda amount: bars.advance(task, amount)


class _Lines:
    """A line now and then: "Encoding: 1,024 of 5,183 passages (19 %), 3:20 left"."""

    def __init__(self, description: str, total: int | None, unit: str, done: int) -> None:
        self._what, self._total, self._unit = description, total, unit
        self._before, self._done = done, done
        self._begun = self._last = time.monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._say(f"{self._so_far}{self._left(now - self._begun)}")

    def end(self) -> None:
        """Say how long it took, if anything could have been said before."""
        seconds = time.monotonic() - self._begun
        if seconds >= SECONDS_BETWEEN_LINES:
            self._say(f"{self._so_far}, took {_clock(seconds)}")

    @property
    def _so_far(self) -> str:
        unit = f" {self._unit}" if self._unit else ""
        if not self._total:
            return f"{self._done:,}{unit}"
        return f"{self._done:,} of {self._total:,}{unit} ({100 * self._done // self._total} %)"

    def _left(self, seconds: float) -> str:
        done_now = self._done - self._before
        if not self._total or done_now <= 0:
            return ""
        return f", {_clock(max(0, self._total - self._done) * seconds / done_now)} left"

    def _say(self, text: str) -> None:
        print(f"{self._what}: {text}", file=sys.stderr, flush=True)  # noqa: T201


def _clock(seconds: float) -> str:
    """3:20, or 1:03:20."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass(frozen=True)
class Reporter:
    """Tells how work of several phases goes on: a bar for each, and a line between them; silent unless ``shown``."""

    shown: bool = False

    @contextmanager
    def phase(self, description: str, total: int | None, unit: str = "", done: int = 0) -> Iterator[Advance]:
        """One phase's :func:`progress_bar`."""
        with progress_bar(description, total, shown=self.shown, unit=unit, done=done) as advance:
            yield advance

    def note(self, text: str) -> None:
        """Say a sentence on standard error."""
        if self.shown:
            Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print(text)


SILENT = Reporter()
