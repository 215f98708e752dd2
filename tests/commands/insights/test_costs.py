"""What questions about all customers cost an operation: all that the store examines, and the rows that are added up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from unittest.mock import patch

import pytest

from app.commands.insights.customers import count_active
from app.commands.insights.reading import read_rows
from app.domain.errors import OperationTooLarge
from app.domain.rollups.rows import QUARTER_HOUR_MS
from app.domain.rollups.selections import Cells, LocalClock, Selection
from app.domain.values.instants import DAY_MS, EARLIEST, LATEST, from_ms, to_ms
from app.domain.values.zones import UTC as UTC_ZONE
from app.store.mongo import usage as usages
from app.store.mongo.capacity import StoreCapacity
from app.store.mongo.usage import StoreShares, StoreUsage
from app.store.workspace import rollup_contents
from tests.business import Business
from tests.sealing import seal_events
from tests.store.workspace.counted import store_events

pytestmark = pytest.mark.not_on_java("it has no $dateTrunc")


@contextmanager
def operation(max_points: int = 1_000_000) -> Iterator[StoreUsage]:
    shares = StoreShares(StoreCapacity(examined_per_point=1, counted_per_point=1_000_000))
    with shares.open("w", call_seconds=60.0, max_points=max_points) as usage, usage.active():
        yield usage


async def test_rows_of_rollups_are_charged_while_they_are_computed(business: Business) -> None:
    events = await store_events(business, 300)
    await seal_events(business, events)
    selection = Selection(to_ms(EARLIEST), to_ms(LATEST), cells=Cells.QUARTER_HOUR)
    with patch.object(usages, "ROWS_PER_POINT", 1), patch.object(rollup_contents, "ROWS_PER_TURN", 10):
        with operation() as usage:
            reading = await read_rows(business.ctx, selection, UTC_ZONE)
        needed = usage.examined_points
        assert needed > len(reading.rows) > 100
        with operation(needed - 50) as usage, pytest.raises(OperationTooLarge):
            await read_rows(business.ctx, selection, UTC_ZONE)
        # Reads that run at the same time may each charge a turn beyond the limit.
        assert usage.examined_points < needed


async def test_days_that_are_added_up_by_the_clock_cost_less_than_their_hours(business: Business) -> None:
    [event, *_] = await store_events(business, 1)
    start_ms = to_ms(datetime(2025, 1, 6, tzinfo=UTC))
    at = [from_ms(start_ms + number * QUARTER_HOUR_MS) for number in range(21 * 96)]
    await seal_events(business, [replace(event, occurred_at=each) for each in at])
    selection = Selection(start_ms, start_ms + 21 * DAY_MS, cells=Cells.HOUR)
    points = []
    with patch.object(usages, "ROWS_PER_POINT", 1):
        for clock in (None, LocalClock.WEEKDAY_AND_HOUR):
            with operation() as usage:
                await read_rows(business.ctx, replace(selection, clock=clock), UTC_ZONE)
            points.append(usage.examined_points)
    hours, added, slots = 21 * 24, 21 * 96 / rollup_contents.CELLS_PER_ROW, 7 * 24
    assert points[0] - points[1] == pytest.approx(hours - added - slots, abs=1)


async def test_events_at_an_edge_of_a_period_are_charged(business: Business) -> None:
    instant = datetime(2025, 1, 1, 0, 0, 1, tzinfo=UTC)
    await business.record(*({"external_id": f"e{n}", "occurred_at": instant} for n in range(20)))
    await business.run_worker()
    with operation(19), pytest.raises(OperationTooLarge):
        await read_rows(business.ctx, Selection(to_ms(instant), to_ms(instant) + 1), UTC_ZONE)


async def test_earlier_events_of_active_customers_are_charged(business: Business) -> None:
    days = [datetime(2025, 1, day, tzinfo=UTC) for day in range(1, 21)]
    await business.record(*({"external_id": day.isoformat(), "occurred_at": day} for day in days))
    with operation() as usage:
        found = await count_active(business.ctx, days[-1], datetime(2025, 1, 21, tzinfo=UTC))
    assert (found.active, found.returning) == (1, 1)
    assert usage.examined_points >= 20


async def test_operation_that_cannot_pay_for_events_of_changed_months_ends_early(business: Business) -> None:
    at = datetime(2025, 1, 2, tzinfo=UTC)
    await business.record(*({"external_id": f"e{number}", "occurred_at": at} for number in range(200)))
    await business.run_worker()
    with operation(50) as usage, pytest.raises(OperationTooLarge):
        await business.ctx.workspace.customers.active_before([(await business.read_pass()).id], LATEST)
    assert 50 < usage.examined_points < 100


async def test_parked_events_are_charged(business: Business) -> None:
    await business.record(*({"external_id": f"e{n}", "amount": 1} for n in range(20)))
    db = business.ctx.resources.db
    await db["events"].update_many({}, {"$set": {"pend": -2}})
    await db["passes"].update_many({}, {"$set": {"parked": 1}})
    with operation() as usage:
        found = await business.ctx.workspace.rollups.parked(Selection(to_ms(EARLIEST), to_ms(LATEST)))
    assert (found.number, usage.examined_points) == (20, 21)
