"""Heartbeats of the workers. MongoDB stores them because Redis may lose its data; their times are system time."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from app.store.mongo.queries import Database, Doc, ErrorTranslating

from .schema_version import SCHEMA_ID, lowest_writer_of

MAX_CLOCK_SKEW_MS = 1_000
"""The difference between the clocks of two hosts up to which no lease of a live worker is taken over."""


class Share(NamedTuple):
    """Share of a worker: its end in ms, and the work that was under way at the last heartbeat."""

    until_ms: int
    running: frozenset[str]


class Shares(NamedTuple):
    """Workers that have a share of the work, by id, and the lowest schema version that may write to the database."""

    workers: dict[str, Share]
    lowest_writer: int


class Heartbeats(ErrorTranslating):
    """Named queries of the collection `heartbeats`. Errors: Unavailable, safe to repeat.

    A heartbeat has three ends. Until `expires_at`, the worker counts as alive. Until `shares`, it has a share of the work.
    Until `holds`, its leases are its own. A worker of 0.1.0 stores only the first.
    """

    def __init__(self, db: Database) -> None:
        self._heartbeats = db["heartbeats"]

    async def beat(
        self,
        worker_id: str,
        at: datetime,
        expires_at: datetime,
        *,
        shares_ms: int = 0,
        holds_ms: int = 0,
        running: Sequence[str] = (),
    ) -> None:
        """Record that a worker is alive; without another heartbeat it counts as alive until `expires_at`.

        `shares_ms` and `holds_ms` are the ends of its share of the work and of its leases. `running` names the work that
        is under way. Index: _id.
        """
        heartbeat = {"at": at, "expires_at": expires_at, "host": socket.gethostname(), "pid": os.getpid()}
        share = {"shares": shares_ms, "holds": holds_ms, "running": list(running)}
        await self._heartbeats.update_one({"_id": worker_id}, {"$set": heartbeat | share}, upsert=True)

    async def remove(self, worker_id: str) -> None:
        """Remove the heartbeat of a worker that shuts down. Safe to repeat. Index: _id."""
        await self._heartbeats.delete_one({"_id": worker_id})

    async def count_alive(self, now: datetime) -> int:
        """Return the number of workers whose heartbeat has not expired. Index: {expires_at}."""
        return await self._heartbeats.count_documents({"expires_at": {"$gt": now}})

    async def sharing(self, now_ms: int) -> Shares:
        """Return the workers that have a share of the work. Reads the heartbeats of all.

        The same round trip reads who may write. If no worker has a share, the answer allows every version.
        """
        stages: list[Doc] = [
            {"$match": {"shares": {"$gt": now_ms}}},
            {"$project": {"shares": 1, "running": 1}},
            {"$lookup": {"from": "constants", "pipeline": [{"$match": {"_id": SCHEMA_ID}}], "as": "schema"}},
        ]
        docs = await self._heartbeats.aggregate(stages).to_list(None)
        workers = {doc["_id"]: Share(doc["shares"], frozenset(doc["running"])) for doc in docs}
        return Shares(workers, max((lowest_writer_of(each) for doc in docs for each in doc["schema"]), default=0))

    async def gone(self, worker_ids: Collection[str], now_ms: int) -> set[str]:
        """Return those of the workers whose leases another worker may take over. Index: _id.

        A worker sends its first heartbeat before its first claim. So a worker without a heartbeat has ended.
        """
        if not worker_ids:
            return set()
        query = {"_id": {"$in": list(worker_ids)}}
        docs = await self._heartbeats.find(query, {"holds": 1}).to_list(None)
        return set(worker_ids) - {doc["_id"] for doc in docs if doc.get("holds", 0) + MAX_CLOCK_SKEW_MS > now_ms}
