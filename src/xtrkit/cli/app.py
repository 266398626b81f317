"""The commands of ``xtrkit``."""

from __future__ import annotations

import shlex
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from xtrkit.cli import (
    cluster,
    encoders,
    evaluation,
    maintain,
    models,
    render,
    runs,
    serving,
    serving_mcp,
    sweeping,
    transport,
)
from xtrkit.cli.grouping import grouped
from xtrkit.cli.opening import open_retriever
from xtrkit.cli.options import (
    Address,
    Collection,
    Computing,
    Fusing,
    IndexPath,
    Json,
    Opening,
    Reading,
    Reranking,
    SearchRecipe,
    Shown,
    Shrinking,
    Which,
)
from xtrkit.cli.output import print_json, stopped_in
from xtrkit.cli.reproduction import reproduction
from xtrkit.cli.training import training
from xtrkit.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Late-interaction retrieval on a CPU: index text, search it with XTR or ColBERT, measure the result.

    Try it now: [bold]xtrkit demo[/] indexes Python's own documentation and answers three questions.

    With your own text: [bold]xtrkit index notes/ idx[/], then [bold]xtrkit search idx "who wrote it?" --explain[/].""",
)
app.add_typer(training)
app.add_typer(reproduction)
out = Console(soft_wrap=True, markup=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xtrkit {version('xtrkit')}")
        raise typer.Exit()


@app.callback()
def xtrkit(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options before a command; its help is the app's."""


@app.command()
@grouped
def index(
    collection: Collection,
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="Directory to make.", show_default=False)],
    compression: Shrinking,
    reading: Reading,
    computing: Computing,
    model: Annotated[
        str,
        typer.Option(
            help="The encoder: [bold]default[/], a directory that [bold]xtrkit export[/] wrote, or a directory or hub "
            "name of an XTR, ColBERT, PyLate or sentence-transformers multi-vector model."
        ),
    ] = "default",
    split: Annotated[
        bool,
        typer.Option(
            help="Cut documents into passages, at headings and pages, and where they are longer than the model's "
            "window; or let the model cut off what is longer, as published figures do."
        ),
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there already.")] = False,
    as_json: Json = False,
) -> None:
    """Encode a collection and index it.

    A title is put before its text. The directory appears when the index is complete. After a run that was stopped, or
    killed, the same command goes on where it was but for some seconds of work; what it had done lies in
    .NAME.building beside the index. At its end it tells what was read, what was passed over, and why.

    Examples: [bold]xtrkit index notes/ idx[/]   [bold]xtrkit index "docs/**/*.md" idx[/]   [bold]xtrkit index scifact/
    idx --no-split[/]   [bold]xtrkit index films.csv idx --text-field plot --title-field name[/]
    """
    from xtrkit.indexing.spool import workplace_of
    from xtrkit.retriever import Retriever
    from xtrkit.texts.reading import open_source

    begin = time.perf_counter()
    with stopped_in(workplace_of(index.resolve())):
        retriever = Retriever.create(
            index,
            open_source(collection, reading.fields),
            model=model,
            **vars(compression),
            **vars(computing),
            overwrite=overwrite,
            split=split,
            progress=not as_json,
            **reading.options,
        )
    seconds, summary = time.perf_counter() - begin, retriever.indexed
    if summary is None:
        return
    if as_json:
        print_json({"index": str(index), "seconds": seconds, **summary.as_json()})
        return
    render.print_report(out, summary.report)
    out.print(
        f"Indexed {summary.passages:,} passages of {summary.documents:,} documents ({summary.tokens:,} tokens) in "
        f'{seconds:.0f} s. Ask it something: xtrkit search {shlex.quote(str(index))} "…" --explain'
    )


@app.command(name="import")
def import_index(
    source: Annotated[
        Path,
        typer.Argument(metavar="STANFORD_DIR", help="Index directory with metadata.json in it.", show_default=False),
    ],
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="Directory to make.", show_default=False)],
    collection: Annotated[
        str | None,
        typer.Option(
            help="The collection that it was made of, for ids and texts: as for [bold]xtrkit index[/]. Without it "
            "passages are numbered.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there already.")] = False,
    as_json: Json = False,
) -> None:
    """Make an index of one that Stanford's ColBERT made (ColBERTv2, PLAID), codes and all.

    Example: [bold]xtrkit import experiments/msmarco/indexes/msmarco.nbits=2 idx --collection collection.tsv[/]
    """
    from xtrkit.index import Index
    from xtrkit.texts.reading import open_source
    from xtrkit.texts.whole import check_unique, whole_passages

    given = None if collection is None else open_source(collection)
    passages = None
    if given is not None:
        check_unique(whole_passages(given))
        passages = whole_passages(given)
    with Index.from_stanford(index, source, passages=passages, overwrite=overwrite, progress=not as_json) as made:
        facts = {"index": str(index), "passages": len(made), "tokens": made.n_tokens, "storage": made.storage}
    if as_json:
        print_json(facts)
    else:
        out.print(f"Imported {facts['passages']:,} passages ({facts['tokens']:,} tokens, {facts['storage']}).")


