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
from app.domain.ids import slot_of
from app.store.codecs.events import from_doc
from app.store.mongo.queries import NO_WORKSPACES, Collection, Database, Doc, StageQueries, in_chunks, update_by_ids

_ORDER = [(name, 1) for name in ("pend", "workspace", "pass", "occurred_at", "_id")]


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """Pending event and the workspace to which it belongs."""

    workspace_id: str
    event: Event


class PendingAt(NamedTuple):
    """Pass for which an event is pending, and how often the event has moved."""

    pass_id: str
    moves: int


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

    async def pending(self, low: int, high: int, after: BacklogPosition | None, limit: int) -> list[PendingEvent]:
        """Return pending events of the slots low to high in index order, of the passes behind the position `after`.

        One round trip without `after`, else up to three. Index: {pend, workspace, pass, occurred_at, _id}.
        """
        ranges: list[Doc] = []
        if after is not None:
            # Each range is narrow: on the embedded servers, only the range bounds what a query reads, not its limit.
            rest_of_workspace = {"pend": after.slot, "workspace": after.workspace_id, "pass": _above(after.pass_id)}
            ranges = [rest_of_workspace, {"pend": after.slot, "workspace": _above(after.workspace_id)}]
            low = after.slot + 1
        if low <= high:
            ranges.append({"pend": {"$gte": low, "$lte": high}})
        docs: list[Doc] = []
        for query in ranges:
            docs += await self._events.find(query).sort(_ORDER).limit(limit - len(docs)).to_list(None)
            if len(docs) >= limit:
                break
        return [_pending_event(doc) for doc in docs]

    async def pending_between(self, slot: int, workspaces: tuple[str, str | None], limit: int) -> list[PendingEvent]:
        """Return the first pending events of a slot in the workspaces from an id to before another; None for no end.

        In index order. Index: {pend, workspace, pass, occurred_at, _id}.
        """
        first, end = workspaces
        between = {"$gte": first} if end is None else {"$gte": first, "$lt": end}
        docs = await self._events.find({"pend": slot, "workspace": between}).sort(_ORDER).limit(limit).to_list(None)
        return [_pending_event(doc) for doc in docs]

    async def with_pending(self, workspace_ids: Mapping[str, str]) -> set[str]:
        """Return those of the passes that have pending events. `workspace_ids` has the workspace of each pass, by pass id.

        One read for each slot and workspace. Index: {pend, workspace, pass, occurred_at, _id}.
        """
        groups: dict[tuple[int, str], list[str]] = {}
        for pass_id, workspace_id in workspace_ids.items():
            groups.setdefault((slot_of(pass_id), workspace_id), []).append(pass_id)

        async def find_chunk(slot: int, workspace_id: str, chunk: Sequence[str]) -> list[Doc]:
            query = {"pend": slot, "workspace": workspace_id, "pass": {"$in": list(chunk)}}
            return await self._events.find(query, {"pass": 1, "_id": 0}).to_list(None)

        # Query one slot and workspace at a time: for several in one query, the embedded servers read a whole slot, or
        # the whole collection.
        found = await asyncio.gather(
            *(in_chunks(partial(find_chunk, *group), pass_ids, self._in_chunk) for group, pass_ids in groups.items())
        )
        return {doc["pass"] for docs in found for doc in docs}

    async def still_pending(
        self, event_ids: Sequence[str], *, workspace_ids: Mapping[str, str] = NO_WORKSPACES
    ) -> dict[str, PendingAt]:
        """Return those of the events that are pending now, and for which pass. Index: _id.

        `workspace_ids` has the workspace of each event, by event id.
        """
        docs = await self._find_by_ids(self._events, event_ids, workspace_ids, {"pend": 1, "pass": 1, "moved.n": 1})
        return {doc["_id"]: PendingAt(doc["pass"], doc.get("moved", {}).get("n", 0)) for doc in docs if "pend" in doc}


async def move_to_slot(events: Collection, where: Doc, slot: int, in_chunk: int, *, is_sharded: bool) -> None:
    """Move the events of one pass, which have one `pend`, to another one, until none is left. Safe to repeat.

    Each update names one event. A sharded MongoDB may leave out an update of many. Index: that of `where`.
    """
    while docs := await events.find(where, {"_id": 1}).limit(in_chunk).to_list(None):
        ids = [doc["_id"] for doc in docs]
        workspace_ids = dict.fromkeys(ids, str(where["workspace"])) if is_sharded else None
        change, as_read = {"$set": {"pend": slot}}, {"pend": where["pend"]}
        await update_by_ids(events, ids, change, where=as_read, in_chunk=in_chunk, workspace_ids=workspace_ids)


def id_after(text: str) -> str:
    """Return the first text after `text` in the order of texts."""
    return text + "\0"


def _above(text: str) -> Doc:
    # For $gt, the Python server also reads the documents that have the text itself, however many they are.
    return {"$gte": id_after(text)}


def _pending_event(doc: Doc) -> PendingEvent:
    return PendingEvent(doc["workspace"], from_doc(doc))
