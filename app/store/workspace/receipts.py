"""Named queries over the receipts of one workspace, the keys of calls that may be repeated, and how far events are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.store.mongo.queries import Database, Doc, WorkspaceQueries, in_chunks, insert_new


@dataclass(frozen=True, slots=True)
class Claim:
    """A call's hold of an idempotency key: the hash of its body, the id its receipt will have, and until when it holds."""

    key_id: str
    body: bytes
    receipt_id: str
    expires_at: datetime


class ReceiptQueries(WorkspaceQueries):
    """Receipts of one workspace, as packed bytes. Errors: Unavailable, safe to repeat."""

    collection = "receipts"

    async def insert(self, receipt_id: str, data: bytes, expires_at: datetime) -> bool:
        """Whether it was stored now; False where the id is taken: what was stored first stays. Safe to repeat."""
        doc = self._mine(_id=receipt_id, data=data, expires_at=expires_at)
        return not await insert_new(self._all, [doc])

    async def get(self, receipt_id: str) -> bytes | None:
        """The receipt of that id, or None. Index: _id."""
        docs = await self._by_ids([receipt_id])
        return bytes(docs[0]["data"]) if docs else None


class RequestKeyQueries(WorkspaceQueries):
    """Who holds which idempotency key. Errors: Unavailable, safe to repeat."""

    collection = "request_keys"

    async def claim(self, claim: Claim) -> Claim | None:
        """The claim that holds the key: this one, or one made before; None where that went in the same moment.

        One round trip for a free key, two for a held one. Index: _id.
        """
        doc = self._mine(_id=claim.key_id, body=claim.body, receipt=claim.receipt_id, expires_at=claim.expires_at)
        if not await insert_new(self._all, [doc]):
            return claim
        docs = await self._by_ids([claim.key_id])
        held = [Claim(each["_id"], bytes(each["body"]), each["receipt"], each["expires_at"]) for each in docs]
        return held[0] if held else None

    async def release(self, claim: Claim) -> None:
        """Lets go of a key, unless somebody else holds it by now. Safe to repeat. Index: _id."""
        await self._all.delete_one(self._mine(_id=claim.key_id, receipt=claim.receipt_id))


@dataclass(frozen=True, slots=True)
class FoldState:
    """How far an event is: its pass, whether the fold is done with it, whether it was removed."""

    pass_id: str
    folded: bool
    removed: bool


class FoldStateQueries(WorkspaceQueries):
    """How far the events of receipts are. Errors: Unavailable, safe to repeat."""

    collection = "events"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._passes = db["passes"]

    async def of(self, event_ids: Iterable[str]) -> dict[str, FoldState]:
        """event id -> how far it is, for those that exist. Index: _id."""
        docs = await self._by_ids(event_ids, {"pass": 1, "pend": 1, "removed": 1})
        return {doc["_id"]: FoldState(doc["pass"], "pend" not in doc, "removed" in doc) for doc in docs}

    async def unpublished(self, standings: Mapping[str, FoldState]) -> set[str]:
        """Those of the folded events whose activities still wait in the outbox of their pass. Index: _id."""

        async def some(chunk: Sequence[str]) -> list[Doc]:
            return await self._passes.find({"_id": {"$in": list(chunk)}}, {"workspace": 1, "out": 1}).to_list(None)

        passes = await in_chunks(some, list({each.pass_id for each in standings.values()}), self._in_chunk)
        entries = [entry for doc in passes if doc["workspace"] == self._workspace_id for entry in doc.get("out", ())]
        waiting = {about.get("event") for entry in entries for about in (entry["cause"], entry["refs"])}
        return waiting & set(standings)
