"""Aggregations: one function over events, for all of them or for groups.

Amounts of different currencies are never mixed: a function of amounts reads one currency, or groups by currency.
Refunds and credits subtract from a sum of amounts, unless the sum is gross. AVG, MIN and MAX use the amounts as
recorded. Events without the field do not count in a function of the field. (Source: schema.graphql, "AggregateInput".)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import product
from typing import NamedTuple
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import Event
from app.domain.events.spend import signed_amount, summed_types
from app.domain.values.conditions import check_steps
from app.domain.values.decimals import ZERO
from app.domain.values.instants import to_ms
from app.domain.values.paths import iter_numbers, split_path
from app.domain.values.text import parse_text
from app.domain.values.zones import UTC

from .local_clock import clock_coordinate, local_clock
from .metadata_values import texts_at
from .statistics import Period, period_of

MAX_DIMENSIONS = 3
AMOUNT, POINTS, METADATA = "amount", "points", "metadata."


class Function(StrEnum):
    """Function that an aggregation computes over events."""

    COUNT = "COUNT"
    SUM = "SUM"
    AVG = "AVG"
    MIN = "MIN"
    MAX = "MAX"
    COUNT_PASSES = "COUNT_PASSES"


class GroupBy(StrEnum):
    """Dimension of an aggregation. Events with the same value in each dimension form a group."""

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
    WEEKDAY = "WEEKDAY"
    HOUR = "HOUR"
    WEEKDAY_AND_HOUR = "WEEKDAY_AND_HOUR"


PERIODS = {GroupBy(period.value): period for period in Period}
CLOCK = frozenset({GroupBy.WEEKDAY, GroupBy.HOUR, GroupBy.WEEKDAY_AND_HOUR})
"""Dimensions of local time that come again each week or day."""
COUNTS = frozenset({Function.COUNT, Function.COUNT_PASSES})
Key = tuple[str | datetime | None, ...]
"""Value of each dimension: a text, the start of a period in UTC, or None if the events have no value.

`local_clock.py` has the texts of weekdays and hours, and `metadata_values.py` those of values of the metadata.
"""


class Group(NamedTuple):
    """Result for the events of one key: the number of events that count, and the value; None if no event counts."""

    key: Key
    events: int
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Checked aggregation: its function, the field (None for counts), the dimensions and the calendar of its periods.

    `metadata_by` are paths of the metadata, which are further dimensions after those of `group_by`.
    With `gross`, refunds and credits add to a sum of amounts. `week_start` is a weekday from 0 (Monday) to 6 (Sunday).
    """

    function: Function
    field: str | None = None
    group_by: tuple[GroupBy, ...] = ()
    gross: bool = False
    zone: ZoneInfo = UTC
    week_start: int = 0
    metadata_by: tuple[str, ...] = ()

    @property
    def has_groups(self) -> bool:
        """Whether the aggregation has dimensions."""
        return bool(self.group_by or self.metadata_by)

    @property
    def reads_metadata(self) -> bool:
        """Whether the store cannot compute the groups, because it cannot compare values of the metadata exactly."""
        return bool(self.metadata_by) or (self.field or "").startswith(METADATA)

    @property
    def is_money(self) -> bool:
        """Whether the function is over amounts, so that currencies must not be mixed."""
        return self.field == AMOUNT

    def types_of(self, types: Sequence[str]) -> Sequence[str]:
        """Return the types of the events that the aggregation covers if a query names these types.

        A sum of the amounts of checkouts, by their type, covers the differences that walks make for their corrections.
        """
        is_sum = self.function is Function.SUM and self.field == AMOUNT
        return summed_types(types) if is_sum else types

    def counts_made(self, types: Collection[str]) -> bool:
        """Return whether events that walks made count, in a query that names these types.

        They are no activity of the customer. They count where their type is named, and in sums of amounts and points.
        """
        return bool(types) or (self.function is Function.SUM and self.field in (AMOUNT, POINTS))

    def numbers(self, event: Event) -> list[Decimal]:
        """Return the numbers that one event contributes, with their sign; none if the event does not count.

        A path of the metadata may lead to several numbers.
        """
        if self.field == AMOUNT:
            if event.amount is None:
                return []
            return [signed_amount(event, gross=self.gross) if self.function is Function.SUM else event.amount]
        if self.field == POINTS:
            return [event.points] if event.points else []
        if self.field is not None:
            return list(iter_numbers(event.details, split_path(self.field.removeprefix(METADATA))))
        return [ZERO]

    def keys(self, event: Event) -> Iterator[Key]:
        """Yield the keys of the groups that an event belongs to: one for each different value of the metadata."""
        key = tuple(self._coordinate(dimension, event) for dimension in self.group_by)
        values = (texts_at(event.details, split_path(path)) for path in self.metadata_by)
        for more in product(*values):
            yield (*key, *more)

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
                return self.time_coordinate(dimension, event.occurred_at)

    def time_coordinate(self, dimension: GroupBy, at: datetime) -> str | datetime:
        """Return the coordinate of an instant in a dimension of time: a period, a weekday or an hour."""
        if dimension in CLOCK:
            weekday, hour = local_clock(to_ms(at), self.zone)
            is_hour, is_weekday = dimension is GroupBy.HOUR, dimension is GroupBy.WEEKDAY
            return clock_coordinate(None if is_hour else weekday, None if is_weekday else hour)
        return period_of(at, PERIODS[dimension], self.zone, self.week_start)[0]


