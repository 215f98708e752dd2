"""Named queries over how far the webhook endpoints of one workspace are: where they begin, that there is work, how far.

An endpoint has one document, {_id, workspace, on, next, heads, at, free, said, tok, …}. `next` holds a position of the log
for each lane: whatever of the lane lies below it was delivered, set aside, or is not shown to the endpoint. `at` is there
while there may be something to do, and from when; `free` is until when somebody holds it, or it is left alone. `said` is
changed by whoever brings work: who believes to be done, and finds it changed, looks again. Times are milliseconds of the
system's clock since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.webhooks.partitions import PARTITIONS, PartitionState
from app.store.mongo.ids import new_id
from app.store.mongo.queries import Doc, WorkspaceQueries, insert_new

STATE_PROJECTION = {"next": 1, "away_since": 1}


class PartitionQueries(WorkspaceQueries):
    """The lanes of one workspace's endpoints, each known by its endpoint's id. Errors: Unavailable, safe to repeat."""

    collection = "webhook_lanes"

    async def insert(self, endpoint_id: str, after: int, now_ms: int) -> None:
        """Lets an endpoint begin behind position `after` of the log, at once; nothing where it has begun. Safe to repeat."""
        begin: Doc = {"on": 1, "next": [after + 1] * PARTITIONS, "heads": {}, "failures": 0, "holds": 0}
        await insert_new(self._all, [self._mine(_id=endpoint_id, **begin, **_work(now_ms), free=0)])

    async def switch(self, endpoint_id: str, on: bool, now_ms: int) -> None:
        """Lets it go on where it stood, forgetting that it was away, or stops it. Safe to repeat. Index: _id.

        The endpoint itself is changed first: a worker that finds it DISABLED stops it, unless it was said since to go on.
        """
        if not on:
            await self._all.update_one(self._mine(_id=endpoint_id), {"$unset": {"on": "", "at": ""}, "$set": _said()})
            return
        # Left alone because it was away, not held by a worker that is at it.
        await self._all.update_one(self._mine(_id=endpoint_id, tok=None), {"$set": {"free": 0}})
        well = {"on": 1, "failures": 0, "holds": 0, **_work(now_ms)}
        change = {"$set": well, "$unset": {"since": "", "away_since": ""}}
        await self._all.update_one(self._mine(_id=endpoint_id), change)

    async def announce_work(self, now_ms: int, endpoint_id: str | None = None) -> bool:
        """Tells the endpoints, or this one, that there is work; whether there is any that is switched on. Safe to repeat.

        None is left alone for a shorter time for it. Index: {workspace, on}, or _id.
        """
        asked = self._mine(on=1) if endpoint_id is None else self._mine(_id=endpoint_id, on=1)
        done = await self._all.update_many(asked, {"$set": _said(), "$min": {"at": now_ms}})
        return done.matched_count > 0

    async def states(self, endpoint_ids: Iterable[str]) -> dict[str, PartitionState]:
        """How far each of the endpoints is. Index: _id."""
        docs = await self._by_ids(endpoint_ids, STATE_PROJECTION)
        return {doc["_id"]: PartitionState(min(doc["next"]) - 1, doc.get("away_since")) for doc in docs}

    async def positions(self, endpoint_id: str) -> tuple[int, ...]:
        """The next position of each lane of an endpoint; none where it is deleted. Index: _id."""
        docs = await self._by_ids([endpoint_id], {"next": 1})
        return tuple(docs[0]["next"]) if docs else ()

    async def delete(self, endpoint_id: str) -> None:
        """Forgets how far an endpoint is; a worker that is at it stops. Safe to repeat. Index: _id."""
        await self._all.delete_one(self._mine(_id=endpoint_id))


def _work(now_ms: int) -> Doc:
    return {"at": now_ms, **_said()}


def _said() -> Doc:
    return {"said": new_id("said")}
