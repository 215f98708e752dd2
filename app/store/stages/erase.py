"""Reads and writes of the erase stage, which empties erased passes, across workspaces.

Only `workers` may import them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pymongo import ReplaceOne, UpdateOne

from app.domain.activities import ERASED_DATA
from app.domain.passes.passes import Erased, Pass
from app.domain.values.instants import EARLIEST, from_ms
from app.store.codecs.events import build_stub, changed_hour_of_doc
from app.store.codecs.passes import erasure_to_doc, grave_to_doc
from app.store.mongo.ids import new_id
from app.store.mongo.oplog import prune_oplog
from app.store.mongo.queries import Database, Doc, StageQueries, in_chunks, insert_new
from app.store.workspace.messages import MessageQueries
from app.store.workspace.pass_names import PassNameQueries
from app.store.workspace.vocabulary import SOURCE, TYPE, VocabularyQueries

IS_EMPTY = {f"data.{name}": 1 for name in ERASED_DATA}
"""The fields of an activity that has been emptied. No other activity has them."""


class ErasedEvent(NamedTuple):
    """Event of an erased pass, or pending tombstone on it, to be replaced by a stub.

    `hour_ms` is the first instant of the hour whose rollup this changes, if any. For a tombstone it is its target's.
    """

    id: str
    type: str
    source: str
    hour_ms: int | None


class EraseQueries(StageQueries):
    """Named queries of the erase stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._passes, self._events, self._activities = db["passes"], db["events"], db["activities"]
        self._erasures, self._workspaces = db["erasures"], db["workspaces"]
        self._units, self._codes = db["reward_units"], db["reward_codes"]

    async def waiting(self, limit: int = 1_000) -> list[str]:
        """Return the erased passes with data that must still be removed. Index: {erasing, workspace}."""
        docs = await self._passes.find({"erasing": {"$gte": 0}}, {"_id": 1}).limit(limit).to_list(None)
        return [doc["_id"] for doc in docs]

    async def events_of(self, card: Pass) -> Sequence[ErasedEvent]:
        """Return some events and pending tombstones of the pass that are no stubs yet, pending or not; none if all are.

        Index: {workspace, pass, occurred_at, _id}.
        """
        where = {"workspace": card.workspace_id, "pass": card.id, "occurred_at": {"$gte": EARLIEST}}
        fields = {"type": 1, "source": 1, "occurred_at": 1, "hour": 1}
        docs = await self._read_docs(self._events, where, fields, limit=self._in_chunk)
        return [ErasedEvent(doc["_id"], doc["type"], doc["source"], hour_ms=changed_hour_of_doc(doc)) for doc in docs]

    async def name_batch(self, card: Pass, name: str, hours_ms: Sequence[int]) -> None:
        """Note in the stub of the pass that a batch of its events of these hours is about to be emptied. Index: _id.

        The name is random: several workers may empty events of the pass at once.
        """
        await self._change_stub(card, {"$set": {f"batches.{name}": list(hours_ms)}})

    async def replace_events_by_stubs(self, card: Pass, events: Sequence[ErasedEvent], at_ms: int) -> None:
        """Replace events of the pass by stubs. Safe to repeat. Index: _id.

        The types and sources of these events are doubted first.
        """
        words = {(TYPE, each.type) for each in events} | {(SOURCE, each.source) for each in events}
        await VocabularyQueries(self._db, card.workspace_id, self._in_chunk).doubt(words)
        stub = build_stub(card.workspace_id, card.id, from_ms(at_ms))
        stubs = [ReplaceOne(self._by_id(each.id, card.workspace_id), stub) for each in events]
        for start in range(0, len(stubs), self._in_chunk):
            await self._events.bulk_write(stubs[start : start + self._in_chunk], ordered=False)

    async def batches(self, card: Pass) -> Mapping[str, Sequence[int]]:
        """Return by name the hours of the batches whose hours may not be marked since they were emptied. Index: _id."""
        where = self._by_id(card.id, card.workspace_id)
        docs = await self._read_docs(self._passes, where, {"batches": 1})
        return {name: hours for doc in docs for name, hours in doc.get("batches", {}).items()}

    async def take_out_batches(self, card: Pass, names: Iterable[str]) -> None:
        """Take names of batches out of the stub of the pass: their hours are marked. Safe to repeat. Index: _id."""
        if unset := {f"batches.{name}": "" for name in names}:
            await self._change_stub(card, {"$unset": unset})

    async def _change_stub(self, card: Pass, change: Doc) -> None:
        # A slow worker must change nothing in what is kept after the erasure is finished.
        where = self._by_id(card.id, card.workspace_id, gone={"$exists": False})
        await self._passes.update_one(where, change)

    async def take_names_out(self, card: Pass) -> None:
        """Take the pass and its redemptions out of units in stock and of codes, which stay taken. Safe to repeat.

        Call it before the events become stubs: the units of a redemption whose event is a stub are freed.
        Index: {workspace, pass} of both.
        """
        where = {"workspace": card.workspace_id, "pass": card.id}
        for collection in (self._units, self._codes):
            await collection.update_many(where, {"$unset": {"of": "", "pass": "", "open": ""}})

    async def empty_activities(self, card: Pass, after: int) -> int | None:
        """Empty the next activities of the pass after a position. Safe to repeat.

        Returns the position of the last activity that it read; None if there was none. Index: {workspace, pass,
        pos}.
        """
        where, fields = {"workspace": card.workspace_id, "pass": card.id, "pos": {"$gt": after}}, {"pos": 1, **IS_EMPTY}
        docs = await self._activities.find(where, fields).sort("pos", 1).limit(self._in_chunk).to_list(None)
        if not docs:
            return None
        # Each update names one document and its shard: a sharded store may leave out an update of many documents.
        change = {"$set": {"data": dict(ERASED_DATA)}}
        # An erasure that was interrupted may have emptied some.
        full_ids = [doc["_id"] for doc in docs if not ERASED_DATA.keys() <= doc.get("data", {}).keys()]
        updates = [UpdateOne({"_id": each, "workspace": card.workspace_id}, change) for each in full_ids]
        if updates:
            await self._activities.bulk_write(updates, ordered=False)
        return int(docs[-1]["pos"])

    async def erase_messages(self, cards: Sequence[Pass], at_ms: int) -> None:
        """Replace the messages of passes by stubs, and delete the templates that are for one of them. Safe to repeat.

        Indexes: those of `MessageQueries` and `MessageTemplateQueries` for a pass.
        """
        for card in cards:
            messages = MessageQueries(self._db, card.workspace_id, self._in_chunk, is_sharded=self._is_sharded)
            await messages.erase_of_pass(card.id, from_ms(at_ms))
            await messages.templates.delete_of_pass(card.id)

    async def close_name(self, card: Pass) -> None:
        """Let every reader of the external id look at the pass. Safe to repeat. Index: _id."""
        await self._names_in(card.workspace_id).close({card.external_id: card.id})

    async def change_erasure_epoch(self, workspace_id: str) -> None:
        """Change the erasure epoch of the workspace, which invalidates every process's cached passes.

        Safe to repeat. Index: _id.
        """
        await self._workspaces.update_one({"_id": workspace_id}, {"$set": {"parting": new_id("parting")}})

    async def prune_oplog(self) -> None:
        """Empty the oplog of a local store, which still has the values that were erased. Safe to repeat."""
        await prune_oplog(self._db.client)

    async def finish(self, card: Pass, erased: Erased) -> None:
        """Store the figures of an erasure, free the external id, and keep the id of the pass taken. Index: _id.

        Safe to repeat. What remains keeps a slow process from creating the pass again under its old id: the process may
        have read the name before the external id was free.
        """
        await insert_new(self._erasures, [erasure_to_doc(card, erased)])
        await self._names_in(card.workspace_id).free(card.external_id, card.id)
        await self._passes.replace_one(self._by_id(card.id, card.workspace_id), grave_to_doc(card, erased))

    def _names_in(self, workspace_id: str) -> PassNameQueries:
        return PassNameQueries(self._db, workspace_id, self._in_chunk, is_sharded=self._is_sharded)

    async def erased_among(self, pass_ids: Sequence[str]) -> set[str]:
        """Return those of the passes whose erasure is finished. Index: _id."""

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            return await self._erasures.find({"_id": {"$in": list(chunk)}}, {"_id": 1}).to_list(None)

        return {doc["_id"] for doc in await in_chunks(find_chunk, pass_ids, self._in_chunk)}
