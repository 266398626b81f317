"""The command ``xtrkit serve``; ``app.py`` hangs it into ``xtrkit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from xtrkit.cli.options import Model
from xtrkit.errors import missing_extra

THREADS_ON_RAY = 32
"""Searches at a time in a process whose threads wait for shards: two batches."""


@dataclass(frozen=True)
class Listening:
    """Where the server listens."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="Port to listen on; 0 is any that is free.", min=0, max=65535)] = 8000
    workers: Annotated[
        int, typer.Option(help="Processes; one answers as many searches at a time as there are cores.", min=1, max=256)
    ] = 1


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    read_key_file: Annotated[
        Path | None,
        typer.Option(help="File with the key that requests must bring; without it none is needed.", show_default=False),
    ] = None
    write_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the key that adding and deleting need; without it nothing can be changed.",
            show_default=False,
        ),
    ] = None
    allow_public: Annotated[
        bool, typer.Option("--allow-public", help="Listen where other machines reach it though no key is needed.")
    ] = False
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Name under which it may be asked without a key, beside localhost and addresses."),
    ] = None
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Site whose pages may ask from a browser, such as https://example.org (CORS)."),
    ] = None


@dataclass(frozen=True)
class Answering:
    """How the server answers."""

    model: Model = None
    rerank: Annotated[
        str | None,
        typer.Option(help="Model that scores the best passages again where a request asks for it.", show_default=False),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            help="Searches at a time in each process. [dim]\\[default: as many as cores][/]", min=1, show_default=False
        ),
    ] = None
    queue: Annotated[int, typer.Option(help="Requests that may wait; beyond, they are told to come again.", min=0)] = 64
    deadline: Annotated[float, typer.Option(help="Seconds that a request may take.", min=0.1)] = 30.0
    log_queries: Annotated[bool, typer.Option("--log-queries", help="Write the queries' texts into the log.")] = False


class OnRay(NamedTuple):
    """Where the shards of clusters run.

    Attributes:
        address: of the Ray.
        replicas: actors of each shard.
        cache: where machines keep what they pull of clusters in stores.
        routers: how many processes of Ray Serve answer, at least and at most; None where this one does.
    """

    address: str
    replicas: int
    routers: tuple[int, int] | None
    cache: Path | None = None


def serve(
    indexes: Annotated[
        list[Path], typer.Argument(metavar="INDEX…", help="Directories of the indexes.", show_default=False)
    ],
    listening: Listening,
    access: Access,
    answering: Answering,
) -> None:
    """Serve indexes over HTTP: searching and, with a key, changing them.

    It prints where; what it does is logged on standard error, a JSON object a line. Needs the extra "server".

    Example: [bold]xtrkit serve xtrkit-demo[/]
    """
    run_server(indexes, listening, access, answering)


def run_server(
    indexes: Sequence[str | Path],
    listening: Listening,
    access: Access,
    answering: Answering,
    on_ray: OnRay | None = None,
) -> None:
    """Serve until somebody stops it.

    Args:
        indexes: directories; URLs, too, of clusters on Ray.
        listening: where.
        access: to whom.
        answering: how.
        on_ray: where shards run; None where they are searched here.

    Raises:
        MissingExtraError: the extra "server" isn't installed.
    """
    try:
        from xtrkit.serving.running import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("xtrkit"):
            raise
        raise missing_extra("Serving", "server") from error
    from xtrkit.machine import usable_cores
    from xtrkit.serving.settings import Limits, Settings

    settings = Settings(
        indexes=tuple(map(str, indexes)),
        host=listening.host,
        port=listening.port,
        workers=listening.workers,
        read_key_file=_text(access.read_key_file),
        write_key_file=_text(access.write_key_file),
        allow_public=access.allow_public,
        allow_hosts=tuple(access.allow_host or ()),
        allow_origins=tuple(access.allow_origin or ()),
        model=answering.model,
        reranker=answering.rerank,
        threads=answering.threads or (usable_cores() if on_ray is None else THREADS_ON_RAY),
        address=on_ray and on_ray.address,
        replicas=1 if on_ray is None else on_ray.replicas,
        cache=_text(on_ray.cache) if on_ray else None,
        log_queries=answering.log_queries,
        limits=replace(Limits(), queue=answering.queue, deadline_seconds=answering.deadline),
    )
    if on_ray is None or on_ray.routers is None:
        run(settings, tell=typer.echo)
        return
    from xtrkit.serving.routers import Routers, serve_routers

    serve_routers(settings, Routers(*on_ray.routers), tell=typer.echo)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
