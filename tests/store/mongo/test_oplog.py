"""Pruning the oplog deletes every entry that it had, also while other clients write."""

from __future__ import annotations

import asyncio

import pytest

from app.store.mongo.oplog import prune_oplog
from app.store.mongo.queries import Database

WRITERS = 3


@pytest.mark.embedded_only("only the embedded store is asked to prune its oplog")
async def test_pruning_deletes_all_earlier_entries_while_clients_write(db: Database) -> None:
    """The server miscounts its entries in such a load. One prune then left entries for good."""
    writing, is_busy = True, asyncio.Event()

    async def write() -> None:
        while writing:
            await db["filler"].insert_many([{"n": n} for n in range(10)])
            is_busy.set()

    writers = [asyncio.create_task(write()) for _ in range(WRITERS)]
    try:
        for number in range(2):
            is_busy.clear()
            await is_busy.wait()
            await db["marked"].insert_one({"_id": number})
            await prune_oplog(db.client)
            assert await db.client["local"]["oplog.rs"].find_one({"ns": db["marked"].full_name}) is None
    finally:
        writing = False
        await asyncio.gather(*writers)
