"""A passage: what is found. Its id, the text that is encoded, shown and stored, and metadata to filter by."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import numpy as np

from xtrkit.errors import InputError

Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar | date | Collection[Scalar | date] | None]
"""Names to texts, numbers, booleans, dates, lists of these, or None. Dates are kept as texts (:func:`plain_value`)."""

PSEUDO_FIELDS = ("$id", "$document")
"""What conditions call a passage's id, and the id of the document that it is part of; no metadata bear these names."""

LONGEST_ID = 512
PIECE = re.compile(r"(.*)¶([1-9][0-9]*)", re.DOTALL)
"""Ids of passages that were cut out of documents by xtrkit: "report.pdf¶3" is the third passage of "report.pdf"."""
SMALLEST_INTEGER, LARGEST_INTEGER = -(1 << 63), (1 << 63) - 1
SEQUENCES = (list, tuple, set, frozenset)


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
        metadata: names to texts, numbers, booleans, lists of these, or None, to filter by.
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


def plain_value(value: Any) -> Any:
    """A value as it is stored and compared: NumPy's numbers and texts as Python's, dates as ISO texts.

    A datetime with a time zone is given in UTC ("2024-05-01T10:00:00+00:00"), so that such texts are in the order of
    time. One without a zone is left as it is ("2024-05-01T10:00:00"), and compares with the others as if it were UTC; a
    date ("2024-05-01") comes before every time of its day. What is none of these is given back as it is.

    Raises:
        ValueError: a NumPy datetime is none, or is finer than microseconds.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = _of_numpy(value)
    if isinstance(value, date):
        if value != value:
            raise ValueError("it is no time (NaT)")
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(UTC)
        return value.isoformat()
    if isinstance(value, str):
        return str.__str__(value)  # of an enumeration, its text
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if isinstance(value, int) else float(value)
    return value


def _of_numpy(value: Any) -> Any:
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    if isinstance(value, np.datetime64):
        return _date_of(value)
    if isinstance(value, np.floating):
        return float(value)
    return value.item() if isinstance(value, np.generic) and not isinstance(value, np.timedelta64) else value


def _date_of(value: np.datetime64) -> date:
    if np.isnat(value):
        raise ValueError("it is no time (NaT)")
    day = np.datetime_data(value.dtype)[0] in ("Y", "M", "W", "D")
    rounded = value.astype("datetime64[D]" if day else "datetime64[us]")
    found = rounded.item()
    if not isinstance(found, date) or (not day and rounded != value):
        raise ValueError("it is finer than microseconds, or not of the years 1 to 9999")
    return found


def _check_metadata(identifier: str, metadata: Metadata | None) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        raise InputError(f"The metadata of {identifier!r} must be a dict, got {type(metadata).__name__}.")
    for name, given in metadata.items():
        where = f"The metadata field {name!r} of {identifier!r}"
        if not isinstance(name, str) or not name.isprintable() or not name or set(name) & set('"\\'):
            raise InputError(
                f"{where} needs a name that is a string of printable characters, without quotation marks and "
                "backslashes."
            )
        if name.startswith("$"):
            raise InputError(f"{where} needs another name: in filters names with $ are operators, rename it.")
        if _is_sequence(given):
            _check_values(where, given)
        else:
            _check_value(where, given, "a string, a number, a boolean or None, or a list of such")


def _check_values(where: str, given: Any) -> None:
    if isinstance(given, np.ndarray) and given.ndim > 1:
        raise InputError(f"{where} must be one list of values, got an array of shape {given.shape}.")
    for value in given:
        if value is None:
            raise InputError(f"{where} has None in its list: leave it out.")
        _check_value(where, value, "a list of strings, numbers and booleans without lists or dicts in it")


def _check_value(where: str, given: Any, what: str) -> None:
    try:
        value = plain_value(given)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{where} can't be kept: {error}.") from error
    if value is not None and not isinstance(value, str | int | float):
        raise InputError(f"{where} must be {what}, got {type(given).__name__}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where} must be a finite number, got {value}.")
    if isinstance(value, int) and not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
        raise InputError(f"{where} must fit into 64 bits, got {value}.")
    if isinstance(value, str):
        if "\0" in value:
            raise InputError(f"{where} holds the character NUL, which no filter finds: leave it out.")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{where} holds half a surrogate pair; UTF-8 can't.") from error


def _is_sequence(value: Any) -> bool:
    return isinstance(value, SEQUENCES) or (isinstance(value, np.ndarray) and bool(value.ndim))


def _check_part(identifier: str, part: Part | None) -> None:
    if part is None:
        return
    try:
        document, first, last = part
        right = (
            isinstance(document, str)
            and "\0" not in document
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


def _own_values(metadata: Metadata | None) -> dict[str, Any] | None:
    """Metadata in a dict of their own, as they are stored; None where there are none."""
    if not metadata:
        return None
    return {str.__str__(name): _own_value(value) for name, value in metadata.items()}


def _own_value(value: Any) -> Any:
    """A value, or a list of values, as it is stored; a set has no order and is given one, an empty list is None."""
    if _is_sequence(value) and not len(value):
        return None
    if not _is_sequence(value):
        return plain_value(value)
    values = [plain_value(one) for one in value]
    return sorted(values, key=lambda one: (type(one).__name__, one)) if isinstance(value, set | frozenset) else values
