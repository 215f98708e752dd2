"""Signs of life of the workers. In Mongo, because Redis may be empty; in system time, because they are about machines."""

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
        """Notes that a worker lives, and until when to believe it without another sign. Index: _id."""
        seen = {"at": at, "expires_at": expires_at, "host": socket.gethostname(), "pid": os.getpid()}
        await self._heartbeats.update_one({"_id": worker_id}, {"$set": seen}, upsert=True)

    async def gone(self, worker_id: str) -> None:
        """Forgets a worker that ends in order. Safe to repeat. Index: _id."""
        await self._heartbeats.delete_one({"_id": worker_id})

    async def alive(self, now: datetime) -> int:
        """How many workers are to be believed alive. Index: {expires_at}."""
        return await self._heartbeats.count_documents({"expires_at": {"$gt": now}})
