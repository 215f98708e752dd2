"""How a span of time is put together: sealed months and years of UTC, and the events of its edges."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from .periods import bounds_of, month_of, months_of, year_of


class Span(NamedTuple):
    """Time from an instant to another one, which is exclusive."""

    after: datetime
    before: datetime


class Summands(NamedTuple):
    """Months and years whose sums together are that of some months: some are added, others taken away."""

    added: Sequence[int]
    taken: Sequence[int] = ()


class UsedYear(NamedTuple):
    """Year with its used months, and the others."""

    year: int
    used: Sequence[int]
    others: Sequence[int]

    def ways_to_sum(self, sealed: Collection[int], stale: Collection[int]) -> Sequence[Summands]:
        """Return the ways to sum those used months of a pass that are not stale.

        Only sealed months and years are summed: the others have no sum. The sum of a year is that of its sealed months.
        """
        own = [month for month in self.used if month in sealed]
        if stale and not set(self.used).isdisjoint(stale):
            return (Summands([month for month in own if month not in stale]),)
        if self.year not in sealed:
            return (Summands(own),)
        return Summands(own), Summands([self.year], [month for month in self.others if month in sealed])


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

    def used_of(self, year: int) -> list[int]:
        """Return the used months of a year."""
        return [month for month in self.months if year_of(month) == year]

    @property
    def years(self) -> list[UsedYear]:
        """The years of which months are used."""
        return [
            UsedYear(year, used, [month for month in months_of(year) if month not in used])
            for year in sorted(set(map(year_of, self.months)))
            if (used := self.used_of(year))
        ]

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
