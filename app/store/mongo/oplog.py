"""The oplog of a local store, from which a query could still read values that were changed or deleted."""

from __future__ import annotations

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure

from .queries import Doc

COMMAND_NOT_FOUND = 59
FILLER_DATABASE = "punchcard_filler"
"""A database for writes whose only purpose is to push older entries out of the oplog. It is dropped after each use."""


async def prune_oplog(client: AsyncIOMotorClient[Doc]) -> None:
    """Delete all entries that the oplog of SecantusDB has now, about 60,000 a second. Safe to repeat.

    The server prunes by a number that it counts too low while several clients write. It deletes the oldest entries first,
    so as many new entries push out those that it left. (Pruning by age is no way out: it makes concurrent writes five times
    slower.) An engine without the command prunes by itself, after every 1,000 writes.
    """
    try:
        latest = (await client.admin.command("ping"))["operationTime"]
        while True:
            await client.admin.command("secantusAdmin.pruneOplog")
            left = await client.local["oplog.rs"].count_documents({"ts": {"$lte": latest}})
            if not left:
                return
            await client[FILLER_DATABASE]["filler"].insert_many([{} for _ in range(left)])
            await client.drop_database(FILLER_DATABASE)
    except OperationFailure as error:
        if error.code != COMMAND_NOT_FOUND:
            raise
