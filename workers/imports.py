"""Imports: the rows of an uploaded file become events, 1,000 at a time, whatever dies in between.

A batch is recorded, its failures are put in the report, then one compare-and-set moves the job on: position in the file
and counts together. Who dies before that write leaves a batch that the next run does again: its events are there already
and carry the batch's name, so they are counted as created, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime

from app.commands.context import Context
from app.commands.imports import CHANNEL, carry_rows
from app.domain.actors import WRITE, Actor
from app.domain.errors import Unavailable
from app.domain.instants import from_ms
from app.domain.jobs import JobStatus
from app.domain.tables import Row, Splitter
from app.flow import SLOT_RANGES, SLOTS_A_RANGE, bounds_of
from app.store.job_runs import LEASE_MS, STUCK_AFTER, JobRuns, Run

from .worker import Worker

BATCH = 1_000
SLICE_SECONDS = 20.0
"""How long one run goes on before it lets go: well within the timeout of a job, so that jobs take turns."""
MOST_PENDING = 2_000 * SLOTS_A_RANGE
"""How many events may wait in a range of slots before an import lets the fold catch up."""
LOOK_EVERY = 5
PAUSE_SECONDS = 0.2
RETRY_MS = 5_000

BROKEN = "An unexpected error stopped it five times in a row; the worker's log has the details under this job's id."
STUCK = f"The worker died {STUCK_AFTER} times in a row at the same rows."


async def imports(worker: Worker, key: str) -> None:
    """Carries one job on for a while. Safe to repeat and to overlap.

    A failure is counted in the store and raised; after five in a row the job is FAILED.
    """
    await worker.alone("imports", key, lambda: _once(worker, key))


async def _once(worker: Worker, job_id: str) -> bool:
    """One turn; never another at once, because the jobs take turns."""
    runs = worker.runs
    run = await runs.claim(job_id, _now_ms())
    if run is None:
        return False
    try:
        async with _kept(runs, run):
            if run.starts > STUCK_AFTER:
                await runs.finish(run, JobStatus.FAILED, _now(), STUCK)
            else:
                await carry(worker, run)
        return False
    except (asyncio.CancelledError, Unavailable):
        with contextlib.suppress(Unavailable):
            await runs.release(run)
        raise
    except Exception:
        if await runs.failed(run, _now_ms() + RETRY_MS):
            await runs.finish(run, JobStatus.FAILED, _now(), BROKEN)
            await worker.resources.workspace(run.workspace_id).jobs.drop_input(job_id)
        raise


async def carry(worker: Worker, run: Run) -> None:
    """Carries a job on until it ends or its time is over; then the next sweep, here or elsewhere, takes it up again."""
    until = time.monotonic() + SLICE_SECONDS
    runs, jobs = worker.runs, worker.resources.workspace(run.workspace_id).jobs
    number = 0
    batches = _batches(jobs.input(run.job_id, run.position), run)
    async with contextlib.aclosing(batches):
        async for rows in batches:
            if number % LOOK_EVERY == 0:
                await _caught_up(worker, until)
            if run.cancelling or worker.stopping or time.monotonic() > until:
                break
            moved = await carry_batch(worker, run, rows)
            if moved is None:
                return
            run, number = moved, number + 1
        else:
            if run.position < run.size:
                moved = await runs.commit(run, run.size, run.tally)
                if moved is None:
                    return
                run = moved
    if not run.cancelling and run.position < run.size:
        await runs.release(run)
        return
    await jobs.drop_input(run.job_id)
    await runs.finish(run, JobStatus.CANCELLED if run.position < run.size else JobStatus.SUCCEEDED, _now())


async def carry_batch(worker: Worker, run: Run, rows: list[Row]) -> Run | None:
    """The run after these rows, which begin at its position; None where another has taken the job over."""
    workspace = worker.resources.workspace(run.workspace_id)
    first = run.tally.done + 1
    ctx = Context(
        workspace,
        Actor(run.workspace_id, run.actor_id, "import", frozenset({WRITE})),
        worker.resources,
        CHANNEL,
        batch=f"{run.job_id}:{first}",
    )
    carried = await carry_rows(
        ctx, run.plan, first, rows, create_missing_passes=run.create_missing_passes, dry_run=run.dry_run
    )
    if carried.report:
        await workspace.jobs.put_report(run.job_id, first, carried.report)
    return await worker.runs.commit(run, rows[-1].end, run.tally.plus(carried.tally))


async def _batches(parts: AsyncIterator[bytes], run: Run) -> AsyncGenerator[list[Row], None]:
    """The rows from the run's position on, 1,000 at a time, so that every run cuts the file at the same places."""
    splitter = Splitter(run.plan.layout, run.position)
    rows: list[Row] = []
    expected = run.position
    async for part in parts:
        expected += len(part)
        splitter.feed(part)
        while found := splitter.take(BATCH - len(rows)):
            rows += found
            if len(rows) == BATCH:
                yield rows
                rows = []
    if expected < run.size:
        raise LookupError(f"the file of {run.job_id} ends at {expected} of {run.size} bytes")
    splitter.end()
    while found := splitter.take(BATCH - len(rows)):
        rows += found
        if len(rows) == BATCH:
            yield rows
            rows = []
    if rows:
        yield rows


async def _caught_up(worker: Worker, until: float) -> None:
    """Returns when the fold has caught up, when the time is over, or when the worker stops."""
    ranges = [bounds_of(key) for key in SLOT_RANGES]
    while time.monotonic() < until and not worker.stopping and await worker.runs.backlogged(ranges, MOST_PENDING):
        await asyncio.sleep(PAUSE_SECONDS)


@contextlib.asynccontextmanager
async def _kept(runs: JobRuns, run: Run) -> AsyncIterator[None]:
    """Keeps the hold on a job while the block runs."""

    async def renewing() -> None:
        while True:
            await asyncio.sleep(LEASE_MS / 4000)
            with contextlib.suppress(Unavailable):
                await runs.renew(run, _now_ms())

    task = asyncio.create_task(renewing())
    try:
        yield
    finally:
        task.cancel()


def _now_ms() -> int:
    # Leases and the times of jobs are about machines, never about business.
    return time.time_ns() // 1_000_000


def _now() -> datetime:
    return from_ms(_now_ms())
