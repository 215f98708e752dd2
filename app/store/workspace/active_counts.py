"""Stored numbers of the passes that were active in a month or year, so that a question about it reads one document.

A number is valid while it has no mark, and no pass says that the period must be counted anew. The write that changes the
active months of a pass stores in the pass which periods these are. A worker marks the numbers of the periods, and only then
takes the field of the pass away.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from pymongo import UpdateOne

from app.domain.rollups.active_periods import ALL_PERIODS
from app.store.codecs.recounts import periods_to_recount
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, insert_new
from app.store.mongo.usage import charge_counted

from .rollup_heads import new_mark

COLLECTION = "active_counts"
MAX_RECOUNTS = 200
"""Passes with periods to be counted anew at which a reader looks. If there are more, it uses no stored number."""


class ActiveCount(NamedTuple):
    """Number of the passes that were active in a month or year, and of those whose first active month lies in it."""

    active: int
    new: int


class StoredCount(NamedTuple):
    """Numbers as stored, and a token that is another one after each count."""

    numbers: ActiveCount
    token: int


class ActiveCountReads(WorkspaceQueries):
    """Reads of stored numbers of one workspace. Errors: Unavailable, safe to repeat."""

    collection = COLLECTION

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._passes = db["passes"]

    async def read(self, period: int) -> ActiveCount | None:
        """Return the numbers of a month or year; None if they must be counted. Indexes as for `read_stored`."""
        stored = await self.read_stored(period)
        return None if stored is None else stored.numbers

    async def read_stored(self, period: int) -> StoredCount | None:
        """Return the numbers of a month or year and their token; None if they must be counted.

        They hold every change that was stored before this call. Indexes: {workspace, recount.mark} of the passes, _id.
        """
        flagged = self._in_workspace(**{"recount.mark": {"$gte": 0}})
        # Passes before the number: a worker marks the number before it takes the field of a pass away. In the other order,
        # it could do both between the two reads.
        found = await self._passes.find(flagged, {"recount": 1}).limit(MAX_RECOUNTS).to_list(None)
        charge_counted(len(found), examined=True)
        if len(found) == MAX_RECOUNTS or any({period, ALL_PERIODS} & periods_to_recount(doc) for doc in found):
            return None
        docs = await self._by_ids([count_id(self._workspace_id, period)])
        charge_counted(len(docs), examined=True)
        if not docs or "dirty" in docs[0]:
            return None
        return StoredCount(ActiveCount(docs[0]["active"], docs[0]["new"]), docs[0]["counted"])

    async def periods(self) -> list[int]:
        """Return the months and years that have numbers, valid or not. Index: {workspace, period}."""
        docs = await self._collection.find(self._in_workspace(period={"$gte": 0}), {"period": 1}).to_list(None)
        return [doc["period"] for doc in docs]


def count_id(workspace_id: str, period: int) -> str:
    """Return the id of the numbers of a month or year."""
    return f"{workspace_id}|{period}"


async def mark_counts(
    db: Database, workspace_id: str, periods: Collection[int], system_ms: int, *, is_sharded: bool = False
) -> None:
    """Give numbers a new mark, and insert those that do not exist. Safe to repeat. Indexes: _id, {workspace, period}.

    The caller translates errors of the driver.
    """
    counts, wanted = db[COLLECTION], {*periods}
    if ALL_PERIODS in wanted:
        # A number that is inserted later is counted after that, so it needs no mark.
        docs = await counts.find({"workspace": workspace_id}, {"period": 1}).to_list(None)
        wanted = (wanted | {doc["period"] for doc in docs}) - {ALL_PERIODS}
    if not wanted:
        return
    new: Doc = {"dirty": new_mark(), "marked_ms": system_ms}
    ids = {count_id(workspace_id, period): period for period in sorted(wanted)}
    # Numbers lie on one shard, but the workspace leads to it without asking the others.
    owner = {"workspace": workspace_id} if is_sharded else {}
    updates = [UpdateOne({"_id": each, **owner}, {"$set": new}) for each in ids]
    if (await counts.bulk_write(updates, ordered=False)).matched_count < len(updates):
        docs = [{"_id": each, "workspace": workspace_id, "period": period, **new} for each, period in ids.items()]
        # A number that another process has inserted meanwhile is counted after that, as above.
        await insert_new(counts, docs)
