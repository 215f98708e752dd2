"""Evaluation: whether a pass matches criteria at an instant, the measured values, and the next change by time alone.

A window of length N at the instant T is (T - N, T]. "GTE N days" begins to match exactly N x 24 h after the event, "GT
N days" 1 ms later. LT and LTE are the complements of GTE and GT. "EQ N days" matches while N x 24 h <= elapsed < (N +
1) x 24 h. (Source: docs/explanation/segments-and-time.md, "When a result changes".)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache

from app.domain.passes.lists import INCLUDE
from app.domain.passes.passes import Pass, Profile
from app.domain.state.calendars import PeriodValues, Streak, later_values, value_of_periods
from app.domain.state.completed import Completed
from app.domain.state.distinct import Distinct
from app.domain.state.extremes import Extremes
from app.domain.state.measures import FirstAndLast, State, expire_state
from app.domain.state.numbers import Mean, Number, Weight, subtract_numbers
from app.domain.state.refilling import is_exhausted
from app.domain.state.windows import Window, expire_window
from app.domain.values.conditions import MAX_SINGLE_TESTS, POSITIVE, Operator
from app.domain.values.decimals import multiply_exactly
from app.domain.values.instants import DAY_MS, format_instant, to_ms

from .criteria import (
    DAYS,
    All,
    AnyOf,
    Criteria,
    EventCriterion,
    ListCriterion,
    MeasuredCriterion,
    Metric,
    Never,
    Not,
    SegmentCriterion,
)
from .moments import AnniversaryCriterion, MomentCriterion, RelativeCriterion
from .pass_criteria import PassCriterion
from .sequences import SequenceCriterion

MAX_SHOWN_CHARACTERS = 100
"""Characters of a measured value that stands for the values of a list."""
_DAY_PLACES = Decimal("1e-8")
"""One unit is less than a millisecond, in days."""
# Each event asks these about ten times. Python 3.11 builds `A | B` at each test, which takes three times as long as a tuple.
_LISTED = (Window, Extremes, Distinct)
_PERIODIC = (PeriodValues, Streak)
_UNMEASURED = (FirstAndLast, Completed)
Value = Number | float | str | bool | None
"""Measured value of a criterion."""
TimedLeaf = MeasuredCriterion | RelativeCriterion | AnniversaryCriterion
"""A criterion whose result time alone may change."""


@dataclass(slots=True)
class EvaluationContext:
    """Everything that an evaluation depends on: the instant, the measures, the memberships so far and the pass.

    `joined_ms` is the instant at which the customer joined, `installed_at` that of the installation, if there was one.
    `tier` is the key of the tier. `updated_at` is that of the profile, or None for the one that `card` has.
    """

    at_ms: int
    states: Mapping[str, State]
    members: Mapping[str, object]
    card: Pass
    profile: Profile
    points: Decimal
    joined_ms: int
    installed_at: datetime | None = None
    tier: str | None = None
    updated_at: datetime | None = None


def context_of(card: Pass, at_ms: int) -> EvaluationContext:
    """Return what an evaluation of a pass depends on, after its walk to the instant. `card` has its measures."""
    return EvaluationContext(
        at_ms,
        card.measures,
        card.memberships,
        card=card,
        profile=card.profile,
        points=card.points,
        joined_ms=to_ms(card.joined_at),
        installed_at=card.installed_at,
        tier=card.tier_key,
    )


def evaluate(criteria: Criteria, context: EvaluationContext) -> bool:
    """Return whether the pass matches the criteria in this context."""
    match criteria:
        case EventCriterion():
            return _matches_events(criteria, context)
        case SequenceCriterion():
            return criteria.holds(context.states.get(criteria.measure.key), context.at_ms)
        case All(children):
            return all(evaluate(child, context) for child in children)
        case AnyOf(children):
            return any(evaluate(child, context) for child in children)
        case Not(child):
            return not evaluate(child, context)
        case SegmentCriterion():
            return (criteria.segment_id in context.members) == criteria.member
        case ListCriterion():
            # The list of the segment decides, see `belongs`: a pass that is not on it does not belong.
            return False
        case RelativeCriterion() | AnniversaryCriterion():
            return criteria.holds(_pass_values(criteria, context), context.at_ms)
    return _matches_pass(criteria, context)


def belongs(segment_id: str, criteria: Criteria, context: EvaluationContext) -> bool:
    """Return whether the pass belongs to a segment: by its lists, else by its criteria."""
    listed = context.profile.lists.get(segment_id)
    return evaluate(criteria, context) if listed is None else listed == INCLUDE


def measured_value(leaf: Criteria, context: EvaluationContext) -> Value:
    """Return the value that a leaf compares: a count, a sum, days (None for never), steps, a field or a membership."""
    match leaf:
        case EventCriterion():
            state = _current_state(leaf, context)
            if leaf.metric not in DAYS:
                measured = _value_of(leaf, state, context.at_ms)
                return measured.value if isinstance(measured, Mean) else measured
            since = _since_ms(leaf, state, context)
            return None if since is None else elapsed_days(max(0, context.at_ms - since))
        case SequenceCriterion():
            return leaf.count_steps(context.states.get(leaf.measure.key), context.at_ms)
        case SegmentCriterion():
            return leaf.segment_id in context.members
        case PassCriterion() | RelativeCriterion() | AnniversaryCriterion():
            values = _pass_values(leaf, context)
            if len(values) > 1:
                return ", ".join(map(str, values[:MAX_SHOWN_CHARACTERS]))[:MAX_SHOWN_CHARACTERS]
            value = values[0] if values else None
            if isinstance(value, datetime):
                return format_instant(value)
            return value if isinstance(value, (str, int, bool, Decimal)) else None if value is None else str(value)
    raise TypeError(leaf)


def elapsed_days(elapsed_ms: int) -> int | float:
    """Return a time in days of 24 hours, to the millisecond: at most 8 decimal places, rounded down."""
    whole, rest = divmod(elapsed_ms, DAY_MS)
    return whole if not rest else float(whole + (Decimal(rest) / DAY_MS).quantize(_DAY_PLACES, ROUND_FLOOR))


def next_change_ms(leaf: TimedLeaf, context: EvaluationContext) -> int | None:
    """Return the earliest instant after the context's at which the leaf may change by time alone; None for never.

    If the list of a window ends before a change, return the instant at which its last listed event leaves. The worker
    then reads the next events of the window.
    """
    if isinstance(leaf, MomentCriterion):
        return leaf.next_change_ms(_pass_values(leaf, context), context.at_ms)
    state = context.states.get(leaf.measure.key)
    if isinstance(leaf, SequenceCriterion):
        return leaf.next_change_ms(state, context.at_ms)
    if leaf.metric in DAYS:
        since = _since_ms(leaf, state, context)
        if since is None:
            return None
        return next((since + boundary for boundary in _boundaries(leaf) if since + boundary > context.at_ms), None)
    if leaf.periods is not None and isinstance(state, PeriodValues | Streak):
        holds = _satisfies(leaf, _value_of(leaf, state, context.at_ms))
        for at_ms, value in later_values(leaf.periods, state, context.at_ms):
            if _satisfies(leaf, leaf.without_values if value is None else value) != holds:
                return at_ms
        return None
    if leaf.within_ms is None or not isinstance(state, Window):
        return _next_change_of_values_ms(leaf, state, context)
    before = _satisfies(leaf, state.value)
    value = state.value
    for instant, weight in zip(state.instants, state.weights, strict=True):
        value = subtract_numbers(value, weight)
        if _satisfies(leaf, value) != before:
            return instant + leaf.within_ms
    if not state.has_more:
        return None
    return state.instants[-1] + leaf.within_ms if state.instants else context.at_ms


def _next_change_of_values_ms(leaf: EventCriterion, state: State | None, context: EvaluationContext) -> int | None:
    """Return the next change of a window that lists the extremes or the different values of events."""
    if leaf.within_ms is None or not isinstance(state, Extremes | Distinct):
        return None
    gap, end = None, len(state.instants)
    following: Sequence[Weight | None] = range(end - 1, -1, -1)
    if isinstance(state, Extremes):
        gap, following = state.first_gap, (*state.values[1:], None)
        if gap == 0:
            return context.at_ms
    before = _satisfies(leaf, _value_of(leaf, state, context.at_ms))
    for index, value in enumerate(following):
        is_last_of_instant = index + 1 == end or state.instants[index + 1] != state.instants[index]
        if index + 1 == gap or (is_last_of_instant and _satisfies(leaf, value) != before):
            return state.instants[index] + leaf.within_ms
    return None


def earliest_change_ms(leaf: TimedLeaf, context: EvaluationContext) -> int | None:
    """Return a lower bound of `next_change_ms` at little cost; None for never."""
    if isinstance(leaf, MomentCriterion):
        return next_change_ms(leaf, context)
    state = context.states.get(leaf.measure.key)
    if isinstance(leaf, EventCriterion) and leaf.periods is not None and isinstance(state, PeriodValues):
        return leaf.periods.local.period_at(leaf.periods.unit, context.at_ms).end_ms
    if leaf.within_ms is None or not isinstance(state, _LISTED) or not state.instants:
        return next_change_ms(leaf, context)
    return context.at_ms if is_exhausted(state) else state.instants[0] + leaf.within_ms


def _matches_events(leaf: EventCriterion, context: EvaluationContext) -> bool:
    state = _current_state(leaf, context)
    if leaf.metric not in DAYS:
        return _satisfies(leaf, _value_of(leaf, state, context.at_ms))
    since = _since_ms(leaf, state, context)
    if since is None:
        is_lower_bound = leaf.operator in (Operator.GTE, Operator.GT)
        return is_lower_bound and leaf.metric is Metric.DAYS_SINCE_LAST and leaf.never is Never.MATCHES
    elapsed_ms = context.at_ms - since
    low, high = _elapsed_interval(leaf.operator, leaf.value)
    return (low is None or elapsed_ms >= low) and (high is None or elapsed_ms < high)


def _current_state(leaf: EventCriterion, context: EvaluationContext) -> State | None:
    """Return the state of the leaf's measure, without the events that have left its window."""
    state = context.states.get(leaf.measure.key)
    if isinstance(state, Window) and leaf.within_ms is not None:
        return expire_window(state, context.at_ms - leaf.within_ms)
    return None if state is None else expire_state(leaf.measure, state, context.at_ms)


