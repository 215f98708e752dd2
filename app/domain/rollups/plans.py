"""Plan of a period: which sealed months, days and hours may serve it, and which parts only the events themselves can.

A month has totals by UTC day, a day and an hour have totals by quarter of an hour. A month serves a UTC day of it unless the
period or one of its cells begins or ends inside the day. Then the day's own content serves it. What begins or ends inside a
quarter of an hour is read from events.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from app.domain.values.instants import DAY_MS, HOUR_MS
from app.domain.values.periods import add_periods, period_days
from app.domain.values.zones import days_of

from .dimensions import holds
from .levels import Level
from .rows import QUARTER_HOUR_MS
from .selections import CALENDAR, Cells, Selection

SpanMs = tuple[int, int]
"""Time from the first instant to the one after the last, in milliseconds."""
SHORT_MS = 7 * DAY_MS
"""Length up to which a plan reads days in place of months."""


class Period(NamedTuple):
    """Period that has a rollup: its level, and its first instant in milliseconds."""

    level: Level
    start_ms: int

    @property
    def end_ms(self) -> int:
        """The first instant after the period, in milliseconds."""
        return self.level.end_ms(self.start_ms)

    def inside(self, level: Level) -> Iterator[Period]:
        """Iterate over the periods of a shorter level that lie in this one, in order of time."""
        start_ms, end_ms = self.start_ms, self.end_ms
        while start_ms < end_ms:
            yield Period(level, start_ms)
            start_ms = level.end_ms(start_ms)

    def around(self, level: Level) -> Period:
        """Return the period of a longer level that contains this one."""
        return Period(level, level.start_ms(self.start_ms))


class Head(NamedTuple):
    """What the head of a period says: its mark, the token of its content, and the types that the content holds.

    `types` has the number of documents that hold each type, and `dimensions` that for the kind of each dimension. A head
    without a token was never sealed.
    """

    dirty: int | None = None
    token: int | None = None
    types: tuple[tuple[str, int], ...] = ()
    dimensions: tuple[tuple[str, int], ...] = ()

    @property
    def kinds(self) -> tuple[tuple[str, int], ...]:
        """The number of documents that hold each kind of rows: each type, and each dimension."""
        return (*self.types, *self.dimensions)

    @property
    def is_clean(self) -> bool:
        """Whether the content of the period is valid, if nothing in the period is dirty."""
        return self.dirty is None and self.token is not None


@dataclass(frozen=True, slots=True)
class PeriodPlan:
    """How the rows of a selection are read: [low_ms, high_ms) from rollups, and the spans of `edges` from events.

    Both bounds are beginnings of quarters of an hour; if low_ms is not less than high_ms, the edges are all.
    """

    selection: Selection
    zone: ZoneInfo
    low_ms: int
    high_ms: int
    edges: tuple[SpanMs, ...]

    def can_use(self, head: Head) -> bool:
        """Return whether the content that a head names has the rows of the plan, if nothing in the period is dirty."""
        dimension = self.selection.dimension
        return head.is_clean and (
            dimension is None
            or holds(dimension, [kind for kind, _ in head.types], [kind for kind, _ in head.dimensions])
        )

    def documents(self, head: Head) -> list[tuple[str, int]]:
        """Return the kinds of rows that the plan reads of a content, each with the number of its documents."""
        dimension, types = self.selection.dimension, self.selection.types
        if dimension is not None:
            return [part for part in head.dimensions if part[0] == dimension.kind]
        return [part for part in head.types if not types or part[0] in types]

    @property
    def is_short(self) -> bool:
        """Whether the plan reads no months, because it is no longer than a week.

        Its rows are the same, and dirty hours of the rest of the month do not concern it.
        """
        return self.high_ms - self.low_ms <= SHORT_MS

    @property
    def around(self) -> SpanMs:
        """The whole months in which the plan lies, or the whole days of a short plan."""
        level = Level.DAY if self.is_short else Level.MONTH
        return level.start_ms(self.low_ms), level.end_ms(level.start_ms(max(self.low_ms, self.high_ms - 1)))

    @property
    def days_of_short(self) -> tuple[Period, ...]:
        """The days that lie in the plan at least in part, if it is short."""
        return tuple(day for day in map(partial(Period, Level.DAY), range(*self.around, DAY_MS)) if self._overlaps(day))

    def ending_before(self, at_ms: int) -> PeriodPlan:
        """Return the part of the plan before an instant, which is the beginning of an hour."""
        if at_ms >= self.high_ms:
            return self
        return replace(
            self, high_ms=max(self.low_ms, at_ms), edges=tuple(each for each in self.edges if each[1] <= at_ms)
        )

    def clip(self, span: SpanMs) -> SpanMs:
        """Return the part of a span that lies in the plan."""
        return max(span[0], self.low_ms), min(span[1], self.high_ms)

    def has_start(self, start_ms: int) -> bool:
        """Return whether a quarter of an hour that begins at `start_ms` lies in the plan."""
        return self.low_ms <= start_ms < self.high_ms

    def months(self, starts_ms: Collection[int]) -> list[Period]:
        """Return the months that lie in the period at least in part, among those that begin at these instants."""
        return [
            month
            for month in (Period(Level.MONTH, start_ms) for start_ms in sorted(starts_ms))
            if self._overlaps(month)
        ]

    def parts(self, period: Period, level: Level) -> list[Period]:
        """Return the periods of a shorter level inside a period that lie in the plan at least in part."""
        return [each for each in period.inside(level) if self._overlaps(each)]

    def needs_quarters(self, day: Period) -> bool:
        """Return whether totals by day are too coarse for a day: a cell of the selection begins or ends inside it."""
        if self.selection.cells in (Cells.HOUR, Cells.QUARTER_HOUR):
            return True
        return len(self.cuts(day)) > 2 or not self._is_inside(day)

    def cuts(self, period: Period) -> list[int]:
        """Return the instants at which rows of a period begin or end, ascending; at least its beginning and its end.

        They include the bounds of the plan that lie in the period.
        """
        low_ms, high_ms = max(period.start_ms, self.low_ms), min(period.end_ms, self.high_ms)
        return [low_ms, *self._calendar_cuts(low_ms, high_ms), high_ms]

    def cell_cuts(self, period: Period) -> list[int]:
        """Return the numbers of cells of a period's content at which rows begin, ascending, with the end of the last row.

        None are returned if each cell is a row. Take only the rows for which `has_row` is true.
        """
        if self.selection.cells is Cells.QUARTER_HOUR:
            return []
        cell_ms = period.level.cell_ms
        numbers = {(cut_ms - period.start_ms) // cell_ms for cut_ms in self.cuts(period)}
        if period.level is Level.MONTH:
            coarse = ((day.start_ms - period.start_ms) // cell_ms for day in self.coarse_days(period))
            numbers.update(number + offset for number in coarse for offset in (0, 1))
        return sorted(numbers)

    def pattern(self, period: Period) -> Hashable:
        """Return what periods share whose contents may be added up: equal cells of them lie in the same slot of the clock.

        Without a clock, it is the period itself. So it is for months, and for periods in which the zone changes its offset.
        """
        clock = self.selection.clock
        if clock is None or period.level is Level.MONTH:
            return period
        if len(days_of(self.zone).offsets(period.start_ms, period.end_ms)) > 1:
            return period
        # Rows begin at the same cells and in the same slot, so each next row is in the same slot, too.
        return period.level, clock.slot_at(period.start_ms, self.zone), *self.cell_cuts(period)

    def has_row(self, period: Period, start_ms: int) -> bool:
        """Return whether a row that begins at `start_ms` in a period's content belongs to the answer."""
        if period.level is Level.MONTH:
            return not self.needs_quarters(Period(Level.DAY, Level.DAY.start_ms(start_ms)))
        return self.has_start(start_ms)

    def coarse_days(self, month: Period) -> list[Period]:
        """Return the days of a month that its content is too coarse for, and that lie in the plan at least in part."""
        return [day for day in self.parts(month, Level.DAY) if self.needs_quarters(day)]

    def _overlaps(self, period: Period) -> bool:
        return max(self.low_ms, period.start_ms) < min(self.high_ms, period.end_ms)

    def _is_inside(self, period: Period) -> bool:
        return self.low_ms <= period.start_ms and period.end_ms <= self.high_ms

    def _calendar_cuts(self, low_ms: int, high_ms: int) -> Iterator[int]:
        """Iterate over the beginnings of cells between two instants, without these."""
        days, unit = days_of(self.zone), CALENDAR.get(self.selection.cells)
        if self.selection.cells is Cells.HOUR:
            changes = days.offsets(low_ms, high_ms)
            for change, end_ms in zip(changes, [*(each.at_ms for each in changes[1:]), high_ms], strict=True):
                start_ms = max(low_ms, change.at_ms)
                if start_ms > low_ms:
                    yield start_ms
                first_ms = start_ms + HOUR_MS - (start_ms + change.offset_ms) % HOUR_MS
                yield from range(first_ms, end_ms, HOUR_MS)
        if unit is None:
            return
        first = period_days(days.day_of(low_ms), unit, self.selection.week_start)[0]
        before_ms = low_ms
        while (start_ms := days.start_ms(first)) < high_ms:
            if start_ms > before_ms:
                yield start_ms
                before_ms = start_ms
            first = add_periods(first, unit, 1)


