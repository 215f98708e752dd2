"""The fold beside the writes it cannot avoid: one compare-and-set for each pass touched, one unmark for each event.

Both sides write exactly the same: what the fold sent is sent again to the twin database, bare, in one bulk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pymongo import UpdateOne

from app.commands.events.record import record_events
from app.flow import SLOT_RANGES
from app.resources import Resources
from app.store.mongo.queries import Collection, Doc
from app.store.stages.fold import FoldQueries
from workers.stages.fold import fold
from workers.worker import Worker

from .recording import inputs, items
from .stock import Stock, parts
from .timing import Act, Processes, Side, compared

EVENTS = 1_000


class _Tee:
    """A collection that remembers the updates it is sent."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.updates: list[UpdateOne] = []
        self.unmarked: list[str] = []

    def bulk_write(self, requests: Sequence[UpdateOne], **options: Any) -> Any:
        self.updates += requests
        return self._collection.bulk_write(requests, **options)

    def update_many(self, where: Doc, change: Doc) -> Any:
        self.unmarked += where["_id"]["$in"]
        return self._collection.update_many(where, change)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)


class _Watched(FoldQueries):
    def __init__(self, resources: Resources) -> None:
        super().__init__(resources.db, resources.in_chunk)
        self.passes_tee = self._passes = _Tee(self._passes)  # type: ignore[assignment]
        self.events_tee = self._events = _Tee(self._events)  # type: ignore[assignment]


async def folding(stock: Stock, processes: Processes, passes: int, rounds: int) -> list[Side]:
    """1,000 events over so many passes: the fold, and its writes bare in bulk."""
    resources = stock.ctx.resources
    pumps = _Watched(resources)
    worker = Worker.on(resources)
    worker.fold_queries = pumps
    events, cards = stock.bare["events"], stock.bare["passes"]
    pending: list[Doc] = []

    async def product() -> Act:
        await record_events(stock.ctx, inputs(items(stock, EVENTS, passes)))
        pending[:] = await resources.db["events"].find({"pend": {"$gte": 0}}).to_list(None)
        pumps.passes_tee.updates, pumps.events_tee.unmarked = [], []

        async def run() -> None:
            await asyncio.gather(*(fold(worker, key) for key in SLOT_RANGES))

        return run

    async def bare() -> Act:
        updates, marks = pumps.passes_tee.updates, pumps.events_tee.unmarked
        assert (len(updates), len(marks)) == (min(passes, EVENTS), EVENTS), (len(updates), len(marks))
        await events.insert_many(pending, ordered=False)
        chunks = [marks[start : start + resources.in_chunk] for start in range(0, EVENTS, resources.in_chunk)]

        async def run() -> None:
            done = await cards.bulk_write(updates, ordered=False)
            assert done.matched_count == len(updates)
            await asyncio.gather(
                *(events.update_many({"_id": {"$in": chunk}}, {"$unset": {"pend": ""}}) for chunk in chunks)
            )

        return run

    async def clean() -> None:
        for db in (resources.db, stock.bare):
            await db["passes"].update_many({"pub": {"$gte": 0}}, {"$set": {"out": []}, "$unset": {"pub": ""}})
            for part in parts(pending, 100):
                await db["events"].delete_many({"_id": {"$in": [doc["_id"] for doc in part]}})

    sides = [Side("fold", product, EVENTS), Side("bare writes", bare, EVENTS)]
    await compared(sides, processes, rounds=rounds, clean=clean)
    return sides[::-1]
