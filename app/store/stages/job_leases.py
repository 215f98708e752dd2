"""How workers carry jobs, across workspaces: found while open, claimed by lease, advanced by compare-and-set.

A run owns a job as long as its token stands there. Its lease is short and renewed while it runs; one that dies is
followed by the next claim, which begins at the position last committed. Leases are in system time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.jobs import JobKind, JobStatus, Tally
from app.domain.values.instants import from_ms
from app.store.codecs.jobs import Order, order_from, tally_doc, tally_from
from app.store.mongo.ids import new_id
from app.store.mongo.queries import Database, Doc, ErrorTranslating

LEASE_MS = 1_000
"""Short, so that a killed worker is followed at its restart. Losing a hold that still works costs time, never a row."""
FAILED_AFTER = 5
"""How many failures in a row, without a row carried in between, end a job."""
STUCK_AFTER = 50
"""How many starts that carried nothing end a job: each of them died without a word."""


@dataclass(frozen=True, slots=True)
class JobRun:
    """One worker's hold on a job: what to do, from where, and what was counted up to there.

    `position` is what the kind makes of it: a place in a file, a key of a list. `step` counts the commits: from the same
    step, every run goes on from the same position.
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


class JobLeases(ErrorTranslating):
    """Named queries of the workers that carry jobs. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._jobs, self._events = db["jobs"], db["events"]

    async def open(self, now_ms: int, limit: int = 100) -> list[str]:
        """Jobs that are not finished and that nobody holds, the oldest first. Index: {open, created_at}."""
        query = {"open": {"$gte": 0}, "lease": {"$lte": now_ms}}
        docs = await self._jobs.find(query, {"_id": 1}).sort("created_at", 1).limit(limit).to_list(None)
        return [doc["_id"] for doc in docs]

    async def claim(self, job_id: str, now_ms: int) -> JobRun | None:
        """A hold on the job, for `LEASE_MS`; None where it is finished or another holds it. Index: _id."""
        free = {"_id": job_id, "open": 1, "lease": {"$lte": now_ms}}
        hold = {"token": new_id("run"), "lease": now_ms + LEASE_MS, "status": JobStatus.RUNNING.value}
        change = {"$set": hold, "$min": {"started_at": from_ms(now_ms)}, "$inc": {"starts": 1}}
        doc = await self._changed(free, change)
        return None if doc is None else _run(doc)

    async def renew(self, run: JobRun, now_ms: int) -> None:
        """Keeps the hold for another `LEASE_MS`, where it still stands."""
        await self._jobs.update_one({"_id": run.job_id, "token": run.token}, {"$set": {"lease": now_ms + LEASE_MS}})

    async def commit(self, run: JobRun, position: object, tally: Tally, total: int | None = None) -> JobRun | None:
        """The run, moved on to a position with these counts in all; None where the job is no longer held by it.

        `total` is how many items are expected, where that has just been found out.
        """
        total = max(run.total if total is None else total, tally.done)
        progress = {"position": position, **tally_doc(tally), "total": total, "starts": 0, "failures": 0}
        held = {"_id": run.job_id, "token": run.token, "step": run.step}
        doc = await self._changed(held, {"$set": progress, "$inc": {"step": 1}})
        return None if doc is None else _run(doc)

    async def release(self, run: JobRun) -> None:
        """Lets the job go, for anybody to go on with."""
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
        """Ends a job; its total is what was done. Nothing where it is no longer held."""
        ended: Doc = {"status": status.value, "finished_at": at, "outcome": dict(outcome or {})}
        if status is JobStatus.SUCCEEDED:
            ended["total"] = run.tally.done
        if error is not None:
            ended["error"] = error
        await self._jobs.update_one(
            {"_id": run.job_id, "token": run.token},
            # Which events or activities it was asked about may be personal, and nobody asks any more.
            {"$set": ended, "$unset": {"open": "", "token": "", "lease": "", "cancel": "", "order.query": ""}},
        )

    async def failed(self, run: JobRun, retry_at_ms: int) -> bool:
        """Counts a failure and lets the job rest until then; True when it was one too many."""
        held = {"_id": run.job_id, "token": run.token}
        doc = await self._changed(held, {"$inc": {"failures": 1}, "$set": {"lease": retry_at_ms}})
        return doc is not None and bool(doc["failures"] >= FAILED_AFTER)

    async def backlogged(self, ranges: Sequence[tuple[int, int]], most: int) -> bool:
        """Whether more than `most` events wait in one of these ranges of slots. Index: {pend, pass, occurred_at, _id}."""
        for low, high in ranges:
            query = {"pend": {"$gte": low, "$lte": high}}
            if await self._events.count_documents(query, limit=most + 1) > most:
                return True
        return False

    async def _changed(self, where: Doc, change: Doc) -> Doc | None:
        return await self._jobs.find_one_and_update(where, change, return_document=True)


def _run(doc: Doc) -> JobRun:
    kind = JobKind(doc["kind"])
    return JobRun(
        doc["_id"],
        doc["workspace"],
        kind,
        doc["token"],
        order_from(kind, doc["order"]),
        doc["actor"],
        doc["dry_run"],
        doc["position"],
        doc["step"],
        doc["total"],
        tally_from(doc),
        doc.get("cancel", False),
        doc["starts"],
        doc["created_at"],
    )
