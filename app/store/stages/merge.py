"""Reads and writes of the merge stage, which moves events from a merged pass to its survivor.

Only `workers` may import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import UpdateOne

from app.domain.events.events import Event, Move
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.domain.values.instants import EARLIEST
from app.store.codecs.events import move_from_doc, move_to_doc, to_doc
from app.store.codecs.passes import from_doc
from app.store.mongo.queries import Database, Doc, ErrorTranslating, in_chunks, insert_new


class MergeQueries(ErrorTranslating):
    """Named queries of the merge stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        self._passes, self._events = db["passes"], db["events"]
        self._in_chunk = in_chunk

    async def waiting(self, limit: int = 1_000) -> list[str]:
        """Return the merged passes with events that must still be moved. Index: {merging, workspace}."""
        docs = await self._passes.find({"merging": {"$gte": 0}}, {"_id": 1}).limit(limit).to_list(None)
        return [doc["_id"] for doc in docs]

    async def move(self, alias: Pass) -> bool:
        """Move some events of a merged pass, the oldest first, and return whether there may be others. Safe to repeat.

        All events that the pass counted must be cleared. The write that moves an event also makes it pending for the
        survivor. Index: {workspace, pass, occurred_at, _id}.
        """
        where = {"workspace": alias.workspace_id, "pass": alias.id, "occurred_at": {"$gte": EARLIEST}}
        found = self._events.find(where, {"pend": 1, "moved": 1}).sort([("occurred_at", 1), ("_id", 1)])
        docs = await found.limit(self._in_chunk).to_list(None)
        await self._write([_move_operation(alias, doc["_id"], _next_move_of_doc(alias, doc)) for doc in docs])
        return bool(docs)

    async def forward(self, strays: Sequence[tuple[Pass, Event]]) -> None:
        """Move uncounted events that were recorded on merged passes. Safe to repeat. Index: _id."""
        await self._write([_move_operation(alias, event.id, _next_move(alias, event.move)) for alias, event in strays])

    async def record(self, alias: Pass, event: Event) -> None:
        """Record an event that a merged pass leaves on its survivor. Safe to repeat."""
        await insert_new(self._events, [to_doc(event, alias.workspace_id, b"", slot_of(event.pass_id))])

    async def finish(self, alias: Pass) -> bool:
        """Record that a merged pass has no more events to move. Safe to repeat. Index: _id.

        Returns False if the survivor was erased meanwhile; the merged pass then waits to be erased.
        """
        survivor = await self._passes.find_one({"_id": alias.alias_of}, {"erased": 1})
        is_survivor_erased = survivor is None or "erased" in survivor
        change: Doc = {
            "$unset": {"merging": "", "base": "", "fired": "", "tier": "", "tier_span": ""},
            **({"$set": {"erasing": 1}} if is_survivor_erased else {}),
        }
        await self._passes.update_one({"_id": alias.id}, change)
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

    async def published_elsewhere(self, pass_ids: Mapping[str, str]) -> set[str]:
        """Return the events that a merged pass published and that do not count in its survivor yet.

        `pass_ids` gives the survivor of each event. Index: _id.
        """

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            fields = {"pass": 1, "pend": 1, "moved": 1, "removed": 1}
            return await self._events.find({"_id": {"$in": list(chunk)}}, fields).to_list(None)

        docs = await in_chunks(find_chunk, list(pass_ids), self._in_chunk)
        found = {doc["_id"]: doc for doc in docs if "removed" not in doc}
        # An event that is not pending counted on its pass. If that is the merged pass, the event has not moved yet.
        unmoved = {each for each, doc in found.items() if "pend" not in doc and doc["pass"] != pass_ids[each]}
        return unmoved | {
            each for each, doc in found.items() if "moved" in doc and move_from_doc(doc["moved"]).was_published
        }

    async def _write(self, moves: Sequence[UpdateOne]) -> None:
        for start in range(0, len(moves), self._in_chunk):
            await self._events.bulk_write(moves[start : start + self._in_chunk], ordered=False)


def _next_move_of_doc(alias: Pass, doc: Mapping[str, Any]) -> Move:
    return _next_move(alias, move_from_doc(doc["moved"]) if "moved" in doc else None, counted="pend" not in doc)


def _next_move(alias: Pass, before: Move | None, *, counted: bool = False) -> Move:
    """Return the next move of an event. The event was published if it counted here or was published before."""
    if before is None:
        return Move(alias.id, 1, counted)
    return Move(before.home_pass_id, before.count + 1, counted or before.was_published)


def _move_operation(alias: Pass, event_id: str, move: Move) -> UpdateOne:
    assert alias.alias_of is not None
    change: Doc = {"pass": alias.alias_of, "pend": slot_of(alias.alias_of), "moved": move_to_doc(move)}
    # An event that an erasure replaced by a stub since it was read must not become pending.
    return UpdateOne({"_id": event_id, "pass": alias.id, "removed": {"$exists": False}}, {"$set": change})
