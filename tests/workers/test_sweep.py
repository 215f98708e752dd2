"""The sweep of a worker: what runs for long keeps nothing else waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from app.flow import SLOT_RANGES
from tests.business import Business
from tests.patience import PATIENCE_SECONDS, running
from workers.main import STAGES
from workers.sweep import Sweep
from workers.worker import Worker


async def test_range_with_a_long_backlog_does_not_keep_the_other_ranges_waiting(business: Business) -> None:
    resources = business.ctx.resources
    worker = Worker.on(replace(resources, settings=replace(resources.settings, sweep_seconds=0.01)))
    runs, stopping, others_ran = Counter[str](), asyncio.Event(), asyncio.Event()
    long, *others = SLOT_RANGES

    async def fold(_: Worker, key: str) -> None:
        runs[key] += 1
        if all(runs[each] > 3 for each in others):
            others_ran.set()
        if key == long:
            await others_ran.wait()

    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running(Sweep(worker, {**STAGES, "fold": fold}).run(stopping), stopping),
    ):
        await others_ran.wait()
        assert runs[long] == 1
