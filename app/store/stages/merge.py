"""Reads and writes of the stage that moves events from a merged pass to the one that answers for it; for `workers` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import UpdateOne

from app.domain.events.events import Event, Move
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.domain.values.instants import EARLIEST
from app.store.codecs.events import move_doc, move_from, to_doc
from app.store.codecs.passes import from_doc
from app.store.mongo.queries import Database, Doc, ErrorTranslating, insert_new


class MergeQueries(ErrorTranslating):
    """Named queries of the merge. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        self._passes, self._events = db["passes"], db["events"]
        self._in_chunk = in_chunk

    async def waiting(self, limit: int = 100) -> list[str]:
        """Merged passes whose events have not all moved. Index: {merging}."""
        docs = await self._passes.find({"merging": {"$gte": 0}}, {"_id": 1}).limit(limit).to_list(None)
        return [doc["_id"] for doc in docs]

    async def move(self, alias: Pass) -> bool:
        """Moves some events of a merged pass, the oldest first; whether there may be others. Safe to repeat.

        Everything that the pass had counted must be marked. An event waits for the fold of its new pass from the very write
        that brings it there. Index: {workspace, pass, occurred_at, _id}.
        """
        where = {"workspace": alias.workspace_id, "pass": alias.id, "occurred_at": {"$gte": EARLIEST}}
        found = self._events.find(where, {"pend": 1, "moved": 1}).sort([("occurred_at", 1), ("_id", 1)])
        docs = await found.limit(self._in_chunk).to_list(None)
        await self._write([_moving(alias, doc["_id"], _move_of(alias, doc)) for doc in docs])
        return bool(docs)

    async def forward(self, strays: Sequence[tuple[Pass, Event]]) -> None:
        """Moves events that were recorded on merged passes and have not counted. Safe to repeat. Index: _id."""
        await self._write([_moving(alias, event.id, _onward(alias, event.move)) for alias, event in strays])

    async def record(self, alias: Pass, event: Event) -> None:
        """Records what a merged pass leaves to the one that answers for it; again is the same."""
        await insert_new(self._events, [to_doc(event, alias.workspace_id, b"", slot_of(event.pass_id))])

    async def finished(self, alias: Pass) -> bool:
        """Notes that nothing of a merged pass is left to be moved. Safe to repeat. Index: _id.

        False where the pass that answered for it was erased meanwhile: then so is this one.
        """
        heir = await self._passes.find_one({"_id": alias.alias_of}, {"erased": 1})
        alone = heir is None or "erased" in heir
        change: Doc = {"$unset": {"merging": "", "base": ""}, **({"$set": {"erasing": 1}} if alone else {})}
        await self._passes.update_one({"_id": alias.id}, change)
        return not alone

    async def aliases(self, card: Pass) -> list[tuple[Pass, bool]]:
        """The passes merged into this one, and before each those merged into that, and whether something of it is left to
        be moved. Index: {workspace, alias_of, alias}.
        """
        found: list[tuple[Pass, bool]] = []
        where = {"workspace": card.workspace_id, "alias_of": card.id, "alias": {"$gte": 0}}
        for doc in await self._passes.find(where).to_list(None):
            alias = from_doc(doc)
            found += [*await self.aliases(alias), (alias, "merging" in doc)]
        return found

    async def _write(self, moves: Sequence[UpdateOne]) -> None:
        for start in range(0, len(moves), self._in_chunk):
            await self._events.bulk_write(moves[start : start + self._in_chunk], ordered=False)


def _move_of(alias: Pass, doc: Mapping[str, Any]) -> Move:
    return _onward(alias, move_from(doc["moved"]) if "moved" in doc else None, counted="pend" not in doc)


def _onward(alias: Pass, before: Move | None, *, counted: bool = False) -> Move:
    """The next move of an event, which has been told if it counted here, or where it came from."""
    if before is None:
        return Move(alias.id, 1, counted)
    return Move(before.home_pass_id, before.count + 1, counted or before.was_published)


def _moving(alias: Pass, event_id: str, move: Move) -> UpdateOne:
    assert alias.alias_of is not None
    change: Doc = {"pass": alias.alias_of, "pend": slot_of(alias.alias_of), "moved": move_doc(move)}
    # What was emptied since it was read, because everything is being erased, must not begin to wait.
    return UpdateOne({"_id": event_id, "pass": alias.id, "removed": {"$exists": False}}, {"$set": change})