def parse_field(raw: str | None, function: Function) -> str | None:
    """Return the field of a function: "amount" (the default), "points" or "metadata.<path>"; None for counts.

    Raises InvalidInput: INVALID.
    """
    if function in COUNTS:
        if raw is not None:
            raise InvalidInput(Code.INVALID, f"{function} takes no field; leave it out.", "input", "field")
        return None
    if raw is None:
        return AMOUNT
    if raw in (AMOUNT, POINTS):
        return raw
    if raw.startswith(METADATA) and 0 < len(raw.removeprefix(METADATA)) <= 200:
        steps = split_path(raw.removeprefix(METADATA))
        check_steps(steps, "input", "field")
        return METADATA + ".".join(steps)
    raise InvalidInput(Code.INVALID, 'Give one of "amount", "points" and "metadata.<path>".', "input", "field")


def parse_dimensions(dimensions: Sequence[GroupBy]) -> tuple[GroupBy, ...]:
    """Return the dimensions: at most three, each once, with at most one period and one clock time. Raises InvalidInput."""
    _check_number(len(dimensions), "groupBy")
    is_repeated = len(set(dimensions)) < len(dimensions)
    if is_repeated or any(sum(by in kind for by in dimensions) > 1 for kind in (PERIODS, CLOCK)):
        message = (
            "Give each dimension once, with at most one of the periods DAY to YEAR, and at most one of WEEKDAY, HOUR and "
            "WEEKDAY_AND_HOUR."
        )
        raise InvalidInput(Code.INVALID, message, "input", "groupBy")
    return tuple(dimensions)


def parse_metadata_dimensions(paths: Sequence[object], others: int) -> tuple[str, ...]:
    """Return paths of the metadata to group by, each once, at most three with `others`. Raises InvalidInput."""
    _check_number(len(paths) + others, "groupByMetadata")
    found = []
    for index, raw in enumerate(paths):
        path = parse_text(raw, "input", "groupByMetadata", str(index))
        steps = split_path(path)
        check_steps(steps, "input", "groupByMetadata", str(index))
        found.append(".".join(steps))
    if len(set(found)) < len(found):
        raise InvalidInput(Code.INVALID, "Give each path of the metadata once.", "input", "groupByMetadata")
    return tuple(found)


def _check_number(dimensions: int, field: str) -> None:
    if dimensions > MAX_DIMENSIONS:
        raise InvalidInput(Code.TOO_MANY, f"Give at most {MAX_DIMENSIONS} dimensions.", "input", field)
