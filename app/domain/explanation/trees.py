"""Trees of explanations: what each part of criteria measures for a pass, and whether it holds.

`evaluate` decides whether a part holds, as in the walk. So a tree cannot disagree with a membership.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from app.domain.events.events import Event
from app.domain.segments.criteria import (
    All,
    AnyOf,
    Criteria,
    EventCriterion,
    ListCriterion,
    MeasuredCriterion,
    Metric,
    Not,
    SegmentCriterion,
)
from app.domain.segments.evaluation import EvaluationContext, Value, evaluate, measured_value
from app.domain.segments.moments import AnniversaryCriterion, RelativeCriterion
from app.domain.segments.pass_criteria import PassCriterion
from app.domain.segments.sequences import SequenceCriterion
from app.domain.values.conditions import Operator


class PartKind(StrEnum):
    """Kind of a part of criteria."""

    ALL = "ALL"
    ANY = "ANY"
    NOT = "NOT"
    EVENT = "EVENT"
    SEQUENCE = "SEQUENCE"
    PASS = "PASS"
    SEGMENT = "SEGMENT"
    LIST = "LIST"


@dataclass(frozen=True, slots=True)
class Part:
    """Explanation of one part of criteria at an instant.

    - `measured`, `operator`, `threshold`: what a leaf compares; None for other parts.
    - `since_joined`: the measured days count from the joining of the customer, because no event matches.
    - `window_ms`: first and last instant of the window, in ms; a None in it is no bound, and no window is None.
    - `until_ms`: instant at which time alone changes the result; None if that was not found.
    """

    kind: PartKind
    criteria: Criteria
    holds: bool
    measured: Value = None
    operator: str | None = None
    threshold: object = None
    since_joined: bool = False
    window_ms: tuple[int | None, int | None] | None = None
    until_ms: int | None = None
    children: tuple[Part, ...] = ()


def explain(criteria: Criteria, context: EvaluationContext) -> Part:
    """Return the explanation of criteria in a context, without the instants at which results change."""
    holds = evaluate(criteria, context)
    match criteria:
        case All(children):
            parts = tuple(explain(child, context) for child in children)
            return Part(PartKind.ALL, criteria, holds, children=parts)
        case AnyOf(children):
            parts = tuple(explain(child, context) for child in children)
            return Part(PartKind.ANY, criteria, holds, children=parts)
        case Not(child):
            return Part(PartKind.NOT, criteria, holds, children=(explain(child, context),))
        case ListCriterion():
            return Part(PartKind.LIST, criteria, holds)
        case EventCriterion():
            return Part(
                PartKind.EVENT,
                criteria,
                holds,
                measured=measured_value(criteria, context),
                operator=criteria.operator.value,
                threshold=criteria.value,
                since_joined=criteria.metric is Metric.DAYS_SINCE_LAST and criteria.measure.key not in context.states,
                window_ms=window_of(criteria, context.at_ms),
            )
        case SequenceCriterion():
            return Part(
                PartKind.SEQUENCE,
                criteria,
                holds,
                measured=measured_value(criteria, context),
                operator=Operator.GTE.value,
                threshold=len(criteria.steps),
                window_ms=None if criteria.within_ms is None else _rolling(criteria.within_ms, context.at_ms),
            )
        case PassCriterion():
            return Part(
                PartKind.PASS,
                criteria,
                holds,
                measured=measured_value(criteria, context),
                operator=criteria.operator.value,
                threshold=criteria.value,
            )
        case RelativeCriterion() | AnniversaryCriterion():
            relative = criteria if isinstance(criteria, RelativeCriterion) else None
            return Part(
                PartKind.PASS,
                criteria,
                holds,
                measured=measured_value(criteria, context),
                operator=None if relative is None else relative.operator.value,
                threshold=criteria.asked,
                window_ms=None if relative is None else relative.window_at(context.at_ms),
            )
        case SegmentCriterion():
            return Part(
                PartKind.SEGMENT,
                criteria,
                holds,
                measured=measured_value(criteria, context),
                threshold=criteria.member,
            )
    assert_never(criteria)


def window_of(criterion: EventCriterion, at_ms: int) -> tuple[int | None, int | None] | None:
    """Return the first and the last instant of the window of a criterion, both inclusive; None if it has no window."""
    if criterion.periods is not None:
        period = criterion.periods.window_at(at_ms)
        return period.start_ms, period.end_ms - 1
    if criterion.within_ms is not None:
        return _rolling(criterion.within_ms, at_ms)
    start_ms, end_ms = criterion.filter.from_ms, criterion.filter.to_ms
    if start_ms is None and end_ms is None:
        return None
    return start_ms, None if end_ms is None else end_ms - 1


def _rolling(within_ms: int, at_ms: int) -> tuple[int, int]:
    return at_ms - within_ms + 1, at_ms


def events_span(part: Part) -> tuple[int | None, int | None] | None:
    """Return the first and the last instant at which events may count in a part; None if it counts no events."""
    if isinstance(part.criteria, SequenceCriterion):
        # The window holds the last step only.
        return None, None if part.window_ms is None else part.window_ms[1]
    return part.window_ms or (None, None) if isinstance(part.criteria, EventCriterion) else None


def matches_part(part: Part, event: Event) -> bool:
    """Return whether an event counts in a part, apart from its window."""
    return isinstance(part.criteria, MeasuredCriterion) and part.criteria.measure.matches(event)


def iter_parts(part: Part) -> Iterator[Part]:
    """Iterate over a part and all parts below it, each before its children."""
    yield part
    for child in part.children:
        yield from iter_parts(child)


def results_of(criteria: Criteria, context: EvaluationContext) -> list[bool]:
    """Return whether the criteria and all parts below them hold, in the order of `iter_parts`."""
    return [part.holds for part in iter_parts(explain(criteria, context))]


def deciding_leaves(part: Part, *, negated: bool = False) -> list[tuple[Part, bool]]:
    """Return the leaves that make the part hold, or keep it from holding, from left to right.

    Each comes with whether the criteria ask for its opposite, because an odd number of `not` stand above it.
    """
    match part.kind:
        case PartKind.NOT:
            return deciding_leaves(part.children[0], negated=not negated)
        case PartKind.ALL | PartKind.ANY:
            # One child that fails decides "all", and one that holds decides "any".
            all_count = part.holds == (part.kind is PartKind.ALL)
            children = [each for each in part.children if all_count or each.holds == part.holds]
            return [leaf for child in children for leaf in deciding_leaves(child, negated=negated)]
        case PartKind.EVENT | PartKind.SEQUENCE | PartKind.PASS | PartKind.SEGMENT | PartKind.LIST:
            return [(part, negated)]
    assert_never(part.kind)
