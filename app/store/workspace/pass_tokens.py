"""Named queries about tokens for one pass: the keys that sign them, and revocations.

Only `find_token_key` reads across workspaces: the key of a token determines the workspace.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from app.domain.pass_tokens import TokenKey
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, translating_errors


class TokenKeyQueries(WorkspaceQueries):
    """Signing keys of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "token_keys"

    async def insert(self, key: TokenKey) -> None:
        """Insert a key."""
        await self._collection.insert_one(
            self._in_workspace(_id=key.id, secret=key.secret, created_at=key.created_at, retires_at=key.retires_at)
        )

    async def newest(self) -> TokenKey | None:
        """Return the key that signs: the newest one that is not being retired, or None. Index: {workspace, created_at}."""
        order = [("created_at", -1)]
        doc = await self._collection.find_one(self._in_workspace(retires_at=None), sort=order)
        return None if doc is None else _key_from_doc(doc)

    async def retire_others(self, key_id: str, at: datetime) -> None:
        """Make all keys but one retire at an instant, unless they retire earlier. Safe to repeat.

        Index: {workspace, created_at}.
        """
        later: Doc = {"_id": {"$ne": key_id}, "$or": [{"retires_at": None}, {"retires_at": {"$gt": at}}]}
        await self._collection.update_many(self._in_workspace(**later), {"$set": {"retires_at": at}})

    async def delete_retired(self, before: datetime) -> None:
        """Delete the keys that retired before an instant. Safe to repeat. Index: {workspace, created_at}."""
        await self._collection.delete_many(self._in_workspace(retires_at={"$lt": before}))


class TokenRevocationQueries(WorkspaceQueries):
    """Revocations of tokens of one workspace, one document for each pass. Errors: Unavailable, safe to repeat."""

    collection = "token_revocations"

    async def revoke(self, pass_id: str, number: int, at: datetime) -> None:
        """End the tokens of a pass with lower numbers. Safe to repeat. Index: _id."""
        change = {"$max": {"number": number, "at": at}, "$setOnInsert": {"workspace": self._workspace_id}}
        await self._collection.update_one(self._by_id(pass_id), change, upsert=True)

    async def last_number(self, pass_ids: Collection[str]) -> int:
        """Return the number of the last revocation that names one of the passes; 0 for none. Index: _id."""
        docs = await self._by_ids(pass_ids, {"number": 1})
        return max((int(doc["number"]) for doc in docs), default=0)

    async def delete_old(self, before: datetime) -> None:
        """Delete the revocations before an instant, when the tokens that they ended have expired. Safe to repeat.

        Index: {workspace, at}.
        """
        await self._collection.delete_many(self._in_workspace(at={"$lt": before}))


async def find_token_key(db: Database, key_id: str) -> TokenKey | None:
    """Return the key of that id, retired or not, or None. Index: _id."""
    with translating_errors():
        doc = await db["token_keys"].find_one({"_id": key_id})
    return None if doc is None else _key_from_doc(doc)


def _key_from_doc(doc: Doc) -> TokenKey:
    return TokenKey(
        id=doc["_id"],
        workspace_id=doc["workspace"],
        secret=bytes(doc["secret"]),
        created_at=doc["created_at"],
        retires_at=doc["retires_at"],
    )
