"""Measures: the few numbers a pass keeps so that a criterion is judged without reading its events again.

Three kinds. A *total* is a running count or sum. A *span* holds the first and last instant. A *window* (rolling, the
last N ms) holds its running value and the next instants to leave it, at most 100: a pass with 20,000 events in a window
costs about as much per event as one with 20. Events of one instant leave together, so they are held as one weight.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from hashlib import blake2b

from app.domain.events.events import INTERNAL_TYPES, SUBTRACTED_TYPES, Category, Event
from app.domain.values.conditions import Condition, dig, number_of
from app.domain.values.decimals import EXACT, ZERO, add, subtract

from .aggregates import Aggregates

MAX_EXPIRING = 100
Number = int | Decimal


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a criterion looks at; an empty part means any. `from_ms` inclusive, `to_ms` exclusive."""

    types: tuple[str, ...] = ()
    categories: tuple[Category, ...] = ()
    sources: tuple[str, ...] = ()
    metadata: tuple[Condition, ...] = ()
    currency: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None

    def matches(self, event: Event) -> bool:
        """Whether the event counts. Events that Punchcard records itself are nobody's activity."""
        if not self.may_match(event.type, event.category, event.currency) or event.type in INTERNAL_TYPES:
            return False
        if self.sources and event.source not in self.sources:
            return False
        if self.from_ms is not None and event.occurred_ms < self.from_ms:
            return False
        if self.to_ms is not None and event.occurred_ms >= self.to_ms:
            return False
        return all(condition.holds(event.metadata) for condition in self.metadata)

    def may_match(self, kind: str, category: Category, currency: str | None) -> bool:
        """Whether events of this type, category and currency can match at all."""
        return not (
            (self.types and kind not in self.types)
            or (self.categories and category not in self.categories)
            or (self.currency is not None and currency != self.currency)
        )


@dataclass(frozen=True, slots=True)
class Total:
    """A running count or exact sum over all time."""

    value: Number


@dataclass(frozen=True, slots=True)
class FirstAndLast:
    """The first and the last instant, in ms."""

    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Window:
    """A running value, the instants (ms, ascending) next to leave with their weights, and whether more follow those."""

    value: Number
    instants: tuple[int, ...]
    weights: tuple[Number, ...]
    has_more: bool = False


State = Total | FirstAndLast | Window


@dataclass(frozen=True)
class Measure:
    """What is kept for a filter: a count (`sums` None) or a sum of a field, over all time or a window; or a span."""

    filter: EventFilter
    sums: str | None = None
    within_ms: int | None = None
    span: bool = False

    @cached_property
    def key(self) -> str:
        """The name under which the state is stored: the same question asked by two segments is kept once."""
        text = repr((self.filter, self.sums, self.within_ms, self.span))
        return blake2b(text.encode(), digest_size=9).hexdigest()

    @property
    def plain(self) -> bool:
        """Whether the aggregates of the pass answer it for all time, without its events."""
        f = self.filter
        by_aggregate = not (f.sources or f.metadata or f.from_ms is not None or f.to_ms is not None)
        return by_aggregate and self.within_ms is None and self.sums in (None, "amount")

    def weight(self, event: Event) -> Number:
        """What one matching event adds: 1 for a count; refunds and credits subtract from a sum of amounts."""
        if self.sums is None:
            return 1
        if self.sums == "amount":
            return event.signed_amount
        if self.sums == "points":
            return event.points
        return number_of(dig(event.metadata, self.sums.removeprefix("metadata."))) or ZERO


def add_event(measure: Measure, state: State | None, event: Event, at_ms: int) -> State | None:
    """The state with one more matching event, at the instant `at_ms`; the caller has asked `filter.matches`."""
    at = event.occurred_ms
    if measure.span:
        if not isinstance(state, FirstAndLast):
            return FirstAndLast(at, at)
        return (
            state
            if state.first_ms <= at <= state.last_ms
            else FirstAndLast(min(state.first_ms, at), max(state.last_ms, at))
        )
    weight = measure.weight(event)
    if measure.within_ms is None:
        return Total(plus(state.value, weight) if isinstance(state, Total) else weight)
    if at <= at_ms - measure.within_ms:
        return state
    if not isinstance(state, Window):
        return Window(weight, (at,), (weight,))
    # What has left by now goes first: the list is cut at 100, and nothing that is cut off may have left already.
    return _listed(expire_window(state, at_ms - measure.within_ms), at, weight)


