"""A folder and its index: what is new is added, what changed is encoded again, what is gone is deleted.

Which files an index was made of, and how they were then, it remembers (:mod:`xtrkit.indexing.sources`); what has
happened since, ``changes.py`` tells. All changes are one commit, and where there are none, there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xtrkit.encoding.base import Encoder
from xtrkit.index import Index
from xtrkit.indexing.changing import Writer
from xtrkit.indexing.sources import FileState, Folder, Sources
from xtrkit.progress import Reporter
from xtrkit.texts.changes import Changes, changes_of, fields_record, folder_in
from xtrkit.texts.document import EXAMPLES, ReadingReport
from xtrkit.texts.reading import Files
from xtrkit.texts.taking import Taken, take
from xtrkit.texts.updating import AddingSummary, write_taken


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
        index: the index; it moves to the new generation. Documents that came otherwise are left
            alone, but for those whose ids the folder has: they are replaced, which the report notes.
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
        changes, known = changes_of(source, sources), folder_in(source, sources).files
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
            owners=_owners(changes, [folder for folder in sources if folder.root != source.name]),
            reporter=reporter,
        )
        _note_replaced(taken, writer, known)
        writer.delete(documents=_lost(taken, changes, known), missing_ok=True)
        read = {name: _with_kept(state, name, taken, known) for name, state in taken.files.items()}
        writer.set_sources(_updated(source, sources, {**changes.unchanged, **read}))
        before = index.generation
        commit = write_taken(writer, taken, index, model, batch_size=batch_size, reporter=reporter)
    return _summary(changes, index, commit if commit.generation > before else None, taken.report)


def _summary(changes: Changes, index: Index, commit: AddingSummary | None, report: ReadingReport) -> SyncSummary:
    return SyncSummary(**changes.counts, generation=index.generation, commit=commit, report=report)


def _owners(changes: Changes, others: Sequence[Folder]) -> dict[str, str]:
    """{document: the file that has it} of what is not read again, of this folder and of others."""
    owners = {
        document: f"{folder.root}/{name}"
        for folder in others
        for name, state in folder.files.items()
        for document in state.documents
    }
    return owners | {document: name for name, state in changes.unchanged.items() for document in state.documents}


def _note_replaced(taken: Taken, writer: Writer, known: Mapping[str, FileState]) -> None:
    """Tell of documents in the index that came otherwise, and whose ids the folder's have."""
    own = {document for state in known.values() for document in state.documents}
    replaced = [name for name in writer.ids_of_documents([*taken.documents]) if name not in own]
    if replaced:
        shown = ", ".join(map(repr, replaced[:EXAMPLES])) + (", …" if len(replaced) > EXAMPLES else "")
        taken.report.notes.append(
            f"{len(replaced):,} that had come into the index otherwise {'was' if len(replaced) == 1 else 'were'} "
            f"replaced by what the folder has under the same id ({shown})."
        )


def _lost(taken: Taken, changes: Changes, known: Mapping[str, FileState]) -> list[str]:
    """Ids of documents that are no more: of files that are gone, and those that a changed file no longer has."""
    before = [
        document
        for name in [*changes.gone, *(file.name for file in changes.changed if file.name not in taken.spoilt)]
        for document in known[name].documents
    ]
    return [document for document in before if document not in taken.documents]


def _with_kept(state: FileState, name: str, taken: Taken, known: Mapping[str, FileState]) -> FileState:
    """A file as it was read; of one of which something was left out, what the index has of it stays its own."""
    if name not in taken.spoilt or name not in known:
        return state
    return state._replace(documents=tuple(dict.fromkeys([*known[name].documents, *state.documents])))


def _updated(source: Files, sources: Sources, files: Mapping[str, FileState]) -> Sources:
    others = tuple(folder for folder in sources if folder.root != source.name)
    return (*others, Folder(source.name, fields_record(source.fields), files))
