"""Named queries over the receipts and idempotency keys of one workspace, and over the fold state of events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.store.mongo.queries import Database, Doc, WorkspaceQueries, in_chunks, insert_new


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim of an idempotency key: the hash of the call's body, the id of its receipt, and when the claim expires."""

    key_id: str
    body: bytes
    receipt_id: str
    expires_at: datetime


class ReceiptQueries(WorkspaceQueries):
    """Receipts of one workspace, as packed bytes. Errors: Unavailable, safe to repeat."""

    collection = "receipts"

    async def insert(self, receipt_id: str, data: bytes, expires_at: datetime) -> bool:
        """Insert a receipt and return whether it was stored: False if the id exists, whose receipt stays.

        Safe to repeat.
        """
        doc = self._in_workspace(_id=receipt_id, data=data, expires_at=expires_at)
        return not await insert_new(self._collection, [doc])

    async def get(self, receipt_id: str) -> bytes | None:
        """Return the receipt of that id, or None. Index: _id."""
        docs = await self._by_ids([receipt_id])
        return bytes(docs[0]["data"]) if docs else None


class RequestKeyQueries(WorkspaceQueries):
    """Claims of idempotency keys. Errors: Unavailable, safe to repeat."""

    collection = "request_keys"

    async def claim(self, claim: Claim) -> Claim | None:
        """Claim a key and return the claim that holds it: this one or an earlier one.

        None if the earlier claim was released at the same moment. One round trip for a free key, two for a claimed one.
        Index: _id.
        """
        doc = self._in_workspace(
            _id=claim.key_id, body=claim.body, receipt=claim.receipt_id, expires_at=claim.expires_at
        )
        if not await insert_new(self._collection, [doc]):
            return claim
        docs = await self._by_ids([claim.key_id])
        existing = [
            Claim(
                key_id=each["_id"], body=bytes(each["body"]), receipt_id=each["receipt"], expires_at=each["expires_at"]
            )
            for each in docs
        ]
        return existing[0] if existing else None

    async def release(self, claim: Claim) -> None:
        """Release a key unless another call has claimed it. Safe to repeat. Index: _id."""
        await self._collection.delete_one(self._in_workspace(_id=claim.key_id, receipt=claim.receipt_id))


@dataclass(frozen=True, slots=True)
class FoldState:
    """State of an event: its pass, whether it is folded, whether it was removed."""

    pass_id: str
    folded: bool
    removed: bool


class FoldStateQueries(WorkspaceQueries):
    """Fold states of the events of receipts. Errors: Unavailable, safe to repeat."""

    collection = "events"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._passes = db["passes"]

    async def read(self, event_ids: Iterable[str]) -> dict[str, FoldState]:
        """Return by event id the fold state, for events that exist. Index: _id."""
        docs = await self._by_ids(event_ids, {"pass": 1, "pend": 1, "removed": 1})
        return {doc["_id"]: FoldState(doc["pass"], "pend" not in doc, "removed" in doc) for doc in docs}

    async def unpublished(self, states: Mapping[str, FoldState]) -> set[str]:
        """Return those of the folded events whose activities are still in the outbox of their pass. Index: _id."""

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            where = self._by_id({"$in": list(chunk)})
            return await self._passes.find(where, {"workspace": 1, "out": 1}).to_list(None)

        passes = await in_chunks(find_chunk, list({each.pass_id for each in states.values()}), self._in_chunk)
        entries = [entry for doc in passes if doc["workspace"] == self._workspace_id for entry in doc.get("out", ())]
        unpublished = {reference.get("event") for entry in entries for reference in (entry["cause"], entry["refs"])}
        return unpublished & set(states)
