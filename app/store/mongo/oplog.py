"""The oplog of a local store, from which a query could still read values that were changed or deleted."""

from __future__ import annotations

import asyncio

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure

from .queries import Doc

COMMAND_NOT_FOUND = 59
PAUSE_SECONDS = 0.1
"""Pause between two attempts to delete entries that the server left."""


async def prune_oplog(client: AsyncIOMotorClient[Doc]) -> None:
    """Delete all entries that the oplog of SecantusDB has now, about 60,000 a second. Safe to repeat.

    The server may miscount its entries while several clients write, and then leaves some. It deletes those by their age in
    whole seconds, so the function may wait for the next second. An engine without the command prunes by itself, after
    every 1,000 writes.
    """
    try:
        latest = (await client.admin.command("ping"))["operationTime"]
        while True:
            await client.admin.command("secantusAdmin.pruneOplog")
            oldest = await client.local["oplog.rs"].find_one({}, {"ts": 1})
            if oldest is None or oldest["ts"] > latest:
                return
            await asyncio.sleep(PAUSE_SECONDS)
    except OperationFailure as error:
        if error.code != COMMAND_NOT_FOUND:
            raise
