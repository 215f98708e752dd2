"""Whether the store does its work: a full disk answers `ping` and takes no write."""

from __future__ import annotations

from .collection import Database, translated


async def writes_and_reads(db: Database) -> bool:
    """True where the store takes a write and gives it back. Raises Unavailable; safe to repeat."""
    with translated():
        await db["constants"].update_one({"_id": "health"}, {"$inc": {"written": 1}}, upsert=True)
        return await db["constants"].find_one({"_id": "health"}) is not None
