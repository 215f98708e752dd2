"""The part `fold`: the fold beside the writes that it cannot avoid.

These writes are one compare-and-set for each pass, and for each event the removal of its pending mark. Both sides write
the same: the bare side sends the recorded updates of the fold to the bare database, in one bulk write.
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

from .recording import generate_items, to_inputs
from .stock import Stock, split_documents
from .timing import Processes, Run, Side, compare

EVENTS = 1_000


class _RecordingCollection:
    """Collection that keeps a copy of the updates that it sends."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.updates: list[UpdateOne] = []
        self.cleared_ids: list[str] = []

    def bulk_write(self, requests: Sequence[UpdateOne], **options: Any) -> Any:
        self.updates += requests
        return self._collection.bulk_write(requests, **options)

    def update_many(self, where: Doc, change: Doc) -> Any:
        self.cleared_ids += where["_id"]["$in"]
        return self._collection.update_many(where, change)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)


class RecordingFoldQueries(FoldQueries):
    """The queries of the fold, which keep copies of what they send to passes and events."""

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources.db, resources.in_chunk)
        self.recorded_passes = self._passes = _RecordingCollection(self._passes)  # type: ignore[assignment]
        self.recorded_events = self._events = _RecordingCollection(self._events)  # type: ignore[assignment]


async def measure_fold(stock: Stock, processes: Processes, passes: int, rounds: int) -> list[Side]:
    """Measure 1,000 events over this number of passes: the fold, and its writes sent bare in bulk."""
    resources = stock.ctx.resources
    queries = RecordingFoldQueries(resources)
    worker = Worker.on(resources)
    worker.fold_queries = queries
    events, cards = stock.bare["events"], stock.bare["passes"]
    pending: list[Doc] = []

    async def prepare_fold() -> Run:
        await record_events(stock.ctx, to_inputs(generate_items(stock, EVENTS, passes)))
        pending[:] = await resources.db["events"].find({"pend": {"$gte": 0}}).to_list(None)
        queries.recorded_passes.updates, queries.recorded_events.cleared_ids = [], []

        async def run() -> None:
            await asyncio.gather(*(fold(worker, key) for key in SLOT_RANGES))

        return run

    async def prepare_bare() -> Run:
        updates, cleared_ids = queries.recorded_passes.updates, queries.recorded_events.cleared_ids
        assert (len(updates), len(cleared_ids)) == (min(passes, EVENTS), EVENTS), (len(updates), len(cleared_ids))
        await events.insert_many(pending, ordered=False)
        chunks = [cleared_ids[start : start + resources.in_chunk] for start in range(0, EVENTS, resources.in_chunk)]

        async def run() -> None:
            written = await cards.bulk_write(updates, ordered=False)
            assert written.matched_count == len(updates)
            await asyncio.gather(
                *(events.update_many({"_id": {"$in": chunk}}, {"$unset": {"pend": ""}}) for chunk in chunks)
            )

        return run

    async def clean() -> None:
        for db in (resources.db, stock.bare):
            await db["passes"].update_many({"pub": {"$gte": 0}}, {"$set": {"out": []}, "$unset": {"pub": ""}})
            for part in split_documents(pending, 100):
                await db["events"].delete_many({"_id": {"$in": [doc["_id"] for doc in part]}})

    sides = [Side("fold", prepare_fold, EVENTS), Side("bare writes", prepare_bare, EVENTS)]
    await compare(sides, processes, rounds=rounds, clean=clean)
    return sides[::-1]
