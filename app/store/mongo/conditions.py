"""Filters of MongoDB for conditions on single values.

`app/domain/values/conditions.py` defines what a condition means, and `app/domain/values/paths.py` what a path means.
"""

from __future__ import annotations

from datetime import datetime

from app.domain.values.conditions import PATTERN_CHARACTERS, POSITIVE, Condition, Operator
from app.domain.values.paths import is_index

from .queries import Doc

_ORDERED = {Operator.GT: "$gt", Operator.GTE: "$gte", Operator.LT: "$lt", Operator.LTE: "$lte"}
_VALUE_TYPES = ["string", "number", "bool", "object"]
"""The types of values at a path. Nulls count as absent, and a list stands for its elements."""
_NEVER: Doc = {"_id": {"$in": []}}


def condition_to_filter(condition: Condition, root: str) -> Doc:
    """Return the filter for documents whose value at the condition's path under `root` meets the condition."""
    found = _positive_filter(condition, root)
    return {"$nor": [found]} if condition.operator in POSITIVE else found


def _positive_filter(condition: Condition, root: str) -> Doc:
    steps = condition.steps
    if not steps or any(step.startswith("$") or "\0" in step for step in steps):
        return _NEVER
    path, test = ".".join((root, *steps)), _test(condition)
    if not is_index(steps[-1]):
        return {path: test}
    # MongoDB does not look into a list that a path names by its index, so name the elements as well.
    return {"$or": [{path: test}, {path: {"$elemMatch": test}}]}


def _test(condition: Condition) -> Doc:
    """Return the test of one value, for the operator or for the operator that it is the opposite of."""
    operator, value = POSITIVE.get(condition.operator, condition.operator), condition.value
    if operator is Operator.EXISTS:
        return {"$type": _VALUE_TYPES}
    if operator is Operator.CONTAINS:
        return {"$regex": _escape_pattern(str(value))}
    if operator in _ORDERED:
        # MongoDB compares a number only with numbers, and a text only with texts.
        return {_ORDERED[operator]: value}
    return {"$in": list(value)} if isinstance(value, tuple) else {"$eq": value}


def between(name: str, after: datetime | None, before: datetime | None) -> Doc:
    """Return the filter for an instant that is at or after `after` and before `before`; empty if both are None."""
    bounds = {operator: instant for operator, instant in (("$gte", after), ("$lt", before)) if instant is not None}
    return {name: bounds} if bounds else {}


def _escape_pattern(text: str) -> str:
    # Escape no other signs: in the pattern of a Rust server, "\<" is the beginning of a word.
    escaped = "".join(f"\\{c}" if c in PATTERN_CHARACTERS else c for c in text)
    return escaped.replace("\0", "\\x00")
