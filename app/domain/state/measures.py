"""Measures: the few numbers that a pass stores, so that a worker evaluates a criterion without reading events.

There are three kinds:

- A *total* is a running count or sum.
- A *span* holds the first and the last instant.
- A *window* covers the last N ms. It holds a running value and the next instants at which events leave the window, at
  most 100. So an event costs about the same for a pass with 20,000 events in the window as for one with 20. The events
  of one instant leave together, so the window holds their sum as one weight.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import chain

from app.domain.events.events import CHECKOUT, CHECKOUT_DIFFERENCES, INTERNAL_TYPES, Category, Event, signed
from app.domain.values.conditions import MEANING, Condition
from app.domain.values.decimals import ZERO
from app.domain.values.paths import Steps, split_path

from .aggregates import Aggregate, AggregateKey, Aggregates
from .earned import earned_points, spent_points
from .numbers import Number, add_numbers, subtract_numbers

MAX_EXPIRING = 100
"""Instants that a window lists. The worker reads the next ones from the events when the list runs out."""
EARNED, SPENT = "points.earned", "points.spent"
"""Summed fields: points given less reversals, and points redeemed or deducted less what was given back."""
METADATA = "metadata."
"""Beginning of a summed field that is a path of the metadata."""


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
    """Running count or exact sum over all time."""

    value: Number


@dataclass(frozen=True, slots=True)
class FirstAndLast:
    """State of a span: the first and the last instant, in ms."""

    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Window:
    """Running value of a window, and the next events to leave it.

    `instants` are the events' own instants in ms, ascending. `weights` are the sums of the events of each instant.
    `has_more` is true if more events follow in the window after the last instant listed.
    """

    value: Number
    instants: tuple[int, ...]
    weights: tuple[Number, ...]
    has_more: bool = False


State = Total | FirstAndLast | Window


@dataclass(frozen=True)
class Measure:
    """Question about the events of a filter: a count, a sum or a span.

    A measure is a count if `summed_field` is None. It is over all time if `within_ms` is None, else over a window.
    `meaning` is that of the conditions, as the definition was stored with it.
    """

    filter: EventFilter
    summed_field: str | None = None
    within_ms: int | None = None
    is_span: bool = False
    meaning: int = MEANING

    @cached_property
    def key(self) -> str:
        """The key under which the state is stored. Segments that ask the same question share one measure."""
        # The keys are stored. Renaming a class or field of EventFilter or Condition would change its repr, and the
        # keys.
        text = repr((self.filter, self.summed_field, self.within_ms, self.is_span))
        if self.meaning > 1 and self.reads_metadata:
            text += f", meaning {self.meaning}"
        return blake2b(text.encode(), digest_size=9).hexdigest()

    @property
    def reads_metadata(self) -> bool:
        """Whether the state depends on the metadata of events, and so on the meaning of conditions."""
        return bool(self.filter.metadata) or (self.summed_field or "").startswith(METADATA)

    @cached_property
    def counts_made(self) -> bool:
        """Whether events that rules made count: if their type is named, and in sums of points and amounts."""
        return bool(self.filter.types) or self.summed_field in ("points", EARNED, SPENT, "amount")

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
        return self.summed_field == "amount" and CHECKOUT in self.filter.types

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
        return not self.filter.reads_events and self.within_ms is None and self.summed_field in (None, "amount")

    def weight(self, event: Event) -> Number:
        """Return the number that one matching event adds: 1 for a count, else the value of the summed field.

        The amounts of refunds and credits are negative. A path of the metadata may lead to several numbers, which are
        added.
        """
        if self.summed_field is None:
            return 1
        if self.summed_field == "amount":
            return event.signed_amount
        if self.summed_field == "points":
            return event.points
        if self.summed_field in (EARNED, SPENT):
            return earned_points(event) if self.summed_field == EARNED else spent_points(event)
        return event.values_at(self._summed_steps).total


def add_event(measure: Measure, state: State | None, event: Event, at_ms: int) -> State | None:
    """Return the state at the instant `at_ms` with one more event. The caller has checked that the event matches."""
    at = event.occurred_ms
    if measure.is_span:
        if not isinstance(state, FirstAndLast):
            return FirstAndLast(at, at)
        return (
            state
            if state.first_ms <= at <= state.last_ms
            else FirstAndLast(min(state.first_ms, at), max(state.last_ms, at))
        )
    weight = measure.weight(event)
    if measure.within_ms is None:
        return Total(add_numbers(state.value, weight) if isinstance(state, Total) else weight)
    if at <= at_ms - measure.within_ms:
        return state
    if not isinstance(state, Window):
        return Window(weight, (at,), (weight,))
    # Expire first: the list is truncated to 100 instants, and the instants cut off must still be in the window.
    return _insert_expiring(expire_window(state, at_ms - measure.within_ms), at, weight)


def _insert_expiring(state: Window, at: int, weight: Number) -> Window:
    value, instants, weights = add_numbers(state.value, weight), state.instants, state.weights
    if state.has_more and (not instants or at > instants[-1]):
        return Window(value, instants, weights, has_more=True)
    index = bisect_left(instants, at)
    if index < len(instants) and instants[index] == at:
        total = add_numbers(weights[index], weight)
        weights = (*weights[:index], total, *weights[index + 1 :])
        return Window(value, instants, weights, has_more=state.has_more)
    instants = (*instants[:index], at, *instants[index:])
    weights = (*weights[:index], weight, *weights[index:])
    if len(instants) > MAX_EXPIRING:
        return Window(value, instants[:MAX_EXPIRING], weights[:MAX_EXPIRING], has_more=True)
    return Window(value, instants, weights, has_more=state.has_more)


def expire_window(state: Window, start_ms: int) -> Window:
    """Return the window without the events that occurred at or before `start_ms`.

    The list of instants must reach `start_ms`, unless `has_more` is false.
    """
    expired_count = bisect_right(state.instants, start_ms)
    if not expired_count:
        return state
    value = state.value
    for weight in state.weights[:expired_count]:
        value = subtract_numbers(value, weight)
    return Window(value, state.instants[expired_count:], state.weights[expired_count:], has_more=state.has_more)


def refill_window(state: Window, expiring: Iterable[tuple[int, Number]], has_more: bool) -> Window:
    """Return the window with more (ms, weight) pairs at the end of its list, in ascending order. The value stays."""
    pairs = list(expiring)
    instants = (*state.instants, *(at for at, _ in pairs))
    return Window(state.value, instants, (*state.weights, *(weight for _, weight in pairs)), has_more=has_more)


def group_expiring(measure: Measure, events: Iterable[Event]) -> list[tuple[int, Number]]:
    """Return (ms, weight) of the matching events, ascending. The weight is the sum of all events of the instant.

    `events` are in order of occurrence.
    """
    pairs: list[tuple[int, Number]] = []
    for event in events:
        if measure.matches(event):
            at, weight = event.occurred_ms, measure.weight(event)
            if pairs and pairs[-1][0] == at:
                pairs[-1] = (at, add_numbers(pairs[-1][1], weight))
            else:
                pairs.append((at, weight))
    return pairs


def append_expiring(
    pairs: Sequence[tuple[int, Number]], later: Sequence[tuple[int, Number]]
) -> list[tuple[int, Number]]:
    """Return the pairs of two lists of `group_expiring`, of which the second continues the first."""
    if pairs and later and pairs[-1][0] == later[0][0]:
        at_ms, weight = later[0]
        return [*pairs[:-1], (at_ms, add_numbers(pairs[-1][1], weight)), *later[1:]]
    return [*pairs, *later]


def merge_expiring(
    pairs: Sequence[tuple[int, Number]], others: Sequence[tuple[int, Number]]
) -> list[tuple[int, Number]]:
    """Return the pairs of two lists of `group_expiring` in one, of different events in any order."""
    merged = dict(pairs)
    for at_ms, weight in others:
        merged[at_ms] = add_numbers(merged[at_ms], weight) if at_ms in merged else weight
    return sorted(merged.items())


def build_measure(measure: Measure, events: Iterable[Event], at_ms: int) -> State | None:
    """Return the state at `at_ms`, from all events that count, in any order; None if no event matches."""
    matching = sorted((e for e in events if measure.matches(e)), key=lambda e: e.occurred_ms)
    if measure.within_ms is None:
        state: State | None = None
        for event in matching:
            state = add_event(measure, state, event, at_ms)
        return state
    start = at_ms - measure.within_ms
    pairs = [pair for pair in group_expiring(measure, matching) if pair[0] > start]
    if not pairs:
        return None
    value: Number = 0 if measure.summed_field is None else ZERO
    for _, weight in pairs:
        value = add_numbers(value, weight)
    listed = pairs[:MAX_EXPIRING]
    return Window(
        value,
        tuple(at for at, _ in listed),
        tuple(weight for _, weight in listed),
        has_more=len(pairs) > MAX_EXPIRING,
    )


def from_aggregates(measure: Measure, aggregates: Aggregates, made: Aggregates) -> State | None:
    """Return the state of a measure from the aggregates of a pass; None if no row matches.

    `made` are those of the events that rules made. Call it only if `measure.can_use_aggregates` is true.
    """
    state: State | None = None
    for (kind, currency), row in rows_of(measure, aggregates, made):
        if kind in INTERNAL_TYPES or not measure.may_match(kind, row.category, currency):
            continue
        if measure.is_span:
            first, last = row.first_ms, row.last_ms
            if isinstance(state, FirstAndLast):
                first, last = min(first, state.first_ms), max(last, state.last_ms)
            state = FirstAndLast(first, last)
        else:
            weight: Number = row.count if measure.summed_field is None else signed(kind, row.sum)
            state = Total(add_numbers(state.value, weight) if isinstance(state, Total) else weight)
    return state


def rows_of(measure: Measure, aggregates: Aggregates, made: Aggregates) -> Iterable[tuple[AggregateKey, Aggregate]]:
    """Return the rows of aggregates whose events may count in a measure."""
    return chain(aggregates.items(), made.items()) if measure.counts_made else aggregates.items()
