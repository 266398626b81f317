"""The command line: parses and prints. ``app.py`` has the commands, ``render.py`` what they show."""

import sys

from rich.console import Console
from rich.markup import escape

from xtrkit.errors import XtrkitError


def main() -> None:
    """Run the command; an error that is the user's to mend is one sentence on standard error, and exit code 1."""
    from xtrkit.cli.app import app

    try:
        app()
    except XtrkitError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away: nobody is left to tell
        sys.exit(1)
