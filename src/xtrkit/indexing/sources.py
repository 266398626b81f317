"""Which files the documents of an index were read from, as they were then: what ``xtrkit sync`` compares with.

One JSON file a generation, named by its manifest and never changed::

    {"folders": [{"root": "/data/notes", "fields": {…}, "files": {"a.md": [1204, 176415000000000, "9f…", ["a.md"]]}}]}

Of each file size, time of its last change (ns), sha256, and the ids of the documents that were read from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from xtrkit.storage.files import FileFacts, NewFile, check_content, damaged, storage_errors
from xtrkit.storage.generations import new_sources_name


class FileState(NamedTuple):
    """A file as it was read.

    Attributes:
        size: bytes; -1 where its documents were changed by other means since.
        changed: when it was last changed, in ns; 0 where that was so shortly before it was read that a later change may
            bear the same time.
        sha256: hexadecimal; empty for a file so large that size and time have to do.
        documents: ids of the documents that were read from it.
    """

    size: int
    changed: int
    sha256: str
    documents: tuple[str, ...]


@dataclass(frozen=True)
class Folder:
    """A folder (or a single file's folder) that documents were read from.

    Attributes:
        root: its absolute path.
        fields: how records were read; with others, all is read again.
        files: {path below the root: the file as it was}
    """

    root: str
    fields: Mapping[str, Any]
    files: Mapping[str, FileState]


Sources = tuple[Folder, ...]


def stale(sources: Sources, touched: Iterable[str] | None = None) -> Sources:
    """Sources in which the files of documents that were changed by other means pass for changed: they are read again.

    Args:
        sources: the sources.
        touched: ids of the documents; all where they are left out.
    """
    changed = None if touched is None else set(touched)
    return tuple(
        replace(
            folder,
            files={
                name: state if changed is not None and changed.isdisjoint(state.documents) else state._replace(size=-1)
                for name, state in folder.files.items()
            },
        )
        for folder in sources
    )


def write_sources(directory: Path, generation: int, sources: Sources) -> FileFacts | None:
    """Write the file of a generation; none where there are no sources.

    Raises:
        StorageError: the disk refused.
    """
    if not any(folder.files for folder in sources):
        return None
    folders = [{"root": one.root, "fields": dict(one.fields), "files": dict(one.files)} for one in sources]
    with NewFile(directory, new_sources_name(generation)) as file:
        file.write(json.dumps({"folders": folders}, separators=(",", ":")).encode())
        return file.finish()


def sources_after(
    directory: Path, generation: int, kept: FileFacts | None, given: Sources | None, touched: Iterable[str]
) -> FileFacts | None:
    """The file of sources of a new generation: that of the old one where nothing in it has changed.

    Args:
        directory: the index.
        generation: the new one.
        kept: the file of the old one.
        given: what the sources are now; None where they are as before.
        touched: ids of the documents that were changed by other means, where no sources were given.

    Raises:
        StorageError: the disk refused.
    """
    if given is None and kept is not None:
        before = read_sources(directory, kept)
        given = stale(before, touched)
        if given == before:
            return kept
    return None if given is None else write_sources(directory, generation, given)


def read_sources(directory: Path, facts: FileFacts | None) -> Sources:
    """What :func:`write_sources` wrote.

    Raises:
        IndexDamagedError: the file is not what was written.
        StorageError: it can't be read.
    """
    if facts is None:
        return ()
    check_content(directory, facts)
    path = directory / facts.name
    with storage_errors(path, "reading"):
        content = path.read_bytes()
    try:
        return tuple(
            Folder(
                one["root"],
                one["fields"],
                {
                    name: FileState(size, changed, sha256, tuple(documents))
                    for name, (size, changed, sha256, documents) in one["files"].items()
                },
            )
            for one in json.loads(content)["folders"]
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
