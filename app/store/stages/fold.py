"""Reads and writes of fold, due and backfill, across workspaces. Only `workers` may import them.

Every write that decides something is a compare-and-set on one pass document. (Source:
docs/explanation/exactly-once.md.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import OperationFailure

from app.domain.definitions import DefinitionVersion
from app.domain.events.guards import Decisions
from app.domain.events.tombstones import is_tombstone
from app.domain.ids import SLOT_BOUNDS, SLOTS, slot_of
from app.domain.passes.passes import Pass
from app.domain.values.instants import from_ms
from app.store.codecs import events
from app.store.codecs.guards import decision_to_doc
from app.store.codecs.pass_search import FIND_PROJECTION
from app.store.codecs.passes import from_doc
from app.store.codecs.recounts import ENDED_FIELDS, recount_of_ended
from app.store.mongo.failures import find_bad_document
from app.store.mongo.horizons import Horizon, read_soonest
from app.store.mongo.queries import NO_WORKSPACES, Collection, Database, Doc, update_by_ids
from app.store.mongo.slots import move_to_slot
from app.store.workspace.definitions import DefinitionQueries
from app.store.workspace.rollup_heads import new_mark

from .histories import HistoryQueries
from .pending import PendingAt
from .saves import PassWrite, save_passes

PARKED_AFTER = 5
"""Failures after which a pass is parked."""
SMALL_SLOT = 30
"""Passes of a workspace in one slot up to which one query examines all slots: about 2,000 passes."""
ALL_SLOTS: Doc = {"$gte": 0, "$lt": SLOTS}
"""The condition on the slot that all passes meet."""


class DuePass(NamedTuple):
    """Pass that time alone changes next at `due_ms`."""

    pass_id: str
    workspace_id: str
    due_ms: int


class FoldQueries(HistoryQueries):
    """Named queries of fold, due and backfill. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._passes, self._workspaces = db["passes"], db["workspaces"]

    async def passes(
        self, pass_ids: Iterable[str], *, workspace_ids: Mapping[str, str] = NO_WORKSPACES
    ) -> dict[str, Pass]:
        """Return the passes of these ids, complete, without those whose erasure is finished. Index: _id.

        `workspace_ids` has the workspace of each pass, by pass id.
        """
        docs = await self._find_by_ids(self._passes, pass_ids, workspace_ids, FIND_PROJECTION)
        return {doc["_id"]: from_doc(doc) for doc in docs if "gone" not in doc}

    async def save(self, writes: Sequence[PassWrite]) -> tuple[set[str], dict[str, str]]:
        """Write passes. Return the ids of those whose write is stored, and by id why the store refused others.

        Safe to repeat with the same write ids. One bulk write of compare-and-sets holds up to 1,000 passes; 100 on the
        embedded server. If fewer passes matched than were sent, the random write ids show which writes are stored.
        Index: _id.
        """
        recounts = await self._read_recounts(writes)
        return await save_passes(self._passes, writes, self._in_chunk, recounts=recounts, is_sharded=self._is_sharded)

    async def _read_recounts(self, writes: Sequence[PassWrite]) -> dict[str, Doc]:
        """Return by id the field `recount` for the passes that end. One read if there are any. Index: _id."""
        ended = {before.id: before for before, after, _, _ in writes if after.has_ended}
        workspace_ids = {pass_id: card.workspace_id for pass_id, card in ended.items()}
        docs = await self._find_by_ids(self._passes, ended, workspace_ids, ENDED_FIELDS)
        found = {doc["_id"]: doc for doc in docs}
        return {
            pass_id: recount_of_ended(found.get(pass_id), card.write_id, new_mark()) for pass_id, card in ended.items()
        }

    async def clear(
        self,
        event_ids: Sequence[str],
        seen: Mapping[str, PendingAt] = MappingProxyType({}),
        *,
        decisions: Decisions = MappingProxyType({}),
        workspace_ids: Mapping[str, str] = NO_WORKSPACES,
    ) -> None:
        """Clear events, after the write that counted or declined them was acknowledged. Index: _id.

        `seen` gives the move counter that each event had when it was counted. A slow worker must not clear an event
        that has moved since and is pending for another pass. A tombstone also loses its `occurred_at`, so that no list
        of events reads it, and the hour of its target. `decisions` has what walks decided about some of the events: the
        update that clears such an event also writes its outcome. `workspace_ids` has the workspace of each event, by
        event id.
        """
        by_kind: dict[tuple[bool, int], list[str]] = {}
        decided: list[UpdateOne] = []
        for event_id in event_ids:
            moves = seen[event_id].moves if event_id in seen else 0
            if outcome := decision_to_doc(decisions[event_id]) if event_id in decisions else {}:
                # A stub, or an event that another worker has cleared, is not pending: it must not get the outcome.
                where = {**_moved_filter(moves), "pend": {"$exists": True}}
                named = self._by_id(event_id, workspace_ids.get(event_id, ""), **where)
                decided.append(UpdateOne(named, {"$set": outcome, "$unset": {"pend": ""}}))
                continue
            by_kind.setdefault((is_tombstone(event_id), moves), []).append(event_id)
        await asyncio.gather(
            *(
                update_by_ids(
                    self._events,
                    ids,
                    {"$unset": {"pend": "", "occurred_at": "", "hour": ""} if is_removal else {"pend": ""}},
                    where=_moved_filter(moves),
                    in_chunk=self._in_chunk,
                    workspace_ids=workspace_ids if self._is_sharded else None,
                )
                for (is_removal, moves), ids in by_kind.items()
            ),
            *(
                self._events.bulk_write(decided[start : start + self._in_chunk], ordered=False)
                for start in range(0, len(decided), self._in_chunk)
            ),
        )

    async def replace_by_stubs(self, removed: Sequence[tuple[str, str, str]], at_ms: int) -> None:
        """Replace events (workspace, pass, id) by stubs. Safe to repeat. Index: _id.

        Call this before clearing their tombstones: a reader that finds a cleared tombstone must find its target
        removed.
        """
        for start in range(0, len(removed), self._in_chunk):
            batch = removed[start : start + self._in_chunk]
            stubs = [
                ReplaceOne(
                    self._by_id(event_id, workspace_id), events.build_stub(workspace_id, pass_id, from_ms(at_ms))
                )
                for workspace_id, pass_id, event_id in batch
            ]
            await self._events.bulk_write(stubs, ordered=False)

    async def due(self, low: int, high: int, until_ms: int, limit: int, *, from_ms: int = 0) -> list[DuePass]:
        """Return the passes in slots low to high that are due from `from_ms` to `until_ms`, soonest first.

        Index: {due, slot}.
        """
        found, _ = await self.due_within(low, high, until_ms, limit, from_ms=from_ms, horizon=Horizon())
        return found

    async def due_within(
        self, low: int, high: int, until_ms: int, limit: int, *, from_ms: int, horizon: Horizon
    ) -> tuple[list[DuePass], Horizon]:
        """Return passes as `due`, about up to a horizon, and the horizon at which the read ended. Index: {due, slot}."""
        docs, horizon = await read_soonest(
            self._passes, {"slot": {"$gte": low, "$lte": high}}, "due", {"workspace": 1, "due": 1}, limit=limit,
            horizon=horizon, from_ms=from_ms, end_ms=until_ms,
        )  # fmt: skip
        return [DuePass(doc["_id"], doc["workspace"], doc["due"]) for doc in docs], horizon

    async def workspaces_behind(self) -> dict[str, int]:
        """Return the workspaces whose definitions changed, with the announced revision. Index: {stale}."""
        docs = await self._workspaces.find({"stale": {"$gte": 0}}, {"stale": 1}).to_list(None)
        return {doc["_id"]: doc["stale"] for doc in docs}

    async def passes_behind(
        self,
        workspace_id: str,
        rev: int,
        limit: int,
        slot: int | None = None,
        *,
        slots: tuple[int, int] = SLOT_BOUNDS,
    ) -> tuple[list[str], int | None]:
        """Return passes that were last evaluated under a revision before `rev`, and the slot of the next call, if any.

        `slots` has the first and the last slot to be read. A call reads slots one after the other, from `slot` or the first
        one, until it has found `limit` passes, and at most as many of one slot. So no query examines all passes of a large
        workspace. Parked passes are left out: after their release, the stage due evaluates them under the revisions they
        missed. Index: {workspace, slot, rev}.
        """
        found: list[str] = []
        low, high = slots
        is_small = slot is None and await is_small_workspace(self._passes, workspace_id)
        slot = low if slot is None else slot
        while slot <= high and len(found) < limit:
            where = behind(workspace_id, rev, {"$gte": low, "$lte": high} if is_small else slot)
            # The condition outside the index is a stage of its own: in the first one, it makes the embedded servers read
            # all passes of the workspace.
            stages: list[Doc] = [
                {"$match": where},
                {"$match": {"parked": {"$exists": False}}},
                {"$limit": limit},
                {"$project": {"_id": 1}},
            ]
            found += [doc["_id"] for doc in await self._passes.aggregate(stages).to_list(None)]
            slot = high + 1 if is_small else slot + 1
        return found, slot if slot <= high else None

    async def mark_caught_up(self, workspace_id: str, rev: int) -> None:
        """Record that no pass lags behind `rev`, unless a later revision was announced since. Index: _id."""
        await self._workspaces.update_one({"_id": workspace_id, "stale": {"$lte": rev}}, {"$unset": {"stale": ""}})

    async def versions(self, workspace_id: str, after_rev: int) -> list[DefinitionVersion]:
        """Return the versions after a revision, oldest first; usually there are none. Index: {workspace, rev}."""
        return await DefinitionQueries(self._db, workspace_id, self._in_chunk).versions(after_rev)

    async def count_failure(self, card: Pass, error: str, at_ms: int) -> int:
        """Count a failure of a pass and return the failures in a row. `PARKED_AFTER` of them park the pass.

        A parked pass's events stay pending, but outside the index, until an operator releases the pass. Index: {pend,
        workspace, pass, occurred_at, _id}.
        """
        as_named = self._by_id(card.id, card.workspace_id)
        # The document may have no room for the text: then an earlier text, or none, stays.
        count: Doc = {"$inc": {"fails": 1}}
        try:
            doc = await self._passes.find_one_and_update(
                as_named, {**count, "$set": {"failure": error[:500]}}, return_document=True
            )
        except OperationFailure as refusal:
            if find_bad_document(refusal) is None:
                raise
            doc = await self._passes.find_one_and_update(as_named, count, return_document=True)
        if doc["fails"] < PARKED_AFTER:
            return int(doc["fails"])
        slot = slot_of(card.id)
        await self._passes.update_one(as_named, {"$set": {"parked": at_ms}, "$unset": {"due": ""}})
        pending = {"pend": slot, "workspace": card.workspace_id, "pass": card.id}
        await move_to_slot(self._events, pending, -1 - slot, self._in_chunk, is_sharded=self._is_sharded)
        return int(doc["fails"])


async def is_small_workspace(passes: Collection, workspace_id: str) -> bool:
    """Return whether one query may examine all passes of a workspace. Slots are even, so it looks at one."""
    where = {"workspace": workspace_id, "slot": 0, "rev": {"$gte": 0}}
    return len(await passes.find(where, {"_id": 1}).limit(SMALL_SLOT + 1).to_list(None)) <= SMALL_SLOT


def behind(workspace_id: str, rev: int, slot: int | Doc) -> Doc:
    """Return the filter for the passes of a slot that were last evaluated before a revision."""
    return {"workspace": workspace_id, "slot": slot, "rev": {"$gte": 0, "$lt": rev}}


def _moved_filter(moves: int) -> Doc:
    return {"moved.n": moves} if moves else {"moved": {"$exists": False}}
