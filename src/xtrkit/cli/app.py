"""The commands of ``xtrkit``."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from xtrkit.cli import encoders, maintain, models, render
from xtrkit.cli.reproduction import reproduction
from xtrkit.cli.training import training
from xtrkit.errors import InputError

if TYPE_CHECKING:
    from xtrkit.recipes import Recipe

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Late-interaction retrieval on a CPU: index text, search it with XTR or ColBERT, measure the result.

    Try it now: [bold]xtrkit demo[/] indexes Python's own documentation and answers three questions.

    With your own text: [bold]xtrkit index notes/ idx[/], then [bold]xtrkit search idx "who wrote it?" --explain[/].""",
)
app.add_typer(training)
app.add_typer(reproduction)
out = Console(soft_wrap=True, markup=False)

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="Directory of the index.", show_default=False)]
Model = Annotated[
    str | None,
    typer.Option(
        help="Where the index's encoder lies, if it has moved: a directory or a hub name.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
KPrime = Annotated[
    int, typer.Option(help="k', document tokens retrieved for each query token. More finds more, and costs more.")
]
Imputation = Annotated[
    str,
    typer.Option(
        help="What a similarity that was not retrieved is worth: [bold]min[/] is the lowest that the query token "
        "did retrieve, [bold]none[/] leaves it out, a number such as [bold]0.2[/] is that constant; also "
        "[bold]found[/], [bold]retrieved[/], [bold]centroid[/] and [bold]t5000[/], which differ on compressed indexes."
    ),
]
NProbe = Annotated[int, typer.Option(help="Compressed indexes: clusters opened for each query token.")]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact", help="Compressed indexes: look at every token, as if --nprobe were the number of clusters."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="Queries that a compressed index answers at a time; pieces of an exact one looked at at a time. The "
        "results are the same. [dim]\\[default: 1; all cores][/]",
        show_default=False,
    ),
]
Split = Annotated[
    bool,
    typer.Option("--split", help="Cut texts that are longer than the model's window into overlapping passages."),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Compressed indexes: search on this device of torch's, such as cuda. "
        "[dim]\\[default: the CPU, without torch][/]",
        show_default=False,
    ),
]
Rerank = Annotated[
    str | None,
    typer.Option(
        help="Score the best passages again with this model: the directory or hub name of a monoT5 or a cross-encoder.",
        show_default=False,
    ),
]
RerankDepth = Annotated[int, typer.Option(help="How many passages the reranker scores; 0 is none.", min=0)]
Explain = Annotated[
    bool,
    typer.Option("--explain", help="Show for each query token which document token it matched, and what was imputed."),
]


@app.command()
def index(
    collection: Annotated[
        Path,
        typer.Argument(
            help="What to index: a BEIR folder, a .jsonl or .tsv file, or a folder of .txt and .md files.",
            show_default=False,
        ),
    ],
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="Directory to make.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            help="The encoder: [bold]default[/], a directory that [bold]xtrkit export[/] wrote, or a directory or hub "
            "name of an XTR, ColBERT, PyLate or sentence-transformers multi-vector model."
        ),
    ] = "default",
    batch_size: Annotated[int, typer.Option(help="Texts encoded together.", min=1)] = 32,
    nbits: Annotated[
        int,
        typer.Option(
            help="16 keeps every vector as float16 and searches exactly; 1, 2, 4 or 8 compress them to so many bits a "
            "dimension: a smaller index, searched some fifty times faster."
        ),
    ] = 16,
    codec: Annotated[
        str,
        typer.Option(help="How vectors are compressed: [bold]grid[/], or [bold]buckets[/] as ColBERTv2 and PLAID do."),
    ] = "grid",
    split: Split = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there already.")] = False,
    as_json: Json = False,
) -> None:
    """Encode a collection of passages and index it.

    A title is put before its text. The directory appears when the index is complete. After a run that was stopped, or
    killed, the same command goes on where it was; what it had done lies in .NAME.building beside the index.

    Examples: [bold]xtrkit index scifact/ idx[/]   [bold]xtrkit index notes/ idx --model path/to/xtr-base-en[/]
    """
    from xtrkit.indexing.spool import workplace_of
    from xtrkit.retriever import Retriever

    begin = time.perf_counter()
    try:
        retriever = Retriever.create(
            index,
            collection,
            model=model,
            batch_size=batch_size,
            nbits=nbits,
            codec=codec,
            overwrite=overwrite,
            split=split,
            progress=not as_json,
        )
    except KeyboardInterrupt:
        if (workplace := workplace_of(index.resolve())).exists():
            typer.echo(
                f"Stopped. The same command goes on where this one was; if you will not, remove {workplace}.", err=True
            )
        raise typer.Exit(130) from None
    seconds, summary = time.perf_counter() - begin, retriever.indexed
    if summary is None:
        return
    if as_json:
        _print_json({"index": str(index), "seconds": seconds, **vars(summary)})
        return
    out.print(
        f"Indexed {summary.passages:,} passages ({summary.tokens:,} tokens) in {seconds:.0f} s. "
        f'Ask it something: xtrkit search {shlex.quote(str(index))} "…" --explain'
    )
    if summary.truncated:
        out.print(
            f"{summary.truncated:,} of the passages encoded in this run were longer than the model's window and were "
            "cut off at its end; --split keeps all of them."
        )


