"""Reads and writes of the stage that counts active passes by month and year. Only `workers` may import them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from pymongo import UpdateOne

from app.domain.rollups.active_periods import with_years
from app.domain.rollups.levels import Level
from app.domain.rollups.periods import is_month, month_of, months_of
from app.store.codecs.recounts import periods_to_recount
from app.store.mongo.queries import Database, Doc, StageQueries, equal_to, insert_new
from app.store.mongo.read_order import read_in_order
from app.store.workspace.active_counts import COLLECTION, ActiveCount, count_id, mark_counts
from app.store.workspace.rollup_heads import new_mark

MAX_RECOUNTS_READ = 1_000
"""Passes whose periods must be counted anew that one look reads."""


class Recount(NamedTuple):
    """Periods that must be counted anew, as one write to a pass has stored them under a mark."""

    pass_id: str
    mark: int
    periods: frozenset[int]


class DirtyCount(NamedTuple):
    """Numbers of a month or year that must be counted, with their mark and the system time at which they got it."""

    period: int
    mark: int
    marked_ms: int


class ActiveCountQueries(StageQueries):
    """Named queries of the counting of active passes. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._passes, self._counts, self._heads = db["passes"], db[COLLECTION], db["rollup_heads"]

    async def recounts(self, workspace_id: str) -> list[Recount]:
        """Return what passes of a workspace say to be counted anew, of up to MAX_RECOUNTS_READ passes.

        Index: {workspace, recount.mark}.
        """
        where = {"workspace": workspace_id, "recount.mark": {"$gte": 0}}
        return _recounts_from_docs(await self._read_docs(self._passes, where, {"recount": 1}, limit=MAX_RECOUNTS_READ))

    async def recounts_of(self, pass_ids: Iterable[str], workspace_id: str) -> list[Recount]:
        """Return what these passes say to be counted anew. Index: _id."""
        ids = list(pass_ids)
        docs = await self._find_by_ids(self._passes, ids, dict.fromkeys(ids, workspace_id), {"recount": 1})
        return _recounts_from_docs(docs)

    async def mark(self, workspace_id: str, periods: Collection[int], system_ms: int) -> None:
        """Give the numbers of periods a new mark. Safe to repeat. Indexes: _id, {workspace, period}."""
        await mark_counts(self._db, workspace_id, periods, system_ms, is_sharded=self._is_sharded)

    async def take_recounts(self, workspace_id: str, recounts: Sequence[Recount]) -> None:
        """Take from passes what they say to be counted anew, unless a later write has stored more. Index: _id.

        The numbers of these periods must have a new mark. Safe to repeat.
        """
        for start in range(0, len(recounts), self._in_chunk):
            updates = [
                UpdateOne(
                    self._by_id(each.pass_id, workspace_id, **{"recount.mark": equal_to(each.mark)}),
                    {"$unset": {"recount": ""}},
                )
                for each in recounts[start : start + self._in_chunk]
            ]
            await self._passes.bulk_write(updates, ordered=False)

    async def dirty(self, workspace_id: str) -> list[DirtyCount]:
        """Return the numbers that must be counted. Index: {workspace, period}."""
        docs = await self._read_docs(self._counts, {"workspace": workspace_id, "period": {"$gte": 0}})
        return [DirtyCount(doc["period"], doc["dirty"], doc["marked_ms"]) for doc in docs if "dirty" in doc]

    async def insert_missing(self, workspace_id: str, system_ms: int) -> None:
        """Insert numbers, to be counted, for the months and years with a rollup that have none. Safe to repeat.

        Earlier versions stored none. Indexes: {level, workspace}, {workspace, period}.
        """
        heads = await self._read_docs(
            self._heads, {"level": Level.MONTH.value, "workspace": workspace_id}, {"start": 1}
        )
        wanted = with_years(month_of(doc["start"]) for doc in heads)
        stored = await self._read_docs(self._counts, {"workspace": workspace_id, "period": {"$gte": 0}}, {"period": 1})
        missing = sorted(wanted - {doc["period"] for doc in stored})
        new: Doc = {"workspace": workspace_id, "dirty": new_mark(), "marked_ms": system_ms}
        docs = [{"_id": count_id(workspace_id, period), "period": period, **new} for period in missing]
        for start in range(0, len(docs), self._in_chunk):
            await insert_new(self._counts, docs[start : start + self._in_chunk])

    async def count(self, workspace_id: str, period: int) -> ActiveCount:
        """Count the passes that were active in a month or year, and those of them that were new.

        Indexes: {workspace, active}, {workspace, first_active}.
        """
        months = [period] if is_month(period) else months_of(period)
        new = {"$gte": months[0], "$lt": months[-1] + 1}
        active, first = [
            await read_in_order(
                self._db.client, partial(self._passes.count_documents, {"workspace": workspace_id, **condition})
            )
            for condition in ({"active": period}, {"first_active": new})
        ]
        return ActiveCount(active, first)

    async def store(self, workspace_id: str, counted: DirtyCount, count: ActiveCount) -> None:
        """Store numbers that were counted after their mark was read, if they still have it. Safe to repeat. Index: _id."""
        where = self._by_id(count_id(workspace_id, counted.period), workspace_id, dirty=equal_to(counted.mark))
        change = {
            "$set": {"active": count.active, "new": count.new, "counted": counted.mark},
            "$unset": {"dirty": "", "marked_ms": ""},
        }
        await self._counts.update_one(where, change)


def _recounts_from_docs(docs: Iterable[Doc]) -> list[Recount]:
    return [Recount(doc["_id"], doc["recount"]["mark"], periods_to_recount(doc)) for doc in docs if "recount" in doc]
