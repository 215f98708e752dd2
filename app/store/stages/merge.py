"""Reads and writes of the merge stage, which moves events from a merged pass to its survivor.

Only `workers` may import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymongo import UpdateOne

from app.domain.events.events import Event, Move
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.domain.values.instants import EARLIEST
from app.store.codecs.events import move_from_doc, move_to_doc, to_doc
from app.store.codecs.guards import is_declined
from app.store.codecs.passes import from_doc
from app.store.mongo.queries import NO_WORKSPACES, Database, Doc, StageQueries, insert_new
from app.store.workspace.pass_names import PassNameQueries


class MergeQueries(StageQueries):
    """Named queries of the merge stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._passes, self._events, self._merges = db["passes"], db["events"], db["merges"]

    async def waiting(self, limit: int = 1_000) -> list[str]:
        """Return the merged passes with events that must still be moved. Index: {merging, workspace}."""
        docs = await self._passes.find({"merging": {"$gte": 0}}, {"_id": 1}).limit(limit).to_list(None)
        return [doc["_id"] for doc in docs]

    async def decided(self, limit: int = 1_000) -> list[str]:
        """Return the workspaces with a merge that is decided and whose tombstone may be missing. Index: {open}."""
        docs = await self._merges.find({"open": {"$gte": 0}}, {"_id": 1}).limit(limit).to_list(None)
        return [doc["_id"] for doc in docs]

    async def close_name(self, alias: Pass) -> None:
        """Let every reader of the external id look at the alias. Safe to repeat. Index: _id."""
        names = PassNameQueries(self._db, alias.workspace_id, self._in_chunk, is_sharded=self._is_sharded)
        await names.close({alias.external_id: alias.id})

    async def move(self, alias: Pass, before_write: Callable[[], None]) -> bool:
        """Move some events of a merged pass, the oldest first, and return whether there may be others. Safe to repeat.

        `before_write` may raise an exception after the events are read.

        All events that the pass counted or declined must be cleared. The write that moves an event also makes it pending
        for the survivor. A declined event keeps its outcome: the survivor only clears it.

        Index: {workspace, pass, occurred_at, _id}.
        """
        where = {"workspace": alias.workspace_id, "pass": alias.id, "occurred_at": {"$gte": EARLIEST}}
        order = (("occurred_at", 1), ("_id", 1))
        docs = await self._read_docs(
            self._events, where, {"pend": 1, "moved": 1, "outcome": 1}, sort=order, limit=self._in_chunk
        )
        before_write()
        await self._write([self._move_operation(alias, doc["_id"], _next_move_of_doc(alias, doc)) for doc in docs])
        return bool(docs)

    async def forward(self, strays: Sequence[tuple[Pass, Event]]) -> None:
        """Move uncounted events that were recorded on merged passes. Safe to repeat. Index: _id."""
        await self._write(
            [self._move_operation(alias, event.id, _next_move(alias, event.move)) for alias, event in strays]
        )

    async def record(self, alias: Pass, event: Event) -> None:
        """Record an event that a merged pass leaves on its survivor. Safe to repeat."""
        await insert_new(self._events, [to_doc(event, alias.workspace_id, b"", slot_of(event.pass_id))])

    async def holds_moved(self, pass_id: str, workspace_id: str) -> bool:
        """Return whether an event that was moved to a pass is pending there.

        Index: {pend, workspace, pass, occurred_at, _id}.
        """
        stages: list[Doc] = [
            {"$match": {"pend": slot_of(pass_id), "workspace": workspace_id, "pass": pass_id}},
            {"$match": {"moved.n": {"$gte": 1}}},
            {"$limit": 1},
        ]
        return bool(await self._aggregate(self._events, stages))

    async def finish(self, alias: Pass) -> bool:
        """Record that a merged pass has no more events to move. Safe to repeat. Index: _id.

        Returns False if the survivor was erased meanwhile; the merged pass then waits to be erased.
        """
        assert alias.alias_of is not None
        survivor = await self._passes.find_one(self._by_id(alias.alias_of, alias.workspace_id), {"erased": 1})
        is_survivor_erased = survivor is None or "erased" in survivor
        change: Doc = {
            "$unset": {"merging": "", "base": "", "fired": "", "tier": "", "tier_span": ""},
            **({"$set": {"erasing": 1}} if is_survivor_erased else {}),
        }
        await self._passes.update_one(self._by_id(alias.id, alias.workspace_id), change)
        return not is_survivor_erased

    async def aliases(self, card: Pass) -> list[tuple[Pass, bool]]:
        """Return the aliases of a pass, each after its own aliases, with whether events of it must still be moved.

        Index: {workspace, alias_of, alias}.
        """
        found: list[tuple[Pass, bool]] = []
        where = {"workspace": card.workspace_id, "alias_of": card.id, "alias": {"$gte": 0}}
        for doc in await self._passes.find(where).to_list(None):
            alias = from_doc(doc)
            found += [*await self.aliases(alias), (alias, "merging" in doc)]
        return found

    async def published_elsewhere(
        self, pass_ids: Mapping[str, str], *, workspace_ids: Mapping[str, str] = NO_WORKSPACES
    ) -> set[str]:
        """Return the events that a merged pass published and that do not count in its survivor yet.

        `pass_ids` gives the survivor of each event, `workspace_ids` its workspace. Index: _id.
        """
        fields = {"pass": 1, "pend": 1, "moved": 1, "removed": 1, "outcome": 1}
        docs = await self._find_by_ids(self._events, pass_ids, workspace_ids, fields)
        found = {doc["_id"]: doc for doc in docs if "removed" not in doc and not is_declined(doc)}
        # An event that is not pending counted on its pass. If that is the merged pass, the event has not moved yet.
        unmoved = {each for each, doc in found.items() if "pend" not in doc and doc["pass"] != pass_ids[each]}
        return unmoved | {
            each for each, doc in found.items() if "moved" in doc and move_from_doc(doc["moved"]).was_published
        }

    async def _write(self, moves: Sequence[UpdateOne]) -> None:
        for start in range(0, len(moves), self._in_chunk):
            await self._events.bulk_write(moves[start : start + self._in_chunk], ordered=False)

    def _move_operation(self, alias: Pass, event_id: str, move: Move) -> UpdateOne:
        assert alias.alias_of is not None
        change: Doc = {"pass": alias.alias_of, "pend": slot_of(alias.alias_of), "moved": move_to_doc(move)}
        # An event that an erasure replaced by a stub since it was read must not become pending.
        where = {"pass": alias.id, "removed": {"$exists": False}}
        return UpdateOne(self._by_id(event_id, alias.workspace_id, **where), {"$set": change})


def _next_move_of_doc(alias: Pass, doc: Mapping[str, Any]) -> Move:
    before = move_from_doc(doc["moved"]) if "moved" in doc else None
    return _next_move(alias, before, counted="pend" not in doc and not is_declined(doc))


def _next_move(alias: Pass, before: Move | None, *, counted: bool = False) -> Move:
    """Return the next move of an event. The event was published if it counted here or was published before."""
    if before is None:
        return Move(alias.id, 1, counted)
    return Move(before.home_pass_id, before.count + 1, counted or before.was_published)
