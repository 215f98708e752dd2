"""Health of the store.

With a full disk, the store answers `ping` but accepts no write, so the check writes and reads.
"""

from __future__ import annotations

from app.store.mongo.queries import Database, translating_errors

from .migration import Migration


async def check_write_and_read(db: Database) -> bool:
    """Write a document and return whether it can be read back. Raises Unavailable; safe to repeat."""
    with translating_errors():
        await db["constants"].update_one({"_id": "health"}, {"$inc": {"written": 1}}, upsert=True)
        return await db["constants"].find_one({"_id": "health"}) is not None


async def missing_indexes(db: Database) -> list[str]:
    """Return the required indexes that queries cannot use, as "collection.name". Raises Unavailable; safe to repeat.

    An index that is still being built is one of them, and so is one of that name with other options.
    """
    return list((await Migration(db).compare_indexes()).lacking)
