"""What the bench's commands show and write: tables, tests of significance, differences, files for other programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xtrkit.cli.render import beginning, on_one_line, print_matches

if TYPE_CHECKING:
    from xtrkit.cli.evaluation import Written
    from xtrkit.evaluating.bench import Measured
    from xtrkit.evaluating.differing import Placed, QueryDifference
    from xtrkit.evaluating.measuring import Row
    from xtrkit.evaluation.collection import TestCollection
    from xtrkit.evaluation.notes import Note
    from xtrkit.evaluation.significance import Difference
    from xtrkit.hits import Hit

BEIR_CUTOFFS = (1, 3, 5, 10, 100, 1000)
BEIR_MEASURES = {"ndcg": ("NDCG", "nDCG"), "map": ("MAP", "AP"), "recall": ("Recall", "R"), "precision": ("P", "P"),
                 "mrr": ("MRR", "RR")}  # fmt: skip
"""{group of BEIR's results: its name of the measure, ir-measures' name}"""


class Compared(NamedTuple):
    """Systems of one collection held against each other.

    Attributes:
        baseline: the system that others are tested against.
        tested: {measure: a difference for each other system}; empty where nobody asked.
        pair: two systems whose queries are compared.
        differences: these queries, each with its explanations by system.
    """

    baseline: str
    tested: Mapping[str, Sequence[Difference]]
    pair: tuple[str, str] | None
    differences: Sequence[tuple[QueryDifference, Mapping[str, Hit]]]


def show(console: Console, sets: Sequence[Measured], told: Sequence[Compared]) -> None:
    """Print what was measured."""
    if len(sets) == 1:
        _print_rows(console, sets[0])
    else:
        _print_sets(console, sets)
    for measured, compared in zip(sets, told, strict=True):
        before = f"{measured.test.name}: " if len(sets) > 1 else ""
        print_notes(console, measured.notes, before)
        _print_tested(console, compared, before)
        for difference, explained in compared.differences:
            _print_difference(console, measured.measures[0], compared, difference, explained, before)
        if compared.pair and not compared.differences:
            console.print(f"{before}{compared.pair[1]} is below {compared.pair[0]} in no query.", highlight=False)


def print_notes(console: Console, notes: Sequence[Note], before: str = "") -> None:
    """Print what must be known to read figures, a line each."""
    for note in notes:
        console.print(on_one_line(f"{before}{note.sentence}"), highlight=False)


def as_json(sets: Sequence[Measured], told: Sequence[Compared]) -> dict[str, Any]:
    """What was measured, as JSON holds it: of one collection, or of several with their means."""
    found = [_set_as_json(*one) for one in zip(sets, told, strict=True)]
    if len(found) == 1:
        return found[0]
    from xtrkit.evaluating.bench import means_over

    return {"sets": found, "means": [one._asdict() for one in means_over(sets)]}


def places(path: Path, tests: Sequence[TestCollection], names: Sequence[str]) -> dict[tuple[str, str], Path]:
    """{(set, system): file}: where a file for each of several systems, and sets, comes to lie.

    Args:
        path: the file's name; those of sets and systems stand before its suffix, where there are several.
        tests: the sets.
        names: of the systems.
    """
    systems = _slugs(names) if len(names) > 1 else dict.fromkeys(names, "")
    sets = {test.name: test.in_files if len(tests) > 1 else "" for test in tests}
    return {(of_set, system): _beside(path, sets[of_set], systems[system]) for of_set in sets for system in systems}


def write(sets: Sequence[Measured], written: Written, names: Sequence[str]) -> Iterator[Path]:
    """Write runs, figures of each query, and BEIR's results, as far as was asked; gives each file's path.

    Args:
        sets: what was measured.
        written: what was asked for.
        names: of all systems, as for :func:`places`.
    """
    from xtrkit.evaluation.run_files import write_run
    from xtrkit.whole_file import write_whole

    tests, tags = [one.test for one in sets], _slugs(names)
    runs, results = (
        {} if path is None else places(path, tests, names) for path in (written.output, written.beir_results)
    )
    for measured in sets:
        for row in measured.rows:
            key = measured.test.name, row.system
            if key in runs:
                write_run(row.run, runs[key], tags[row.system], written.layout)
                yield runs[key]
            if key in results:
                write_whole(results[key], json.dumps(_beir_results(row), indent=4) + "\n")
                yield results[key]
    if written.per_query is not None:
        write_whole(written.per_query, _per_query(sets, as_lines=written.per_query.suffix == ".jsonl"))
        yield written.per_query


def draw(sets: Sequence[Measured], pair: tuple[str, str] | None, path: Path | None) -> Iterator[Path]:
    """Draw the differences of two systems, if asked to, a picture for each collection; gives each file's path."""
    from xtrkit.evaluating import differing

    if pair is None or path is None:
        return
    targets = places(path, [one.test for one in sets], [""])
    for measured in sets:
        target = targets[measured.test.name, ""]
        first, second = (differing.row_named(measured.rows, name) for name in pair)
        differing.draw(first, second, measured.measures[0], target)
        yield target


