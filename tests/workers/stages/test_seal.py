"""Seal: contents equal the events that count, whatever happens meanwhile, and what no head names is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.clock import FixedClock, system_ms
from app.domain.errors import Unavailable
from app.domain.rollups.levels import Level
from app.domain.rollups.marks import HeadKey
from app.domain.rollups.rows import CountedRow, RowKey, Totals, add_rows, row_of
from app.domain.rollups.sealing import AT_ONCE, SealTask, Timing
from app.domain.values.instants import from_ms, to_ms
from app.resources import Resources
from app.store.codecs.events import from_doc
from app.store.codecs.rollups import ROW_FIELDS, head_id, row_from_doc, rows_from_docs
from app.store.mongo.queries import Doc
from app.store.stages.rollups import KEPT_MS, SealQueries
from app.store.workspace.rollup_heads import mark_heads
from tests.business import Business, open_business
from workers.seals import Seals
from workers.stages import seal
from workers.worker import Worker

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
AT = "occurred_at"


@pytest.fixture
async def business(resources: Resources) -> Business:
    clock = FixedClock(NOON + timedelta(days=40))
    business = await open_business(replace(resources, clock=clock), clock)
    business.worker.seals.timing = AT_ONCE
    return business


async def mark_all(business: Business) -> None:
    """Mark the hours of all events, as the fold does."""
    docs = (
        await business.ctx.resources.db["events"].find(in_workspace(business, **{AT: {"$exists": True}})).to_list(None)
    )
    keys = [HeadKey(business.ctx.workspace.id, Level.HOUR, Level.HOUR.start_ms(to_ms(doc[AT]))) for doc in docs]
    await mark_heads(business.ctx.resources.db, keys, 100)


async def record(business: Business, *items: dict[str, Any]) -> None:
    """Record and count events, and mark their hours."""
    await business.record(*items)
    await business.run_worker()
    await mark_all(business)


def in_workspace(business: Business, **conditions: Any) -> Doc:
    return {"workspace": business.ctx.workspace.id, **conditions}


async def seal_all(business: Business) -> None:
    await seal.seal(business.worker, business.ctx.workspace.id)


async def heads(business: Business) -> list[Doc]:
    return await business.ctx.resources.db["rollup_heads"].find(in_workspace(business)).to_list(None)


async def dirty(business: Business) -> list[str]:
    return sorted(f"{doc['level']} {doc['start']:%m-%d %H}" for doc in await heads(business) if "dirty" in doc)


async def rows(business: Business, level: Level) -> dict[tuple[int, str, RowKey], Totals]:
    """Return the rows of all valid contents of a level."""
    found: list[CountedRow] = []
    for head in await heads(business):
        if head["level"] == level.value and "sealed" in head:
            key = HeadKey(head["workspace"], level, to_ms(head["start"]))
            known = await business.worker.seal_queries.heads([key])
            [docs] = (await business.worker.seal_queries.contents(known)).values()
            found += rows_from_docs(docs, level, key.start_ms)
    return totals(found)


async def expected(business: Business, level: Level) -> dict[tuple[int, str, RowKey], Totals]:
    """Return the rows of the stored events, one by one."""
    docs = (
        await business.ctx.resources.db["events"].find(in_workspace(business, **{AT: {"$exists": True}})).to_list(None)
    )
    found = [row_of(from_doc(doc)) for doc in docs]
    return totals(add_rows(replace(row, start_ms=row.start_ms - row.start_ms % level.cell_ms) for row in found))


def totals(found: Sequence[CountedRow]) -> dict[tuple[int, str, RowKey], Totals]:
    return {(row.start_ms, row.type, row.key): row.totals for row in found}


def at(hours: float) -> str:
    return (NOON + timedelta(hours=hours)).isoformat()


async def test_hours_days_and_months_are_sealed_from_the_events(business: Business) -> None:
    spread = (0.0, 0.1, 0.3, 1.2, -13.0, -24.5, -24 * 20, 24 * 18)
    await record(
        business,
        *({"amount": f"{n + 1}.25", "points": n % 3, "currency": "EUR", AT: at(h)} for n, h in enumerate(spread)),
        *({"type": "visit", "source": f"till_{n % 2}", AT: at(h)} for n, h in enumerate(spread)),
    )
    await seal_all(business)
    assert await dirty(business) == []
    for level in Level:
        assert await rows(business, level) == await expected(business, level)
    levels = [doc["level"] for doc in await heads(business)]
    assert {level: levels.count(level) for level in levels} == {"h": 6, "d": 4, "m": 3}


async def test_row_of_a_document_equals_the_row_of_its_event(business: Business) -> None:
    await record(business, {"amount": 1, "points": 5}, {"type": "visit"}, {"type": "point_add", "points": "0.5"})
    events = business.ctx.resources.db["events"]
    whole = await events.find(in_workspace(business)).to_list(None)
    parts = await events.find(in_workspace(business), ROW_FIELDS).to_list(None)
    assert sorted(map(repr, map(row_from_doc, parts))) == sorted(repr(row_of(from_doc(doc))) for doc in whole)


async def test_only_changed_periods_are_sealed_again(business: Business) -> None:
    await record(business, {"amount": 1, AT: at(0)}, {"amount": 2, AT: at(1)}, {"amount": 3, AT: at(48)})
    await seal_all(business)
    before = {doc["_id"]: doc["sealed"] for doc in await heads(business)}
    workspace_id = business.ctx.workspace.id
    await mark_heads(business.ctx.resources.db, [HeadKey(workspace_id, Level.HOUR, to_ms(NOON))], 100)
    await seal_all(business)
    changed = {doc["_id"] for doc in await heads(business) if doc["sealed"] != before[doc["_id"]]}
    day, month = NOON.replace(hour=0), NOON.replace(day=1, hour=0)
    assert changed == {
        head_id(workspace_id, level, to_ms(start))
        for level, start in ((Level.HOUR, NOON), (Level.DAY, day), (Level.MONTH, month))
    }


async def test_hour_with_a_pending_event_is_left_and_a_parked_event_is_absent(business: Business) -> None:
    await record(business, {"amount": 1, AT: at(0)}, {"amount": 2, AT: at(1)})
    events = business.ctx.resources.db["events"]
    one = in_workspace(business, **{AT: NOON})
    await events.update_one(one, {"$set": {"pend": 5}})
    await seal_all(business)
    assert await dirty(business) == ["d 03-14 00", "h 03-14 12"]
    assert business.worker.seals.is_scheduled(business.ctx.workspace.id)
    await events.update_one(one, {"$set": {"pend": -6}})
    await seal_all(business)
    assert await dirty(business) == []
    assert [each.sum for each in (await rows(business, Level.MONTH)).values()] == [Decimal(2)]


async def test_hour_that_is_marked_while_it_is_sealed_stays_dirty(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seal that read the events before a change must not make its content valid."""
    await record(business, {"amount": 1, AT: at(0)})
    key = HeadKey(business.ctx.workspace.id, Level.HOUR, to_ms(NOON))
    insert = SealQueries.insert

    async def insert_late(self: SealQueries, *arguments: Any) -> None:
        monkeypatch.setattr(SealQueries, "insert", insert)
        await record(business, {"amount": 2, AT: at(0.1)})
        await insert(self, *arguments)

    monkeypatch.setattr(SealQueries, "insert", insert_late)
    await seal.seal_once(business.worker, key.workspace_id)
    assert await dirty(business) == ["d 03-14 00", "h 03-14 12"]
    await seal_all(business)
    assert await rows(business, Level.HOUR) == await expected(business, Level.HOUR)


