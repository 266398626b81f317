"""A passage: what is found. Its id, the text that is encoded, shown and stored, and metadata to filter by."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from xtrkit.errors import InputError

Metadata = Mapping[str, str | int | float | bool | None]
"""Names to texts, numbers, booleans or None."""

LONGEST_ID = 512
PIECE = re.compile(r"(.*)¶([1-9][0-9]*)", re.DOTALL)
"""Ids of passages that were cut out of documents by xtrkit: "report.pdf¶3" is the third passage of "report.pdf"."""
SMALLEST_INTEGER, LARGEST_INTEGER = -(1 << 63), (1 << 63) - 1


def piece_id(document: str, number: int) -> str:
    """The id of a document's passage, counted from 1."""
    return f"{document}¶{number}"


def document_of(identifier: str) -> str:
    """The document that a passage's id names: of "report.pdf¶3" that is "report.pdf", of other ids they themselves."""
    found = PIECE.fullmatch(identifier)
    return found[1] if found else identifier


class Part(NamedTuple):
    """Where a passage comes from, if it was cut out of a longer document.

    Attributes:
        document: the document's id.
        first, last: where the passage begins and ends in the document's text, in characters.
    """

    document: str
    first: int
    last: int


class Passage(NamedTuple):
    """A passage.

    Attributes:
        id: the caller's id.
        text: the text; None where the caller brought embeddings alone, or did not ask for texts.
        metadata: names to texts, numbers, booleans or None, to filter by.
        part: which part of which document it is; None where it is a document of its own.
    """

    id: str
    text: str | None = None
    metadata: Metadata | None = None
    part: Part | None = None

    @property
    def document(self) -> str:
        """The id of the document that it is part of, or its own."""
        return self.id if self.part is None else self.part[0]


def checked_passage(passage: Passage) -> Passage:
    """The passage itself, if it can be stored.

    Raises:
        InputError: its id, text, metadata or part are of another type than they must be, or can't be stored.
    """
    identifier, text, metadata, part = passage
    if not isinstance(identifier, str):
        raise InputError(f"Ids must be strings, got {identifier!r} of type {type(identifier).__name__}.")
    if not identifier or "\0" in identifier:
        raise InputError(f"Ids must have at least one character and no NUL, got {identifier!r}.")
    if text is not None and not isinstance(text, str):
        raise InputError(
            f"Texts must be strings, got {text!r:.40} of type {type(text).__name__} for the id {identifier!r}."
        )
    try:
        size = len(identifier.encode())
        (text or "").encode()
    except UnicodeEncodeError as error:
        raise InputError(f"The passage {identifier!r} holds half a surrogate pair; UTF-8 can't.") from error
    if len(document_of(identifier).encode()) > LONGEST_ID:
        raise InputError(f"Ids may have {LONGEST_ID} bytes, {identifier[:40]!r}… has {size}.")
    _check_metadata(identifier, metadata)
    _check_part(identifier, part)
    if (of := document_of(identifier)) != identifier and (part is None or part[0] != of):
        raise InputError(
            f"The id {identifier!r} ends as those of passages that xtrkit cuts out of documents do (¶ and a number): "
            "give it another."
        )
    return Passage(str(identifier), text, _own_values(metadata), None if part is None else Part(*part))


def _check_metadata(identifier: str, metadata: Metadata | None) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        raise InputError(f"The metadata of {identifier!r} must be a dict, got {type(metadata).__name__}.")
    for name, given in metadata.items():
        value = _own_value(given)
        where = f"The metadata field {name!r} of {identifier!r}"
        if not isinstance(name, str) or not name.isprintable() or not name or set(name) & set('"\\'):
            raise InputError(f"{where} needs a name that is a string without quotation marks and backslashes.")
        if value is not None and not isinstance(value, str | int | float):
            raise InputError(f"{where} must be a string, a number, a boolean or None, got {type(given).__name__}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{where} must be a finite number, got {value}.")
        if isinstance(value, int) and not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
            raise InputError(f"{where} must fit into 64 bits, got {value}.")
        try:
            f"{name}{value}".encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{where} holds half a surrogate pair; UTF-8 can't.") from error


def _check_part(identifier: str, part: Part | None) -> None:
    if part is None:
        return
    try:
        document, first, last = part
        right = (
            isinstance(document, str)
            and 0 <= first <= last <= LARGEST_INTEGER
            and (type(first), type(last)) == (int, int)
        )
        document.encode()
    except (TypeError, ValueError, AttributeError):
        right = False
    if not right:
        raise InputError(
            f"The part that {identifier!r} is must be (document, first, last), a string and two places in its text, "
            f"got {part!r}."
        )


def _own_values(metadata: Metadata | None) -> Metadata | None:
    """Metadata in a dict of their own, NumPy's numbers and strings as Python's; None where there are none."""
    if not metadata:
        return None
    return {str(name): _own_value(value) for name, value in metadata.items()}


def _own_value(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
