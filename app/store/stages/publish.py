"""Reads and writes of the publish stage: the outboxes of passes. Only `workers` may import them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pymongo import UpdateOne

from app.domain.activities import Entry
from app.store.codecs.pass_parts import entry_from_doc
from app.store.mongo.queries import Database, Doc, ErrorTranslating

LOOK_BATCH_SIZE = 500
"""Passes that one read of the look for workspaces returns."""


class PublishQueries(ErrorTranslating):
    """Named queries of the publish stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._passes = db["passes"]

    async def waiting_workspaces(self) -> set[str]:
        """Return the workspaces with unpublished passes. Index: {pub, workspace}.

        One round trip for up to 500 such passes. Each further read begins after the last workspace read, so that a
        workspace with many passes hides no other one.
        """
        found: set[str] = set()
        last, is_full = "", True
        while is_full:
            query = {"pub": 1, "workspace": {"$gt": last}}
            read = self._passes.find(query, {"workspace": 1, "_id": 0}).sort("workspace", 1).limit(LOOK_BATCH_SIZE)
            docs = await read.to_list(None)
            found |= {doc["workspace"] for doc in docs}
            is_full = len(docs) == LOOK_BATCH_SIZE
            last = docs[-1]["workspace"] if docs else last
        return found

    async def first_waiting(self, workspace_id: str) -> tuple[str, int] | None:
        """Return the first pass of a workspace to publish and the number of its first outbox entry, or None.

        Index: {pub, workspace}.
        """
        waiting = await self.waiting(workspace_id, 1, 1)
        return next(((pass_id, entries[0].number if entries else 0) for pass_id, entries in waiting.items()), None)

    async def waiting(self, workspace_id: str, limit: int, each: int) -> dict[str, list[Entry]]:
        """Return the first `each` outbox entries of up to `limit` passes of a workspace, in order of number.

        Index: {pub, workspace}.
        """
        query = {"pub": {"$gte": 0}, "workspace": workspace_id}
        docs = await self._passes.find(query, {"n": 1, "out": {"$slice": each}}).limit(limit).to_list(None)
        return {doc["_id"]: [entry_from_doc(entry) for entry in doc["out"][:each]] for doc in docs}

    async def published(self, up_to: Mapping[str, int]) -> None:
        """Remove published entries, up to a number, from each pass's outbox.

        Version and write id stay. Safe to repeat. Index: _id.
        """
        if not up_to:
            return
        operations = [_pull_operation(pass_id, n, {"n": n}, {"$unset": {"pub": ""}}) for pass_id, n in up_to.items()]
        result = await self._passes.bulk_write(operations, ordered=False)
        if result.matched_count < len(operations):
            # Some passes have newer entries. Remove only the published ones, and keep these passes unpublished.
            await self._passes.bulk_write(
                [_pull_operation(pass_id, n, {}, {}) for pass_id, n in up_to.items()], ordered=False
            )


def _pull_operation(pass_id: str, n: int, condition: Doc, change: Doc) -> UpdateOne:
    return UpdateOne({"_id": pass_id, **condition}, {"$pull": {"out": {"n": {"$lte": n}}}, **change})


def entries_in_order(waiting: Mapping[str, Sequence[Entry]], each: int) -> list[tuple[str, Entry]]:
    """Return (pass id, entry) in order of recording; entries of one pass are always in order of number.

    A pass with `each` entries may have more. Entries recorded after the last one read of such a pass are left for the
    next round.
    """
    listed = []
    until_ms: float = math.inf
    for pass_id, entries in waiting.items():
        recorded_ms = 0
        for entry in entries:
            # A slow writer read the clock long before its write, so its entries may be newer than they state.
            recorded_ms = max(recorded_ms, entry.recorded_ms)
            listed.append((recorded_ms, pass_id, entry.number, entry))
        if len(entries) == each:
            until_ms = min(until_ms, recorded_ms)
    ordered = sorted(listed, key=lambda item: item[:3])
    return [(pass_id, entry) for recorded_ms, pass_id, _, entry in ordered if recorded_ms <= until_ms]
