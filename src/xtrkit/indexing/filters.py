"""Conditions on metadata -> SQL with bound parameters, and what they take for granted.

A condition names fields and what they must be::

    {"year": {"$gte": 2020}, "lang": "en"}
    {"$or": [{"lang": {"$in": ["en", "de"]}}, {"$not": {"year": {"$exists": True}}}]}
    {"tags": "boat", "title": {"$contains": "whale"}, "$document": "report.pdf"}

Operators are ``$eq $ne $gt $gte $lt $lte $in $nin $contains $exists`` on a field, and ``$and $or $not`` on conditions.
Conditions that stand side by side must all hold. A field that a document does not have, or that is None, meets ``$ne``,
``$nin`` and ``$exists: False`` (and is equal to None), and nothing else. Numbers compare with numbers, texts with texts
(by code point), booleans with booleans. Of a list, one value that meets a comparison is enough, and each comparison may
be met by another. ``$contains`` asks whether a list has a value, or a text these characters, large and small letters
told apart. ``$id`` is a passage's id, ``$document`` the id of the document that it is part of, or its own.

What the user gives becomes bound values, never SQL. A field that no passage has, or that holds nothing of the kind that
it is compared with, is a mistake, where SQL would find nothing, or with ``$ne`` everything: a condition tells what it
takes for granted (:class:`Demand`), and who knows the passages checks that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from xtrkit.errors import InputError
from xtrkit.passage import PSEUDO_FIELDS, Scalar, plain_value

COMPARISONS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
OPERATORS = (*COMPARISONS, "$ne", "$in", "$nin", "$contains", "$exists")
KINDS: dict[type, str] = {bool: "booleans", int: "numbers", float: "numbers", str: "texts"}
"""What a value is called, by its type."""

STORED: dict[str, tuple[str, ...]] = {
    "numbers": ("integer", "real"),
    "texts": ("text",),
    "booleans": ("true", "false"),
}
"""What SQLite calls the types of stored values of a kind."""

LISTS = "lists"

COLUMNS = dict(zip(PSEUDO_FIELDS, ("id", "coalesce(document, id)"), strict=True))
DEEPEST = 20
MOST_VALUES = 900
NAMES_SHOWN = 20


class Demand(NamedTuple):
    """A field that a condition names, and what it is compared with.

    Attributes:
        field: its name.
        kinds: what it is compared with, keys of ``STORED``, one of which it must hold; empty where that is None alone;
            ``(LISTS,)`` where it must hold a list.
        value: one of the values, for messages.
    """

    field: str
    kinds: tuple[str, ...]
    value: Scalar | None


class Condition(NamedTuple):
    """SQL on the columns of passages, what stands for each ``?``, and what it takes for granted."""

    sql: str
    values: tuple[str | int | float, ...] = ()
    demands: tuple[Demand, ...] = ()


def compiled(where: Mapping[str, Any]) -> Condition:
    """A condition as SQL.

    Raises:
        InputError: it can't be read as a condition.
    """
    condition = _all(where, 0)
    if len(condition.values) > MOST_VALUES:
        raise InputError(f"A filter may hold {MOST_VALUES} values, this one has {len(condition.values)}.")
    return condition


def there(field: str, kinds: Sequence[str] = ()) -> Condition:
    """Whether a passage has a field: of some kinds, or where none are named, at all, be it None."""
    if not kinds:
        return Condition("json_type(fields, ?) IS NOT NULL", (_path(field),))
    if LISTS in kinds:
        return Condition("coalesce(json_type(fields, ?), '') = 'array'", (_path(field),))
    return _some(field, kinds)


def no_such_field(field: str, fields: Sequence[str], who: str = "the filter names") -> InputError:
    """What is said of a field that no passage has.

    Args:
        field: its name.
        fields: those that passages have.
        who: who names it.
    """
    message = f"No passage of this index has the metadata field {field!r}, which {who}"
    if field in ("id", "_id", "document"):
        message += f': of {"documents" if field == "document" else "passages"}, "${field.lstrip("_")}" is the id'
    if not fields:
        return InputError(f"{message}; none has any metadata.")
    near = [name for name in fields if name.lower() == field.lower()] or get_close_matches(field, fields, 1)
    shown = ", ".join(map(repr, sorted(fields)[:NAMES_SHOWN]))
    more = f" and {len(fields) - NAMES_SHOWN} more" if len(fields) > NAMES_SHOWN else ""
    return InputError(f"{message}{f': did you mean {near[0]!r}?' if near else '.'} There are {shown}{more}.")


def no_such_kind(demand: Demand, kinds: Sequence[str]) -> InputError:
    """What is said of a field that never holds what it is compared with.

    Args:
        demand: the field, and what it is compared with.
        kinds: the kinds of value that it holds.
    """
    held = " and ".join(kinds) or "nothing but None"
    if LISTS in demand.kinds:
        return InputError(
            f"$contains asks whether the metadata field {demand.field!r} has {demand.value!r} in its list or its text, "
            f"and it holds {held}: compare it with $eq or $in."
        )
    return InputError(
        f"The metadata field {demand.field!r} holds {held}, and the filter compares it with "
        f"{' and '.join(demand.kinds)} such as {demand.value!r}, which would never be met: "
        + (f"give {' or '.join(kinds)}." if kinds else 'ask {"$exists": true} for passages that have it.')
    )


def _all(where: Any, depth: int) -> Condition:
    if not isinstance(where, Mapping) or depth > DEEPEST:
        raise InputError(f'A filter must be a dict such as {{"year": {{"$gte": 2020}}}}, got {where!r}.')
    return _joined(" AND ", [_one(name, value, depth) for name, value in where.items()], "1")


def _one(name: Any, value: Any, depth: int) -> Condition:
    if name in ("$and", "$or"):
        if not isinstance(value, list | tuple) or not value:
            raise InputError(f"{name} in a filter takes a list of conditions, at least one, got {value!r}.")
        parts = [_all(part, depth + 1) for part in value]
        return _joined(" AND " if name == "$and" else " OR ", parts, "1")
    if name == "$not":
        if value == {}:
            raise InputError("$not in a filter takes a condition, got {}: nothing would meet it.")
        return _negated(_all(value, depth + 1))
    if not isinstance(name, str) or not name or not _can_be_a_field(name):
        raise InputError(
            f"A filter names metadata fields, or $and, $or, $not; or {' and '.join(PSEUDO_FIELDS)}; got {name!r}."
        )
    if not isinstance(value, Mapping):
        value = {"$eq": value}
    if not value:
        raise InputError(f"The filter says nothing of the field {name!r}: use {', '.join(OPERATORS)}.")
    return _joined(" AND ", [_compared(name, operator, operand) for operator, operand in value.items()], "1")


def _can_be_a_field(name: str) -> bool:
    return name in PSEUDO_FIELDS or (name.isprintable() and not name.startswith("$") and not set(name) & set('"\\'))


def _compared(name: str, operator: Any, operand: Any) -> Condition:
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise InputError(f"$exists of the field {name!r} is true or false, got {operand!r}.")
        if name in PSEUDO_FIELDS:
            raise InputError(f"Every passage has {name}, so $exists has nothing to ask: compare it with something.")
        has_value = Condition("coalesce(json_type(fields, ?), 'null') <> 'null'", (_path(name),))
        return has_value if operand else _negated(has_value)
    if operator in ("$in", "$nin"):
        if isinstance(operand, str | bytes | Mapping) or not isinstance(operand, Collection):
            raise InputError(f"{operator} of the field {name!r} takes a list, got {operand!r}.")
        among = _among(name, operator, [_operand(name, operator, value) for value in operand])
        return among if operator == "$in" else _negated(among)
    if operator == "$contains":
        return _contains(name, _operand(name, operator, operand))
    if operator == "$ne":
        return _negated(_equal(name, "$eq", _operand(name, operator, operand)))
    if operator not in COMPARISONS:
        near = get_close_matches(str(operator), OPERATORS, 1)
        raise InputError(
            f"Unknown operator {operator!r} on the field {name!r}{f' (did you mean {near[0]}?)' if near else ''}: "
            f"use {', '.join(OPERATORS)}."
        )
    return _equal(name, operator, _operand(name, operator, operand))


def _operand(name: str, operator: str, given: Any) -> Any:
    """What a field is compared with, if it can be."""
    try:
        value = plain_value(given)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{operator} of the field {name!r}: {given!r} can't be compared, {error}.") from error
    if value is None and operator in ("$eq", "$ne", "$in", "$nin") and name not in PSEUDO_FIELDS:
        return None
    ordered = operator in COMPARISONS and operator != "$eq"
    if type(value) not in KINDS or value != value or (isinstance(value, bool) and ordered):
        hint = ' (for one of several values: {"$in": […]})' if isinstance(given, Collection) else ""
        raise InputError(f"{operator} of the field {name!r} takes a text or a number, got {given!r}{hint}.")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise InputError(f"{operator} of the field {name!r}: {value} does not fit into 64 bits.")
    if isinstance(value, str):
        if "\0" in value:
            raise InputError(f"{operator} of the field {name!r}: no text has the character NUL, got {value!r}.")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{operator} of the field {name!r}: half a surrogate pair is no UTF-8.") from error
    if name in PSEUDO_FIELDS and not isinstance(value, str):
        raise InputError(f"{operator} of {name}: ids are texts, got {value!r} of type {type(value).__name__}.")
    return value


def _equal(name: str, operator: str, value: Scalar | None) -> Condition:
    """Compared with one value; None is equal to what a passage does not have."""
    if value is None:
        return Condition("coalesce(json_type(fields, ?), 'null') = 'null'", (_path(name),), (Demand(name, (), None),))
    if name in PSEUDO_FIELDS:
        return Condition(f"{COLUMNS[name]} {COMPARISONS[operator]} ?", (_bound(value),))
    meeting = f"one.value {COMPARISONS[operator]} ?"
    return _demanding(name, [value], _some(name, (KINDS[type(value)],), meeting, [value]))


def _among(name: str, operator: str, values: Sequence[Scalar | None]) -> Condition:
    """One of several values."""
    kinds: dict[str, list[Scalar]] = {}
    for value in values:
        if value is not None:
            kinds.setdefault(KINDS[type(value)], []).append(value)
    given = [value for value in values if value is not None]
    if name in PSEUDO_FIELDS:
        return Condition(f"{COLUMNS[name]} IN ({_marks(given)})", tuple(map(_bound, given)))
    parts = [_some(name, (kind,), f"one.value IN ({_marks(some)})", some) for kind, some in kinds.items()]
    nothing = [_equal(name, "$eq", None)] if len(given) < len(values) else []
    demands = () if given else (Demand(name, (), None),)
    return _demanding(name, given, _joined(" OR ", [*parts, *nothing], "0")._replace(demands=demands))


def _contains(name: str, value: Scalar) -> Condition:
    """A list that has a value, or a text that has these characters."""
    if name in PSEUDO_FIELDS:
        return Condition(f"instr({COLUMNS[name]}, ?) > 0", (_bound(value),))
    in_list = _joined(" AND ", [there(name, (LISTS,)), _equal(name, "$eq", value)], "1")
    if not isinstance(value, str):
        return in_list._replace(demands=(*in_list.demands, Demand(name, (LISTS,), value)))
    in_text = Condition(
        "coalesce(json_type(fields, ?), '') = 'text' AND instr(json_extract(fields, ?), ?) > 0",
        (_path(name), _path(name), value),
    )
    return _joined(" OR ", [in_list, in_text], "0")


def _some(name: str, kinds: Sequence[str], meeting: str = "1", values: Sequence[Scalar] = ()) -> Condition:
    """A value of some kinds that meets something: the field's own, or where that is a list, one of it."""
    types = [stored for kind in kinds for stored in STORED[kind]]
    return Condition(
        f"EXISTS (SELECT 1 FROM json_each(fields, ?) AS one WHERE one.type IN ({_marks(types)}) AND {meeting})",
        (_path(name), *types, *map(_bound, values)),
    )


