"""Marks of all hours that have events: for an upgrade, and to build the rollups of a period anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pymongo import UpdateOne

from app.domain.rollups.levels import Level
from app.domain.rollups.marks import HeadKey
from app.domain.values.instants import DAY_MS, EARLIEST, HOUR_MS, LATEST, from_ms, to_ms
from app.store.codecs.pass_parts import entry_from_doc
from app.store.codecs.passes import made_at_part
from app.store.mongo.queries import Database, Doc, ErrorTranslating
from app.store.workspace.local_periods import cell_start
from app.store.workspace.rollup_heads import mark_heads

from .first_events import find_event_instant

EVENTS_PER_READ = 100_000
"""Events that one read groups by hour, about."""
LONGEST_SPAN_MS = 366 * DAY_MS
"""Longest period that one read covers."""
_GROWTH = 4
_PASSES_READ = 1_000


class HoursFound(NamedTuple):
    """Hours with events in a part of time, the instant at which the part ends, and how long the next part may be."""

    hours: list[int]
    until_ms: int
    span_ms: int


class RollupMarking(ErrorTranslating):
    """Marks of the hours of stored events. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        self._db, self._in_chunk, self._is_sharded = db, in_chunk, is_sharded

    async def mark_hours_with_events(
        self,
        workspace_id: str,
        low_ms: int = to_ms(EARLIEST),
        high_ms: int = to_ms(LATEST),
        report: Callable[[int], None] = lambda count: None,
    ) -> int:
        """Mark each hour of [low_ms, high_ms) in which an event occurred, and return their number. Safe to repeat.

        The store groups the events, so the answers are small. `report` is called with the number of hours marked so far.
        Index: {workspace, occurred_at, _id}.
        """
        marked = 0
        where = {"workspace": workspace_id}
        first = await find_event_instant(self._db, self._in_chunk, where, low_ms, high_ms)
        last = await find_event_instant(self._db, self._in_chunk, where, low_ms, high_ms, direction=-1)
        if first is None or last is None:
            return 0
        at_ms, span_ms = Level.HOUR.start_ms(first), DAY_MS
        while at_ms <= last:
            until_ms = Level.HOUR.start_ms(at_ms + span_ms)
            hours, events = await self._hours_between(where, max(at_ms, low_ms), min(until_ms, high_ms))
            keys = [HeadKey(workspace_id, Level.HOUR, hour) for hour in hours]
            await mark_heads(self._db, keys, self._in_chunk, is_sharded=self._is_sharded)
            marked += len(keys)
            report(marked)
            at_ms, span_ms = until_ms, _next_span(span_ms, events)
        return marked

    async def find_hours(self, workspace_id: str, event_type: str, low_ms: int, span_ms: int) -> HoursFound | None:
        """Return the hours of the first events of a type from an instant on, in about `span_ms`; None if there are none.

        Index: {workspace, type, occurred_at, _id}.
        """
        where = {"workspace": workspace_id, "type": event_type}
        first = await find_event_instant(self._db, self._in_chunk, where, low_ms)
        if first is None:
            return None
        until_ms = Level.HOUR.start_ms(first) + span_ms
        hours, events = await self._hours_between(where, first, until_ms)
        return HoursFound(hours, until_ms, _next_span(span_ms, events))

    async def _hours_between(self, owner: Doc, low_ms: int, high_ms: int) -> tuple[list[int], int]:
        """Return the hours with events in [low_ms, high_ms), and the number of these events."""
        where = {**owner, "occurred_at": {"$gte": from_ms(low_ms), "$lt": from_ms(high_ms)}}
        stages: list[Doc] = [{"$match": where}, {"$group": {"_id": cell_start(HOUR_MS), "n": {"$sum": 1}}}]
        docs = await self._db["events"].aggregate(stages).to_list(None)
        return sorted(to_ms(doc["_id"]) for doc in docs), sum(int(doc["n"]) for doc in docs)

    async def note_made_events(self, workspace_id: str) -> None:
        """Store `made_at` in passes whose outbox carries made events, as earlier versions did not. Safe to repeat.

        Index: {workspace, pub}.
        """
        where = {"workspace": workspace_id, "pub": {"$gte": 0}}
        cursor = self._db["passes"].find(where, {"out": 1}, batch_size=_PASSES_READ)
        while docs := await cursor.to_list(_PASSES_READ):
            parts = {doc["_id"]: made_at_part(map(entry_from_doc, doc["out"])) for doc in docs}
            # Publish unsets both fields in one write, so an outbox that it has emptied meanwhile gets none.
            updates = [
                UpdateOne({"_id": pass_id, "workspace": workspace_id, "pub": {"$gte": 0}}, {"$min": part})
                for pass_id, part in parts.items()
                if part
            ]
            for start in range(0, len(updates), self._in_chunk):
                await self._db["passes"].bulk_write(updates[start : start + self._in_chunk], ordered=False)

    async def complete_workspace(self, workspace_id: str) -> None:
        """Record that all hours of the workspace with events are marked or sealed. Index: _id."""
        await self._db["workspaces"].update_one({"_id": workspace_id}, {"$set": {"marked": True}})

    async def unmarked_workspaces(self) -> list[str]:
        """Return the workspaces of earlier versions whose hours may not be marked, in the order of their ids. Index: _id."""
        docs = (
            await self._db["workspaces"].find({"marked": {"$exists": False}}, {"_id": 1}).sort("_id", 1).to_list(None)
        )
        return [doc["_id"] for doc in docs]


def _next_span(span_ms: int, events: int) -> int:
    """Return the length of the next part of time, after one of this length with so many events."""
    fitting_ms = span_ms * EVENTS_PER_READ // events if events else LONGEST_SPAN_MS
    return max(DAY_MS, min(fitting_ms, _GROWTH * span_ms, LONGEST_SPAN_MS))
