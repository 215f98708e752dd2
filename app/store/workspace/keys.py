"""Named queries over API keys. Only `key_of_hash` reads across workspaces: a key is what says which one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from app.domain.actors import ApiKey
from app.store.mongo.paging import Page, PageRequest, by_instant, page_of
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, translating_errors

LIST_PROJECTION = {"hash": 0}


class KeyQueries(WorkspaceQueries):
    """API keys of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "api_keys"

    async def insert(self, key: ApiKey, secret_hash: bytes) -> None:
        """Stores a key under the hash of its secret."""
        await self._all.insert_one(
            self._mine(
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
        """The keys that exist among the ids. Index: _id."""
        return {doc["_id"]: key_from(doc) for doc in await self._by_ids(key_ids, LIST_PROJECTION)}

    async def page(self, span: PageRequest) -> Page[ApiKey]:
        """Keys, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await page_of(self._all, self._mine(), order, by_instant(span), key_from, LIST_PROJECTION)

    async def count(self) -> int:
        """How many keys the workspace has, revoked ones included."""
        return await self._all.count_documents(self._mine())

    async def revoke(self, key_id: str, at: datetime) -> None:
        """Marks a key as revoked, once: a second call keeps the first instant."""
        await self._all.update_one(self._mine(_id=key_id, revoked_at=None), {"$set": {"revoked_at": at}})

    async def expire(self, key_id: str, at: datetime) -> None:
        """Lets a key expire then, unless it does so earlier. Safe to repeat."""
        later = {"$or": [{"expires_at": None}, {"expires_at": {"$gt": at}}]}
        await self._all.update_one(self._mine(_id=key_id, **later), {"$set": {"expires_at": at}})

    async def used(self, key_id: str, at: datetime) -> None:
        """Notes when a key was last used."""
        await self._all.update_one(self._mine(_id=key_id), {"$set": {"last_used_at": at}})


async def key_of_hash(db: Database, secret_hash: bytes) -> ApiKey | None:
    """The key whose secret has this hash, revoked or not; None for none. Index: {hash}."""
    with translating_errors():
        doc = await db["api_keys"].find_one({"hash": secret_hash}, LIST_PROJECTION)
    return None if doc is None else key_from(doc)


def key_from(doc: Doc) -> ApiKey:
    """A stored key."""
    return ApiKey(
        doc["_id"],
        doc["workspace"],
        doc["name"],
        tuple(doc["scopes"]),
        doc["created_at"],
        doc["last_used_at"],
        doc["revoked_at"],
        doc.get("expires_at"),
    )
