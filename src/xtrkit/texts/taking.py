"""Documents on their way in: read once, checked, cut into passages, and kept in a temporary file.

Everything that can be checked is checked here, with file and line, before the first text is encoded: ids, metadata,
whether anything can be read of a text at all. What encodes goes through the temporary file as often as it likes.
"""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import IO, Any

from xtrkit.content import has_content
from xtrkit.encoding.base import Encoder
from xtrkit.errors import CollectionError, InputError
from xtrkit.forks import keep_for_ever, tell_of_forks
from xtrkit.indexing.sources import FileState
from xtrkit.passage import Part, Passage, checked_passage
from xtrkit.progress import SILENT, Advance, Reporter
from xtrkit.storage.files import storage_errors
from xtrkit.texts.changes import state_of
from xtrkit.texts.document import Document, Problem, ReadingReport
from xtrkit.texts.reading import Files, Source, SourceFile
from xtrkit.texts.splitting import Splitter
from xtrkit.texts.whole import refusal
from xtrkit.values import Splitting

SURVEYED = 256
"""Texts that are kept aside, to tell how large an index will be and whether the model can read them."""

BLOCK = 1 << 20


KEEPING = "keeping texts there until they are encoded"


class Taken:
    """The passages of a collection, in a temporary file; they can be gone through again and again.

    Attributes:
        report: what was read, passed over, left out.
        ids: the ids that were given, in order.
        documents: ids of the documents: those, or where a given passage is part of one, that one's.
        n_passages: how many passages they became.
        truncated: how many of them the model will cut off at the end of its window.
        unreadable: of how many of them the model knows less than half of the pieces.
        text_bytes: bytes of ids and texts.
        sample: some of the texts, by chance.
        files: {file: as it was when it was read, with the documents taken in from it}, where files were read.
        owners: {document: the file that has it} of documents whose ids are not to come again.
        spoilt: names of those files of which something was left out.
    """

    def __init__(self, directory: Path, owners: Mapping[str, str]) -> None:
        """Begin with nothing.

        Args:
            directory: where the temporary file goes.
            owners: {document: the file that has it} of documents whose ids are not to come.
        """
        self.owners = owners
        self.report = ReadingReport()
        self.ids: dict[str, None] = {}
        self.documents: dict[str, None] = {}
        self.n_passages = self.truncated = self.unreadable = self.text_bytes = 0
        self.sample: list[str] = []
        self.files: dict[str, FileState] = {}
        self.spoilt: set[str] = set()
        self._random = Random(0)
        self._directory = Path(directory)
        # Where the index goes there is room; what is there temporarily may be larger than the memory.
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - lives as long as this does
        self._finalizer = weakref.finalize(self, _closed, self._file)
        tell_of_forks(self)

    def after_fork(self) -> None:
        """Leave the file to the parent: closed here, it would be given once more what the parent has yet to write."""
        keep_for_ever(self._file)
        self._finalizer.detach()

    def __iter__(self) -> Iterator[Passage]:
        for identifier, text, metadata, part, _ in self._rows():
            yield Passage(identifier, text, metadata, None if part is None else Part(*part))

    def where(self, identifier: str) -> str:
        """Where the document with an id was read."""
        return next((where for name, *_, part, where in self._rows() if (part or [name])[0] == identifier), "")

    def append(self, passage: Passage, where: str) -> None:
        """Take in a passage."""
        line = json.dumps([*passage, where], ensure_ascii=False).encode() + b"\n"
        with storage_errors(self._directory, KEEPING):
            self._file.write(line)
        text = passage.text or ""
        self.n_passages += 1
        self.text_bytes += len(passage.id) + len(text.encode())
        if len(self.sample) < SURVEYED:
            self.sample.append(text)
        elif (place := self._random.randrange(self.n_passages)) < SURVEYED:
            self.sample[place] = text

    def _rows(self) -> Iterator[list[Any]]:
        """The lines of the file; several may go through it at a time."""
        with storage_errors(self._directory, KEEPING):
            self._file.flush()
        place, begun = 0, list[bytes]()
        while block := os.pread(self._file.fileno(), BLOCK, place):
            place += len(block)
            *lines, rest = block.split(b"\n")
            for line in lines:
                yield json.loads(b"".join([*begun, line]))
                begun = []
            begun.append(rest)


def _closed(file: IO[bytes]) -> None:
    """Close a file that nobody needs any more; what a full disk does not take is not missed."""
    with suppress(OSError):
        file.close()


