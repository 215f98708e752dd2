"""Heartbeats of the workers. MongoDB stores them because Redis may lose its data; their times are system time."""

from __future__ import annotations

import os
import socket
from datetime import datetime

from app.store.mongo.queries import Database, ErrorTranslating


class Heartbeats(ErrorTranslating):
    """Named queries of the collection `heartbeats`. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._heartbeats = db["heartbeats"]

    async def beat(self, worker_id: str, at: datetime, expires_at: datetime) -> None:
        """Record that a worker is alive; without another heartbeat it counts as alive until `expires_at`.

        Index: _id.
        """
        heartbeat = {"at": at, "expires_at": expires_at, "host": socket.gethostname(), "pid": os.getpid()}
        await self._heartbeats.update_one({"_id": worker_id}, {"$set": heartbeat}, upsert=True)

    async def remove(self, worker_id: str) -> None:
        """Remove the heartbeat of a worker that shuts down. Safe to repeat. Index: _id."""
        await self._heartbeats.delete_one({"_id": worker_id})

    async def count_alive(self, now: datetime) -> int:
        """Return the number of workers whose heartbeat has not expired. Index: {expires_at}."""
        return await self._heartbeats.count_documents({"expires_at": {"$gt": now}})
