"""The command ``evaluate``: an index, runs, and BM25 on test collections, held against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from xtrkit.cli import bench_output
from xtrkit.cli.asking import DATASET, Asked
from xtrkit.cli.opening import open_retriever
from xtrkit.cli.options import Address, Effort, Json, Opening
from xtrkit.cli.output import print_json
from xtrkit.errors import InputError

if TYPE_CHECKING:
    from xtrkit.evaluating.bench import Measured
    from xtrkit.evaluating.bench import Systems as Measurable
    from xtrkit.evaluation.collection import TestCollection
    from xtrkit.recipes import Recipe
    from xtrkit.retriever import Retriever

out = Console(soft_wrap=True, markup=False)


@dataclass(frozen=True)
class Systems:
    """What is measured."""

    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            help="Measure this run, too: TREC's, MS MARCO's, ColBERT's layout or JSON; may be given several times. "
            "[bold]{set}[/] stands for the name of a set, where there are several.",
            show_default=False,
        ),
    ] = None
    k_prime: Annotated[
        list[int] | None,
        typer.Option(help="XTR's k'; give it several times for several rows. [dim]\\[default: 100, 1000, 10000][/]"),
    ] = None
    maxsim: Annotated[bool, typer.Option(help="Also measure ColBERT scoring.")] = True
    fusion: Annotated[
        bool,
        typer.Option(help="Also measure the index's own words (BM25), and XTR and words together, in both ways."),
    ] = True
    alpha: Annotated[
        float | None,
        typer.Option(help="The share of the token vectors in these. [dim]\\[default: 0.75][/]", show_default=False),
    ] = None
    baseline: Annotated[str, typer.Option(help="[bold]bm25[/] or [bold]none[/].")] = "bm25"
    keep_identical: Annotated[
        bool,
        typer.Option(
            "--keep-identical",
            help="Keep documents that bear the query's id. BEIR drops them, which is wrong where ids of queries and "
            "documents are counted apart, as Cranfield's are.",
        ),
    ] = False

    def recipes(self, effort: Effort) -> list[tuple[str, Recipe]]:
        """Names and recipes, the baseline left out."""
        depths = dict.fromkeys(self.k_prime or (100, 1000, 10000))
        found = [(f"XTR k'={depth}", effort.recipe("xtr", depth)) for depth in depths]
        return [*found, ("MaxSim", effort.recipe("maxsim", 1000))] if self.maxsim else found

    def chosen(self, effort: Effort, threads: int | None) -> Measurable:
        """All of it, checked.

        Raises:
            InputError: a value can't be used.
        """
        if self.baseline not in ("bm25", "none"):
            raise InputError(f"Unknown baseline {self.baseline!r}: use bm25 or none.")
        from xtrkit.evaluating.bench import Systems as Measurable
        from xtrkit.fusion import ALPHA, check_fusion
        from xtrkit.recipes import check_threads

        check_threads(threads)
        alpha = ALPHA if self.alpha is None else self.alpha
        check_fusion("rrf", alpha)
        depth = 1000 if not self.k_prime or 1000 in self.k_prime else self.k_prime[0]
        fused = (f"XTR k'={depth}", effort.recipe("xtr", depth)) if self.fusion else None
        recipes, baseline = self.recipes(effort), self.baseline == "bm25"
        return Measurable(recipes, fused, alpha, self.runs or (), baseline, threads)


@dataclass(frozen=True)
class Comparing:
    """How systems are held against each other."""

    significance: Annotated[
        bool,
        typer.Option(
            "--significance",
            help="Test every system's difference from the first one, or from --against: paired t-test and "
            "randomisation test, with Holm's correction.",
        ),
    ] = False
    against: Annotated[
        str | None,
        typer.Option(
            help="The system that others are held against. [dim]\\[default: the first][/]", show_default=False
        ),
    ] = None
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Show the queries in which B is furthest below A, by the first measure: where the relevant documents "
            "are in both, and, of systems that are an index's, which tokens matched.",
            show_default=False,
        ),
    ] = None
    worst: Annotated[int, typer.Option(help="How many queries --compare shows.", min=1)] = 5
    plot: Annotated[
        Path | None,
        typer.Option(
            help="With --compare: draw the differences, a bar a query, into this file (.svg, .png, .pdf).",
            show_default=False,
        ),
    ] = None

    @property
    def tested(self) -> bool:
        """Whether differences are tested."""
        return self.significance or self.against is not None

    def check(self, systems: list[str], tests: Sequence[TestCollection]) -> None:
        """Refuse what can't be compared, before anything is searched for.

        Args:
            systems: what rows are called.
            tests: what is asked.

        Raises:
            InputError: there is no system of a name, or fewer than two; a set has fewer than two queries; or a picture
                is of no two systems, or of an unknown format.
            MissingExtraError: scipy, or matplotlib, isn't installed.
        """
        from xtrkit.evaluating.differing import check_named
        from xtrkit.evaluation.significance import scipy_stats

        check_named(systems, [*(self.compare or ()), *([] if self.against is None else [self.against])])
        if self.tested and len(systems) == 1:
            raise InputError(f"There is only {systems[0]}: a test of significance needs two systems.")
        single = [test.name for test in tests if len(test.queries) < 2]
        if self.tested and single:
            raise InputError(f"{single[0]} has a single query: a test of significance needs two queries at least.")
        if self.tested:
            scipy_stats()
        if self.plot is None:
            return
        if self.compare is None:
            raise InputError("--plot draws the differences of two systems: name them with --compare A B.")
        from xtrkit.evaluating.drawing import check_picture

        check_picture(self.plot)


@dataclass(frozen=True)
class Written:
    """What becomes of figures."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o",
            help="Write the rankings as runs; where there are several systems, or sets, one file each, with their "
            "names before the suffix.",
            show_default=False,
        ),
    ] = None  # fmt: skip
    layout: Annotated[
        str,
        typer.Option(help="Of these: [bold]trec[/], [bold]msmarco[/], [bold]colbert[/] (LoTTE's) or [bold]json[/]."),
    ] = "trec"
    per_query: Annotated[
        Path | None,
        typer.Option(
            help="Write every measure of every query and system, as a table (.csv) or as JSON lines (.jsonl).",
            show_default=False,
        ),
    ] = None
    beir_results: Annotated[
        Path | None,
        typer.Option(
            help="Write the figures in BEIR's format (ndcg, map, recall, precision, mrr at 1 to 1,000), one file for "
            "each system.",
            show_default=False,
        ),
    ] = None
    as_json: Json = False

    @property
    def check_ids(self) -> Callable[[Iterable[str]], None]:
        """What refuses ids that can't be written."""
        from xtrkit.evaluation.run_files import any_ids, check_of

        return any_ids if self.output is None else check_of(self.layout)

    def check(
        self, plot: Path | None, inputs: Sequence[Path], tests: Sequence[TestCollection], names: list[str]
    ) -> None:
        """Refuse places that can't be written to, and layouts that there are not.

        Args:
            plot: what else is written.
            inputs: files that are read.
            tests: what is asked.
            names: those of the systems.

        Raises:
            InputError: a place can't be written to, is read or written otherwise, or a layout is unknown.
        """
        from xtrkit.evaluation.run_files import check_layout
        from xtrkit.whole_file import check_targets, is_standard_output

        check_layout(self.layout)
        targets = {"--output": self.output, "--per-query": self.per_query, "--beir-results": self.beir_results}
        check_targets({**targets, "--plot": plot}, inputs)
        for option, path in targets.items():
            if path is not None and is_standard_output(path):
                raise InputError(f"{option} {path} is where the figures are printed: give the name of a file.")
        for option, path in (("--output", self.output), ("--beir-results", self.beir_results)):
            places = [] if path is None else list(bench_output.places(path, tests, names).values())
            if len(places) > 1 and path is not None and path.exists() and not path.is_file():
                raise InputError(f"{option} {path} is no file, and takes one system's alone: give the name of a file.")
            for place in places:
                check_targets({option: place}, inputs)
        if self.per_query is not None and self.per_query.suffix not in (".csv", ".jsonl"):
            raise InputError(f"--per-query writes .csv or .jsonl, got {self.per_query}.")


