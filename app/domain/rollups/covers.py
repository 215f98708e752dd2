"""How a span of time is put together: sealed months and years of UTC, and the events of its edges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from .periods import bounds_of, month_of, months_of, year_of


class Span(NamedTuple):
    """Time from an instant to another one, which is exclusive."""

    after: datetime
    before: datetime


@dataclass(frozen=True, slots=True)
class Cover:
    """Months of UTC that together are a span, with `extras` added and `trims` taken away.

    A month is used if at least half of it lies in the span. So the edges of a calendar month of any zone are some hours.
    """

    months: tuple[int, ...]
    extras: tuple[Span, ...]
    trims: tuple[Span, ...]

    @property
    def periods(self) -> tuple[int, ...]:
        """The same months, with all months of a year replaced by the year."""
        used = set(self.months)
        years = {year for year in map(year_of, self.months) if used.issuperset(months_of(year))}
        return (*sorted(years), *(month for month in self.months if year_of(month) not in years))

    @property
    def span_of_months(self) -> Span | None:
        """The time of all used months; None if there are none."""
        if not self.months:
            return None
        return Span(bounds_of(self.months[0])[0], bounds_of(self.months[-1])[1])


def cover(after: datetime, before: datetime) -> Cover:
    """Return the cover of the time from an instant to another one, which is exclusive."""
    months: list[int] = []
    extras: list[Span] = []
    trims: list[Span] = []
    at = after
    while at < before:
        month = month_of(at)
        start, end = bounds_of(month)
        inside = Span(max(start, after), min(end, before))
        if 2 * (inside.before - inside.after) >= end - start:
            months.append(month)
            trims += [
                span for span in (Span(start, inside.after), Span(inside.before, end)) if span.after < span.before
            ]
        else:
            extras.append(inside)
        at = end
    return Cover(tuple(months), tuple(extras), tuple(trims))
