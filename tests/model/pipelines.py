"""Stages of aggregations over documents in memory, as far as the stages and the reads of rollups use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import bson
from bson import Decimal128

from app.domain.values.instants import from_ms, to_ms

Doc = dict[str, Any]


def run_stages(
    docs: Iterable[Doc], stages: Sequence[Doc], select: Callable[[Iterable[Doc], Mapping[str, Any]], list[Doc]]
) -> list[Doc]:
    """Return what the stages make of documents. Raises KeyError for an operator that this store does not support."""
    found = list(docs)
    for stage in stages:
        [(name, operand)] = stage.items()
        match name:
            case "$match":
                found = select(found, operand)
            case "$sort":
                for field, direction in reversed(operand.items()):
                    found.sort(key=lambda doc, field=field: doc[field], reverse=direction < 0)  # type: ignore[misc]
            case "$limit":
                found = found[:operand]
            case "$count":
                found = [{operand: len(found)}] if found else []
            case "$group":
                found = _group(found, operand)
            case "$project":
                pass  # readers take the fields that they need
            case _:
                raise KeyError(name)
    return found


def _group(docs: Sequence[Doc], operand: Doc) -> list[Doc]:
    groups: dict[bytes, tuple[Any, list[Doc]]] = {}
    for doc in docs:
        key = evaluate(operand["_id"], doc)
        groups.setdefault(bson.encode({"key": key}), (key, []))[1].append(doc)
    return [
        {"_id": key, **{name: _accumulate(each, members) for name, each in operand.items() if name != "_id"}}
        for key, members in groups.values()
    ]


def _accumulate(operand: Doc, docs: Sequence[Doc]) -> Any:
    [(name, expression)] = operand.items()
    values = [value for doc in docs if (value := _plain(evaluate(expression, doc))) is not None]
    if name == "$sum":
        total = sum(values)
        return Decimal128(total) if isinstance(total, Decimal) else total
    if name == "$push":
        return values
    chosen = {"$min": min, "$max": max}[name](values, default=None)
    return Decimal128(chosen) if isinstance(chosen, Decimal) else chosen


def evaluate(expression: Any, doc: Mapping[str, Any]) -> Any:
    """Return the value of an expression for a document; None for a field that is missing."""
    if isinstance(expression, str) and expression.startswith("$"):
        value: Any = doc
        for name in expression[1:].split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value
    if isinstance(expression, list):
        return [evaluate(each, doc) for each in expression]
    if not isinstance(expression, dict):
        return expression
    if not any(name.startswith("$") for name in expression):
        return {name: evaluate(each, doc) for name, each in expression.items()}
    [(name, operand)] = expression.items()
    return _OPERATORS[name](operand, doc)


def _subtract(operand: Sequence[Any], doc: Mapping[str, Any]) -> Any:
    """Return a difference of numbers. Raises KeyError for instants, which `secantusd-rs` does not subtract."""
    first, second = _values(operand, doc)
    if isinstance(first, datetime) or isinstance(second, datetime):
        raise KeyError("$subtract of instants")
    return first - second


def _remainder(operand: Sequence[Any], doc: Mapping[str, Any]) -> Any:
    first, second = _values(operand, doc)
    return first % second


def _plain(value: Any) -> Any:
    return value.to_decimal() if isinstance(value, Decimal128) else value


def _values(operand: Sequence[Any], doc: Mapping[str, Any]) -> tuple[Any, Any]:
    first, second = (_plain(evaluate(each, doc)) for each in operand)
    return first, second


def _choose(operand: Sequence[Any], doc: Mapping[str, Any]) -> Any:
    condition, then, otherwise = operand
    return evaluate(then if evaluate(condition, doc) else otherwise, doc)


def _is_less(operand: Sequence[Any], doc: Mapping[str, Any]) -> bool:
    first, second = _values(operand, doc)
    return bool(first < second)


def _is_equal(operand: Sequence[Any], doc: Mapping[str, Any]) -> bool:
    first, second = _values(operand, doc)
    return bool(first == second)


def _first_value(operand: Sequence[Any], doc: Mapping[str, Any]) -> Any:
    return next((value for each in operand if (value := evaluate(each, doc)) is not None), None)


def _truncate(operand: Mapping[str, Any], doc: Mapping[str, Any]) -> datetime:
    """Return the first instant of a day. Raises KeyError for any other unit."""
    if operand.keys() != {"date", "unit"} or operand["unit"] != "day":
        raise KeyError(operand["unit"])
    at: datetime = evaluate(operand["date"], doc)
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


_OPERATORS: Mapping[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "$ifNull": _first_value,
    "$eq": _is_equal,
    "$ne": lambda operand, doc: not _is_equal(operand, doc),
    "$lt": _is_less,
    "$in": lambda operand, doc: evaluate(operand[0], doc) in evaluate(operand[1], doc),
    "$and": lambda operand, doc: all(evaluate(each, doc) for each in operand),
    "$or": lambda operand, doc: any(evaluate(each, doc) for each in operand),
    "$not": lambda operand, doc: not evaluate(operand[0] if isinstance(operand, list) else operand, doc),
    "$cond": _choose,
    "$subtract": _subtract,
    "$mod": _remainder,
    "$toLong": lambda operand, doc: to_ms(evaluate(operand, doc)),
    "$toDate": lambda operand, doc: from_ms(evaluate(operand, doc)),
    "$dateTrunc": _truncate,
    "$literal": lambda operand, _: operand,
}
