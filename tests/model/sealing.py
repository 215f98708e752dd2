"""Seals of hours beside the stages, and what must hold for their contents when all work is done.

A content here is the list of the counted events, so that no two errors cancel out. A seal reads the events one after the
other, as a scan of a store does: it sees no single moment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from random import Random

from pymongo.errors import BulkWriteError, PyMongoError

from app.domain.events.events import INTERNAL_TYPES
from app.domain.rollups.levels import Level
from app.domain.values.instants import from_ms, to_ms
from app.store.codecs.guards import is_declined
from app.store.codecs.rollups import head_id

from .memory import Doc, MemoryDatabase


class Sealer:
    """A process that seals marked hours, in random order."""

    def __init__(self, db: MemoryDatabase, choices: Random) -> None:
        self._db, self._choices = db, choices

    async def seal_some(self) -> bool:
        """Seal up to two marked hours, and return whether any was marked."""
        heads = await self._db["rollup_heads"].find({"dirty": {"$gte": 0}, "level": Level.HOUR.value}).to_list(None)
        for head in self._choices.sample(heads, min(2, len(heads))):
            with contextlib.suppress(PyMongoError):
                await self._seal(head)
        return bool(heads)

    async def _seal(self, head: Doc) -> None:
        start_ms = to_ms(head["start"])
        span = {"$gte": head["start"], "$lt": from_ms(Level.HOUR.end_ms(start_ms))}
        listed = await self._db["events"].find({"occurred_at": span}).to_list(None)
        content = []
        for each in listed:
            [doc] = await self._db["events"].find({"_id": each["_id"]}).to_list(None)
            if "pend" in doc:
                return
            if is_counted(doc):
                content.append(doc["_id"])
        await self.store(head, content)

    async def store(self, head: Doc, content: Sequence[str]) -> None:
        """Store a content, and drop the mark of its head if it is the one that was read before the events."""
        token = head["dirty"]
        with contextlib.suppress(BulkWriteError):  # another seal under the same mark
            await self._db["contents"].insert_many([{"_id": f"{head['_id']}|{token}", "events": sorted(content)}])
        await self._db["rollup_heads"].update_one(
            {"_id": head["_id"], "dirty": token}, {"$unset": {"dirty": ""}, "$set": {"sealed": token}}
        )


def is_counted(doc: Mapping[str, object]) -> bool:
    """Return whether a document that is not pending is an event that rollups hold."""
    return "removed" not in doc and doc["type"] not in INTERNAL_TYPES and not is_declined(dict(doc))


def check_contents(db: MemoryDatabase, workspace_id: str) -> None:
    """Check that the content of each hour has the counted events of the hour, when nothing is pending or marked."""
    events: dict[str, list[str]] = {}
    for doc in db["events"].docs.values():
        if is_counted(doc):
            hour_ms = Level.HOUR.start_ms(to_ms(doc["occurred_at"]))
            events.setdefault(head_id(workspace_id, Level.HOUR, hour_ms), []).append(doc["_id"])
    heads = db["rollup_heads"].docs
    assert events.keys() <= heads.keys(), "an hour with events was never marked"
    for key, head in heads.items():
        content = db["contents"].docs.get(f"{key}|{head.get('sealed')}", {"events": []})
        assert content["events"] == sorted(events.get(key, [])), f"the rollup of {head['start']} is out of date"
