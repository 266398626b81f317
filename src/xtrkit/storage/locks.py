"""The system's file locks, which an index can't do without: they keep apart who writes, reads and collects."""

from __future__ import annotations

import sys

from xtrkit.errors import StorageError

try:
    import fcntl
except ImportError as error:
    raise StorageError(
        f"An index needs POSIX file locks (Python's module fcntl), which this system ({sys.platform}) doesn't have: "
        "use Linux or macOS; on Windows, the Windows Subsystem for Linux (WSL) or a container."
    ) from error

__all__ = ["fcntl"]
