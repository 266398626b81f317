"""The commands that train: ``mine``, ``score`` and ``train``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from xtrkit.cli.grouping import grouped
from xtrkit.cli.output import print_json
from xtrkit.errors import InputError

if TYPE_CHECKING:
    from xtrkit.progress import Advance
    from xtrkit.training.careful import Report

training = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
out = Console(soft_wrap=True, markup=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Data = Annotated[
    list[str],
    typer.Option(
        help="What to learn from; may be given several times. A BEIR folder (its qrels/train.tsv, or FOLDER:SPLIT), a "
        ".tsv or .jsonl file of texts, or FILE.jsonl@FOLDER: ids of a BEIR folder, as mine and score write them.",
        show_default=False,
    ),
]


def _override(help_text: str) -> Any:
    return typer.Option(help=help_text, show_default="the recipe's")


@training.command()
def train(
    data: Data,
    out_dir: Annotated[Path, typer.Option("--out", help="Directory of the model to make.", show_default=False)],
    recipe: Annotated[
        str,
        typer.Option(
            help="xtr, colbert, colbertv2 (needs teacher scores) or ur2n; of rerankers monot5 or cross-encoder."
        ),
    ] = "xtr",
    model: Annotated[
        str,
        typer.Option(
            help="What to start from: [bold]all-MiniLM-L6-v2[/], a directory or a hub name, of a plain "
            "encoder, which gets a projection, or of a late-interaction checkpoint; for monot5, of a T5 that generates."
        ),
    ] = "all-MiniLM-L6-v2",
    dev: Annotated[
        str,
        typer.Option(
            help="Queries to watch nDCG@10 on: a BEIR folder (its qrels/dev.tsv, or FOLDER:SPLIT), [bold]none[/], or "
            "[bold]auto[/]: the first data set's own, else a tenth of the training queries is held out."
        ),
    ] = "auto",
    dev_queries: Annotated[int, typer.Option(help="Most dev queries.", min=1)] = 200,
    dev_documents: Annotated[int, typer.Option(help="Documents that are searched for them.", min=1)] = 2000,
    dev_nbits: Annotated[int, typer.Option(help="Bits a dimension of the dev index; 16 is exact.")] = 16,
    dev_depth: Annotated[
        int, typer.Option(help="How many of BM25's best are reranked for them, where a reranker learns.", min=1)
    ] = 20,
    top_layers: Annotated[
        int | None,
        _override(
            "How many upper layers to learn, from activations of the others that are computed once: quick on a CPU."
        ),
    ] = None,
    steps: Annotated[int | None, _override("Optimiser steps; 0 goes by --epochs.")] = None,
    epochs: Annotated[int | None, _override("Passes over the data; 0 makes one, or as many as 20 steps take.")] = None,
    batch_size: Annotated[int | None, _override("Queries in a batch, each other's negatives.")] = None,
    accumulate: Annotated[int | None, _override("Batches whose gradients make one step.")] = None,
    learning_rate: Annotated[float | None, _override("At its peak.")] = None,
    k_train: Annotated[int | None, _override("Tokens that each query token retrieves from the batch.")] = None,
    temperature: Annotated[float | None, _override("Divides scores before the softmax.")] = None,
    negatives: Annotated[int | None, _override("Hard negatives of each query, where the data have some.")] = None,
    distillation: Annotated[str | None, _override("kl, margin_mse or none.")] = None,
    dim: Annotated[int | None, _override("Dimensions of a new projection.")] = None,
    loss: Annotated[str | None, _override("Of a reranker: pairs, list, or kl, which needs teacher scores.")] = None,
    max_length: Annotated[int | None, _override("Most tokens of query and document together, in a reranker.")] = None,
    query_length: Annotated[int | None, _override("Most tokens of a query.")] = None,
    document_length: Annotated[int | None, _override("Most tokens of a document.")] = None,
    eval_steps: Annotated[int | None, _override("Steps between two dev figures and checkpoints.")] = None,
    seed: Annotated[int | None, _override("Of everything random.")] = None,
    bf16: Annotated[bool | None, _override("Compute in bfloat16.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with fields of the recipe, 'k_train: 128' a line.", show_default=False),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the recipe, as FIELD=VALUE; may be given several times."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Where activations are kept with --top-layers, for further trainings.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …", show_default="what there is")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the trained model, for its card.", show_default=False)] = None,
    data_licence: Annotated[
        list[str] | None, typer.Option(help="Of a data set, for the card, as NAME=LICENCE.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a late-interaction encoder or a reranker on your own data.

    The directory can be loaded when it is complete; a training that was stopped goes on with --resume, and ends as if
    it had not been.

    Examples: [bold]xtrkit train --data my-beir-folder/ --out my-model --top-layers 2[/]   [bold]xtrkit train --recipe
    colbertv2 --data scored.jsonl@folder/ --out my-model[/]   [bold]xtrkit train --recipe monot5 --model path/to/flan-t5
    --data mined.jsonl@folder/ --out my-reranker[/]
    """
    flags = {
        "top_layers": top_layers, "steps": steps, "epochs": epochs, "batch_size": batch_size, "accumulate": accumulate,
        "learning_rate": learning_rate, "k_train": k_train, "temperature": temperature, "negatives": negatives,
        "distillation": distillation, "loss": loss, "max_length": max_length,
        "dim": dim, "query_length": query_length, "document_length": document_length,
        "eval_steps": eval_steps, "seed": seed, "bf16": bf16,
    }  # fmt: skip
    from xtrkit.training.recipes import parsed, read_overrides, recipe_named
    from xtrkit.training.reranker_recipes import RerankerRecipe

    chosen = recipe_named(recipe).but(**(read_overrides(config) if config else {}))
    chosen = chosen.but(**{name: parsed(name, value) for name, value in _pairs(changes, "--set")})
    chosen = chosen.but(**{name: value for name, value in flags.items() if value is not None})
    from xtrkit.training.plan import TrainingPlan
    from xtrkit.training.run import carry_out

    plan = TrainingPlan(
        chosen,
        model,
        data,
        out_dir,
        dev=None if dev == "none" else dev,
        dev_queries=dev_queries,
        dev_documents=dev_documents,
        dev_nbits=dev_nbits,
        dev_depth=dev_depth,
        cache=cache,
        resume=resume,
        overwrite=overwrite,
        device=device,
        licence=licence,
        data_licences=dict(_pairs(data_licence, "--data-licence")),
    )
    with _shown(as_json) as (report, bar):
        summary = carry_out(plan, report=report, bar=bar)
    if as_json:
        facts = {**vars(summary), "path": str(summary.path), "recipe": vars(chosen)}
        print_json(facts)
        return
    if summary.curve:
        figures = dict(summary.curve)
        compared = "" if summary.baseline is None else f" BM25 alone: {summary.baseline:.4f}."
        before, after = figures[0], figures[summary.best_step]
        out.print(f"nDCG@10 on the dev set: {before:.4f} before, {after:.4f} after.{compared}")
    use = "Index something with it: xtrkit index COLLECTION INDEX --model"
    if isinstance(chosen, RerankerRecipe):
        use = "Rerank with it: xtrkit search INDEX QUERY --rerank"
    out.print(f"The model is in {out_dir}. {use} {out_dir}")


