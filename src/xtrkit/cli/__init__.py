"""The command line: parses and prints. ``app.py`` has the commands, ``render.py`` what they show."""

import signal
import sys

from xtrkit.errors import XtrkitError
from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)


def main() -> None:
    """Run the command; what the user or the machine can mend is one sentence on standard error, and exit code 1."""
    # As Ctrl-C does: the blocks that clean up run.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal that can't show 🙂 shows a ?
    try:
        from xtrkit.cli.app import app

        app()
    except XtrkitError as error:
        sys.exit(f"Error: {error}")
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away: nobody is left to tell
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"Error: {where}{error.strerror or error}. Check the path, its permissions and the space on its disk.")
