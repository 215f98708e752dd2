"""Leases on jobs, across workspaces. Workers claim open jobs and advance them by compare-and-set.

A run owns a job as long as the document contains the run's token, which names the worker. The lease is renewed while the
run works. If a worker crashes, another one takes the job over when the heartbeat of the first one has ended, or the
lease. It begins at the position last committed. Leases are in system time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from app.domain.jobs import MAX_RUNNING_JOBS, JobKind, JobStatus, Tally
from app.domain.values.instants import from_ms
from app.store.codecs.jobs import Order, order_from_doc, tally_from_doc, tally_to_doc
from app.store.mongo.lease_tokens import holder_of, new_token
from app.store.mongo.queries import Database, Doc, ErrorTranslating
from app.store.workspace.exports import UNUSED_WHEN_FINISHED

LEASE_MS = 10_000
"""Length of a lease, against slow writes and clocks that differ. Losing a lease during work costs time, never a row."""
FAILED_AFTER = 5
"""Failures in a row, without a commit in between, after which a job fails."""
MAX_READ = 10_000
"""Unfinished jobs that one look at all workspaces reads."""
STUCK_AFTER = 50
"""Starts without a commit after which a job fails: each of these workers crashed."""


@dataclass(frozen=True, slots=True)
class JobRun:
    """Lease of one worker on a job: its order, where to continue, and the counts up to that position.

    Each kind of job defines its own `position`, such as a byte of a file or a key of a list. `step` counts the commits:
    all runs of the same step begin at the same position.
    """

    job_id: str
    workspace_id: str
    kind: JobKind
    token: str
    order: Order
    actor_id: str
    dry_run: bool
    position: Any
    step: int
    total: int
    tally: Tally
    is_cancelling: bool
    starts: int
    created_at: datetime
    warnings: tuple[str, ...] = ()


FindGone = Callable[[Collection[str]], Awaitable[set[str]]]
"""A function that returns those of the workers that hold leases but have ended."""
KINDS = [kind.value for kind in JobKind]
"""The kinds of jobs that this version runs. A later version may have stored others."""


async def find_none_gone(_holders: Collection[str]) -> set[str]:
    """Return no worker: each lease lasts until its end."""
    return set()


class WaitingJob(NamedTuple):
    """Job that no worker holds, and its workspace."""

    job_id: str
    workspace_id: str


class JobLeases(ErrorTranslating):
    """Named queries of the workers that run jobs. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._jobs, self._events = db["jobs"], db["events"]

    async def open(self, now_ms: int, limit: int = 100, find_gone: FindGone = find_none_gone) -> list[WaitingJob]:
        """Return the unfinished jobs that no worker holds, in turn by workspace. Index: {open, created_at}.

        First come the oldest jobs of workspaces without a running job. A workspace has at most two running jobs. Jobs of
        kinds that a later version has are left out. A job whose holder has ended is held by no worker.
        """
        shown = {"workspace": 1, "lease": 1, "token": 1}
        query = {"open": {"$gte": 0}, "kind": {"$in": KINDS}}
        docs = await self._jobs.find(query, shown).sort("created_at", 1).limit(MAX_READ).to_list(None)
        held = {doc["_id"]: holder_of(doc["token"]) for doc in docs if doc["lease"] > now_ms and "token" in doc}
        gone = await find_gone({each for each in held.values() if each is not None})
        held = {job_id: holder for job_id, holder in held.items() if holder not in gone}
        free = {doc["_id"] for doc in docs if doc["lease"] <= now_ms or ("token" in doc and doc["_id"] not in held)}
        running = Counter(doc["workspace"] for doc in docs if doc["_id"] in held)
        waiting: list[tuple[int, WaitingJob]] = []
        for doc in docs:
            workspace_id = doc["workspace"]
            if doc["_id"] in free and running[workspace_id] < MAX_RUNNING_JOBS:
                waiting.append((running[workspace_id], WaitingJob(doc["_id"], workspace_id)))
                running[workspace_id] += 1
        return [job for _, job in sorted(waiting, key=lambda item: item[0])][:limit]

    async def count_running(self, workspace_id: str, now_ms: int, besides: str = "") -> int:
        """Return the number of other jobs of a workspace that workers hold. Index: {workspace, open}."""
        docs = await self._jobs.find({"workspace": workspace_id, "open": 1}, {"lease": 1, "token": 1}).to_list(None)
        return sum(doc["lease"] > now_ms and "token" in doc and doc["_id"] != besides for doc in docs)

    async def claim(
        self, job_id: str, now_ms: int, holder: str | None = None, find_gone: FindGone = find_none_gone
    ) -> JobRun | None:
        """Claim the job for `LEASE_MS` and return the run, whose token names the holder.

        None if it is finished, another worker holds it, its kind is unknown, or its workspace has enough running jobs. A
        job whose holder has ended is taken over. Indexes: _id, {workspace, open}.
        """
        found = await self._jobs.find_one({"_id": job_id}, {"workspace": 1, "token": 1, "lease": 1})
        if found is None or await self.count_running(found["workspace"], now_ms, job_id) >= MAX_RUNNING_JOBS:
            return None
        claimable: Doc = {"_id": job_id, "open": 1, "kind": {"$in": KINDS}, "lease": {"$lte": now_ms}}
        before = holder_of(found.get("token", ""))
        if found.get("lease", 0) > now_ms and before is not None and before in await find_gone([before]):
            claimable |= {"token": found["token"], "lease": found["lease"]}
        lease = {"token": new_token(holder), "lease": now_ms + LEASE_MS, "status": JobStatus.RUNNING.value}
        change = {"$set": lease, "$min": {"started_at": from_ms(now_ms)}, "$inc": {"starts": 1}}
        doc = await self._find_and_update(claimable, change)
        return None if doc is None else _run_from_doc(doc)

    async def renew(self, run: JobRun, now_ms: int) -> None:
        """Renew the lease for another `LEASE_MS` if the run still holds the job. Index: _id."""
        await self._jobs.update_one({"_id": run.job_id, "token": run.token}, {"$set": {"lease": now_ms + LEASE_MS}})

    async def commit(
        self, run: JobRun, position: object, tally: Tally, total: int | None = None, warning: str | None = None
    ) -> JobRun | None:
        """Store a position and the counts up to it, and return the run; None if it lost the job. Index: _id.

        `total` is the expected number of items, if the run has just determined it. `warning` is added to the warnings
        of the job, once.
        """
        total = max(run.total if total is None else total, tally.done)
        progress = {"position": position, **tally_to_doc(tally), "total": total, "starts": 0, "failures": 0}
        as_read = {"_id": run.job_id, "token": run.token, "step": run.step}
        change: Doc = {"$set": progress, "$inc": {"step": 1}}
        if warning is not None and warning not in run.warnings:
            change["$push"] = {"warnings": warning}
        doc = await self._find_and_update(as_read, change)
        return None if doc is None else _run_from_doc(doc)

    async def release(self, run: JobRun) -> None:
        """Release the job, so that any worker may continue it. Index: _id."""
        await self._jobs.update_one(
            {"_id": run.job_id, "token": run.token}, {"$set": {"lease": 0, "starts": 0}, "$unset": {"token": ""}}
        )

    async def finish(
        self,
        run: JobRun,
        status: JobStatus,
        at: datetime,
        error: str | None = None,
        outcome: Mapping[str, object] | None = None,
    ) -> None:
        """Finish a job if the run still holds it.

        A successful job's total becomes the number of items done. Index: _id.
        """
        change: Doc = {"status": status.value, "finished_at": at, "outcome": dict(outcome or {})}
        if status is JobStatus.SUCCEEDED:
            change["total"] = run.tally.done
        if error is not None:
            change["error"] = error
        await self._jobs.update_one(
            {"_id": run.job_id, "token": run.token},
            {"$set": change, "$unset": dict.fromkeys(UNUSED_WHEN_FINISHED, "")},
        )

    async def record_failure(self, run: JobRun, retry_at_ms: int) -> bool:
        """Count a failure, pause the job until `retry_at_ms`, and return whether it has failed too often.

        Index: _id.
        """
        held_by_run = {"_id": run.job_id, "token": run.token}
        doc = await self._find_and_update(held_by_run, {"$inc": {"failures": 1}, "$set": {"lease": retry_at_ms}})
        return doc is not None and bool(doc["failures"] >= FAILED_AFTER)

    async def is_backlogged(self, ranges: Sequence[tuple[int, int]], max_pending: int) -> bool:
        """Return whether a range of slots has more than `max_pending` pending events.

        Index: {pend, workspace, pass, occurred_at, _id}.
        """
        for low, high in ranges:
            query = {"pend": {"$gte": low, "$lte": high}}
            if await self._events.count_documents(query, limit=max_pending + 1) > max_pending:
                return True
        return False

    async def _find_and_update(self, where: Doc, change: Doc) -> Doc | None:
        return await self._jobs.find_one_and_update(where, change, return_document=True)


def _run_from_doc(doc: Doc) -> JobRun:
    kind = JobKind(doc["kind"])
    return JobRun(
        job_id=doc["_id"],
        workspace_id=doc["workspace"],
        kind=kind,
        token=doc["token"],
        order=order_from_doc(kind, doc["order"]),
        actor_id=doc["actor"],
        dry_run=doc["dry_run"],
        position=doc["position"],
        step=doc["step"],
        total=doc["total"],
        tally=tally_from_doc(doc),
        is_cancelling=doc.get("cancel", False),
        starts=doc["starts"],
        created_at=doc["created_at"],
        warnings=tuple(doc["warnings"]),
    )
