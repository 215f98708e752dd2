"""Reads and writes of the stage that empties erased passes, across workspaces; importable by `workers` alone."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo import ReplaceOne

from app.domain.activities import EMPTIED
from app.domain.passes.passes import Erased, Pass
from app.domain.values.instants import EARLIEST, from_ms
from app.store.codecs.events import stub_doc
from app.store.codecs.passes import erasure_doc
from app.store.mongo.ids import new_id
from app.store.mongo.queries import Database, Doc, ErrorTranslating, in_chunks, insert_new


class EraseQueries(ErrorTranslating):
    """Named queries of the erasure. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        self._passes, self._events, self._activities = db["passes"], db["events"], db["activities"]
        self._done, self._workspaces = db["erasures"], db["workspaces"]
        self._in_chunk = in_chunk

    async def waiting(self, limit: int = 100) -> list[str]:
        """Erased passes of which something is left to be emptied. Index: {erasing}."""
        docs = await self._passes.find({"erasing": {"$gte": 0}}, {"_id": 1}).limit(limit).to_list(None)
        return [doc["_id"] for doc in docs]

    async def replace_events_by_stubs(self, card: Pass, at_ms: int) -> bool:
        """Leaves of some events of the pass no more than that they were removed; whether there may be others.

        Index: {workspace, pass, occurred_at, _id}.
        """
        where = {"workspace": card.workspace_id, "pass": card.id, "occurred_at": {"$gte": EARLIEST}}
        docs = await self._events.find(where, {"_id": 1}).limit(self._in_chunk).to_list(None)
        stub = stub_doc(card.workspace_id, card.id, from_ms(at_ms))
        if docs:
            await self._events.bulk_write([ReplaceOne({"_id": doc["_id"]}, stub) for doc in docs], ordered=False)
        return bool(docs)

    async def empty_activities(self, card: Pass, beyond: int) -> int | None:
        """Empties the next lines of the pass beyond a position; the last one emptied, None where there was none.

        Index: {workspace, pass, pos}. Safe to repeat.
        """
        where = {"workspace": card.workspace_id, "pass": card.id, "pos": {"$gt": beyond}}
        docs = await self._activities.find(where, {"pos": 1}).sort("pos", 1).limit(self._in_chunk).to_list(None)
        if not docs:
            return None
        ids = [doc["_id"] for doc in docs]
        await self._activities.update_many({"_id": {"$in": ids}}, {"$set": {"data": dict(EMPTIED)}})
        return int(docs[-1]["pos"])

    async def change_erasure_epoch(self, card: Pass) -> None:
        """Has everybody who remembers passes of the workspace forget them, in a moment. Safe to repeat. Index: _id."""
        await self._workspaces.update_one({"_id": card.workspace_id}, {"$set": {"parting": new_id("parting")}})

    async def finished(self, card: Pass, erased: Erased) -> None:
        """Keeps the figures of an erasure and lets go of what was left of the pass. Safe to repeat. Index: _id."""
        await insert_new(self._done, [erasure_doc(card, erased)])
        await self._passes.delete_one({"_id": card.id})

    async def erased_among(self, pass_ids: Sequence[str]) -> set[str]:
        """Those of the passes whose erasure is finished. Index: _id."""

        async def some(chunk: Sequence[str]) -> list[Doc]:
            return await self._done.find({"_id": {"$in": list(chunk)}}, {"_id": 1}).to_list(None)

        return {doc["_id"] for doc in await in_chunks(some, pass_ids, self._in_chunk)}
