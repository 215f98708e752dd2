"""Filters of events that no event can match."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.errors import Refused
from app.domain.events.events import CHECKOUT_DIFFERENCES, TYPES, Category
from app.domain.events.type_names import parse_type
from app.domain.state.measures import EventFilter
from app.domain.values.conditions import POSITIVE, Condition, Operator


def can_match(events: EventFilter) -> bool:
    """Return whether any event can match a filter."""
    if events.types and not any(_can_be_recorded(name, events.categories) for name in events.types):
        return False
    by_path: dict[tuple[str, ...], list[Condition]] = {}
    for condition in events.metadata:
        by_path.setdefault(condition.steps, []).append(condition)
    return not any(map(_contradict, by_path.values()))


def _can_be_recorded(name: str, categories: Sequence[Category]) -> bool:
    if name in CHECKOUT_DIFFERENCES:
        return not categories or Category.TRANSACTION in categories
    try:
        parse_type(name)
    except Refused:
        return False
    built_in = TYPES.get(name)
    if not categories:
        return True
    return built_in in categories if built_in is not None else any(c is not Category.FIELD_CHANGE for c in categories)


def _contradict(conditions: Sequence[Condition]) -> bool:
    """Return whether conditions on one path exclude each other."""
    excluded: set[tuple[type, object]] = set()
    for condition in conditions:
        if condition.operator in (Operator.NE, Operator.NOT_IN):
            excluded |= operands_of(condition.value)
    wanted = [condition for condition in conditions if condition.operator not in POSITIVE]
    if wanted and any(condition.operator is Operator.NOT_EXISTS for condition in conditions):
        return True
    return any(
        condition.operator in (Operator.EQ, Operator.IN) and operands_of(condition.value) <= excluded
        for condition in wanted
    )


def operands_of(value: object) -> set[tuple[type, object]]:
    """Return the values that a condition compares with, as a set."""
    # True equals 1 in Python.
    return {(bool if isinstance(v, bool) else object, v) for v in (value if isinstance(value, tuple) else (value,))}
