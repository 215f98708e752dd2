"""Named queries over the delivery progress of one workspace's webhook endpoints.

An endpoint has one document in `webhook_lanes`, with these fields besides its id and workspace:

- `on`: 1 while the endpoint is enabled.
- `next`: a position of the log for each partition. Activities of the partition below that position were delivered
  or deferred, or the endpoint's filter hides them.
- `heads`: the blocked messages. `failures`, `since`, `away_since`, `holds`: see `EndpointHealth`. `last`: the last attempt.
- `at`: the earliest time of work; an idle endpoint has none.
- `free`: the end of a lease or of a pause.
- `said`: the work token. Writers replace it when they add work, and a worker goes idle only if it is unchanged.
- `tok`: the token of the lease.

Times are milliseconds of system time since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.webhooks.partitions import PARTITIONS, PartitionState
from app.store.codecs.webhooks import attempt_from_doc, head_from_doc, health_from_doc
from app.store.mongo.ids import new_id
from app.store.mongo.queries import Doc, WorkspaceQueries, insert_new

STATE_PROJECTION = dict.fromkeys(("next", "on", "at", "heads", "failures", "holds", "since", "away_since", "last"), 1)


class PartitionQueries(WorkspaceQueries):
    """Partitions of one workspace's endpoints, by endpoint id. Errors: Unavailable, safe to repeat."""

    collection = "webhook_lanes"

    async def insert(self, endpoint_id: str, after: int, now_ms: int) -> None:
        """Start the delivery to an endpoint after a position of the log, unless it has started already.

        Safe to repeat.
        """
        initial: Doc = {"on": 1, "next": [after + 1] * PARTITIONS, "heads": {}, "failures": 0, "holds": 0}
        await insert_new(
            self._collection, [self._in_workspace(_id=endpoint_id, **initial, **_new_work(now_ms), free=0)]
        )

    async def set_enabled(self, endpoint_id: str, enabled: bool, now_ms: int) -> None:
        """Resume the delivery to an endpoint and close its circuit, or stop the delivery. Safe to repeat. Index: _id.

        Change the endpoint itself first: a worker that finds it DISABLED stops the delivery, unless the work token was
        replaced meanwhile.
        """
        if not enabled:
            await self._collection.update_one(
                self._in_workspace(_id=endpoint_id), {"$unset": {"on": "", "at": ""}, "$set": _new_work_token()}
            )
            return
        # End a pause after failures, but not the lease of a worker.
        await self._collection.update_one(self._in_workspace(_id=endpoint_id, tok=None), {"$set": {"free": 0}})
        reset = {"on": 1, "failures": 0, "holds": 0, **_new_work(now_ms)}
        change = {"$set": reset, "$unset": {"since": "", "away_since": ""}}
        await self._collection.update_one(self._in_workspace(_id=endpoint_id), change)

    async def announce_work(self, now_ms: int, endpoint_id: str | None = None) -> bool:
        """Give the enabled endpoints, or this one, a new work token, and return whether there are any. Safe to repeat.

        A pause after failures is not shortened. Index: {workspace, on}, or _id.
        """
        enabled = self._in_workspace(on=1) if endpoint_id is None else self._in_workspace(_id=endpoint_id, on=1)
        result = await self._collection.update_many(enabled, {"$set": _new_work_token(), "$min": {"at": now_ms}})
        return result.matched_count > 0

    async def states(self, endpoint_ids: Iterable[str]) -> dict[str, PartitionState]:
        """Return the delivery progress of each of the endpoints. Index: _id."""
        docs = await self._by_ids(endpoint_ids, STATE_PROJECTION)
        return {doc["_id"]: _state_from_doc(doc) for doc in docs}

    async def positions(self, endpoint_id: str) -> tuple[int, ...]:
        """Return the next position of each partition of an endpoint; empty if the endpoint is deleted. Index: _id."""
        docs = await self._by_ids([endpoint_id], {"next": 1})
        return tuple(docs[0]["next"]) if docs else ()

    async def delete(self, endpoint_id: str) -> None:
        """Delete the progress of an endpoint.

        A worker that holds a lease on the endpoint loses it. Safe to repeat. Index: _id.
        """
        await self._collection.delete_one(self._in_workspace(_id=endpoint_id))


def _state_from_doc(doc: Doc) -> PartitionState:
    return PartitionState(
        min(doc["next"]) - 1,
        health_from_doc(doc),
        heads={doc["next"][int(partition)]: head_from_doc(head) for partition, head in doc["heads"].items()},
        work_ms=doc.get("at") if "on" in doc else None,
        last_attempt=attempt_from_doc(doc["last"]) if "last" in doc else None,
    )


def _new_work(now_ms: int) -> Doc:
    return {"at": now_ms, **_new_work_token()}


def _new_work_token() -> Doc:
    return {"said": new_id("said")}
