"""Summaries of a period over all customers: how many events there are of each type, and the revenue."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from app.domain.events.events import REDEMPTION, REDEMPTION_ROLLBACK
from app.domain.events.spend import ORDERS, SPEND_CATEGORY
from app.domain.rollups.rows import CountedRow
from app.domain.state.spend import SpendPart, SpendRow, sum_spend
from app.domain.values.decimals import ZERO

MAX_SERIES_POINTS = 400
"""Periods of one series."""
VISITS: Mapping[str, int] = MappingProxyType({"visit": 1, "check_in": 1})
"""Types by which a customer visits."""
REDEMPTIONS: Mapping[str, int] = MappingProxyType({REDEMPTION: 1, REDEMPTION_ROLLBACK: -1})
"""Types that change the number of redemptions, and by how much."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of counted events. Events that walks made count in the revenue only, because no customer acted.

    - `by_type`: number of events by type, sorted by type.
    - `revenue`: spend by currency, sorted by currency.
    """

    by_type: Mapping[str, int]
    revenue: Sequence[SpendRow]

    @property
    def total_events(self) -> int:
        """Number of events."""
        return sum(self.by_type.values())

    @property
    def purchases(self) -> int:
        """Number of purchases and checkouts, less rejects of checkouts."""
        return self._count(ORDERS)

    @property
    def visits(self) -> int:
        """Number of visits and check-ins."""
        return self._count(VISITS)

    @property
    def redemptions(self) -> int:
        """Number of redemptions, less those taken back."""
        return self._count(REDEMPTIONS)

    def _count(self, weights: Mapping[str, int]) -> int:
        return sum(self.by_type.get(kind, 0) * weight for kind, weight in weights.items())


def summarize(rows: Iterable[CountedRow]) -> Summary:
    """Return the summary of rows by source."""
    counts: Counter[str] = Counter()
    parts = []
    for row in rows:
        if not row.key.made:
            counts[row.type] += row.totals.count
        parts.append(spend_part(row))
    return Summary(dict(sorted(counts.items())), sum_spend(parts))


def spend_part(row: CountedRow) -> SpendPart:
    """Return what a row adds to spend."""
    is_transaction = row.key.category is SPEND_CATEGORY
    return SpendPart(
        row.type,
        row.key.currency,
        row.totals.sum if is_transaction else ZERO,
        count=0 if row.key.made else row.totals.count,
        is_transaction=is_transaction,
    )


def summarize_each(rows: Iterable[CountedRow], periods: Sequence[tuple[int, int]]) -> list[Summary]:
    """Return the summary of each period, of which each is [start, end) in ms, in ascending order and without gaps.

    The cell of each row lies in one of the periods.
    """
    starts = [start for start, _ in periods]
    parts: list[list[CountedRow]] = [[] for _ in periods]
    for row in rows:
        parts[bisect_right(starts, row.start_ms) - 1].append(row)
    return [summarize(part) for part in parts]
