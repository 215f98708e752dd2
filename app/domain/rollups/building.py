"""Contents of rollups: of an hour from its events, of a day from its hours, of a month from its days.

A content depends only on the set of events that count, and not on the order in which they are read or added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from app.domain.events.events import INTERNAL_TYPES, Event
from app.domain.values.instants import DAY_MS, HOUR_MS, from_ms

from .levels import Level
from .rows import QUARTER_HOUR_MS, CountedRow, RowKey, Totals, row_of

Content = Mapping[str, Mapping[RowKey, Mapping[int, Totals]]]
"""Totals of one period by event type, row and cell of time.

The number of a cell begins at 0: the quarter of the hour, the quarter of an hour in the day, or the day of the month.
"""


def counts_in_rows(event: Event) -> bool:
    """Return whether an event that is no longer pending counts in rows: no internal type, and not declined."""
    return event.type not in INTERNAL_TYPES and not event.outcome.is_declined


def content_of(events: Iterable[Event]) -> Content:
    """Return the content of one hour from its events. Those that count in no row are left out."""
    return build_content(map(row_of, filter(counts_in_rows, events)), Level.HOUR)


def join_hours(hours: Mapping[int, Content]) -> Content:
    """Return the content of one day from those of its hours, by the first instant of the hour in milliseconds."""
    return build_content(_rows_of_all(hours, Level.HOUR), Level.DAY)


def join_days(days: Mapping[int, Content]) -> Content:
    """Return the content of one month from those of its days, by the first instant of the day in milliseconds."""
    return build_content(_rows_of_all(days, Level.DAY), Level.MONTH)


def build_content(rows: Iterable[CountedRow], level: Level) -> Content:
    """Return the content of one period from rows in it. The cell of each row lies within one cell of the level."""
    builder = ContentBuilder(level)
    for row in rows:
        builder.add(row)
    return builder.content


class ContentBuilder:
    """Content of one period that is built row by row. Its size depends on the rows that differ, not on their number."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self._content: dict[str, dict[RowKey, dict[int, Totals]]] = {}

    @property
    def content(self) -> Content:
        """The content of the rows added so far."""
        return self._content

    def add(self, row: CountedRow) -> None:
        """Add a row whose cell lies in the period, within one cell of its level."""
        cells = self._content.setdefault(row.type, {}).setdefault(row.key, {})
        number = _number_of_cell(row.start_ms, self._level)
        before = cells.get(number)
        cells[number] = row.totals if before is None else before + row.totals


def rows_of(content: Content, level: Level, start_ms: int) -> Iterator[CountedRow]:
    """Return the rows of the content of the period that begins at `start_ms`, in no particular order."""
    for event_type, rows in content.items():
        for key, cells in rows.items():
            for number, totals in cells.items():
                yield CountedRow(start_ms + number * level.cell_ms, event_type, key, totals=totals)


def _rows_of_all(contents: Mapping[int, Content], level: Level) -> Iterator[CountedRow]:
    for start_ms, content in contents.items():
        yield from rows_of(content, level, start_ms)


def _number_of_cell(at_ms: int, level: Level) -> int:
    if level is Level.MONTH:
        return from_ms(at_ms).day - 1
    return at_ms % (HOUR_MS if level is Level.HOUR else DAY_MS) // QUARTER_HOUR_MS
