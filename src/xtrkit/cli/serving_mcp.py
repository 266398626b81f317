"""The command that gives agents an index: ``xtrkit mcp``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from xtrkit.cli.options import Model
from xtrkit.errors import missing_extra


def mcp(
    indexes: Annotated[
        list[Path], typer.Argument(metavar="INDEX…", help="Directories of indexes.", show_default=False)
    ],
    transport: Annotated[
        Literal["stdio", "http"],
        typer.Option(
            help="[bold]stdio[/]: the agent's program starts this command and talks to it on standard input and "
            "output. [bold]http[/]: streamable HTTP at /mcp."
        ),
    ] = "stdio",
    host: Annotated[str, typer.Option(help="[bold]http[/]: the address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="[bold]http[/]: the port.", min=0, max=65535)] = 8000,
    model: Model = None,
) -> None:
    """Let agents search indexes and read what they find, by the Model Context Protocol.

    The tools are [bold]search[/] and [bold]fetch[/], in the shapes that connectors require. What is committed while it
    runs is found a second later. [bold]xtrkit serve[/] has the same at /mcp, beside everything else.

    Example, for an agent's configuration: [bold]{"mcpServers": {"notes": {"command": "xtrkit", "args": ["mcp",
    "/home/me/idx"]}}}[/]
    """
    try:
        from xtrkit.serving.agents import agents_server
    except ImportError as error:
        raise missing_extra("Serving agents", "mcp") from error
    from xtrkit.retriever import Retriever
    from xtrkit.serving.settings import Settings
    from xtrkit.serving.shelf import OpenedShelf

    settings = Settings(tuple(map(str, indexes)), host=host, port=port, model=model)
    server = agents_server(
        OpenedShelf({name: Retriever.open(index, model=model) for name, index in settings.names.items()})
    )
    server.run()
