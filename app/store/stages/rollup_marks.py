"""Writes of the stages that mark hours, across workspaces. Only `workers` may import them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from pymongo import UpdateOne

from app.domain.rollups.levels import Level
from app.domain.rollups.marks import HeadKey
from app.domain.values.instants import from_ms, to_ms
from app.store.codecs.events import changed_hour_of_doc
from app.store.mongo.queries import Database, Doc, StageQueries
from app.store.workspace.rollup_heads import mark_heads

Hour = tuple[str, int]
"""Workspace id, and the first instant of a UTC hour in milliseconds."""


class RollupMarkQueries(StageQueries):
    """Named queries that mark hours. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._events = db["events"]
        self.note_marked: Callable[[Collection[Hour]], None] = lambda hours: None
        """Called with hours after they were marked, so that the worker seals them in time."""

    async def mark_hours(self, hours: Iterable[Hour]) -> None:
        """Mark hours as changed. Safe to repeat. Index: _id.

        Call it after the write that removes an event, and before the write that makes one count for readers.
        """
        marked = list(hours)
        keys = [HeadKey(workspace_id, Level.HOUR, start_ms) for workspace_id, start_ms in marked]
        await mark_heads(self._db, keys, self._in_chunk, is_sharded=self._is_sharded)
        self.note_marked(marked)

    async def store_target_hours(
        self, targets: Mapping[str, str], *, workspace_ids: Mapping[str, str]
    ) -> dict[str, int]:
        """Store in tombstones the hours of their targets, which are still events, and return the hours that are known.

        `targets` has the id of the target by that of the tombstone, `workspace_ids` the workspace of each tombstone. Call
        it before the targets are emptied: a stub has no instant. A target that another worker has emptied meanwhile has
        its hour in the tombstone, for that worker has called this before. So the tombstones are read last.
        Safe to repeat. Index: _id.
        """
        of_targets = {target: workspace_ids[tombstone] for tombstone, target in targets.items()}
        fields = {"type": 1, "occurred_at": 1}
        docs = {doc["_id"]: doc for doc in await self._find_by_ids(self._events, of_targets, of_targets, fields)}
        hours: dict[str, int] = {}
        for tombstone, target in targets.items():
            hour = changed_hour_of_doc(docs.get(target, {}))
            if hour is not None:
                hours[tombstone] = hour
        updates = [
            UpdateOne(self._by_id(each, workspace_ids[each], pend={"$exists": True}), {"$set": {"hour": from_ms(hour)}})
            for each, hour in hours.items()
        ]
        for start in range(0, len(updates), self._in_chunk):
            await self._events.bulk_write(updates[start : start + self._in_chunk], ordered=False)
        rest = [each for each in targets if each not in hours]
        tombstones: list[Doc] = await self._find_by_ids(self._events, rest, workspace_ids, {"hour": 1})
        return hours | {doc["_id"]: to_ms(doc["hour"]) for doc in tombstones if "hour" in doc}
