"""Histograms of events over the days of the week and the hours of the day, in local time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.errors import Code, InvalidInput
from app.domain.rollups.rows import QUARTER_HOUR_MS, CountedRow
from app.domain.rollups.selections import Cells
from app.domain.state.spend import SpendRow, sum_spend
from app.domain.values.instants import HOUR_MS
from app.domain.values.zones import days_of

from .periods import Asked
from .summaries import spend_part

Slot = tuple[int | None, int | None]
"""Weekday from 0 (Monday) to 6 (Sunday), and hour of the day from 0 to 23; None for what a histogram does not divide by."""


class HistogramBy(StrEnum):
    """Local time that a histogram divides events by."""

    WEEKDAY = "WEEKDAY"
    HOUR = "HOUR"
    WEEKDAY_AND_HOUR = "WEEKDAY_AND_HOUR"

    @property
    def has_weekday(self) -> bool:
        """Whether the buckets differ by the day of the week."""
        return self is not HistogramBy.HOUR

    @property
    def has_hour(self) -> bool:
        """Whether the buckets differ by the hour of the day."""
        return self is not HistogramBy.WEEKDAY

    @property
    def cells(self) -> Cells:
        """The cells that the rows of a histogram must lie in."""
        return Cells.HOUR if self.has_hour else Cells.DAY


@dataclass(frozen=True, slots=True)
class Bucket:
    """Events of one slot: their number and their spend by currency."""

    slot: Slot
    count: int
    revenue: Sequence[SpendRow]


def slots_of(by: HistogramBy, week_start: int) -> list[Slot]:
    """Return the slots in order of time, from the first day of the week on."""
    weekdays = [(week_start + number) % 7 for number in range(7)] if by.has_weekday else [None]
    hours = range(24) if by.has_hour else [None]
    return [(weekday, hour) for weekday in weekdays for hour in hours]


def check_cells(asked: Asked, by: HistogramBy, *path: str) -> None:
    """Raise InvalidInput: UNSUPPORTED if an hour of the zone begins within a quarter of an hour of UTC.

    Before 1972, a few zones had such offsets.
    """
    offsets = days_of(asked.zone).offsets(asked.from_ms, asked.to_ms) if by.has_hour else ()
    if any(change.offset_ms % QUARTER_HOUR_MS for change in offsets):
        message = (
            f"In this period, clocks of {asked.zone.key} differ from UTC by a part of a quarter of an hour. Ask for a later "
            "period or another time zone, or use `aggregateEvents` with `groupBy`."
        )
        raise InvalidInput(Code.UNSUPPORTED, message, *path)


def build_histogram(
    rows: Iterable[CountedRow], asked: Asked, by: HistogramBy, types: Collection[str] = ()
) -> list[Bucket]:
    """Return the buckets of all slots, also of those without events.

    The rows lie in the cells of `by`, and the amounts of all of them are revenue. Events of `types` count. If it is empty,
    all events count that no walk made.
    """
    days = days_of(asked.zone)
    parts: dict[Slot, list[CountedRow]] = {slot: [] for slot in slots_of(by, asked.week_start)}
    for row in rows:
        weekday = days.day_of(row.start_ms).weekday() if by.has_weekday else None
        hour = days.local_ms(row.start_ms) // HOUR_MS % 24 if by.has_hour else None
        parts[weekday, hour].append(row)
    return [
        Bucket(
            slot,
            sum(row.totals.count for row in found if (row.type in types if types else not row.key.made)),
            sum_spend(map(spend_part, found)),
        )
        for slot, found in parts.items()
    ]