def _value_of(leaf: EventCriterion, state: State | None, at_ms: int) -> Weight | None:
    """Return the value of a state: 0 for a count or a sum over no events, None for other metrics over no values."""
    if isinstance(state, _PERIODIC):
        value = None if leaf.periods is None else value_of_periods(leaf.periods, state, at_ms)
        return leaf.without_values if value is None else value
    return leaf.without_values if state is None or isinstance(state, _UNMEASURED) else state.value


def _since_ms(leaf: EventCriterion, state: State | None, context: EvaluationContext) -> int | None:
    """Return the instant from which the days count: the event, or the joining of the customer; None if neither applies.

    The joining applies to GTE and GT of DAYS_SINCE_LAST with SINCE_JOINED, if the pass has no matching event.
    """
    if isinstance(state, FirstAndLast):
        return state.last_ms if leaf.metric is Metric.DAYS_SINCE_LAST else state.first_ms
    counts_from_joining = leaf.operator in (Operator.GTE, Operator.GT) and leaf.never is Never.SINCE_JOINED
    return context.joined_ms if counts_from_joining and leaf.metric is Metric.DAYS_SINCE_LAST else None


@lru_cache(maxsize=1_000)
def _elapsed_interval(operator: Operator, days: Decimal) -> tuple[int | None, int | None]:
    """Return the interval [low, high) of elapsed ms in which "elapsed `operator` `days`" is true; None is unbounded."""
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


