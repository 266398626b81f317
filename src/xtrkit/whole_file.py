"""Files for people and other programs that are there whole, or not at all."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from xtrkit.errors import InputError


def write_whole(path: str | Path, text: str) -> None:
    """Write a file that appears when it is complete; what was there stays until then.

    A name that ends in ``.gz`` is packed. What is no regular file (``/dev/stdout``, a named pipe) is written to as it
    is. Half surrogate pairs, which file names can bring, become "?".
    """
    path, data = Path(path), text.encode(errors="replace")
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    if is_standard_output(path):  # even if that is a file: others write to it, too
        if sys.stdout is not None:
            sys.stdout.flush()
        with open(1, "wb", closefd=False) as standard_output:
            standard_output.write(data)
        return
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


def is_standard_output(path: str | Path) -> bool:
    """Whether a path is where this process prints to, be that a terminal, a pipe or a file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(1))
    except (OSError, ValueError):
        return False


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


def check_targets(targets: Mapping[str, str | Path | None], inputs: Iterable[str | Path] = ()) -> None:
    """Refuse places where no file can be written, or one that is read, or two, before work is done for it.

    Args:
        targets: {option that named it: the file}; None where it isn't asked for.
        inputs: files that are read.

    Raises:
        InputError: a folder doesn't exist or may not be written to; or a file is an input, or the target of another
            option.
    """
    taken = {os.path.realpath(path): "which is read" for path in inputs}
    for option, path in targets.items():
        if path is None:
            continue
        check_target(path, option)
        other = taken.setdefault(os.path.realpath(path), f"as {option} does")
        if other != f"as {option} does":
            raise InputError(f"{option} would write to {path}, {other}: give another place.")
