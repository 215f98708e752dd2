"""Changes of all stored passes, in parts, which `punchcard migrate` makes once for each database."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence

from pymongo.errors import DuplicateKeyError

from app.store.mongo.queries import Database, Doc, translating_errors

PASSES_READ = 1_000
"""Passes that are changed at once."""


async def change_all_passes(
    db: Database,
    name: str,
    fields: Doc,
    change: Callable[[Sequence[Doc]], Awaitable[None]],
    report: Callable[[int], None],
) -> None:
    """Call `change` with all passes, in the order of their ids, unless that is done. `fields` are those that it needs.

    The document `name` in `constants` says how far the passes are changed: `after` is the last pass, `done` is the end.
    `report` is called with the number of passes so far. Safe to repeat, and to run from several processes at once: each
    continues where the last one stopped. Raises Unavailable. Index: _id.
    """
    with translating_errors():
        progress = await db["constants"].find_one({"_id": name}) or {}
        after, count = str(progress.get("after", "")), int(progress.get("count", 0))
        while not progress.get("done"):
            found = db["passes"].find({"_id": {"$gt": after}}, fields).sort("_id", 1).limit(PASSES_READ)
            docs = await found.to_list(None)
            await change(docs)
            after, count = (docs[-1]["_id"], count + len(docs)) if docs else (after, count)
            progress = {"done": True} if len(docs) < PASSES_READ else {}
            # A slower process must not take the progress of a faster one back.
            update = {"$max": {"after": after, "count": count}, **({"$set": progress} if progress else {})}
            with contextlib.suppress(DuplicateKeyError):
                await db["constants"].update_one({"_id": name}, update, upsert=True)
            report(count)
