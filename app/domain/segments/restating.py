"""Criteria of version 0.1.0, whose conditions meant something else, in the meaning of today."""

from __future__ import annotations

import re
from dataclasses import replace

from app.domain.values.conditions import MEANING, Condition

from .criteria import All, AnyOf, Criteria, EventCriterion, Not, iter_leaves
from .pass_criteria import PassCriterion

_FRACTION = re.compile(r"-?\d+\.\d*[1-9]", re.ASCII)
"""How version 0.1.0 stored a number with a fraction: as text."""


def changes_meaning(criteria: Criteria) -> bool:
    """Return whether a pass may match the criteria today and did not match before, or the reverse."""
    return any(
        (isinstance(leaf, EventCriterion) and leaf.meaning < MEANING and leaf.measure.reads_metadata)
        or (isinstance(leaf, PassCriterion) and leaf.meaning < MEANING and _reads_json(leaf))
        for leaf in iter_leaves(criteria)
    )


def restate(criteria: Criteria) -> Criteria:
    """Return the criteria with the meaning of today. Criteria that have it already stay as they are."""
    match criteria:
        case All(children):
            return All(tuple(map(restate, children)))
        case AnyOf(children):
            return AnyOf(tuple(map(restate, children)))
        case Not(child):
            return Not(restate(child))
        case EventCriterion() if criteria.meaning < MEANING:
            conditions = tuple(
                Condition(each.path, each.operator, _restore_numbers(each.value)) for each in criteria.filter.metadata
            )
            return replace(criteria, filter=replace(criteria.filter, metadata=conditions), meaning=MEANING)
        case PassCriterion() if criteria.meaning < MEANING:
            value = _restore_numbers(criteria.value) if criteria.root else criteria.value
            return replace(criteria, value=value, meaning=MEANING)
    return criteria


def _reads_json(leaf: PassCriterion) -> bool:
    return bool(leaf.root) or leaf.field == "externalId"


def _restore_numbers(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(_restore_numbers, value))
    return float(value) if isinstance(value, str) and _FRACTION.fullmatch(value) else value
