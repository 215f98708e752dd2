"""Reads and writes of the stages, across workspaces; importable by `workers` alone.

Every write that decides something is a compare-and-set on one pass document. (Source: docs/explanation/exactly-once.md.)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from app.domain.events.events import TOMBSTONES, Event
from app.domain.events.tombstones import is_tombstone, targets_of
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.domain.segments.segments import Version
from app.domain.state.measures import MAX_EXPIRING, Measure, Number, group_expiring
from app.domain.values.instants import from_ms, to_ms
from app.store.codecs import events
from app.store.codecs.definitions import version_from
from app.store.codecs.pass_writes import update_pass_operation
from app.store.codecs.passes import from_doc
from app.store.mongo.queries import Database, Doc, ErrorTranslating, in_chunks

HISTORY_BATCH_SIZE = 300
PARKED_AFTER = 5


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event that waits to be folded, and the workspace it belongs to."""

    workspace_id: str
    event: Event


class PendingAt(NamedTuple):
    """For which pass an event waits, and how often it moved until it came there."""

    pass_id: str
    moves: int


class FoldQueries(ErrorTranslating):
    """Named queries of the fold, the due pump and the backfill. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        self._events, self._passes = db["events"], db["passes"]
        self._definitions, self._workspaces = db["definitions"], db["workspaces"]
        self._in_chunk = in_chunk

    async def pending(self, low: int, high: int, beyond: tuple[int, str] | None, limit: int) -> list[PendingEvent]:
        """Events waiting in slots low to high, pass by pass in order of occurrence, after the pass (slot, id) `beyond`.

        Index: {pend, pass, occurred_at, _id}.
        """
        order = [("pend", 1), ("pass", 1), ("occurred_at", 1), ("_id", 1)]
        docs: list[Doc] = []
        if beyond is not None:
            low, pass_id = beyond
            rest = self._events.find({"pend": low, "pass": {"$gt": pass_id}}).sort(order).limit(limit)
            docs = await rest.to_list(None)
            low += 1
        if low <= high and len(docs) < limit:
            more = self._events.find({"pend": {"$gte": low, "$lte": high}}).sort(order).limit(limit - len(docs))
            docs += await more.to_list(None)
        return [PendingEvent(doc["workspace"], events.from_doc(doc)) for doc in docs]

    async def with_pending(self, pass_ids: Sequence[str]) -> set[str]:
        """Those of the passes that have events waiting. Index: {pend, pass, occurred_at, _id}."""
        by_slot: dict[int, list[str]] = {}
        for pass_id in pass_ids:
            by_slot.setdefault(slot_of(pass_id), []).append(pass_id)

        async def waiting(slot: int) -> list[Doc]:
            # One slot at a time: asked for several at once, the embedded servers read every event there ever was.
            async def some(chunk: Sequence[str]) -> list[Doc]:
                query = {"pend": slot, "pass": {"$in": list(chunk)}}
                return await self._events.find(query, {"pass": 1, "_id": 0}).to_list(None)

            return await in_chunks(some, by_slot[slot], self._in_chunk)

        found = await asyncio.gather(*map(waiting, by_slot))
        return {doc["pass"] for docs in found for doc in docs}

    async def passes(self, pass_ids: Iterable[str]) -> dict[str, Pass]:
        """The passes of these ids, whole. Index: _id."""

        async def some(chunk: Sequence[str]) -> list[Doc]:
            return await self._passes.find({"_id": {"$in": list(chunk)}}).to_list(None)

        return {doc["_id"]: from_doc(doc) for doc in await in_chunks(some, list(pass_ids), self._in_chunk)}

    async def still_pending(self, event_ids: Sequence[str]) -> dict[str, PendingAt]:
        """Those of the events that are not marked as folded at this moment, and for whom each waits. Index: _id."""

        async def some(chunk: Sequence[str]) -> list[Doc]:
            return await self._events.find({"_id": {"$in": list(chunk)}}, {"pend": 1, "pass": 1, "moved.n": 1}).to_list(
                None
            )

        docs = await in_chunks(some, event_ids, self._in_chunk)
        return {doc["_id"]: PendingAt(doc["pass"], doc.get("moved", {}).get("n", 0)) for doc in docs if "pend" in doc}

    async def save(self, writes: Sequence[tuple[Pass, Pass, Sequence[Any], str]]) -> set[str]:
        """The ids of the passes whose write is in the store: (pass as read, as it becomes, new entries, fid).

        One bulk write of compare-and-sets for up to 1,000 passes (100 on the embedded server); where fewer matched, or an
        answer was lost, the random `fid` tells whose write it is.
        """
        if not writes:
            return set()
        fids = {before.id: fid for before, _, _, fid in writes}
        matched = 0
        # In parts, because a slow server must answer each well within the driver's patience.
        for start in range(0, len(writes), self._in_chunk):
            part = writes[start : start + self._in_chunk]
            # A write that cannot succeed (too large, say) fails alone; which ones did is read below.
            with contextlib.suppress(BulkWriteError):
                done = await self._passes.bulk_write([update_pass_operation(*write) for write in part], ordered=False)
                matched += done.matched_count
        if matched == len(writes):
            return set(fids)

        async def some(chunk: Sequence[str]) -> list[Doc]:
            return await self._passes.find({"_id": {"$in": list(chunk)}}, {"fid": 1}).to_list(None)

        docs = await in_chunks(some, list(fids), self._in_chunk)
        return {doc["_id"] for doc in docs if doc["fid"] == fids[doc["_id"]]}

    async def clear(self, event_ids: Sequence[str], seen: Mapping[str, PendingAt] = MappingProxyType({})) -> None:
        """Marks events as folded. Only after the write that counted them was acknowledged. Index: _id.

        `seen` says how often an event had moved when it was counted: the mark of a slow worker must not fall on one that has
        moved on since, and waits again. A tombstone loses its instant too: no list of
        events has to look at it any more.
        """
        by_kind: dict[tuple[bool, int], list[str]] = {}
        for event_id in event_ids:
            moves = seen[event_id].moves if event_id in seen else 0
            by_kind.setdefault((is_tombstone(event_id), moves), []).append(event_id)
        await asyncio.gather(
            *(
                self._events.update_many(
                    {"_id": {"$in": ids[start : start + self._in_chunk]}, **_moved(times)},
                    {"$unset": {"pend": "", "occurred_at": ""} if tombstone else {"pend": ""}},
                )
                for (tombstone, times), ids in by_kind.items()
                for start in range(0, len(ids), self._in_chunk)
            )
        )

    async def replace_by_stubs(self, gone: Sequence[tuple[str, str, str]], at_ms: int) -> None:
        """Leaves of each event (workspace, pass, id) no more than that it was removed; again is the same. Index: _id.

        Before its tombstone is marked, so that whoever sees the tombstone marked sees the event gone.
        """
        for start in range(0, len(gone), self._in_chunk):
            part = gone[start : start + self._in_chunk]
            stubs = [
                ReplaceOne({"_id": event_id}, events.stub_doc(workspace_id, pass_id, from_ms(at_ms)))
                for workspace_id, pass_id, event_id in part
            ]
            await self._events.bulk_write(stubs, ordered=False)

    async def due(self, low: int, high: int, until_ms: int, limit: int) -> list[tuple[str, int]]:
        """(pass id, due ms) in slots low to high that are due at or before `until_ms`, soonest first. Index: {due, slot}."""
        query = {"due": {"$gte": 0, "$lte": until_ms}, "slot": {"$gte": low, "$lte": high}}
        docs = await self._passes.find(query, {"due": 1}).sort("due", 1).limit(limit).to_list(None)
        return [(doc["_id"], doc["due"]) for doc in docs]

    async def workspaces_behind(self) -> dict[str, int]:
        """Workspaces whose definitions were changed, and the revision announced. Index: {stale}."""
        docs = await self._workspaces.find({"stale": {"$gte": 0}}, {"stale": 1}).to_list(None)
        return {doc["_id"]: doc["stale"] for doc in docs}

    async def passes_behind(self, workspace_id: str, rev: int, limit: int) -> list[str]:
        """Passes judged under a revision before `rev`. Index: {workspace, rev}."""
        query = {"workspace": workspace_id, "rev": {"$gte": 0, "$lt": rev}}
        docs = await self._passes.find(query, {"_id": 1}).sort("rev", 1).limit(limit).to_list(None)
        return [doc["_id"] for doc in docs]

    async def mark_caught_up(self, workspace_id: str, rev: int) -> None:
        """Notes that no pass lags behind `rev` any more, unless a later revision was announced since."""
        await self._workspaces.update_one({"_id": workspace_id, "stale": {"$lte": rev}}, {"$unset": {"stale": ""}})

    async def versions(self, workspace_id: str, after_rev: int) -> list[Version]:
        """The versions made after a revision, oldest first; empty in the usual case. Index: {workspace, rev}."""
        query = {"workspace": workspace_id, "rev": {"$gt": after_rev}}
        return [version_from(doc) for doc in await self._definitions.find(query).sort("rev", 1).to_list(None)]

    async def histories(self, cards: Sequence[Pass]) -> dict[str, list[Event]]:
        """By pass id, all events that count in it as read, marked or not. Index: {workspace, pass, occurred_at, _id}."""

        async def some(workspace_id: str, pass_ids: Sequence[str]) -> list[Doc]:
            return await self._events.find({"workspace": workspace_id, "pass": {"$in": list(pass_ids)}}).to_list(None)

        by_workspace: dict[str, dict[str, Pass]] = {}
        for card in cards:
            by_workspace.setdefault(card.workspace_id, {})[card.id] = card
        found: dict[str, list[Event]] = {card.id: [] for card in cards}
        for workspace_id, theirs in by_workspace.items():
            counting = {pass_id: _counting(card) for pass_id, card in theirs.items()}
            for doc in await in_chunks(partial(some, workspace_id), list(theirs), self._in_chunk):
                if counting[doc["pass"]](doc):
                    found[doc["pass"]].append(events.from_doc(doc))
        return found

    async def expiring_events(
        self, card: Pass, measure: Measure, after_ms: int
    ) -> tuple[list[tuple[int, Number]], bool]:
        """What leaves a window next, of the events that count and occurred after `after_ms`, and whether more follow.

        Index: {workspace, pass, occurred_at, _id}, read in parts until 100 instants are complete.
        """
        found: list[Event] = []
        read_ms = after_ms
        query: Doc = {"workspace": card.workspace_id, "pass": card.id}
        seen: set[str] = set()
        counts = _counting(card)
        while True:
            where = {**query, "occurred_at": {"$gte": from_ms(read_ms)}}
            cursor = (
                self._events.find(where).sort([("occurred_at", 1), ("_id", 1)]).limit(HISTORY_BATCH_SIZE + len(seen))
            )
            docs = await cursor.to_list(None)
            fresh = [doc for doc in docs if doc["_id"] not in seen and to_ms(doc["occurred_at"]) > after_ms]
            found += [events.from_doc(doc) for doc in fresh if counts(doc)]
            pairs = group_expiring(measure, found)
            if len(docs) < HISTORY_BATCH_SIZE + len(seen):
                return pairs[:MAX_EXPIRING], len(pairs) > MAX_EXPIRING
            if len(pairs) > MAX_EXPIRING:
                return pairs[:MAX_EXPIRING], True
            # The next part begins at the last instant again: of that one more may follow.
            last = docs[-1]["occurred_at"]
            read_ms = to_ms(last)
            seen = {doc["_id"] for doc in docs if doc["occurred_at"] == last}

    async def count_failure(self, pass_id: str, error: str, at_ms: int) -> bool:
        """Counts a failure of a pass; True when it was parked: its events wait outside the index until they are re-run."""
        doc = await self._passes.find_one_and_update(
            {"_id": pass_id}, {"$inc": {"fails": 1}, "$set": {"failure": error[:500]}}, return_document=True
        )
        if doc["fails"] < PARKED_AFTER:
            return False
        slot = slot_of(pass_id)
        await self._passes.update_one({"_id": pass_id}, {"$set": {"parked": at_ms}, "$unset": {"due": ""}})
        await self._events.update_many({"pend": slot, "pass": pass_id}, {"$set": {"pend": -1 - slot}})
        return True


def _counting(card: Pass) -> Callable[[Mapping[str, Any]], bool]:
    """What counts in state v: exactly the events with no `pend`, or in lb(v), less the targets of tombstones in lb(v)."""
    folded, removed = frozenset(card.last_folded_ids), targets_of(card.last_folded_ids)

    def counts(doc: Mapping[str, Any]) -> bool:
        if "removed" in doc or doc["type"] in TOMBSTONES or doc["_id"] in removed:
            return False
        return "pend" not in doc or doc["_id"] in folded

    return counts


def _moved(times: int) -> Doc:
    return {"moved.n": times} if times else {"moved": {"$exists": False}}
