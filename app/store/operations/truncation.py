"""Truncation of the front of an activity log, and deletion of old jobs and audit entries. All in small parts.

The workspace first stores the new front. Processes trust the front that they have read for a second, so the activities are
deleted later. A reader that misses an activity therefore finds the front behind it, and gets CursorExpired. If the process
crashes in between, the next run deletes the rest.
The last activity of a log always stays: the next position follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.jobs import JobKind
from app.store.mongo.queries import Database, Doc, ErrorTranslating
from app.store.workspace.activities import ActivityQueries
from app.store.workspace.reactions import ReactionQueries
from app.store.workspace.segment_history import SegmentHistory
from app.store.workspace.workspaces import read_log_history

DELETED_AT_ONCE = 1_000
"""Positions of the log, jobs or audit entries that one write deletes."""
JOBS_THAT_READ_THE_LOG = (JobKind.EXPORT_ACTIVITIES, JobKind.REPLAY_WEBHOOKS)
READERS_WAIT_SECONDS = 2.0
"""Pause between the new front and the first deletion: longer than a process trusts the front that it has read."""
MAX_UNPUBLISHED = 200
"""Unpublished passes up to which a truncation looks for activities that are in the log and still in an outbox."""


@dataclass(frozen=True, slots=True)
class TruncationPlan:
    """What a truncation of one log would remove: the activities after `front`, up to `cut`, of a log up to `last`.

    `holds` gives positions that must stay, by what needs them; `wanted` is the position that was asked for.
    """

    front: int
    last: int
    wanted: int
    holds: Mapping[str, int]

    @property
    def cut(self) -> int:
        """Last position that may be removed now: nothing that is held, and never the last activity."""
        return max(self.front, min(self.wanted, self.last - 1, *self.holds.values()))

    @property
    def holder(self) -> str | None:
        """What keeps the first of the activities that were asked for; None if nothing does."""
        name = min(self.holds, key=lambda each: self.holds[each], default=None)
        return name if name is not None and self.holds[name] < min(self.wanted, self.last - 1) else None


class TruncationQueries(ErrorTranslating):
    """Named queries of truncation and retention. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        self._db, self._in_chunk = db, in_chunk

    async def workspaces(self) -> list[str]:
        """Return the ids of all workspaces. Index: _id."""
        return [doc["_id"] async for doc in self._db["workspaces"].find({}, {"_id": 1}).sort("_id", 1)]

    async def plan(
        self, workspace_id: str, *, before: datetime | None = None, upto: int | None = None
    ) -> TruncationPlan:
        """Return what a truncation would remove: activities recorded before an instant, or up to a position.

        Indexes: {workspace, pos}, {workspace, on}, {workspace, endpoint, due, pos}, {pub, workspace},
        {workspace, open}. About 30 reads for an instant.
        """
        front = (await read_log_history(self._db, workspace_id)).front
        last = await ActivityQueries(self._db, workspace_id, self._in_chunk).last_pos(front)
        wanted = front if upto is None else upto
        if before is not None:
            wanted = await self._last_before(workspace_id, before, front, last)
        return TruncationPlan(
            front=front,
            last=last,
            wanted=wanted,
            holds=await self._find_holds(workspace_id),
        )

    async def move_front(self, workspace_id: str, plan: TruncationPlan) -> None:
        """Store the cut of the plan as the front of the log. Safe to repeat. Index: _id.

        Wait `READERS_WAIT_SECONDS` before the deletion: until then, readers may trust the front that they read before.
        """
        if plan.cut > plan.front:
            await self._db["workspaces"].update_one({"_id": workspace_id}, {"$max": {"front": plan.cut}})

    async def delete_before_front(self, workspace_id: str, max_parts: int | None = None) -> int:
        """Delete the activities up to the front, and return how many were deleted. Safe to repeat.

        Each write deletes the activities at up to 1,000 positions; at 100 on the embedded server, which takes up to 10 ms
        for each. With `max_parts`, the call ends after so many times 1,000 positions, and the next one continues. Indexes:
        _id, {workspace, pos}.
        """
        doc = await self._db["workspaces"].find_one({"_id": workspace_id}, {"front": 1, "deleted_to": 1}) or {}
        front, deleted, removed = int(doc.get("front", 0)), int(doc.get("deleted_to", 0)), 0
        end = front if max_parts is None else min(front, deleted + max_parts * DELETED_AT_ONCE)
        step = min(DELETED_AT_ONCE, self._in_chunk)
        for start in range(deleted, end, step):
            stop = min(start + step, end)
            where = {"workspace": workspace_id, "pos": {"$gt": start, "$lt": stop + 1}}
            removed += (await self._db["activities"].delete_many(where)).deleted_count
            await self._db["workspaces"].update_one({"_id": workspace_id}, {"$max": {"deleted_to": stop}})
        return removed

    async def expire_jobs(self, workspace_id: str, before: datetime, keep: timedelta) -> int:
        """Let the store delete finished jobs that were created before an instant, and return their number.

        They get the instant at which they expire, for a TTL index. At most 1,000 at once. Index:
        {workspace, created_at, _id}.
        """
        where = {"workspace": workspace_id, "created_at": {"$lt": before}}
        fields = {"open": 1, "finished_at": 1, "expires_at": 1}
        found = self._db["jobs"].find(where, fields).sort("created_at", 1).limit(DELETED_AT_ONCE)
        ended = [doc async for doc in found if "open" not in doc and "expires_at" not in doc]
        for doc in ended:
            change = {"$set": {"expires_at": doc["finished_at"] + keep}}
            await self._db["jobs"].update_one({"_id": doc["_id"]}, change)
        return len(ended)

    async def delete_audit(self, workspace_id: str, before: datetime) -> int:
        """Delete audit entries that are older than an instant, at most 1,000 at once, and return their number.

        Index: {workspace, at, _id}.
        """
        where = {"workspace": workspace_id, "at": {"$lt": before}}
        found = self._db["audit"].find(where, {"_id": 1}).sort([("at", 1), ("_id", 1)]).limit(DELETED_AT_ONCE)
        ids = [doc["_id"] async for doc in found]
        for start in range(0, len(ids), self._in_chunk):
            await self._db["audit"].delete_many({"_id": {"$in": ids[start : start + self._in_chunk]}})
        return len(ids)

    async def _last_before(self, workspace_id: str, before: datetime, front: int, last: int) -> int:
        """Return the last position whose activity was recorded before an instant, by bisection of the log."""
        low, high = front, last
        while low < high:
            middle = (low + high + 1) // 2
            doc = await self._db["activities"].find_one({"workspace": workspace_id, "pos": middle}, {"recorded_at": 1})
            if doc is None or doc["recorded_at"] < before:
                low = middle
            else:
                high = middle - 1
        return low

    async def _find_holds(self, workspace_id: str) -> dict[str, int]:
        """Return the positions up to which the log may be truncated, by what needs the activities behind."""
        holds: dict[str, int] = {}
        progress = self._db["webhook_lanes"].find({"workspace": workspace_id, "on": 1}, {"next": 1})
        for doc in await progress.to_list(None):
            holds[f"the webhook endpoint {doc['_id']}, which has not delivered them"] = min(doc["next"]) - 1
            waiting = {"workspace": workspace_id, "endpoint": doc["_id"], "due": {"$gte": 0}}
            deferred = [
                each["pos"] async for each in self._db["webhook_deliveries"].find(waiting, {"pos": 1, "_id": 0})
            ]
            if deferred:
                holds[f"the webhook endpoint {doc['_id']}, which retries them"] = min(deferred) - 1
        # Each kind of job has a form of position of its own: an import has a number of bytes, not a document.
        reading = {"workspace": workspace_id, "open": 1, "kind": {"$in": JOBS_THAT_READ_THE_LOG}}
        async for doc in self._db["jobs"].find(reading, {"position": 1}):
            if isinstance(at := doc["position"]["at"], int):
                holds[f"the job {doc['_id']}, which has not read them"] = at
        unread = await ReactionQueries(self._db, workspace_id, self._in_chunk).first_unread()
        if unread is not None:
            holds["the workers, which have not made what follows from them"] = unread - 1
        unwritten = await SegmentHistory(self._db, workspace_id, self._in_chunk).first_unwritten()
        if unwritten is not None:
            holds["the workers, which have not written the history of segments"] = unwritten - 1
        unpublished = await self._find_unpublished(workspace_id)
        if unpublished is not None:
            holds["passes whose activities are being published"] = unpublished
        return holds

    async def _find_unpublished(self, workspace_id: str) -> int | None:
        """Return the position before the first activity that is in the log and still in an outbox; None for none.

        Publish recognizes such an activity by the log. If it were truncated, publish would append it again.
        """
        where = {"pub": {"$gte": 0}, "workspace": workspace_id}
        found = self._db["passes"].find(where, {"out.n": 1}).limit(MAX_UNPUBLISHED + 1)
        docs = await found.to_list(None)
        if len(docs) > MAX_UNPUBLISHED:
            return 0
        positions = [pos for doc in docs for pos in await self._positions(workspace_id, doc)]
        return min(positions) - 1 if positions else None

    async def _positions(self, workspace_id: str, card: Doc) -> list[int]:
        numbers = {entry["n"] for entry in card.get("out", ())}
        if not numbers:
            return []
        # The newest activities of the pass are as many as its outbox has, at most: older ones are not in an outbox.
        where = {"workspace": workspace_id, "pass": card["_id"]}
        newest = self._db["activities"].find(where, {"n": 1, "pos": 1, "_id": 0}).sort("pos", -1).limit(len(numbers))
        return [doc["pos"] for doc in await newest.to_list(None) if doc["n"] in numbers]
