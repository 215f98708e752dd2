"""Reading of a month from the API: what the report shows, asked with the key of the workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import click

from app.cli.client import Client
from app.domain.values.instants import format_instant, from_ms
from app.domain.values.periods import PeriodUnit, add_periods
from app.domain.values.zones import days_of, stored_zone

from .figures import Figure

COHORTS = 12
"""Months whose new customers the triangle shows."""
SEGMENTS_READ = 25
"""Segments that one request reads with their history."""

_WORKSPACE = "query { viewer { workspace { name currency timezone } } }"
_MONTH = """query ($month: String!) {
  eventSummary(input: {month: $month}) {
    to freshness { asOf exact } totalEvents purchases visits redemptions activePasses newPasses returningPasses
    revenue { currency net orders average } byType { type count }
    series(unit: DAY) { at revenue { currency net } } } }"""
_TOP = """query ($month: String!, $currency: String!) {
  topPasses(input: {by: SPEND, month: $month, currency: $currency, first: 10}) {
    passes { nodes { value pass { externalId holder { name } } } } } }"""
_HOURS = """query ($month: String!) {
  eventHistogram(input: {by: WEEKDAY_AND_HOUR, month: $month}) { buckets { weekday hour count } } }"""
_RETENTION = """query ($from: DateTime!, $to: DateTime!) {
  retention(input: {cohort: MONTH, from: $from, to: $to}) { cohorts { start size periods { n active } } } }"""
_SEGMENTS = """query ($first: Int!, $after: String, $from: DateTime!, $to: DateTime!) {
  segments(first: $first, after: $after) { pageInfo { hasNextPage endCursor } nodes {
    name status memberCount sizeOverTime(from: $from, to: $to, unit: MONTH) { count entered left } } } }"""


@dataclass(frozen=True, slots=True)
class Customer:
    """Customer with the spend of the month in the currency of the report."""

    external_id: str
    name: str | None
    spend: Decimal


@dataclass(frozen=True, slots=True)
class DayOfWeek:
    """Events of one day of the week, by hour of the day."""

    name: str
    counts: Sequence[int]


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """Segment with its size now and at the end of the month in UTC, and the passes that entered and left in it."""

    name: str
    now: int
    at_end: int
    entered: int
    left: int


@dataclass(frozen=True, slots=True)
class CohortRow:
    """Customers whose first activity was in one month: how many, and how many were active in it and each later month.

    The last month is that of the report.
    """

    month: date
    size: int
    active: Sequence[int]


@dataclass(frozen=True, slots=True)
class MonthReport:
    """All that the report shows of one month.

    `first_day` is the first day of the month. `days` has the revenue of each day in `currency`, 0 included; None for a day
    that has not begun. `is_over` is whether the month has ended, and `exact` whether the API vouches for each figure.
    `refusals` has a sentence for each part that the API refused to answer.
    """

    workspace: str
    currency: str
    timezone: str
    first_day: date
    figures: Sequence[Figure]
    types: Sequence[Figure]
    days: Sequence[tuple[date, Decimal | None]]
    weekdays: Sequence[DayOfWeek]
    customers: Sequence[Customer]
    cohorts: Sequence[CohortRow]
    segments: Sequence[SegmentRow]
    refusals: Sequence[str]
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
        return not any(figure.value for figure in self.types)


def read_month(client: Client, first_day: date, currency: str | None) -> MonthReport:
    """Ask the API for the month that begins on a day, and for the month before. Raises click.ClickException.

    Amounts by day and by customer are in one currency: by default that of the workspace. The month is that of the
    workspace's time zone.
    """
    workspace = client.ask(_WORKSPACE)["viewer"]["workspace"]
    chosen = currency or workspace["currency"]
    days = days_of(stored_zone(workspace["timezone"]))

    def start_of(months: int) -> str:
        return format_instant(from_ms(days.start_ms(add_periods(first_day, PeriodUnit.MONTH, months))))

    now, before = (
        client.ask(_MONTH, month=f"{add_periods(first_day, PeriodUnit.MONTH, months):%Y-%m}")["eventSummary"]
        for months in (0, -1)
    )
    refusals: list[str] = []
    top = _ask_part(client, refusals, "Top customers", _TOP, month=f"{first_day:%Y-%m}", currency=chosen)
    hours = _ask_part(client, refusals, "Busiest hours", _HOURS, month=f"{first_day:%Y-%m}")
    since = {"from": start_of(1 - COHORTS), "to": start_of(1)}
    retention = _ask_part(client, refusals, "Retention", _RETENTION, **since)
    as_of = datetime.fromisoformat(now["freshness"]["asOf"])
    zone = stored_zone(workspace["timezone"])
    return MonthReport(
        workspace=workspace["name"],
        currency=chosen,
        timezone=workspace["timezone"],
        first_day=first_day,
        figures=[*_money(now, before, chosen), *_counts(now, before)],
        types=_types(now, before),
        days=[
            (begins.astimezone(zone).date(), _net_of(point, chosen) if begins <= as_of else None)
            for point in now["series"]
            for begins in [datetime.fromisoformat(point["at"])]
        ],
        weekdays=[] if hours is None else _weekdays(hours["eventHistogram"]),
        customers=[] if top is None else _customers(top["topPasses"]),
        cohorts=[] if retention is None else _cohorts(retention["retention"], zone),
        segments=_read_segments(client, first_day),
        refusals=refusals,
        as_of=as_of,
        is_over=as_of >= datetime.fromisoformat(now["to"]),
        exact=now["freshness"]["exact"] and before["freshness"]["exact"],
    )


def _ask_part(client: Client, refusals: list[str], name: str, query: str, **variables: object) -> Any:
    """Ask for one part. If the API refuses, note its sentence and return None: the other parts are shown without it."""
    try:
        return client.ask(query, **variables)
    except click.ClickException as refused:
        refusals.append(f"{name}: {refused.message}")
        return None


def _money(now: Any, before: Any, chosen: str) -> list[Figure]:
    """Return the revenue, its orders and their average in the chosen currency; then the revenue in each other one.

    If there are others, the name of the orders has the currency: these are not all orders.
    """
    rows, rows_before = ({row["currency"]: row for row in answer["revenue"]} for answer in (now, before))
    none = {"net": "0", "orders": 0, "average": None}
    mine, mine_before = rows.get(chosen, none), rows_before.get(chosen, none)
    average, average_before = (
        None if row["average"] is None else Decimal(row["average"]) for row in (mine, mine_before)
    )
    is_only = not (rows.keys() | rows_before.keys()) - {chosen}
    return [
        Figure("Revenue", Decimal(mine["net"]), Decimal(mine_before["net"]), currency=chosen),
        Figure("Orders" if is_only else f"Orders in {chosen}", Decimal(mine["orders"]), Decimal(mine_before["orders"])),
        Figure("Average order", average, average_before, currency=chosen),
        *(
            Figure("Revenue", Decimal(each["net"]), Decimal(rows_before.get(code, none)["net"]), currency=code)
            for code, each in sorted({**dict.fromkeys(rows_before, none), **rows}.items())
            if code != chosen
        ),
    ]


def _counts(now: Any, before: Any) -> list[Figure]:
    names = {
        "Visits": "visits",
        "Redemptions": "redemptions",
        "Active customers": "activePasses",
        "New customers": "newPasses",
        "Returning customers": "returningPasses",
        "Events": "totalEvents",
    }
    return [Figure(name, Decimal(now[key]), Decimal(before[key])) for name, key in names.items()]


def _types(now: Any, before: Any) -> list[Figure]:
    counts, counts_before = ({row["type"]: row["count"] for row in answer["byType"]} for answer in (now, before))
    names = sorted(counts.keys() | counts_before.keys(), key=lambda name: (-counts.get(name, 0), name))
    return [Figure(name, Decimal(counts.get(name, 0)), Decimal(counts_before.get(name, 0))) for name in names]


def _net_of(point: Any, currency: str) -> Decimal:
    return sum((Decimal(row["net"]) for row in point["revenue"] if row["currency"] == currency), Decimal(0))


def _weekdays(answer: Any) -> list[DayOfWeek]:
    counts: dict[str, list[int]] = {}
    for bucket in answer["buckets"]:
        counts.setdefault(bucket["weekday"], [0] * 24)[bucket["hour"]] = bucket["count"]
    return [DayOfWeek(name.title(), each) for name, each in counts.items()]


def _customers(answer: Any) -> list[Customer]:
    return [
        Customer(node["pass"]["externalId"], node["pass"]["holder"]["name"], Decimal(node["value"]))
        for node in answer["passes"]["nodes"]
        if node["pass"] is not None
    ]


def _cohorts(answer: Any, zone: ZoneInfo) -> list[CohortRow]:
    return [
        CohortRow(
            datetime.fromisoformat(cohort["start"]).astimezone(zone).date(),
            cohort["size"],
            [period["active"] for period in cohort["periods"]],
        )
        for cohort in answer["cohorts"]
        if cohort["size"]
    ]


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
