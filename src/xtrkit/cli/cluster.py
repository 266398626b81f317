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
from xtrkit.cli.serving import Access, Answering, Listening, OnRay, run_server

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
    """Tell what each shard holds and, with an address, whether its actors answer, and how far they are behind.

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
        list[str],
        typer.Argument(
            metavar="DIR…", help="Directories of clusters, or URLs that they were pushed to.", show_default=False
        ),
    ],
    listening: Listening,
    access: Access,
    answering: Answering,
    address: Annotated[
        str, typer.Option(help=f"Address {_ADDRESS}, [bold]local[/] starts one for as long as this serves.")
    ] = "auto",
    replicas: Annotated[
        int, typer.Option(help="Actors of each shard: searches take turns, and go on where one dies.", min=1, max=64)
    ] = 1,
    routers: Annotated[
        int | None,
        typer.Option(
            help="Have so many processes of Ray Serve answer, on machines apart, instead of this one.",
            min=1,
            max=1024,
            show_default=False,
        ),
    ] = None,
    max_routers: Annotated[
        int | None,
        typer.Option(help="Under load Serve starts up to so many of them.", min=1, max=1024, show_default=False),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Where each machine keeps the shards that it pulls from a URL. [dim]\\[default: ~/.cache/xtrkit][/]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve clusters over HTTP, as [bold]xtrkit serve[/] does indexes: their shards are actors of Ray.

    Requests that arrive together are searched together. With --workers several processes of this machine ask the same
    shards, with --routers processes of Ray Serve on any (extra "routers"). A URL is that of a store to which the
    cluster was pushed ([bold]xtrkit push[/]). Needs the extras "server" and "ray".

    Examples: [bold]xtrkit cluster serve shards --address local[/]
    [bold]xtrkit cluster serve s3://bucket/wiki --address auto --replicas 2 --routers 4[/]
    """
    on_ray = OnRay(address, replicas, None if routers is None else (routers, max(routers, max_routers or 0)), cache)
    run_server(directories, listening, access, answering, on_ray)


def _record(status: ClusterStatus) -> dict[str, object]:
    return {"ok": status.ok, **asdict(status)}


def _print_status(status: ClusterStatus) -> None:
    kept = "vectors that can't be told" if status.storage is None else status.storage
    codec = "" if status.codec is None else f" (codec {status.codec[:12]})"
    out.print(f"{status.cluster}, generation {status.generation}: {len(status.shards)} shards, {kept}{codec}.")
    table = Table(box=None, padding=(0, 2, 0, 0))
    asked = any(shard.replicas is not None for shard in status.shards)
    names = ["shard", "generation", "documents", "living", "tokens", "bytes"]
    for name in [*names, *(["replicas", "restarts", "lag"] if asked else [])]:
        table.add_column(name, justify="left" if name in ("shard", "replicas") else "right", no_wrap=True)
    for shard in status.shards:
        table.add_row(shard.name, str(shard.generation), *_counts(shard), *(_replicas(shard) if asked else ()))
    Console(markup=False, width=max(out.width, 140)).print(table)
    for shard in status.shards:
        if shard.problem:
            out.print(shard.problem)


def _counts(shard: ShardStatus) -> list[str]:
    numbers = (shard.documents, shard.living, shard.tokens, shard.bytes)
    return ["–" if number is None else f"{number:,}" for number in numbers]


def _replicas(shard: ShardStatus) -> list[str]:
    """How many of its actors answer, how often they were started again, and how far the last of them is behind."""
    actors = shard.replicas or []
    answering = sum(one.answers for one in actors)
    behind = [one.lag for one in actors if one.lag is not None]
    return [
        f"{answering} of {len(actors)} answer" if actors else "none runs",
        f"{sum(one.restarts or 0 for one in actors):,}",
        f"{max(behind):,}" if behind else "–",
    ]
