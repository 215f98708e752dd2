"""One run of the model: a business records and defines, workers race and crash, a reader follows the log.

The business records each purchase shortly before it occurs, then sets the clock to its instant. So no event is late,
and the oracle computes the instant of each transition. In a run with late events the oracle only checks the memberships
at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
from app.store.operations.heartbeats import Heartbeats
from app.store.workspace.pass_periods import LAST_MONTHS_MARKED, MARKED
from app.store.workspace.reactions import ReactionQueries
from workers.sharing import Sharing
from workers.stages import backfill, due, erase, fold, merge, publish, seal, seal_passes
from workers.worker import Worker

from .counts import CountReader, check_counts
from .customers import CustomerReader
from .invariants import Invariants
from .memory import MemoryDatabase
from .months import check_months
from .reading import RowReader
from .schedule import Odds, QuietLoop, Schedule
from .script import START, Script
from .sealing import check_contents, seal_without_delay

SLOT_RANGES = ("0-31", "32-63")
MAX_TURNS = 60_000
MAX_SWEEPS = 1_000
"""Runs of all stages after which a single worker without faults has done everything."""
STEPS_PER_SECOND = 5_000
"""Readings of the monotonic clock in a second. The event loop reads it at each step."""
_ticks = itertools.count(1)
SMALL_LIMITS = {
    "workers.stages.fold.FOLD_BATCH_SIZE": 6,
    "workers.stages.fold.MAX_EVENTS_PER_PASS": 3,
    "workers.stages.fold.MAX_IDS_CHECKED": 8,
    "workers.stages.fold.EVENTS_PER_TURN": 2,
    "workers.stages.turns.EVENTS_PER_TURN": 2,
    "app.domain.fold.walk.MAX_WALK_COMPARISONS": 20,
    # A run must not depend on the processor time that a walk takes.
    "workers.stages.shares.SLICE_SECONDS": 10**9,
    "workers.stages.shares.YIELD_SECONDS": 10**9,
    # A run must not depend on the time of the machine.
    "app.store.stages.saves.system_ms": _ticks.__next__,
    "app.store.mongo.horizons.system_ms": _ticks.__next__,
    "app.store.workspace.passes.system_ms": _ticks.__next__,
    "workers.stages.due.DUE_BATCH_SIZE": 2,
    "workers.stages.backfill.BACKFILL_BATCH_SIZE": 2,
    "workers.stages.due.LOOK_SIZE": 3,
    "workers.stages.backfill.LOOK_SIZE": 3,
    # The invariants compare the passes with all versions, so none is deleted.
    "workers.stages.backfill.SUPERSEDED_TTL_MS": 10**12,
    "workers.stages.seal_passes.SEAL_BATCH_SIZE": 2,
    "workers.stages.seal_passes.system_ms": _ticks.__next__,
    "workers.stages.count_active.system_ms": _ticks.__next__,
    "workers.stages.count_active.COUNT_DELAY_SECONDS": 0,
    # A run must not depend on the time that a count takes.
    "workers.stages.count_active.COUNT_SLICE_SECONDS": 10**9,
    "workers.stages.count_active.PAUSE_FACTOR": 0,
    "workers.stages.publish.PASSES_PER_ROUND": 2,
    "workers.stages.publish.ENTRIES_PER_STEP": 3,
    "workers.stages.publish.ENTRIES_PER_PASS": 4,
    "workers.stages.advance.MAX_OUTBOX_ENTRIES": 12,
    "workers.stages.erase.CACHE_EXPIRY_SECONDS": 0.0,
    # A run must not depend on real time.
    "workers.worker.REST_SECONDS": 0.0,
    "workers.stages.seal.MAX_YIELD_SECONDS": 0.0,
    "workers.stages.seal.system_ms": _ticks.__next__,
    "app.store.stages.hours.SCAN_BATCH_SIZE": 2,
    "app.store.stages.hours.PART_SIZE": 3,
    "app.domain.state.windows.MAX_EXPIRING": 2,
    "app.domain.state.refilling.MAX_EXPIRING": 2,
    "app.store.workspace.counted_events.MAX_EXPIRING": 2,
    "app.store.stages.histories.HISTORY_BATCH_SIZE": 3,
}
"""Limits so low that a few events reach them all."""


class UnsteadySharing(Sharing):
    """The share of a worker that now sees others and now does not, as with lost and late heartbeats."""

    def __init__(self, worker: Worker, choices: Random) -> None:
        # Help depends on the time without progress. In a run, no time passes, so that it is the same on each machine.
        super().__init__(worker.id, Heartbeats(worker.resources.db), seconds=lambda: 0.0)
        self._worker_id, self._choices = worker.id, choices
        self._seen: list[str] = []

    def see_others(self) -> None:
        """See other workers from now on, chosen at random, before and after this one in the order of ids."""
        self._seen = self._choices.sample(["a", "b", "y", "z"], self._choices.randrange(4))

    def members(self) -> list[str]:
        """Return the workers seen, and this one."""
        return sorted([*self._seen, self._worker_id])


class EmptyRedis:
    """A Redis without keys."""

    async def delete(self, *_keys: str) -> int:
        """Delete nothing."""
        return 0


class SilentBus:
    """A bus that loses every wake-up and every message."""

    def wake(self, stage: str, *keys: object) -> None:
        """Lose the wake-up."""

    async def publish(self, topic: str, message: object) -> None:
        """Lose the message."""


@dataclass(frozen=True)
class RunStats:
    """Counts of one run. A test asserts with them that enough happened."""

    turns: int
    crashes: int
    transitions: int
    events: int
    exact_answers: int = 0


class World:
    """A store, a clock, and the processes that use them. The first `slow` workers often stall."""

    def __init__(
        self,
        seed: int,
        odds: Odds,
        *,
        workers: int = 3,
        slow: int = 1,
        late: bool = False,
        merging: bool = False,
        rules: bool = False,
        guarded: bool = False,
        sealing: bool = False,
        months: bool = False,
        customers: bool = False,
    ) -> None:
        self.random = Random(seed)
        self.schedule = Schedule(Random(seed + 1), odds)
        self.odds = odds
        self.db = MemoryDatabase(self.schedule, keeps_history=odds.lagging_reads > 0)
        self.clock = FixedClock(START)
        # Events that a merge moves to a pass are late there, and so are events that a lagging fold does not see yet.
        self.has_late_events, self.workers, self.slow = late or merging or odds.lagging_reads > 0, workers, slow
        self.script = Script(self.random, self.clock, late=late, merging=merging, rules=rules, guarded=guarded)
        self.seals_months = months
        self.row_reader = RowReader(self.db, self.script, Random(seed + 2))
        self.count_reader = CountReader(self.db, Random(seed + 3))
        self.customer_reader = CustomerReader(self.db, Random(seed + 4))
        self.read: list[Activity] = []
        self.is_open, self.is_sealing, self.has_customer_reader = True, sealing, customers

    async def run(self) -> RunStats:
        """Run all processes, then one worker without faults, and check the store. Raises AssertionError."""
        await self.create_workspace()
        self.schedule.start_process("business", self.play_script)
        for number in range(self.workers):
            run = partial(self.run_worker, Random(self.random.random()))
            self.schedule.start_process(f"worker {number}", run, is_slow=number < self.slow)
        self.schedule.start_process("reader", self.follow_log)
        if self.is_sealing:
            self.schedule.start_process("reader of rows", self.read_rows)
        if self.seals_months:
            self.schedule.start_process("reader of numbers", self.read_counts)
        if self.has_customer_reader:
            self.schedule.start_process("reader of customers", self.read_customers)
        await self.schedule.run(MAX_TURNS)
        self.schedule.stop_faults()
        self.schedule.start_process("last worker", self.finish)
        await self.schedule.run(MAX_TURNS)
        transitions = await self.check()
        return RunStats(
            self.schedule.turns,
            self.schedule.crashes,
            transitions=transitions,
            events=len(self.db["events"].docs),
            exact_answers=self.customer_reader.exact_answers,
        )

    async def create_workspace(self) -> None:
        """Create the workspace."""
        profile, _ = await create_workspace(self.open_process(), "Model")
        self.workspace_id = profile.id
        if self.seals_months:
            # The database has no passes of an earlier version.
            for marked in (MARKED, LAST_MONTHS_MARKED):
                await self.db["constants"].insert_one({"_id": marked, "done": True})

    def open_process(self) -> Resources:
        """Return the resources of one process: the shared store and clock, and caches of its own."""
        return Resources(
            db=cast(Any, self.db),
            redis=cast(Any, EmptyRedis()),
            clock=self.clock,
            settings=Settings(),
            bus=cast(Any, SilentBus()),
            in_chunk=2,
            cache=WorkspaceCache(now=time.monotonic),
        )

    def new_worker(self) -> Worker:
        """Return a worker with empty caches."""
        return seal_without_delay(Worker.on(self.open_process()))

    def new_context(self) -> Context:
        """Return the context of a request to a process that has just started."""
        resources = self.open_process()
        actor = Actor(self.workspace_id, "key_model", "model", scopes=frozenset(SCOPES))
        return Context(resources.workspace(self.workspace_id), actor, resources)

    async def play_script(self) -> None:
        """Play the remaining steps of the script, then close the business."""
        await self.script.play(self.new_context())
        self.is_open = False

    async def run_worker(self, choices: Random) -> None:
        """Run a worker process that does two things at a time, chosen at random."""
        worker = self.new_worker()
        worker.sharing = UnsteadySharing(worker, choices)
        await asyncio.gather(*(self.run_stages(worker, choices) for _ in range(2)))

    async def run_stages(self, worker: Worker, choices: Random) -> None:
        """Run one stage after the other while the business is open."""
        while self.is_open:
            if isinstance(worker.sharing, UnsteadySharing) and choices.random() < 0.2:
                worker.sharing.see_others()
            with contextlib.suppress(Unavailable), self.choose_lag(choices):
                await choices.choice(self.list_stages(worker))()

    def choose_lag(self, choices: Random) -> contextlib.AbstractContextManager[None]:
        """Return a block whose reads may begin at an earlier state of the store, and then catch up by chance."""
        if not self.odds.lagging_reads or choices.random() >= self.odds.lagging_reads:
            return contextlib.nullcontext()
        newest = self.db.history.newest
        state = newest - choices.randrange(min(newest, self.odds.max_lag_writes) + 1)
        return self.db.lagging(state, lambda last, now: choices.choice((last, choices.randint(last, now), now)))

    def list_stages(self, worker: Worker) -> list[Callable[[], Awaitable[None]]]:
        """Return every stage, called as a wake-up or a sweep calls it."""
        return [
            *(partial(fold.fold, worker, key) for key in SLOT_RANGES),
            *(partial(due.due, worker, key) for key in SLOT_RANGES),
            partial(backfill.backfill, worker, self.workspace_id),
            partial(publish.publish, worker, self.workspace_id),
            partial(self.sweep_merges, worker),
            partial(self.sweep_erasures, worker),
            *([partial(seal.seal, worker, self.workspace_id)] if self.is_sealing else []),
            *([partial(seal_passes.seal_passes, worker, self.workspace_id)] if self.seals_months else []),
        ]

    async def sweep_merges(self, worker: Worker) -> None:
        """Store missing tombstones of merges, and run the merge stage for each merged pass, as the sweep does."""
        await merge.complete_decided(worker)
        for pass_id in await worker.merge_queries.waiting():
            await merge.merge(worker, pass_id)

    async def sweep_erasures(self, worker: Worker) -> None:
        """Run the erase stage for each erased pass, as the sweep does."""
        for pass_id in await worker.erase_queries.waiting():
            await erase.erase(worker, pass_id)

    async def finish(self) -> None:
        """Run a single worker until nothing is left to do, then read the rest of the log."""
        worker = self.new_worker()
        sweeps = 0
        while not await self.is_finished():
            sweeps += 1
            assert sweeps < MAX_SWEEPS, "work is left that no stage does"
            for stage in self.list_stages(worker):
                await stage()
        ctx = self.new_context()
        while await self.read_log(ctx):
            pass
        if self.is_sealing:
            await self.row_reader.read(ctx)
        if self.has_customer_reader:
            before = self.customer_reader.exact_answers
            await self.customer_reader.read(ctx)
            assert self.customer_reader.exact_answers > before, "an answer is not exact although all work is done"

    async def is_finished(self) -> bool:
        """Return whether no stage has anything left to do."""
        now_ms = to_ms(await self.clock.now())
        versions = self.db["definitions"].docs.values()
        # A pass meets a new version of a rule when it is next walked.
        rev = max((doc["rev"] for doc in versions if "segment" in doc), default=0)
        cards = self.db["passes"].docs.values()
        return not (
            any("pend" in doc for doc in self.db["events"].docs.values())
            or any("open" in doc for doc in self.db["merges"].docs.values())
            or any("pub" in doc or "erasing" in doc or "merging" in doc for doc in cards)
            or (self.is_sealing and any("dirty" in doc for doc in self.db["rollup_heads"].docs.values()))
            or (self.seals_months and any("dirty_months" in doc or "recount" in doc for doc in cards))
            or (self.seals_months and any("dirty" in doc for doc in self.db["active_counts"].docs.values()))
            or any(doc.get("due", now_ms + 1) <= now_ms or doc.get("rev", rev) < rev for doc in cards)
        )

    async def read_rows(self) -> None:
        """Read and check rows of counted events while the business is open."""
        ctx = self.new_context()
        while self.is_open:
            await self.row_reader.read(ctx)

    async def read_counts(self) -> None:
        """Read and check stored numbers of active passes while the business is open."""
        ctx = self.new_context()
        while self.is_open:
            await self.count_reader.read(ctx)

    async def read_customers(self) -> None:
        """Read and check single customers while the business is open."""
        ctx = self.new_context()
        while self.is_open:
            await self.customer_reader.read(ctx)

    async def follow_log(self) -> None:
        """Run a reader that follows the log while the business is open."""
        ctx = self.new_context()
        while self.is_open:
            await self.read_log(ctx)

    async def read_log(self, ctx: Context) -> bool:
        """Read the next activities of the log and return whether there may be more."""
        try:
            found = await ctx.workspace.activities.after(len(self.read), 3)
        except Unavailable:
            return True
        assert [a.position for a in found] == list(range(len(self.read) + 1, len(self.read) + len(found) + 1)), "a hole"
        self.read += found
        return bool(found)

    async def check(self) -> int:
        """Check every invariant of the store and return the number of transitions. Raises AssertionError."""
        if self.seals_months:
            check_months(self.db)
            check_counts(self.db)
        now_ms = to_ms(await self.clock.now())
        if self.is_sealing:
            check_contents(self.db, self.workspace_id)
        return Invariants(self.db, self.script, now_ms).check(self.read, instants=not self.has_late_events)


async def _call_at_once(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return function(*args, **options)


async def _nothing_follows(_queries: ReactionQueries, _pass_ids: Sequence[str]) -> bool:
    return False


@contextlib.contextmanager
def seeded_runner(seed: int) -> Iterator[asyncio.Runner]:
    """Yield an event loop with small limits, in which all ids follow from the seed."""
    ids, count, steps = Random(seed), itertools.count(), itertools.count()
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch("app.store.mongo.ids.secrets.token_hex", lambda size: ids.randbytes(size).hex()))
        stack.enter_context(patch("app.store.mongo.ids.time.time_ns", lambda: next(count)))
        for name, limit in SMALL_LIMITS.items():
            stack.enter_context(patch(name, limit))
        # No worker of the model reacts, so an erasure must not wait for it. See test_reacting.py.
        stack.enter_context(patch("app.store.workspace.reactions.ReactionQueries.has_unmade", _nothing_follows))
        # A run must not depend on how fast the machine is: caches expire after a number of steps of the loop.
        stack.enter_context(patch("time.monotonic", lambda: next(steps) / STEPS_PER_SECOND))
        # What runs in a thread elsewhere must run between two turns here.
        stack.enter_context(patch("asyncio.to_thread", _call_at_once))
        yield stack.enter_context(asyncio.Runner(loop_factory=QuietLoop))


def run(seed: int, odds: Odds | None = None, **options: Any) -> RunStats:
    """Run the model once. Raises AssertionError if a rule of the protocol was broken.

    The same seed gives the same run if PYTHONHASHSEED is the same.
    """
    with seeded_runner(seed) as runner:
        return runner.run(World(seed, odds or Odds(), **options).run())
