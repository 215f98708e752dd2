"""Retain: remove activities, jobs and audit entries that are older than the operator keeps them.

Nothing is removed unless PUNCHCARD_RETENTION_DAYS says so. The stage works in small parts; what is left is removed by later
sweeps. Several workers may run it at once: they remove the same things.
"""

from __future__ import annotations

from datetime import timedelta

from app.clock import SystemClock
from app.store.operations.truncation import TruncationQueries
from workers.worker import Worker

MAX_PARTS = 10
"""Parts of 1,000 activities by which one round truncates the log of a workspace."""
ACTIVITIES, JOBS, AUDIT = "activities", "jobs", "audit"


async def retain(worker: Worker, key: str) -> None:
    """Remove what a workspace keeps no longer. Safe to repeat, and to run in several workers."""
    await worker.run_alone("retain", key, lambda: retain_once(worker, key))


async def retain_once(worker: Worker, workspace_id: str) -> bool:
    """Remove one part, and return False: a later sweep continues.

    The age of activities follows the business clock, as their times of recording do. Jobs and audit entries have system
    time.
    """
    resources = worker.resources
    days, queries = resources.settings.retention, TruncationQueries(resources.db, resources.in_chunk)
    now = await SystemClock().now()
    if ACTIVITIES in days:
        # Delete up to the front of an earlier round, which all readers have read since.
        await queries.delete_before_front(workspace_id, MAX_PARTS)
        before = await resources.clock.now() - timedelta(days=days[ACTIVITIES])
        await queries.move_front(workspace_id, await queries.plan(workspace_id, before=before))
    if JOBS in days:
        keep = timedelta(days=days[JOBS])
        await queries.expire_jobs(workspace_id, now - keep, keep)
    if AUDIT in days:
        await queries.delete_audit(workspace_id, now - timedelta(days=days[AUDIT]))
    return False
