"""Files below a folder, or by a pattern: no loops, nothing that could block, and everything passed over is told."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from xtrkit.texts.document import Skipped, SourceFile
from xtrkit.texts.files.kinds import kind_of
from xtrkit.texts.files.layouts import besides, foreign
from xtrkit.texts.files.opening import sentence_of

CACHES = ("__pycache__", "node_modules", "__MACOSX")
UNREADABLE = "unreadable"
ASKING = "queries or judgements of a test collection"
EVERYTHING = ("**",)


class Walk(NamedTuple):
    """What was found.

    Attributes:
        files: files to read, by name, and what can't be.
        skipped: files and folders that are passed over.
    """

    files: list[SourceFile]
    skipped: list[Skipped]


def walk(root: Path, pattern: tuple[str, ...] = EVERYTHING) -> Walk:
    """All files below a folder that a pattern takes.

    Args:
        root: the folder.
        pattern: one part for each level; ``**`` is for any number of them.
    """
    found = Walk([], [])
    waiting = [(root, "", frozenset({0}))]
    while waiting:
        folder, below, places = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            found.files.append(SourceFile(_printable(below), folder, UNREADABLE, sentence_of(error, "a folder")))
            continue
        names = frozenset(entry.name for entry in listed)
        if below and (known := foreign(names)) is not None:
            found.skipped.append(Skipped(_printable(below), known[0]))
            continue
        asking = besides(names)
        for entry in listed:
            name = f"{below}/{entry.name}" if below else entry.name
            deeper = _step(pattern, places, entry.name)
            if not deeper:
                continue
            if entry.name in asking:
                found.skipped.append(Skipped(_printable(name), ASKING))
            elif not _is_folder(entry):
                if any(all(part == "**" for part in pattern[place:]) for place in deeper):
                    _take(entry, name, pattern, places, found)
            elif reason := _folder_reason(entry, pattern, places, deeper):
                found.skipped.append(Skipped(_printable(name), reason))
            else:
                waiting.append((folder / entry.name, name, deeper))
    found.files.sort(key=lambda file: file.name)
    found.skipped.sort()
    return found


def _take(entry: os.DirEntry[str], name: str, pattern: tuple[str, ...], places: Iterable[int], found: Walk) -> None:
    """Put a file among those to read, or among those passed over."""
    if entry.name.startswith(".") and not _asked(pattern, places):
        found.skipped.append(Skipped(_printable(name), "hidden"))
        return
    file, reason = look(name, Path(entry.path))
    if file is not None:
        found.files.append(file)
    else:
        found.skipped.append(Skipped(_printable(name), reason))


def look(name: str, path: Path) -> tuple[SourceFile | None, str]:
    """A file with what it is read as, or why it is passed over."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None, "no regular file"
        if path.name.startswith("~$"):
            return None, "left by Word while a file is open"
        kind, reason = kind_of(name, path)
        if kind and (printable := _printable(name)) != name:
            told = "its name is not UTF-8, and so can't be an id: rename it."
            return SourceFile(printable, path, UNREADABLE, told), ""
    except FileNotFoundError:
        return SourceFile(_printable(name), path, UNREADABLE, "is a link to nothing: take it away, or mend it."), ""
    except Exception as error:  # of opening, or of unpacking
        return SourceFile(_printable(name), path, UNREADABLE, sentence_of(error, "a text")), ""
    return (SourceFile(name, path, kind), "") if kind else (None, reason)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _folder_reason(
    entry: os.DirEntry[str], pattern: tuple[str, ...], places: Iterable[int], deeper: Iterable[int]
) -> str:
    """Why a folder is not gone into; "" if it is."""
    if entry.name.startswith(".") and not _asked(pattern, places):
        return "hidden"
    if entry.name in CACHES:
        return "made by tools"
    if all(place == len(pattern) for place in deeper):
        return "a folder: end the pattern with /** to read it"
    return "a link to a folder" if entry.is_symlink() else ""


def _asked(pattern: tuple[str, ...], places: Iterable[int]) -> bool:
    """Whether a pattern asks for hidden names where it stands."""
    return any(pattern[place].startswith(".") for place in _open(pattern, places) if place < len(pattern))


def _open(pattern: tuple[str, ...], places: Iterable[int]) -> Iterator[int]:
    """Places in a pattern, and those behind each ``**``, which may stand for nothing."""
    for place in places:
        yield place
        while place < len(pattern) and pattern[place] == "**":
            place += 1
            yield place


def _step(pattern: tuple[str, ...], places: Iterable[int], name: str) -> frozenset[int]:
    """Places in a pattern once a name was seen."""
    after = set()
    for place in _open(pattern, places):
        if place < len(pattern):
            if pattern[place] == "**":
                after.add(place)
            elif fnmatch.fnmatchcase(name, pattern[place]):
                after.add(place + 1)
    return frozenset(after)


def _printable(name: str) -> str:
    """A name that can be shown: bytes that are not UTF-8 as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
