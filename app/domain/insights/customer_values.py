"""Recency, frequency and monetary value (RFM): customers in cells of three scores, by quantiles.

A threshold is the value that so many quantiles of the customers do not exceed (nearest rank). So customers with equal
values have equal scores, and conditions on the values select exactly the customers of a cell.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from app.domain.errors import Code, InvalidInput
from app.domain.events.spend import SPEND_CATEGORY
from app.domain.segments.criteria import All, Criteria, EventCriterion, Metric
from app.domain.state.measures import EventFilter
from app.domain.values.conditions import Operator
from app.domain.values.decimals import ZERO, add_exactly

from .moments import Moment

MIN_QUANTILES, MAX_QUANTILES = 2, 10
ORDER_TYPES = ("purchase", "checkout")
"""Types whose events count in recency and frequency if the question names none."""
V = TypeVar("V", int, Decimal)


class Scores(NamedTuple):
    """Scores of a cell, from 1 to the number of quantiles; the highest are the latest, most frequent and most valuable."""

    recency: int
    frequency: int
    monetary: int


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Greatest value of each score but the highest, ascending: the last event in ms, the number of events, the spend."""

    recency: tuple[int, ...] = ()
    frequency: tuple[int, ...] = ()
    monetary: tuple[Decimal, ...] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """Customers with equal scores: their number and their spend together."""

    scores: Scores
    passes: int
    revenue: Decimal


@dataclass(slots=True)
class _Values:
    last_ms: int = 0
    count: int = 0
    spend: Decimal = ZERO


def check_quantiles(quantiles: int, *path: str) -> None:
    """Raise InvalidInput for a number of quantiles outside 2 to 10."""
    if not MIN_QUANTILES <= quantiles <= MAX_QUANTILES:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Give {MIN_QUANTILES} to {MAX_QUANTILES} quantiles.", *path)


class CustomerValues:
    """Values of customers over the moments of a period: the last event, the number of events, and the spend."""

    def __init__(self, types: Collection[str], currency: str) -> None:
        self._types, self._currency = types, currency
        self._values: dict[str, _Values] = {}

    def add(self, moments: Iterable[Moment]) -> None:
        """Add moments, in any order."""
        for moment in moments:
            values = self._values.get(moment.pass_id)
            if values is None:
                values = self._values[moment.pass_id] = _Values()
            if moment.is_activity(self._types):
                values.last_ms = max(values.last_ms, moment.at_ms) if values.count else moment.at_ms
                values.count += 1
            if spend := moment.spend_in(self._currency):
                values.spend = add_exactly(values.spend, spend)

    def answer(self, quantiles: int) -> tuple[Thresholds, tuple[Cell, ...]]:
        """Return the thresholds and the cells that have customers, the highest scores first."""
        customers = [values for values in self._values.values() if values.count]
        if not customers:
            return Thresholds(), ()
        thresholds = Thresholds(
            _find_thresholds([each.last_ms for each in customers], quantiles),
            _find_thresholds([each.count for each in customers], quantiles),
            _find_thresholds([each.spend for each in customers], quantiles),
        )
        cells: dict[Scores, tuple[int, Decimal]] = {}
        for each in customers:
            scores = Scores(
                _score(thresholds.recency, each.last_ms),
                _score(thresholds.frequency, each.count),
                _score(thresholds.monetary, each.spend),
            )
            passes, revenue = cells.get(scores, (0, ZERO))
            cells[scores] = passes + 1, add_exactly(revenue, each.spend)
        return thresholds, tuple(Cell(scores, *cells[scores]) for scores in sorted(cells, reverse=True))


def criteria_of(
    scores: Scores,
    thresholds: Thresholds,
    types: Sequence[str],
    currency: str,
    *,
    span_ms: tuple[int | None, int],
) -> Criteria:
    """Return criteria that select the customers of a cell of the span of time [from, to)."""
    from_ms, to_ms = span_ms

    def counted(operator: Operator, value: int, low_ms: int | None, high_ms: int) -> EventCriterion:
        events = EventFilter(types=tuple(types), from_ms=low_ms, to_ms=high_ms)
        return EventCriterion(events, Metric.COUNT, operator, value=Decimal(value))

    def spent(operator: Operator, value: Decimal) -> EventCriterion:
        events = EventFilter(categories=(SPEND_CATEGORY,), currency=currency, from_ms=from_ms, to_ms=to_ms)
        return EventCriterion(events, Metric.SUM, operator, value=value)

    after_ms, until_ms = _bounds(thresholds.recency, scores.recency)
    more, most = _bounds(thresholds.frequency, scores.frequency)
    above, up_to = _bounds(thresholds.monetary, scores.monetary)
    last_from_ms = from_ms if after_ms is None else after_ms + 1
    last_to_ms = to_ms if until_ms is None else until_ms + 1
    found = [counted(Operator.GTE, 1, last_from_ms, last_to_ms)]
    if last_to_ms < to_ms:
        found.append(counted(Operator.EQ, 0, last_to_ms, to_ms))
    if more is not None:
        found.append(counted(Operator.GT, more, from_ms, to_ms))
    if most is not None:
        found.append(counted(Operator.LTE, most, from_ms, to_ms))
    if above is not None:
        found.append(spent(Operator.GT, above))
    if up_to is not None:
        found.append(spent(Operator.LTE, up_to))
    return All(tuple(found))


def input_of(criteria: Criteria) -> dict[str, Any]:
    """Return criteria as the input of the API takes them: without nulls and empty lists."""
    return {name: _without_nothing(value) for name, value in criteria.to_dict().items()}


def _without_nothing(value: object) -> object:
    if isinstance(value, dict):
        kept = {name: _without_nothing(each) for name, each in value.items()}
        return {name: each for name, each in kept.items() if each is not None and each != []}
    return [_without_nothing(each) for each in value] if isinstance(value, list) else value


def _find_thresholds(values: Iterable[V], quantiles: int) -> tuple[V, ...]:
    ordered = sorted(values)
    return tuple(ordered[-(-rank * len(ordered) // quantiles) - 1] for rank in range(1, quantiles))


def _score(thresholds: Sequence[V], value: V) -> int:
    return 1 + bisect_left(thresholds, value)


def _bounds(thresholds: Sequence[V], score: int) -> tuple[V | None, V | None]:
    """Return the value that those of a score exceed, and the one that they do not exceed; None for no bound."""
    return thresholds[score - 2] if score > 1 else None, thresholds[score - 1] if score <= len(thresholds) else None
