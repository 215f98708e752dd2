"""Laps: due and backfill read a long backlog seldom, and advance each pass once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest

from app.commands.segments import create_segment
from app.domain.values.instants import to_ms
from app.flow import SLOT_RANGES, bounds_of
from tests.backlogs import ExaminedCollection, insert_passes
from tests.business import Business, spent
from workers.stages.backfill import backfill, backfill_once
from workers.stages.due import due, due_once
from workers.worker import Worker

PASSES = 200
START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("due", "backfill"):
        monkeypatch.setattr(f"workers.stages.{stage}.LOOK_SIZE", 100)
        monkeypatch.setattr(f"workers.stages.{stage}.{stage.upper()}_BATCH_SIZE", 10)


def examine(queries: Any) -> list[int]:
    """Return the list to which each read of waiting passes adds what it examines."""
    queries._passes = ExaminedCollection(queries._passes)
    return queries._passes.examined  # type: ignore[no-any-return]


async def read_versions(business: Business) -> list[int]:
    return [doc["v"] async for doc in business.ctx.resources.db["passes"].find({}, {"v": 1})]


async def test_backfill_reads_a_long_backlog_once_for_many_rounds(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Passes are in slots by chance. The read that counts those of one slot would find a different number in each run.
    monkeypatch.setattr("app.store.stages.fold.is_small_workspace", AsyncMock(return_value=True))
    await insert_passes(business, PASSES)
    examined = examine(business.worker.fold_queries)
    await create_segment(business.ctx, "rich", "Rich", spent(200))
    await backfill(business.worker, business.ctx.workspace.id)
    assert await read_versions(business) == [1] * PASSES
    assert await business.worker.fold_queries.workspaces_behind() == {}
    assert examined == [200, 100, 0], "one read for ten rounds; the last one finds that nothing is behind"


async def test_no_read_of_backfill_examines_all_passes_of_a_large_workspace(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Passes are in slots by chance. A workspace with an empty slot would count as small.
    monkeypatch.setattr("app.store.stages.fold.is_small_workspace", AsyncMock(return_value=False))
    monkeypatch.setattr("workers.stages.backfill.LOOK_SIZE", 40)
    await insert_passes(business, PASSES)
    slots = Counter([doc["slot"] async for doc in business.ctx.resources.db["passes"].find({}, {"slot": 1})])
    examined = examine(business.worker.fold_queries)
    examined_by_drop = examine(business.worker.superseded_queries)
    await create_segment(business.ctx, "rich", "Rich", spent(200))
    await backfill(business.worker, business.ctx.workspace.id)
    assert await read_versions(business) == [1] * PASSES
    assert await business.worker.fold_queries.workspaces_behind() == {}
    assert max(examined + examined_by_drop) <= max(slots.values())
    assert sum(examined) <= PASSES + 4 * slots[0], "one lap reads each pass once"


async def test_due_reads_a_long_backlog_once_for_many_rounds(business: Business) -> None:
    await insert_passes(business, PASSES, due_ms=[to_ms(START)])
    business.clock.set(LATER)
    examined = examine(business.worker.fold_queries)
    for key in SLOT_RANGES:
        await due(business.worker, key)
    assert await read_versions(business) == [1] * PASSES
    assert len(examined) <= 4 * len(SLOT_RANGES), "a read for many of the 20 rounds or more"
    assert await business.worker.fold_queries.due(0, 63, to_ms(LATER), 1) == []


async def test_due_reads_passes_that_wait_for_the_fold_once_for_many_looks(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import creates passes faster than the fold counts their events, and each of them is due."""
    monkeypatch.setattr("workers.laps.BLOCKED_PER_LOOK", 10)
    await business.record(*({"pass_external_id": f"p{number}"} for number in range(PASSES)))
    business.clock.set(LATER)
    worker, key = business.worker, SLOT_RANGES[0]
    low, high = bounds_of(key)
    waiting = len(await worker.fold_queries.due(low, high, to_ms(LATER), PASSES))
    looks = waiting // 10
    assert looks > 2
    examined = examine(worker.fold_queries)

    async def look_while_the_fold_is_under_way() -> bool:
        for _ in range(looks + 1):
            await due(worker, key)
        return False

    await worker.run_alone("fold", key, look_while_the_fold_is_under_way)
    assert examined == [waiting, *[0] * (looks - 1), waiting], "a new lap after one look for each 10 passes"
    await due(worker, key)
    assert examined[-1] == waiting, "with the fold at rest, each look begins a new lap"
    await business.run_worker()
    assert await worker.fold_queries.due(0, 63, to_ms(LATER), 1) == []


