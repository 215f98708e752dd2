"""Reads and writes of fold, due and backfill, across workspaces. Only `workers` may import them.

Every write that decides something is a compare-and-set on one pass document. (Source:
docs/explanation/exactly-once.md.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from pymongo import ReplaceOne
from pymongo.errors import OperationFailure

from app.domain.definitions import DefinitionVersion
from app.domain.events.events import TOMBSTONES, Event
from app.domain.events.tombstones import is_tombstone
from app.domain.fold.prefetch import Family
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.domain.state.measures import MAX_EXPIRING, Measure, Number, append_expiring, group_expiring, merge_expiring
from app.domain.values.instants import from_ms, to_ms
from app.store.codecs import events
from app.store.codecs.counting import counting_in
from app.store.codecs.definitions import definition_from_doc
from app.store.codecs.passes import from_doc
from app.store.mongo.failures import find_bad_document
from app.store.mongo.horizons import Horizon, read_soonest
from app.store.mongo.queries import NO_WORKSPACES, Database, Doc, in_chunks, update_by_ids
from app.store.mongo.slots import move_to_slot

from .pending import PendingAt, PendingQueries
from .saves import PassWrite, save_passes

HISTORY_BATCH_SIZE = 300
"""Events that one read of a window's history returns."""
PARKED_AFTER = 5
"""Failures after which a pass is parked."""


class DuePass(NamedTuple):
    """Pass that time alone changes next at `due_ms`."""

    pass_id: str
    workspace_id: str
    due_ms: int


