"""Rollups agree with the events, also while both change, and damage is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from app.commands.events.event_types import update_event_type
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import delete_events
from app.domain.events.event_queries import EventQuery
from app.domain.rollups.levels import Level
from app.domain.rollups.sealing import AT_ONCE
from app.domain.values.instants import DAY_MS, to_ms
from app.store.operations.rollup_check import ComparedRollups, RollupCheck
from tests.business import Business
from workers.stages.run_job import jobs
from workers.stages.seal import seal

NOON = "2025-12-03T12:20:00Z"


@pytest.fixture
async def sealed(business: Business) -> Business:
    """Return a business with events of several hours, days and currencies, whose rollups are sealed."""
    await business.record(
        {"amount": "1.50", "occurred_at": NOON, "external_id": "first"},
        {"amount": "2.5", "points": 3, "occurred_at": "2025-12-03T12:21:00Z"},
        {"pass_external_id": "bob", "amount": 7, "currency": "JPY", "occurred_at": "2025-12-03T13:00:00Z"},
        {"pass_external_id": "bob", "type": "visit", "occurred_at": "2025-12-04T00:00:00Z"},
    )
    await business.run_worker()
    await seal_all(business)
    return business


async def seal_all(business: Business) -> None:
    """Seal all that is dirty."""
    business.worker.seals.timing = AT_ONCE
    await seal(business.worker, business.ctx.workspace.id)


async def compare(business: Business) -> dict[str, ComparedRollups]:
    """Compare the days and the month of the fixture."""
    check = RollupCheck(business.ctx.resources.db, business.ctx.workspace.id, 100)
    span = await check.span()
    assert span is not None
    first, last = map(Level.DAY.start_ms, span)
    found = {
        f"day {number}": await check.compare_day(
            start, is_marked=await business.ctx.workspace.rollup_heads.are_complete()
        )
        for number, start in enumerate(range(first, last + 1, DAY_MS))
    }
    return {**found, "month": await check.compare_month(Level.MONTH.start_ms(first))}


def texts_of(found: Mapping[str, ComparedRollups]) -> list[tuple[str, str, str]]:
    """Return level, text of what is stored and text of what the events give, for each difference."""
    return [
        (level.name, each.live, each.rebuilt)
        for compared in found.values()
        for (level, _), differences in compared.differences.items()
        for each in differences
    ]


async def test_sealed_rollups_agree_with_the_events(sealed: Business) -> None:
    found = await compare(sealed)
    assert texts_of(found) == []
    assert [each.compared for each in found.values()] == [3, 2, 1]
    assert [each.events for each in found.values()] == [3, 1, 0]
    assert sum(each.waiting + each.moving for each in found.values()) == 0


async def test_a_rollup_that_is_dirty_or_has_a_dirty_hour_is_not_compared(sealed: Business) -> None:
    await sealed.record({"amount": 1, "occurred_at": NOON})
    await sealed.run_worker()
    found = await compare(sealed)
    assert texts_of(found) == []
    assert [each.waiting for each in found.values()] == [2, 0, 1]
    assert [each.compared for each in found.values()] == [1, 2, 0]
    await seal_all(sealed)
    assert [each.compared for each in (await compare(sealed)).values()] == [3, 2, 1]


async def test_each_rollup_that_differs_is_found(sealed: Business) -> None:
    db = sealed.ctx.resources.db
    await db["events"].update_one({"amount": {"$exists": True}, "currency": "JPY"}, {"$set": {"source": "elsewhere"}})
    found = await compare(sealed)
    wrong, none = "count 1; sum 7; min 7; max 7", "nothing"
    assert sorted(texts_of(found)) == [
        ("DAY", wrong, none), ("DAY", none, wrong), ("HOUR", wrong, none), ("HOUR", none, wrong)
    ]  # fmt: skip
    assert found["month"].differences == {}


async def test_a_month_that_differs_from_its_days_is_found(sealed: Business) -> None:
    db = sealed.ctx.resources.db
    month = await db["rollups"].find_one({"_id": {"$regex": r"\|m\|"}, "type": "visit"})
    assert month is not None
    await db["rollups"].delete_one({"_id": month["_id"]})
    [difference] = (await compare(sealed))["month"].differences.values()
    assert [(each.what, each.live) for each in difference] == [("the content", "missing")]
    await db["rollups"].insert_one({**month, "type": "other"})
    assert len(texts_of({"month": (await compare(sealed))["month"]})) == 2


async def test_rows_of_dimensions_that_differ_are_found(business: Business) -> None:
    city = {"name": "store.city", "type": "TEXT", "dimension": True}
    await update_event_type(business.ctx, "purchase", attributes=[city])
    for minute, name in enumerate(("Bonn", "Bonn", "Köln", None)):
        metadata = {} if name is None else {"metadata": {"store": {"city": name}}}
        await business.record({"amount": 2, "occurred_at": f"2025-12-03T12:0{minute}:00Z", **metadata})
    await business.run_worker()
    await seal_all(business)
    db = business.ctx.resources.db
    held = await db["rollup_heads"].find_one({"level": "m", "dimensions": {"$exists": True}})
    assert held is not None, "the month holds the dimension"
    assert texts_of(await compare(business)) == []
    where = {"metadata.store.city": "Köln"}
    await db["events"].update_one(where, {"$set": {"metadata.store.city": "Bonn"}})
    found = await compare(business)
    differences = [(level.name, own) for each in found.values() for (level, _), own in each.differences.items()]
    texts = [(level, each.what) for level, own in differences for each in own]
    named = [
        f"purchase with {name} of store.city in USD from 2025-12-03T12:00:00.000Z" for name in ('"Bonn"', '"Köln"')
    ]
    assert sorted(texts) == sorted((level, text) for level in ("HOUR", "DAY") for text in named)
    await db["events"].update_one({}, {"$set": {"metadata.store.city": ["Bonn", "Köln"]}})
    [hour, day] = (await compare(business))["day 0"].differences.values()
    assert [(each.what, each.live) for each in (*hour, *day)] == 2 * [("the dimension store.city", "held")]
    month = await db["rollups"].find_one({"_id": {"$regex": r"\|m\|"}, "type": {"$regex": "^#"}})
    assert month is not None
    await db["rollups"].delete_one({"_id": month["_id"]})
    [difference] = (await compare(business))["month"].differences.values()
    assert [(each.what, each.live) for each in difference] == [("the content", "missing")]


async def test_an_hour_with_events_and_without_a_head_is_found(sealed: Business) -> None:
    db = sealed.ctx.resources.db
    await db["rollup_heads"].delete_one({"_id": {"$regex": r"\|h\|"}})
    found = await compare(sealed)
    assert [text[:2] for text in texts_of(found)] == [("HOUR", "missing")]
    await db["workspaces"].update_one({"_id": sealed.ctx.workspace.id}, {"$unset": {"marked": ""}})
    assert texts_of(await compare(sealed)) == []


async def test_work_under_way_is_no_difference(sealed: Business) -> None:
    """A removal whose event is gone and whose hour is not marked yet, and a merge that has moved events."""
    db, ctx = sealed.ctx.resources.db, sealed.ctx
    ann, bob = await sealed.read_pass("ann"), await sealed.read_pass("bob")
    await merge_passes(ctx, bob.id, ann.id)
    assert texts_of(await compare(sealed)) == []
    await sealed.run_worker()
    await seal_all(sealed)
    assert [each.compared for each in (await compare(sealed)).values()] == [3, 2, 1]
    job, _ = await delete_events(ctx, EventQuery(types=("visit",)))
    assert job is not None
    await jobs(sealed.worker, job.id)
    event = await db["events"].find_one({"type": "visit"})
    assert event is not None
    # The fold crashes after it has emptied the event, before it marks the hour.
    await db["events"].update_one(
        {"_id": event["_id"]}, {"$set": {"removed": event["occurred_at"]}, "$unset": {"occurred_at": ""}}
    )
    found = await compare(sealed)
    assert (texts_of(found), sum(each.moving for each in found.values())) == ([], 2)


async def test_rollup_that_is_sealed_anew_during_the_comparison_is_looked_at_again(
    sealed: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RollupCheck._read_day
    looks = 0

    async def change_meanwhile(self: RollupCheck, day_ms: int, kinds: Sequence[str]) -> Any:
        nonlocal looks
        looks += 1
        if looks == 1:
            await sealed.record({"amount": 1, "occurred_at": NOON})
            await sealed.run_worker()
            await seal_all(sealed)
        return await original(self, day_ms, kinds)

    monkeypatch.setattr(RollupCheck, "_read_day", change_meanwhile)
    check = RollupCheck(sealed.ctx.resources.db, sealed.ctx.workspace.id, 100)
    span = await check.span()
    assert span is not None
    found = await check.compare_day(Level.DAY.start_ms(span[0]), is_marked=True)
    assert (looks, found.compared, found.events, found.differences, found.moving) == (2, 3, 4, {}, 0)
    assert to_ms(await sealed.clock.now()) > span[1]
