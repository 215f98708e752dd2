"""Named queries over the progress of the stage `react` in one workspace, and over the reactions that were not made.

The progress is one document in `react_lanes`, under the id of the workspace. It has the fields of `webhook_lanes`, see
`partitions.py`. `parked_reactions` holds a document for each reaction that was refused or is parked; `due` is the time of
the next attempt, in milliseconds of system time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from pymongo import ReplaceOne, UpdateOne

from app.domain.events.events import RULE_FIRED
from app.domain.reactions.parked import ParkedQuery, ParkedReaction, Refusal
from app.domain.reactions.reactions import BODIES, REACTED_TYPES, Reaction, reactions_of
from app.domain.rules.statistics import FiringStatus
from app.domain.values.instants import EARLIEST
from app.domain.webhooks.partitions import partition_of
from app.store.mongo.paging import Page, PageRequest, count_matching, read_page, to_stored_keys
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, in_chunks

from . import activities
from .partitions import PartitionQueries

MAX_UNREAD = 200
"""Entries of a pass, or of a type, that one look for what follows from them reads."""
ORDER = (("at", -1), ("_id", -1))


class ReactWorkQueries(PartitionQueries):
    """Work of the stage react in one workspace, by the id of the workspace, stored as that of webhook endpoints is."""

    collection = "react_lanes"


class ReactionQueries(WorkspaceQueries):
    """Progress and parked reactions of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "parked_reactions"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self.work = ReactWorkQueries(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._activities, self._events = db["activities"], db["events"]

    async def announce_work(self, now_ms: int) -> None:
        """Give the reader a new work token. The first call lets it begin at the start of the log. Safe to repeat.

        Index: _id.
        """
        if not await self.work.announce_work(now_ms, self._workspace_id):
            await self.start_after(0, now_ms)
            await self.work.announce_work(now_ms, self._workspace_id)

    async def start_after(self, position: int, now_ms: int) -> None:
        """Let the reader begin after a position of the log, unless it has begun already. Safe to repeat. Index: _id."""
        await self.work.insert(self._workspace_id, position, now_ms)

    async def has_unmade(self, pass_ids: Sequence[str]) -> bool:
        """Return whether something follows from an entry of one of the passes that the reader has not met.

        Indexes: _id, {workspace, pass, pos}.
        """
        positions = await self.work.positions(self._workspace_id)
        for pass_id in pass_ids:
            after = positions[partition_of(pass_id)] - 1 if positions else 0
            async for reaction in self._of_pass(pass_id, after):
                return bool(reaction)
        return False

    async def _of_pass(self, pass_id: str, after: int) -> AsyncIterator[Reaction]:
        """Yield what follows from the entries of a pass after a position. Index: {workspace, pass, pos}."""
        position: int | None = after
        while position is not None:
            where = self._in_workspace(**{"pass": pass_id}, pos={"$gt": position})
            cursor = self._activities.find(where, batch_size=MAX_UNREAD + 1).sort("pos", 1).limit(MAX_UNREAD)
            docs = await cursor.to_list(None)
            for doc in docs:
                for each in reactions_of(activities.from_doc(doc)):
                    yield each
            position = docs[-1]["pos"] if len(docs) == MAX_UNREAD else None

    async def ending_with(self, pass_id: str) -> list[Reaction]:
        """Return the effects outside a pass that end with it. Index: {workspace, pass, pos}."""
        found = self._of_pass(pass_id, 0)
        return [each async for each in found if not each.body.outlives_pass]

    async def first_unread(self) -> int | None:
        """Return the position of the first entry that the reader has not met and from which something follows.

        None if there is none. It looks at 200 entries of each type: the position is that of the last of them at most.
        Indexes: _id, {workspace, type, pos}.
        """
        low = min(await self.work.positions(self._workspace_id), default=1)
        positions = []
        for each in sorted(REACTED_TYPES):
            where = self._in_workspace(type=each, pos={"$gte": low})
            cursor = self._activities.find(where, batch_size=MAX_UNREAD + 1).sort("pos", 1).limit(MAX_UNREAD)
            found = await cursor.to_list(None)
            unmade = [doc for doc in found if reactions_of(activities.from_doc(doc))]
            positions += [doc["pos"] for doc in unmade[:1] or found[MAX_UNREAD - 1 :]]
        return min(positions, default=None)

    async def park(self, parked: Iterable[ParkedReaction]) -> None:
        """Store reactions that were not made, and note it in the firings that they belong to. Safe to repeat.

        Index: _id.
        """
        found = list(parked)
        if found:
            writes = [ReplaceOne({"_id": each.reaction.id}, self._to_doc(each), upsert=True) for each in found]
            await self._collection.bulk_write(writes, ordered=False)
        for each in found:
            await self._note(each.reaction, FiringStatus.FAILED, f"{each.refusal.code}: {each.refusal.message}")

    async def complete(self, reactions: Iterable[Reaction]) -> None:
        """Forget parked reactions that were made, and note it in their firings. Safe to repeat. Index: _id."""
        for each in reactions:
            await self._note(each, FiringStatus.SUCCEEDED, None)
            await self._collection.delete_one({"_id": each.id})

    async def due(self, limit: int) -> list[ParkedReaction]:
        """Return parked reactions with a next attempt, those due first. Index: {workspace, due}."""
        found = self._collection.find(self._in_workspace(due={"$gte": 0})).sort("due", 1).limit(limit)
        return [_from_doc(doc) for doc in await found.to_list(None)]

    async def parked_among(self, event_ids: Iterable[str]) -> set[str]:
        """Return those of the events with a reaction that was not made. Index: {workspace, event}."""

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            where = self._in_workspace(event=activities.any_of(list(chunk)))
            return await self._collection.find(where, {"event": 1}).to_list(None)

        return {doc["event"] for doc in await in_chunks(find_chunk, list(dict.fromkeys(event_ids)), self._in_chunk)}

    async def requeue(self, event_ids: Sequence[str], now_ms: int) -> None:
        """Let the reactions of these events that were not made be due now. Safe to repeat. Index: {workspace, event}."""
        for start in range(0, len(event_ids), self._in_chunk):
            where = self._in_workspace(event=activities.any_of(list(event_ids[start : start + self._in_chunk])))
            docs = await self._collection.find(where, {"_id": 1}).to_list(None)
            await self.requeue_ids([doc["_id"] for doc in docs], now_ms)

    async def requeue_ids(self, reaction_ids: Sequence[str], now_ms: int) -> int:
        """Let parked reactions be due now, and return how many of them there are. Safe to repeat. Index: _id."""
        change = {"$set": {"due": now_ms}}
        updates = [UpdateOne(self._in_workspace(_id=each), change) for each in reaction_ids]
        return (await self._collection.bulk_write(updates, ordered=False)).matched_count if updates else 0

    async def page(self, query: ParkedQuery, span: PageRequest) -> Page[ParkedReaction]:
        """Return parked reactions, those that failed last first; key (ms of the failure, id).

        Indexes: {workspace, at, _id}, {workspace, pass, at, _id}.
        """
        where, by = self._filter(query)
        return await read_page(self._collection, where, ORDER, to_stored_keys(span), _from_doc, by=by)

    async def count(self, query: ParkedQuery) -> int:
        """Return the number of parked reactions that match. Indexes as for `page`."""
        where, by = self._filter(query)
        return await count_matching(self._collection, where, by, "at")

    def _filter(self, query: ParkedQuery) -> tuple[Doc, tuple[str, ...]]:
        """Return the filter, and the fields of the index that serves it before the time."""
        where = self._in_workspace(at={"$gte": EARLIEST})
        for field, allowed in (("kind", query.kinds), ("code", query.codes), ("pass", query.pass_ids)):
            if allowed:
                where[field] = activities.any_of(list(allowed))
        return where, ("workspace", "pass") if len(query.pass_ids) == 1 else ("workspace",)

    async def forget_pass(self, pass_id: str) -> None:
        """Delete the parked reactions of a pass that end with it. Safe to repeat. Index: {workspace, pass, at, _id}."""
        ending = [kind for kind, body in BODIES.items() if not body.outlives_pass]
        docs = await self._collection.find(self._in_workspace(**{"pass": pass_id}), {"kind": 1}).to_list(None)
        for doc in docs:
            if doc["kind"] in ending:
                await self._collection.delete_one({"_id": doc["_id"]})

    async def _note(self, reaction: Reaction, status: FiringStatus, reason: str | None) -> None:
        """Store in the firing that the reaction belongs to whether it was made. Other events store nothing."""
        result = f"metadata.effects.{reaction.index}"
        where = self._by_id(reaction.event_id) | {"type": RULE_FIRED}
        change: Doc = {"$set": {f"{result}.status": status.value}}
        if reason is None:
            change["$unset"] = {f"{result}.reason": ""}
        else:
            change["$set"][f"{result}.reason"] = reason
        await self._events.update_one(where, change)

    def _to_doc(self, parked: ParkedReaction) -> Doc:
        reaction = parked.reaction
        doc = self._in_workspace(
            _id=reaction.id,
            event=reaction.event_id,
            index=reaction.index,
            activity=reaction.activity_id,
            kind=reaction.body.kind,
            body=reaction.body.to_json(),
            code=parked.refusal.code,
            reason=parked.refusal.message,
            tries=parked.attempt_count,
            at=parked.at,
            **{"pass": reaction.pass_id},
        )
        return doc if parked.due_ms is None else {**doc, "due": parked.due_ms}


def _from_doc(doc: Doc) -> ParkedReaction:
    reaction = Reaction(
        event_id=doc["event"],
        index=doc["index"],
        pass_id=doc["pass"],
        activity_id=doc["activity"],
        body=BODIES[doc["kind"]].from_json(doc["body"]),
    )
    return ParkedReaction(
        reaction,
        Refusal(doc["code"], doc["reason"]),
        attempt_count=doc["tries"],
        at=doc["at"],
        due_ms=doc.get("due"),
    )