def evaluate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[INDEX] DATASET",
            help=f"An index, or a folder of indexes called as the sets are; runs and BM25 need none. {DATASET}",
            show_default=False,
        ),
    ],
    systems: Systems,
    effort: Effort,
    opening: Opening,
    comparing: Comparing,
    written: Written,
    asked: Asked,
    address: Address = None,
) -> None:
    """Measure an index, or runs from anywhere, on a test collection: XTR at several k', ColBERT, fusions, BM25.

    Each collection brings its own rules: measures, how deep, whether a document with the query's id counts. Of passages
    that --split cut out of one document the best one counts, since judgements name documents. What a figure does not
    say (judged documents that the index lacks, ids that come twice, ties in a run) stands below the table. Needs the
    extra "eval".

    Examples: [bold]xtrkit evaluate idx scifact/[/]   [bold]xtrkit evaluate --run a.trec --run b.trec scifact/
    --significance[/]   [bold]xtrkit evaluate idx scifact/ --compare "XTR k'=1000" MaxSim --worst 3[/]
    """
    if len(paths) > 2:
        raise InputError(f"Expected [INDEX] DATASET, got {len(paths)} paths: {' '.join(map(str, paths))}.")
    chosen = systems.chosen(effort, opening.threads)
    from xtrkit.evaluating.bench import Bench
    from xtrkit.progress import progress_bar

    measures = asked.names()
    tests = asked.tests(paths[-1])
    index = paths[0] if len(paths) == 2 else None
    if address is not None and index is None:
        raise InputError(f"There is no cluster to search at --address {address}: give its directory, too.")
    names = chosen.names(tests, indexed=index is not None)
    runs = [file for test in tests for file in chosen.files(test).values()]
    written.check(comparing.plot, [paths[-1], *runs, *asked.files], tests, names)
    comparing.check(names, tests)
    shown = not written.as_json

    def bar(what: str, total: int) -> Any:
        return progress_bar(what, total, shown=shown, unit="queries")

    with ExitStack() as stack:

        def opened(path: Path) -> Retriever:
            return stack.enter_context(open_retriever(path, opening, address))

        bench = Bench(chosen, index, measures, opened, bar, written.check_ids)
        bench.prepare(tests)
        sets = [bench.measured(test.keeping_identical() if systems.keep_identical else test) for test in tests]
        told = [_compared(one, comparing, chosen) for one in sets]
    if shown:
        bench_output.show(out, sets, told)
    for path in chain(
        bench_output.write(sets, written, names), bench_output.draw(sets, comparing.compare, comparing.plot)
    ):
        if shown:
            out.print(f"Wrote {path}")
    if not shown:  # last: an error is the one document that is printed
        print_json(bench_output.as_json(sets, told))


def _compared(measured: Measured, comparing: Comparing, systems: Measurable) -> bench_output.Compared:
    """Systems held against each other, as far as was asked."""
    from xtrkit.evaluating.differing import row_named, why, worst
    from xtrkit.evaluation.significance import against

    rows, tested, differences = measured.rows, {}, []
    baseline = rows[0] if comparing.against is None else row_named(rows, comparing.against)
    if comparing.tested:
        if len(rows) < 2:
            raise InputError(f"There is only {rows[0].system}: a test of significance needs two systems.")
        tested = {
            name: against(
                baseline.of_each[name], {one.system: one.of_each[name] for one in rows if one is not baseline}
            )
            for name in measured.measures
        }
    if comparing.compare is not None:
        first, second = (row_named(rows, name) for name in comparing.compare)
        recipes = dict(systems.recipes)
        for difference in worst(first, second, measured.measures[0], measured.test, comparing.worst):
            retriever = measured.retriever
            explained = (
                {} if retriever is None else why(retriever, recipes, difference, comparing.compare, measured.depth)
            )
            differences.append((difference, explained))
    return bench_output.Compared(baseline.system, tested, comparing.compare, differences)
