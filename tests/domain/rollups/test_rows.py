"""Rows of counted events: which row an event counts in, and that totals add up in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from app.domain.events.events import RULE_CHANNEL, Category, Event, Origin
from app.domain.rollups.rows import CountedRow, RowKey, Totals, add_rows, row_of
from app.domain.values.decimals import ZERO

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE_MS = 60_000


def purchase(minutes: int, amount: str | None, points: str = "0", channel: str = "API") -> Event:
    at = MIDNIGHT + timedelta(minutes=minutes)
    return Event(
        f"event_{minutes}",
        "pass_1",
        Category.TRANSACTION,
        type="purchase",
        amount=None if amount is None else Decimal(amount),
        currency=None if amount is None else "EUR",
        points=Decimal(points),
        source="till",
        external_id=None,
        metadata={},
        occurred_at=at,
        recorded_at=at,
        origin=Origin(channel),
    )


def test_event_counts_in_the_quarter_of_an_hour_in_which_it_occurred() -> None:
    row = row_of(purchase(44, "10.50", "3"))
    start_ms = int((MIDNIGHT + timedelta(minutes=30)).timestamp() * 1_000)
    key = RowKey("till", Category.TRANSACTION, "EUR", made=False)
    ten, three = Decimal("10.50"), Decimal(3)
    assert row == CountedRow(
        start_ms,
        "purchase",
        key,
        totals=Totals(1, ten, min=ten, max=ten, points_count=1, points_sum=three, points_min=three, points_max=three),
    )


def test_event_that_a_rule_made_and_event_without_an_amount_have_rows_of_their_own() -> None:
    [made, free] = [row_of(purchase(0, "1", channel=RULE_CHANNEL)), row_of(purchase(0, None))]
    assert made.key.made
    assert free.key.currency is None
    assert free.totals == Totals(1, ZERO)


def test_totals_are_the_same_in_whatever_order_rows_are_added() -> None:
    random = Random(7)
    rows = [row_of(purchase(random.randrange(60), str(random.randrange(1_000)), str(n % 3))) for n in range(200)]
    expected = {(row.start_ms, row.key): row.totals for row in add_rows(rows)}
    for _ in range(5):
        random.shuffle(rows)
        parts = add_rows(rows[:70]), add_rows(rows[70:])
        assert {(row.start_ms, row.key): row.totals for row in add_rows([*parts[0], *parts[1]])} == expected
    total = sum((row.totals for row in rows), Totals())
    assert (total.count, total.points_count) == (200, 133)
    assert sum(totals.count for totals in expected.values()) == 200


def test_extremes_of_nothing_are_none_and_add_to_those_of_others() -> None:
    row = row_of(purchase(0, "4"))
    assert Totals() + row.totals == row.totals
    assert replace(row.totals, min=Decimal(2)) + row.totals == Totals(2, Decimal(8), min=Decimal(2), max=Decimal(4))
