"""The command ``xtrkit cluster build``; whoever has the other commands of ``xtrkit cluster`` hangs it in there."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from xtrkit.cli import render
from xtrkit.cli.options import Collection, Compression, Json, Reading
from xtrkit.cli.output import print_json, stopped_in

out = Console(soft_wrap=True, markup=False)


@dataclass(frozen=True)
class Working:
    """Who does the work."""

    address: Annotated[
        str | None,
        typer.Option(
            help="Where workers run: [bold]local[/] starts Ray on this machine for as long as it takes, [bold]auto[/] "
            "or an address joins a Ray that runs. [dim]\\[default: this process, without Ray][/]",
            show_default=False,
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(help="Workers on Ray. [dim]\\[default: one a CPU, or GPU][/]", min=1, show_default=False),
    ] = None
    gpus: Annotated[float, typer.Option(help="GPUs of each worker, to encode on.", min=0)] = 0.0


def build(
    collection: Collection,
    cluster: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to make.", show_default=False)],
    shards: Annotated[int, typer.Option(help="How many shards.", min=1, show_default=False)],
    working: Working,
    compression: Compression,
    reading: Reading,
    model: Annotated[str, typer.Option(help="The encoder, as for [bold]xtrkit index[/].")] = "default",
    split: Annotated[bool, typer.Option(help="Cut documents into passages, as [bold]xtrkit index[/] does.")] = True,
    as_json: Json = False,
) -> None:
    """Encode a collection on many workers, and make a cluster of shards.

    The cluster is, bit for bit, what splitting the index of the same collection would give. Workers on other machines
    must see DIR's folder under the same name. After a run that was stopped, or killed, the same command goes on where
    it was; what it had done lies in .NAME.building beside the cluster.

    Examples: [bold]xtrkit cluster build notes/ shards --shards 4 --address local[/]   [bold]xtrkit cluster build
    wiki.jsonl.gz shards --shards 16 --address auto --workers 64[/]
    """
    from xtrkit.cluster.building import ClusterMaking, build_cluster
    from xtrkit.cluster.crew import InProcess
    from xtrkit.cluster.ray_workers import on_ray
    from xtrkit.errors import InputError
    from xtrkit.indexing.spool import workplace_of
    from xtrkit.progress import Reporter
    from xtrkit.texts.reading import open_source

    if working.address is None and (working.workers is not None or working.gpus):
        raise InputError("Workers and GPUs are Ray's: say where it runs, --address local or --address auto.")
    making = ClusterMaking(compression.nbits, compression.codec, split, reading.skip_bad, reading.batch_size)
    begin = time.perf_counter()
    with stopped_in(workplace_of(cluster.absolute())):
        summary = build_cluster(
            open_source(collection, reading.fields),
            cluster,
            shards,
            model=model,
            making=making,
            hire=InProcess if working.address is None else on_ray(working.address, working.workers, working.gpus),
            reporter=Reporter(not as_json),
        )
    seconds = time.perf_counter() - begin
    if as_json:
        print_json({"cluster": str(cluster), "shards": shards, "seconds": seconds, **summary.as_json()})
        return
    render.print_report(out, summary.report)
    out.print(
        f"Built {shards:,} shards of {summary.passages:,} passages of {summary.documents:,} documents "
        f"({summary.tokens:,} tokens) in {seconds:.0f} s. Ask them something: "
        f'xtrkit search {shlex.quote(str(cluster))} "…" --explain'
    )
