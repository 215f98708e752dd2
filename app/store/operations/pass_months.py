"""Marks of months of many passes: for an upgrade, and to compute the sums of passes anew.

`punchcard migrate` marks all passes once for each database, because earlier versions stored them without marks. Writes to
passes mark the months that they change, from then on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from app.domain.rollups.periods import ALL_MONTHS, LAST_MONTH, month_of, months_between
from app.domain.values.instants import EARLIEST, from_ms
from app.store.mongo.ids import new_id
from app.store.mongo.queries import EMBEDDED_CHUNK, Database, Doc, equal_to, translating_errors
from app.store.workspace.pass_periods import LAST_MONTHS_MARKED, MARKED, are_passes_marked

PASSES_MARKED = 1_000
"""Passes that are read at once."""
MAX_MONTHS_MARKED = 24
"""Months that a pass is marked with one by one. For a longer time, all its months are."""


async def lacks_marks(db: Database) -> bool:
    """Return whether the last months of passes must still be marked. Raises Unavailable; safe to repeat. Index: _id."""
    is_marked = await are_passes_marked(db, LAST_MONTHS_MARKED)
    with translating_errors():
        return not is_marked and await db["passes"].find_one({}, {"_id": 1}) is not None


async def mark_passes(db: Database, report: Callable[[int], None] = lambda _: None) -> None:
    """Mark all months of each pass, and then the last month of each one, unless that is done.

    Each pass gets a new version with a new write id, as `mark_months` says.
    `report` is called with the number of passes read so far. No process of an earlier version may write passes meanwhile.
    Safe to repeat, and to run from several processes at once. Raises Unavailable. Index: _id.
    """
    await _mark_all(db, MARKED, ALL_MONTHS, report)
    await _mark_all(db, LAST_MONTHS_MARKED, LAST_MONTH, report)


async def _mark_all(db: Database, progress_id: str, mark: int, report: Callable[[int], None]) -> None:
    """Mark each pass. The document of this id in `constants` holds the progress."""
    with translating_errors():
        progress = await db["constants"].find_one({"_id": progress_id}) or {}
        after, count = str(progress.get("after", "")), int(progress.get("count", 0))
        while not progress.get("done"):
            fields = {"created_at": 1, "v": 1, "fid": 1, "workspace": 1, "dirty_months": 1}
            found = db["passes"].find({"_id": {"$gt": after}}, fields).sort("_id", 1).limit(PASSES_MARKED)
            docs = await found.to_list(None)
            # Stubs and aliases have no `created_at`: nothing counts there.
            updates = [
                _mark_operation(doc, doc["workspace"], [mark], new_id("mark")) for doc in docs if "created_at" in doc
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
                await db["constants"].update_one({"_id": progress_id}, change, upsert=True)
            report(count)


async def mark_months(
    db: Database, workspace_id: str, low_ms: int, high_ms: int, report: Callable[[int], None] = lambda _: None
) -> int:
    """Mark the months of each pass of a workspace that overlap [low_ms, high_ms), and return the number of passes.

    Each pass gets a new version with a new write id. So a seal under way names nothing, and the next one computes new sums:
    the token of sums follows from the write id. A mark of more than MAX_MONTHS_MARKED months is one of all. `report` is
    called with the number of passes marked so far. Safe to repeat, also while workers run. Raises Unavailable.
    Indexes: {workspace, created_at, _id}, _id.
    """
    months = months_between(month_of(from_ms(low_ms)), month_of(from_ms(high_ms - 1)))
    marks = months if len(months) <= MAX_MONTHS_MARKED else [ALL_MONTHS]
    # Stubs and aliases have no `created_at`: nothing counts there.
    where = {"workspace": workspace_id, "created_at": {"$gte": EARLIEST}}
    count = 0
    with translating_errors():
        cursor = db["passes"].find(where, {"_id": 1}, batch_size=PASSES_MARKED)
        while found := await cursor.to_list(PASSES_MARKED):
            for start in range(0, len(found), EMBEDDED_CHUNK):
                await _mark_each(db, workspace_id, [doc["_id"] for doc in found[start : start + EMBEDDED_CHUNK]], marks)
            count += len(found)
            report(count)
    return count


async def _mark_each(db: Database, workspace_id: str, pass_ids: Sequence[str], marks: Sequence[int]) -> None:
    """Mark passes. Those that a walk writes meanwhile are read again, until each has the marks, or has ended."""
    left = list(pass_ids)
    while left:
        where = {"_id": {"$in": left}}
        docs = await db["passes"].find(where, {"created_at": 1, "v": 1, "fid": 1, "dirty_months": 1}).to_list(None)
        write_ids = {doc["_id"]: new_id("mark") for doc in docs if "created_at" in doc}
        updates = [
            _mark_operation(doc, workspace_id, marks, write_ids[doc["_id"]]) for doc in docs if "created_at" in doc
        ]
        if not updates:
            return
        if (await db["passes"].bulk_write(updates, ordered=False)).matched_count == len(updates):
            return
        stored = await db["passes"].find(where, {"fid": 1}).to_list(None)
        left = [doc["_id"] for doc in stored if doc["_id"] in write_ids and doc.get("fid") != write_ids[doc["_id"]]]


def _mark_operation(doc: Doc, workspace_id: str, marks: Sequence[int], write_id: str) -> UpdateOne:
    dirty = sorted({*doc.get("dirty_months", ()), *marks})
    as_read = {"_id": doc["_id"], "workspace": workspace_id, "v": equal_to(doc["v"]), "fid": equal_to(doc["fid"])}
    change = {"dirty_months": dirty, "dirty_from": dirty[0], "v": doc["v"] + 1, "fid": write_id}
    return UpdateOne(as_read, {"$set": change})
