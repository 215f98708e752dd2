"""Looks of the sweep for passes to be sealed."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

from app.store.stages.pass_periods import PassPeriodQueries
from tests.business import Business
from workers.seal_looks import SEAL_ALL_INTERVAL_SECONDS, SEAL_INTERVAL_SECONDS, SealLooks
from workers.stages.seal_passes import seal_passes
from workers.worker import Worker


class Times:
    """Time of the event loop, as the looks read it."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


async def test_passes_are_sealed_once_in_an_interval_and_after_a_crash(business: Business) -> None:
    sealed: list[str] = []
    times = Times()

    async def seal(worker: Worker, key: str) -> None:
        sealed.append(key)
        await seal_passes(worker, key)

    looks, workspace_id = SealLooks(business.worker, seal), business.ctx.workspace.id
    with patch.object(asyncio.get_running_loop(), "time", lambda: times.seconds):
        await looks.seal_passes()
        assert workspace_id in sealed, "the first look is at all workspaces"
        await business.record({"amount": 1})
        await business.run_worker()
        sealed.clear()
        await looks.seal_passes()
        assert sealed == []
        times.advance(SEAL_INTERVAL_SECONDS)
        await looks.seal_passes()
        assert sealed == [workspace_id]
        sealed.clear()
        times.advance(SEAL_INTERVAL_SECONDS)
        await looks.seal_passes()
        assert sealed == [], "nothing has changed since"
        # Another worker marked a pass and crashed.
        await business.ctx.resources.db["passes"].update_many({}, {"$set": {"dirty_months": [0], "dirty_from": 0}})
        times.advance(SEAL_ALL_INTERVAL_SECONDS)
        await looks.seal_passes()
        assert workspace_id in sealed
    assert await business.worker.pass_period_queries.dirty(workspace_id) == []


async def test_a_look_that_ends_early_goes_on_at_the_next(business: Business) -> None:
    await business.create_passes("ann", "bob")
    await business.record({"amount": 1}, {"pass_external_id": "bob", "amount": 1})
    await business.run_worker()
    looks, workspace_id = SealLooks(business.worker, seal_passes), business.ctx.workspace.id
    with (
        patch("workers.stages.seal_passes.SEAL_BATCH_SIZE", 1),
        patch("workers.stages.seal_passes._is_busy", return_value=True),
    ):
        for left in (1, 0, 0):
            await looks.seal_passes()
            assert len(await business.worker.pass_period_queries.dirty(workspace_id)) == left


async def test_nothing_is_sealed_before_passes_of_earlier_versions_are_marked(business: Business) -> None:
    await business.record({"amount": 1})
    await business.run_worker()
    with patch("app.store.stages.pass_periods.are_passes_marked", return_value=False):
        assert await PassPeriodQueries(business.ctx.resources.db, 100).dirty(business.ctx.workspace.id) == []