@app.command()
@grouped
def search(
    context: typer.Context,
    index: IndexPath,
    query: Annotated[str, typer.Argument(help="What to look for, in your own words.", show_default=False)],
    scored: SearchRecipe,
    opening: Opening,
    reranking: Reranking,
    which: Which,
    fusing: Fusing,
    shown: Shown,
    k: Annotated[int, typer.Option("-k", help="How many passages.")] = 10,
    offset: Annotated[
        int, typer.Option(help="Leave out so many of the best: [bold]-k 10 --offset 10[/] shows ranks 11 to 20.")
    ] = 0,
    address: Address = None,
) -> None:
    """Find the best passages for a query.

    Examples: [bold]xtrkit search idx "who wrote it?"[/]   [bold]xtrkit search idx "…" -k 3 --explain[/]
    [bold]xtrkit search idx "error E1042" --fusion rrf --facets lang[/]
    """
    recipe = scored.chosen(context)
    from xtrkit.answers import answer_as_json
    from xtrkit.asking import check_query
    from xtrkit.explained_html import write_explained
    from xtrkit.fusion import check_fusion
    from xtrkit.recipes import check_k, check_threads
    from xtrkit.whole_file import check_target

    check_k(k)
    check_fusion(fusing.fusion, fusing.alpha)
    if offset < 0:
        raise InputError(f"--offset must be 0 or more, got {offset}.")
    check_threads(opening.threads)
    check_query(query)
    html = None if shown.html is None else check_target(shown.html, "--html")
    condition, depth = maintain.parsed_filter(which.where), reranking.rerank_depth
    with open_retriever(index, opening, address, reranking.rerank) as retriever:
        ask = partial(
            retriever.search,
            query,
            k + offset,
            where=condition,
            recipe=recipe,
            threads=opening.threads,
            rerank_depth=depth,
            group_by_document=which.group_by_document,
            facets=shown.facets or (),
            **vars(fusing),
        )
        hits = ask(explain=True)  # snippets show what matched
        seconds = dict(ask(explain=shown.explain).seconds) if shown.timings else {}  # with kernels that are loaded now
    if html is not None:
        write_explained(html, hits, hits[offset:])
    if shown.as_json:
        used = recipe.at(None, retriever.index.nprobe)
        asked = {"index": str(index), "recipe": vars(used), "reranker": reranking.rerank}
        written = {} if html is None else {"html": html}
        found = {**answer_as_json(hits, offset=offset, explained=shown.explain), "seconds": seconds or None}
        print_json({**asked, "offset": offset, **written, **found})
        return
    render.print_hits(out, query, hits[offset:], hits, explained=None if shown.explain else 0)
    if not hits[offset:]:
        out.print(f"     Nothing was found beyond rank {len(hits)}." if offset else "     Nothing was found.")
    render.print_facets(out, hits.facets or {})
    if shown.timings:
        render.print_seconds(out, seconds)
    if html is not None:
        out.print(f"Wrote {html}")


@app.command()
def info(index: IndexPath, as_json: Json = False) -> None:
    """Tell what an index holds, which model made it, and what kernels are made of on this processor."""
    from xtrkit.index import Index
    from xtrkit.kernels.vectors import TARGET

    with Index.open(index) as opened:
        facts: dict[str, Any] = {
            "index": str(index),
            "documents": len(opened),
            "tokens": opened.n_tokens,
            "dimensions": opened.dim,
            "kept_dimensions": opened.code_dim,
            "pooling": None if opened.pooling is None else vars(opened.pooling),
            "nprobe": opened.nprobe,
            "storage": opened.storage,
            "bytes": opened.size,
            "kernels": TARGET.name,
            "encoder": None if opened.encoder is None else vars(opened.encoder),
            "encoded_by": opened.encoded_by,
        }
    if as_json:
        print_json(facts)
    else:
        render.print_facts(out, facts)


@app.command(name="warm-up")
def warm_up(as_json: Json = False) -> None:
    """Compile the kernels ahead of the first search; the machine code is kept on disk."""
    from xtrkit.warming import warm_up

    seconds = warm_up()
    if as_json:
        print_json({"seconds": seconds})
    else:
        out.print(f"Kernels are compiled ({seconds:.1f} s).")


@app.command()
def demo(
    index: Annotated[Path, typer.Option(help="Where the demo's index is made, and found the next time.")] = Path(
        "xtrkit-demo"
    ),
    as_json: Json = False,
) -> None:
    """Index the documentation of Python's standard library and answer three questions about it."""
    from xtrkit.answers import answer_as_json
    from xtrkit.demo import QUESTIONS, standard_library_passages
    from xtrkit.retriever import Retriever

    if not index.exists():
        passages = standard_library_passages()
        if not as_json:
            out.print(f"Indexing {len(passages):,} passages of Python's own documentation into {index} …")
        Retriever.create(index, passages, progress=not as_json)
    retriever = Retriever.open(index)
    answers = {question: retriever.search(question, 3, explain=True) for question in QUESTIONS}
    if as_json:
        print_json([answer_as_json(hits) for hits in answers.values()])
        return
    for question, hits in answers.items():
        render.print_hits(out, question, list(hits), hits, explained=1)
    out.print(f'Ask another: xtrkit search {shlex.quote(str(index))} "your question" --explain')


app.command()(grouped(evaluation.evaluate))
app.command()(grouped(runs.run))
app.command()(grouped(sweeping.sweep))
app.command()(grouped(serving.serve))
app.command()(grouped(serving_mcp.mcp))
app.command()(models.rerank)
app.command()(models.convert)
app.add_typer(models.ur2n, name="ur2n")
app.add_typer(cluster.cluster, name="cluster")
transport.register(app)
app.command()(encoders.export)
app.command()(encoders.models)
maintain.register(app)
