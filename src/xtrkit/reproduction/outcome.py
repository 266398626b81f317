"""What came out of a claim: tables, pictures, and whether what the paper says held here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xtrkit.errors import missing_extra

Cell = str | float | int


@dataclass(frozen=True)
class Table:
    """Rows of cells below a head; numbers are shown with four digits behind the point."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Plot:
    """Lines in one picture.

    Attributes:
        lines: {name: (x values, y values)}.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    log_x: bool = False


@dataclass(frozen=True)
class Verdict:
    """A statement of the paper, and whether it held here.

    Attributes:
        held: None where it can't be said, such as a difference within what chance gives.
        because: the figures behind it.
    """

    statement: str
    held: bool | None
    because: str

    @property
    def word(self) -> str:
        """Yes, no, or not shown."""
        return {True: "held", False: "did not hold", None: "not shown"}[self.held]


@dataclass(frozen=True)
class Outcome:
    """All that a claim's run gave.

    Attributes:
        figures: {name: number}, what later runs are compared with.
    """

    tables: Sequence[Table]
    verdicts: Sequence[Verdict]
    figures: Mapping[str, float] = field(default_factory=dict)
    plots: Sequence[Plot] = ()

    def markdown(self, title: str, source: str, command: str, picture: str | None = None) -> str:
        """The outcome as a page, or a part of one."""
        lines = [f"## {title}", "", f"{source}.", "", "```sh long", command, "```", ""]
        for table in self.tables:
            lines += [*([f"{table.title}:", ""] if table.title else []), *markdown_table(table), ""]
        if picture:
            lines += [f"![{title}]({picture})", ""]
        lines += ["| The paper says | Here | Figures |", "|---|---|---|"]
        lines += [f"| {verdict.statement} | {verdict.word} | {verdict.because} |" for verdict in self.verdicts]
        return "\n".join(lines) + "\n"

    def record(self, **about: Any) -> str:
        """The outcome as JSON."""
        content = {
            **about,
            "figures": dict(self.figures),
            "verdicts": [{"statement": v.statement, "held": v.held, "because": v.because} for v in self.verdicts],
            "tables": [
                {"title": t.title, "head": list(t.head), "rows": [list(row) for row in t.rows]} for t in self.tables
            ],
        }
        return json.dumps(content, indent=1, ensure_ascii=False, default=float) + "\n"


def markdown_table(table: Table) -> list[str]:
    """The lines of a table in Markdown; the first column is text."""
    rows = [[_shown(cell) for cell in row] for row in table.rows]
    return [f"| {' | '.join(cells)} |" for cells in (list(table.head), ["---"] * len(table.head), *rows)]


def draw(plots: Sequence[Plot], path: Path) -> None:
    """Write the plots side by side as a picture.

    Raises:
        MissingExtraError: matplotlib isn't installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise missing_extra("Drawing pictures", "plots") from error
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(plots), figsize=(5 * len(plots), 3.6), squeeze=False)
    for axis, plot in zip(axes[0], plots, strict=True):
        for name, (x, y) in plot.lines.items():
            axis.plot(x, y, label=name, marker="o" if len(x) <= 12 else None, markersize=3)
        if plot.log_x:
            axis.set_xscale("log")
        axis.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _shown(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.4f}"
