"""Passages as people have them in Python: texts, dicts, pairs of id and text, :class:`~xtrkit.Passage`."""

from __future__ import annotations

import json
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np

from xtrkit.errors import CollectionError, InputError
from xtrkit.forks import keep_for_ever, tell_of_forks
from xtrkit.passage import Part, Passage, checked_passage
from xtrkit.texts.reading import open_collection

KINDS = 'a text, a dict such as {"id": "1", "text": "…", "lang": "en"}, a pair (id, text), or a Passage'

Given = Iterable[Any] | Path
"""Texts, dicts, pairs (id, text) or triples (id, text, metadata), Passages; or the path of a collection on disk."""

Numbers = Callable[[], Iterator[int]]


def passages_of(given: Given, numbers: Numbers = count) -> Iterable[Passage]:
    """Passages that can be gone through more than once, each checked.

    What is an iterator is read once, and what it gives kept in a temporary file: it may be larger than the memory.

    Args:
        given: what the caller has. A dict's "id" or "_id" is the id, its "title" is put before its "text", "metadata"
            is a dict, and all other keys are metadata, too. A text without an id gets its place as id.
        numbers: ids for texts without one, one for each place, from the first whenever it is called.

    Raises:
        InputError: this is nothing to take passages from.
    """
    if isinstance(given, Path):
        return open_collection(given)
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        hint = {
            str: "put texts in a list, or give a collection on disk as pathlib.Path",
            dict: "give its items(), or a list of dicts",
        }.get(type(given), f"give a list, each entry of which is {KINDS}")
        raise InputError(f"Passages come as an iterable, got {given!r:.40} of type {type(given).__name__}: {hint}.")
    if hasattr(given, "columns"):  # iterating a table gives the names of its columns
        raise InputError(
            f"Passages come one by one, got a table of type {type(given).__name__}: give its rows as dicts, such as "
            'frame.to_dict("records") of pandas or frame.to_dicts() of polars.'
        )
    if isinstance(given, Iterator) or iter(given) is iter(given):
        return Kept(_passages(given, numbers()))
    return GivenPassages(given, numbers)


class GivenPassages:
    """A list of what the caller has, as passages: made of it each time they are gone through."""

    def __init__(self, given: Iterable[Any], numbers: Numbers) -> None:
        self._given, self._numbers = given, numbers

    def __iter__(self) -> Iterator[Passage]:
        return _passages(self._given, self._numbers())


class Kept:
    """Passages of an iterator in a temporary file, to be gone through again."""

    def __init__(self, passages: Iterator[Passage]) -> None:
        self._file: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - lives as long as this does
        self._finalizer = weakref.finalize(self, self._file.close)
        tell_of_forks(self)
        for passage in passages:
            self._file.write(json.dumps(passage, ensure_ascii=False) + "\n")
        self._file.flush()

    def after_fork(self) -> None:
        """Leave the file to the parent: closed here, it would be given once more what the parent has yet to write."""
        keep_for_ever(self._file)
        self._finalizer.detach()

    def __iter__(self) -> Iterator[Passage]:
        place = 0
        while True:  # several may read at a time, each at a place of its own
            self._file.seek(place)
            line = self._file.readline()
            if not line:
                return
            place = self._file.tell()
            identifier, text, metadata, part = json.loads(line)
            yield Passage(identifier, text, metadata, None if part is None else Part(*part))


def _passages(given: Iterable[Any], numbers: Iterator[int]) -> Iterator[Passage]:
    for place, (one, number) in enumerate(zip(given, numbers, strict=False)):
        try:
            yield checked_passage(_passage(one, str(number)))
        except InputError as error:
            raise CollectionError(f"Passage {place}: {error}") from error


def _passage(given: Any, number: str) -> Passage:
    """One passage of whatever it is."""
    if isinstance(given, Passage):
        passage = given
    elif isinstance(given, str):
        passage = Passage(number, given)
    elif isinstance(given, Mapping):
        passage = _of_record(given, number)
    elif isinstance(given, tuple | list) and len(given) in (2, 3):
        passage = Passage(_id(given[0]), *given[1:])
    else:
        raise InputError(f"expected {KINDS}, got {given!r:.40} of type {type(given).__name__}.")
    if passage.text is None:
        raise InputError(f"the passage {passage.id!r} has no text: texts are what is encoded.")
    return passage


def _of_record(record: Mapping[Any, Any], number: str) -> Passage:
    rest = dict(record)
    if "id" in rest and "_id" in rest:
        raise InputError('a dict has "id" and "_id": give one of them.')
    identifier = _id(rest.pop("id", rest.pop("_id", number)))
    text, title, metadata = rest.pop("text", None), rest.pop("title", None), rest.pop("metadata", None)
    if not isinstance(text, str):
        raise InputError(f'a dict has no "text" that is a text: its keys are {list(record)!r:.100}.')
    if title is not None and not isinstance(title, str):
        raise InputError(f'the "title" of {identifier!r} must be a text, got {type(title).__name__}.')
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InputError(f'the "metadata" of {identifier!r} must be a dict, got {type(metadata).__name__}.')
    twice = sorted(set(rest) & set(metadata or {}), key=str)
    if twice:
        raise InputError(f"the field {twice[0]!r} of {identifier!r} stands beside its metadata and in it.")
    return Passage(identifier, f"{title} {text}" if title else text, {**rest, **(metadata or {})})


def _id(given: Any) -> Any:
    """Whole numbers are ids, too, as people write them."""
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool | np.bool_)
    return str(given) if whole else given
