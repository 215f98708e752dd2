"""States of measures from the aggregates of a pass, without reading its events."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from app.domain.events.events import INTERNAL_TYPES
from app.domain.events.spend import SPEND_CATEGORY, signed

from .aggregates import Aggregate, AggregateKey, Aggregates
from .measures import FirstAndLast, Measure, MeasureKind, State, Total
from .numbers import Mean, Weight, add_numbers


def from_aggregates(measure: Measure, aggregates: Aggregates, made: Aggregates) -> State | None:
    """Return the state of a measure from the aggregates of a pass; None if no row matches.

    `made` are those of the events that rules made. Call it only if `measure.can_use_aggregates` is true.
    """
    state: State | None = None
    weight: Weight | None
    is_sum = measure.kind is None and not measure.is_span and measure.summed_field is not None
    sums_spend = is_sum and set(measure.filter.categories) == {SPEND_CATEGORY}
    for (kind, currency), row in rows_of(measure, aggregates, made):
        # Clients may send a type with different categories. The row knows which part of its sum is spend.
        is_spend = sums_spend and row.spent != 0
        if kind in INTERNAL_TYPES or not measure.may_match(
            kind, SPEND_CATEGORY if is_spend else row.category, currency
        ):
            continue
        if measure.kind is not None:
            weight = _row_weight(measure.kind, row)
            if weight is not None:
                state = Total(measure.join(state.value, weight) if isinstance(state, Total) else weight)
        elif measure.is_span:
            first, last = row.first_ms, row.last_ms
            if isinstance(state, FirstAndLast):
                first, last = min(first, state.first_ms), max(last, state.last_ms)
            state = FirstAndLast(first, last)
        else:
            total = row.spent if sums_spend else row.sum
            weight = row.count if measure.summed_field is None else signed(kind, total)
            state = Total(add_numbers(state.value, weight) if isinstance(state, Total) else weight)
    return state


def _row_weight(kind: MeasureKind, row: Aggregate) -> Weight | None:
    """Return what the amounts of one row weigh; None for a row without amounts."""
    if row.min is None or row.max is None:
        return None
    match kind:
        case MeasureKind.LEAST:
            return row.min
        case MeasureKind.GREATEST:
            return row.max
    return Mean(row.sum, row.count)


def rows_of(measure: Measure, aggregates: Aggregates, made: Aggregates) -> Iterable[tuple[AggregateKey, Aggregate]]:
    """Return the rows of aggregates whose events may count in a measure."""
    return chain(aggregates.items(), made.items()) if measure.counts_made else aggregates.items()