def _listed(state: Window, at: int, weight: Number) -> Window:
    value, instants, weights = plus(state.value, weight), state.instants, state.weights
    if state.has_more and (not instants or at > instants[-1]):
        return Window(value, instants, weights, True)
    place = bisect_left(instants, at)
    if place < len(instants) and instants[place] == at:
        together = plus(weights[place], weight)
        return Window(value, instants, (*weights[:place], together, *weights[place + 1 :]), state.has_more)
    instants = (*instants[:place], at, *instants[place:])
    weights = (*weights[:place], weight, *weights[place:])
    if len(instants) > MAX_EXPIRING:
        return Window(value, instants[:MAX_EXPIRING], weights[:MAX_EXPIRING], True)
    return Window(value, instants, weights, state.has_more)


def expire_window(state: Window, start_ms: int) -> Window:
    """The window without what occurred at or before `start_ms`. Its list must reach that far (see `reach_ms`)."""
    gone = bisect_right(state.instants, start_ms)
    if not gone:
        return state
    value = state.value
    for weight in state.weights[:gone]:
        value = minus(value, weight)
    return Window(value, state.instants[gone:], state.weights[gone:], state.has_more)


def refill_window(state: Window, leavers: Iterable[tuple[int, Number]], more: bool) -> Window:
    """The window with its list continued by (ms, weight) pairs in ascending order; its value is already right."""
    pairs = list(leavers)
    instants = (*state.instants, *(at for at, _ in pairs))
    return Window(state.value, instants, (*state.weights, *(weight for _, weight in pairs)), more)


def group_expiring(measure: Measure, events: Iterable[Event]) -> list[tuple[int, Number]]:
    """(ms, weight) of the matching events, ascending, those of one instant added up. `events` are in order of occurrence."""
    pairs: list[tuple[int, Number]] = []
    for event in events:
        if measure.filter.matches(event):
            at, weight = event.occurred_ms, measure.weight(event)
            if pairs and pairs[-1][0] == at:
                pairs[-1] = (at, plus(pairs[-1][1], weight))
            else:
                pairs.append((at, weight))
    return pairs


def build_measure(measure: Measure, events: Iterable[Event], at_ms: int) -> State | None:
    """The state at `at_ms` from all events that count; None where none matches. Order does not matter."""
    matching = sorted((e for e in events if measure.filter.matches(e)), key=lambda e: e.occurred_ms)
    if measure.within_ms is None:
        state: State | None = None
        for event in matching:
            state = add_event(measure, state, event, at_ms)
        return state
    start = at_ms - measure.within_ms
    pairs = [pair for pair in group_expiring(measure, matching) if pair[0] > start]
    if not pairs:
        return None
    value: Number = 0 if measure.sums is None else ZERO
    for _, weight in pairs:
        value = plus(value, weight)
    listed = pairs[:MAX_EXPIRING]
    return Window(value, tuple(at for at, _ in listed), tuple(w for _, w in listed), len(pairs) > MAX_EXPIRING)


def from_aggregates(measure: Measure, aggregates: Aggregates) -> State | None:
    """The state of a `plain` measure from the aggregates of a pass; None where nothing matches."""
    state: State | None = None
    for (kind, currency), row in aggregates.items():
        if kind in INTERNAL_TYPES or not measure.filter.may_match(kind, row.category, currency):
            continue
        if measure.span:
            first, last = row.first_ms, row.last_ms
            if isinstance(state, FirstAndLast):
                first, last = min(first, state.first_ms), max(last, state.last_ms)
            state = FirstAndLast(first, last)
        else:
            signed = -row.sum if kind in SUBTRACTED_TYPES else row.sum
            weight: Number = row.count if measure.sums is None else signed
            state = Total(plus(state.value, weight) if isinstance(state, Total) else weight)
    return state


def plus(a: Number, b: Number) -> Number:
    """The exact sum of two counts or two decimals."""
    return a + b if isinstance(a, int) and isinstance(b, int) else add(EXACT.create_decimal(a), EXACT.create_decimal(b))


def minus(a: Number, b: Number) -> Number:
    """The exact difference of two counts or two decimals."""
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return subtract(EXACT.create_decimal(a), EXACT.create_decimal(b))
