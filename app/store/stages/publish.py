"""Reads and writes of publish: the outboxes of passes, and what their entries refer to; for `workers` alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pymongo import UpdateOne

from app.domain.activities import Entry
from app.store.codecs.pass_parts import entry_from
from app.store.mongo.queries import Database, Doc, ErrorTranslating


class PublishQueries(ErrorTranslating):
    """Named queries of publish. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._passes = db["passes"]

    async def waiting_workspaces(self) -> set[str]:
        """Workspaces with something to publish. Index: {pub, workspace}."""
        docs = await self._passes.find({"pub": {"$gte": 0}}, {"workspace": 1, "_id": 0}).limit(2_000).to_list(None)
        return {doc["workspace"] for doc in docs}

    async def waiting(self, workspace_id: str, limit: int, each: int) -> dict[str, list[Entry]]:
        """The first `each` entries waiting in up to `limit` passes of a workspace, in order of number.

        Index: {pub, workspace}.
        """
        query = {"pub": {"$gte": 0}, "workspace": workspace_id}
        docs = await self._passes.find(query, {"n": 1, "out": {"$slice": each}}).limit(limit).to_list(None)
        return {doc["_id"]: [entry_from(entry) for entry in doc["out"][:each]] for doc in docs}

    async def published(self, up_to: Mapping[str, int]) -> None:
        """Takes entries up to a number out of each pass's outbox; `v` and `fid` stay. Safe to repeat. Index: _id."""
        if not up_to:
            return
        whole = [_pull(pass_id, n, {"n": n}, {"$unset": {"pub": ""}}) for pass_id, n in up_to.items()]
        done = await self._passes.bulk_write(whole, ordered=False)
        if done.matched_count < len(whole):
            # More was put in since: what is published goes, what is new stays announced.
            await self._passes.bulk_write([_pull(pass_id, n, {}, {}) for pass_id, n in up_to.items()], ordered=False)


def _pull(pass_id: str, n: int, also: Doc, change: Doc) -> UpdateOne:
    return UpdateOne({"_id": pass_id, **also}, {"$pull": {"out": {"n": {"$lte": n}}}, **change})


def entries_in_order(waiting: Mapping[str, Sequence[Entry]], each: int) -> list[tuple[str, Entry]]:
    """(pass, entry) in order of recording; those of one pass always in order of number.

    Of a pass with `each` entries more may wait: what was recorded after the last of these is left for the next time.
    """
    listed = []
    until_ms: float = math.inf
    for pass_id, entries in waiting.items():
        recorded_ms = 0
        for entry in entries:
            # Who was slow to write had looked at the clock early: its entries are newer than they say.
            recorded_ms = max(recorded_ms, entry.recorded_ms)
            listed.append((recorded_ms, pass_id, entry.number, entry))
        if len(entries) == each:
            until_ms = min(until_ms, recorded_ms)
    ordered = sorted(listed, key=lambda item: item[:3])
    return [(pass_id, entry) for recorded_ms, pass_id, _, entry in ordered if recorded_ms <= until_ms]
