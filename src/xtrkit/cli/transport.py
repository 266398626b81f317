"""The commands ``push`` and ``pull``: an index or a cluster, from one machine to another."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from xtrkit.cli.options import Json
from xtrkit.cli.output import print_json

if TYPE_CHECKING:
    from xtrkit.storage.transport import Transfer

out = Console(soft_wrap=True, markup=False)

Place = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="s3://BUCKET/FOLDER, gs://…, abfs://…, or what else fsspec knows; or a directory that both machines see.",
        show_default=False,
    ),
]
Generation = Annotated[
    int | None, typer.Option(help="Which one. [dim]\\[default: the newest][/]", metavar="G", show_default=False)
]


def push(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory of the cluster, or the index.", show_default=False)
    ],
    url: Place,
    generation: Generation = None,
    as_json: Json = False,
) -> None:
    """Copy a cluster, or an index, to where other machines can pull it.

    Only files that are not there yet are copied, so that a new generation costs what is new in it. What was pushed is
    never changed: of two who push the same generation with different content, one is refused. A push that was stopped
    leaves nothing that can be pulled; the same command goes on. Needs the extra "remote" and, for s3://, the package
    s3fs; credentials and endpoints are taken from where that looks for them, such as AWS_ACCESS_KEY_ID and
    AWS_ENDPOINT_URL.

    Examples: [bold]xtrkit push shards s3://bucket/wiki[/]   [bold]xtrkit push idx /mnt/backup/idx[/]
    """
    from xtrkit.progress import Reporter
    from xtrkit.storage.transport.pushing import push

    begin = time.perf_counter()
    made = push(directory, url, generation, Reporter(not as_json))
    if as_json:
        print_json({"directory": str(directory), "url": url, **_record(made, begin)})
    elif not made.copied:
        out.print(
            f"Generation {made.generation} of {directory} is there already ({_files(made.kept, made.kept_bytes)})."
        )
    else:
        out.print(
            f"Pushed generation {made.generation} of {directory}: {_told(made, begin)}. On another machine: "
            f"xtrkit pull {shlex.quote(url)} DIR"
        )


def pull(
    url: Place,
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Directory to make, or one that it was pulled into before.", show_default=False
        ),
    ],
    shard: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this shard of a cluster, by number (from 0) or name; several times.", show_default=False
        ),
    ] = None,
    generation: Generation = None,
    as_json: Json = False,
) -> None:
    """Bring a cluster, or an index, that was pushed into a local directory.

    Only files that are not there yet are copied, and each is compared with its sha256 when it arrives. Manifests come
    last: a pull that was stopped, or killed, leaves nothing that could be taken for an index, and the same command goes
    on where it was. Older generations go, but for the one before and those that somebody reads.

    Examples: [bold]xtrkit pull s3://bucket/wiki shards[/]   [bold]xtrkit pull s3://bucket/wiki shards --shard 0[/]
    """
    from xtrkit.progress import Reporter
    from xtrkit.storage.transport.pulling import pull

    begin = time.perf_counter()
    made = pull(url, directory, generation, shard, Reporter(not as_json))
    if as_json:
        print_json({"url": url, "directory": str(directory), **_record(made, begin)})
        return
    what = f"Generation {made.generation} of {url}"
    if shard is not None:
        what = f"{', '.join(made.shards)} of generation {made.generation} of {url}"
    if made.copied:
        out.print(f"{what} is in {directory}: {_told(made, begin)}.")
    else:
        out.print(f"{what} is in {directory} already ({_files(made.kept, made.kept_bytes)}).")


def register(app: typer.Typer) -> None:
    """Give an application these commands."""
    for command in (push, pull):
        app.command()(command)


def _record(made: Transfer, begin: float) -> dict[str, object]:
    return {"seconds": time.perf_counter() - begin, **made._asdict()}


def _told(made: Transfer, begin: float) -> str:
    kept = f", {_files(made.kept, made.kept_bytes)} were there" if made.kept else ""
    return f"{_files(made.copied, made.copied_bytes)} copied{kept}, in {time.perf_counter() - begin:.1f} s"


def _files(number: int, size: int) -> str:
    unit, amount = next(
        (unit, size / one) for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if size >= one or one == 1e3
    )
    return f"{number:,} file{'' if number == 1 else 's'}, {amount:.1f} {unit}"
