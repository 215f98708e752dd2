"""Leases on the readers of the activity log, across workspaces: webhook endpoints, and the stage `react`.

Workers claim a reader while it has work. For `react`, each workspace is one reader, so `endpoint_id` is then the id of the
workspace.

A worker holds an endpoint as long as the document contains the worker's token. Every write of progress renews the
lease. If a worker crashes, another one takes the endpoint over when the heartbeat of the first one has ended, or the
lease. It continues from the stored progress. The token names the worker that holds the lease.
Leases are in system time. In documents of `webhook_lanes` and `react_lanes`, `tok` is the lease token, `said` the work
token, `free` the end of the lease or of a pause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.domain.webhooks.deliveries import Attempt
from app.domain.webhooks.partitions import BlockedHead, EndpointHealth
from app.store.codecs.webhooks import attempt_from_doc, attempt_to_doc, head_from_doc, head_to_doc, health_from_doc
from app.store.mongo.lease_tokens import holder_of, new_token
from app.store.mongo.queries import Database, Doc, ErrorTranslating

LEASE_MS = 30_000
"""Length of a lease: twice the longest attempt (15 s)."""
MAX_WAITING_ENDPOINTS = 1_000


@dataclass(frozen=True, slots=True)
class WaitingEndpoint:
    """Endpoint with work from `at_ms` on. It is leased, or pauses after failures, until `free_ms`."""

    endpoint_id: str
    workspace_id: str
    at_ms: int
    free_ms: int

    @property
    def begins_ms(self) -> int:
        """Earliest time at which a worker may claim the endpoint."""
        return max(self.at_ms, self.free_ms)


@dataclass(frozen=True, slots=True)
class Lease:
    """Lease of one worker on an endpoint, with the endpoint's progress.

    `positions` and `heads` hold the next position of each partition and the blocked heads, `last_attempt` the last
    attempt of any. `work_token` is the work
    token as last read; `is_on` is whether the endpoint was enabled then.
    """

    endpoint_id: str
    workspace_id: str
    token: str
    free_ms: int
    work_token: str
    is_on: bool
    positions: tuple[int, ...]
    heads: Mapping[int, BlockedHead]
    health: EndpointHealth
    last_attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class HeldLease:
    """Lease as another worker finds it: its token, its end, and the worker that holds it, if the token names one."""

    endpoint_id: str
    token: str
    free_ms: int

    @property
    def holder(self) -> str | None:
        """The id of the worker that holds the lease, or None."""
        return holder_of(self.token)


class EndpointLeases(ErrorTranslating):
    """Named queries of the workers that deliver or react, with a collection for each kind of reader.

    Errors: Unavailable, safe to repeat.
    """

    def __init__(self, db: Database, collection: str = "webhook_lanes") -> None:
        self._collection = db[collection]

    async def waiting(self, until_ms: int) -> list[WaitingEndpoint]:
        """Return the endpoints that can be claimed at `until_ms`, those free longest first. Index: {at, free}."""
        # Endpoints that pause because their circuit is open must not take the places of others in the result.
        where = {"at": {"$gte": 0, "$lte": until_ms}, "free": {"$lte": until_ms}}
        return _sort_waiting(await self._collection.find(where, WAITING).limit(MAX_WAITING_ENDPOINTS).to_list(None))

    async def of_workspace(self, workspace_id: str) -> list[WaitingEndpoint]:
        """Return the endpoints of a workspace that have work. Index: {workspace, on}."""
        docs = await self._collection.find({"workspace": workspace_id, "on": 1}, WAITING).to_list(None)
        return _sort_waiting([doc for doc in docs if "at" in doc])

    async def held(self) -> list[tuple[WaitingEndpoint, str]]:
        """Return the endpoints that workers hold, each with the worker's id. Index: {tok}.

        The endpoints look as if their leases had ended. Leases of 0.1.0 name no worker and are left out.
        """
        found = self._collection.find({"tok": {"$gt": ""}}, {**WAITING, "tok": 1}).limit(MAX_WAITING_ENDPOINTS)
        docs = [doc for doc in await found.to_list(None) if "at" in doc]
        held = [(doc, holder_of(doc["tok"])) for doc in docs]
        return [(_waiting_from_doc(doc | {"free": 0}), holder) for doc, holder in held if holder is not None]

    async def lease_on(self, endpoint_id: str) -> HeldLease | None:
        """Return the lease on an endpoint, or None if no worker holds it. Index: _id."""
        doc = await self._collection.find_one({"_id": endpoint_id}, {"tok": 1, "free": 1})
        return None if doc is None or "tok" not in doc else HeldLease(endpoint_id, doc["tok"], doc["free"])

    async def claim(self, endpoint_id: str, now_ms: int, holder: str | None = None) -> Lease | None:
        """Claim the endpoint for `LEASE_MS` and return the lease, which names its holder.

        None if there is no work or another worker holds it. Index: _id.
        """
        free = {"_id": endpoint_id, "on": 1, "at": {"$lte": now_ms}, "free": {"$lte": now_ms}}
        return await self._claim(free, now_ms, holder)

    async def take_over(self, held: HeldLease, now_ms: int, holder: str | None = None) -> Lease | None:
        """Claim an endpoint whose holder has ended, before the end of the lease. Index: _id.

        None if the lease has been renewed or claimed since it was read.
        """
        as_read = {"_id": held.endpoint_id, "on": 1, "at": {"$lte": now_ms}, "tok": held.token, "free": held.free_ms}
        return await self._claim(as_read, now_ms, holder)

    async def _claim(self, where: Doc, now_ms: int, holder: str | None) -> Lease | None:
        change = {"tok": new_token(holder), "free": now_ms + LEASE_MS}
        doc = await self._find_and_update(where, {"$set": change})
        return None if doc is None else _lease_from_doc(doc)

    async def save_progress(self, lease: Lease, now_ms: int) -> Lease | None:
        """Store the progress, renew the lease for `LEASE_MS` and return it. None if the lease is lost. Index: _id.

        The lease returned contains the current work token and whether the endpoint is still enabled.
        """
        change = _progress_change(lease, free=now_ms + LEASE_MS)
        doc = await self._find_and_update(_held_by(lease), change)
        if doc is None:
            return None
        return replace(lease, free_ms=doc["free"], work_token=doc["said"], is_on="on" in doc)

    async def go_idle(self, lease: Lease, at_ms: int | None, free_ms: int) -> bool:
        """Store the progress and release the endpoint, which has no work before `at_ms`. Index: _id.

        With `at_ms` None, the endpoint has no work until a writer replaces the work token. No worker may claim the
        endpoint before `free_ms`. Returns False, with nothing changed, if the work token was replaced meanwhile.
        """
        change = (
            _progress_change(lease, free=free_ms) if at_ms is None else _progress_change(lease, free=free_ms, at=at_ms)
        )
        change["$unset"] |= {"tok": "", **({"at": ""} if at_ms is None else {})}
        return await self._update({**_held_by(lease), "said": lease.work_token}, change)

    async def release(self, lease: Lease, free_ms: int) -> None:
        """Store the progress and release the endpoint, which may have more work at once. Index: _id."""
        change = _progress_change(lease, free=free_ms)
        change["$unset"]["tok"] = ""
        await self._update(_held_by(lease), change)

    async def switch_off(self, lease: Lease) -> bool:
        """Release a disabled endpoint.

        Returns False, with nothing changed, if the work token was replaced. Index: _id.
        """
        change = _progress_change(lease, free=0)
        change["$unset"] |= {"tok": "", "at": "", "on": ""}
        return await self._update({**_held_by(lease), "said": lease.work_token}, change)

    async def _find_and_update(self, where: Doc, change: Doc) -> Doc | None:
        return await self._collection.find_one_and_update(where, change, return_document=True)

    async def _update(self, where: Doc, change: Doc) -> bool:
        return (await self._collection.update_one(where, change)).matched_count == 1


WAITING = {"workspace": 1, "at": 1, "free": 1}


def _sort_waiting(docs: list[Doc]) -> list[WaitingEndpoint]:
    return sorted(map(_waiting_from_doc, docs), key=lambda each: each.free_ms)


def _waiting_from_doc(doc: Doc) -> WaitingEndpoint:
    return WaitingEndpoint(endpoint_id=doc["_id"], workspace_id=doc["workspace"], at_ms=doc["at"], free_ms=doc["free"])


def _held_by(lease: Lease) -> Doc:
    return {"_id": lease.endpoint_id, "tok": lease.token}


def _lease_from_doc(doc: Doc) -> Lease:
    return Lease(
        endpoint_id=doc["_id"],
        workspace_id=doc["workspace"],
        token=doc["tok"],
        free_ms=doc["free"],
        work_token=doc["said"],
        is_on=True,
        positions=tuple(doc["next"]),
        heads={int(partition): head_from_doc(head) for partition, head in doc["heads"].items()},
        health=health_from_doc(doc),
        last_attempt=attempt_from_doc(doc["last"]) if "last" in doc else None,
    )


def _progress_change(lease: Lease, **fields: int) -> Doc:
    health = lease.health
    heads = {str(partition): head_to_doc(head) for partition, head in lease.heads.items()}
    doc: Doc = {
        "next": list(lease.positions),
        "heads": heads,
        "failures": health.failures,
        "holds": health.probe_pauses,
        **fields,
    }
    if lease.last_attempt is not None:
        doc["last"] = attempt_to_doc(lease.last_attempt)
    times = {"since": health.failing_since_ms, "away_since": health.circuit_opened_ms}
    doc |= {name: ms for name, ms in times.items() if ms is not None}
    return {"$set": doc, "$unset": {name: "" for name, ms in times.items() if ms is None}}
