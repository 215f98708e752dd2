"""Conditions on single values, as the store asks them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.domain.values.conditions import Condition, Operator, number_of
from app.domain.values.decimals import canonical

from .queries import Doc

_ORDERED = {Operator.GT: "$gt", Operator.GTE: "$gte", Operator.LT: "$lt", Operator.LTE: "$lte"}


def condition_doc(condition: Condition, root: str) -> Doc:
    """The filter for documents whose value at the condition's path under `root` meets it."""
    path, operator = f"{root}.{condition.path}", condition.operator
    if operator in (Operator.EXISTS, Operator.NOT_EXISTS):
        return {path: {"$exists": operator is Operator.EXISTS}}
    if operator is Operator.CONTAINS:
        return {path: {"$regex": _escaped(str(condition.value))}}
    if operator in _ORDERED:
        # Compared with a number, Mongo looks at numbers only, as with a text at texts only.
        return {path: {_ORDERED[operator]: _spellings(condition.value)[0]}}
    listed = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    among = [spelling for value in listed for spelling in _spellings(value)]
    return {path: {"$in" if operator in (Operator.EQ, Operator.IN) else "$nin": among}}


def between(name: str, after: datetime | None, before: datetime | None) -> Doc:
    """The condition that an instant is not before `after` and is before `before`; none where both are None."""
    bounds = {operator: at for operator, at in (("$gte", after), ("$lt", before)) if at is not None}
    return {name: bounds} if bounds else {}


def _spellings(value: object) -> list[Any]:
    """How JSON may have written a value: a number as a number or as text."""
    number = number_of(value)
    if number is None:
        return [value]
    return [int(number) if number == number.to_integral_value() else float(number), canonical(number)]


def _escaped(text: str) -> str:
    return "".join(c if c.isalnum() or c in " _" else f"\\{c}" for c in text)