async def test_seal_after_an_election_between_its_reads_makes_nothing_valid(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(business, {"amount": 1, AT: at(0)})
    elections = iter([1, 2])
    monkeypatch.setattr(Worker, "last_election", lambda self: next(elections))
    with pytest.raises(Unavailable):
        await seal_all(business)
    assert await dirty(business) == ["h 03-14 12"]


async def test_two_workers_that_seal_at_once_leave_equal_contents(business: Business) -> None:
    await record(business, *({"amount": n, AT: at(n)} for n in range(1, 5)))
    other = Worker.on(business.ctx.resources)
    other.seals.timing = AT_ONCE
    await asyncio.gather(*(seal.seal(worker, business.ctx.workspace.id) for worker in (business.worker, other)))
    await seal_all(business)
    assert await dirty(business) == []
    assert await rows(business, Level.DAY) == await expected(business, Level.DAY)


async def test_contents_that_no_head_names_are_deleted_after_a_day(business: Business) -> None:
    await record(business, {"amount": 1, AT: at(0)})
    await seal_all(business)
    await record(business, {"amount": 2, AT: at(0)})
    await seal_all(business)
    contents, now_ms = business.ctx.resources.db["rollups"], system_ms()
    assert await contents.count_documents(in_workspace(business)) == 6
    assert not await business.worker.seal_queries.drop_contents(now_ms, 1_000)
    assert await contents.count_documents(in_workspace(business)) == 6
    assert not await business.worker.seal_queries.drop_contents(now_ms + KEPT_MS + 60_000, 1_000)
    assert await contents.count_documents(in_workspace(business)) == 3
    assert await contents.count_documents(in_workspace(business, check_at={"$exists": True})) == 0
    assert await rows(business, Level.MONTH) == await expected(business, Level.MONTH)


async def test_content_that_a_slow_worker_may_still_make_valid_is_kept(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(business, {"amount": 1, AT: at(0)})

    async def stop(*_: object) -> int:
        raise Unavailable("store")

    commit = SealQueries.commit
    monkeypatch.setattr(SealQueries, "commit", stop)
    with pytest.raises(Unavailable):
        await seal_all(business)
    monkeypatch.setattr(SealQueries, "commit", commit)
    contents, later_ms = business.ctx.resources.db["rollups"], system_ms() + KEPT_MS + 60_000
    await business.worker.seal_queries.drop_contents(later_ms, 1_000)
    assert await contents.count_documents(in_workspace(business)) == 1
    await mark_all(business)
    await business.worker.seal_queries.drop_contents(later_ms + KEPT_MS, 1_000)
    assert await contents.count_documents(in_workspace(business)) == 0


async def test_hour_whose_content_is_missing_is_computed_again(business: Business) -> None:
    await record(business, {"amount": 1, AT: at(0)}, {"amount": 1, AT: at(1)})
    await seal_all(business)
    workspace_id = business.ctx.workspace.id
    hour, day = HeadKey(workspace_id, Level.HOUR, to_ms(NOON)), Level.DAY.start_ms(to_ms(NOON))
    await business.ctx.resources.db["rollups"].delete_many(
        {"_id": {"$regex": f"^{head_id(*hour)}".replace("|", r"\|")}}
    )
    await mark_heads(business.ctx.resources.db, [HeadKey(workspace_id, Level.DAY, day)], 100)
    await seal_all(business)
    await seal_all(business)
    assert await dirty(business) == []
    assert await rows(business, Level.HOUR) == await expected(business, Level.HOUR)


async def test_hour_that_has_not_ended_is_left_until_its_end(business: Business) -> None:
    business.worker.seals.timing = Timing(quiet=0.0)
    business.clock.set(from_ms(Level.MONTH.end_ms(to_ms(NOON)) + 40 * 86_400_000 - 60_000))
    now = await business.ctx.resources.clock.now()
    await record(business, {"amount": 1, AT: now.isoformat()})
    await seal_all(business)
    assert len(await dirty(business)) == 1
    business.clock.set(now + timedelta(minutes=1))
    await seal_all(business)
    assert await dirty(business) == []


async def test_type_names_with_bars_do_not_mix_contents(business: Business) -> None:
    await record(
        business, {"type": "a|1|b", "category": "CUSTOM", AT: at(0)}, {"type": "a", "category": "CUSTOM", AT: at(0)}
    )
    await seal_all(business)
    await business.worker.seal_queries.drop_contents(system_ms() + KEPT_MS + 60_000, 1_000)
    assert await rows(business, Level.DAY) == await expected(business, Level.DAY)


async def test_backlog_larger_than_a_look_is_sealed_by_several_looks(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dirty hours lie in two blocks with years between them. A look goes on where the last one has ended."""
    monkeypatch.setattr(seal, "MAX_DIRTY_PERIODS", 4)
    workspace_id, newest = business.ctx.workspace.id, to_ms(NOON)
    hours = [newest - ago * 3_600_000 for ago in (0, 1, 2, 30, 31, 32, 33, 60, 20_000, 20_001, 20_002, 20_003, 50_000)]
    await mark_heads(business.ctx.resources.db, [HeadKey(workspace_id, Level.HOUR, each) for each in hours], 100)
    found = await business.worker.seal_queries.dirty(workspace_id, 4)
    assert [each.start_ms for each in found] == hours[:4]
    for start in (0, 3, 7):
        near = await business.worker.seal_queries.dirty(workspace_id, 12, hours[start])
        assert [each.start_ms for each in near] == hours[:12]
    await seal_all(business)
    assert await dirty(business) == []
    assert len([doc for doc in await heads(business) if doc["level"] == "h" and "sealed" in doc]) == len(hours)


async def test_tasks_of_a_look_are_done_in_several_runs_but_not_when_they_are_old(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, workspace_id, seconds = business.worker, business.ctx.workspace.id, 0.0
    worker.seals = Seals(lambda: seconds)
    worker.seals.timing = replace(AT_ONCE, slice=1.0)
    keys = [HeadKey(workspace_id, Level.HOUR, to_ms(NOON) - day * 86_400_000) for day in range(4)]
    await mark_heads(business.ctx.resources.db, keys, 100)
    done, looks = [], []

    async def do_task(_: Worker, __: str, task: SealTask) -> int:
        nonlocal seconds
        seconds += 1.5
        done.append(task.start_ms)
        return 1

    look = seal.look

    async def count_looks(*arguments: Any) -> None:
        looks.append(seconds)
        await look(*arguments)

    monkeypatch.setattr(seal, "do_task", do_task)
    monkeypatch.setattr(seal, "look", count_looks)
    for _ in range(3):
        await seal_all(business)
    assert len(set(done)) == len(done) == 3
    assert looks == [0.0]
    seconds += seal.MAX_LOOK_AGE_SECONDS
    await seal_all(business)
    assert len(looks) == 2
    assert done[3] == done[0]