@dataclass(frozen=True)
class NegativesOptions:
    """Which of the documents that are found become negatives."""

    negatives: Annotated[int, typer.Option(help="Most negatives of a query.", min=1)] = 8
    depth: Annotated[int, typer.Option(help="How many documents are looked at.", min=1)] = 100
    skip: Annotated[int, typer.Option(help="How many of the first are passed over.", min=0)] = 0
    margin: Annotated[
        float, typer.Option(help="How far below the positive a negative must score, as a share of that score.")
    ] = 0.0


@training.command()
@grouped
def mine(
    data: Annotated[str, typer.Argument(help="BEIR folder with qrels/train.tsv, or FOLDER:SPLIT.", show_default=False)],
    out_file: Annotated[Path, typer.Argument(metavar="OUT", help=".jsonl file to write.", show_default=False)],
    index: Annotated[
        Path | None, typer.Option(help="An index of the folder's corpus to search instead of BM25.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Where its encoder is, if it has moved.", show_default=False)
    ] = None,
    chosen: NegativesOptions = NegativesOptions(),
    as_json: Json = False,
) -> None:
    """Find hard negatives for training queries, with BM25 or an index of your own.

    Example: [bold]xtrkit mine folder/ mined.jsonl[/], then [bold]xtrkit train --data mined.jsonl@folder/ --out model[/]
    """
    from xtrkit.training.mining import Selection
    from xtrkit.training.mining import mine as run_mining

    selection = Selection(chosen.negatives, chosen.depth, chosen.skip, chosen.margin)
    lines, found = run_mining(data, out_file, index=index, model=model, selection=selection, progress=not as_json)
    _tell(as_json, f"{lines:,} lines with {found:,} negatives in {out_file}.", lines=lines, negatives=found)


@training.command()
def score(
    data: Annotated[str, typer.Argument(help="FILE.jsonl@FOLDER, as mine writes the file.", show_default=False)],
    out_file: Annotated[Path, typer.Argument(metavar="OUT", help=".jsonl file to write.", show_default=False)],
    teacher: Annotated[
        str,
        typer.Option(
            help="What scores: the directory or hub name of a monoT5 (or its export), a cross-encoder or an encoder."
        ),
    ] = "default",
    margin: Annotated[
        float | None,
        typer.Option(
            help="Leave out negatives that don't score at least this much below the positive.", show_default="keep all"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Have a teacher score queries' documents, for distillation.

    Example: [bold]xtrkit score mined.jsonl@folder/ scored.jsonl --teacher path/to/model[/], then [bold]xtrkit train
    --recipe colbertv2 --data scored.jsonl@folder/ --out model[/]
    """
    from xtrkit.training.teaching import load_teacher
    from xtrkit.training.teaching import score as run_scoring

    lines, dropped = run_scoring(data, out_file, load_teacher(teacher), margin=margin, progress=not as_json)
    _tell(as_json, f"{lines:,} lines in {out_file}; {dropped:,} negatives left out.", lines=lines, left_out=dropped)


def _tell(as_json: bool, text: str, **facts: int) -> None:
    if as_json:
        print_json(facts)
    else:
        out.print(text)


def _pairs(given: list[str] | None, flag: str) -> Iterator[tuple[str, str]]:
    for entry in given or []:
        name, equals, value = entry.partition("=")
        if not equals:
            raise InputError(f"{flag} takes NAME=VALUE, got {entry!r}.")
        yield name, value


@contextmanager
def _shown(as_json: bool) -> Iterator[tuple[Any, Any]]:
    """Progress on standard error: bars of what comes first, then steps with loss and dev figures."""
    from xtrkit.progress import progress_bar

    console = Console(stderr=True, highlight=False)

    def report(report: Report) -> None:
        if report.dev is not None:
            console.print(f"step {report.step:>6}/{report.steps}  dev nDCG@10 {report.dev:.4f}", style="bold")
        elif report.loss is not None:
            console.print(f"step {report.step:>6}/{report.steps}  loss {report.loss:.4f}")

    @contextmanager
    def bar(what: str, total: int) -> Iterator[Advance]:
        with progress_bar(what, total, shown=not as_json, unit="texts") as advance:
            yield advance

    yield (lambda report: None) if as_json else report, bar
    sys.stderr.flush()