@app.command(name="import")
def import_index(
    source: Annotated[
        Path,
        typer.Argument(metavar="STANFORD_DIR", help="Index directory with metadata.json in it.", show_default=False),
    ],
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="Directory to make.", show_default=False)],
    collection: Annotated[
        Path | None,
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
    from xtrkit.texts.reading import check_passages, open_collection

    passages = None if collection is None else open_collection(collection)
    if passages is not None:
        check_passages(passages)
    with Index.from_stanford(index, source, passages=passages, overwrite=overwrite, progress=not as_json) as made:
        facts = {"index": str(index), "passages": len(made), "tokens": made.n_tokens, "storage": made.storage}
    if as_json:
        _print_json(facts)
    else:
        out.print(f"Imported {facts['passages']:,} passages ({facts['tokens']:,} tokens, {facts['storage']}).")


@app.command()
def search(
    index: IndexPath,
    query: Annotated[str, typer.Argument(help="What to look for, in your own words.", show_default=False)],
    k: Annotated[int, typer.Option("-k", help="How many passages.")] = 10,
    k_prime: KPrime = 1000,
    imputation: Imputation = "min",
    scoring: Annotated[
        str,
        typer.Option(help="[bold]xtr[/] scores from the retrieved tokens alone, [bold]maxsim[/] is exact ColBERT."),
    ] = "xtr",
    nprobe: NProbe = 32,
    exact: Exact = False,
    threads: Threads = None,
    device: Device = None,
    explain: Explain = False,
    timings: Annotated[bool, typer.Option("--timings", help="Show what each stage of the search took.")] = False,
    rerank: Rerank = None,
    rerank_depth: RerankDepth = 100,
    group_by_document: Annotated[
        bool,
        typer.Option(
            "--group-by-document", help="Of passages cut out of one document (index --split), show the best alone."
        ),
    ] = False,
    where: Annotated[
        str | None,
        typer.Option(
            help='Only passages whose metadata meet a condition, as JSON: [bold]{"year": {"$gte": 2020}}[/].',
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    model: Model = None,
) -> None:
    """Find the best passages for a query.

    Examples: [bold]xtrkit search idx "who wrote it?"[/]   [bold]xtrkit search idx "…" -k 3 --explain[/]
    """
    recipe = _recipe(scoring, k_prime, imputation, "all" if exact else nprobe)
    from xtrkit.recipes import check_k, check_threads
    from xtrkit.retriever import Retriever, check_query

    check_k(k)
    check_threads(threads)
    check_query(query)
    condition = maintain.parsed_filter(where)
    retriever = Retriever.open(index, model=model, reranker=rerank, device=device)
    if timings:
        retriever.search(query, k, recipe=recipe, rerank_depth=rerank_depth)  # loads kernels, found loaded afterwards
    hits = retriever.search(
        query,
        k,
        where=condition,
        recipe=recipe,
        explain=explain,
        threads=threads,
        rerank_depth=rerank_depth,
        group_by_document=group_by_document,
    )
    if as_json:
        shown: dict[str, Any] = {"query": query, "index": str(index), "recipe": vars(recipe), "reranker": rerank}
        shown |= {"k_prime": hits.k_prime, "truncated": hits.truncated, "hits": render.hits_as_json(hits)}
        _print_json(shown | ({"seconds": dict(hits.seconds)} if timings else {}))
        return
    render.print_hits(out, query, hits)
    if timings:
        render.print_seconds(out, hits.seconds)


@app.command()
def evaluate(
    index: IndexPath,
    dataset: Annotated[
        Path,
        typer.Argument(help="BEIR folder with corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv.", show_default=False),
    ],
    split: Annotated[str, typer.Option(help="Which judgements: qrels/SPLIT.tsv.")] = "test",
    measures: Annotated[
        str, typer.Option(help="As ir-measures names them; cut-offs beyond 100 see 100 documents.")
    ] = "nDCG@10 R@100",
    k_prime: Annotated[
        list[int] | None,
        typer.Option(help="XTR's k'; give it several times for several rows. [dim]\\[default: 100, 1000, 10000][/]"),
    ] = None,
    imputation: Imputation = "min",
    nprobe: NProbe = 32,
    exact: Exact = False,
    threads: Threads = None,
    device: Device = None,
    maxsim: Annotated[bool, typer.Option(help="Also measure ColBERT scoring.")] = True,
    baseline: Annotated[str, typer.Option(help="[bold]bm25[/] or [bold]none[/].")] = "bm25",
    run: Annotated[
        Path | None,
        typer.Option(
            help="Write the rankings as a TREC run; where there are several systems, one file each, with the "
            "system's name before the suffix.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    model: Model = None,
) -> None:
    """Measure an index on a test collection: XTR at several k', ColBERT scoring, and BM25 beside them.

    Of passages that --split cut out of one document the best one counts, since judgements name documents.

    Example: [bold]xtrkit evaluate idx scifact/ --measures "nDCG@10 R@100 RR@10"[/]
    """
    if baseline not in ("bm25", "none"):
        raise InputError(f"Unknown baseline {baseline!r}: use bm25 or none.")
    recipes = [
        (f"XTR k'={depth}", _recipe("xtr", depth, imputation, "all" if exact else nprobe))
        for depth in dict.fromkeys(k_prime or (100, 1000, 10000))
    ]
    if maxsim:
        recipes.append(("MaxSim", _recipe("maxsim", 1000, imputation, "all" if exact else nprobe)))
    from xtrkit.evaluating import build_bm25, check_same_documents, measure, measure_bm25
    from xtrkit.evaluation.beir import read_test_collection
    from xtrkit.evaluation.measures import parse_measures
    from xtrkit.evaluation.runs import check_run_ids
    from xtrkit.progress import progress_bar
    from xtrkit.recipes import check_threads
    from xtrkit.retriever import Retriever

    check_threads(threads)
    names, test = parse_measures(measures), read_test_collection(dataset, split)
    bm25 = build_bm25(test) if baseline == "bm25" else None
    retriever = Retriever.open(index, model=model, device=device)
    check_same_documents(retriever, test)
    if run:
        render.check_run_path(run)
        check_run_ids([*test.queries, *retriever.index.ids()])
    begin = time.perf_counter()
    embeddings = retriever.encode_queries(list(test.queries.values()), progress=not as_json)
    encoding = (time.perf_counter() - begin) / len(test.queries)
    total = len(recipes) * len(test.queries)
    with progress_bar("Searching", total, shown=not as_json, unit="queries") as advance:
        rows = list(measure(retriever, test, recipes, names, embeddings=embeddings, threads=threads, advance=advance))
    if bm25:
        rows.append(measure_bm25(bm25, test, names))
    if as_json:
        _print_json(render.rows_as_json(rows, test, encoding))
    else:
        render.print_rows(out, rows, names, test, encoding)
    for path in render.write_runs(rows, run) if run else []:
        if not as_json:
            out.print(f"Wrote {path}")


@app.command()
def info(index: IndexPath, as_json: Json = False) -> None:
    """Tell what an index holds and which model made it."""
    from xtrkit.index import Index

    with Index.open(index) as opened:
        facts: dict[str, Any] = {
            "index": str(index),
            "documents": len(opened),
            "tokens": opened.n_tokens,
            "dimensions": opened.dim,
            "storage": opened.storage,
            "bytes": opened.size,
            "encoder": None if opened.encoder is None else vars(opened.encoder),
        }
    if as_json:
        _print_json(facts)
    else:
        render.print_facts(out, facts)


@app.command(name="warm-up")
def warm_up(as_json: Json = False) -> None:
    """Compile the kernels ahead of the first search; the machine code is kept on disk."""
    from xtrkit.warming import warm_up

    seconds = warm_up()
    if as_json:
        _print_json({"seconds": seconds})
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
        _print_json([{"query": asked, "hits": render.hits_as_json(hits)} for asked, hits in answers.items()])
        return
    for question, hits in answers.items():
        render.print_hits(out, question, hits, explained=1)
    out.print(f'Ask another: xtrkit search {shlex.quote(str(index))} "your question" --explain')


def _recipe(scoring: str, k_prime: int, imputation: str, nprobe: int | Literal["all"]) -> Recipe:
    """A recipe whose every part was checked, before a model is loaded for it."""
    from xtrkit.recipes import Recipe

    return Recipe(scoring=scoring, k_prime=k_prime, imputation=imputation, nprobe=nprobe)  # type: ignore[arg-type]


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))


app.command()(models.rerank)
app.command()(models.convert)
app.add_typer(models.ur2n, name="ur2n")
app.command()(encoders.export)
app.command()(encoders.models)
maintain.register(app)
