"""Draws for the passes that earlier versions stored: the random numbers by which previews choose some of many passes.

`punchcard migrate` makes them, once for each database. New passes get theirs when they are created.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from app.domain.ids import draw_of
from app.store.mongo.queries import EMBEDDED_CHUNK, Database, translating_errors
from app.store.workspace.evaluable_passes import DRAWN

PASSES_DRAWN = 1_000
"""Passes that are read at once."""


async def draw_passes(db: Database, report: Callable[[int], None] = lambda _: None) -> None:
    """Store a draw for each pass, unless that is done. `report` is called with the number of passes read so far.

    No process of an earlier version may create passes meanwhile. Safe to repeat, and to run from several processes at
    once: each continues where the last one stopped. Raises Unavailable. Index: _id.
    """
    with translating_errors():
        progress = await db["constants"].find_one({"_id": DRAWN}) or {}
        after, count = str(progress.get("after", "")), int(progress.get("count", 0))
        while not progress.get("done"):
            fields = {"created_at": 1, "draw": 1, "workspace": 1}
            found = db["passes"].find({"_id": {"$gt": after}}, fields).sort("_id", 1).limit(PASSES_DRAWN)
            docs = await found.to_list(None)
            # Stubs and aliases have no `created_at`. No list returns them, and no preview draws them.
            updates = [
                UpdateOne({"_id": doc["_id"], "workspace": doc["workspace"], "created_at": doc["created_at"]},
                          {"$set": {"draw": draw_of(doc["_id"])}})
                for doc in docs
                if "created_at" in doc and "draw" not in doc
            ]  # fmt: skip
            for start in range(0, len(updates), EMBEDDED_CHUNK):
                await db["passes"].bulk_write(updates[start : start + EMBEDDED_CHUNK], ordered=False)
            after, count = (docs[-1]["_id"], count + len(docs)) if docs else (after, count)
            progress = {"done": True} if len(docs) < PASSES_DRAWN else {}
            # A slower process must not take the progress of a faster one back.
            change = {"$max": {"after": after, "count": count}, **({"$set": progress} if progress else {})}
            with contextlib.suppress(DuplicateKeyError):
                await db["constants"].update_one({"_id": DRAWN}, change, upsert=True)
            report(count)
