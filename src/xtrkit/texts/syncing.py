"""A folder and its index: what is new is added, what changed is encoded again, what is gone is deleted.

Which files an index was made of, and how they were then, it remembers (:mod:`xtrkit.indexing.sources`). A file of the
same size and time is the same; of others the content decides. All changes are one commit, and where there are none,
there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from xtrkit.encoding.base import Encoder
from xtrkit.errors import CollectionError
from xtrkit.index import Index
from xtrkit.indexing.sources import FileState, Folder, Sources
from xtrkit.progress import Reporter
from xtrkit.texts.building import fields_record
from xtrkit.texts.document import Fields, Problem, ReadingReport
from xtrkit.texts.reading import Files, SourceFile, open_source
from xtrkit.texts.taking import Taken, state_of, take
from xtrkit.texts.updating import AddingSummary, write_taken
from xtrkit.texts.whole import refusal


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
    def any(self) -> bool:
        """Whether there are some."""
        return bool(self.new or self.changed or self.gone)


@dataclass(frozen=True)
class SyncSummary:
    """What bringing an index up to its folder did.

    Attributes:
        new, changed, gone, unchanged: how many files were so.
        generation: the index's generation now.
        commit: what the commit did; None where nothing had changed.
        report: what was read, passed over, left out.
    """

    new: int
    changed: int
    gone: int
    unchanged: int
    generation: int
    commit: AddingSummary | None = None
    report: ReadingReport = field(default_factory=ReadingReport)

    def as_json(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            **vars(self),
            "commit": None if self.commit is None else self.commit.as_json(),
            "report": self.report.as_json(),
        }


def changes_of(source: Files, sources: Sources) -> Changes:
    """Compare the files of a folder with what an index remembers of it."""
    folder = _folder(source, sources)
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


def sync_folder(
    source: Files,
    index: Index,
    encoder: Callable[[], Encoder],
    *,
    batch_size: int = 32,
    skip_bad: bool = False,
    progress: bool = False,
) -> SyncSummary:
    """Bring an index up to a folder, in one commit.

    Args:
        source: the folder.
        index: the index; it moves to the new generation. Documents that came otherwise are left alone.
        encoder: gives the encoder that made the index, if there is something to encode.
        batch_size: texts encoded together.
        skip_bad: leave out what can't be read; what the index has of such a file stays as it is.
        progress: show how each phase goes on.

    Raises:
        CollectionError: something can't be read; nothing was changed.
        IndexLockedError: another writer is at work.
    """
    index.refresh()
    changes = changes_of(source, index.sources())
    if not changes.any:
        return _summary(changes, index, None, source.report)
    with index.writer(progress=progress) as writer:
        index.refresh()  # what another writer did in the meantime counts, too
        sources = index.sources()
        changes, known = changes_of(source, sources), _folder(source, sources).files
        if not (changes.new or changes.changed):
            writer.delete(documents=[of for name in changes.gone for of in known[name].documents], missing_ok=True)
            writer.set_sources(_updated(source, sources, changes.unchanged))
            commit = AddingSummary(**vars(writer.commit()))
            index.refresh()
            return _summary(changes, index, commit, source.report)
        model, reporter = encoder(), Reporter(progress)
        taken = take(
            source,
            model,
            index.splitting,
            index.path.parent,
            skip_bad=skip_bad,
            files=[*changes.changed, *changes.new],
            reporter=reporter,
        )
        _check_owners(taken, changes)
        writer.delete(documents=_lost(taken, changes, known), missing_ok=True)
        as_before = {file.name: known[file.name] for file in changes.changed if file.name not in taken.files}
        writer.set_sources(_updated(source, sources, {**changes.unchanged, **as_before, **taken.files}))
        commit = write_taken(writer, taken, index, model, batch_size=batch_size, reporter=reporter)
    return _summary(changes, index, commit, taken.report)


def _summary(changes: Changes, index: Index, commit: AddingSummary | None, report: ReadingReport) -> SyncSummary:
    counts = (len(changes.new), len(changes.changed), len(changes.gone), len(changes.unchanged))
    return SyncSummary(*counts, index.generation, commit, report)


def _folder(source: Files, sources: Sources) -> Folder:
    """What an index remembers of a folder."""
    for folder in sources:
        if folder.root == source.name:
            return folder
    return Folder(source.name, {}, {})


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


def _check_owners(taken: Taken, changes: Changes) -> None:
    """Refuse documents whose ids another file has that was not read again."""
    owners = {document: name for name, state in changes.unchanged.items() for document in state.documents}
    bad = [
        Problem(
            taken.where(document), f"The id {document!r} comes twice, first in {owners[document]}: make ids unique."
        )
        for document in taken.documents
        if document in owners
    ]
    if bad:
        raise refusal(bad)


def _lost(taken: Taken, changes: Changes, known: Mapping[str, FileState]) -> list[str]:
    """Ids of documents that are no more: of files that are gone, and those that a changed file no longer has."""
    before = [
        document
        for name in [*changes.gone, *(file.name for file in changes.changed if file.name in taken.files)]
        for document in known[name].documents
    ]
    return [document for document in before if document not in taken.documents]


def _updated(source: Files, sources: Sources, files: Mapping[str, FileState]) -> Sources:
    others = tuple(folder for folder in sources if folder.root != source.name)
    return (*others, Folder(source.name, fields_record(source.fields), files))


def folder_source(folder: str | Path, fields: Fields) -> Files:
    """The files below a folder, or those that a glob names.

    Raises:
        CollectionError: there is none, or it is something else.
    """
    source = open_source(folder, fields)
    if not isinstance(source, Files):
        raise CollectionError(f"Only files on disk can be synced, got {folder}: give a folder.")
    return source
