"""The log is dense and says everything once, whoever races or dies."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from app.flow import SLOT_RANGES
from tests.business import Business
from workers.main import GUARDED
from workers.stages.fold import fold_once
from workers.stages.publish import ENTRIES_PER_PASS, publish_once
from workers.sweep import Sweep
from workers.worker import Worker


async def folded(business: Business, count: int) -> None:
    await business.record(*({"amount": 1, "pass_external_id": f"p{i % 5}"} for i in range(count)))
    await fold_all(business)


async def fold_all(business: Business) -> None:
    for key in SLOT_RANGES:
        while await fold_once(business.worker, key):
            pass


async def assert_the_log_says_everything_once(business: Business, count: int) -> None:
    feed = await business.feed()
    assert [a.position for a in feed] == list(range(1, count + 1))
    for pass_id in {a.pass_id for a in feed}:
        numbers = [a.pass_sequence for a in feed if a.pass_id == pass_id]
        assert numbers == list(range(1, len(numbers) + 1))
    assert await business.ctx.resources.db["passes"].count_documents({"pub": {"$gte": 0}}) == 0
    assert await business.ctx.resources.db["passes"].count_documents({"out.n": {"$gte": 0}}) == 0


async def test_publishers_that_race_leave_no_hole_and_no_double(business: Business) -> None:
    racers = [Worker.on(business.ctx.resources) for _ in range(4)]
    for _ in range(5):
        await folded(business, 20)
        await asyncio.gather(*(publish_once(worker, business.ctx.workspace.id) for worker in racers))
    while await publish_once(business.worker, business.ctx.workspace.id):
        pass
    await assert_the_log_says_everything_once(business, 105)


@pytest.mark.parametrize("dies_before", ["append", "published"])
async def test_a_publisher_that_dies_is_made_up_for(
    business: Business, monkeypatch: pytest.MonkeyPatch, dies_before: str
) -> None:
    class Killed(BaseException):
        pass

    async def killed(*_: Any) -> None:
        raise Killed

    await folded(business, 20)
    target = business.worker.publish_queries if dies_before == "published" else type(business.ctx.workspace.activities)
    with monkeypatch.context() as dying:
        dying.setattr(target, dies_before, killed)
        with pytest.raises(Killed):
            await publish_once(business.worker, business.ctx.workspace.id)
    await folded(business, 10)
    await business.settle()
    await assert_the_log_says_everything_once(business, 35)


async def test_what_a_fold_adds_while_publishing_stays_announced(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await folded(business, 5)
    published = business.worker.publish_queries.published

    async def interrupted(up_to: Any) -> None:
        await folded(business, 5)
        await published(up_to)

    with monkeypatch.context() as during:
        during.setattr(business.worker.publish_queries, "published", interrupted)
        await publish_once(business.worker, business.ctx.workspace.id)
    assert await business.ctx.resources.db["passes"].count_documents({"pub": {"$gte": 0}}) == 5
    await business.settle()
    await assert_the_log_says_everything_once(business, 15)


async def test_what_a_round_takes_is_bounded_and_still_in_order_of_recording(business: Business) -> None:
    """However far publishing is behind: 200 passes with 1,000 entries each would not fit into memory at once."""
    await business.record(*({"pass_external_id": "ann"} for _ in range(2 * ENTRIES_PER_PASS)))
    await fold_all(business)
    business.clock.set(datetime(2026, 1, 2, tzinfo=UTC))
    await business.record({"pass_external_id": "bob"})
    await fold_all(business)
    published = []
    while await publish_once(business.worker, business.ctx.workspace.id):
        published.append(await business.ctx.workspace.activities.last_pos())
    assert published == [ENTRIES_PER_PASS, 2 * ENTRIES_PER_PASS, 2 * ENTRIES_PER_PASS + 3]
    recorded = [activity.recorded_at for activity in await business.feed()]
    assert recorded == sorted(recorded)


async def test_what_the_sweep_fails_to_look_after_is_looked_after_again(business: Business) -> None:
    resources = business.ctx.resources
    often = dataclasses.replace(resources, settings=dataclasses.replace(resources.settings, sweep_seconds=0.01))
    worker, stopping, looks = Worker.on(often), asyncio.Event(), 0

    async def broken() -> set[str]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise KeyError("unexpected")
        stopping.set()
        return set()

    worker.publish_queries.waiting_workspaces = broken  # type: ignore[method-assign]
    await asyncio.wait_for(Sweep(worker, GUARDED).run(stopping), 10)
    assert looks > 1
