"""``xtrkit reproduce``: the XTR paper's tables and figures, measured."""

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
            "[bold]figure-5[/], [bold]figure-6[/], [bold]figure-7[/], [bold]footnote-2[/], [bold]all[/] of them, or "
            "records of claims (reproductions/table-5.yaml), which are run again as they were and compared.",
            show_default=False,
        ),
    ],
    work: Annotated[Path, typer.Option(help="Where models and indexes are kept, for further claims.")] = Path(
        "reproduction-work"
    ),
    data: Annotated[
        list[str] | None,
        typer.Option(help="What both models learn from, as [bold]xtrkit train --data[/] takes it.", show_default=False),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(help="A BEIR folder to test on; may be given several times.", show_default=False),
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
    records: Annotated[
        Path | None, typer.Option(help="Folder to write CLAIM.yaml to, with what came out.", show_default=False)
    ] = None,
) -> None:
    """Measure claims of the XTR paper on two models that were trained alike but for the objective.

    One learns with ColBERT's sum-of-max, the other with XTR's in-batch token retrieval; the rest (model to start from,
    data, seeds, budget) is the same. Prints tables, and whether what the paper says held here. A claim that doesn't
    hold is no error; a record whose figures don't come out again is one.

    Examples: [bold]xtrkit reproduce table-5 figure-4 --data my-folder/ --test scifact/[/]   [bold]xtrkit reproduce
    reproductions/table-5.yaml --datasets sets/[/]
    """
    from xtrkit.reproduction.claims import CLAIMS
    from xtrkit.reproduction.run import Run, run_claim, setting_of

    chosen = [name for claim in claims for name in (CLAIMS if claim == "all" else [claim])]
    runs = [Run.of(name, setting_of(data or [], test or [], changes or []), datasets) for name in chosen]
    wrong: list[str] = []
    for run in runs:
        page, differences = run_claim(run, work, pages, records, tell=Console(stderr=True, highlight=False).print)
        out.print(page)
        wrong += [f"{run.name}: {difference}" for difference in differences]
    if wrong:
        raise InputError(f"{len(wrong)} figures are not those of the record: {'; '.join(wrong)}.")