def plan_period(selection: Selection, zone: ZoneInfo) -> PeriodPlan | None:
    """Return the plan of a selection; None if its cells do not consist of quarters of an hour, in UTC.

    So it is with a few zones before 1972, and where the clocks of a zone changed inside a quarter of an hour.
    """
    from_ms, to_ms = selection.from_ms, selection.to_ms
    if selection.cells is not Cells.TOTAL and not has_quarters(zone, from_ms, to_ms):
        return None
    low_ms, high_ms = -(-from_ms // QUARTER_HOUR_MS) * QUARTER_HOUR_MS, to_ms // QUARTER_HOUR_MS * QUARTER_HOUR_MS
    if low_ms > high_ms:
        return PeriodPlan(selection, zone, low_ms, high_ms=low_ms, edges=((from_ms, to_ms),))
    edges = tuple((start, end) for start, end in ((from_ms, low_ms), (high_ms, to_ms)) if start < end)
    return PeriodPlan(selection, zone, low_ms, high_ms=high_ms, edges=edges)


def has_quarters(zone: ZoneInfo, from_ms: int, to_ms: int) -> bool:
    """Return whether the hours of a zone in [from_ms, to_ms) consist of quarters of an hour in UTC."""
    first, *changes = days_of(zone).offsets(from_ms, to_ms)
    return first.offset_ms % QUARTER_HOUR_MS == 0 and all(
        each.offset_ms % QUARTER_HOUR_MS == 0 and each.at_ms % QUARTER_HOUR_MS == 0 for each in changes
    )


def runs_of(hours: Collection[Period], most: int | None = None) -> list[SpanMs]:
    """Return the spans of hours that follow each other, in order of time.

    If there are more than `most`, those with the shortest gaps between them are joined.
    """
    spans: list[SpanMs] = []
    for hour in sorted(hours):
        if spans and spans[-1][1] == hour.start_ms:
            spans[-1] = spans[-1][0], hour.end_ms
        else:
            spans.append((hour.start_ms, hour.end_ms))
    if most is None or len(spans) <= most:
        return spans
    gaps = sorted(range(1, len(spans)), key=lambda index: spans[index - 1][1] - spans[index][0])[: most - 1]
    starts = [0, *sorted(gaps), len(spans)]
    return [(spans[low][0], spans[high - 1][1]) for low, high in pairwise(starts)]
