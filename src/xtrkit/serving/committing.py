"""Several changes of an index in one commit, in a thread of their own.

None spoils the others: each is checked by itself before anything of it counts, and where a commit of several fails,
each is tried alone. Changes that touch the same ids are never in one commit, so what each did is what it would have
done alone, in the order in which they came.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any, NamedTuple

from xtrkit.encoding.base import Encoder
from xtrkit.errors import IndexLockedError, InputError, StorageError, XtrkitError
from xtrkit.index import Index
from xtrkit.indexing.changing import Counts, Writer, WriteSummary
from xtrkit.passage import Passage, document_of
from xtrkit.retriever import Retriever, free_numbers
from xtrkit.serving.jobs import Job
from xtrkit.serving.logs import current
from xtrkit.texts.encoding import encoded, warn_of
from xtrkit.texts.given import source_of
from xtrkit.texts.taking import Taken, check_any, take

NOTHING = Counts(0, 0, 0)
BATCH = 32
"""Texts encoded together."""

LOCK_PAUSE = 0.02
"""Seconds between two tries to become the writer, where another process is."""


class StoppedError(XtrkitError):
    """The server stops before a change was committed."""

    def __init__(self) -> None:
        super().__init__("The server stops: nothing of this was committed; send it again.")


class Adding(NamedTuple):
    """Documents to be added, as :meth:`xtrkit.Retriever.add` takes them, and how many characters they have."""

    documents: list[Any]
    weight: int


class Deleting(NamedTuple):
    """What is to be deleted, as :meth:`xtrkit.Retriever.delete` takes it."""

    ids: list[str]
    documents: list[str]
    missing_ok: bool
    weight: int = 0


@dataclass(eq=False)
class Change:
    """A request that changes an index, on its way.

    Attributes:
        what: what it asks for.
        job: how it goes on.
        patience: until when it waits for another writer.
        context: in which its warnings are heard.
        taken: its passages, once they are cut.
        counts: what it did.
    """

    what: Adding | Deleting
    job: Job
    patience: float
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    taken: Taken | None = None
    counts: Counts = NOTHING

    @contextmanager
    def counted(self, writer: Writer) -> Iterator[None]:
        """Count what is done as this change's."""
        before = writer.counts
        yield
        did = zip(self.counts, writer.counts, before, strict=True)
        self.counts = Counts(*(count + after - earlier for count, after, earlier in did))

    def told(self, summary: WriteSummary) -> dict[str, Any]:
        """What its request is answered."""
        found: dict[str, Any] = {
            "index": self.job.index,
            "generation": summary.generation,
            **self.counts._asdict(),
            "documents": summary.documents,
            "advice": summary.advice,
            "warnings": list(self.context.run(current).warnings),
        }
        if self.taken is None:
            return found
        return {
            **found,
            "read": len(self.taken.ids),
            "passages": self.taken.n_passages,
            "truncated": self.taken.truncated,
            "unreadable": self.taken.unreadable,
            "ids": list(self.taken.ids),
        }


Answer = dict[str, Any] | Exception


class Done(NamedTuple):
    """What became of some changes.

    Attributes:
        answers: what each is answered.
        left: those that must wait for another commit.
    """

    answers: list[tuple[Change, Answer]]
    left: list[Change]


