"""Sweep: a loop in each worker that finds the work of all stages once a second, so that a lost wake-up costs little.

Due instants do not wait for the next sweep: each sweep looks 1.5 s ahead and sets timers for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from app.clock import system_ms
from app.domain.errors import STORE_FAILURES
from app.domain.values.instants import to_ms
from app.flow import SLOT_RANGES
from app.store.operations.schema_version import SchemaTooNew, check_writable
from app.store.operations.truncation import TruncationQueries
from workers.looks import Asked
from workers.stages import deliver, react, send
from workers.stages.fold import find_workspaces
from workers.stages.merge import complete_decided
from workers.stages.restock import MIN_AGE_MS

from .diagnostics import STORE_INTERVAL_SECONDS
from .rollup_looks import RollupLooks
from .seal_looks import SealLooks
from .sharing import HEARTBEAT_INTERVAL_SECONDS
from .timers import DueTimers, ReaderTimers
from .worker import Worker

log = logging.getLogger(__name__)

MAX_JOBS_STARTED = 4
"""Jobs that one worker runs at the same time."""
MAX_RERUNS = 20
"""Messages of inbound hooks that one sweep runs again."""
MAX_EDITS = 100
"""Scheduled edits that one look makes."""
STOP_TIMEOUT_SECONDS = 10.0
"""The time that rounds under way get to end. Stopping in the middle of a round costs time, but loses nothing."""
MAX_FRONTS = 50
"""Workspaces of other workers whose progress one look at a stage watches."""
RESTOCK_INTERVAL_SECONDS = 60.0
"""How often a worker looks for old units of rewards."""
OVERDUE_INTERVAL_SECONDS = 60.0
"""How often a worker looks for messages whose announcement was lost, and how long those have been due."""
RETAIN_INTERVAL_SECONDS = 60.0
"""How often a worker removes what is older than the settings keep it: up to 10,000 activities of each workspace."""

Run = Callable[[Worker, str], Awaitable[None]]


class Sweep:
    """The sweep of one worker process: it runs the stages whose work it finds, sets timers, and sends heartbeats.

    It finds the worker's own work, and work of other workers that makes no progress (`sharing.py`).
    """

    def __init__(self, worker: Worker, stages: Mapping[str, Run]) -> None:
        self._worker = worker
        self._stages = stages
        self.due_timers = DueTimers(worker, stages["due"])
        self._reader_timers = ReaderTimers(worker)
        self._seal_looks = SealLooks(worker, stages["seal_passes"])
        self._rollup_looks = RollupLooks(worker, stages)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._job_workspaces: dict[str, str] = {}
        self._next_retain = self._next_restock = self._next_overdue = 0.0
        self.refusal: SchemaTooNew | None = None
        """Why the sweep has stopped the worker: a newer version excludes this one from writing."""
        self._next_diagnostics = 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweep until `stopping` is set, then wait for the tasks under way. Each stage has a loop of its own."""
        seconds = self._worker.resources.settings.sweep_seconds
        steps = (
            # A range of slots with a long backlog must not keep the others waiting.
            *(self._range_step("fold", key) for key in SLOT_RANGES),
            *(self._range_step("due", key) for key in SLOT_RANGES),
            self.due_timers.look,
            self.schedule,
            self.backfill,
            self.publish,
            self.deliver,
            self.react,
            self.send,
            self.merge,
            self.erase,
            self.rerun,
            self.forget,
            self.restock,
            self.retain,
            self._seal_looks.seal_passes,
            self._rollup_looks.look,
            self._rollup_looks.drop_contents,
            self.store_diagnostics,
            self.start_jobs,
            self.help_others,
        )
        # The first look must know the shares already, and a claim must be preceded by a heartbeat.
        await self._attempt(self.beat)
        await asyncio.gather(
            self._repeat(self.beat, stopping, min(seconds, HEARTBEAT_INTERVAL_SECONDS)),
            *(self._repeat(step, stopping, seconds) for step in steps),
            self._leave(stopping),
        )
        self._reader_timers.close()
        for job in list(self._jobs.values()):
            job.cancel()
        await self.due_timers.close()
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)
        # While a heartbeat exists, no other worker takes over the leases that runs under way still hold.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await self._worker.wait_until_idle()
        self._next_diagnostics = 0.0
        await self._attempt(self.store_diagnostics)
        await self._attempt(self._worker.sharing.remove)

    async def beat(self) -> None:
        """Send a heartbeat, and read those of the other workers, and who may write. Raises SchemaTooNew."""
        await self._worker.sharing.beat()
        check_writable(self._worker.sharing.lowest_writer, self._worker.resources.db.name)

    async def fold(self) -> None:
        """Fold the pending events of the worker's slots."""
        await asyncio.gather(*(self._range_step("fold", key)() for key in SLOT_RANGES))

    async def advance_due(self) -> None:
        """Advance the passes that are due, and set timers for passes that are due soon."""
        await asyncio.gather(*(self._range_step("due", key)() for key in SLOT_RANGES))
        await self.due_timers.look()

    async def schedule(self) -> None:
        """Make the edits of segments whose time has come, also those that another worker may be making.

        An edit is made at most 2 s after its time, even if another worker has just crashed. Two workers make it once.
        """
        elapsed_ms = to_ms(await self._worker.resources.clock.elapsed())
        for workspace_id, segment_id in await self._worker.scheduled_edit_looks.due(elapsed_ms, MAX_EDITS):
            await self._stages["schedule"](self._worker, f"{workspace_id}/{segment_id}")

    async def backfill(self) -> None:
        """Advance the passes that were evaluated under older definitions."""
        behind = await self._worker.fold_queries.workspaces_behind()
        # Run them side by side: a long backfill of one workspace must not delay those of the others.
        await asyncio.gather(*(self._stages["backfill"](self._worker, each) for each in behind))

    async def publish(self) -> None:
        """Publish the outboxes of all workspaces."""
        queries = self._worker.publish_queries
        await self._run_shared("publish", await queries.waiting_workspaces(), queries.first_waiting)

    async def deliver(self) -> None:
        """Start a run at every webhook endpoint that has work, and set timers for endpoints that have work soon."""
        await self._reader_timers.look(
            "endpoint", self._worker.endpoint_leases, self._worker.dispatchers, deliver.start_run
        )

    async def react(self) -> None:
        """Start a run of react in every workspace that has work, and set timers for those that have work soon."""
        await self._reader_timers.look("react", self._worker.react_leases, self._worker.reactors, react.start_run)

    async def send(self) -> None:
        """Start a run at every channel that has work, and set timers for channels that have work soon.

        Once in `OVERDUE_INTERVAL_SECONDS`, announce messages again that were due for long: the announcement may be lost.
        """
        worker, now_ms, now_seconds = self._worker, system_ms(), asyncio.get_running_loop().time()
        found: set[tuple[str, str]] = set()
        if worker.resources.settings.clock == "manual":
            found |= await worker.message_looks.release_held(to_ms(await worker.resources.clock.now()), now_ms)
        if now_seconds >= self._next_overdue:
            self._next_overdue = now_seconds + OVERDUE_INTERVAL_SECONDS
            found |= await worker.message_looks.overdue(now_ms - int(1_000 * OVERDUE_INTERVAL_SECONDS))
        for workspace_id, channel_id in sorted(found):
            await worker.resources.workspace(workspace_id).messages.work.announce_work(now_ms, channel_id)
        await self._reader_timers.look("channel", worker.channel_leases, worker.senders, send.start_run)

    async def merge(self) -> None:
        """Store the tombstones of merges whose caller crashed, and move the remaining events of merged passes."""
        await complete_decided(self._worker)
        await self._run_in_turn("merge", await self._worker.merge_queries.waiting())

    async def erase(self) -> None:
        """Remove the remaining data of erased passes."""
        await self._run_in_turn("erase", await self._worker.erase_queries.waiting())

    async def rerun(self) -> None:
        """Run messages of inbound hooks again that wait for the event that they correct."""
        await self._run_in_turn("rerun", await self._worker.rerun_queries.waiting(system_ms(), MAX_RERUNS))

    async def forget(self) -> None:
        """Delete the types and sources that no event has any more."""
        await self._run_in_turn("forget", await self._worker.forget_queries.waiting_workspaces())

    async def restock(self) -> None:
        """Free units of rewards whose redemption was never recorded, once in `RESTOCK_INTERVAL_SECONDS`."""
        now_seconds = asyncio.get_running_loop().time()
        if now_seconds >= self._next_restock:
            self._next_restock = now_seconds + RESTOCK_INTERVAL_SECONDS
            waiting = await self._worker.restock_queries.waiting_workspaces(system_ms() - MIN_AGE_MS)
            await self._run_in_turn("restock", waiting)

    async def help_others(self) -> None:
        """Fold and advance passes of other workers that make no progress."""
        if not self._worker.sharing.has_others:
            return
        queries, elapsed_ms = self._worker.fold_queries, to_ms(await self._worker.resources.clock.elapsed())

        workspace_ids = await find_workspaces(self._worker, Asked(all=True))

        async def find_pending(low: int, high: int) -> object:
            found = await queries.pending(low, high, None, 1, workspace_ids=workspace_ids)
            return [item.event.id for item in found]

        async def find_due(low: int, high: int) -> object:
            first = {each.pass_id: each.workspace_id for each in await queries.due(low, high, elapsed_ms, 1)}
            # Due leaves a pass with pending events to the fold. Then the fold makes no progress, and not due.
            return sorted(first.keys() - await queries.with_pending(first))

        await asyncio.gather(self._help_with("fold", find_pending), self._help_with("due", find_due))

    async def retain(self) -> None:
        """Remove what is older than the settings keep it, in all workspaces, once in `RETAIN_INTERVAL_SECONDS`."""
        now_seconds = asyncio.get_running_loop().time()
        if not self._worker.resources.settings.retention_days or now_seconds < self._next_retain:
            return
        self._next_retain = now_seconds + RETAIN_INTERVAL_SECONDS
        resources = self._worker.resources
        workspace_ids = await TruncationQueries(resources.db, resources.in_chunk).workspaces()
        await self._run_in_turn("retain", workspace_ids)

    async def store_diagnostics(self) -> None:
        """Store what rules were asked about, once in `STORE_INTERVAL_SECONDS` and when the worker stops."""
        now_seconds = asyncio.get_running_loop().time()
        if now_seconds >= self._next_diagnostics:
            more = await self._worker.diagnostics.store(to_ms(await self._worker.resources.clock.now()))
            self._next_diagnostics = now_seconds + (0 if more else STORE_INTERVAL_SECONDS)

    async def start_jobs(self) -> None:
        """Start the jobs that no worker runs, and do not wait for them. They are cancelled when the worker stops."""
        crowded_out = False
        sharing = self._worker.sharing
        waiting = dict(await self._worker.job_leases.open(system_ms(), find_gone=sharing.find_gone))
        chosen = set(sharing.choose("jobs", dict.fromkeys(waiting)))
        for job_id, workspace_id in waiting.items():
            if job_id in self._jobs or job_id not in chosen:
                continue
            if len(self._jobs) < MAX_JOBS_STARTED:
                self._jobs[job_id] = asyncio.create_task(self._run_job(job_id))
                self._job_workspaces[job_id] = workspace_id
            elif workspace_id not in self._job_workspaces.values():
                crowded_out = True
        self._worker.has_waiting_workspace = crowded_out

    def _range_step(self, stage: str, key: str) -> Callable[[], Awaitable[None]]:
        """Return the step that runs a stage for a slot range, if the worker prefers some of its slots."""

        async def run_range() -> None:
            if self._worker.sharing.prefers(stage, key):
                await self._stages[stage](self._worker, key)

        run_range.__name__ = stage
        return run_range

    async def _run_shared(
        self, stage: str, workspace_ids: Collection[str], find_first: Callable[[str], Awaitable[object]]
    ) -> None:
        """Run a stage side by side for the worker's own workspaces, and for those of others that make no progress."""
        sharing = self._worker.sharing
        own = [each for each in workspace_ids if sharing.prefers(stage, each)]
        others = sorted(set(workspace_ids) - set(own))[:MAX_FRONTS]
        fronts = {each: await find_first(each) for each in others if sharing.should_look(stage, each)}
        stalled = sharing.stalled(stage, fronts)
        await asyncio.gather(*(self._stages[stage](self._worker, each) for each in [*own, *stalled]))

    async def _run_in_turn(self, stage: str, keys: Sequence[str]) -> None:
        """Run a stage for the worker's own keys, and for those of others that wait for long, one after the other."""
        for key in self._worker.sharing.choose(stage, dict.fromkeys(keys)):
            await self._stages[stage](self._worker, key)

    async def _help_with(self, stage: str, find_first: Callable[[int, int], Awaitable[object]]) -> None:
        """Run a stage for the slot ranges in which the work of other workers makes no progress."""
        sharing, fronts = self._worker.sharing, dict[str, object]()
        for key in (each for each in SLOT_RANGES if sharing.should_look(stage, each)):
            firsts = [await find_first(*part) for part in sharing.others_parts(key)]
            if any(firsts):
                fronts[key] = firsts
        for key in sharing.stalled(stage, fronts):
            log.info("%s %s made no progress, this worker helps", stage, key)
            with sharing.helping(stage, key):
                await self._stages[stage](self._worker, key)

    async def _leave(self, stopping: asyncio.Event) -> None:
        """Give the worker's share to the others once it stops."""
        await stopping.wait()
        await self._attempt(self._worker.sharing.leave)

    async def _repeat(self, step: Callable[[], Awaitable[None]], stopping: asyncio.Event, seconds: float) -> None:
        """Run a step at an interval until `stopping` is set."""
        while not stopping.is_set():
            await self._attempt(step)
            if self.refusal is not None:
                stopping.set()
            if step != self.beat:
                self._worker.progressed_at = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), seconds)

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run a step, and log a failure instead of raising it: one exception must not end the loop of the step."""
        try:
            await step()
        except STORE_FAILURES as error:
            # The queries of the store have logged the cause.
            log.debug("sweep step %s skipped: %s", step.__name__, error)
        except SchemaTooNew as error:
            log.error("this worker stops: %s", error)
            self.refusal = error
        except Exception:
            log.exception("sweep step %s failed", step.__name__)

    async def _run_job(self, job_id: str) -> None:
        try:
            await self._stages["jobs"](self._worker, job_id)
        finally:
            del self._jobs[job_id]
            self._job_workspaces.pop(job_id, None)