def take(
    source: Source,
    encoder: Encoder,
    splitting: Splitting | None,
    directory: Path,
    *,
    skip_bad: bool = False,
    files: Iterable[SourceFile] | None = None,
    owners: Mapping[str, str] | None = None,
    reporter: Reporter = SILENT,
) -> Taken:
    """Read a collection, check all of it, and cut it into passages.

    Args:
        source: the collection.
        encoder: which encoder the passages are for.
        splitting: how long documents are cut; None leaves them as they are.
        directory: where the temporary file goes.
        skip_bad: leave out what can't be read instead of refusing all of it.
        files: those files of the source that are wanted; all where this is left out.
        owners: {document: the file that has it} of documents whose ids are not to come again.
        reporter: told about the progress.

    Raises:
        CollectionError: something can't be read; ``problems`` has the list.
    """
    taken, bad, empty = Taken(directory, owners or {}), list[Problem](), list[str]()
    splitter = None if splitting is None else Splitter(encoder, splitting)
    with reporter.phase("Reading", None, "documents") as advance:
        for item in _noted(source, taken, files, advance):
            if isinstance(item, Problem):
                bad.append(item)
            elif isinstance(whole := _checked(item), Problem):
                bad.append(whole)
            elif not has_content(item.text):
                empty.append(item.where or item.id)
            elif (problem := _taken(item, whole, taken, splitter, encoder)) is not None:
                bad.append(problem)
    taken.report = source.report
    taken.report.bad, taken.report.empty, taken.report.documents = bad, empty, len(taken.documents)
    if bad and not skip_bad:
        raise refusal(bad)
    return taken


def check_any(taken: Taken) -> None:
    """Refuse a collection without passages.

    Raises:
        CollectionError: there is none.
    """
    if not taken.n_passages:
        told = " ".join(taken.report.sentences())
        raise CollectionError(
            f"There is nothing to index: expected at least one document. {told}".rstrip(), problems=taken.report.bad
        )


def _noted(
    source: Source, taken: Taken, files: Iterable[SourceFile] | None, advance: Advance
) -> Iterator[Document | Problem]:
    """What a source gives; of files it is noted how they were."""
    if not isinstance(source, Files):
        for item in source:
            advance(1)
            yield item
        return
    for file, items in source.by_file(source.listing() if files is None else list(files)):
        before, documents = state_of(file.path), list[str]()
        for item in items:
            advance(1)
            known = len(taken.ids)
            yield item  # which whoever asked takes in, or does not, before this goes on
            if len(taken.ids) > known and isinstance(item, Document):
                documents.append(item.id)
            elif isinstance(item, Problem) or has_content(item.text):
                taken.spoilt.add(file.name)
        if before is None:
            taken.spoilt.add(file.name)
        taken.files[file.name] = (before or FileState(-1, 0, "", ()))._replace(documents=tuple(documents))
        if file.name in taken.spoilt:  # read again, and told again, the next time
            taken.files[file.name] = taken.files[file.name]._replace(size=-1)


def _checked(document: Document) -> Passage | Problem:
    """A document as one passage; what is wrong with it, if anything is."""
    try:
        return checked_passage(Passage(document.id, document.text, document.metadata, document.part))
    except InputError as error:
        return Problem(document.where, str(error))


def _taken(
    document: Document, whole: Passage, taken: Taken, splitter: Splitter | None, encoder: Encoder
) -> Problem | None:
    """Take in a document that can be stored; what is wrong with it beside the others, if anything is."""
    passages = [whole] if splitter is None else [*map(checked_passage, splitter.passages(document))]
    if document.id in taken.ids or whole.document in taken.owners:
        first = taken.owners.get(whole.document) or taken.where(document.id)
        before = f", first in {first}" if first else ""
        return Problem(document.where, f"The id {document.id!r} comes twice{before}: make ids unique.")
    taken.ids[document.id] = taken.documents[whole.document] = None
    for passage in passages:
        if splitter is None or passage.part is None or document.part is not None:
            taken.truncated += encoder.is_document_truncated(passage.text or "")
        taken.unreadable += _unreadable(passage.text or "", encoder)
        taken.append(passage, document.where)
    return None


def _unreadable(text: str, encoder: Encoder) -> bool:
    """Whether a model knows less than half of the pieces of a text; every model knows the letters of ASCII."""
    if text.isascii():
        return False
    found = encoder.readability([text])
    return found.unknown > found.pieces / 2
