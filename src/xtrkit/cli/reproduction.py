"""``xtrkit reproduce``: the tables and figures of the XTR paper and of UR²N's, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from xtrkit.errors import InputError

reproduction = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
out = Console(soft_wrap=True, markup=False, highlight=False)


@reproduction.command()
def reproduce(
    claims: Annotated[
        list[str],
        typer.Argument(
            metavar="CLAIM...",
            help="[bold]table-1[/], [bold]table-5[/], [bold]table-6[/], [bold]figure-2[/], [bold]figure-4[/], "
            "[bold]figure-5[/], [bold]figure-6[/], [bold]figure-7[/], [bold]footnote-2[/], or [bold]all[/] of these, "
            "of XTR; [bold]ur2n-table-1[/], [bold]ur2n-table-3[/], [bold]ur2n-figure-2[/], [bold]ur2n-table-4[/], or "
            "[bold]ur2n[/] for these four; or records of claims (reproductions/table-5.yaml), which are run again as "
            "they were and compared.",
            show_default=False,
        ),
    ],
    work: Annotated[Path, typer.Option(help="Where models, indexes and scores are kept, for further claims.")] = Path(
        "reproduction-work"
    ),
    data: Annotated[
        list[str] | None,
        typer.Option(help="What models learn from, as [bold]xtrkit train --data[/] takes it.", show_default=False),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(help="A BEIR folder to test on; may be given several times.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="What to start from. Of UR²N's claims: a T5, of which a monoT5 and its branch are trained; a monoT5, "
            "of which the branch is; or a UR²N, which is taken as it is. Records name a model's folder: it is looked "
            "for in --datasets, or said here.",
            show_default=False,
        ),
    ] = None,
    datasets: Annotated[
        Path | None, typer.Option(help="Folder that has the data sets which records name.", show_default=False)
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A field of the setting, as FIELD=VALUE: seeds=1,2,3, epochs, batch_size, k_train, …"
        ),
    ] = None,
    pages: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for a page, a picture and JSON of each claim.", show_default=False),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Where models train, encode and rerank: cpu, cuda, …; by default what torch finds."),
    ] = None,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Train and rerank in bfloat16: much faster on a GPU, a little less exact.")
    ] = False,
    records: Annotated[
        Path | None, typer.Option(help="Folder to write CLAIM.yaml to, with what came out.", show_default=False)
    ] = None,
) -> None:
    """Measure claims of the XTR paper, or of UR²N's.

    XTR: two models, one learns with ColBERT's sum-of-max, the other with XTR's in-batch token retrieval; the rest
    (model to start from, data, seeds, budget) is the same. UR²N: one model that retrieves with its encoder and reranks
    with its decoder, beside BM25 reranked by the same model; what it scored is kept, so that the second claim costs
    little. Prints tables, and whether what the paper says held here. A claim that doesn't hold is no error; a record
    whose figures don't come out again is one.

    Examples: [bold]xtrkit reproduce table-5 figure-4 --data my-folder/ --test scifact/[/]   [bold]xtrkit reproduce
    ur2n --model path/to/ur2n --data my-folder/ --test scifact/ --device cuda[/]   [bold]xtrkit reproduce
    reproductions/table-5.yaml --datasets sets/[/]
    """
    from xtrkit.reproduction.claims import GROUPS
    from xtrkit.reproduction.laboratory import Compute, Laboratory, Setting
    from xtrkit.reproduction.run import Asked, Run, run_claim

    asked = Asked(data or (), test or (), changes or (), model, datasets)
    runs = [Run.of(name, asked) for claim in claims for name in GROUPS.get(claim, (claim,))]
    tell, compute = Console(stderr=True, highlight=False).print, Compute(device, bf16)
    laboratories: dict[tuple[str, Setting], Laboratory] = {}
    wrong: list[str] = []
    for run in runs:
        key = run.claim.paper.name, run.setting
        if key not in laboratories:
            laboratories[key] = run.laboratory(work, tell, compute)
        page, differences = run_claim(run, laboratories[key], pages, records, tell)
        out.print(page)
        wrong += [f"{run.name}: {difference}" for difference in differences]
    if wrong:
        raise InputError(f"{len(wrong)} figures are not those of the record: {'; '.join(wrong)}.")
