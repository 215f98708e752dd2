"""Sealed months and years of the passes of one workspace."""

from __future__ import annotations

from app.store.mongo.queries import Database, translating_errors

MARKED = "pass_months"
"""The document in `constants` that says that passes of earlier versions are marked to be sealed."""


async def are_passes_marked(db: Database) -> bool:
    """Return whether every pass with events has a mark or sealed months. Raises Unavailable. Index: _id."""
    with translating_errors():
        progress = await db["constants"].find_one({"_id": MARKED})
    return bool((progress or {}).get("done"))
