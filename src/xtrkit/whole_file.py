"""Files for people and other programs that are there whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from xtrkit.errors import InputError


def write_whole(path: str | Path, text: str) -> None:
    """Write a file that appears when it is complete; what was there stays until then.

    What is no regular file (``/dev/stdout``, a named pipe) is written to as it is. Half surrogate pairs, which file
    names can bring, become "?".
    """
    path, data = Path(path), text.encode(errors="replace")
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = path.resolve()  # a link stays a link
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def check_target(path: str | Path, option: str) -> Path:
    """Refuse a place where no file can be written, before work is done for it.

    Args:
        path: the file.
        option: what named it, for the sentence: "--output".

    Raises:
        InputError: its folder doesn't exist or may not be written to, or it is a folder itself.
    """
    path = Path(path)
    if os.path.isdir(path):  # Path.is_dir raises where a name is too long
        raise InputError(f"{option} names the folder {path}: give the name of a file.")
    if not os.path.isdir(path.parent) or not os.access(path.parent, os.W_OK):
        raise InputError(
            f"{path.parent} is no folder that can be written to: make it, or give another place to {option}."
        )
    return path
