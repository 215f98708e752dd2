"""Measures: the few numbers that a pass stores, so that a worker evaluates a criterion without reading events.

These are the states:

- A *total* is a running count, sum, mean, minimum or maximum over all time.
- A *span* holds the first and the last instant.
- A *window* covers the last N ms. It holds a running value and the next instants at which events leave the window, at
  most 100. So an event costs about the same for a pass with 20,000 events in the window as for one with 20. The events
  of one instant leave together, so the window holds their sum as one weight.
- *Extremes* hold the minimum or maximum of a window, and those that follow it when it leaves the window.
- *Distinct* values are those that occurred last, over all time or in a window.
- Values of calendar periods, and streaks: see `calendars.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from functools import cached_property, reduce
from hashlib import blake2b

from app.domain.events.events import CHECKOUT, CHECKOUT_DIFFERENCES, INTERNAL_TYPES, Category, Event
from app.domain.events.spend import signed_amount
from app.domain.values.conditions import MEANING, Condition
from app.domain.values.decimals import add_exactly
from app.domain.values.paths import Steps, split_path

from .calendars import LocalPeriods, PeriodState, PeriodValues, Streak, add_to_periods, expire_periods
from .completed import Completed
from .distinct import Distinct, add_values, expire_values, hash_value, merge_values, value_set
from .earned import earned_points, spent_points
from .expiring import decimal_pairs, group_expiring
from .extremes import Extremes, add_candidate, build_extremes, expire_candidates
from .numbers import Mean, Weight, add_numbers
from .windows import Window, build_window, expire_window, insert_expiring

EARNED, SPENT = "points.earned", "points.spent"
"""Summed fields: points given less reversals, and points redeemed or deducted less what was given back."""
METADATA = "metadata."
"""Beginning of a summed field that is a path of the metadata."""
SOURCE = "source"
"""The source of events, as the field whose different values are counted."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Filter of the events that a criterion measures. An empty field matches every event.

    `from_ms` is inclusive, `to_ms` exclusive.
    """

    types: tuple[str, ...] = ()
    categories: tuple[Category, ...] = ()
    sources: tuple[str, ...] = ()
    metadata: tuple[Condition, ...] = ()
    currency: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None

    def matches(self, event: Event) -> bool:
        """Return whether the event counts. Internal events never do, because no customer caused them."""
        if not self.may_match(event.type, event.category, event.currency) or event.type in INTERNAL_TYPES:
            return False
        if self.sources and event.source not in self.sources:
            return False
        if self.from_ms is not None and event.occurred_ms < self.from_ms:
            return False
        if self.to_ms is not None and event.occurred_ms >= self.to_ms:
            return False
        return all(condition.holds_for(event.values_at(condition.steps)) for condition in self.metadata)

    def lists(self) -> dict[str, object]:
        """Return the lists of the filter as the store and the API write them, by name."""
        return {
            "types": list(self.types),
            "categories": [each.value for each in self.categories],
            "sources": list(self.sources),
            "metadata": [each.to_dict() for each in self.metadata],
        }

    @property
    def reads_events(self) -> bool:
        """Whether the aggregates of a pass do not tell which of its events match."""
        return bool(self.sources or self.metadata or self.from_ms is not None or self.to_ms is not None)

    def may_match(self, kind: str, category: Category, currency: str | None) -> bool:
        """Return whether events of this type, category and currency can match."""
        return not (
            (self.types and kind not in self.types)
            or (self.categories and category not in self.categories)
            or (self.currency is not None and currency != self.currency)
        )


@dataclass(frozen=True, slots=True)
class Total:
    """Running count, exact sum or mean, minimum or maximum over all time."""

    value: Weight


@dataclass(frozen=True, slots=True)
class FirstAndLast:
    """State of a span: the first and the last instant, in ms."""

    first_ms: int
    last_ms: int


State = Total | FirstAndLast | Window | Extremes | Distinct | Completed | PeriodState


class MeasureKind(StrEnum):
    """What a measure computes from the values of a field, as recorded. Events without a value do not count."""

    AVERAGE = "AVERAGE"
    LEAST = "LEAST"
    GREATEST = "GREATEST"
    DISTINCT = "DISTINCT"


@dataclass(frozen=True)
class Measure:
    """Question about the events of a filter: a count, a sum, a span, or what `kind` says.

    A measure is a count if `summed_field` is None. It is over a rolling window of `within_ms`, over local `periods`, or over
    all time.
    `meaning` is that of the conditions, as the definition was stored with it.
    """

    filter: EventFilter
    summed_field: str | None = None
    within_ms: int | None = None
    is_span: bool = False
    meaning: int = MEANING
    kind: MeasureKind | None = None
    periods: LocalPeriods | None = None

    @cached_property
    def key(self) -> str:
        """The key under which the state is stored. Segments that ask the same question share one measure."""
        # The keys are stored. Renaming a class or field of EventFilter or Condition would change its repr, and the
        # keys.
        return self.make_key((self.filter, self.summed_field, self.within_ms, self.is_span))

    def make_key(self, question: tuple[object, ...]) -> str:
        """Return the key of what a measure asks for. Measures whose conditions mean something else have other keys."""
        text = repr(question)
        if self.meaning > 1 and self.reads_metadata:
            text += f", meaning {self.meaning}"
        if self.kind is not None:
            text += f", {self.kind}"
        if self.periods is not None:
            text += f", {self.periods!r}"
        return blake2b(text.encode(), digest_size=9).hexdigest()

    @property
    def reads_metadata(self) -> bool:
        """Whether the state depends on the metadata of events, and so on the meaning of conditions."""
        return bool(self.filter.metadata) or (self.summed_field or "").startswith(METADATA)

    @cached_property
    def counts_made(self) -> bool:
        """Whether events that rules made count: if their type is named, and in sums of points and amounts."""
        is_sum = self.kind is None and self.summed_field in ("points", EARNED, SPENT, "amount")
        return is_sum or bool(self.filter.types)

    def matches(self, event: Event) -> bool:
        """Return whether the event counts in the measure."""
        if event.type in CHECKOUT_DIFFERENCES and self.sums_checkouts:
            event = replace(event, type=CHECKOUT)
        return (not event.is_made or self.counts_made) and self.filter.matches(event)

    def names_type(self, event_type: str) -> bool:
        """Return whether events of the type may count in the measure."""
        types = self.filter.types
        return not types or event_type in types or (event_type in CHECKOUT_DIFFERENCES and self.sums_checkouts)

    @cached_property
    def sums_checkouts(self) -> bool:
        """Whether the measure sums the amounts of checkouts by their type: then it adds their differences, too."""
        return self.kind is None and self.summed_field == "amount" and CHECKOUT in self.filter.types

    @property
    def is_extreme(self) -> bool:
        """Whether the measure is a minimum or a maximum."""
        return self.kind in (MeasureKind.LEAST, MeasureKind.GREATEST)

    def may_match(self, kind: str, category: Category, currency: str | None) -> bool:
        """Return whether events of this type, category and currency may count in the measure."""
        if kind in CHECKOUT_DIFFERENCES and self.sums_checkouts:
            kind = CHECKOUT
        return self.filter.may_match(kind, category, currency)

    @cached_property
    def _summed_steps(self) -> Steps:
        return split_path((self.summed_field or "").removeprefix(METADATA))

    @property
    def can_use_aggregates(self) -> bool:
        """Whether the state follows from the aggregates of the pass, without reading its events."""
        is_over_all_time = self.within_ms is None and self.periods is None
        return is_over_all_time and not self.filter.reads_events and self.summed_field in (None, "amount")

    def join(self, a: Weight, b: Weight) -> Weight:
        """Return the weight of two events together: the sum, or the more extreme of two values."""
        if not self.is_extreme:
            return add_numbers(a, b)
        assert isinstance(a, Decimal)
        assert isinstance(b, Decimal)
        return max(a, b) if self.kind is MeasureKind.GREATEST else min(a, b)

    def numbers(self, event: Event) -> Sequence[Decimal]:
        """Return the numbers of the field that an event has, as recorded; none without a value."""
        match self.summed_field:
            case "amount":
                return () if event.amount is None else (event.amount,)
            case "points":
                found = event.points
            case field if field in (EARNED, SPENT):
                found = earned_points(event) if field == EARNED else spent_points(event)
            case _:
                return event.values_at(self._summed_steps).numbers
        return (found,) if found else ()

    def hashes(self, event: Event) -> Iterable[str]:
        """Return the hashes of the different values of the field that an event has."""
        values = (event.source,) if self.summed_field == SOURCE else event.values_at(self._summed_steps).values
        return {found for found in map(hash_value, values) if found is not None}

    def weight(self, event: Event) -> Weight | None:
        """Return what one matching event adds: 1 to a count, else the value of the field; None if it has no value.

        In a sum, the amounts of refunds and credits are negative, and an event without a value adds 0. A path of the
        metadata may lead to several numbers, which are added.
        """
        if self.kind is not None:
            numbers = self.numbers(event)
            if not numbers:
                return None
            if self.is_extreme:
                return max(numbers) if self.kind is MeasureKind.GREATEST else min(numbers)
            return Mean(reduce(add_exactly, numbers), len(numbers))
        if self.summed_field is None:
            return 1
        if self.summed_field == "amount":
            return signed_amount(event)
        if self.summed_field == "points":
            return event.points
        if self.summed_field in (EARNED, SPENT):
            return earned_points(event) if self.summed_field == EARNED else spent_points(event)
        return event.values_at(self._summed_steps).total


@dataclass(frozen=True)
class OrderedMeasure(Measure):
    """Measure whose state depends on the order of events, and which computes it by itself."""

    def is_in_doubt(self, state: State | None, event: Event) -> bool:
        """Return whether the state with one more matching event takes all events that count."""
        raise NotImplementedError

    def add(self, state: State | None, event: Event) -> State | None:
        """Return the state with one more matching event."""
        raise NotImplementedError

    def build(self, events: Iterable[Event]) -> State | None:
        """Return the state of all events that count, in any order."""
        raise NotImplementedError


def add_event(measure: Measure, state: State | None, event: Event, at_ms: int) -> State | None:
    """Return the state at the instant `at_ms` with one more event. The caller has checked that the event matches."""
    if isinstance(measure, OrderedMeasure):
        return measure.add(state, event)
    at = event.occurred_ms
    if measure.is_span:
        if not isinstance(state, FirstAndLast):
            return FirstAndLast(at, at)
        return (
            state
            if state.first_ms <= at <= state.last_ms
            else FirstAndLast(min(state.first_ms, at), max(state.last_ms, at))
        )
    if measure.periods is not None:
        is_distinct = measure.kind is MeasureKind.DISTINCT
        value = value_set(measure.hashes(event)) if is_distinct else measure.weight(event)
        found = state if isinstance(state, PeriodValues | Streak) else None
        if value is None:
            return found
        return add_to_periods(measure.periods, found, at, value=value, join=measure.join, now_ms=at_ms)
    if measure.within_ms is not None and at <= at_ms - measure.within_ms:
        return state
    if measure.kind is MeasureKind.DISTINCT:
        return add_values(state if isinstance(state, Distinct) else None, measure.hashes(event), at)
    weight = measure.weight(event)
    if weight is None:
        return state
    if measure.within_ms is None:
        return Total(measure.join(state.value, weight) if isinstance(state, Total) else weight)
    if measure.is_extreme:
        assert isinstance(weight, Decimal)
        is_greatest = measure.kind is MeasureKind.GREATEST
        return add_candidate(state if isinstance(state, Extremes) else None, at, weight, is_greatest=is_greatest)
    if not isinstance(state, Window):
        return Window(weight, (at,), (weight,))
    # Expire first: the list is truncated to 100 instants, and the instants cut off must still be in the window.
    return insert_expiring(expire_window(state, at_ms - measure.within_ms), at, weight)


def expire_state(measure: Measure, state: State, at_ms: int) -> State | None:
    """Return the state without the events that have left the window at an instant; None if nothing is left."""
    if measure.periods is not None and isinstance(state, PeriodValues | Streak):
        return expire_periods(measure.periods, state, at_ms)
    if measure.within_ms is None:
        return state
    start_ms = at_ms - measure.within_ms
    if isinstance(state, Window):
        state = expire_window(state, start_ms)
        return state if state.instants or state.has_more else None
    if isinstance(state, Extremes):
        return expire_candidates(state, start_ms)
    return expire_values(state, start_ms) if isinstance(state, Distinct) else state


def build_measure(measure: Measure, events: Iterable[Event], at_ms: int) -> State | None:
    """Return the state at `at_ms`, from all events that count, in any order; None if no event matches."""
    if isinstance(measure, OrderedMeasure):
        return measure.build(events)
    matching = sorted((e for e in events if measure.matches(e)), key=lambda e: e.occurred_ms)
    if measure.within_ms is not None:
        matching = [event for event in matching if event.occurred_ms > at_ms - measure.within_ms]
    if measure.kind is MeasureKind.DISTINCT and measure.periods is None:
        return merge_values((event.occurred_ms, measure.hashes(event)) for event in matching)
    if measure.within_ms is None:
        state: State | None = None
        for event in matching:
            state = add_event(measure, state, event, at_ms)
        return state
    pairs = group_expiring(measure, matching)
    if measure.is_extreme:
        return build_extremes(decimal_pairs(pairs), is_greatest=measure.kind is MeasureKind.GREATEST)
    return build_window(pairs)