def _demanding(name: str, values: Sequence[Scalar], condition: Condition) -> Condition:
    """A condition that takes for granted that some passages have the field, with values such as these."""
    kinds = tuple(dict.fromkeys(KINDS[type(value)] for value in values))
    demands = (Demand(name, kinds, values[0]),) if values else ()
    return condition._replace(demands=(*condition.demands, *demands))


def _path(name: str) -> str:
    return f'$."{name}"'


def _bound(value: Scalar) -> str | int | float:
    return int(value) if isinstance(value, bool) else value


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _negated(condition: Condition) -> Condition:
    return condition._replace(sql=f"NOT ({condition.sql})")


def _joined(joint: str, parts: Sequence[Condition], empty: str) -> Condition:
    demands = tuple(demand for part in parts for demand in part.demands)
    if not parts:
        return Condition(empty)
    sql = joint.join(f"({part.sql})" for part in parts)
    return Condition(sql, tuple(value for part in parts for value in part.values), demands)


def ids_named_in(where: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """("$id" or "$document", ids) for each place in a condition that asks for passages by id."""
    for name, value in where.items():
        if name in ("$and", "$or"):
            for part in value:
                yield from ids_named_in(part)
        elif name in PSEUDO_FIELDS:
            asked = value if isinstance(value, Mapping) else {"$eq": value}
            for operator in ("$eq", "$in"):
                given = asked.get(operator)
                names = [given] if isinstance(given, str) else list(given) if operator == "$in" and given else []
                if names and all(isinstance(one, str) for one in names):
                    yield name, [str(one) for one in names]
