"""Named queries over what became of the messages to one workspace's webhook endpoints; of what they said, nothing.

A delivery is written by whoever holds its endpoint (`stages/endpoint_leases.py`), and asked for once more by who replays it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

from pymongo import UpdateOne

from app.domain.activities import Activity
from app.domain.values.instants import from_ms, to_ms
from app.domain.webhooks import deliveries as webhook_deliveries
from app.domain.webhooks.deliveries import (
    DELIVERY_TTL_SECONDS,
    MAX_ATTEMPTS_SHOWN,
    Attempt,
    DeliveryQuery,
    WebhookDelivery,
    WebhookDeliveryStatus,
)
from app.store.mongo.conditions import between
from app.store.mongo.paging import Page, PageRequest, by_instant, count_of, page_among, page_of
from app.store.mongo.queries import Doc, WorkspaceQueries, insert_new

DELIVERY_TTL = timedelta(seconds=DELIVERY_TTL_SECONDS)
ORDER = (("created_at", -1), ("_id", -1))
FIRST_RANGES_MS = (10_000, 600_000)
"""How far back a page looks first: an endpoint may take many a second, and the embedded server sorts what it finds."""


class DeliveryQueries(WorkspaceQueries):
    """Deliveries to the endpoints of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "webhook_deliveries"

    async def page(
        self, query: DeliveryQuery, span: PageRequest, newest_ms: int | None = None
    ) -> Page[WebhookDelivery]:
        """Deliveries, the newest first; key (created ms, id). `newest_ms` is where the newest may be expected: now.

        Indexes: {workspace, endpoint, created_at, _id}, with statuses {workspace, endpoint, status, created_at, _id}.
        """
        pages = await asyncio.gather(*(self._part(where, span, newest_ms) for where in self._wheres(query)))
        if len(pages) == 1:
            return pages[0]
        merged = page_among([each for page in pages for each in page.items], _key, False, span)
        return Page(merged.items, merged.has_more or any(page.has_more for page in pages))

    async def count(self, query: DeliveryQuery) -> int:
        """How many deliveries match. Indexes as for `page`."""
        wheres = self._wheres(query)
        return sum(await asyncio.gather(*(count_of(self._all, where, _by(where), "created_at") for where in wheres)))

    async def counts(self, endpoint_ids: Sequence[str]) -> dict[str, dict[WebhookDeliveryStatus, int]]:
        """How many deliveries to each endpoint wait, and how many have failed, where any do; a read for each.

        Index: {workspace, endpoint, status, created_at, _id}: asked for several endpoints at once, the embedded server reads
        what was delivered, too.
        """
        counts = await asyncio.gather(*(self._untaken(each) for each in endpoint_ids))
        return dict(zip(endpoint_ids, counts, strict=True))

    async def get_many(self, delivery_ids: Iterable[str]) -> dict[str, WebhookDelivery]:
        """The deliveries that are remembered among the ids. Index: _id."""
        return {doc["_id"]: delivery_from(doc) for doc in await self._by_ids(delivery_ids)}

    async def deferred(self, endpoint_id: str, limit: int) -> list[WebhookDelivery]:
        """Deliveries that are PENDING, those first whose next try is due first.

        Index: {workspace, endpoint, due, pos}.
        """
        found = self._all.find(self._mine(endpoint=endpoint_id, due={"$gte": 0})).sort([("due", 1), ("pos", 1)])
        return [delivery_from(doc) for doc in await found.limit(limit).to_list(None)]

    async def insert(self, deliveries: Sequence[WebhookDelivery]) -> set[int]:
        """Remembers new ones; the positions of those that are remembered already, which stay as they are. Safe to repeat."""
        docs = [self._mine(_id=each.id, **_new(each), **_doc(each)) for each in deliveries]
        return await insert_new(self._all, docs)

    async def save(self, tried: Sequence[tuple[WebhookDelivery, WebhookDelivery]]) -> None:
        """Changes deliveries from what they were to what they are, where they still are that. Safe to repeat. Index: _id.

        Not one that was asked for once more meanwhile.
        """
        changes = []
        for before, after in tried:
            doc = _doc(after)
            gone = {name: "" for name in ("due", "expires_at") if name not in doc}
            changes.append(UpdateOne(self._mine(_id=before.id, due=_due(before)), {"$set": doc, "$unset": gone}))
        if changes:
            await self._all.bulk_write(changes, ordered=False)

    async def requeue(self, endpoint_id: str, activities: Iterable[Activity], now_ms: int) -> None:
        """Lets these activities be delivered to an endpoint once more, from now on. Safe to repeat. Index: _id.

        What became of them before stays told among the attempts.
        """
        at, pending = from_ms(now_ms), WebhookDeliveryStatus.PENDING
        made = [
            WebhookDelivery(
                webhook_deliveries.delivery_id(endpoint_id, activity.position), endpoint_id, activity.position, activity.id, activity.type,
                activity.recorded_at, pending, 0, (), at, at, at,
            )
            for activity in activities
        ]  # fmt: skip
        # All in a few writes: a store that waits for its disk takes as long for each of them.
        there = [made[place].id for place in sorted(await self.insert(made))]
        again: Doc = {"status": pending.value, "tries": 0, "due": now_ms, "updated_at": at}
        for start in range(0, len(there), self._in_chunk):
            ids = there[start : start + self._in_chunk]
            await self._all.update_many({"_id": {"$in": ids}}, {"$set": again, "$unset": {"expires_at": ""}})

    async def delete(self, endpoint_id: str) -> None:
        """Forgets everything of an endpoint. Safe to repeat. Index: {workspace, endpoint, created_at, _id}."""
        await self._all.delete_many(self._mine(endpoint=endpoint_id))

    async def _untaken(self, endpoint_id: str) -> dict[WebhookDeliveryStatus, int]:
        untaken = [WebhookDeliveryStatus.PENDING.value, WebhookDeliveryStatus.FAILED.value]
        stages: list[Doc] = [
            {"$match": self._mine(endpoint=endpoint_id, status={"$in": untaken})},
            {"$group": {"_id": "$status", "count": {"$sum": 1}}},
        ]
        docs = await self._all.aggregate(stages).to_list(None)
        return {WebhookDeliveryStatus(doc["_id"]): doc["count"] for doc in docs}

    async def _part(self, where: Doc, span: PageRequest, newest_ms: int | None) -> Page[WebhookDelivery]:
        newest_ms = newest_ms if span.after is None else span.after[0]
        if not span.backward and newest_ms is not None:
            for width_ms in FIRST_RANGES_MS:
                lately = {**where, **between("created_at", from_ms(newest_ms - width_ms), None)}
                page = await self._page(lately, span)
                if page.has_more:
                    return page
        return await self._page(where, span)

    async def _page(self, where: Doc, span: PageRequest) -> Page[WebhookDelivery]:
        return await page_of(self._all, where, ORDER, by_instant(span), delivery_from, by=_by(where))

    def _wheres(self, query: DeliveryQuery) -> list[Doc]:
        """What to ask for: once, or once for each status, so that an index serves it."""
        where = self._mine(endpoint=query.endpoint_id)
        if query.types:
            where["type"] = {"$in": list(query.types)}
        bounds = {k: v for k, v in (("$gt", query.after), ("$lte", query.upto)) if v is not None}
        if bounds:
            where["pos"] = bounds
        where |= between("recorded_at", query.recorded_after, query.recorded_before)
        statuses = set(query.statuses)
        if not statuses or statuses == set(WebhookDeliveryStatus):
            return [where]
        return [{**where, "status": status.value} for status in statuses]


