"""Administration of a local store: its user, who needs a password, and its oplog."""

from __future__ import annotations

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure

from app.store.mongo.oplog import prune_oplog
from app.store.mongo.queries import Doc, translating_errors

AUTHENTICATION_FAILED = 18
TIMEOUT_MS = 5_000


async def set_only_user(uri: str, name: str, password: str) -> None:
    """Create the user with all rights, or give it this password, delete all other users, and flush that to the disk.

    `uri` is the address of a server that runs without authentication. Safe to repeat. Raises Unavailable.
    """
    client: AsyncIOMotorClient[Doc] = AsyncIOMotorClient(uri, serverSelectionTimeoutMS=TIMEOUT_MS)
    try:
        with translating_errors():
            users = (await client.admin.command("usersInfo", 1))["users"]
            for user in users:
                await client[user["db"]].command("dropUser", user["user"])
            await client.admin.command("createUser", name, pwd=password, roles=["root"])
            # The caller kills the server. Commands about users do not ask for the journal.
            await client.admin.command("fsync")
    finally:
        client.close()


async def accepts_user(uri: str) -> bool:
    """Return whether the server accepts the user and the password in its address. Raises Unavailable."""
    client: AsyncIOMotorClient[Doc] = AsyncIOMotorClient(uri, serverSelectionTimeoutMS=TIMEOUT_MS)
    try:
        with translating_errors():
            try:
                await client.admin.command("usersInfo", 1)
            except OperationFailure as error:
                if error.code == AUTHENTICATION_FAILED:
                    return False
                raise
    finally:
        client.close()
    return True


async def empty_oplog(uri: str) -> None:
    """Delete all entries of the oplog, also the many that older versions of Punchcard kept. Raises Unavailable."""
    client: AsyncIOMotorClient[Doc] = AsyncIOMotorClient(uri, serverSelectionTimeoutMS=TIMEOUT_MS)
    try:
        with translating_errors():
            await prune_oplog(client)
    finally:
        client.close()