def _print_rows(console: Console, measured: Measured) -> None:
    from xtrkit.evaluation.notes import counted

    test, rows = measured.test, measured.rows
    of_index = any(row.seconds_per_query is not None for row in rows)
    table = Table(
        title=f"{test.name}: {counted(len(test.queries), 'query')}, {counted(measured.depth, 'document')} deep"
    )
    table.add_column("system")
    for name in [*measured.measures, *["search, ms a query"] * of_index]:
        table.add_column(name, justify="right")
    for row in rows:
        figures = [f"{row.measures[name]:.4f}" for name in measured.measures]
        time = "–" if row.seconds_per_query is None else f"{1000 * row.seconds_per_query:.1f}"
        table.add_row(Text(row.system), *figures, *[time] * of_index)
    console.print(table)
    if measured.encoding is not None:
        console.print(
            f"Queries were searched in batches; encoding them took {1000 * measured.encoding:.1f} ms a query besides.",
            style="dim",
            highlight=False,
        )


def _print_sets(console: Console, sets: Sequence[Measured]) -> None:
    """A table for each measure: a row for each set, a column for each system, the means at the end."""
    from xtrkit.evaluating.bench import means_over

    means = means_over(sets)
    for measure in dict.fromkeys(name for one in sets for name in one.measures):
        table = Table(title=measure)
        table.add_column("set", no_wrap=True)
        table.add_column("queries", justify="right")
        systems = list(dict.fromkeys(row.system for one in sets for row in one.rows))
        for system in systems:
            table.add_column(Text(system), justify="right")
        for one in sets:
            of_system = {row.system: row.measures.get(measure) for row in one.rows}
            cells = [_figure(of_system.get(system)) for system in systems]
            table.add_row(Text(one.test.name), f"{len(one.test.queries):,}", *cells)
        table.add_section()
        for mean in means:
            cells = [_figure(mean.systems.get(system, {}).get(measure)) for system in systems]
            table.add_row(" ".join(filter(None, (f"mean of {len(mean.sets)}", mean.group))), "", *cells)
        console.print(table)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _print_tested(console: Console, compared: Compared, before: str) -> None:
    if not compared.tested:
        return
    table = Table(title=f"{before}against {compared.baseline}")
    for name in ("measure", "system"):
        table.add_column(name)
    for name in ("difference", "better in", "worse in", "p (t)", "p (rand.)"):
        table.add_column(name, justify="right")
    for measure, differences in compared.tested.items():
        for one in differences:
            p_values = [_p(value) for value in (one.t_test, one.randomisation)]
            cells = [f"{one.mean:+.4f}", f"{one.better:,}", f"{one.worse:,}", *p_values]
            table.add_row(measure, Text(one.system), *cells)
    console.print(table)
    console.print(
        "p of a t-test and of a randomisation test, two-sided, paired by query, with Holm's correction within a "
        "measure.",
        style="dim",
        highlight=False,
    )


def _p(value: float) -> str:
    return "< .0001" if value < 0.0001 else f"{value:.4f}"


