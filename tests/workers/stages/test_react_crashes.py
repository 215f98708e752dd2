"""Crashes, races and failures of react: each effect outside a pass is made once, and none keeps others waiting for long."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from app.clock import system_ms
from app.commands.points.receipts import receive_points
from app.commands.points.transfers import transfer_points
from app.domain.errors import StoreRefused
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import POINTS_TRANSFERRED
from app.domain.ids import outward_id
from app.store.mongo.paging import PageRequest
from app.store.stages.endpoint_leases import LEASE_MS, EndpointLeases
from app.store.workspace.events import EventQueries
from app.store.workspace.reactions import ReactionQueries
from tests.business import Business
from tests.crashes import Crash, CrashInjector
from tests.workers.stages.test_deliver_crashes import with_crashes
from workers.reactions import performing
from workers.reactions.outcomes import QueuedReactions
from workers.reactions.reactor import Reactor
from workers.stages.react import run_workspace
from workers.worker import Worker

NAMES = tuple(f"p{n}" for n in range(12))
STEPS = (
    (EndpointLeases, ("claim", "save_progress", "go_idle")),
    (EventQueries, ("insert",)),
    (ReactionQueries, ("announce_work", "park", "complete")),
)


class Bank:
    """Passes that send each other points, and a clock of react, which runs ahead of system time."""

    def __init__(self, business: Business) -> None:
        self.business, self.now_ms = business, system_ms()
        business.react = self.react  # type: ignore[method-assign]
        self.ids: dict[str, str] = {}
        self.sent: set[str] = set()

    async def open(self) -> None:
        """Create the passes, each with 1,000 points."""
        await self.business.record(
            *({"pass_external_id": name, "type": "point_add", "points": 1_000} for name in NAMES)
        )
        await self.business.run_worker()
        self.ids = await self.business.ctx.workspace.passes.ids_of(NAMES)

    async def send(self, random: Random, count: int) -> None:
        """Record some transfers."""
        for _ in range(count):
            first, second = random.sample(sorted(self.ids.values()), 2)
            name, points = f"t{len(self.sent)}", random.randint(1, 9)
            while name not in self.sent:
                with contextlib.suppress(Crash):
                    await transfer_points(self.business.ctx, first, second, points, name)
                    self.sent.add(name)

    async def react(self, after_ms: int = 0, worker: Worker | None = None) -> None:
        """Run react once, some time later."""
        self.now_ms = max(self.now_ms + after_ms, system_ms())
        resources = self.business.ctx.resources
        await run_workspace(
            worker or Worker.on(resources), self.business.ctx.workspace.id, lambda: self.now_ms, lambda: 0.5
        )

    async def find_problems(self) -> list[str]:
        """Return what is wrong after all work is done: each transfer has one second event, and no points are lost."""
        page = await self.business.ctx.workspace.events.page(
            EventQuery(types=(POINTS_TRANSFERRED,)), PageRequest(10_000)
        )
        sent = {each.id: each for each in page.items if each.points < 0}
        received = {each.id: each for each in page.items if each.points > 0}
        problems = [
            f"transfer {each.external_id} has no second event"
            for each in sent.values()
            if received.get(outward_id("event", each.id, 0)) is None
        ]
        if len(received) != len(sent):
            problems.append(f"{len(received)} second events for {len(sent)} transfers")
        if len(sent) != len(self.sent):
            problems.append(f"{len(sent)} of {len(self.sent)} transfers are recorded")
        total = sum([(await self.business.read_pass(name)).points for name in NAMES])
        if total != 1_000 * len(NAMES):
            problems.append(f"the passes have {total} points together")
        return problems


@pytest.fixture
async def bank(business: Business) -> Bank:
    """Return passes with points."""
    found = Bank(business)
    await found.open()
    return found


async def play(bank: Bank, monkeypatch: pytest.MonkeyPatch, seed: int, *, rounds: int = 4) -> list[str]:
    """Send points while workers crash at random steps, finish without crashes, and return what is wrong."""
    injector, random = CrashInjector(seed, 0.08), Random(seed)
    with monkeypatch.context() as crashing:
        for cls, names in STEPS:
            for name in names:
                crashing.setattr(cls, name, with_crashes(injector, getattr(cls, name)))
        played = 0
        while played < rounds or sum(injector.crashes.values()) < 2 * rounds:
            played += 1
            await bank.send(random, 10)
            for _ in range(3):
                with contextlib.suppress(Crash):
                    await bank.business.run_worker()
                bank.now_ms += LEASE_MS
                with contextlib.suppress(Crash):
                    await asyncio.gather(bank.react(), bank.react())
    bank.now_ms += 2 * LEASE_MS
    await bank.business.ctx.workspace.reactions.announce_work(0)
    for _ in range(2):
        await bank.react(LEASE_MS)
        await bank.business.run_worker()
    return await bank.find_problems()


@pytest.mark.parametrize("seed", range(3))
async def test_crashes_at_any_step_make_each_effect_once(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    assert await play(bank, monkeypatch, seed) == []


async def test_a_position_that_is_saved_before_the_effect_loses_effects(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the order of the two writes is what keeps an effect from being lost."""
    original = Reactor._react

    async def save_first(self: Reactor, queued: QueuedReactions) -> Any:
        positions = [
            queued.position + 1 if each.messages and each.messages[0] is queued else each.position
            for each in self._partitions.all
        ]
        await self._leases.save_progress(replace(self._progress, positions=tuple(positions)), self._now_ms())
        return await original(self, queued)

    monkeypatch.setattr(Reactor, "_react", save_first)
    problems: list[str] = []
    for seed in range(10):
        problems = problems or await play(bank, monkeypatch, seed, rounds=1)
    assert "no second event" in problems[0]


