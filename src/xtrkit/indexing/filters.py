"""Conditions on metadata -> SQL with bound parameters.

A condition names fields and what they must be::

    {"year": {"$gte": 2020}, "lang": "en"}
    {"$or": [{"lang": {"$in": ["en", "de"]}}, {"$not": {"year": {"$exists": True}}}]}

Operators are ``$eq $ne $gt $gte $lt $lte $in $nin $exists`` on a field, and ``$and $or $not`` on conditions.
Conditions that stand side by side must all hold. A field that a document does not have, or that is None, meets ``$ne``,
``$nin`` and ``$exists: False`` (and is equal to None), and nothing else. Numbers compare with numbers, texts with texts
(by code point), booleans with booleans. What the user gives becomes bound values, never SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from xtrkit.errors import InputError

COMPARISONS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
OPERATORS = (*COMPARISONS, "$ne", "$in", "$nin", "$exists")
KINDS = {bool: ("true", "false"), int: ("integer", "real"), float: ("integer", "real"), str: ("text",)}
DEEPEST = 20
MOST_VALUES = 900


class Condition(NamedTuple):
    """SQL on the column ``fields``, and what stands for each ``?``."""

    sql: str
    values: tuple[str | int | float, ...]


def compiled(where: Mapping[str, Any]) -> Condition:
    """A condition as SQL.

    Raises:
        InputError: it can't be read as a condition.
    """
    condition = _all(where, 0)
    if len(condition.values) > MOST_VALUES:
        raise InputError(f"A filter may hold {MOST_VALUES} values, this one has {len(condition.values)}.")
    return condition


def _all(where: Any, depth: int) -> Condition:
    if not isinstance(where, Mapping) or depth > DEEPEST:
        raise InputError(f'A filter must be a dict such as {{"year": {{"$gte": 2020}}}}, got {where!r}.')
    return _joined(" AND ", [_one(name, value, depth) for name, value in where.items()], "1")


def _one(name: Any, value: Any, depth: int) -> Condition:
    if name in ("$and", "$or"):
        if not isinstance(value, list | tuple):
            raise InputError(f"{name} in a filter takes a list of conditions, got {value!r}.")
        parts = [_all(part, depth + 1) for part in value]
        return _joined(" AND ", parts, "1") if name == "$and" else _joined(" OR ", parts, "0")
    if name == "$not":
        part = _all(value, depth + 1)
        return Condition(f"NOT ({part.sql})", part.values)
    if not isinstance(name, str) or name.startswith("$") or set(name) & set('"\\') or not name:
        raise InputError(f"A filter names metadata fields, or $and, $or, $not; got {name!r}.")
    if not isinstance(value, Mapping):
        value = {"$eq": value}
    return _joined(" AND ", [_compared(name, operator, operand) for operator, operand in value.items()], "1")


def _compared(name: str, operator: str, operand: Any) -> Condition:
    path = f'$."{name}"'
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise InputError(f"$exists of the field {name!r} is true or false, got {operand!r}.")
        there = Condition("coalesce(json_type(fields, ?), 'null') <> 'null'", (path,))
        return there if operand else _negated(there)
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list | tuple):
            raise InputError(f"{operator} of the field {name!r} takes a list, got {operand!r}.")
        among = _joined(" OR ", [_equal(name, path, "$eq", value) for value in operand], "0")
        return among if operator == "$in" else _negated(among)
    if operator == "$ne":
        return _negated(_equal(name, path, "$eq", operand))
    if operator not in COMPARISONS:
        raise InputError(f"Unknown operator {operator!r} on the field {name!r}: use {', '.join(OPERATORS)}.")
    return _equal(name, path, operator, operand)


def _equal(name: str, path: str, operator: str, operand: Any) -> Condition:
    if operand is None and operator == "$eq":
        return Condition("coalesce(json_type(fields, ?), 'null') = 'null'", (path,))
    kinds = KINDS.get(type(operand))
    if kinds is None or operand != operand or (isinstance(operand, bool) and operator != "$eq"):
        raise InputError(f"{operator} of the field {name!r} takes a text or a number, got {operand!r}.")
    if isinstance(operand, int) and not -(1 << 63) <= operand < 1 << 63:
        raise InputError(f"{operator} of the field {name!r}: {operand} does not fit into 64 bits.")
    if isinstance(operand, str):
        try:
            operand.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{operator} of the field {name!r}: half a surrogate pair is no UTF-8.") from error
    if isinstance(operand, bool):
        return Condition("coalesce(json_type(fields, ?), '') = ?", (path, "true" if operand else "false"))
    marks = ", ".join("?" * len(kinds))
    sql = f"(coalesce(json_type(fields, ?), '') IN ({marks}) AND json_extract(fields, ?) {COMPARISONS[operator]} ?)"
    return Condition(sql, (path, *kinds, path, operand))


def _negated(condition: Condition) -> Condition:
    return Condition(f"NOT ({condition.sql})", condition.values)


def _joined(joint: str, parts: list[Condition], empty: str) -> Condition:
    if not parts:
        return Condition(empty, ())
    sql = joint.join(f"({part.sql})" for part in parts)
    return Condition(sql, tuple(value for part in parts for value in part.values))
