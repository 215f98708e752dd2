"""Named queries over API keys. Only `find_key_by_hash` reads across workspaces: the key determines the workspace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from app.domain.actors import ApiKey
from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, translating_errors

LIST_PROJECTION = {"hash": 0}


class KeyQueries(WorkspaceQueries):
    """API keys of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "api_keys"

    async def insert(self, key: ApiKey, secret_hash: bytes) -> None:
        """Insert a key with the hash of its secret."""
        await self._collection.insert_one(
            self._in_workspace(
                _id=key.id,
                name=key.name,
                scopes=list(key.scopes),
                created_at=key.created_at,
                last_used_at=None,
                revoked_at=None,
                expires_at=key.expires_at,
                hash=secret_hash,
            )
        )

    async def get_many(self, key_ids: Iterable[str]) -> dict[str, ApiKey]:
        """Return the keys that exist among the ids. Index: _id."""
        return {doc["_id"]: key_from_doc(doc) for doc in await self._by_ids(key_ids, LIST_PROJECTION)}

    async def page(self, span: PageRequest) -> Page[ApiKey]:
        """Return keys, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await read_page(
            self._collection, self._in_workspace(), order, to_stored_keys(span), key_from_doc, LIST_PROJECTION
        )

    async def count(self) -> int:
        """Return the number of keys, revoked ones included. Index: {workspace, created_at, _id}."""
        return await self._count()

    async def revoke(self, key_id: str, at: datetime) -> None:
        """Mark a key as revoked. Safe to repeat: the first instant stays. Index: _id."""
        await self._collection.update_one(self._in_workspace(_id=key_id, revoked_at=None), {"$set": {"revoked_at": at}})

    async def expire(self, key_id: str, at: datetime) -> None:
        """Make a key expire at an instant, unless it expires earlier. Safe to repeat. Index: _id."""
        later = {"$or": [{"expires_at": None}, {"expires_at": {"$gt": at}}]}
        await self._collection.update_one(self._in_workspace(_id=key_id, **later), {"$set": {"expires_at": at}})

    async def record_use(self, key_id: str, at: datetime) -> None:
        """Store when a key was last used. Index: _id."""
        await self._collection.update_one(self._in_workspace(_id=key_id), {"$set": {"last_used_at": at}})


async def find_key_by_hash(db: Database, secret_hash: bytes) -> ApiKey | None:
    """Return the key whose secret has this hash, revoked or not, or None. Index: {hash}."""
    with translating_errors():
        doc = await db["api_keys"].find_one({"hash": secret_hash}, LIST_PROJECTION)
    return None if doc is None else key_from_doc(doc)


def key_from_doc(doc: Doc) -> ApiKey:
    """Return the key of a document."""
    return ApiKey(
        id=doc["_id"],
        workspace_id=doc["workspace"],
        name=doc["name"],
        scopes=tuple(doc["scopes"]),
        created_at=doc["created_at"],
        last_used_at=doc["last_used_at"],
        revoked_at=doc["revoked_at"],
        expires_at=doc.get("expires_at"),
    )
