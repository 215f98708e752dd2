"""Criteria: the tree of conditions that defines which passes belong to a segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from app.domain.state.calendars import LocalPeriods
from app.domain.state.measures import EventFilter, Measure, MeasureKind
from app.domain.values.conditions import MEANING, Operator
from app.domain.values.decimals import canonical
from app.domain.values.instants import from_ms
from app.domain.values.windows import within_dict

from .moments import AnniversaryCriterion, RelativeCriterion
from .pass_criteria import PassCriterion
from .sequences import SequenceCriterion


class Metric(StrEnum):
    """Value that an event criterion measures over the matching events of a pass."""

    COUNT = "COUNT"
    SUM = "SUM"
    AVG = "AVG"
    MIN = "MIN"
    MAX = "MAX"
    COUNT_DISTINCT = "COUNT_DISTINCT"
    DAYS_SINCE_LAST = "DAYS_SINCE_LAST"
    DAYS_SINCE_FIRST = "DAYS_SINCE_FIRST"


KINDS: Mapping[Metric, MeasureKind] = {
    Metric.AVG: MeasureKind.AVERAGE,
    Metric.MIN: MeasureKind.LEAST,
    Metric.MAX: MeasureKind.GREATEST,
    Metric.COUNT_DISTINCT: MeasureKind.DISTINCT,
}
"""The metrics of the values of a field, each with what its measure computes."""
OF_FIELDS = frozenset({Metric.SUM, *KINDS})
"""The metrics that read a field of events."""
VALUES = frozenset({Metric.AVG, Metric.MIN, Metric.MAX})
"""The metrics that have no value if no event has one. Such a pass does not match."""
DAYS = frozenset({Metric.DAYS_SINCE_LAST, Metric.DAYS_SINCE_FIRST})
"""The metrics of the time since an event, in days."""


class Never(StrEnum):
    """Result of DAYS_SINCE_LAST with GT or GTE for a pass without a matching event.

    With other operators, and with DAYS_SINCE_FIRST, such a pass never matches.
    """

    SINCE_JOINED = "SINCE_JOINED"
    MATCHES = "MATCHES"
    FAILS = "FAILS"


THRESHOLDS = (Operator.GTE, Operator.GT, Operator.EQ, Operator.LT, Operator.LTE)
"""Operators of event criteria."""


@dataclass(frozen=True)
class EventCriterion:
    """Comparison `metric operator value` over the events of a filter.

    The events are those of all time, of a rolling window of `within_ms`, or of local `periods`.

    For DAYS_SINCE_LAST and DAYS_SINCE_FIRST, the value is in days of 24 hours. `meaning` is that of the conditions, as the
    definition was stored with it.
    """

    filter: EventFilter
    metric: Metric
    operator: Operator
    value: Decimal
    summed_field: str = "amount"
    within_ms: int | None = None
    never: Never = Never.SINCE_JOINED
    meaning: int = MEANING
    periods: LocalPeriods | None = None

    @property
    def without_values(self) -> int | None:
        """What the metric measures over no values: 0 for a count or a sum, None for the others."""
        return None if self.metric in VALUES else 0

    @cached_property
    def measure(self) -> Measure:
        """The measure that answers this criterion."""
        if self.metric in DAYS:
            return Measure(self.filter, is_span=True, meaning=self.meaning)
        field = self.summed_field if self.metric in OF_FIELDS else None
        return Measure(
            self.filter, field, self.within_ms, meaning=self.meaning, kind=KINDS.get(self.metric), periods=self.periods
        )

    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""
        f = self.filter
        between = None
        if f.from_ms is not None or f.to_ms is not None:
            between = {
                "from": None if f.from_ms is None else from_ms(f.from_ms).isoformat(),
                "to": None if f.to_ms is None else from_ms(f.to_ms).isoformat(),
            }
        return {
            "event": {
                **f.lists(),
                "metric": self.metric.value,
                "field": self.summed_field if self.metric in OF_FIELDS else None,
                "currency": f.currency,
                "operator": self.operator.value,
                "value": canonical(self.value),
                "within": None if self.within_ms is None else within_dict(self.within_ms),
                "between": between,
                "never": self.never.value,
                **({} if self.periods is None else self.periods.to_dict()),
            }
        }


@dataclass(frozen=True)
class SegmentCriterion:
    """Membership in another segment, or no membership in it if `member` is false."""

    segment_id: str
    member: bool = True

    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""
        return {"segment": {"id": self.segment_id, "member": self.member}}


@dataclass(frozen=True)
class All:
    """Criteria that match if all `children` match."""

    children: tuple[Criteria, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""
        return {"all": [child.to_dict() for child in self.children]}


@dataclass(frozen=True)
class AnyOf:
    """Criteria that match if at least one of `children` matches."""

    children: tuple[Criteria, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""
        return {"any": [child.to_dict() for child in self.children]}


@dataclass(frozen=True)
class Not:
    """Criteria that match if `child` does not match."""

    child: Criteria

    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""
        return {"not": self.child.to_dict()}


@dataclass(frozen=True)
class ListCriterion:
    """Membership by the list of a segment alone. It is the whole of the segment's criteria, and has no leaves."""

    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""
        return {"list": True}


MeasuredCriterion = EventCriterion | SequenceCriterion
"""Criteria on events, each of which one measure answers."""
Leaf = MeasuredCriterion | PassCriterion | SegmentCriterion | RelativeCriterion | AnniversaryCriterion
Criteria = Leaf | All | AnyOf | Not | ListCriterion


def iter_leaves(criteria: Criteria) -> Iterator[Leaf]:
    """Yield the leaves of the tree, from left to right."""
    match criteria:
        case All(children) | AnyOf(children):
            for child in children:
                yield from iter_leaves(child)
        case Not(child):
            yield from iter_leaves(child)
        case ListCriterion():
            return
        case _:
            yield criteria


def iter_types(criteria: Criteria) -> Iterator[str]:
    """Iterate over the event types that the criteria name, with repeats."""
    for leaf in iter_leaves(criteria):
        if isinstance(leaf, EventCriterion):
            yield from leaf.filter.types
        elif isinstance(leaf, SequenceCriterion):
            for step in leaf.steps:
                yield from step.filter.types


def meaning_of(criteria: Criteria) -> int:
    """Return the meaning that the criteria are stored with: the oldest one of their leaves."""
    leaves = iter_leaves(criteria)
    return min((leaf.meaning for leaf in leaves if not isinstance(leaf, SegmentCriterion)), default=MEANING)
