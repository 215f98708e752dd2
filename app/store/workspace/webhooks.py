"""Named queries over the webhook endpoints of one workspace. How far each is told lies in `store/workspace/partitions.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from app.domain.inbound.hooks import HookSecret
from app.domain.webhooks.endpoints import DisabledReason, WebhookEndpoint
from app.store.codecs.queries import activity_query_from, query_doc
from app.store.mongo.paging import Page, PageRequest, by_instant, page_of
from app.store.mongo.queries import Doc, WorkspaceQueries

from .hooks import LIST_PROJECTION, secrets_doc, secrets_from


class WebhookQueries(WorkspaceQueries):
    """Webhook endpoints of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "webhook_endpoints"

    async def insert(self, endpoint: WebhookEndpoint, secret: HookSecret) -> None:
        """Stores an endpoint and its first secret."""
        made = {"_id": endpoint.id, "created_at": endpoint.created_at, "begin": endpoint.begin_position}
        made["secrets"] = secrets_doc([secret])
        await self._all.insert_one(self._mine(**made, **_doc(endpoint)))

    async def get_many(self, endpoint_ids: Iterable[str]) -> dict[str, WebhookEndpoint]:
        """The endpoints that exist among the ids. Index: _id."""
        return {doc["_id"]: endpoint_from(doc) for doc in await self._by_ids(endpoint_ids, LIST_PROJECTION)}

    async def signing(self, endpoint_id: str) -> tuple[WebhookEndpoint, tuple[HookSecret, ...]] | None:
        """An endpoint and its secrets, the newest first, expired ones included; None where there is none. Index: _id."""
        docs = await self._by_ids([endpoint_id])
        return (endpoint_from(docs[0]), tuple(secrets_from(docs[0]))) if docs else None

    async def page(self, span: PageRequest) -> Page[WebhookEndpoint]:
        """Endpoints, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        return await page_of(self._all, self._mine(), order, by_instant(span), endpoint_from, LIST_PROJECTION)

    async def count(self) -> int:
        """How many endpoints the workspace has. Index: {workspace, created_at, _id}."""
        return await self._all.count_documents(self._mine())

    async def save(self, endpoint: WebhookEndpoint, secrets: Sequence[HookSecret] | None = None) -> bool:
        """Whether the endpoint was changed to this, with these secrets if given: not where it was changed meanwhile.

        `endpoint.version` is the version that it was read at. Index: _id.
        """
        change = _doc(endpoint) if secrets is None else {**_doc(endpoint), "secrets": secrets_doc(secrets)}
        change["version"] = endpoint.version + 1
        done = await self._all.update_one(self._mine(_id=endpoint.id, version=endpoint.version), {"$set": change})
        return done.matched_count == 1

    async def disable(self, endpoint_id: str, reason: DisabledReason, at: datetime) -> None:
        """Disables an endpoint for this reason unless it is disabled already. Safe to repeat. Index: _id."""
        change = {"$set": {"reason": reason.value, "updated_at": at}, "$inc": {"version": 1}}
        await self._all.update_one(self._mine(_id=endpoint_id, reason=None), change)

    async def delete(self, endpoint_id: str) -> None:
        """Removes an endpoint with its secrets. Safe to repeat. Index: _id."""
        await self._all.delete_one(self._mine(_id=endpoint_id))


def endpoint_from(doc: Doc) -> WebhookEndpoint:
    """A stored endpoint."""
    return WebhookEndpoint(
        doc["_id"],
        doc["workspace"],
        doc["url"],
        doc["description"],
        activity_query_from(doc["filter"]),
        doc["created_at"],
        doc["updated_at"],
        doc["begin"],
        None if doc["reason"] is None else DisabledReason(doc["reason"]),
        doc["version"],
    )


def _doc(endpoint: WebhookEndpoint) -> Doc:
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "filter": query_doc(endpoint.filter),
        "reason": None if endpoint.reason is None else endpoint.reason.value,
        "updated_at": endpoint.updated_at,
        "version": endpoint.version,
    }