async def test_due_reads_all_passes_again_although_an_import_goes_on(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow creation stores a pass that was due before the last look. At each look, more passes wait for the fold."""
    for name in ("BLOCKED_PER_LOOK", "MAX_LOOKS"):
        monkeypatch.setattr(f"workers.laps.{name}", 5)
    monkeypatch.setattr("workers.stages.due.STORED_LATE_MS", 0)
    worker, key, late_ids = business.worker, SLOT_RANGES[0], set[str]()

    async def look_while_an_import_goes_on() -> bool:
        for look in range(12):
            business.clock.set(LATER + timedelta(seconds=10 * look))
            await business.record(*({"pass_external_id": f"p{look}-{number}"} for number in range(60)))
            business.clock.set(LATER + timedelta(seconds=10 * look + 5))
            await due(worker, key)
            if look == 1:
                late_ids.update(await insert_passes(business, 60, due_ms=[to_ms(LATER)]))
        return False

    await worker.run_alone("fold", key, look_while_an_import_goes_on)
    due_ids = {each.pass_id for each in await worker.fold_queries.due(*bounds_of(key), to_ms(LATER), PASSES)}
    assert len(late_ids) == 60
    assert not late_ids & due_ids


async def test_due_sees_a_pass_that_is_stored_late_at_the_next_look_of_an_import(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A creation stores a pass a few seconds after its due instant, which the look before has read already."""
    monkeypatch.setattr("workers.laps.BLOCKED_PER_LOOK", 1)
    worker, key = business.worker, SLOT_RANGES[0]
    await business.record(*({"pass_external_id": f"p{number}"} for number in range(PASSES)))

    async def look_while_an_import_goes_on() -> bool:
        for look in range(8):
            now = LATER + timedelta(seconds=2 * look)
            late_ids = await insert_passes(business, 60, due_ms=[to_ms(now - timedelta(seconds=5))])
            business.clock.set(now)
            await due(worker, key)
            due_ids = {each.pass_id for each in await worker.fold_queries.due(*bounds_of(key), to_ms(now), PASSES)}
            assert not due_ids & set(late_ids), look
            assert due_ids, "the passes of the import wait for the fold"
        return False

    await worker.run_alone("fold", key, look_while_an_import_goes_on)
    assert worker.laps["due", key].looks == 2 * 8, "one lap: a look that saves something is followed by another"


async def test_due_asks_once_for_the_pending_events_of_a_blocked_pass(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.laps.BLOCKED_PER_LOOK", 4)
    monkeypatch.setattr("workers.laps.MAX_LOOKS", 3)
    worker, key = business.worker, SLOT_RANGES[0]
    await business.record(*({"pass_external_id": f"p{number}"} for number in range(PASSES)))
    business.clock.set(LATER)
    blocked = len(await worker.fold_queries.due(*bounds_of(key), to_ms(LATER), PASSES))
    asked: list[int] = []
    with_pending = worker.fold_queries.with_pending

    async def observe(workspace_ids: Mapping[str, str]) -> set[str]:
        asked.append(len(workspace_ids))
        return await with_pending(workspace_ids)

    monkeypatch.setattr(worker.fold_queries, "with_pending", observe)

    async def look_while_an_import_goes_on() -> bool:
        for _ in range(7):
            await due(worker, key)
        return False

    await worker.run_alone("fold", key, look_while_an_import_goes_on)
    assert sum(asked) == blocked + 6 * 4


async def test_passes_for_which_a_round_has_no_time_are_not_read_again(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert_passes(business, PASSES // 4, due_ms=[to_ms(START)])
    business.clock.set(LATER)
    monkeypatch.setattr("workers.stages.shares.SLICE_SECONDS", 1e-9)
    examined = examine(business.worker.fold_queries)
    for key in SLOT_RANGES:
        await due(business.worker, key)
    assert await read_versions(business) == [1] * (PASSES // 4), "one pass in each round"
    assert len(examined) <= 2 * len(SLOT_RANGES)


async def test_lap_leaves_out_passes_that_another_worker_has_advanced(business: Business) -> None:
    await insert_passes(business, PASSES, due_ms=[to_ms(START)])
    business.clock.set(LATER)
    slow = Worker.on(business.ctx.resources)
    await due_once(slow, SLOT_RANGES[0])
    for key in SLOT_RANGES:
        await due(business.worker, key)
    await due(slow, SLOT_RANGES[0])
    assert await read_versions(business) == [1] * PASSES

    await create_segment(business.ctx, "rich", "Rich", spent(200))
    await backfill_once(slow, business.ctx.workspace.id)
    await backfill(business.worker, business.ctx.workspace.id)
    await backfill(slow, business.ctx.workspace.id)
    assert await read_versions(business) == [2] * PASSES


async def test_backfill_begins_a_new_lap_after_another_definition(business: Business) -> None:
    await insert_passes(business, PASSES)
    workspace_id = business.ctx.workspace.id
    await create_segment(business.ctx, "rich", "Rich", spent(200))
    await backfill_once(business.worker, workspace_id)
    last = await create_segment(business.ctx, "poor", "Poor", spent(2))
    await backfill(business.worker, workspace_id)
    assert await business.ctx.workspace.segments.evaluated_counts([last.revision]) == {last.revision: (PASSES, PASSES)}
    assert await business.worker.fold_queries.workspaces_behind() == {}
