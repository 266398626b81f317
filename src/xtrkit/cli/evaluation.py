"""The bench's commands: ``evaluate``, ``run``, ``sweep``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from xtrkit.cli import bench_output
from xtrkit.cli.maintain import parsed_filter
from xtrkit.cli.options import Effort, Fusing, IndexPath, Json, Opening, Reranking, SearchRecipe, Which
from xtrkit.cli.output import print_json
from xtrkit.errors import InputError

if TYPE_CHECKING:
    from xtrkit.evaluating.bench import Measured
    from xtrkit.evaluating.bench import Systems as Measurable
    from xtrkit.evaluating.sweeping import Point
    from xtrkit.recipes import Recipe

out = Console(soft_wrap=True, markup=False)

Split = Annotated[
    str | None,
    typer.Option(
        help="Which queries. [dim]\\[default: what published figures are of: test; dev of MS MARCO and MIRACL][/]",
        show_default=False,
    ),
]
Measures = Annotated[
    str | None,
    typer.Option(
        help="As ir-measures names them, and R_cap@100. The largest cut-off is how deep is searched, at least 100; "
        "1,000 for measures without one, such as AP. [dim]\\[default: the collection's own; nDCG@10 R@100 of BEIR][/]",
        show_default=False,
    ),
]
DATASET = (
    "A test collection as published: a BEIR folder (or a folder of such), MS MARCO's files, LoTTE, MIRACL, questions "
    "with answers (NAME.qa.csv), or irds:NAME of ir_datasets."
)


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

    def checked(self) -> None:
        """Refuse a picture that can't be drawn.

        Raises:
            InputError: it is of no two systems, its format is unknown, or its place can't be written to.
        """
        if self.plot is None:
            return
        if self.compare is None:
            raise InputError("--plot draws the differences of two systems: name them with --compare A B.")
        from xtrkit.evaluating.drawing import check_picture
        from xtrkit.whole_file import check_target

        check_picture(check_target(self.plot, "--plot"))


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

    def checked(self) -> Written:
        """Itself, if all of it can be written.

        Raises:
            InputError: a place can't be written to, or a layout is unknown.
        """
        from xtrkit.evaluation.run_files import check_layout
        from xtrkit.whole_file import check_target

        check_layout(self.layout)
        for option, path in (
            ("--output", self.output), ("--per-query", self.per_query), ("--beir-results", self.beir_results),
        ):  # fmt: skip
            if path is not None:
                check_target(path, option)
        if self.per_query is not None and self.per_query.suffix not in (".csv", ".jsonl"):
            raise InputError(f"--per-query writes .csv or .jsonl, got {self.per_query}.")
        return self


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
    split: Split = None,
    measures: Measures = None,
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
    from xtrkit.evaluation.measures import parse_measures
    from xtrkit.evaluation.opening import open_tests
    from xtrkit.progress import progress_bar

    written.checked()
    comparing.checked()
    names = None if measures is None else parse_measures(measures)
    tests = open_tests(paths[-1], split)
    bench_output.check_ids(written, tests)
    shown = not written.as_json

    def bar(what: str, total: int) -> Any:
        return progress_bar(what, total, shown=shown, unit="queries")

    index = paths[0] if len(paths) == 2 else None
    bench = Bench(chosen, index, names, opening.model, opening.device, bar)
    sets = [bench.measured(test.keeping_identical() if systems.keep_identical else test) for test in tests]
    told = [_compared(one, comparing, chosen) for one in sets]
    if written.as_json:
        print_json(bench_output.as_json(sets, told))
    else:
        bench_output.show(out, sets, told)
    for path in chain(bench_output.write(sets, written), bench_output.draw(sets, comparing.compare, comparing.plot)):
        if shown:
            out.print(f"Wrote {path}")


def _compared(measured: Measured, comparing: Comparing, systems: Measurable) -> bench_output.Compared:
    """Systems held against each other, as far as was asked."""
    from xtrkit.evaluating.differing import row_named, why, worst
    from xtrkit.evaluation.significance import against

    rows, tested, differences = measured.rows, {}, []
    baseline = rows[0] if comparing.against is None else row_named(rows, comparing.against)
    if comparing.significance or comparing.against is not None:
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


def run(
    context: typer.Context,
    index: IndexPath,
    queries: Annotated[
        Path,
        typer.Argument(
            help="Queries: lines of id and text apart by a tab, JSON lines (_id, text), or TREC topics; also .gz.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write; /dev/stdout prints it.", show_default=False)
    ],
    scored: SearchRecipe,
    opening: Opening,
    reranking: Reranking,
    which: Which,
    fusing: Fusing,
    k: Annotated[int, typer.Option("-k", "--depth", help="How many documents of each query.")] = 1000,
    layout: Annotated[
        str,
        typer.Option(help="[bold]trec[/], [bold]msmarco[/], [bold]colbert[/] (LoTTE's) or [bold]json[/]."),
    ] = "trec",
    tag: Annotated[str, typer.Option(help="The system's name, TREC's last column.")] = "xtrkit",
    topic_field: Annotated[
        str, typer.Option(help="Of TREC topics, which field is asked: [bold]title[/], [bold]desc[/], [bold]narr[/].")
    ] = "title",
    as_json: Json = False,
) -> None:
    """Answer queries that need no judgements, and write the rankings as a run.

    Of passages that were cut out of one document the best counts as the document, unless --all-passages asks for the
    passages. Scores fall strictly, so that whoever sorts them finds the same order.

    Examples: [bold]xtrkit run idx queries.tsv -o run.trec[/]   [bold]xtrkit run idx topics.txt -o run.tsv --layout
    msmarco -k 100 --recipe colbert --threads 2[/]
    """
    recipe = scored.chosen(context)
    from xtrkit.evaluating.running import answer_topics
    from xtrkit.evaluation.notes import counted, notes_as_json
    from xtrkit.evaluation.run_files import check_layout, check_run_ids, write_run
    from xtrkit.evaluation.topics import read_topics
    from xtrkit.fusion import check_fusion
    from xtrkit.progress import progress_bar
    from xtrkit.recipes import check_k, check_threads
    from xtrkit.retriever import Retriever
    from xtrkit.whole_file import check_target

    check_k(k)
    check_fusion(fusing.fusion, fusing.alpha)
    check_threads(opening.threads)
    check_layout(layout)
    check_target(output, "--output")
    topics = read_topics(queries, topic_field)
    if layout != "json":
        check_run_ids([tag, *topics.queries])
    condition = parsed_filter(which.where)
    retriever = Retriever.open(index, model=opening.model, reranker=reranking.rerank, device=opening.device)
    with progress_bar("Searching", len(topics.queries), shown=not as_json, unit="queries") as advance:
        answered = answer_topics(
            retriever,
            topics.queries,
            k,
            passages=which.group_by_document is False,
            advance=advance,
            where=condition,
            recipe=recipe,
            threads=opening.threads,
            rerank_depth=reranking.rerank_depth,
            **vars(fusing),
        )
    write_run(answered.run, output, tag, layout)
    notes = [*topics.notes, *answered.notes]
    if as_json:
        found = sum(map(len, answered.run.values()))
        asked = {"output": str(output), "layout": layout, "tag": tag, "recipe": vars(recipe), "k": k}
        print_json({**asked, "queries": len(topics.queries), "documents": found, "notes": notes_as_json(notes)})
        return
    bench_output.print_notes(out, notes)
    if output.is_file():
        out.print(f"Wrote {output}: {counted(len(topics.queries), 'query')}, at most {k:,} documents each.")


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
            "imputation": _listed("--imputation", self.imputation, str),
            "candidates": _listed("--candidates", self.candidates, int),
        }


def sweep(
    index: IndexPath,
    dataset: Annotated[Path, typer.Argument(help=DATASET, show_default=False)],
    opening: Opening,
    settings: Grid,
    within: Annotated[
        float, typer.Option(help="Choose the cheapest setting that loses no more than this.", min=0)
    ] = 0.01,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw quality against time, with the Pareto front (.svg, .png, .pdf).", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the table as .csv.", show_default=False)
    ] = None,
    split: Split = None,
    measures: Measures = None,
    as_json: Json = False,
) -> None:
    """Find the cheapest setting of an index: quality and CPU time of every combination.

    Queries are searched one at a time on one thread; encoding them, the same for all settings, is left out of the
    times. The first measure decides. Needs the extra "eval", and "plots" for a picture.

    Example: [bold]xtrkit sweep idx scifact/ --k-prime 100,1000 --nprobe 8,32,128 --within 0.005 --plot sweep.svg[/]
    """
    from xtrkit.evaluating.drawing import check_picture
    from xtrkit.evaluating.measuring import IndexedDocuments, check_same_documents, notes_of
    from xtrkit.evaluating.sweeping import cheapest, draw, grid, with_front
    from xtrkit.evaluating.sweeping import sweep as measure_settings
    from xtrkit.evaluation.measures import parse_measures
    from xtrkit.evaluation.opening import open_tests
    from xtrkit.progress import progress_bar
    from xtrkit.recipes import XTR
    from xtrkit.retriever import Retriever
    from xtrkit.whole_file import check_target

    choices = settings.choices
    if plot is not None:
        check_picture(check_target(plot, "--plot"))
    if output is not None:
        check_target(output, "--output")
    (test, *others) = open_tests(dataset, split)
    if others:
        raise InputError(f"{dataset} has {1 + len(others)} sets: sweep one at a time.")
    names = parse_measures(measures or " ".join(test.protocol.measures))
    tried = grid(XTR, choices)
    retriever = Retriever.open(index, model=opening.model, device=opening.device)
    if retriever.index.storage == "float16":  # has no clusters
        tried = grid(XTR, {name: given for name, given in choices.items() if name not in ("nprobe", "candidates")})
    documents = IndexedDocuments.of(retriever.index)
    check_same_documents(retriever, test, documents)
    embeddings = retriever.encode_queries(list(test.queries.values()), progress=not as_json)
    points: list[Point] = []
    with progress_bar("Sweeping", len(tried) * len(test.queries), shown=not as_json, unit="queries") as advance:
        points += measure_settings(
            retriever, test, tried, names, embeddings=embeddings, documents=documents, advance=advance
        )
    points = with_front(points, names[0])
    best = cheapest(points, names[0], within)
    rows = [point.row for point in points]
    notes = notes_of(test, names, rows, retriever=retriever, documents=documents)
    if as_json:
        print_json(bench_output.sweep_as_json(points, best, test, within, notes))
    else:
        bench_output.print_sweep(out, points, best, names, within)
        bench_output.print_notes(out, notes)
    if output is not None:
        bench_output.write_sweep(points, best, output)
    if plot is not None:
        draw(points, names[0], plot, best)
    for path in (output, plot):
        if path is not None and not as_json:
            out.print(f"Wrote {path}")


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
