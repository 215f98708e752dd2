"""Statistics of one pass: spend, rows by event type, and periods."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from app.domain.events.events import PASS_UPDATED, TYPES, Category, Event, Origin
from app.domain.state.aggregates import fold_events
from app.domain.state.spend import SpendRow
from app.domain.state.statistics import Period, Statistics, build_statistics, period_of
from app.domain.values.decimals import ZERO

BERLIN = ZoneInfo("Europe/Berlin")


def event(
    number: int,
    kind: str,
    amount: str | None = None,
    currency: str | None = "EUR",
    category: Category = Category.CUSTOM,
) -> Event:
    at = datetime(2026, 1, number, tzinfo=UTC)
    return Event(
        f"event_{number}",
        "pass_1",
        TYPES.get(kind, category),
        type=kind,
        amount=None if amount is None else Decimal(amount),
        currency=None if amount is None else currency,
        points=ZERO,
        source="api",
        external_id=None,
        metadata={},
        occurred_at=at,
        recorded_at=at,
        origin=Origin("API"),
    )


def statistics_of(events: Sequence[Event], types: Sequence[str] | None = None) -> Statistics:
    return build_statistics(fold_events({}, events), types)


def test_every_transaction_is_spend_and_refunds_and_credits_subtract() -> None:
    found = statistics_of(
        [
            event(1, "purchase", "100.50"),
            event(2, "purchase", "200"),
            event(3, "refund", "30"),
            event(4, "credit", "9"),
            event(5, "purchase", "7", "USD"),
            event(6, "check_in"),
            event(7, "charge", "2"),
            event(8, "payment", "0.50"),
            event(9, "dues", "8", category=Category.TRANSACTION),
            event(10, "redemption", "1000"),
            event(11, "visit", "1000", "GBP"),
            event(12, "purchase", "0", "CHF"),
        ]
    )
    assert found.event_count == 12
    assert found.spend == (
        SpendRow("CHF", ZERO, ZERO, net=ZERO, orders=1),
        SpendRow("EUR", Decimal("311.00"), Decimal(39), net=Decimal("272.00"), orders=2),
        SpendRow("USD", Decimal(7), ZERO, net=Decimal(7), orders=1),
    )


def test_spend_of_a_type_sent_with_different_categories_does_not_depend_on_order() -> None:
    events = [event(1, "dues", "8", category=Category.TRANSACTION), event(2, "dues", "5", category=Category.CUSTOM)]
    expected = (SpendRow("EUR", Decimal(8), ZERO, net=Decimal(8), orders=0),)
    assert statistics_of(events).spend == statistics_of(events[::-1]).spend == expected


def test_average_is_rounded_half_even_to_six_places_and_absent_without_amounts() -> None:
    found = statistics_of(
        [event(1, "purchase", "1"), event(2, "purchase", "0"), event(3, "purchase", "1"), event(4, "visit")]
    )
    bought, visited = found.by_type
    assert (bought.type, bought.average, bought.min, bought.max) == ("purchase", Decimal("0.666667"), ZERO, Decimal(1))
    assert (visited.count, visited.sum, visited.average) == (1, None, None)
    assert (found.first_ms, found.last_ms) == (event(1, "visit").occurred_ms, event(4, "visit").occurred_ms)


def test_statistics_count_only_the_requested_types_and_no_internal_events() -> None:
    events = [event(1, "purchase", "1"), event(2, "visit"), event(3, PASS_UPDATED)]
    assert statistics_of(events).event_count == 2
    assert [row.type for row in statistics_of(events, ["visit"]).by_type] == ["visit"]
    assert statistics_of(events, []).event_count == 0
    assert statistics_of([]).first_ms is None


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        (Period.DAY, "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        (Period.WEEK, "2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        (Period.MONTH, "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"),
        (Period.QUARTER, "2026-01-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"),
        (Period.YEAR, "2026-01-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00"),
    ],
)
def test_periods_begin_at_midnight_of_the_zone_also_when_summer_time_begins(
    period: Period, start: str, end: str
) -> None:
    now = datetime(2026, 3, 29, 12, tzinfo=UTC)
    assert period_of(now, period, BERLIN, 0) == (datetime.fromisoformat(start), datetime.fromisoformat(end))


def test_week_begins_on_the_day_that_the_workspace_chose() -> None:
    now = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)  # It is already Sunday in Berlin.
    assert period_of(now, Period.WEEK, BERLIN, 6)[0] == datetime(2026, 3, 29, tzinfo=BERLIN)
    assert period_of(now, Period.WEEK, BERLIN, 0)[0] == datetime(2026, 3, 23, tzinfo=BERLIN)
