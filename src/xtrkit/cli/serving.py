"""The command ``xtrkit serve``; ``app.py`` hangs it into ``xtrkit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xtrkit.errors import missing_extra


def serve(
    indexes: Annotated[
        list[Path], typer.Argument(metavar="INDEX…", help="Directories of the indexes.", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 is any that is free.", min=0, max=65535)] = 8000,
) -> None:
    """Serve indexes over HTTP.

    Example: [bold]xtrkit serve xtrkit-demo[/]
    """
    try:
        import uvicorn

        from xtrkit.serving.app import create_app
    except ImportError as error:
        raise missing_extra("Serving", "server") from error
    from xtrkit.serving.settings import Settings

    settings = Settings(tuple(map(str, indexes)), host=host, port=port)
    config = uvicorn.Config(create_app(settings), host=host, port=port, log_level="warning", lifespan="on")
    listening = config.bind_socket()
    names = ", ".join(settings.names)
    typer.echo(f"Serving {names} at http://{host}:{listening.getsockname()[1]}/ (stop with Ctrl-C).")
    uvicorn.Server(config).run(sockets=[listening])
