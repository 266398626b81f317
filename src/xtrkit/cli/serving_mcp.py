"""The command that lets agents search: ``xtrkit mcp``; ``app.py`` hangs it into ``xtrkit``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xtrkit.cli.options import Model
from xtrkit.errors import InputError, missing_extra

if TYPE_CHECKING:
    from xtrkit.serving.settings import Settings


@dataclass(frozen=True)
class OverHttp:
    """Where agents reach it over HTTP, and which of them."""

    host: Annotated[str, typer.Option(help="[bold]http[/]: the address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="[bold]http[/]: the port; 0 is any that is free.", min=0, max=65535)] = 8000
    read_key_file: Annotated[
        Path | None,
        typer.Option(help="[bold]http[/]: file with the key that requests must bring.", show_default=False),
    ] = None
    allow_public: Annotated[
        bool,
        typer.Option(
            "--allow-public", help="[bold]http[/]: listen where other machines reach it though no key is needed."
        ),
    ] = False
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="[bold]http[/]: name under which it may be asked without a key, beside localhost."),
    ] = None


def mcp(
    indexes: Annotated[
        list[Path], typer.Argument(metavar="INDEX…", help="Directories of the indexes.", show_default=False)
    ],
    over_http: OverHttp,
    transport: Annotated[
        Literal["stdio", "http"],
        typer.Option(
            help="[bold]stdio[/]: the agent's program starts this command and talks to it on standard input and "
            "output. [bold]http[/]: a server, as [bold]xtrkit serve[/], whose /mcp agents ask."
        ),
    ] = "stdio",
    model: Model = None,
) -> None:
    """Let agents search indexes and read what they find, by the Model Context Protocol.

    The tools are [bold]search[/] and [bold]fetch[/], in the shapes that connectors require. What is committed meanwhile
    is found a second later. Needs the extra "mcp", and "server" for HTTP.

    Example, for an agent's configuration: [bold]{"mcpServers": {"notes": {"command": "xtrkit", "args": ["mcp",
    "/home/me/idx"]}}}[/]
    """
    try:
        from xtrkit.serving.agents import agents_server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("xtrkit"):
            raise
        raise missing_extra("Serving agents", "mcp") from error
    from xtrkit.serving.settings import Settings

    settings = Settings(
        indexes=tuple(map(str, indexes)),
        host=over_http.host,
        port=over_http.port,
        read_key_file=None if over_http.read_key_file is None else str(over_http.read_key_file.absolute()),
        allow_public=over_http.allow_public,
        allow_hosts=tuple(over_http.allow_host or ()),
        model=model,
    )
    if transport == "http":
        _serve(settings)
        return
    if over_http.allow_host or over_http != OverHttp(allow_host=over_http.allow_host):
        raise InputError("On standard streams there is neither an address nor a key: add --transport http.")
    from xtrkit.retriever import Retriever
    from xtrkit.serving.shelf import OpenedShelf

    retrievers = {name: Retriever.open(path, model=model) for name, path in settings.names.items()}
    agents_server(OpenedShelf(retrievers)).run()


def _serve(settings: Settings) -> None:
    try:
        from xtrkit.serving.running import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("xtrkit"):
            raise
        raise missing_extra("Serving agents over HTTP", "server") from error
    serve(settings, tell=lambda line: typer.echo(f"{line} Agents ask at /mcp."))
