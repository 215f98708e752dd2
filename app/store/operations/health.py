"""Health of the store.

With a full disk, the store answers `ping` but accepts no write, so the check writes and reads.
"""

from __future__ import annotations

import asyncio

from app.store.mongo.queries import Database, translating_errors

from .indexes import INDEXES


async def check_write_and_read(db: Database) -> bool:
    """Write a document and return whether it can be read back. Raises Unavailable; safe to repeat."""
    with translating_errors():
        await db["constants"].update_one({"_id": "health"}, {"$inc": {"written": 1}}, upsert=True)
        return await db["constants"].find_one({"_id": "health"}) is not None


async def missing_indexes(db: Database) -> list[str]:
    """Return the required indexes that do not exist, as "collection.name". Raises Unavailable; safe to repeat."""

    async def missing(collection: str) -> list[str]:
        existing = await db[collection].index_information()
        required = [str(model.document["name"]) for model in INDEXES[collection]]
        return [f"{collection}.{name}" for name in required if name not in existing]

    with translating_errors():
        found = await asyncio.gather(*map(missing, INDEXES))
    return [name for names in found for name in names]
