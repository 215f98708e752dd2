"""How workers deliver to webhook endpoints, across workspaces: found while there is something to do, held by lease.

Who holds an endpoint does so as long as its token stands there; it is renewed with every note of progress. One that dies is
followed when its lease is over, by who goes on from the progress last noted. Leases are in system time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.domain.webhooks.partitions import BlockedHead, EndpointHealth
from app.store.mongo.ids import new_id
from app.store.mongo.queries import Database, Doc, ErrorTranslating
from app.store.workspace.deliveries import attempt_docs, attempts_from

LEASE_MS = 30_000
"""Longer than a message may take twice."""
MAX_WAITING_ENDPOINTS = 1_000


@dataclass(frozen=True, slots=True)
class WaitingEndpoint:
    """An endpoint with something to do from `at_ms` on; it is held, or left alone, until `free_ms`."""

    endpoint_id: str
    workspace_id: str
    at_ms: int
    free_ms: int

    @property
    def begins_ms(self) -> int:
        """From when it may be claimed."""
        return max(self.at_ms, self.free_ms)


@dataclass(frozen=True, slots=True)
class Lease:
    """One worker's hold on an endpoint, and how far it is: the next position, and the head that failed, of each lane.

    `said` is what whoever last brought work had said when it was last looked at; `on` whether it was switched on.
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


class EndpointLeases(ErrorTranslating):
    """Named queries of the workers that deliver. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._all = db["webhook_lanes"]

    async def waiting(self, until_ms: int) -> list[WaitingEndpoint]:
        """Endpoints that may be claimed by then for something to do, those first that were let go the longest ago.

        Index: {at, free}.
        """
        # Those that are left alone, because they are away, must not stand before others.
        where = {"at": {"$gte": 0, "$lte": until_ms}, "free": {"$lte": until_ms}}
        return _sorted(await self._all.find(where, WAITING).limit(MAX_WAITING_ENDPOINTS).to_list(None))

    async def of_workspace(self, workspace_id: str) -> list[WaitingEndpoint]:
        """Those of a workspace. Index: {workspace, on}."""
        docs = await self._all.find({"workspace": workspace_id, "on": 1}, WAITING).to_list(None)
        return _sorted([doc for doc in docs if "at" in doc])

    async def claim(self, endpoint_id: str, now_ms: int) -> Lease | None:
        """A hold on the endpoint for `LEASE_MS`; None where there is nothing to do, or another holds it. Index: _id."""
        free = {"_id": endpoint_id, "on": 1, "at": {"$lte": now_ms}, "free": {"$lte": now_ms}}
        hold = {"tok": new_id("run"), "free": now_ms + LEASE_MS}
        doc = await self._moved(free, {"$set": hold})
        return None if doc is None else _hold(doc)

    async def save_progress(self, hold: Lease, now_ms: int) -> Lease | None:
        """The hold, with how far it is noted, for another `LEASE_MS`, and what was said since; None where it is lost.

        Index: _id.
        """
        change = _change(hold, free=now_ms + LEASE_MS)
        doc = await self._moved(_held(hold), change)
        if doc is None:
            return None
        return replace(hold, free_ms=doc["free"], work_token=doc["said"], is_on="on" in doc)

    async def go_idle(self, hold: Lease, at_ms: int | None, free_ms: int) -> bool:
        """Lets go, how far it is being noted: there is nothing to do before `at_ms` (None: before somebody says so).

        Nobody may claim it before `free_ms`. False where something was said meanwhile, and nothing is changed. Index: _id.
        """
        change = _change(hold, free=free_ms) if at_ms is None else _change(hold, free=free_ms, at=at_ms)
        change["$unset"] |= {"tok": "", **({"at": ""} if at_ms is None else {})}
        return await self._changed({**_held(hold), "said": hold.work_token}, change)

    async def release(self, hold: Lease, free_ms: int) -> None:
        """Lets go, how far it is being noted; there may be more to do at once. Index: _id."""
        change = _change(hold, free=free_ms)
        change["$unset"]["tok"] = ""
        await self._changed(_held(hold), change)

    async def switch_off(self, hold: Lease) -> bool:
        """Lets go of an endpoint that is disabled. False where something was said meanwhile, and nothing is changed.

        Index: _id.
        """
        change = _change(hold, free=0)
        change["$unset"] |= {"tok": "", "at": "", "on": ""}
        return await self._changed({**_held(hold), "said": hold.work_token}, change)

    async def _moved(self, where: Doc, change: Doc) -> Doc | None:
        return await self._all.find_one_and_update(where, change, return_document=True)

    async def _changed(self, where: Doc, change: Doc) -> bool:
        return (await self._all.update_one(where, change)).matched_count == 1


WAITING = {"workspace": 1, "at": 1, "free": 1}


def _sorted(docs: list[Doc]) -> list[WaitingEndpoint]:
    found = [WaitingEndpoint(doc["_id"], doc["workspace"], doc["at"], doc["free"]) for doc in docs]
    return sorted(found, key=lambda each: each.free_ms)


def _held(hold: Lease) -> Doc:
    return {"_id": hold.endpoint_id, "tok": hold.token}


def _hold(doc: Doc) -> Lease:
    heads = {
        int(lane): BlockedHead(head["tries"], head["at"], attempts_from(head["attempts"]))
        for lane, head in doc["heads"].items()
    }
    health = EndpointHealth(doc["failures"], doc.get("since"), doc.get("away_since"), doc["holds"])
    return Lease(
        doc["_id"], doc["workspace"], doc["tok"], doc["free"], doc["said"], True, tuple(doc["next"]), heads, health
    )


def _change(hold: Lease, **also: int) -> Doc:
    health = hold.health
    heads = {
        str(lane): {"tries": head.attempt_count, "at": head.retry_at_ms, "attempts": attempt_docs(head.attempts)}
        for lane, head in hold.heads.items()
    }
    doc: Doc = {
        "next": list(hold.positions),
        "heads": heads,
        "failures": health.failures,
        "holds": health.probe_pauses,
        **also,
    }
    times = {"since": health.failing_since_ms, "away_since": health.circuit_opened_ms}
    doc |= {name: ms for name, ms in times.items() if ms is not None}
    return {"$set": doc, "$unset": {name: "" for name, ms in times.items() if ms is None}}
