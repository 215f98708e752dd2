"""Jobs: run a long job for one slice of time. Any worker may run the next slice, also after a crash.

This module handles what all kinds of jobs share: the lease, failures and the end. `RUNNERS` has a function for each
kind. It runs batch after batch while the lease allows it, and returns whether the job is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime

from app.domain.errors import STORE_FAILURES, StoreRefused, Unavailable
from app.domain.jobs import EXPORTS, JobKind, JobStatus
from app.domain.values.instants import from_ms
from app.store.stages.job_leases import LEASE_MS, STUCK_AFTER, JobLeases, JobRun
from workers.jobs import (
    broadcasts,
    conversions,
    dimensions,
    exports,
    imports,
    inclusions,
    member_imports,
    previews,
    removals,
    replays,
    simulations,
    verifications,
)
from workers.jobs.lease import JobLease
from workers.worker import Worker

log = logging.getLogger(__name__)

JobRunner = Callable[[JobLease], Awaitable[bool]]
"""A function that runs one slice of a job and returns whether the job is complete."""

RUNNERS: Mapping[JobKind, JobRunner] = {
    JobKind.IMPORT: imports.run_import,
    JobKind.EXPORT_EVENTS: exports.run_export,
    JobKind.EXPORT_ACTIVITIES: exports.run_export,
    JobKind.DELETE_EVENTS: removals.run_removal,
    JobKind.REPLAY_WEBHOOKS: replays.run_replay,
    JobKind.MEASURE_CONVERSION: conversions.run_conversion,
    JobKind.SIMULATE_RULE: simulations.run_simulation,
    JobKind.IMPORT_SEGMENT_MEMBERS: member_imports.run_member_import,
    JobKind.INCLUDE_MEMBERS: inclusions.run_inclusion,
    JobKind.BROADCAST: broadcasts.run_broadcast,
    JobKind.PREVIEW_SEGMENT: previews.run_preview,
    JobKind.VERIFY_PROJECTION: verifications.run_verification,
    JobKind.PREPARE_DIMENSIONS: dimensions.run_preparation,
}
RETRY_DELAY_MS = 5_000
"""The pause of a job after an unexpected error."""

INTERNAL_FAILURE = (
    "An unexpected error stopped the job five times in a row. The worker's log has the details under the id of the job."
)
NO_PROGRESS_FAILURE = f"The worker crashed {STUCK_AFTER} times in a row at the same position of the job."


async def jobs(worker: Worker, key: str) -> None:
    """Run one slice of a job. Safe to repeat, and to run in several workers at once: one of them holds the lease.

    An unexpected error is counted in the store and raised again. After five in a row, the job is FAILED.
    """
    await worker.run_alone("jobs", key, lambda: _run_once(worker, key))


async def _run_once(worker: Worker, job_id: str) -> bool:
    """Run one slice and return False: other jobs come before the next slice."""
    leases = worker.job_leases
    sharing = worker.sharing
    election = worker.last_election()
    run = await leases.claim(job_id, _now_ms(), sharing.holder, sharing.find_gone)
    if run is None:
        return False
    lease = JobLease(worker, run, election)
    try:
        async with _renewed(leases, run):
            if run.starts > STUCK_AFTER:
                await _finish(lease, JobStatus.FAILED, NO_PROGRESS_FAILURE)
            else:
                await _run_slice(lease)
        return False
    except (asyncio.CancelledError, Unavailable):
        with contextlib.suppress(*STORE_FAILURES):
            await leases.release(run)
        raise
    except Exception as error:
        if await leases.record_failure(run, _now_ms() + RETRY_DELAY_MS):
            await _finish(lease, JobStatus.FAILED, _describe_failure(error))
        raise


def _describe_failure(error: Exception) -> str:
    if isinstance(error, StoreRefused):
        return f"{error} It stopped the job five times in a row. The worker's log has the reference {error.reference}."
    return INTERNAL_FAILURE


async def _run_slice(lease: JobLease) -> None:
    """Run the job until it is complete or its slice is over. If the job is not complete, a later sweep continues it."""
    started, before = time.monotonic(), lease.run.tally.done
    is_complete = await RUNNERS[lease.run.kind](lease)
    if lease.is_lost:
        return
    if is_complete:
        await _finish(lease, JobStatus.SUCCEEDED)
    elif lease.run.is_cancelling:
        await _finish(lease, JobStatus.CANCELLED)
    else:
        await lease.worker.job_leases.release(lease.run)
        log.info("%s", _describe_progress(lease.run, lease.run.tally.done - before, time.monotonic() - started))


async def _finish(lease: JobLease, status: JobStatus, error: str | None = None) -> None:
    run, at = lease.run, _now()
    # Remove the files first. If the worker crashes in between, the next one finds no file and still finishes the job.
    await lease.workspace.jobs.drop_input(run.job_id)
    if run.kind in EXPORTS and status is not JobStatus.SUCCEEDED:
        await lease.workspace.exports.drop(run.job_id)
    await lease.worker.job_leases.finish(run, status, at, error, lease.result)
    seconds = (at - run.created_at).total_seconds()
    log.info("%s %s finished: %s after %.0f s, %s done", run.kind, run.job_id, status, seconds, f"{run.tally.done:,}")


def _describe_progress(run: JobRun, done: int, seconds: float) -> str:
    """Return the progress of a job for the log: counts, speed of the last slice, and the estimated remaining time."""
    counts = f"{run.kind} {run.job_id}: {run.tally.done:,} of {run.total:,} done"
    if not done or not seconds:
        return counts
    remaining_seconds = max(0, run.total - run.tally.done) * seconds / done
    return f"{counts}, {done / seconds:,.0f} a second, about {remaining_seconds:,.0f} s left"


@contextlib.asynccontextmanager
async def _renewed(leases: JobLeases, run: JobRun) -> AsyncIterator[None]:
    """Renew the lease on a job while the block runs."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(LEASE_MS / 4000)
            with contextlib.suppress(*STORE_FAILURES):
                await leases.renew(run, _now_ms())

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()


def _now_ms() -> int:
    # Leases and the times of jobs use system time, never the business clock.
    return time.time_ns() // 1_000_000


def _now() -> datetime:
    return from_ms(_now_ms())
