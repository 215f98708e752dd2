"""Histograms of events over the days of the week and the hours of the day, in local time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from app.domain.errors import Code, InvalidInput
from app.domain.rollups.rows import QUARTER_HOUR_MS, CountedRow
from app.domain.rollups.selections import LocalClock, Slot
from app.domain.state.spend import SpendRow, sum_spend
from app.domain.values.zones import days_of

from .periods import Asked
from .summaries import spend_part


@dataclass(frozen=True, slots=True)
class Bucket:
    """Events of one slot: their number and their spend by currency."""

    slot: Slot
    count: int
    revenue: Sequence[SpendRow]


def slots_of(by: LocalClock, week_start: int) -> list[Slot]:
    """Return the slots in order of time, from the first day of the week on."""
    weekdays = [(week_start + number) % 7 for number in range(7)] if by.has_weekday else [None]
    hours = range(24) if by.has_hour else [None]
    return [(weekday, hour) for weekday in weekdays for hour in hours]


def check_cells(asked: Asked, by: LocalClock, *path: str) -> None:
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
    rows: Iterable[CountedRow], asked: Asked, by: LocalClock, types: Collection[str] = ()
) -> list[Bucket]:
    """Return the buckets of all slots, also of those without events.

    The rows are those of a selection with the clock `by`, and the amounts of all of them are revenue. Events of `types`
    count. If it is empty, all events count that no walk made.
    """
    parts: dict[Slot, list[CountedRow]] = {slot: [] for slot in slots_of(by, asked.week_start)}
    for row in rows:
        parts[by.slot_at(row.start_ms, asked.zone)].append(row)
    return [
        Bucket(
            slot,
            sum(row.totals.count for row in found if (row.type in types if types else not row.key.made)),
            sum_spend(map(spend_part, found)),
        )
        for slot, found in parts.items()
    ]
