"""Aggregations: one function over the events that match, in whole or by groups.

Amounts of different currencies are never mixed: a function of the amount looks at one currency, or groups by currency.
In a sum of amounts refunds and credits subtract, unless it is asked gross; averages, least and greatest are of the
amounts as recorded. Events that lack the field do not count in a function of it. (Source: schema.graphql, "AggregateInput".)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import Event
from app.domain.values.conditions import dig, number_of
from app.domain.values.decimals import ZERO, add, average

from .statistics import Period, period_of

MAX_DIMENSIONS = 3
UTC = ZoneInfo("UTC")
AMOUNT, POINTS, METADATA = "amount", "points", "metadata."


class Function(StrEnum):
    """What is worked out over events."""

    COUNT = "COUNT"
    SUM = "SUM"
    AVG = "AVG"
    MIN = "MIN"
    MAX = "MAX"
    COUNT_PASSES = "COUNT_PASSES"


class GroupBy(StrEnum):
    """What the events of a group have in common."""

    PASS = "PASS"
    TYPE = "TYPE"
    CATEGORY = "CATEGORY"
    SOURCE = "SOURCE"
    CURRENCY = "CURRENCY"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    QUARTER = "QUARTER"
    YEAR = "YEAR"


PERIODS = {GroupBy(period.value): period for period in Period}
COUNTS = frozenset({Function.COUNT, Function.COUNT_PASSES})
Key = tuple[str | datetime | None, ...]
"""A value for each dimension: a text, None where the events have none, or the start of a period, in UTC."""


class Group(NamedTuple):
    """What the events of one key come to: how many counted, and the value (None where there is nothing to work out)."""

    key: Key
    events: int
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A checked question: the function, its field (None for counts), the dimensions, and how periods are cut."""

    function: Function
    field: str | None = None
    by: tuple[GroupBy, ...] = ()
    gross: bool = False
    zone: ZoneInfo = UTC
    week_start: int = 0

    @property
    def of_money(self) -> bool:
        """Whether it works with amounts, which must not be mixed across currencies."""
        return self.field == AMOUNT

    def number(self, event: Event) -> Decimal | None:
        """What one event brings in, signed as it counts; None where it does not count."""
        if self.field == AMOUNT:
            if event.amount is None:
                return None
            return event.amount if self.gross or self.function is not Function.SUM else event.signed_amount
        if self.field == POINTS:
            return event.points or None
        if self.field is not None:
            return number_of(dig(event.metadata, self.field.removeprefix(METADATA)))
        return ZERO

    def key(self, event: Event) -> Key:
        """Where one event belongs."""
        return tuple(self._coordinate(dimension, event) for dimension in self.by)

    def _coordinate(self, dimension: GroupBy, event: Event) -> str | datetime | None:
        match dimension:
            case GroupBy.PASS:
                return event.pass_id
            case GroupBy.TYPE:
                return event.type
            case GroupBy.CATEGORY:
                return event.category.value
            case GroupBy.SOURCE:
                return event.source
            case GroupBy.CURRENCY:
                return event.currency
            case _:
                period = PERIODS[dimension]
                return period_of(event.occurred_at, period, self.zone, self.week_start)[0].astimezone(UTC)


def parse_field(raw: str | None, function: Function) -> str | None:
    """The field that a function works with: "amount", "points" or "metadata.<path>"; None for counts.

    Raises InvalidInput: REQUIRED or INVALID.
    """
    if function in COUNTS:
        if raw is not None:
            raise InvalidInput(Code.INVALID, "Events and passes are counted without a field.", "input", "field")
        return None
    if raw is None:
        return AMOUNT
    if raw in (AMOUNT, POINTS) or (raw.startswith(METADATA) and 0 < len(raw.removeprefix(METADATA)) <= 200):
        return raw
    raise InvalidInput(Code.INVALID, 'One of "amount", "points" and "metadata.<path>".', "input", "field")


def parse_dimensions(given: Sequence[GroupBy]) -> tuple[GroupBy, ...]:
    """The dimensions: at most three, each once, one period among them at most. Raises InvalidInput."""
    if len(given) > MAX_DIMENSIONS:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_DIMENSIONS} dimensions.", "input", "groupBy")
    if len(set(given)) < len(given) or sum(dimension in PERIODS for dimension in given) > 1:
        raise InvalidInput(Code.INVALID, "Each dimension once, and one period at most.", "input", "groupBy")
    return tuple(given)


def aggregate_groups(aggregation: Aggregation, events: Iterable[Event]) -> list[Group]:
    """The groups of these events, in no order: the same as the store works out, for what it cannot read as a number."""
    found: dict[Key, list[Decimal]] = {}
    passes: dict[Key, set[str]] = {}
    for event in events:
        number = aggregation.number(event)
        if number is not None:
            key = aggregation.key(event)
            found.setdefault(key, []).append(number)
            passes.setdefault(key, set()).add(event.pass_id)
    return [
        Group(key, len(numbers), _value(aggregation.function, numbers, len(passes[key])))
        for key, numbers in found.items()
    ]


def _value(function: Function, numbers: Sequence[Decimal], passes: int) -> Decimal:
    if function is Function.COUNT_PASSES:
        return Decimal(passes)
    if function is Function.COUNT:
        return Decimal(len(numbers))
    if function is Function.MIN:
        return min(numbers)
    if function is Function.MAX:
        return max(numbers)
    total = ZERO
    for number in numbers:
        total = add(total, number)
    return total if function is Function.SUM else average(total, len(numbers))
