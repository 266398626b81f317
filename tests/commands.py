"""The command in this process: as good as one of its own where nothing depends on that, and a second quicker."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from unittest import mock

from xtrkit.cli import main


@contextlib.contextmanager
def streams(encoding="utf-8", stdout=None):
    """Standard output and error as those of a process whose parent reads them: yields the two buffers of bytes."""
    out, err = io.BytesIO(), io.BytesIO()
    shown = io.TextIOWrapper(out, encoding) if stdout is None else stdout
    told = io.TextIOWrapper(err, encoding, errors="backslashreplace")
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(told):
        yield out, err
        told.flush()
        if stdout is None:
            shown.flush()
    for stream in (told, shown) if stdout is None else (told,):
        stream.detach()


def in_bytes(*arguments, encoding="utf-8", stdout=None):
    """Run the command with arguments; what it prints is bytes.

    Args:
        arguments: as a shell would give them.
        encoding: of its standard streams.
        stdout: a file to print to; its caller closes it.
    """
    handler = signal.getsignal(signal.SIGTERM)
    words = ["xtrkit", *(os.fsdecode(one) if isinstance(one, bytes) else str(one) for one in arguments)]
    with mock.patch.object(sys, "argv", words), streams(encoding, stdout) as (out, err):
        try:
            main()
            code = 0
        except SystemExit as left:
            code = left.code or 0
            if isinstance(code, str):
                sys.stderr.write(f"{code}\n")
                code = 1
        finally:
            signal.signal(signal.SIGTERM, handler)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def in_text(*arguments):
    """Run the command with arguments; what it prints is text."""
    ran = in_bytes(*arguments)
    return subprocess.CompletedProcess(ran.args, ran.returncode, ran.stdout.decode(), ran.stderr.decode())