def _boundaries(leaf: EventCriterion) -> list[int]:
    return [boundary for boundary in _elapsed_interval(leaf.operator, leaf.value) if boundary is not None]


COMPARE: Mapping[Operator, Callable[[Number, Decimal], bool]] = {
    Operator.GTE: lambda a, b: a >= b,
    Operator.GT: lambda a, b: a > b,
    Operator.LT: lambda a, b: a < b,
    Operator.LTE: lambda a, b: a <= b,
    Operator.EQ: lambda a, b: a == b,
}


def _satisfies(leaf: EventCriterion, value: Weight | None) -> bool:
    if isinstance(value, Mean):
        return bool(value.count) and COMPARE[leaf.operator](value.total, multiply_exactly(leaf.value, value.count))
    return value is not None and COMPARE[leaf.operator](value, leaf.value)


def _matches_pass(leaf: PassCriterion, context: EvaluationContext) -> bool:
    if leaf.root and len((found := context.profile.values_at(leaf.root, leaf.steps)).values) > MAX_SINGLE_TESTS:
        return leaf.path_test(found) != (leaf.operator in POSITIVE)
    matches = any(map(leaf.test, _pass_values(leaf, context)))
    return matches != (leaf.operator in POSITIVE)


def _pass_values(leaf: PassCriterion | MomentCriterion, context: EvaluationContext) -> Sequence[object]:
    """Return the values of a field of the pass: at most one, unless its path meets a list."""
    card, profile = context.card, context.profile
    if leaf.steps:
        return profile.values_at(leaf.root, leaf.steps).values
    value: object
    if isinstance(leaf, PassCriterion) and leaf.consent_key is not None:
        consent = profile.consents.get(leaf.consent_key)
        return [] if consent is None else [consent.given]
    match leaf.field:
        case "pointsBalance":
            value = context.points
        case "status":
            value = profile.status
        case "kind":
            value = card.kind
        case "tier":
            value = context.tier
        case "externalId":
            value = card.external_id
        case "createdAt":
            value = card.created_at
        case "installedAt":
            value = context.installed_at
        case _:
            value = context.updated_at or card.updated_at
    return [] if value is None else [value]
