"""The command ``sweep``: quality against CPU time, of every combination of settings."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xtrkit.cli.asking import DATASET, Asked
from xtrkit.cli.bench_output import print_notes
from xtrkit.cli.opening import open_retriever
from xtrkit.cli.options import Address, IndexPath, Json, Loading
from xtrkit.cli.output import print_json
from xtrkit.errors import InputError

if TYPE_CHECKING:
    from xtrkit.evaluating.sweeping import Point
    from xtrkit.evaluation.collection import TestCollection
    from xtrkit.evaluation.notes import Note

out = Console(soft_wrap=True, markup=False)


@dataclass(frozen=True)
class Grid:
    """Which settings a sweep tries: every combination."""

    k_prime: Annotated[str, typer.Option(help="XTR's k', a comma list.")] = "100,1000,10000"
    nprobe: Annotated[str, typer.Option(help="Compressed indexes: clusters a query token, a comma list; also all.")] = (
        "8,16,32,64,128"
    )
    scoring: Annotated[str, typer.Option(help="[bold]xtr[/], [bold]maxsim[/], or both.")] = "xtr,maxsim"
    imputation: Annotated[str, typer.Option(help="XTR's imputations, a comma list.")] = "min"
    candidates: Annotated[
        str, typer.Option(help="MaxSim on compressed indexes: documents that are scored exactly, a comma list.")
    ] = "300"

    @property
    def choices(self) -> dict[str, list[Any]]:
        """{field of a recipe: values}.

        Raises:
            InputError: a list is empty, or a value is of another kind.
        """
        return {
            "scoring": _listed("--scoring", self.scoring, str),
            "k_prime": _listed("--k-prime", self.k_prime, int),
            "nprobe": _listed("--nprobe", self.nprobe, lambda one: one if one == "all" else int(one)),
            "imputation": _listed("--imputation", self.imputation, _as_short),
            "candidates": _listed("--candidates", self.candidates, int),
        }


@dataclass(frozen=True)
class Found:
    """What is chosen, and what becomes of it."""

    within: Annotated[float, typer.Option(help="Choose the cheapest setting that loses no more than this.", min=0)] = (
        0.01
    )
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw quality against time, with the Pareto front (.svg, .png, .pdf).", show_default=False),
    ] = None
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the table as .csv.", show_default=False)
    ] = None
    as_json: Json = False

    def check(self, inputs: Sequence[Path]) -> None:
        """Refuse places that can't be written to.

        Args:
            inputs: files that are read.

        Raises:
            InputError: a place can't be written to, or is read; or the picture is of an unknown format.
        """
        from xtrkit.evaluating.drawing import check_picture
        from xtrkit.whole_file import check_targets, is_standard_output

        check_targets({"--output": self.output, "--plot": self.plot}, inputs)
        if self.output is not None and is_standard_output(self.output):
            raise InputError(f"--output {self.output} is where the table is printed: give the name of a file.")
        if self.plot is not None:
            check_picture(self.plot)


def sweep(
    index: IndexPath,
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help=DATASET, show_default=False)],
    loading: Loading,
    settings: Grid,
    asked: Asked,
    found: Found,
    address: Address = None,
) -> None:
    """Find the cheapest setting of an index: quality and CPU time of every combination.

    Queries are searched one at a time on one thread; encoding them, the same for all settings, is left out of the
    times; the CPU time of a cluster's shards is in them. The first measure decides. Needs the extra "eval", and "plots"
    for a picture.

    Example: [bold]xtrkit sweep idx scifact/ --k-prime 100,1000 --nprobe 8,32,128 --within 0.005 --plot sweep.svg[/]
    """
    from xtrkit.evaluating.measuring import IndexedDocuments, check_searchable, notes_of
    from xtrkit.evaluating.sweeping import cheapest, grid, with_front
    from xtrkit.evaluating.sweeping import sweep as measure_settings
    from xtrkit.progress import progress_bar
    from xtrkit.recipes import XTR

    choices, names, shown = settings.choices, asked.names(), not found.as_json
    found.check([dataset, *asked.files])
    test, *others = asked.tests(dataset)
    if others:
        raise InputError(f"{dataset} has {1 + len(others)} sets: sweep one at a time.")
    names = names or list(test.protocol.measures)
    tried = grid(XTR, choices)
    with open_retriever(index, loading, address) as retriever:
        exact = retriever.index.storage == "float16"
        if exact:
            tried = grid(XTR, {name: given for name, given in choices.items() if name not in ("nprobe", "candidates")})
        documents = IndexedDocuments.of(retriever.index)
        check_searchable(retriever, test, documents)
        embeddings = retriever.encode_queries(list(test.queries.values()), progress=shown)
        with progress_bar("Sweeping", len(tried) * len(test.queries), shown=shown, unit="queries") as advance:
            measured = measure_settings(
                retriever, test, tried, names, embeddings=embeddings, documents=documents, advance=advance
            )
            points = with_front(list(measured), names[0])
        best = cheapest(points, names[0], found.within)
        notes = notes_of(test, names, [point.row for point in points], retriever=retriever, documents=documents)
    notes += _no_clusters() if exact else []
    _tell(points, best, test, found, notes)


def _no_clusters() -> list[Note]:
    from xtrkit.evaluation.notes import Note

    sentence = "The index is exact, and has no clusters: --nprobe and --candidates are left out."
    return [Note("no_clusters", {}, sentence)]


def _tell(points: Sequence[Point], best: Point, test: TestCollection, found: Found, notes: Sequence[Note]) -> None:
    """Print what was found, and write it."""
    from xtrkit.evaluating.sweeping import draw

    measures = list(points[0].row.measures)
    if not found.as_json:
        _print(points, best, measures, found.within)
        print_notes(out, notes)
    if found.output is not None:
        _write(points, best, found.output)
    if found.plot is not None:
        draw(points, measures[0], found.plot, best)
    if found.as_json:  # last: an error is the one document that is printed
        print_json(_as_json(points, best, test, found.within, notes))
        return
    for path in (found.output, found.plot):
        if path is not None:
            out.print(f"Wrote {path}")


def _print(points: Sequence[Point], best: Point, measures: Sequence[str], within: float) -> None:
    """Print settings, the cheapest first."""
    table = Table()
    for name in ("", "setting"):
        table.add_column(name)
    for name in [*measures, "CPU ms, median", "95 %"]:
        table.add_column(name, justify="right")
    for point in points:
        mark = "→" if point is best else "·" if point.on_front else ""
        figures = [f"{point.row.measures[name]:.4f}" for name in measures]
        table.add_row(mark, Text(point.name), *figures, f"{point.cpu_ms:.2f}", f"{point.cpu_ms_95:.2f}")
    out.print(table)
    out.print(
        f"→ the cheapest within {within:g} of the best {measures[0]}; · no other is better and no dearer. Times are of "
        "searching alone, one query at a time, on one thread.",
        style="dim",
        highlight=False,
    )


def _as_json(
    points: Sequence[Point], best: Point, test: TestCollection, within: float, notes: Sequence[Note]
) -> dict[str, Any]:
    """Settings as JSON holds them."""
    from xtrkit.evaluation.notes import notes_as_json

    return {
        "dataset": test.name,
        "queries": len(test.queries),
        "within": within,
        "chosen": dict(best.setting),
        "points": [
            {
                "setting": dict(point.setting),
                "recipe": vars(point.recipe),
                "measures": point.row.measures,
                "cpu_ms": point.cpu_ms,
                "cpu_ms_95": point.cpu_ms_95,
                "on_front": point.on_front,
            }
            for point in points
        ],
        "notes": notes_as_json(notes),
    }


def _write(points: Sequence[Point], best: Point, path: Path) -> None:
    """Write settings as a table of comma-separated values."""
    from xtrkit.whole_file import write_whole

    fields = list(dict.fromkeys(field for point in points for field in point.setting))
    measures = list(points[0].row.measures)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*fields, *measures, "cpu_ms", "cpu_ms_95", "on_front", "chosen"])
    for point in points:
        setting = [point.setting.get(field, "") for field in fields]
        figures = [point.row.measures[name] for name in measures]
        table.writerow([*setting, *figures, point.cpu_ms, point.cpu_ms_95, point.on_front, point is best])
    write_whole(path, text.getvalue())


def _as_short(imputation: str) -> str:
    """An imputation, a number in its shortest form: 0.20 is 0.2."""
    with suppress(ValueError):
        return f"{float(imputation):.12g}"
    return imputation


def _listed(option: str, written: str, kind: Any) -> list[Any]:
    """The values of a comma list, each once.

    Raises:
        InputError: there is none, or one that is of another kind.
    """
    values = [one.strip() for one in written.split(",") if one.strip()]
    try:
        found = list(dict.fromkeys(kind(one) for one in values))
    except ValueError as error:
        raise InputError(f"{option} takes whole numbers apart by commas, got {written!r}.") from error
    if not found:
        raise InputError(f"{option} is empty: give one value at least.")
    return found