class Committer:
    """Commits changes of one index."""

    def __init__(self, name: str, retriever: Retriever, ending: threading.Event) -> None:
        """Begin.

        Args:
            name: the index's name.
            retriever: the index, with its encoder; it moves to each new generation.
            ending: set when the server stops: what is not committed by then never is.
        """
        self.name = name
        self._index: Index = retriever.index
        self._encoder: Encoder = retriever.encoder
        self._ending = ending

    def commit(self, together: list[Change]) -> Done:
        """Commit changes together; where that fails, one by one."""
        try:
            return self._together(together)
        except IndexLockedError as error:
            late = [change for change in together if change.patience <= time.monotonic()]
            return Done([(change, error) for change in late], [one for one in together if one not in late])
        except Exception as error:
            if len(together) == 1 or isinstance(error, StorageError | StoppedError):
                return Done([(change, error) for change in together], [])
        alone = [self.commit([change]) for change in together]  # one of them is to blame, nobody knows which
        return Done([one for done in alone for one in done.answers], [one for done in alone for one in done.left])

    def _together(self, together: list[Change]) -> Done:
        answers: list[tuple[Change, Answer]] = []
        group: list[Change] = []
        left: list[Change] = []
        touched: set[str] = set()
        with self._writer(min(change.patience for change in together)) as writer:
            self._index.refresh()
            for place, change in enumerate(together):
                try:
                    names = change.context.run(self._prepare, change, touched)
                    if touched & names:
                        left = together[place:]
                        break
                    self._delete(change, writer)
                except XtrkitError as error:
                    answers.append((change, error))
                    continue
                touched |= names
                group.append(change)
            self._add([(change, change.taken) for change in group if change.taken is not None], writer)
            summary = writer.commit()
        with suppress(XtrkitError):  # it is committed, whether or not it can be opened now: the server looks again soon
            self._index.refresh()
        return Done([*answers, *((change, change.told(summary)) for change in group)], left)

    @contextmanager
    def _writer(self, patience: float) -> Iterator[Writer]:
        """The right to change the index, which another process may have for a while."""
        while True:
            self._check_going_on()
            try:
                writer = self._index.writer()
                break
            except IndexLockedError:
                if time.monotonic() > patience:
                    raise
                time.sleep(LOCK_PAUSE)
        try:
            yield writer
        finally:
            writer.close()

    def _prepare(self, change: Change, touched: set[str]) -> set[str]:
        """Check a change; the ids that it touches."""
        change.taken, change.counts, what = None, NOTHING, change.what
        if isinstance(what, Deleting):
            if not what.ids and not what.documents:
                raise InputError("There are no ids to delete: name some passages, or documents.")
            names = {*what.ids, *what.documents}
            return names | {document_of(name) for name in names}
        numbers = (number for number in free_numbers(self._index) if str(number) not in touched)
        source = source_of(what.documents, numbers=lambda: numbers)
        taken = take(source, self._encoder, self._index.splitting, self._index.path.parent)
        check_any(taken)
        names = {passage.id for passage in taken} | taken.documents.keys()
        if not touched & names:
            warn_of(taken, self._encoder)
            change.taken = taken
            change.job.begin(taken.n_passages)
        return names

    def _delete(self, change: Change, writer: Writer) -> None:
        """What a change deletes: what it says, or what the documents that it adds were before."""
        with change.counted(writer):
            if isinstance(change.what, Deleting):
                ids, documents, missing_ok, _ = change.what
                writer.delete(ids, documents=documents, missing_ok=missing_ok)
            elif change.taken is not None:
                before = writer.ids_of_documents(list(change.taken.documents)).values()
                staying = {passage.id for passage in change.taken}
                writer.delete([name for names in before for name in names if name not in staying])

    def _add(self, changes: Sequence[tuple[Change, Taken]], writer: Writer) -> None:
        """Encode the passages of several changes together, and add them."""
        coming = ((change, passage) for change, taken in changes for passage in taken)
        texts = (passage.text or "" for _, taken in changes for passage in taken)
        for chunk in encoded(self._encoder, texts, BATCH):
            self._check_going_on()
            vectors = iter(chunk.embeddings)
            for change, passages in _by_change(islice(coming, len(chunk.embeddings))):
                with change.counted(writer):
                    writer.add(passages, list(islice(vectors, len(passages))))
                change.job.advance(len(passages))

    def _check_going_on(self) -> None:
        if self._ending.is_set():
            raise StoppedError


def _by_change(pairs: Iterable[tuple[Change, Passage]]) -> Iterator[tuple[Change, list[Passage]]]:
    for change, of_one in groupby(pairs, key=_change_of):
        yield change, [passage for _, passage in of_one]


def _change_of(pair: tuple[Change, Passage]) -> Change:
    return pair[0]
