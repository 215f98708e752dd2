"""Levels of rollups: hours, days and months of UTC, and the cells of time into which each divides its rows."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from app.domain.values.instants import DAY_MS, HOUR_MS, from_ms, to_ms

from .rows import QUARTER_HOUR_MS


class Level(StrEnum):
    """Length of the period of a rollup: an hour, a day or a month of UTC. The value is the stored one."""

    HOUR = "h"
    DAY = "d"
    MONTH = "m"

    @property
    def cell_ms(self) -> int:
        """The length of a cell in milliseconds: a quarter of an hour in hours and days, a day in months."""
        return DAY_MS if self is Level.MONTH else QUARTER_HOUR_MS

    def start_ms(self, at_ms: int) -> int:
        """Return the first instant of the period that contains an instant, in milliseconds."""
        if self is Level.HOUR:
            return at_ms - at_ms % HOUR_MS
        day_ms = at_ms - at_ms % DAY_MS
        return day_ms if self is Level.DAY else to_ms(from_ms(day_ms).replace(day=1))

    def end_ms(self, start_ms: int) -> int:
        """Return the first instant after the period that begins at `start_ms`, in milliseconds."""
        if self is Level.MONTH:
            return self.start_ms(to_ms(from_ms(start_ms) + timedelta(days=31)))
        return start_ms + (HOUR_MS if self is Level.HOUR else DAY_MS)
