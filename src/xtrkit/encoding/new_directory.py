"""A directory that appears when all that belongs in it is written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xtrkit.errors import InputError
from xtrkit.forks import begun_here


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Give a hidden sibling of ``path`` to write to; it becomes ``path`` when the block ends, and goes if it fails.

    Raises:
        InputError: something is at ``path`` already, or there is no folder to make it in.
    """
    path = path.absolute()
    check_new(path)
    process, building = os.getpid(), Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield building
        umask = os.umask(0)  # a temporary directory is private, unlike one that was asked for
        os.umask(umask)
        building.chmod(0o777 & ~umask)
        check_new(path)
        building.rename(path)
    finally:
        if begun_here(process) and building.exists():
            shutil.rmtree(building)


def check_new(path: Path) -> None:
    """Refuse a place where no directory can be made; to be asked before the work that fills it.

    Raises:
        InputError: something is at ``path`` already, or there is no folder to make it in.
    """
    if os.path.lexists(path):
        raise InputError(f"{path} exists already: choose another place, or delete it first.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path.parent} is no folder: make it first, or choose another place.")
