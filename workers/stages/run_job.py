"""Jobs: long work, carried on a while at a time by whoever is free, whatever dies in between.

Here is what all kinds share: the hold on a job, its failures, its end. What a kind does is its carrier in `RUNNERS`: it is
given a turn, does batch after batch while the turn goes on, and answers whether all of it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime

from app.domain.errors import Unavailable
from app.domain.jobs import EXPORTS, JobKind, JobStatus
from app.domain.values.instants import from_ms
from app.store.stages.job_leases import LEASE_MS, STUCK_AFTER, JobLeases, JobRun
from workers.jobs import exports, imports, removals, replays
from workers.jobs.lease import JobLease
from workers.worker import Worker

log = logging.getLogger(__name__)

JobRunner = Callable[[JobLease], Awaitable[bool]]

RUNNERS: Mapping[JobKind, JobRunner] = {
    JobKind.IMPORT: imports.run_import,
    JobKind.EXPORT_EVENTS: exports.run_export,
    JobKind.EXPORT_ACTIVITIES: exports.run_export,
    JobKind.DELETE_EVENTS: removals.run_removal,
    JobKind.REPLAY_WEBHOOKS: replays.run_replay,
}
RETRY_DELAY_MS = 5_000

INTERNAL_FAILURE = (
    "An unexpected error stopped it five times in a row; the worker's log has the details under this job's id."
)
NO_PROGRESS_FAILURE = f"The worker died {STUCK_AFTER} times in a row at the same place."


async def jobs(worker: Worker, key: str) -> None:
    """Carries one job on for a while. Safe to repeat and to overlap.

    A failure is counted in the store and raised; after five in a row the job is FAILED.
    """
    await worker.run_alone("jobs", key, lambda: _once(worker, key))


async def _once(worker: Worker, job_id: str) -> bool:
    """One turn; never another at once, because the jobs take turns."""
    runs = worker.job_leases
    run = await runs.claim(job_id, _now_ms())
    if run is None:
        return False
    turn = JobLease(worker, run)
    try:
        async with _kept(runs, run):
            if run.starts > STUCK_AFTER:
                await _ended(turn, JobStatus.FAILED, NO_PROGRESS_FAILURE)
            else:
                await _carried(turn)
        return False
    except (asyncio.CancelledError, Unavailable):
        with contextlib.suppress(Unavailable):
            await runs.release(run)
        raise
    except Exception:
        if await runs.failed(run, _now_ms() + RETRY_DELAY_MS):
            await _ended(turn, JobStatus.FAILED, INTERNAL_FAILURE)
        raise


async def _carried(turn: JobLease) -> None:
    """Carries the job on until it ends or the turn is over; then the next sweep, here or elsewhere, takes it up again."""
    begun, before = time.monotonic(), turn.run.tally.done
    whole = await RUNNERS[turn.run.kind](turn)
    if turn.lost:
        return
    if whole:
        await _ended(turn, JobStatus.SUCCEEDED)
    elif turn.run.is_cancelling:
        await _ended(turn, JobStatus.CANCELLED)
    else:
        await turn.worker.job_leases.release(turn.run)
        log.info("%s", _progress(turn.run, turn.run.tally.done - before, time.monotonic() - begun))


async def _ended(turn: JobLease, status: JobStatus, error: str | None = None) -> None:
    run, at = turn.run, _now()
    # What it worked on goes first: who dies in between finds it gone and ends the job all the same.
    await turn.workspace.jobs.drop_input(run.job_id)
    if run.kind in EXPORTS and status is not JobStatus.SUCCEEDED:
        await turn.workspace.exports.drop(run.job_id)
    await turn.worker.job_leases.finish(run, status, at, error, turn.outcome)
    seconds = (at - run.created_at).total_seconds()
    log.info("%s %s has ended: %s after %.0f s, %s", run.kind, run.job_id, status, seconds, f"{run.tally.done:,} done")


def _progress(run: JobRun, done: int, seconds: float) -> str:
    """How far a job is, how fast it went lately, and what that means for the rest."""
    said = f"{run.kind} {run.job_id}: {run.tally.done:,} of {run.total:,} done"
    if not done or not seconds:
        return said
    left = max(0, run.total - run.tally.done) * seconds / done
    return f"{said}, {done / seconds:,.0f} a second, about {left:,.0f} s left"


@contextlib.asynccontextmanager
async def _kept(runs: JobLeases, run: JobRun) -> AsyncIterator[None]:
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
