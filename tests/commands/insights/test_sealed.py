"""Rows from rollups, dirty hours and pending events: together they are the rows of the events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from random import Random
from zoneinfo import ZoneInfo

import pytest

from app.commands.insights import sealed
from app.commands.insights.reading import read_rows
from app.domain.errors import InvalidInput
from app.domain.events.events import Category, Event
from app.domain.rollups.levels import Level
from app.domain.rollups.plans import Period
from app.domain.rollups.rows import CountedRow, add_rows, row_of
from app.domain.rollups.selections import CALENDAR, Cells, LocalClock, Selection
from app.domain.values.instants import DAY_MS, EARLIEST, HOUR_MS, LATEST, from_ms, to_ms
from app.domain.values.periods import period_days
from app.domain.values.zones import UTC, days_of
from app.store.codecs.rollups import head_id
from app.store.workspace import rollup_contents
from tests.business import Business
from tests.sealing import seal_events
from tests.store.workspace.counted import ZONES, store_events

pytestmark = pytest.mark.not_on_java("it has no $dateTrunc")
ALL_TIME = Selection(to_ms(EARLIEST), to_ms(LATEST))


def by_cell(rows: Iterable[CountedRow], selection: Selection, zone: ZoneInfo) -> dict[object, object]:
    def cell_of(row: CountedRow) -> int:
        if selection.clock is not None:
            weekday, hour = selection.clock.slot_at(row.start_ms, zone)
            return 24 * (weekday or 0) + (hour or 0)
        unit = CALENDAR.get(selection.cells)
        if selection.cells is Cells.HOUR:
            return days_of(zone).local_ms(row.start_ms) // HOUR_MS
        if unit is None:
            return 0 if selection.cells is Cells.TOTAL else row.start_ms - row.start_ms % 900_000
        return period_days(days_of(zone).day_of(row.start_ms), unit, selection.week_start)[0].toordinal()

    joined = add_rows(replace(row, start_ms=cell_of(row)) for row in rows)
    return {(row.start_ms, row.type, row.key): row.totals for row in joined}


def expected_rows(events: Iterable[Event], selection: Selection) -> list[CountedRow]:
    inside = [event for event in events if selection.from_ms <= event.occurred_ms < selection.to_ms]
    starts = (replace(row_of(event), start_ms=event.occurred_ms) for event in inside)
    return [row for row in starts if selection.selects(row)]


def is_pending(event: Event) -> bool:
    return int(event.id[-4:]) % 3 == 0


async def store_and_seal(business: Business, random: Random, count: int = 500) -> Sequence[Event]:
    events = await store_events(business, count)
    folded = [event for event in events if not is_pending(event)]
    hours = {Period(Level.HOUR, Level.HOUR.start_ms(event.occurred_ms)) for event in events}
    await seal_events(business, folded, random.sample(sorted(hours), len(hours) // 20))
    return events


async def test_rows_of_any_period_and_cells_equal_those_of_the_events(business: Business) -> None:
    random = Random(3)
    events = await store_and_seal(business, random)
    used = set()
    wanted = [*((cells, None) for cells in Cells), *((clock.cells, clock) for clock in LocalClock)]
    for cells, clock in [*wanted, *wanted]:
        zone = ZoneInfo(random.choice(ZONES))
        low, high = sorted(random.choice(events).occurred_ms + random.randrange(-DAY_MS, DAY_MS) for _ in range(2))
        selection = Selection(low, high, cells=cells, week_start=random.randrange(7), clock=clock)
        if random.random() < 0.4:
            selection = replace(
                selection, types=("purchase", "visit"), categories=(Category.TRANSACTION,), currency="EUR"
            )
        reading = await read_rows(business.ctx, selection, zone)
        assert by_cell(reading.rows, selection, zone) == by_cell(expected_rows(events, selection), selection, zone), (
            selection
        )
        assert (reading.freshness.exact, reading.freshness.pending_events) == (True, 0)
        used |= {name for name in ("months", "days", "hours", "event_hours") if getattr(reading.plan, name)}
    assert used == {"months", "days", "hours", "event_hours"}


async def test_rows_by_the_clock_do_not_grow_with_the_period(business: Business) -> None:
    [event, *_] = await store_events(business, 1)
    start_ms, zone = to_ms(datetime(2025, 1, 6, tzinfo=UTC)), ZoneInfo("Europe/Berlin")
    events = [
        replace(event, occurred_at=from_ms(start_ms + day * DAY_MS + hour * HOUR_MS + day % 4 * 900_000))
        for day in range(140)
        for hour in range(0, 24, 5)
    ]
    await seal_events(business, events)
    asked = Selection(start_ms, start_ms + 140 * DAY_MS, cells=Cells.HOUR, clock=LocalClock.WEEKDAY_AND_HOUR)
    for days in (70, 140):
        selection = replace(asked, to_ms=start_ms + days * DAY_MS)
        reading = await read_rows(business.ctx, selection, zone)
        assert by_cell(reading.rows, selection, zone) == by_cell(expected_rows(events, selection), selection, zone)
        # Seven days of the week in winter, seven in summer, and the day between them.
        assert len(reading.rows) <= 15 * 5
        assert reading.plan.days == days


async def mark_hour_of(business: Business, event: Event) -> None:
    """Mark the hour of an event, as the fold does before it clears the event."""
    start_ms, workspace_id = Level.HOUR.start_ms(event.occurred_ms), business.ctx.workspace.id
    fields = {"workspace": workspace_id, "level": "h", "start": from_ms(start_ms), "dirty": 9, "is_dirty": 1}
    where = {"_id": head_id(workspace_id, Level.HOUR, start_ms)}
    await business.ctx.resources.db["rollup_heads"].update_one(where, {"$set": fields}, upsert=True)


async def test_change_between_the_two_looks_makes_the_reading_read_again(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = await store_and_seal(business, Random(4), 150)
    store, db = business.ctx.workspace.rollups, business.ctx.resources.db
    original, calls = store.pending_rows, 0
    [*_, changed] = [event for event in events if is_pending(event)]

    async def fold_meanwhile(selection: Selection) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            await mark_hour_of(business, changed)
            await db["events"].update_one({"_id": changed.id}, {"$unset": {"pend": ""}})
        return await original(selection)

    monkeypatch.setattr(store, "pending_rows", fold_meanwhile)
    reading = await read_rows(business.ctx, ALL_TIME, UTC)
    assert calls == 2
    assert by_cell(reading.rows, ALL_TIME, UTC) == by_cell(expected_rows(events, ALL_TIME), ALL_TIME, UTC)


async def test_dirty_hours_beyond_the_bound_are_left_out_the_oldest_come_first(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = await store_events(business, 200)
    hours = sorted({Period(Level.HOUR, Level.HOUR.start_ms(event.occurred_ms)) for event in events})
    await seal_events(business, (), hours)
    monkeypatch.setattr(sealed, "MAX_EVENTS", 100)
    reading = await read_rows(business.ctx, ALL_TIME, UTC)
    end_ms = reading.freshness.computed_through_ms
    assert end_ms % HOUR_MS == 0
    until = replace(ALL_TIME, to_ms=end_ms)
    assert by_cell(reading.rows, until, UTC) == by_cell(expected_rows(events, until), until, UTC)
    assert 50 < sum(row.totals.count for row in reading.rows) <= 100
    assert not reading.freshness.exact
    with pytest.raises(InvalidInput, match="not sealed yet"):
        await read_rows(business.ctx, ALL_TIME, UTC, strong=True)
    monkeypatch.setattr(sealed, "MAX_EVENTS", 1_000)
    monkeypatch.setattr(sealed, "MAX_DIRTY", 20)
    reading = await read_rows(business.ctx, ALL_TIME, UTC)
    assert reading.freshness.computed_through_ms == hours[20].start_ms


async def test_events_that_wait_for_a_decision_or_are_parked_are_counted_as_pending(business: Business) -> None:
    events = await store_and_seal(business, Random(5), 60)
    db = business.ctx.resources.db
    [guarded, parked, *_] = [event for event in events if is_pending(event)]
    await db["events"].update_one({"_id": guarded.id}, {"$set": {"guard": {}, "origin.channel": "API"}})
    await db["events"].update_one({"_id": parked.id}, {"$set": {"pend": -2}})
    await db["passes"].insert_one(
        {"_id": parked.pass_id, "workspace": business.ctx.workspace.id, "parked": 1, "external_id": "x", "made_at": 5}
    )
    reading = await read_rows(business.ctx, ALL_TIME, UTC)
    rest = [event for event in events if event not in (guarded, parked)]
    assert by_cell(reading.rows, ALL_TIME, UTC) == by_cell(expected_rows(rest, ALL_TIME), ALL_TIME, UTC)
    oldest_ms = min(guarded.recorded_ms, parked.recorded_ms)
    assert (reading.freshness.pending_events, reading.freshness.exact) == (2, False)
    assert reading.freshness.computed_through_ms == min(oldest_ms, 5) - 1
    await db["workspaces"].update_one({"_id": business.ctx.workspace.id}, {"$set": {"marked": False}})
    from_events = await read_rows(business.ctx, ALL_TIME, UTC)
    assert by_cell(from_events.rows, ALL_TIME, UTC) == by_cell(reading.rows, ALL_TIME, UTC)
    assert from_events.freshness == reading.freshness


async def test_dirty_hours_are_listed_part_by_part_in_order_of_time(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, heads = Random(6), business.ctx.workspace.rollup_heads
    first_ms = to_ms(datetime(2001, 3, 4, tzinfo=UTC))
    hours = sorted({Period(Level.HOUR, first_ms + random.randrange(9_000) * HOUR_MS) for _ in range(60)})
    await seal_events(business, (), [*hours, Period(Level.DAY, first_ms), Period(Level.DAY, first_ms + 40 * DAY_MS)])
    monkeypatch.setattr(rollup_contents, "PART_MS", 70 * HOUR_MS)
    for old_ms in (rollup_contents.OLD_MS, 200 * 366 * DAY_MS):
        monkeypatch.setattr(rollup_contents, "OLD_MS", old_ms)
        for _ in range(5):
            low_ms, high_ms = sorted(first_ms + random.randrange(-500, 9_500) * HOUR_MS for _ in range(2))
            inside = [hour for hour in hours if low_ms <= hour.start_ms < high_ms]
            limit = random.randrange(1, 30)
            assert await heads.dirty(Level.HOUR, (low_ms, high_ms), limit) == inside[:limit]


async def test_dirty_hours_of_the_rest_of_a_month_do_not_concern_a_question_of_a_week(business: Business) -> None:
    [event] = await store_events(business, 1)
    start_ms = Level.MONTH.start_ms(event.occurred_ms)
    events = [replace(event, occurred_at=from_ms(start_ms + day * DAY_MS)) for day in range(28)]
    other_hour = Period(Level.HOUR, start_ms + 20 * DAY_MS + 5 * HOUR_MS)
    await seal_events(business, events, [other_hour])
    week = await read_rows(business.ctx, Selection(start_ms, start_ms + 7 * DAY_MS), UTC)
    assert (week.plan.days, week.plan.event_hours) == (7, 0)
