"""The commands ``xtrkit cluster …``: an index in shards, on one machine or several."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from xtrkit.cli import cluster_build
from xtrkit.cli.grouping import grouped
from xtrkit.cli.options import IndexPath, Json
from xtrkit.cli.output import print_json
from xtrkit.cli.serving import Access, Answering, Listening, run_server

if TYPE_CHECKING:
    from xtrkit.cluster.status import ClusterStatus, ShardStatus

out = Console(soft_wrap=True, markup=False)
cluster = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="An index in shards, searched with the ranking of one index: in one process, or on Ray.",
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the cluster.", show_default=False)]
_ADDRESS = "of the Ray on which the shards run; [bold]auto[/] is the one that runs on this machine"


@cluster.command()
def split(
    index: IndexPath,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to make.", show_default=False)],
    shards: Annotated[int, typer.Option(help="How many shards.", min=1, show_default=False)],
    as_json: Json = False,
) -> None:
    """Make a cluster of an index that is there, without encoding.

    Each shard has consecutive documents, and about as many tokens as any other.

    Example: [bold]xtrkit cluster split idx shards --shards 4[/]
    """
    from xtrkit.cluster.splitting import split_index
    from xtrkit.cluster.status import status_of
    from xtrkit.progress import Reporter

    split_index(index, target, shards, Reporter(not as_json))
    status = status_of(target)
    if as_json:
        print_json(_record(status))
    else:
        _print_status(status)


cluster.command()(grouped(cluster_build.build))


@cluster.command()
def status(
    directory: Directory,
    address: Annotated[
        str | None, typer.Option(help=f"Ask actors, too: address {_ADDRESS}.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what each shard holds and, with an address, whether its actor answers.

    The exit code is 0 where all is well with every shard, 1 where it is not.

    Example: [bold]xtrkit cluster status shards --address auto[/]
    """
    from xtrkit.cluster.status import status_of

    found = status_of(directory, address)
    if as_json:
        print_json(_record(found))
    else:
        _print_status(found)
    if not found.ok:
        raise typer.Exit(1)


@cluster.command()
def rebalance(
    directory: Directory,
    largest: Annotated[
        float, typer.Option(help="How many times the tokens of the median shard one may have.", metavar="TIMES")
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """Split shards that grew beyond the others; documents keep their order, so rankings and scores stay as they are.

    Example: [bold]xtrkit cluster rebalance shards[/]
    """
    from xtrkit.cluster.rebalancing import rebalance as split_again
    from xtrkit.progress import Reporter

    done = split_again(directory, largest, Reporter(not as_json))
    if as_json:
        print_json(done._asdict())
        return
    for shard, pieces in done.split.items():
        out.print(f"{shard} is now {', '.join(f'{name} ({done.tokens[name]:,} tokens)' for name in pieces)}.")
    if not done.split:
        out.print(f"No shard has more than {largest:g} times the tokens of the median one: nothing was changed.")


@cluster.command()
@grouped
def serve(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR…", help="Directories of clusters.", show_default=False)
    ],
    listening: Listening,
    access: Access,
    answering: Answering,
    address: Annotated[
        str, typer.Option(help=f"Address {_ADDRESS}, [bold]local[/] starts one for as long as this serves.")
    ] = "auto",
) -> None:
    """Serve clusters over HTTP, as [bold]xtrkit serve[/] does indexes: their shards are actors of Ray.

    Requests that arrive together are searched together. With --workers several processes ask the same shards. Needs the
    extras "server" and "ray".

    Example: [bold]xtrkit cluster serve shards --address local[/]
    """
    run_server(directories, listening, access, answering, address)


def _record(status: ClusterStatus) -> dict[str, object]:
    return {"ok": status.ok, **asdict(status)}


def _print_status(status: ClusterStatus) -> None:
    kept = "vectors that can't be told" if status.storage is None else status.storage
    codec = "" if status.codec is None else f" (codec {status.codec[:12]})"
    out.print(f"{status.cluster}, generation {status.generation}: {len(status.shards)} shards, {kept}{codec}.")
    table = Table(box=None, padding=(0, 2, 0, 0))
    asked = any(shard.answers is not None for shard in status.shards)
    names = ["shard", "generation", "documents", "living", "tokens", "bytes", *(["actor", "restarts"] if asked else [])]
    for name in names:
        table.add_column(name, justify="left" if name in ("shard", "actor") else "right", no_wrap=True)
    for shard in status.shards:
        table.add_row(shard.name, str(shard.generation), *_counts(shard), *(_actor(shard) if asked else ()))
    out.print(table, width=max(out.width, 120), crop=False)
    for shard in status.shards:
        if shard.problem:
            out.print(shard.problem)


def _counts(shard: ShardStatus) -> list[str]:
    numbers = (shard.documents, shard.living, shard.tokens, shard.bytes)
    return ["–" if number is None else f"{number:,}" for number in numbers]


def _actor(shard: ShardStatus) -> list[str]:
    return ["answers" if shard.answers else "does not answer", "–" if shard.restarts is None else f"{shard.restarts:,}"]
