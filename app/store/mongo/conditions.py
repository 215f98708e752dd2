"""Filters of MongoDB for conditions on single values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.domain.values.conditions import Condition, Operator, number_of
from app.domain.values.decimals import canonical

from .queries import Doc

_ORDERED = {Operator.GT: "$gt", Operator.GTE: "$gte", Operator.LT: "$lt", Operator.LTE: "$lte"}


def condition_to_filter(condition: Condition, root: str) -> Doc:
    """Return the filter for documents whose value at the condition's path under `root` meets the condition."""
    path, operator = f"{root}.{condition.path}", condition.operator
    if operator in (Operator.EXISTS, Operator.NOT_EXISTS):
        return {path: {"$exists": operator is Operator.EXISTS}}
    if operator is Operator.CONTAINS:
        return {path: {"$regex": _escape_pattern(str(condition.value))}}
    if operator in _ORDERED:
        # MongoDB compares a number only with numbers, and a text only with texts.
        return {path: {_ORDERED[operator]: _representations(condition.value)[0]}}
    values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    candidates = [representation for value in values for representation in _representations(value)]
    return {path: {"$in" if operator in (Operator.EQ, Operator.IN) else "$nin": candidates}}


def between(name: str, after: datetime | None, before: datetime | None) -> Doc:
    """Return the filter for an instant that is at or after `after` and before `before`; empty if both are None."""
    bounds = {operator: instant for operator, instant in (("$gte", after), ("$lt", before)) if instant is not None}
    return {name: bounds} if bounds else {}


def _representations(value: object) -> list[Any]:
    """Return the forms in which JSON may carry a value: a number as a number or as text."""
    number = number_of(value)
    if number is None:
        return [value]
    return [int(number) if number == number.to_integral_value() else float(number), canonical(number)]


def _escape_pattern(text: str) -> str:
    return "".join(c if c.isalnum() or c in " _" else f"\\{c}" for c in text)
