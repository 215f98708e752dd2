"""Sharding: how the large collections are divided over the shards of a MongoDB. `punchcard migrate --shard` divides them."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from pymongo import IndexModel
from pymongo.errors import OperationFailure

from app.store.mongo.queries import Database, ErrorTranslating

from .migration import UNAUTHORIZED, IndexComparison, MigrationFailed

SHARD_KEYS: Mapping[str, Mapping[str, int | str]] = {
    "events": {"workspace": 1, "_id": "hashed"},
    "passes": {"workspace": 1, "_id": "hashed"},
    "pass_names": {"workspace": 1, "_id": "hashed"},
    # Positions and ids of a log are unique in the workspace, so a log lies on one shard.
    "activities": {"workspace": "hashed"},
}
"""The shard key of each collection that is divided. The other collections lie on one shard."""
SHARD_INDEXES = {collection: IndexModel(list(key.items())) for collection, key in SHARD_KEYS.items()}
"""The index of each shard key. Only a sharded MongoDB has them."""
REFUSED_INDEXES = frozenset({"events.workspace_1_merge_1", "passes.workspace_1_external_id_1"})
"""Unique indexes of earlier versions. A collection that has one cannot be divided."""
ALREADY_INITIALIZED = 23


def require_divisible(compared: IndexComparison, *, is_sharded: bool) -> None:
    """Raise MigrationFailed, with the next step, if the collections cannot be divided."""
    if not is_sharded:
        raise MigrationFailed(
            "MONGODB_URI leads to no mongos, the router of a sharded MongoDB: its answer to `hello` lacks"
            ' `msg: "isdbgrid"`. Give the addresses of the mongos, or leave out --shard: without shards, nothing is to be'
            " divided. The page `Run on a sharded MongoDB` has the order of steps."
        )
    refused = sorted(REFUSED_INDEXES & set(compared.former))
    if refused:
        raise MigrationFailed(
            f"MongoDB divides no collection with these unique indexes of earlier versions: {', '.join(refused)}. Stop the"
            " processes of earlier versions, run `punchcard migrate --drop`, then run this command again."
        )


def describe_key(collection: str) -> str:
    """Return the shard key of a collection as text."""
    return ", ".join(f"{name}: {kind}" for name, kind in SHARD_KEYS[collection].items())


class Sharding(ErrorTranslating):
    """Division of the collections, through mongos. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def divide(self, collection: str) -> None:
        """Divide a collection by its shard key. Safe to repeat. The index of the key must exist.

        MongoDB then moves documents to other shards in the background. Raises MigrationFailed if the store refuses.
        """
        try:
            await self._run("shardCollection", collection, key=dict(SHARD_KEYS[collection]))
        except OperationFailure as error:
            raise MigrationFailed(_explain(error, collection)) from error

    async def is_balanced(self, collection: str) -> bool | None:
        """Return whether the documents are spread evenly; None if the store does not tell this user. Safe to repeat."""
        try:
            answer = await self._run("balancerCollectionStatus", collection)
        except OperationFailure:
            return None
        return bool(answer.get("balancerCompliant"))

    def _run(self, command: str, collection: str, **options: Any) -> Awaitable[Mapping[str, Any]]:
        # No coroutine function, whose errors would be translated before `divide` sees them.
        return self._db.client.admin.command(command, f"{self._db.name}.{collection}", **options)


def _explain(error: OperationFailure, collection: str) -> str:
    """Return a sentence without the server's message, which may quote values of documents."""
    name = str((error.details or {}).get("codeName") or "an error without a name")
    advice = {
        UNAUTHORIZED: "Give the database user the role `clusterManager` on `admin`, at least for this command.",
        ALREADY_INITIALIZED: "The collection is divided by another key. Use `sh.reshardCollection` in mongosh.",
    }.get(error.code or 0, "Read the log of mongos for the details.")
    return (
        f"The collection {collection} could not be divided by {{{describe_key(collection)}}}: the store answered {name}"
        f" ({error.code}). {advice}"
    )
