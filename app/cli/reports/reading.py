"""Reading of a month from the API: what the report shows, asked with the key of the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from app.cli.client import Client
from app.domain.values.instants import format_instant, from_ms
from app.domain.values.periods import PeriodUnit, add_periods
from app.domain.values.zones import days_of, stored_zone

from .figures import Figure

TOP_CUSTOMERS = 10
SEGMENTS_READ = 25
"""Segments that one request reads with their history."""

_WORKSPACE = "query { viewer { workspace { name currency timezone } } }"
_MONTH = """query ($from: DateTime!, $to: DateTime!, $currency: String!) {
  types: aggregateEvents(input: {function: COUNT, groupBy: [TYPE], orderBy: VALUE, first: 250, from: $from, to: $to}) {
    value freshness { asOf exact } groups { nodes { type count } } }
  spend: aggregateEvents(input: {
    function: SUM, categories: [TRANSACTION], groupBy: [CURRENCY], first: 250, from: $from, to: $to}) {
    groups { nodes { currency value } } }
  customers: aggregateEvents(input: {function: COUNT_PASSES, from: $from, to: $to}) { value }
  days: aggregateEvents(input: {
    function: SUM, categories: [TRANSACTION], currency: $currency, groupBy: [DAY], first: 250, from: $from, to: $to}) {
    groups { nodes { from value } } }
  top: aggregateEvents(input: {
    function: SUM, categories: [TRANSACTION], currency: $currency, groupBy: [PASS], orderBy: VALUE, first: 10,
    from: $from, to: $to}) {
    groups { nodes { value count pass { externalId holder { name } } } } }
}"""
_SEGMENTS = """query ($first: Int!, $after: String, $from: DateTime!, $to: DateTime!) {
  segments(first: $first, after: $after) { pageInfo { hasNextPage endCursor } nodes {
    name status memberCount sizeOverTime(from: $from, to: $to, unit: MONTH) { count entered left } } } }"""


@dataclass(frozen=True, slots=True)
class TypeRow:
    """Events of one type: how many there are in the month, and how many in the month before."""

    type: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Customer:
    """Customer with the spend of the month in the currency of the report, and the number of transactions."""

    external_id: str
    name: str | None
    spend: Decimal
    transactions: int


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """Segment with its size now and at the end of the month in UTC, and the passes that entered and left in it."""

    name: str
    now: int
    at_end: int
    entered: int
    left: int


@dataclass(frozen=True, slots=True)
class MonthReport:
    """All that the report shows of one month.

    `first_day` is the first day of the month. `days` has the revenue of each day in `currency`, 0 included. `is_over` is
    whether the month has ended, and `exact` whether the API vouches for each figure.
    """

    workspace: str
    currency: str
    timezone: str
    first_day: date
    figures: Sequence[Figure]
    types: Sequence[TypeRow]
    days: Sequence[tuple[date, Decimal]]
    customers: Sequence[Customer]
    segments: Sequence[SegmentRow]
    as_of: datetime
    is_over: bool
    exact: bool

    @property
    def title(self) -> str:
        """The month and its year, such as "January 2025"."""
        return f"{self.first_day:%B} {self.first_day.year}"

    @property
    def title_before(self) -> str:
        """The month before and its year."""
        before = add_periods(self.first_day, PeriodUnit.MONTH, -1)
        return f"{before:%B} {before.year}"

    @property
    def is_empty(self) -> bool:
        """Whether the month has no event."""
        return not any(row.figure.value for row in self.types)


def read_month(client: Client, first_day: date, currency: str | None) -> MonthReport:
    """Ask the API for the month that begins on a day, and for the month before. Raises click.ClickException.

    Amounts by day and by customer are in one currency: by default that of the workspace. The month is that of the
    workspace's time zone.
    """
    workspace = client.ask(_WORKSPACE)["viewer"]["workspace"]
    chosen = currency or workspace["currency"]
    days = days_of(stored_zone(workspace["timezone"]))
    starts = [add_periods(first_day, PeriodUnit.MONTH, count) for count in (-1, 0, 1)]
    before_at, start_at, end_at = (format_instant(from_ms(days.start_ms(day))) for day in starts)
    now = client.ask(_MONTH, **{"from": start_at, "to": end_at, "currency": chosen})
    before = client.ask(_MONTH, **{"from": before_at, "to": start_at, "currency": chosen})
    as_of = datetime.fromisoformat(now["types"]["freshness"]["asOf"])
    return MonthReport(
        workspace=workspace["name"],
        currency=chosen,
        timezone=workspace["timezone"],
        first_day=first_day,
        figures=[*_spend(now, before, chosen), *_counts(now, before)],
        types=_types(now, before),
        days=_days(now, starts[1], starts[2], workspace["timezone"]),
        customers=[
            Customer(
                node["pass"]["externalId"], node["pass"]["holder"]["name"], Decimal(node["value"]),
                transactions=node["count"],
            )
            for node in now["top"]["groups"]["nodes"]
            if node["pass"] is not None
        ],
        segments=_read_segments(client, starts[1]),
        as_of=as_of,
        is_over=as_of >= datetime.fromisoformat(end_at),
        exact=all(answer["types"]["freshness"]["exact"] for answer in (now, before)),
    )  # fmt: skip


def _spend(now: Any, before: Any, chosen: str) -> list[Figure]:
    """Return the revenue in the chosen currency, and then in each other one that has any."""
    values, values_before = (
        {node["currency"]: Decimal(node["value"]) for node in answer["spend"]["groups"]["nodes"] if node["currency"]}
        for answer in (now, before)
    )
    others = sorted((values.keys() | values_before.keys()) - {chosen})
    zero = Decimal(0)
    return [
        Figure("Revenue", values.get(each, zero), values_before.get(each, zero), currency=each)
        for each in (chosen, *others)
    ]


def _counts(now: Any, before: Any) -> list[Figure]:
    names = (("Active customers", "customers"), ("Events", "types"))
    return [Figure(name, Decimal(now[key]["value"]), Decimal(before[key]["value"])) for name, key in names]


def _types(now: Any, before: Any) -> list[TypeRow]:
    counts, counts_before = (
        {node["type"]: Decimal(node["count"]) for node in answer["types"]["groups"]["nodes"]}
        for answer in (now, before)
    )
    zero = Decimal(0)
    names = sorted(counts.keys() | counts_before.keys(), key=lambda name: (-counts.get(name, zero), name))
    return [
        TypeRow(name, Figure(name, counts.get(name, zero), counts_before.get(name, zero))) for name in names
    ]  # fmt: skip


def _days(now: Any, start: date, end: date, timezone: str) -> list[tuple[date, Decimal]]:
    zone = stored_zone(timezone)
    values = {
        datetime.fromisoformat(node["from"]).astimezone(zone).date(): Decimal(node["value"])
        for node in now["days"]["groups"]["nodes"]
    }
    days = (date.fromordinal(number) for number in range(start.toordinal(), end.toordinal()))
    return [(day, values.get(day, Decimal(0))) for day in days]


def _read_segments(client: Client, first_day: date) -> list[SegmentRow]:
    """Return the segments that are not archived, the largest first."""
    # The middle of the month lies in the same month of UTC, whatever the time zone of the workspace is.
    period = {"from": f"{first_day.replace(day=15)}T00:00:00Z", "to": f"{first_day.replace(day=16)}T00:00:00Z"}
    found: list[SegmentRow] = []
    after = None
    while True:
        page = client.ask(_SEGMENTS, first=SEGMENTS_READ, after=after, **period)["segments"]
        for node in page["nodes"]:
            if node["status"] == "ACTIVE":
                sizes = node["sizeOverTime"] or [{"count": 0, "entered": 0, "left": 0}]
                last = sizes[-1]
                found.append(
                    SegmentRow(
                        node["name"], node["memberCount"], last["count"], entered=last["entered"], left=last["left"]
                    )
                )
        if not page["pageInfo"]["hasNextPage"]:
            return sorted(found, key=lambda row: (-row.now, row.name))
        after = page["pageInfo"]["endCursor"]
