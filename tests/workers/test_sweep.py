"""The sweep of a worker: what runs for long keeps nothing else waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

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


def limit_runs(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[tuple[str, str]]]:
    """Let a run end after 20 s. Return the time in seconds, which a test sets, and the wake-ups that are sent."""
    clock, woken = [100.0], list[tuple[str, str]]()
    monkeypatch.setattr("workers.worker.MAX_RUN_SECONDS", 20.0)
    monkeypatch.setattr("workers.worker.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(worker.resources.bus, "wake", lambda *call: woken.append(call))
    return clock, woken


async def test_run_with_work_without_end_ends_and_a_wake_up_continues_it(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, rounds = business.worker, list[float]()
    clock, woken = limit_runs(worker, monkeypatch)

    async def find_more() -> bool:
        clock[0] += 8
        rounds.append(clock[0])
        return True

    await worker.run_alone("publish", "ws_1", find_more)
    assert (len(rounds), woken) == (3, [("publish", "ws_1")])
    assert not worker.is_running("publish", "ws_1")


async def test_run_that_was_asked_for_during_the_last_round_of_another_is_not_lost(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, rounds = business.worker, list[float]()
    clock, woken = limit_runs(worker, monkeypatch)

    async def ask_again() -> bool:
        clock[0] += 15
        rounds.append(clock[0])
        await worker.run_alone("publish", "ws_1", ask_again)
        return False

    await worker.run_alone("publish", "ws_1", ask_again)
    assert (len(rounds), woken) == (2, [("publish", "ws_1")])


async def test_workspace_with_work_without_end_does_not_keep_others_from_being_published(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = business.ctx.resources
    worker = Worker.on(replace(resources, settings=replace(resources.settings, sweep_seconds=0.01)))
    monkeypatch.setattr("workers.worker.MAX_RUN_SECONDS", 0.01)
    monkeypatch.setattr(worker.resources.bus, "wake", lambda *_: None)
    runs, stopping, other_ran = Counter[str](), asyncio.Event(), asyncio.Event()

    async def waiting_workspaces() -> set[str]:
        return {"long", "other"} if runs["long"] else {"long"}

    async def publish(worker: Worker, key: str) -> None:
        async def once() -> bool:
            await asyncio.sleep(0)
            runs[key] += 1
            if key == "other":
                other_ran.set()
            return key == "long"

        await worker.run_alone("publish", key, once)

    monkeypatch.setattr(worker.publish_queries, "waiting_workspaces", waiting_workspaces)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running(Sweep(worker, {**STAGES, "publish": publish}).run(stopping), stopping),
    ):
        await other_ran.wait()
