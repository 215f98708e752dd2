"""One run of the model: a business that records and defines, workers that race and die, a reader who reads along.

The business records what happens just before it does, then lets the clock go there; so nothing is late, and an oracle
that knows no arrivals says when every flip was. Where the run has late events too, the oracle only says who is in which
segment at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, cast
from unittest.mock import patch

from app.clock import FixedClock
from app.commands.context import Context
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings
from app.domain.activities import Activity
from app.domain.actors import SCOPES, Actor
from app.domain.errors import Unavailable
from app.domain.values.instants import to_ms
from app.resources import Resources
from app.store.cache import WorkspaceCache
from workers.stages import backfill, due, erase, fold, merge, publish
from workers.worker import Worker

from .memory import Memory
from .schedule import Odds, QuietLoop, Schedule
from .script import START, Script
from .truth import Truth

RANGES = ("0-31", "32-63")
TURNS = 30_000
SMALL = {
    "workers.stages.fold.FOLD_BATCH_SIZE": 6,
    "workers.stages.fold.MAX_EVENTS_PER_PASS": 3,
    "workers.stages.fold.MAX_IDS_CHECKED": 8,
    "workers.stages.due.DUE_BATCH_SIZE": 2,
    "workers.stages.backfill.BACKFILL_BATCH_SIZE": 2,
    "workers.stages.publish.PASSES_PER_ROUND": 2,
    "workers.stages.publish.PUBLISH_BATCH_SIZE": 3,
    "workers.stages.publish.ENTRIES_PER_PASS": 4,
    "workers.stages.advance.MAX_OUTBOX_ENTRIES": 12,
    "workers.stages.erase.CACHE_EXPIRY_SECONDS": 0.0,
    "app.domain.state.measures.MAX_EXPIRING": 2,
    "app.domain.fold.derived.MAX_EXPIRING": 2,
    "app.store.stages.fold.MAX_EXPIRING": 2,
    "app.store.stages.fold.HISTORY_BATCH_SIZE": 3,
}
"""Bounds so low that a few events meet them all."""


class Silent:
    """A bus that carries nothing: every wake-up is lost."""

    def wake(self, stage: str, *keys: object) -> None:
        """Nobody hears it."""

    async def publish(self, topic: str, message: object) -> None:
        """Nobody hears it."""


@dataclass(frozen=True)
class Seen:
    """What a run went through, for who wants to know that enough happened."""

    turns: int
    deaths: int
    flips: int
    events: int


class World:
    """A store, a clock, and the processes over them. Workers below the number `slow` often wait for long."""

    def __init__(
        self, seed: int, odds: Odds, *, workers: int = 3, slow: int = 1, late: bool = False, merging: bool = False
    ) -> None:
        self.random = Random(seed)
        self.schedule = Schedule(Random(seed + 1), odds)
        self.db = Memory(self.schedule)
        self.clock = FixedClock(START)
        # What comes to a pass by a merge comes late.
        self.late, self.workers, self.slow = late or merging, workers, slow
        self.script = Script(self.random, self.clock, late=late, merging=merging)
        self.read: list[Activity] = []
        self.open = True

    async def run(self) -> Seen:
        """What happened. Raises AssertionError where something is not as it must be."""
        await self.found()
        self.schedule.live("business", self.business)
        for number in range(self.workers):
            life = partial(self.work, Random(self.random.random()))
            self.schedule.live(f"worker {number}", life, slow=number < self.slow)
        self.schedule.live("reader", self.tail)
        await self.schedule.run(TURNS)
        self.schedule.calm()
        self.schedule.live("last worker", self.settle)
        await self.schedule.run(TURNS)
        return Seen(self.schedule.turns, self.schedule.deaths, await self.flips(), len(self.db["events"].docs))

    async def found(self) -> None:
        """Makes the workspace."""
        profile, _ = await create_workspace(self.process(), "Model")
        self.workspace_id = profile.id

    def process(self) -> Resources:
        """The resources of one process: they share the store and the clock, and remember for themselves."""
        return Resources(
            cast(Any, self.db),
            cast(Any, None),
            self.clock,
            Settings(),
            cast(Any, Silent()),
            in_chunk=2,
            cache=WorkspaceCache(),
        )

    def context(self) -> Context:
        """A request to a process that has just begun."""
        resources = self.process()
        actor = Actor(self.workspace_id, "key_model", "model", frozenset(SCOPES))
        return Context(resources.workspace(self.workspace_id), actor, resources)

    async def business(self) -> None:
        """One life of the business: what is left of its script."""
        await self.script.play(self.context())
        self.open = False

    async def work(self, choices: Random) -> None:
        """One life of a worker: two things at once, whatever comes to its mind."""
        worker = Worker.on(self.process())
        await asyncio.gather(*(self.rounds(worker, choices) for _ in range(2)))

    async def rounds(self, worker: Worker, choices: Random) -> None:
        """One stage after another, while the business is open."""
        while self.open:
            try:
                await choices.choice(self.stages(worker))()
            except Unavailable:
                continue

    def stages(self, worker: Worker) -> list[Callable[[], Awaitable[None]]]:
        """Every stage, as a wake-up or a sweep runs it."""
        return [
            *(partial(fold.fold, worker, key) for key in RANGES),
            *(partial(due.due, worker, key) for key in RANGES),
            partial(backfill.backfill, worker, self.workspace_id),
            partial(publish.publish, worker, self.workspace_id),
            partial(self.merge, worker),
            partial(self.erase, worker),
        ]

    async def merge(self, worker: Worker) -> None:
        """What the sweep does about merged passes."""
        for pass_id in await worker.merge_queries.waiting():
            await merge.merge(worker, pass_id)

    async def erase(self, worker: Worker) -> None:
        """What the sweep does about erased passes."""
        for pass_id in await worker.erase_queries.waiting():
            await erase.erase(worker, pass_id)

    async def settle(self) -> None:
        """A worker that is left alone, until nothing is left to do; then the rest is read."""
        worker = Worker.on(self.process())
        while not await self.settled():
            for stage in self.stages(worker):
                await stage()
        ctx = self.context()
        while await self.tailed(ctx):
            pass

    async def settled(self) -> bool:
        """Whether nothing waits for anybody."""
        now_ms = to_ms(await self.clock.now())
        rev = max((doc["rev"] for doc in self.db["definitions"].docs.values()), default=0)
        cards = self.db["passes"].docs.values()
        return not (
            any("pend" in doc for doc in self.db["events"].docs.values())
            or any("pub" in doc or "erasing" in doc or "merging" in doc for doc in cards)
            or any(doc.get("due", now_ms + 1) <= now_ms or doc.get("rev", rev) < rev for doc in cards)
        )

    async def tail(self) -> None:
        """One life of a reader, who reads the log as it grows."""
        ctx = self.context()
        while self.open:
            await self.tailed(ctx)

    async def tailed(self, ctx: Context) -> bool:
        """Whether there was more to read."""
        try:
            found = await ctx.workspace.activities.after(len(self.read), 3)
        except Unavailable:
            return True
        assert [a.position for a in found] == list(range(len(self.read) + 1, len(self.read) + len(found) + 1)), "a hole"
        self.read += found
        return bool(found)

    async def flips(self) -> int:
        """How many flips there were, after everything was held against the truth. Raises AssertionError."""
        return Truth(self.db, self.script, to_ms(await self.clock.now())).check(self.read, instants=not self.late)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[asyncio.Runner]:
    """An event loop of its own, low bounds, and ids that follow from the seed."""
    ids, count = Random(seed), itertools.count()
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch("app.store.mongo.ids.secrets.token_hex", lambda size: ids.randbytes(size).hex()))
        stack.enter_context(patch("app.store.mongo.ids.time.time_ns", lambda: next(count)))
        for name, bound in SMALL.items():
            stack.enter_context(patch(name, bound))
        yield stack.enter_context(asyncio.Runner(loop_factory=QuietLoop))


def run(seed: int, odds: Odds | None = None, **options: Any) -> Seen:
    """One run. Raises AssertionError where the protocol was broken.

    The same seed, the same run, as long as PYTHONHASHSEED is the same.
    """
    with seeded(seed) as runner:
        return runner.run(World(seed, odds or Odds(), **options).run())