class FoldQueries(PendingQueries):
    """Named queries of fold, due and backfill. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._passes, self._definitions, self._workspaces = db["passes"], db["definitions"], db["workspaces"]

    async def passes(
        self, pass_ids: Iterable[str], *, workspace_ids: Mapping[str, str] = NO_WORKSPACES
    ) -> dict[str, Pass]:
        """Return the passes of these ids, complete, without those whose erasure is finished. Index: _id.

        `workspace_ids` has the workspace of each pass, by pass id.
        """
        docs = await self._find_by_ids(self._passes, pass_ids, workspace_ids)
        return {doc["_id"]: from_doc(doc) for doc in docs if "gone" not in doc}

    async def save(self, writes: Sequence[PassWrite]) -> tuple[set[str], dict[str, str]]:
        """Write passes. Return the ids of those whose write is stored, and by id why the store refused others.

        Safe to repeat with the same write ids. One bulk write of compare-and-sets holds up to 1,000 passes; 100 on the
        embedded server. If fewer passes matched than were sent, the random write ids show which writes are stored.
        Index: _id.
        """
        return await save_passes(self._passes, writes, self._in_chunk, is_sharded=self._is_sharded)

    async def clear(
        self,
        event_ids: Sequence[str],
        seen: Mapping[str, PendingAt] = MappingProxyType({}),
        *,
        workspace_ids: Mapping[str, str] = NO_WORKSPACES,
    ) -> None:
        """Clear events, after the write that counted them was acknowledged. Index: _id.

        `seen` gives the move counter that each event had when it was counted. A slow worker must not clear an event
        that has moved since and is pending for another pass. A tombstone also loses its `occurred_at`, so that no list
        of events reads it. `workspace_ids` has the workspace of each event, by event id.
        """
        by_kind: dict[tuple[bool, int], list[str]] = {}
        for event_id in event_ids:
            moves = seen[event_id].moves if event_id in seen else 0
            by_kind.setdefault((is_tombstone(event_id), moves), []).append(event_id)
        await asyncio.gather(
            *(
                update_by_ids(
                    self._events,
                    ids,
                    {"$unset": {"pend": "", "occurred_at": ""} if is_removal else {"pend": ""}},
                    where=_moved_filter(moves),
                    in_chunk=self._in_chunk,
                    workspace_ids=workspace_ids if self._is_sharded else None,
                )
                for (is_removal, moves), ids in by_kind.items()
            )
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

    async def passes_behind(self, workspace_id: str, rev: int, limit: int) -> list[str]:
        """Return passes that were last evaluated under a revision before `rev`. Index: {workspace, rev}.

        Parked passes are left out: after their release, the stage due evaluates them under the revisions they missed.
        """
        # The condition outside the index is a stage of its own: in the first one, it makes the embedded servers read all
        # passes of the workspace.
        stages: list[Doc] = [
            {"$match": {"workspace": workspace_id, "rev": {"$gte": 0, "$lt": rev}}},
            {"$match": {"parked": {"$exists": False}}},
            {"$sort": {"rev": 1}},
            {"$limit": limit},
            {"$project": {"_id": 1}},
        ]
        return [doc["_id"] for doc in await self._passes.aggregate(stages).to_list(None)]

    async def mark_caught_up(self, workspace_id: str, rev: int) -> None:
        """Record that no pass lags behind `rev`, unless a later revision was announced since. Index: _id."""
        await self._workspaces.update_one({"_id": workspace_id, "stale": {"$lte": rev}}, {"$unset": {"stale": ""}})

    async def drop_versions(self, workspace_id: str, revision: int, until_ms: int) -> None:
        """Delete the versions that others replaced by `until_ms`, at or before a revision, and that no pass needs.

        A pass needs the versions in force at the revision that it was last evaluated under; parked passes too. Safe to
        repeat. Two round trips if nothing is to be deleted. Index: {workspace, rev}.
        """
        oldest = await self._passes.find_one(
            {"workspace": workspace_id, "rev": {"$gte": 0, "$lt": revision}}, {"rev": 1}, sort=[("rev", 1)]
        )
        revision = revision if oldest is None else int(oldest["rev"])
        query = {"workspace": workspace_id, "rev": {"$gte": 0, "$lte": revision}}
        docs = await self._definitions.find(query, {"segment": 1, "subject": 1, "at": 1}).sort("rev", 1).to_list(None)
        replaced_ids, newest_ids = [], dict[str, str]()
        for doc in docs:
            subject = doc["segment"] if "segment" in doc else doc["subject"]
            if subject in newest_ids and to_ms(doc["at"]) <= until_ms:
                replaced_ids.append(newest_ids[subject])
            newest_ids[subject] = doc["_id"]
        for start in range(0, len(replaced_ids), self._in_chunk):
            await self._definitions.delete_many({"_id": {"$in": replaced_ids[start : start + self._in_chunk]}})

    async def versions(self, workspace_id: str, after_rev: int) -> list[DefinitionVersion]:
        """Return the versions after a revision, oldest first; usually there are none. Index: {workspace, rev}."""
        query = {"workspace": workspace_id, "rev": {"$gt": after_rev}}
        return [definition_from_doc(doc) for doc in await self._definitions.find(query).sort("rev", 1).to_list(None)]

    async def histories(self, cards: Sequence[Pass]) -> dict[str, list[Event]]:
        """Return by pass id all events that count in the pass as read, pending or not, or only in its outbox.

        Index: {workspace, pass, occurred_at, _id}.
        """

        async def find_chunk(workspace_id: str, pass_ids: Sequence[str]) -> list[Doc]:
            return await self._read_docs(self._events, {"workspace": workspace_id, "pass": {"$in": list(pass_ids)}})

        by_workspace: dict[str, dict[str, Pass]] = {}
        for card in cards:
            by_workspace.setdefault(card.workspace_id, {})[card.id] = card
        found: dict[str, list[Event]] = {card.id: card.made_events for card in cards}
        for workspace_id, workspace_cards in by_workspace.items():
            predicates = {pass_id: counting_in(card) for pass_id, card in workspace_cards.items()}
            for doc in await in_chunks(partial(find_chunk, workspace_id), list(workspace_cards), self._in_chunk):
                if predicates[doc["pass"]](doc):
                    found[doc["pass"]].append(events.from_doc(doc))
        return found

    async def families(self, roots_by_pass: Sequence[tuple[Pass, frozenset[str]]]) -> dict[str, dict[str, Family]]:
        """Return by pass id, and by root, the families of these roots: members that count in the pass as read.

        A family is split if a member that counted lies on another pass. Indexes: _id, {workspace, root}.
        """

        async def find_chunk(workspace_id: str, roots: Sequence[str]) -> list[Doc]:
            # The index is partial on `root`, so the condition repeats its filter.
            members = {"workspace": workspace_id, "root": {"$in": list(roots), "$gte": ""}}
            workspace_ids = dict.fromkeys(roots, workspace_id)
            found = await asyncio.gather(
                self._read_docs(self._events, members), self._find_by_ids(self._events, roots, workspace_ids)
            )
            return [doc for docs in found for doc in docs if "removed" not in doc]

        by_workspace: dict[str, set[str]] = {}
        for card, roots in roots_by_pass:
            by_workspace.setdefault(card.workspace_id, set()).update(roots)
        docs_by_root: dict[str, list[Doc]] = {}
        for workspace_id, wanted in by_workspace.items():
            for doc in await in_chunks(partial(find_chunk, workspace_id), sorted(wanted), self._in_chunk):
                docs_by_root.setdefault(doc.get("root") or doc["_id"], []).append(doc)
        return {
            card.id: {root: _family_of(card, root, docs_by_root.get(root, ())) for root in roots}
            for card, roots in roots_by_pass
        }

    async def expiring_events(
        self, card: Pass, measure: Measure, after_ms: int
    ) -> tuple[list[tuple[int, Number]], bool]:
        """Return what leaves a window next, among counted events after `after_ms`, and whether more follow.

        Index: {workspace, pass, occurred_at, _id}, read in batches until 100 instants are complete.
        """
        pairs: list[tuple[int, Number]] = []
        read_ms, after_id = after_ms + 1, ""
        counts = counting_in(card)
        made = sorted((e for e in card.made_events if e.occurred_ms > after_ms), key=lambda e: e.occurred_ms)
        in_outbox = group_expiring(measure, made)
        while True:
            where: Doc = {"workspace": card.workspace_id, "pass": card.id, "occurred_at": {"$gte": from_ms(read_ms)}}
            if after_id:
                where |= {"occurred_at": from_ms(read_ms), "_id": {"$gt": after_id}}
            order = (("occurred_at", 1), ("_id", 1))
            docs = await self._read_docs(self._events, where, sort=order, limit=HISTORY_BATCH_SIZE)
            is_full = len(docs) == HISTORY_BATCH_SIZE
            if is_full and docs[0]["occurred_at"] != docs[-1]["occurred_at"]:
                # More events of the last instant may follow, so the next batch begins with that instant.
                last = docs[-1]["occurred_at"]
                docs = [doc for doc in docs if doc["occurred_at"] != last]
                next_ms, next_id = to_ms(last), ""
            elif is_full:
                next_ms, next_id = to_ms(docs[-1]["occurred_at"]), docs[-1]["_id"]
            else:
                next_ms, next_id = read_ms + 1, ""
            pairs = append_expiring(
                pairs, group_expiring(measure, [events.from_doc(doc) for doc in docs if counts(doc)])
            )
            if len(pairs) > MAX_EXPIRING or not (is_full or after_id):
                pairs = merge_expiring(pairs, in_outbox)
                return pairs[:MAX_EXPIRING], len(pairs) > MAX_EXPIRING
            read_ms, after_id = next_ms, next_id

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


def _family_of(card: Pass, root: str, docs: Sequence[Doc]) -> Family:
    """Return the family of a root for a pass, from the documents of its members on any pass and from the outbox."""
    counts = counting_in(card)
    members = [events.from_doc(doc) for doc in docs if doc["pass"] == card.id and counts(doc)]
    members += [event for event in card.made_events if event.family == root]
    elsewhere = [doc for doc in docs if doc["pass"] != card.id and doc["type"] not in TOMBSTONES]
    # An event that is pending elsewhere counts for the first time there, unless a merge moves it.
    is_split = any("pend" not in doc or doc.get("moved", {}).get("told", False) for doc in elsewhere)
    return Family(members, is_split)


def _moved_filter(moves: int) -> Doc:
    return {"moved.n": moves} if moves else {"moved": {"$exists": False}}
