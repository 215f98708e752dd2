"""What a question reads of the counted events, and the answer: rows, how fresh they are, and what was read for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from zoneinfo import ZoneInfo

from app.domain.events.events import Category
from app.domain.state.local_clock import local_clock
from app.domain.state.metadata_values import value_of
from app.domain.values.conditions import Condition
from app.domain.values.periods import PeriodUnit

from .dimensions import Dimension
from .rows import CountedRow


class Cells(StrEnum):
    """Width of the cells of time that the rows of a reading lie in. Each row lies in one cell; several rows may share it.

    - TOTAL: the whole period.
    - DAY, WEEK, MONTH, QUARTER, YEAR: the period of the calendar in the time zone.
    - HOUR: an hour of local time in the time zone, or a part of one.
    - QUARTER_HOUR: a quarter of an hour of UTC, or an instant where such a quarter has two hours of local time.
    """

    TOTAL = "TOTAL"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    QUARTER = "QUARTER"
    YEAR = "YEAR"
    HOUR = "HOUR"
    QUARTER_HOUR = "QUARTER_HOUR"


Slot = tuple[int | None, int | None]
"""Weekday from 0 (Monday) to 6 (Sunday), and hour of the day from 0 to 23; None for what a clock does not tell."""


class LocalClock(StrEnum):
    """Local time that repeats: the day of the week, the hour of the day, or both."""

    WEEKDAY = "WEEKDAY"
    HOUR = "HOUR"
    WEEKDAY_AND_HOUR = "WEEKDAY_AND_HOUR"

    @property
    def has_weekday(self) -> bool:
        """Whether slots differ by the day of the week."""
        return self is not LocalClock.HOUR

    @property
    def has_hour(self) -> bool:
        """Whether slots differ by the hour of the day."""
        return self is not LocalClock.WEEKDAY

    @property
    def cells(self) -> Cells:
        """The widest cells that lie each in one slot."""
        return Cells.HOUR if self.has_hour else Cells.DAY

    def slot_at(self, at_ms: int, zone: ZoneInfo) -> Slot:
        """Return the slot that contains an instant."""
        weekday, hour = local_clock(at_ms, zone)
        return weekday if self.has_weekday else None, hour if self.has_hour else None


CALENDAR: Mapping[Cells, PeriodUnit] = MappingProxyType({Cells(unit.value): unit for unit in PeriodUnit})
"""Cells that are periods of the calendar."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Filter of counted events: those that occurred in [from_ms, to_ms) and meet all conditions.

    An empty list, and None, matches every event. Events that walks made are selected, too: their rows are marked as made,
    and each question decides whether it counts them. `week_start` is the weekday on which the cells of weeks begin, from
    0 (Monday) to 6 (Sunday). With a `dimension`, the rows are those of the dimension, and `types` is its type. If `values`
    is given, too, only rows whose value meets this condition are selected.

    With a `clock`, only the slot of a row matters, so a row may hold the events of several cells in the same slot. It begins
    with one of these cells.
    """

    from_ms: int
    to_ms: int
    types: Collection[str] = ()
    categories: Collection[Category] = ()
    sources: Collection[str] = ()
    currency: str | None = None
    cells: Cells = Cells.TOTAL
    week_start: int = 0
    dimension: Dimension | None = None
    values: Condition | None = None
    clock: LocalClock | None = None

    def selects(self, row: CountedRow) -> bool:
        """Return whether the events of a row meet the conditions, apart from when they occurred."""
        if self.dimension is not None:
            return self._selects_value(row)
        return (
            (not self.types or row.type in self.types)
            and (not self.categories or row.key.category in self.categories)
            and (not self.sources or row.key.source in self.sources)
            and self.currency in (None, row.key.currency)
        )

    def _selects_value(self, row: CountedRow) -> bool:
        values = [] if row.key.value is None else [value_of(row.key.value)]
        return (
            (not self.categories or row.key.category in self.categories)
            and self.currency in (None, row.key.currency)
            and (self.values is None or self.values.matches_values(values))
        )


@dataclass(frozen=True, slots=True)
class Freshness:
    """How current rows are, with instants in milliseconds.

    - `as_of_ms`: instant of the question.
    - `computed_through_ms`: instant up to which the rows include everything that was recorded or requested.
    - `pending_events`: number of recorded or requested changes that the rows do not include yet.
    - `error`: largest relative error that is expected of an estimate; None for rows, which are no estimates.
    """

    as_of_ms: int
    computed_through_ms: int
    pending_events: int = 0
    exact: bool = True
    error: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What was read for rows: numbers of sealed months, days and hours, and of hours read from their events.

    `reason` says why the whole period was read from events. It is None for rows from rollups.
    """

    months: int = 0
    days: int = 0
    hours: int = 0
    event_hours: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Rows of a selection. Rows of the same cell, type and key may repeat: `add_rows` adds them up."""

    rows: Sequence[CountedRow]
    freshness: Freshness
    plan: Plan