async def test_an_effect_that_the_store_refuses_is_parked_and_the_others_go_on(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is attempted at once, after 5 s and after 5 min. Then its partition goes on, and it is attempted again later."""
    await bank.send(Random(0), 30)
    refused: list[str] = []
    original = receive_points

    async def refuse_first(resources: Any, workspace: Any, reaction: Any, body: Any) -> Any:
        if not refused:
            refused.append(reaction.id)
        if reaction.id in refused:
            raise StoreRefused(13, "Unauthorized", "ref")
        return await original(resources, workspace, reaction, body)

    monkeypatch.setattr(performing, "receive_points", refuse_first)
    bank.now_ms += 1_000
    await bank.business.run_worker()
    reactions = bank.business.ctx.workspace.reactions
    began_ms = bank.now_ms
    while not (due := await reactions.due(10)):
        bank.now_ms = max(bank.now_ms, (await lane_of(bank))["at"])
        await bank.react()
    assert bank.now_ms - began_ms >= 305_000
    [parked] = due
    assert parked.reaction.id == refused[0]
    assert (parked.attempt_count, parked.refusal.code) == (4, "UNAVAILABLE")
    await bank.business.run_worker()
    assert len(await bank.find_problems()) == 3
    refused[0] = ""
    bank.now_ms = parked.due_ms or 0
    await bank.react()
    assert await reactions.due(10) == []
    await bank.business.run_worker()
    assert await bank.find_problems() == []


async def test_worker_that_lost_its_lease_makes_nothing_twice(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow worker goes on after another one has done its work."""
    await bank.send(Random(1), 20)
    bank.business.react = lambda: asyncio.sleep(0)  # type: ignore[method-assign]
    await bank.business.run_worker()
    bank.business.react = bank.react  # type: ignore[method-assign]
    may_go_on, has_begun = asyncio.Event(), asyncio.Event()

    async def wait_once(worker: Worker, workspace: Any, reaction: Any) -> Any:
        if worker is slow:
            has_begun.set()
            await may_go_on.wait()
        return await performing.attempt(worker, workspace, reaction)

    monkeypatch.setattr("workers.reactions.reactor.attempt", wait_once)
    slow = Worker.on(bank.business.ctx.resources)
    run = asyncio.create_task(bank.react(worker=slow))
    await asyncio.wait_for(has_begun.wait(), 30)
    await bank.react(LEASE_MS)
    may_go_on.set()
    await run
    await bank.business.run_worker()
    assert await bank.find_problems() == []


async def lane_of(bank: Bank) -> dict[str, Any]:
    """Return the stored progress of react."""
    found = await bank.business.ctx.resources.db["react_lanes"].find_one({"_id": bank.business.ctx.workspace.id})
    assert found is not None
    return dict(found)
