"""Whether the store can be worked with: a full disk answers `ping` and takes no write."""

from __future__ import annotations

import asyncio

from app.store.mongo.queries import Database, translating_errors

from .indexes import INDEXES


async def check_write_and_read(db: Database) -> bool:
    """True where the store takes a write and gives it back. Raises Unavailable; safe to repeat."""
    with translating_errors():
        await db["constants"].update_one({"_id": "health"}, {"$inc": {"written": 1}}, upsert=True)
        return await db["constants"].find_one({"_id": "health"}) is not None


async def missing_indexes(db: Database) -> list[str]:
    """The indexes that ought to be there and are not, as "collection.name". Raises Unavailable; safe to repeat."""

    async def missing(collection: str) -> list[str]:
        there = await db[collection].index_information()
        wanted = [str(model.document["name"]) for model in INDEXES[collection]]
        return [f"{collection}.{name}" for name in wanted if name not in there]

    with translating_errors():
        found = await asyncio.gather(*map(missing, INDEXES))
    return [name for names in found for name in names]