def _print_difference(
    console: Console,
    measure: str,
    compared: Compared,
    difference: QueryDifference,
    explained: Mapping[str, Hit],
    before: str,
) -> None:
    first, second = compared.pair or ("", "")
    console.print(Text(f"\n{before}{difference.query}: {on_one_line(difference.text)}", style="bold cyan"))
    console.print(
        f"     {measure}: {difference.first:.4f} by {first}, {difference.second:.4f} by {second}", highlight=False
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("    document", "judged", f"rank by {first}", f"rank by {second}"):
        table.add_column(Text(name), no_wrap=True)
    for placed in [*difference.relevant[:10], *difference.best]:
        table.add_row(*_placed(placed))
    console.print(table)
    if (more := len(difference.relevant) - 10) > 0:
        console.print(f"     … and {more} more relevant documents", highlight=False)
    for system, hit in explained.items():
        console.print(Text(f"     {system}: {on_one_line(hit.id)}, rank {hit.rank}, {hit.score:.4f}", style="bold"))
        print_matches(console, hit)


def _placed(placed: Placed) -> tuple[Text, ...]:
    grade = "–" if placed.grade is None else str(placed.grade)
    ranks = ("not found" if rank is None else str(rank) for rank in (placed.first, placed.second))
    return tuple(Text(cell) for cell in (f"    {beginning(placed.document, 60)}", grade, *ranks))


def _set_as_json(measured: Measured, compared: Compared) -> dict[str, Any]:
    from xtrkit.answers import hits_as_json
    from xtrkit.evaluation.notes import notes_as_json

    test = measured.test
    found: dict[str, Any] = {
        "dataset": test.name,
        "protocol": test.protocol.name,
        "queries": len(test.queries),
        "depth": measured.depth,
        "encoding_seconds_per_query": measured.encoding,
        "systems": [
            {
                "system": row.system,
                "measures": row.measures,
                "search_seconds_per_query": row.seconds_per_query,
                "dropped_identical": len(row.dropped),
            }
            for row in measured.rows
        ],
        "notes": notes_as_json(measured.notes),
    }
    if compared.tested:
        tested = {measure: [one._asdict() for one in differences] for measure, differences in compared.tested.items()}
        found["significance"] = {"against": compared.baseline, "correction": "Holm", "measures": tested}
    if compared.pair:
        found["comparison"] = {
            "systems": list(compared.pair),
            "measure": measured.measures[0],
            "queries": [
                {
                    **difference._asdict(),
                    "relevant": [placed._asdict() for placed in difference.relevant],
                    "best": [placed._asdict() for placed in difference.best],
                    "explained": {system: hits_as_json([hit])[0] for system, hit in explained.items()},
                }
                for difference, explained in compared.differences
            ],
        }
    return found


def _per_query(sets: Sequence[Measured], *, as_lines: bool) -> str:
    systems = list(dict.fromkeys(row.system for one in sets for row in one.rows))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if not as_lines:
        table.writerow(["set", "query", "text", "measure", *systems])
    for one in sets:
        of_system = {row.system: row.of_each for row in one.rows}
        for measure in one.measures:
            for query, asked in one.test.queries.items():
                values = {system: of_each[measure].get(query) for system, of_each in of_system.items()}
                key = {"set": one.test.name, "query": query, "text": asked, "measure": measure}
                if as_lines:
                    text.write(json.dumps({**key, "values": values}, ensure_ascii=False) + "\n")
                else:
                    table.writerow([*key.values(), *(values.get(system) for system in systems)])
    return text.getvalue()


def _beir_results(row: Row) -> dict[str, dict[str, float]]:
    from xtrkit.evaluation.measures import evaluate

    cutoffs = [cutoff for cutoff in BEIR_CUTOFFS if cutoff <= row.depth]
    names = {name: f"{name}@{cutoff}" for _, name in BEIR_MEASURES.values() for cutoff in cutoffs}
    figures = evaluate(row.run, row.qrels, [f"{name}@{cutoff}" for name in names for cutoff in cutoffs])
    return {
        group: {f"{theirs}@{cutoff}": round(figures[f"{ours}@{cutoff}"], 5) for cutoff in cutoffs}
        for group, (theirs, ours) in BEIR_MEASURES.items()
    }


def _beside(path: Path, *names: str) -> Path:
    """A path with names before its suffix, and before that of packing."""
    bare, packed = (Path(path.stem), path.suffix) if path.suffix == ".gz" else (Path(path.name), "")
    return path.with_name(".".join([bare.stem, *filter(None, names)]) + bare.suffix + packed)


def _slugs(names: Sequence[str]) -> dict[str, str]:
    """{name: what stands for it in names of files}, each another."""
    found: dict[str, str] = {}
    for name in names:
        slug = re.sub(r"[^\w]+", "-", name.lower().replace(" k'=", "-")).strip("-_") or "run"
        taken, number = set(found.values()), count(2)
        found[name] = slug if slug not in taken else next(new for n in number if (new := f"{slug}-{n}") not in taken)
    return found
