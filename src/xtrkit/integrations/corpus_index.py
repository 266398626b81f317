"""The index of a benchmark's corpus, made when the benchmark gives its corpus; for MTEB and BEIR."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from xtrkit.content import has_content
from xtrkit.encoding.base import Encoder
from xtrkit.encoding.load import loaded_encoder
from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluating.measuring import IndexedDocuments
from xtrkit.evaluation.notes import counted, quoted
from xtrkit.index import Index
from xtrkit.indexing.creating import check_free
from xtrkit.indexing.store import DEFAULT_BITS
from xtrkit.integrations.answering import check_choices
from xtrkit.integrations.opening import opened_here
from xtrkit.retriever import Retriever

Records = Iterable[Mapping[str, Any]]
"""Dicts with "id", "title" and "text"."""


class CorpusIndex:
    """Indexes one corpus after the other; the last one is open.

    Attributes:
        encoder: what encodes corpora and queries.
        making: how indexes are made, for the record of an experiment.
        retriever: the index of the corpus that was given last; None before the first.
    """

    def __init__(
        self, model: str | Path | Encoder = "default", *, folder: str | Path | None = None, **making: Any
    ) -> None:
        """Say how indexes are made, and where.

        Args:
            model: as in :meth:`xtrkit.Retriever.create`.
            folder: where indexes are kept: one that was made of the same corpus in the same way is opened, not made
                again. Without it each lies in a temporary folder until the next corpus comes.
            **making: ``nbits``, ``codec`` and ``split`` of :meth:`xtrkit.Retriever.create`.
        """
        self.encoder = loaded_encoder(model)
        self.making = making
        self.retriever: Retriever | None = None
        self._folder = None if folder is None else Path(folder).absolute()
        self._given: Retriever | None = None
        self._empty: set[str] = set()
        self._removing: weakref.finalize[..., Any] | None = None

    @classmethod
    def of(cls, index: str | Path | Retriever) -> CorpusIndex:
        """An index that is there already: corpora that it was not made of are refused."""
        retriever = opened_here(index)
        made = cls(retriever.encoder)
        made._given = retriever
        made.making = {"storage": retriever.index.storage, "split": retriever.index.splitting is not None}
        if retriever.reranker is not None:
            made.making["reranker"] = retriever.reranker.name
        return made

    def take(self, records: Records, name: str, *, batch_size: int = 32, progress: bool = False) -> Retriever:
        """Index a corpus, and open the index.

        Args:
            records: the corpus; gone through twice.
            name: what its index is called in the folder.
            batch_size: texts encoded together.
            progress: show how each phase goes on.

        Raises:
            InputError: a document can't be stored, or the index that is there is of another corpus.
        """
        self._empty = {one["id"] for one in _plain(records) if not has_content(one["title"] + one["text"])}
        if self._given is not None:
            _check_same(self._given, records, self._empty)
            self.retriever = self._given
            return self._given
        self.close()
        path = self._path(records, name)
        if path.is_dir():
            self.retriever = Retriever(Index.open(path), self.encoder)
        else:
            self.retriever = Retriever.create(
                path, _plain(records), model=self.encoder, batch_size=batch_size, progress=progress, **self.making
            )
        return self.retriever

    def known(self, candidates: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]] | None:
        """Candidates for each query without those documents that have nothing in them, which no index has."""
        if candidates is None:
            return None
        return {query: [name for name in names if name not in self._empty] for query, names in candidates.items()}

    def close(self) -> None:
        """Close the index, and remove it where it is a temporary one. One that was given stays open."""
        if self.retriever is not None and self.retriever is not self._given:
            self.retriever.close()
        self.retriever = None
        if self._removing is not None:
            self._removing()

    def _path(self, records: Records, name: str) -> Path:
        """Where the index of a corpus belongs; the same corpus in the same way belongs to the same place."""
        if self._folder is None:
            parent = tempfile.mkdtemp(prefix="xtrkit-")
            self._removing = weakref.finalize(self, shutil.rmtree, parent, ignore_errors=True)
            return Path(parent, "index")
        told = hashlib.sha256(json.dumps([self.encoder.identity.fingerprint, self.making], sort_keys=True).encode())
        for record in _plain(records):
            told.update(json.dumps(list(record.values())).encode())
        path = self._folder / f"{name.replace('/', '_')}-{told.hexdigest()[:12]}"
        if not path.is_dir():
            check_free(path, overwrite=False)
            self._folder.mkdir(parents=True, exist_ok=True)
        return path


class CorpusSearch:
    """How corpora are indexed and searched: the part of MTEB's and BEIR's search that is the same."""

    def __init__(
        self,
        model: str | Path | Encoder = "default",
        *,
        folder: str | Path | None = None,
        nbits: int = DEFAULT_BITS,
        codec: str = "grid",
        split: bool = True,
        **choices: Any,
    ) -> None:
        """Say how corpora are indexed and searched.

        Args:
            model: the encoder, as in :meth:`xtrkit.Retriever.create`.
            folder: where indexes are kept for the next time; without it each is removed when the next one comes.
            nbits: as in :meth:`xtrkit.Retriever.create`.
            codec: as there.
            split: as there; models of these benchmarks cut long documents off instead.
            **choices: keyword arguments of :meth:`xtrkit.Retriever.search`: ``recipe``, ``scoring``, ``fusion``, …

        Raises:
            InputError: a choice can't be used.
            ModelError: the model can't be loaded.
        """
        check_choices(choices)
        self._corpus = CorpusIndex(model, folder=folder, nbits=nbits, codec=codec, split=split)
        self._choices = choices

    @classmethod
    def of(cls, index: str | Path | Retriever, **choices: Any) -> Self:
        """Search an index that is there already; another corpus than its own is refused.

        Args:
            index: its path, or a retriever.
            **choices: as where indexes are made.

        Raises:
            InputError: a choice can't be used.
            IndexFormatError: there is no index.
        """
        check_choices(choices)
        made = object.__new__(cls)
        made._corpus, made._choices = CorpusIndex.of(index), choices
        return made

    def close(self) -> None:
        """Close the index, and remove it where it is a temporary one. One that was given stays open."""
        self._corpus.close()


def _plain(records: Records) -> Iterator[dict[str, str]]:
    """What is indexed of each record."""
    for record in records:
        try:
            plain = {"id": record["id"], "title": record.get("title") or "", "text": record["text"] or ""}
        except (KeyError, TypeError, AttributeError) as error:
            raise CollectionError(
                f'Documents of a corpus are dicts with an id, "text" and, as it may be, "title", got {record!r:.80}.'
            ) from error
        if not isinstance(plain["title"], str) or not isinstance(plain["text"], str):
            raise CollectionError(f"Title and text of {plain['id']!r} must be texts, got {record!r:.80}.")
        yield plain


def _check_same(retriever: Retriever, records: Records, empty: set[str]) -> None:
    """Refuse a corpus of other documents than an index has, but for those with nothing in them.

    Raises:
        InputError: some documents are missing on either side.
    """
    documents = {one["id"] for one in _plain(records)} - empty
    indexed = IndexedDocuments.of(retriever.index).ids
    missing, more = documents - indexed, indexed - documents
    if missing or more:
        told = [
            f"{counted(len(names), 'document')} {of} {quoted(sorted(names))}"
            for names, of in ((missing, "of the corpus that the index lacks"), (more, "that the corpus has not"))
            if names
        ]
        raise InputError(
            f"The index at {retriever.index.path} is of another corpus, with {' and '.join(told)}: give the index of "
            "this corpus, or let it be made."
        )