def delivery_from(doc: Doc) -> WebhookDelivery:
    """A stored delivery."""
    due = doc.get("due")
    return WebhookDelivery(
        doc["_id"],
        doc["endpoint"],
        doc["pos"],
        doc["activity"],
        doc["type"],
        doc["recorded_at"],
        WebhookDeliveryStatus(doc["status"]),
        doc["tries"],
        attempts_from(doc["attempts"]),
        doc["created_at"],
        doc["updated_at"],
        None if due is None else from_ms(due),
    )


def attempt_docs(attempts: Iterable[Attempt]) -> list[Doc]:
    """The documents of attempts, the last ones."""
    return [
        {"at": each.at, "status_code": each.status_code, "error": each.error, "ms": each.duration_ms}
        for each in list(attempts)[-MAX_ATTEMPTS_SHOWN:]
    ]


def attempts_from(docs: Iterable[Doc]) -> tuple[Attempt, ...]:
    """Stored attempts."""
    return tuple(Attempt(doc["at"], doc["status_code"], doc["error"], doc["ms"]) for doc in docs)


def _new(delivery: WebhookDelivery) -> Doc:
    return {
        "endpoint": delivery.endpoint_id,
        "pos": delivery.position,
        "activity": delivery.activity_id,
        "type": delivery.type,
        "recorded_at": delivery.recorded_at,
        "created_at": delivery.created_at,
    }


def _doc(delivery: WebhookDelivery) -> Doc:
    """What of a delivery may change. One that waits for its next try is not forgotten, however long that takes."""
    doc: Doc = {
        "status": delivery.status.value,
        "tries": delivery.attempt_count,
        "attempts": attempt_docs(delivery.attempts),
        "updated_at": delivery.updated_at,
    }
    if delivery.due_at is None:
        return {**doc, "expires_at": delivery.updated_at + DELIVERY_TTL}
    return {**doc, "due": _due(delivery)}


def _due(delivery: WebhookDelivery) -> int | None:
    return None if delivery.due_at is None else to_ms(delivery.due_at)


def _by(where: Doc) -> tuple[str, ...]:
    return ("workspace", "endpoint", *(["status"] if "status" in where else []))


def _key(delivery: WebhookDelivery) -> tuple[int, str]:
    return to_ms(delivery.created_at), delivery.id
