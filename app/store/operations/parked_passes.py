"""Passes that the fold parked after repeated failures: listing and releasing them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.ids import slot_of
from app.domain.values.instants import to_ms
from app.store.mongo.queries import EMBEDDED_CHUNK, Database, StageQueries
from app.store.mongo.slots import move_to_slot


@dataclass(frozen=True, slots=True)
class ParkedPass:
    """Pass whose pending events lie outside the fold's index, and the last failure of its walk."""

    id: str
    workspace_id: str
    failure: str


class ParkedPasses(StageQueries):
    """Named queries over parked passes, across workspaces. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int = EMBEDDED_CHUNK, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._passes, self._events = db["passes"], db["events"]

    async def passes(self, limit: int = 1_000) -> list[ParkedPass]:
        """Return the parked passes, those parked longest first. Index: {parked}."""
        fields = {"workspace": 1, "failure": 1}
        docs = await self._passes.find({"parked": {"$gte": 0}}, fields).sort("parked", 1).limit(limit).to_list(None)
        return [ParkedPass(doc["_id"], doc["workspace"], doc.get("failure", "")) for doc in docs]

    async def release(self, card: ParkedPass, now: datetime) -> None:
        """Make a parked pass foldable again. Safe to repeat. Index: {workspace, pass, occurred_at, _id}."""
        slot = slot_of(card.id)
        parked_events = {"workspace": card.workspace_id, "pass": card.id, "pend": -1 - slot}
        await move_to_slot(self._events, parked_events, slot, self._in_chunk, is_sharded=self._is_sharded)
        change = {"$set": {"due": to_ms(now)}, "$unset": {"parked": "", "fails": "", "failure": ""}}
        await self._passes.update_one(self._by_id(card.id, card.workspace_id, parked={"$gte": 0}), change)
