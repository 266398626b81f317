"""Texts as people have them in Python: strings, dicts, pairs, :class:`~xtrkit.Passage`, tables, datasets, paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np

from xtrkit.errors import CollectionError, InputError
from xtrkit.passage import Passage
from xtrkit.texts import irds
from xtrkit.texts.document import Document, Fields, Problem, ReadingReport, Source
from xtrkit.texts.frames import ArrowRows, Rows, table_of
from xtrkit.texts.reading import IRDS, WILD, Files, is_there, open_source
from xtrkit.texts.records import RecordError, Records

KINDS = 'a text, a dict such as {"id": "1", "text": "…", "lang": "en"}, a pair (id, text), or a Passage'

Given = Iterable[Any] | Path | str
"""Texts, dicts, pairs (id, text) or triples (id, text, metadata), Passages; a table of pandas, polars or pyarrow; a
dataset of Hugging Face or ir_datasets; or a path, a pattern or ``irds:NAME``."""

Numbers = Callable[[], Iterator[int]]

PLAIN = Fields()


def source_of(given: Given, fields: Fields = PLAIN, numbers: Numbers = count) -> Source:
    """Documents of whatever the caller has.

    Args:
        given: that. A dict's "id" or "_id" is the id, its "title" is put before its "text", "metadata" is a dict, and
            all other keys are metadata, too. A text without an id gets its place as id.
        fields: where dicts, tables and files keep what.
        numbers: ids for texts without one, one for each place, from the first whenever it is called.

    Raises:
        InputError: this is nothing to take texts from.
        CollectionError: it is the path of nothing that can be read.
    """
    if isinstance(given, Files | GivenDocuments | irds.Collection | Rows | ArrowRows):
        if fields != PLAIN:
            raise InputError("This source was made with fields already: give them to open_source, or here with a path.")
        return given
    if isinstance(given, Path):
        return open_source(given, fields)
    if isinstance(given, str):
        return _of_path(given, fields)
    if (table := table_of(given, fields, numbers)) is not None:
        return table
    if hasattr(given, "has_docs"):
        return irds.collection_of(given, fields)
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        is_dict = isinstance(given, Mapping)
        hint = "give its items(), or a list of dicts" if is_dict else f"give a list, each entry of which is {KINDS}"
        raise InputError(f"Passages come as an iterable, got {given!r:.40} of type {type(given).__name__}: {hint}.")
    if hasattr(given, "columns"):  # iterating a table gives the names of its columns
        raise InputError(
            f"Passages come one by one, got a table of type {type(given).__name__}: give its rows as dicts."
        )
    return GivenDocuments(given, fields, numbers)


def _of_path(given: str, fields: Fields) -> Source:
    """A path that is a string.

    Raises:
        InputError: there is nothing at it; it may be a text.
    """
    if given.startswith(IRDS) or (given and is_there(Path(given))):
        return open_source(given, fields)
    if WILD & set(given) and "\0" not in given and "\n" not in given:
        try:
            return open_source(given, fields)
        except CollectionError:
            if not any(map(str.isspace, given)):  # a pattern rather than a text
                raise
    raise InputError(
        f"Passages come as an iterable, got {given!r:.40} of type str, and no file or folder of that name is there: "
        "put texts in a list, or give the path of a collection."
    )


class GivenDocuments:
    """What the caller has as documents: made of it each time it is gone through; an iterator is spent then.

    Attributes:
        report: what was noted the last time.
    """

    def __init__(self, given: Iterable[Any], fields: Fields, numbers: Numbers) -> None:
        self._given, self._fields, self._numbers = given, fields, numbers
        self._spent = False
        self.report = ReadingReport()

    @property
    def once(self) -> bool:
        """Whether it can be gone through but once."""
        return isinstance(self._given, Iterator) or iter(self._given) is iter(self._given)

    def __iter__(self) -> Iterator[Document | Problem]:
        if self._spent:
            raise InputError("An iterator can be gone through once, and it was: give a list.")
        self._spent = isinstance(self._given, Iterator)
        return self._documents()

    def _documents(self) -> Iterator[Document | Problem]:
        self.report = report = ReadingReport()
        records = Records("", self._fields, what="a dict")
        for place, (one, number) in enumerate(zip(self._given, self._numbers(), strict=False)):
            where = f"Passage {place}"
            if isinstance(one, Mapping):
                yield records.document(one, where, str(number))
                continue
            try:
                yield _document(one, str(number), where)
            except RecordError as error:
                yield Problem(where, str(error))
        yield from records.end(report)


def _document(given: Any, number: str, where: str) -> Document:
    """One document of whatever it is, but a dict."""
    if isinstance(given, Passage):
        document = Document(given.id, cast("str", given.text), given.metadata, part=given.part, where=where)
    elif isinstance(given, str):
        document = Document(number, str(given), where=where)
    elif isinstance(given, tuple | list) and len(given) in (2, 3):
        document = Document(_id(given[0]), given[1], given[2] if len(given) == 3 else None, where=where)
    else:
        raise RecordError(f"expected {KINDS}, got {given!r:.40} of type {type(given).__name__}.")
    text: Any = document.text
    if text is None:
        raise RecordError(f"the passage {document.id!r} has no text: texts are what is encoded.")
    if not isinstance(text, str):
        told = type(text).__name__
        raise RecordError(f"Texts must be strings, got {text!r:.40} of type {told} for the id {document.id!r}.")
    return document


def _id(given: Any) -> Any:
    """Whole numbers are ids, too, as people write them."""
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool | np.bool_)
    return str(given) if whole else given
