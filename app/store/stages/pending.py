"""Reads of pending events, across workspaces. Only `workers` may import them.

The index {pend, workspace, pass, occurred_at, _id} holds pending events only. It orders them by slot, then by workspace,
by pass and by time. (Source: docs/explanation/exactly-once.md.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from app.domain.events.events import Event
from app.domain.ids import SLOTS, slot_of
from app.store.codecs.events import changed_hour_of_doc, from_doc
from app.store.mongo.queries import NO_WORKSPACES, Database, Doc, StageQueries, in_chunks

_ORDER = [(name, 1) for name in ("pend", "workspace", "pass", "occurred_at", "_id")]


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """Pending event and the workspace to which it belongs."""

    workspace_id: str
    event: Event


class PendingAt(NamedTuple):
    """Pass for which an event is pending, how often the event has moved, and the hour whose rollup it changes, if any.

    `hour_ms` is the first instant of the hour. A removal changes the hour of its target.
    """

    pass_id: str
    moves: int
    hour_ms: int | None = None


class BacklogPosition(NamedTuple):
    """Position of a pass in the order of pending events: slots, in a slot workspaces, in a workspace passes."""

    slot: int
    workspace_id: str
    pass_id: str


class PendingQueries(StageQueries):
    """Named queries of pending events. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._events = db["events"]

    async def workspaces(self) -> list[str]:
        """Return the ids of all workspaces, sorted. Index: _id."""
        docs = await self._db["workspaces"].find({}, {"_id": 1}).sort("_id", 1).to_list(None)
        return [doc["_id"] for doc in docs]

    async def pending(
        self,
        low: int,
        high: int,
        after: BacklogPosition | None,
        limit: int,
        *,
        is_long: bool = False,
        workspace_ids: Sequence[str] | None = None,
    ) -> list[PendingEvent]:
        """Return pending events of the slots low to high in index order, of the passes behind the position `after`.

        With `workspace_ids`, sorted, only events of these workspaces: a sharded store then asks their shards. One round trip
        if the backlog is not long. With `after` or `is_long`, one for the first slot, one for the next two, then four and so
        on, and two more for the slot of `after`. Index: {pend, workspace, pass, occurred_at, _id}.
        """
        docs: list[Doc] = []
        if after is not None:
            # Each range is narrow: on the embedded servers, only the range bounds what a query reads, not its limit.
            if workspace_ids is None or after.workspace_id in workspace_ids:
                rest = {"pend": after.slot, "workspace": after.workspace_id, "pass": _above(after.pass_id)}
                docs = await self._first([rest], limit)
            if len(docs) < limit:
                later = self._between(workspace_ids, (id_after(after.workspace_id), None))
                docs += await self._first([{"pend": after.slot, **where} for where in later], limit - len(docs))
            low = after.slot + 1
        count = 1 if is_long or after is not None else SLOTS
        named: list[Doc] = [{}] if workspace_ids is None else self._named(workspace_ids)
        while low <= high and len(docs) < limit:
            slots = {"$gte": low, "$lte": min(high, low + count - 1)}
            docs += await self._first([{"pend": slots, **where} for where in named], limit - len(docs))
            low, count = low + count, 2 * count
        return [_pending_event(doc) for doc in docs]

    async def pending_between(
        self,
        slot: int,
        workspaces: tuple[str, str | None],
        limit: int,
        *,
        workspace_ids: Sequence[str] | None = None,
    ) -> list[PendingEvent]:
        """Return the first pending events of a slot in the workspaces from an id to before another; None for no end.

        In index order; `workspace_ids` as for `pending`. Index: {pend, workspace, pass, occurred_at, _id}.
        """
        where = self._between(workspace_ids, workspaces)
        return [_pending_event(doc) for doc in await self._first([{"pend": slot, **each} for each in where], limit)]

    def _between(self, workspace_ids: Sequence[str] | None, between: tuple[str, str | None]) -> list[Doc]:
        """Return filters by workspace that together hold a range of them, or those of the named ones in the range."""
        first, end = between
        if workspace_ids is None:
            return [{"workspace": {"$gte": first} if end is None else {"$gte": first, "$lt": end}}]
        return self._named([each for each in workspace_ids if each >= first and (end is None or each < end)])

    def _named(self, workspace_ids: Sequence[str]) -> list[Doc]:
        starts = range(0, len(workspace_ids), self._in_chunk)
        return [{"workspace": {"$in": list(workspace_ids[start : start + self._in_chunk])}} for start in starts]

    async def _first(self, queries: Sequence[Doc], limit: int) -> list[Doc]:
        """Return the first documents, in index order, among those of all queries, which are asked at once."""
        found = await asyncio.gather(
            *(self._read_docs(self._events, query, sort=_ORDER, limit=limit) for query in queries)
        )
        if len(found) == 1:
            return found[0]
        docs = sorted((doc for each in found for doc in each), key=lambda doc: [doc[name] for name, _ in _ORDER])
        return docs[:limit]

    async def with_pending(self, workspace_ids: Mapping[str, str]) -> set[str]:
        """Return those of the passes that have pending events. `workspace_ids` has the workspace of each pass, by pass id.

        One read for each slot and workspace. Index: {pend, workspace, pass, occurred_at, _id}.
        """
        groups: dict[tuple[int, str], list[str]] = {}
        for pass_id, workspace_id in workspace_ids.items():
            groups.setdefault((slot_of(pass_id), workspace_id), []).append(pass_id)

        async def find_chunk(slot: int, workspace_id: str, chunk: Sequence[str]) -> list[Doc]:
            query = {"pend": slot, "workspace": workspace_id, "pass": {"$in": list(chunk)}}
            return await self._read_docs(self._events, query, {"pass": 1, "_id": 0})

        # Query one slot and workspace at a time: for several in one query, the embedded servers read a whole slot, or
        # the whole collection.
        found = await asyncio.gather(
            *(in_chunks(partial(find_chunk, *group), pass_ids, self._in_chunk) for group, pass_ids in groups.items())
        )
        return {doc["pass"] for docs in found for doc in docs}

    async def pending_by_ids(self, workspace_ids: Mapping[str, str]) -> list[Event]:
        """Return those of the events that are pending. Index: _id.

        `workspace_ids` has the workspace of each event, by event id.
        """
        docs = await self._find_by_ids(self._events, workspace_ids, workspace_ids)
        return [from_doc(doc) for doc in docs if "pend" in doc]

    async def still_pending(
        self, event_ids: Sequence[str], *, workspace_ids: Mapping[str, str] = NO_WORKSPACES
    ) -> dict[str, PendingAt]:
        """Return those of the events that are pending now, and for which pass. Index: _id.

        `workspace_ids` has the workspace of each event, by event id.
        """
        fields = {"pend": 1, "pass": 1, "moved.n": 1, "type": 1, "occurred_at": 1, "hour": 1}
        docs = await self._find_by_ids(self._events, event_ids, workspace_ids, fields)
        return {
            doc["_id"]: PendingAt(doc["pass"], doc.get("moved", {}).get("n", 0), changed_hour_of_doc(doc))
            for doc in docs
            if "pend" in doc
        }


def id_after(text: str) -> str:
    """Return the first text after `text` in the order of texts."""
    return text + "\0"


def _above(text: str) -> Doc:
    # For $gt, the Python server also reads the documents that have the text itself, however many they are.
    return {"$gte": id_after(text)}


def _pending_event(doc: Doc) -> PendingEvent:
    return PendingEvent(doc["workspace"], from_doc(doc))
