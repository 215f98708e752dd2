"""Marks for the passes that earlier versions stored: all their months must be sealed.

`punchcard migrate` makes them, once for each database. Writes to passes mark the months that they change, from then on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from app.domain.rollups.periods import ALL_MONTHS
from app.store.mongo.queries import EMBEDDED_CHUNK, Database, translating_errors
from app.store.workspace.pass_periods import MARKED

PASSES_MARKED = 1_000
"""Passes that are read at once."""


async def mark_passes(db: Database, report: Callable[[int], None] = lambda _: None) -> None:
    """Mark all months of each pass, unless that is done. `report` is called with the number of passes read so far.

    No process of an earlier version may write passes meanwhile. Safe to repeat, and to run from several processes at once.
    Raises Unavailable. Index: _id.
    """
    with translating_errors():
        progress = await db["constants"].find_one({"_id": MARKED}) or {}
        after, count = str(progress.get("after", "")), int(progress.get("count", 0))
        while not progress.get("done"):
            fields = {"created_at": 1, "v": 1, "workspace": 1}
            found = db["passes"].find({"_id": {"$gt": after}}, fields).sort("_id", 1).limit(PASSES_MARKED)
            docs = await found.to_list(None)
            # Stubs and aliases have no `created_at`: nothing counts there.
            updates = [
                UpdateOne(
                    {"_id": doc["_id"], "workspace": doc["workspace"], "v": doc["v"]},
                    # A walk that has read the pass before must not overwrite the mark, so the pass gets a new version.
                    {"$set": {"dirty_months": [ALL_MONTHS], "dirty_from": ALL_MONTHS, "v": doc["v"] + 1}},
                )
                for doc in docs
                if "created_at" in doc
            ]
            matched = 0
            for start in range(0, len(updates), EMBEDDED_CHUNK):
                batch = updates[start : start + EMBEDDED_CHUNK]
                matched += (await db["passes"].bulk_write(batch, ordered=False)).matched_count
            if matched < len(updates):
                # A walk has written a pass meanwhile. Its months are marked once more, which costs only time.
                continue
            after, count = (docs[-1]["_id"], count + len(docs)) if docs else (after, count)
            progress = {"done": True} if len(docs) < PASSES_MARKED else {}
            # A slower process must not take the progress of a faster one back.
            change = {"$max": {"after": after, "count": count}, **({"$set": progress} if progress else {})}
            with contextlib.suppress(DuplicateKeyError):
                await db["constants"].update_one({"_id": MARKED}, change, upsert=True)
            report(count)
