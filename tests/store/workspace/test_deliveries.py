"""Deliveries that wait for another attempt: each read tells whether later ones wait."""

from __future__ import annotations

import pytest

from app.domain.values.instants import from_ms
from app.domain.webhooks.deliveries import WebhookDelivery, WebhookDeliveryStatus
from app.store.mongo.horizons import Horizon
from app.store.workspace.deliveries import DeliveryQueries
from tests.backlogs import ExaminedCollection
from tests.business import Business

HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000


async def test_read_of_deferred_deliveries_that_ends_before_the_last_one_says_so(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The messages of 17 hours are due now, and one is due in 20 hours. Without a sign, nobody would send that one."""
    monkeypatch.setattr("app.store.workspace.deliveries.system_ms", lambda: NOW_MS)
    deliveries = business.ctx.workspace.deliveries
    at = from_ms(NOW_MS)
    waiting = [
        WebhookDelivery(
            id=f"delivery_{number}", endpoint_id="endpoint", position=number, activity_id=f"activity_{number}",
            type="customer.created", recorded_at=at, status=WebhookDeliveryStatus.PENDING, attempt_count=1, attempts=(),
            created_at=at, updated_at=at, due_at=from_ms(NOW_MS + due_ms),
        )
        for number, due_ms in enumerate((-17 * HOUR_MS, -2, -1, 0, 1, 2, 20 * HOUR_MS))
    ]  # fmt: skip
    await deliveries.insert(waiting[:6])
    found, horizon = await deliveries.deferred("endpoint", 4, Horizon())
    assert [each.position for each in found] == [0, 1, 2, 3]
    await business.ctx.resources.db["webhook_deliveries"].delete_many({"_id": {"$in": [each.id for each in found]}})
    await deliveries.insert(waiting[6:])
    found, horizon = await deliveries.deferred("endpoint", 4, horizon)
    assert [each.position for each in found] == [4, 5]
    assert horizon.until_ms is not None
    found, horizon = await deliveries.deferred("endpoint", 6, horizon)
    assert [each.position for each in found] == [4, 5, 6]
    found, horizon = await deliveries.deferred("endpoint", 8, horizon)
    assert [each.position for each in found] == [4, 5, 6]
    assert horizon.until_ms is None


async def test_search_for_the_next_due_delivery_examines_one_range_of_time(business: Business) -> None:
    now_ms, minute_ms = NOW_MS, 60_000
    deliveries = DeliveryQueries(business.ctx.resources.db, business.ctx.workspace.id, 100)
    deliveries._collection = ExaminedCollection(deliveries._collection)  # type: ignore[assignment]
    assert await deliveries.next_due_ms("endpoint", now_ms) is None
    due_ms = [now_ms + sign * minutes * minute_ms for sign in (1, -1) for minutes in (600, 300, 50, 20, 2, 0.5)]
    for number, each_ms in enumerate(due_ms):
        doc = {"_id": str(number), "workspace": business.ctx.workspace.id, "endpoint": "endpoint", "due": int(each_ms)}
        await business.ctx.resources.db["webhook_deliveries"].insert_one({**doc, "pos": 1})
    for earliest_ms in sorted(due_ms):
        deliveries._collection.examined.clear()
        assert await deliveries.next_due_ms("endpoint", now_ms) == earliest_ms
        assert sum(deliveries._collection.examined) <= 3
        await business.ctx.resources.db["webhook_deliveries"].delete_one({"due": int(earliest_ms)})
