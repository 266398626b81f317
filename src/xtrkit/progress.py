"""Progress bars on long work: silent unless asked for, with an estimate of the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
def progress_bar(description: str, total: int | None, *, shown: bool, unit: str = "") -> Iterator[Advance]:
    """Show a bar on standard error while the block runs; call the yielded function with how much was done.

    Args:
        description: what is being done, such as "Encoding".
        total: how much there is to do; None where nobody knows, which gives a counter without an end.
        shown: False makes this a no-op.
        unit: what is counted, such as "passages".
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
        task = bars.add_task(description, total=total)
        yield lambda amount: bars.advance(task, amount)
