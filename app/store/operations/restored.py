"""What has to change in a database that was restored from a backup, before processes use it again."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from app.domain.values.instants import to_ms
from app.store.mongo.ids import new_id
from app.store.mongo.queries import Database, Doc, ErrorTranslating, in_chunks
from app.store.workspace.activities import ActivityQueries
from app.store.workspace.segment_history import SegmentHistory

EPOCH_BYTES = 4
WORKSPACES_READ = 1_000


@dataclass(frozen=True, slots=True)
class RestoredCounts:
    """The new epoch, the number of workspaces that begin it, and of webhook endpoints that step back."""

    epoch: str
    workspaces: int
    endpoints: int


async def _do_nothing(_workspace_id: str, _epoch: str) -> None:
    """Do nothing before a workspace begins an epoch."""


class Restoration(ErrorTranslating):
    """Begins a new epoch of all activity logs. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        self._db, self._in_chunk = db, in_chunk

    async def begin_epoch(
        self, at: datetime, before: Callable[[str, str], Awaitable[None]] = _do_nothing
    ) -> RestoredCounts:
        """Begin a new epoch in every workspace at the end of its log, invalidate all caches of passes, and end all tokens.

        `before` is awaited for each workspace, before it begins the epoch, with the ids of the workspace and of the epoch.

        Partitions of webhooks and of react whose next position lies behind the end of the log step back to it, and so does
        the history of segments. A repeat begins another epoch at the same positions, which changes nothing for readers. No
        worker may run meanwhile. Indexes: _id, {workspace, pos}, {workspace, created_at, _id}.
        """
        epoch, workspaces, endpoints, last_id = secrets.token_hex(EPOCH_BYTES), 0, 0, ""
        change: Doc = {"$set": {"value": epoch, "at": at}, "$inc": {"number": 1}}
        await self._db["constants"].update_one({"_id": "epoch"}, change, upsert=True)
        while ids := await self._workspaces_after(last_id):
            for workspace_id in ids:
                await before(workspace_id, epoch)
                endpoints += await self._begin_in_workspace(workspace_id, epoch, at)
            workspaces, last_id = workspaces + len(ids), ids[-1]
        return RestoredCounts(epoch, workspaces, endpoints)

    async def _begin_in_workspace(self, workspace_id: str, epoch: str, at: datetime) -> int:
        last = await ActivityQueries(self._db, workspace_id, self._in_chunk).last_pos()
        await self._db["workspaces"].update_one(
            {"_id": workspace_id},
            {"$push": {"restores": {"epoch": epoch, "pos": last}}, "$set": {"parting": new_id("parting")}},
        )
        # The backup lacks later revocations, so it must accept none of the tokens that exist.
        await self._db["token_keys"].delete_many({"workspace": workspace_id})
        found = self._db["webhook_endpoints"].find({"workspace": workspace_id}, {"_id": 1})
        endpoint_ids = [doc["_id"] async for doc in found]

        async def find_chunk(chunk: object) -> list[Doc]:
            return await self._db["webhook_lanes"].find({"_id": {"$in": chunk}}).to_list(None)

        docs = await in_chunks(find_chunk, endpoint_ids, self._in_chunk)
        reader = await self._db["react_lanes"].find_one({"_id": workspace_id})
        if reader is not None and max(reader["next"]) > last + 1:
            await self._db["react_lanes"].update_one({"_id": workspace_id}, _step_back(reader, last, to_ms(at)))
        await SegmentHistory(self._db, workspace_id, self._in_chunk).step_back(last)
        stepping_back = [doc for doc in docs if max(doc["next"]) > last + 1]
        for doc in stepping_back:
            await self._db["webhook_lanes"].update_one({"_id": doc["_id"]}, _step_back(doc, last, to_ms(at)))
        return len(stepping_back)

    async def _workspaces_after(self, last_id: str) -> list[str]:
        found = self._db["workspaces"].find({"_id": {"$gt": last_id}}, {"_id": 1}).sort("_id", 1)
        return [doc["_id"] for doc in await found.limit(WORKSPACES_READ).to_list(None)]


def _step_back(doc: Doc, last: int, now_ms: int) -> Doc:
    """Return the change that lets an endpoint continue at the end of the log, without the lost messages."""
    kept = {number: head for number, head in doc["heads"].items() if doc["next"][int(number)] <= last}
    change: Doc = {"next": [min(each, last + 1) for each in doc["next"]], "heads": kept, "free": 0}
    change |= {"said": new_id("said"), **({"at": now_ms} if "on" in doc else {})}
    return {"$set": change, "$unset": {"tok": ""}}
