"""The commands on models: ``rerank``, ``convert`` and ``ur2n init``; ``app.py`` hangs them into ``xtrkit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from xtrkit.cli.output import print_json
from xtrkit.errors import InputError

out = Console(soft_wrap=True, markup=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ur2n = typer.Typer(no_args_is_help=True, help="UR²N: one model that retrieves and reranks.")

Tokens = Annotated[
    tuple[str, str] | None,
    typer.Option(
        help="monoT5: the two pieces it answers with, irrelevant first, such as [bold]▁no ▁yes[/].", show_default=False
    ),
]


def rerank(
    run: Annotated[Path, typer.Argument(help="A TREC run: what to rerank.", show_default=False)],
    dataset: Annotated[
        Path, typer.Argument(help="BEIR folder with corpus.jsonl and queries.jsonl.", show_default=False)
    ],
    model: Annotated[
        str,
        typer.Option(help="Directory or hub name of a monoT5, a UR²N or a cross-encoder.", show_default=False),
    ],
    output: Annotated[Path, typer.Option(help="Where the new run is written.", show_default=False)],
    depth: Annotated[int, typer.Option(help="How many documents of each query are reranked.", min=1)] = 100,
    batch_size: Annotated[int, typer.Option(help="Pairs of 256 tokens scored together.", min=1)] = 32,
    tokens: Tokens = None,
    as_json: Json = False,
) -> None:
    """Rerank the best documents of a TREC run with a model that reads query and document together.

    Documents beyond --depth are left out of the new run.

    Example: [bold]xtrkit rerank bm25.trec scifact/ --model path/to/monot5-base --output reranked.trec[/]
    """
    from xtrkit.cli.bench_output import print_notes
    from xtrkit.evaluation.beir import read_queries
    from xtrkit.evaluation.notes import notes_as_json
    from xtrkit.evaluation.run_files import read_run, write_run
    from xtrkit.progress import progress_bar
    from xtrkit.reranking import load_reranker, rerank
    from xtrkit.texts.reading import open_source
    from xtrkit.texts.whole import whole_passages
    from xtrkit.whole_file import check_targets, is_standard_output

    check_targets({"--output": output}, [run])
    if is_standard_output(output):
        raise InputError(f"--output {output} is where the summary is printed: give the name of a file.")
    given = read_run(run)
    first = {query: ranking[:depth] for query, ranking in given.items()}
    queries = read_queries(dataset)
    wanted = {document for ranking in first.values() for document, _ in ranking}
    texts = {passage.id: passage.text or "" for passage in whole_passages(open_source(dataset)) if passage.id in wanted}
    _check_all_known(run, dataset, "query", set(first) - set(queries))
    _check_all_known(run, dataset, "document", wanted - set(texts))
    reranker = load_reranker(model, tokens=tokens)
    again = {}
    with progress_bar("Reranking", len(first), shown=not as_json, unit="queries") as advance:
        for query, ranking in first.items():
            ids = [document for document, _ in ranking]
            best = rerank(reranker, queries[query], [texts[document] for document in ids], batch_size=batch_size)
            again[query] = [(ids[place], score) for place, score in best]
            advance(1)
    write_run(again, output, "xtrkit-rerank")
    if as_json:
        notes = notes_as_json(given.notes)
        print_json({"output": str(output), "queries": len(again), "model": reranker.name, "notes": notes})
    else:
        print_notes(out, given.notes)
        out.print(f"Wrote {output}: {len(again):,} queries, at most {depth} documents each.")


def _check_all_known(run: Path, dataset: Path, what: str, unknown: set[str]) -> None:
    if unknown:
        raise InputError(
            f"{run} names the {what} {min(unknown)!r}, which {dataset} does not have: give the collection that the run "
            "was made of."
        )


def convert(
    model: Annotated[
        str,
        typer.Argument(help="Directory or hub name of a checkpoint, or a ColBERT v1 .dnn file.", show_default=False),
    ],
    out_path: Annotated[Path, typer.Argument(metavar="OUT", help="Directory to make.", show_default=False)],
    kind: Annotated[
        str,
        typer.Option("--from", help="[bold]tf-savedmodel[/] for XTR's SavedModel of Kaggle (needs TensorFlow)."),
    ] = "checkpoint",
    layout: Annotated[
        str | None,
        typer.Option(help="[bold]t5-colbert[/] for a T5-ColBERT, whose files are those of XTR.", show_default=False),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="What has the tokenizer: of a .dnn file the BERT, of a SavedModel a T5.", show_default=False),
    ] = None,
) -> None:
    """Write a copy of a model: pickles as safetensors, encoders in the format of sentence-transformers.

    Rerankers, ColXTR and UR²N, which that format can't say, keep their own layout.

    Examples: [bold]xtrkit convert colbert.dnn out --base google-bert/bert-base-uncased[/]
    [bold]xtrkit convert --from tf-savedmodel xtr/base-en/2 out --base google/xtr-base-en[/]
    """
    from xtrkit.encoding.load import torch_needed

    with torch_needed("Converting a model"):
        from xtrkit.encoding.convert import convert
    written = convert(model, out_path, kind=kind, layout=layout, base=base)
    out.print(f"Wrote {out_path} in the layout {written}.")


@ur2n.command()
def init(
    monot5: Annotated[str, typer.Argument(help="Directory or hub name of a monoT5.", show_default=False)],
    out_path: Annotated[Path, typer.Argument(metavar="OUT", help="Directory to make.", show_default=False)],
    dim: Annotated[int, typer.Option(help="Dimensions of a token vector.")] = 128,
    normalise: Annotated[bool, typer.Option("--normalise", help="Give token vectors unit length.")] = False,
    query_length: Annotated[int, typer.Option(help="Most tokens of a query in retrieval.")] = 32,
    document_length: Annotated[int, typer.Option(help="Most tokens of a document in retrieval.")] = 180,
    tokens: Tokens = None,
) -> None:
    """Make an untrained UR²N of a monoT5: a copy of it, and a retrieval branch beside its encoder's last block.

    Then: [bold]xtrkit index COLLECTION idx --model OUT[/], [bold]xtrkit search idx "…" --rerank OUT[/].
    """
    from xtrkit.unified import init_unified

    init_unified(
        monot5,
        out_path,
        dim=dim,
        normalise=normalise,
        query_length=query_length,
        document_length=document_length,
        tokens=tokens,
    )
    out.print(f"Wrote {out_path}. Its retrieval branch is untrained: it ranks as the encoder's last block does.")


@ur2n.callback()
def _ur2n() -> None:
    """Make typer keep the word ``init``, which it would drop for the only command."""
