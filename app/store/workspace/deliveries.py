"""Named queries over the deliveries to one workspace's webhook endpoints. They store no content of messages.

The worker that holds the lease on an endpoint (`stages/endpoint_leases.py`) writes its deliveries. A replay requeues
them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

from pymongo import UpdateOne

from app.clock import system_ms
from app.domain.activities import Activity
from app.domain.values.instants import from_ms, to_ms
from app.domain.webhooks.deliveries import (
    DELIVERY_TTL_SECONDS,
    DeliveryQuery,
    WebhookDelivery,
    WebhookDeliveryStatus,
)
from app.store.codecs.webhooks import attempts_from_docs, attempts_to_docs
from app.store.mongo.conditions import between
from app.store.mongo.horizons import Horizon, read_soonest
from app.store.mongo.paging import Page, PageRequest, count_matching, cut_page, read_page, to_stored_keys
from app.store.mongo.queries import Doc, WorkspaceQueries, insert_new
from app.store.mongo.usage import charge_counted

DELIVERY_TTL = timedelta(seconds=DELIVERY_TTL_SECONDS)
LONGEST_RETRY_MS = 2 * 86_400_000
"""No delivery is due later than that from now: the longest delay is a day, and jitter extends it by a share."""
NEXT_DUE_RANGES_MS = (-3_600_000, -60_000, 0, 60_000, 3_600_000)
"""Ends of the ranges of time in which the next due delivery is searched, counted from now."""
ORDER = (("created_at", -1), ("_id", -1))
FIRST_RANGES_MS = (10_000, 600_000)
"""Ranges of time that a page reads first, counted back from the newest delivery.

An endpoint may have many deliveries a second, and the embedded server sorts all that match.
"""


class DeliveryQueries(WorkspaceQueries):
    """Deliveries to the endpoints of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "webhook_deliveries"

    async def page(
        self, query: DeliveryQuery, span: PageRequest, newest_ms: int | None = None, *, oldest_ms: int = 0
    ) -> Page[WebhookDelivery]:
        """Return deliveries, the newest first; key (created ms, id).

        None is expected after `newest_ms`: now. None exists before `oldest_ms`: the creation of the endpoint.

        Indexes: {workspace, endpoint, created_at, _id}, with statuses {workspace, endpoint, status, created_at, _id}.
        """
        pages = await asyncio.gather(
            *(self._newest_page(where, span, newest_ms, oldest_ms) for where in self._filters(query))
        )
        if len(pages) == 1:
            return pages[0]
        merged = cut_page([each for page in pages for each in page.items], key_of, False, span)
        return Page(merged.items, merged.has_more or any(page.has_more for page in pages))

    async def count(self, query: DeliveryQuery) -> int:
        """Return the number of deliveries that match. Indexes as for `page`."""
        filters = self._filters(query)
        return sum(
            await asyncio.gather(
                *(count_matching(self._collection, where, _index_fields(where), "created_at") for where in filters)
            )
        )

    async def counts(self, endpoint_ids: Sequence[str]) -> dict[str, dict[WebhookDeliveryStatus, int]]:
        """Return the number of pending and of failed deliveries to each endpoint, without zeros.

        One query for each endpoint: for several endpoints in one query, the embedded server would also read the
        deliveries that succeeded. Index: {workspace, endpoint, status, created_at, _id}.
        """
        counts = await asyncio.gather(*(self._count_undelivered(each) for each in endpoint_ids))
        return dict(zip(endpoint_ids, counts, strict=True))

    async def get_many(self, delivery_ids: Iterable[str]) -> dict[str, WebhookDelivery]:
        """Return the deliveries that exist among the ids. Index: _id."""
        return {doc["_id"]: delivery_from_doc(doc) for doc in await self._by_ids(delivery_ids)}

    async def deferred(
        self, endpoint_id: str, limit: int, horizon: Horizon | None = None
    ) -> tuple[list[WebhookDelivery], Horizon]:
        """Return PENDING deliveries, those due first, and the horizon for the next call: one without end after the last.

        The first call examines all of the endpoint. Index: {workspace, endpoint, due, pos}.
        """
        docs, horizon = await read_soonest(
            self._collection, self._in_workspace(endpoint=endpoint_id), "due", None, limit=limit,
            horizon=horizon or Horizon(), then=("pos",),
        )  # fmt: skip
        end_ms = system_ms() + LONGEST_RETRY_MS
        following = horizon.after([doc["due"] for doc in docs], limit, end_ms)
        if horizon.until_ms is not None and following.until_ms is None:
            # The next call reads to the end. This one has not: later deliveries may wait.
            following = Horizon(end_ms + 1)
        return [delivery_from_doc(doc) for doc in docs], following

    async def next_due_ms(self, endpoint_id: str, now_ms: int) -> int | None:
        """Return the earliest due instant of the endpoint's PENDING deliveries; None without any.

        Up to six round trips, each for a range of time: the embedded server examines all of a range. Index:
        {workspace, endpoint, due, pos}.
        """
        begin_ms = 0
        for end_ms in (*(now_ms + offset_ms for offset_ms in NEXT_DUE_RANGES_MS), None):
            due = {"$gte": begin_ms} if end_ms is None else {"$gte": begin_ms, "$lt": end_ms}
            where = self._in_workspace(endpoint=endpoint_id, due=due)
            doc = await self._collection.find_one(where, {"due": 1}, sort=[("due", 1)])
            if doc is not None:
                return int(doc["due"])
            begin_ms = end_ms or 0
        return None

    async def insert(self, deliveries: Sequence[WebhookDelivery]) -> set[int]:
        """Insert new deliveries and return the indexes of those that exist already and stay unchanged.

        Safe to repeat.
        """
        docs = [self._in_workspace(_id=each.id, **_fixed_fields(each), **_changing_fields(each)) for each in deliveries]
        return await insert_new(self._collection, docs)

    async def save(self, attempted: Sequence[tuple[WebhookDelivery, WebhookDelivery]]) -> None:
        """Store the second delivery of each pair if the stored one still is the first. Safe to repeat. Index: _id.

        A delivery that a replay requeued meanwhile stays unchanged.
        """
        changes = []
        for before, after in attempted:
            doc = _changing_fields(after)
            unset = {name: "" for name in ("due", "expires_at") if name not in doc}
            changes.append(
                UpdateOne(self._in_workspace(_id=before.id, due=_due(before)), {"$set": doc, "$unset": unset})
            )
        if changes:
            await self._collection.bulk_write(changes, ordered=False)

    async def requeue(self, endpoint_id: str, activities: Iterable[Activity], now_ms: int) -> None:
        """Queue these activities for an endpoint again, due now. Safe to repeat. Index: _id.

        Earlier attempts stay listed.
        """
        at = from_ms(now_ms)
        deliveries = [
            WebhookDelivery.pending(endpoint_id, activity, created_at=at, updated_at=at, due_at=at)
            for activity in activities
        ]
        # Use few writes: a store that waits for its disk takes equally long for one delivery and for many.
        existing_ids = [deliveries[index].id for index in sorted(await self.insert(deliveries))]
        reset: Doc = {"status": WebhookDeliveryStatus.PENDING.value, "tries": 0, "due": now_ms, "updated_at": at}
        for start in range(0, len(existing_ids), self._in_chunk):
            ids = existing_ids[start : start + self._in_chunk]
            await self._collection.update_many({"_id": {"$in": ids}}, {"$set": reset, "$unset": {"expires_at": ""}})

    async def delete(self, endpoint_id: str) -> None:
        """Delete all deliveries of an endpoint. Safe to repeat. Index: {workspace, endpoint, created_at, _id}."""
        await self._collection.delete_many(self._in_workspace(endpoint=endpoint_id))

    async def _count_undelivered(self, endpoint_id: str) -> dict[WebhookDeliveryStatus, int]:
        statuses = [WebhookDeliveryStatus.PENDING.value, WebhookDeliveryStatus.FAILED.value]
        stages: list[Doc] = [
            {"$match": self._in_workspace(endpoint=endpoint_id, status={"$in": statuses})},
            {"$group": {"_id": "$status", "count": {"$sum": 1}}},
        ]
        docs = await self._collection.aggregate(stages).to_list(None)
        charge_counted(sum(doc["count"] for doc in docs))
        return {WebhookDeliveryStatus(doc["_id"]): doc["count"] for doc in docs}

    async def _newest_page(
        self, where: Doc, span: PageRequest, newest_ms: int | None, oldest_ms: int
    ) -> Page[WebhookDelivery]:
        newest_ms = newest_ms if span.after is None else span.after[0]
        if not span.backward and newest_ms is not None:
            for width_ms in FIRST_RANGES_MS:
                recent = {**where, **between("created_at", from_ms(newest_ms - width_ms), None)}
                page = await self._page(recent, span)
                if page.has_more or newest_ms - width_ms < oldest_ms:
                    return page
        return await self._page(where, span)

    async def _page(self, where: Doc, span: PageRequest) -> Page[WebhookDelivery]:
        return await read_page(
            self._collection, where, ORDER, to_stored_keys(span), delivery_from_doc, by=_index_fields(where)
        )

    def _filters(self, query: DeliveryQuery) -> list[Doc]:
        """Return one filter, or one for each status, so that an index serves each."""
        where = self._in_workspace(endpoint=query.endpoint_id)
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


