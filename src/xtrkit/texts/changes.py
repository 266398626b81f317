"""What has happened to a folder since an index was made of it. Looking needs neither an encoder nor the index itself.

A file of the same size and time is the same; of others the content decides.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from xtrkit.errors import CollectionError
from xtrkit.indexing.sources import FileState, Folder, Sources, read_sources
from xtrkit.storage.shards import pin_any
from xtrkit.texts.document import Fields
from xtrkit.texts.reading import Files, SourceFile, open_source

HASHED = 1 << 28
"""Files above this size are told apart by size and time alone: reading them twice would take too long."""

FRESH = 2_000_000_000
"""Nanoseconds: a file that was changed so shortly before it was read may change again without a later time."""


class Changes(NamedTuple):
    """What has happened to a folder since its index was made.

    Attributes:
        new: files that the index does not know.
        changed: files whose content is another.
        gone: files that are there no more.
        unchanged: files that are as they were.
    """

    new: list[SourceFile]
    changed: list[SourceFile]
    gone: list[str]
    unchanged: dict[str, FileState]

    @property
    def counts(self) -> dict[str, int]:
        """How many files are so."""
        return {name: len(files) for name, files in self._asdict().items()}

    @property
    def any(self) -> bool:
        """Whether there are some."""
        return bool(self.new or self.changed or self.gone)


def folder_source(folder: str | Path, fields: Fields) -> Files:
    """The files below a folder, or those that a glob names.

    Raises:
        CollectionError: there is none, or it is something else.
    """
    source = open_source(folder, fields)
    if not isinstance(source, Files):
        raise CollectionError(f"Only files on disk can be synced, got {folder}: give a folder.")
    return source


def remembered(index: Path) -> tuple[int, Sources]:
    """The newest generation of an index, and which files it was made of.

    Raises:
        IndexFormatError: there is no index, or it is damaged.
    """
    pinned = pin_any(index)
    try:
        return pinned.manifest.generation, read_sources(index, pinned.manifest.sources)
    finally:
        pinned.close()


def changes_of(source: Files, sources: Sources) -> Changes:
    """Compare the files of a folder with what an index remembers of it."""
    folder = folder_in(source, sources)
    known, read_so = folder.files, folder.fields == fields_record(source.fields)
    changes, there = Changes([], [], [], {}), set()
    for file in source.listing():
        there.add(file.name)
        before = known.get(file.name)
        if before is None:
            changes.new.append(file)
        elif read_so and _same(file.path, before):
            changes.unchanged[file.name] = before
        else:
            changes.changed.append(file)
    changes.gone.extend(name for name in known if name not in there)
    return changes


def folder_in(source: Files, sources: Sources) -> Folder:
    """What an index remembers of a folder."""
    for folder in sources:
        if folder.root == source.name:
            return folder
    return Folder(source.name, {}, {})


def fields_record(fields: Fields) -> dict[str, Any]:
    """How records were read, as JSON gives it back."""
    return {**asdict(fields), "metadata": fields.metadata if fields.metadata == "all" else list(fields.metadata)}


def state_of(path: Path) -> FileState | None:
    """A file as it is now; None where it can't be read."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest() if facts.st_size <= HASHED else ""
    except OSError:
        return None
    changed = facts.st_mtime_ns if time.time_ns() - facts.st_mtime_ns > FRESH else 0
    return FileState(facts.st_size, changed, sha256, ())


def _same(path: Path, before: FileState) -> bool:
    """Whether a file is as it was read."""
    try:
        facts = path.stat()
    except OSError:
        return False
    if facts.st_size != before.size:
        return False
    if before.changed and facts.st_mtime_ns == before.changed:
        return True
    now = state_of(path)
    return now is not None and bool(before.sha256) and now.sha256 == before.sha256
