"""Named queries over the webhook endpoints of one workspace. `partitions.py` stores their delivery progress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from app.domain.inbound.hooks import HookSecret
from app.domain.webhooks.endpoints import DisabledReason, WebhookEndpoint
from app.store.codecs.queries import activity_query_from_doc, query_to_doc
from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Doc, WorkspaceQueries

from .hooks import LIST_PROJECTION, secrets_from_doc, secrets_to_docs


class WebhookQueries(WorkspaceQueries):
    """Webhook endpoints of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "webhook_endpoints"

    async def insert(self, endpoint: WebhookEndpoint, secret: HookSecret) -> None:
        """Insert an endpoint and its first secret."""
        fixed = {"_id": endpoint.id, "created_at": endpoint.created_at, "begin": endpoint.begin_position}
        fixed["secrets"] = secrets_to_docs([secret])
        await self._collection.insert_one(self._in_workspace(**fixed, **_changing_fields(endpoint)))

    async def get_many(self, endpoint_ids: Iterable[str]) -> dict[str, WebhookEndpoint]:
        """Return the endpoints that exist among the ids. Index: _id."""
        return {doc["_id"]: endpoint_from_doc(doc) for doc in await self._by_ids(endpoint_ids, LIST_PROJECTION)}

    async def get_with_secrets(self, endpoint_id: str) -> tuple[WebhookEndpoint, tuple[HookSecret, ...]] | None:
        """Return an endpoint and its secrets, the newest first, expired ones included, or None. Index: _id."""
        docs = await self._by_ids([endpoint_id])
        return (endpoint_from_doc(docs[0]), tuple(secrets_from_doc(docs[0]))) if docs else None

    async def page(self, span: PageRequest) -> Page[WebhookEndpoint]:
        """Return endpoints, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await read_page(
            self._collection, self._in_workspace(), order, to_stored_keys(span), endpoint_from_doc, LIST_PROJECTION
        )

    async def count(self) -> int:
        """Return the number of endpoints. Index: {workspace, created_at, _id}."""
        return await self._count()

    async def save(self, endpoint: WebhookEndpoint, secrets: Sequence[HookSecret] | None = None) -> bool:
        """Store a changed endpoint, and its secrets if given, and return whether it was stored. Index: _id.

        `endpoint.version` is the version that was read. Returns False if the endpoint was changed meanwhile.
        """
        change = (
            _changing_fields(endpoint)
            if secrets is None
            else {**_changing_fields(endpoint), "secrets": secrets_to_docs(secrets)}
        )
        change["version"] = endpoint.version + 1
        result = await self._collection.update_one(
            self._in_workspace(_id=endpoint.id, version=endpoint.version), {"$set": change}
        )
        return result.matched_count == 1

    async def disable(self, endpoint_id: str, reason: DisabledReason, at: datetime) -> None:
        """Disable an endpoint for this reason unless it is disabled already. Safe to repeat. Index: _id."""
        change = {"$set": {"reason": reason.value, "updated_at": at}, "$inc": {"version": 1}}
        await self._collection.update_one(self._in_workspace(_id=endpoint_id, reason=None), change)

    async def delete(self, endpoint_id: str) -> None:
        """Delete an endpoint with its secrets. Safe to repeat. Index: _id."""
        await self._collection.delete_one(self._in_workspace(_id=endpoint_id))


def endpoint_from_doc(doc: Doc) -> WebhookEndpoint:
    """Return the endpoint of a document."""
    return WebhookEndpoint(
        id=doc["_id"],
        workspace_id=doc["workspace"],
        url=doc["url"],
        description=doc["description"],
        filter=activity_query_from_doc(doc["filter"]),
        created_at=doc["created_at"],
        updated_at=doc["updated_at"],
        begin_position=doc["begin"],
        reason=None if doc["reason"] is None else DisabledReason(doc["reason"]),
        version=doc["version"],
    )


def _changing_fields(endpoint: WebhookEndpoint) -> Doc:
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "filter": query_to_doc(endpoint.filter),
        "reason": None if endpoint.reason is None else endpoint.reason.value,
        "updated_at": endpoint.updated_at,
        "version": endpoint.version,
    }
