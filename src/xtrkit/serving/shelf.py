"""What agents search and read: indexes by name, opened in this process where no server has them open."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from xtrkit.errors import InputError
from xtrkit.hits import Hit
from xtrkit.index import Index
from xtrkit.passage import Passage
from xtrkit.retriever import Retriever

FRESH = 1.0
"""Seconds for which an index is taken for the newest."""


class Shelf(Protocol):
    """Indexes by name."""

    @property
    def names(self) -> Sequence[str]:
        """Their names, one at least."""

    def search(self, name: str, query: str, k: int, where: Mapping[str, Any] | None) -> Sequence[Hit]:
        """The k best passages of one of them."""

    def passages(self, name: str, identifier: str) -> list[Passage]:
        """The passage with an id, or all those of the document with that id.

        Raises:
            InputError: there is none.
        """

    def fields(self, name: str) -> Sequence[str]:
        """The names of the metadata fields that passages of one of them have."""

    def place(self, name: str, identifier: str, document: str) -> str:
        """Where a passage, which may be part of a document, comes from, as a URI."""


class OpenedShelf:
    """Retrievers by name, kept at their newest generations. Passages are cited by the files that they come from."""

    def __init__(self, retrievers: Mapping[str, Retriever]) -> None:
        self._retrievers = dict(retrievers)
        self._files = {name: _files_of(retriever.index) for name, retriever in retrievers.items()}
        self._looked = dict.fromkeys(retrievers, time.monotonic())
        self._lock = threading.Lock()

    @property
    def names(self) -> Sequence[str]:
        """Their names."""
        return list(self._retrievers)

    def search(self, name: str, query: str, k: int, where: Mapping[str, Any] | None) -> Sequence[Hit]:
        """The k best passages of one of them."""
        return self._newest(name).search(query, k, where=where)

    def passages(self, name: str, identifier: str) -> list[Passage]:
        """The passage with an id, or all those of the document with that id."""
        return passages_named(self._newest(name).index, identifier)

    def fields(self, name: str) -> Sequence[str]:
        """The names of the metadata fields of one of them."""
        return self._retrievers[name].index.metadata_fields()

    def place(self, name: str, identifier: str, document: str) -> str:
        """The file that a document was read from, where it is still there; ``xtrkit:INDEX/ID`` otherwise."""
        path = self._files[name].get(document)
        return path.as_uri() if path is not None and path.is_file() else uri_of(name, identifier)

    def _newest(self, name: str) -> Retriever:
        retriever = self._retrievers[name]
        with self._lock:
            if time.monotonic() - self._looked[name] >= FRESH:
                if retriever.refresh():
                    self._files[name] = _files_of(retriever.index)
                self._looked[name] = time.monotonic()
        return retriever


def passages_named(index: Index, identifier: str) -> list[Passage]:
    """The passage with an id, or all those of the document with that id.

    Raises:
        InputError: there is none.
    """
    if index.numbers([identifier]):
        return index.get([identifier])
    try:
        return index.get(documents=[identifier])
    except InputError as error:
        raise InputError(f"Neither a passage nor a document of this index has the id {identifier!r}.") from error


def uri_of(name: str, identifier: str) -> str:
    """The address of a passage that is nowhere to be seen."""
    return f"xtrkit:{quote(name, safe='')}/{quote(identifier)}"


def served_url(base: str, name: str, identifier: str, *, several: bool) -> str:
    """Where a server shows a passage.

    Args:
        base: the address of the server, such as "http://127.0.0.1:8000".
        name: the index.
        identifier: the id of the passage.
        several: whether it serves more than one index.
    """
    which = f"?index={quote(name, safe='')}" if several else ""
    return f"{base.rstrip('/')}/v1/documents/{quote(identifier)}{which}"


def _files_of(index: Index) -> dict[str, Path]:
    """{document: the file that it was read from}."""
    return {
        document: Path(folder.root) / name
        for folder in index.sources()
        for name, state in folder.files.items()
        for document in state.documents
    }
