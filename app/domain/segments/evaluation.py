"""Verdicts: whether a pass satisfies criteria at an instant, what was measured, and when that could change by itself.

The boundaries are those of the docs/explanation/exactly-once.md ("Verdicts"): a window is (T - N, T]; GTE N days flips at exactly
N x 24 h, GT 1 ms later; LT and LTE are their complements; EQ N days is N x 24 h <= elapsed < (N + 1) x 24 h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache

from app.domain.passes.passes import Pass, Profile
from app.domain.state.measures import FirstAndLast, Number, State, Window, expire_window, minus
from app.domain.values.conditions import Operator, compare, dig
from app.domain.values.instants import DAY_MS, to_ms

from .criteria import All, AnyOf, Criteria, EventCriterion, Metric, Never, Not, PassCriterion, SegmentCriterion

Value = Number | str | bool | None


@dataclass(slots=True)
class EvaluationContext:
    """All that a verdict depends on: the instant, the measures as they stand, the pass, its memberships so far."""

    at_ms: int
    states: Mapping[str, State]
    members: Mapping[str, object]
    card: Pass
    profile: Profile
    points: Decimal
    joined_ms: int


def evaluate(criteria: Criteria, frame: EvaluationContext) -> bool:
    """Whether the criteria are satisfied in this frame."""
    match criteria:
        case EventCriterion():
            return _event_holds(criteria, frame)
        case All(children):
            return all(evaluate(child, frame) for child in children)
        case AnyOf(children):
            return any(evaluate(child, frame) for child in children)
        case Not(child):
            return not evaluate(child, frame)
        case SegmentCriterion():
            return (criteria.segment_id in frame.members) == criteria.member
    return compare(_pass_value(criteria, frame), criteria.operator, criteria.value)


def measured_value(leaf: Criteria, frame: EvaluationContext) -> Value:
    """The value that a leaf compares: a count, a sum, whole days since (None for never), a field, a membership."""
    match leaf:
        case EventCriterion():
            state = _window_now(leaf, frame)
            if leaf.metric in (Metric.COUNT, Metric.SUM):
                return 0 if state is None or isinstance(state, FirstAndLast) else state.value
            since = _since_ms(leaf, state, frame)
            return None if since is None else max(0, frame.at_ms - since) // DAY_MS
        case SegmentCriterion():
            return leaf.segment_id in frame.members
        case PassCriterion():
            value = _pass_value(leaf, frame)
            return value if isinstance(value, (str, int, bool, Decimal)) else None if value is None else str(value)
    raise TypeError(leaf)


def next_change_ms(leaf: EventCriterion, frame: EvaluationContext) -> int | None:
    """The earliest instant after this frame's at which the leaf could change with no new event; None for never.

    A window whose list of leavers ends is asked again when the last one listed leaves.
    """
    state = frame.states.get(leaf.measure.key)
    if leaf.metric in (Metric.DAYS_SINCE_LAST, Metric.DAYS_SINCE_FIRST):
        since = _since_ms(leaf, state, frame)
        if since is None:
            return None
        return next((since + edge for edge in _edges(leaf) if since + edge > frame.at_ms), None)
    if leaf.within_ms is None or not isinstance(state, Window):
        return None
    before = _passes(leaf, state.value)
    value = state.value
    for instant, weight in zip(state.instants, state.weights, strict=True):
        value = minus(value, weight)
        if _passes(leaf, value) != before:
            return instant + leaf.within_ms
    if not state.has_more:
        return None
    return state.instants[-1] + leaf.within_ms if state.instants else frame.at_ms


def earliest_change_ms(leaf: EventCriterion, frame: EvaluationContext) -> int | None:
    """An instant before which `next_change_ms` certainly does not lie, at no cost worth mentioning; None for never."""
    state = frame.states.get(leaf.measure.key)
    if leaf.within_ms is None or not isinstance(state, Window) or not state.instants:
        return next_change_ms(leaf, frame)
    return state.instants[0] + leaf.within_ms


def _event_holds(leaf: EventCriterion, frame: EvaluationContext) -> bool:
    state = _window_now(leaf, frame)
    if leaf.metric in (Metric.COUNT, Metric.SUM):
        return _passes(leaf, 0 if state is None or isinstance(state, FirstAndLast) else state.value)
    since = _since_ms(leaf, state, frame)
    if since is None:
        at_least = leaf.operator in (Operator.GTE, Operator.GT)
        return at_least and leaf.metric is Metric.DAYS_SINCE_LAST and leaf.never is Never.MATCHES
    elapsed = frame.at_ms - since
    low, high = _interval(leaf.operator, leaf.value)
    return (low is None or elapsed >= low) and (high is None or elapsed < high)


def _window_now(leaf: EventCriterion, frame: EvaluationContext) -> State | None:
    state = frame.states.get(leaf.measure.key)
    if isinstance(state, Window) and leaf.within_ms is not None:
        return expire_window(state, frame.at_ms - leaf.within_ms)
    return state


def _since_ms(leaf: EventCriterion, state: State | None, frame: EvaluationContext) -> int | None:
    """The instant from which the days are counted; None where the pass never did it and joining does not stand in."""
    if isinstance(state, FirstAndLast):
        return state.last_ms if leaf.metric is Metric.DAYS_SINCE_LAST else state.first_ms
    stands_in = leaf.operator in (Operator.GTE, Operator.GT) and leaf.never is Never.SINCE_JOINED
    return frame.joined_ms if stands_in and leaf.metric is Metric.DAYS_SINCE_LAST else None


@lru_cache(maxsize=1_000)
def _interval(operator: Operator, days: Decimal) -> tuple[int | None, int | None]:
    """[low, high) of the elapsed ms for which "elapsed `operator` `days`" holds; None is unbounded."""
    exact = days * DAY_MS
    whole = int(exact.to_integral_value(ROUND_CEILING))
    beyond = int(exact.to_integral_value(ROUND_FLOOR)) + 1
    match operator:
        case Operator.GTE:
            return whole, None
        case Operator.GT:
            return beyond, None
        case Operator.LT:
            return None, whole
        case Operator.LTE:
            return None, beyond
    return whole, int((exact + DAY_MS).to_integral_value(ROUND_CEILING))


def _edges(leaf: EventCriterion) -> list[int]:
    return [edge for edge in _interval(leaf.operator, leaf.value) if edge is not None]


_COMPARE: Mapping[Operator, Callable[[Number, Decimal], bool]] = {
    Operator.GTE: lambda a, b: a >= b,
    Operator.GT: lambda a, b: a > b,
    Operator.LT: lambda a, b: a < b,
    Operator.LTE: lambda a, b: a <= b,
    Operator.EQ: lambda a, b: a == b,
}


def _passes(leaf: EventCriterion, value: Number) -> bool:
    return _COMPARE[leaf.operator](value, leaf.value)


def _pass_value(leaf: PassCriterion, frame: EvaluationContext) -> object:
    match leaf.field:
        case "pointsBalance":
            return frame.points
        case "status":
            return frame.profile.status
        case "tier":
            return frame.card.tier
        case "externalId":
            return frame.card.external_id
        case "createdAt":
            return frame.card.created_at
        case "installedAt":
            return frame.card.installed_at
        case "updatedAt":
            return frame.card.updated_at
    root, _, path = leaf.field.partition(".")
    part = {"fields": frame.profile.fields, "metadata": frame.profile.metadata, "holder": frame.profile.holder}[root]
    return dig(part, path)


def joined_ms(card: Pass) -> int:
    """The instant that stands in for a first event that never was: installedAt, else createdAt."""
    return to_ms(card.joined_at)