def delivery_from_doc(doc: Doc) -> WebhookDelivery:
    """Return the delivery of a document."""
    due = doc.get("due")
    return WebhookDelivery(
        id=doc["_id"],
        endpoint_id=doc["endpoint"],
        position=doc["pos"],
        activity_id=doc["activity"],
        type=doc["type"],
        recorded_at=doc["recorded_at"],
        status=WebhookDeliveryStatus(doc["status"]),
        attempt_count=doc["tries"],
        attempts=attempts_from_docs(doc["attempts"]),
        created_at=doc["created_at"],
        updated_at=doc["updated_at"],
        due_at=None if due is None else from_ms(due),
    )


def _fixed_fields(delivery: WebhookDelivery) -> Doc:
    return {
        "endpoint": delivery.endpoint_id,
        "pos": delivery.position,
        "activity": delivery.activity_id,
        "type": delivery.type,
        "recorded_at": delivery.recorded_at,
        "created_at": delivery.created_at,
    }


def _changing_fields(delivery: WebhookDelivery) -> Doc:
    """Return the fields that may change.

    A delivery that is due again does not expire, however long its retries take.
    """
    doc: Doc = {
        "status": delivery.status.value,
        "tries": delivery.attempt_count,
        "attempts": attempts_to_docs(delivery.attempts),
        "updated_at": delivery.updated_at,
    }
    if delivery.due_at is None:
        return {**doc, "expires_at": delivery.updated_at + DELIVERY_TTL}
    return {**doc, "due": _due(delivery)}


def _due(delivery: WebhookDelivery) -> int | None:
    return None if delivery.due_at is None else to_ms(delivery.due_at)


def _index_fields(where: Doc) -> tuple[str, ...]:
    return ("workspace", "endpoint", *(["status"] if "status" in where else []))


def key_of(delivery: WebhookDelivery) -> tuple[int, str]:
    """Return the key of a delivery in lists."""
    return to_ms(delivery.created_at), delivery.id
