"""The command line: parses and prints. ``app.py`` has the commands, ``render.py`` and ``output.py`` what they show."""

import signal
import sys
import warnings
from typing import Any

from xtrkit.errors import XtrkitError, XtrkitWarning
from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)


_show_as_python_does = warnings.showwarning


def _tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Show a warning of ours as a sentence, without the line of code that gave it."""
    if issubclass(category, XtrkitWarning):
        print(f"Warning: {message}", file=sys.stderr)  # noqa: T201
    else:
        _show_as_python_does(message, category, *where, **more)


def main() -> None:
    """Run the command; what the user or the machine can mend is one sentence on standard error, and exit code 1.

    With --json the sentence is JSON on standard output, too: ``{"error": "…"}``.
    """
    from xtrkit.cli.output import let_go, print_error, say_all

    # As Ctrl-C does: the blocks that clean up run.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    say_all()
    as_json = "--json" in sys.argv[1:]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", XtrkitWarning)
            warnings.showwarning = _tell
            _run(as_json)
        if sys.stdout is not None:
            sys.stdout.flush()
    except XtrkitError as error:
        print_error(str(error), as_json, getattr(error, "problems", None))
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)  # the reader of a pipe went away: nobody is left to tell
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print_error(
            f"{where}{error.strerror or error}. Check the path, its permissions and the space on its disk.", as_json
        )
        sys.exit(1)
    finally:
        let_go()


def _run(as_json: bool) -> None:
    from xtrkit.cli.app import app

    if not as_json:
        app()
        return
    from typer import Abort

    from xtrkit.cli.output import print_json

    try:
        sys.exit(app(standalone_mode=False))
    except Abort:
        sys.exit(130)
    except Exception as error:
        if not hasattr(error, "format_message"):  # how the library that parses words a command that is none
            raise
        error.show()  # type: ignore[attr-defined]
        print_json({"error": error.format_message()})
        sys.exit(getattr(error, "exit_code", 2))
