"""Progress bars on long work: silent unless asked for, with an estimate of the time left."""

from __future__ import annotations

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


@contextmanager
def progress_bar(
    description: str, total: int | None, *, shown: bool, unit: str = "", done: int = 0
) -> Iterator[Advance]:
    """Show a bar on standard error while the block runs; call the yielded function with how much was done.

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
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(description, total=total, completed=done)
        yield lambda amount: bars.advance(task, amount)


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
