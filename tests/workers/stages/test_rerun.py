"""Reruns of messages that wait for the event that they correct."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.clock import system_ms
from app.commands.inbound.deliveries import Message, receive_message
from app.commands.inbound.hooks import archive_inbound_hook, create_inbound_hook, update_inbound_hook
from app.domain.events.event_queries import EventQuery
from app.domain.inbound.deliveries import DeliveryStatus, InboundDelivery, rerun_delay_seconds
from app.domain.inbound.hooks import InboundHook
from app.store.mongo.paging import PageRequest
from tests.business import Business
from tests.crashes import Crash
from workers.main import GUARDED
from workers.stages import rerun as stage
from workers.stages.rerun import rerun
from workers.sweep import Sweep

MAPPING = {
    "items": "lines",
    "fields": {
        "passExternalId": "who", "type": "what", "amount": "paid", "externalId": "id", "correctionOf": "of",
        "occurredAt": "$body.at",
    },
}  # fmt: skip
REFUND = b"""{"at": "2025-01-02T00:00:00Z", "lines": [
    {"id": "r1", "who": "ann", "what": "refund", "of": "p1"}, {"id": "v1", "who": "ann", "what": "visit"}]}"""


async def open_hook(business: Business) -> InboundHook:
    hook, _ = await create_inbound_hook(business.ctx, "Till", "till", MAPPING, create_missing_passes=True)
    return hook


async def receive(business: Business, hook: InboundHook, body: bytes = REFUND, name: str = "m1") -> InboundDelivery:
    message = Message(hook, name, body, headers={})
    return (await receive_message(business.ctx.resources, message)).delivery


async def read(business: Business, delivery: InboundDelivery) -> InboundDelivery:
    return (await business.ctx.workspace.inbound.get_many([delivery.id]))[delivery.id]


async def read_doc(business: Business, delivery: InboundDelivery) -> dict[str, Any]:
    doc = await business.ctx.resources.db["inbound_deliveries"].find_one({"_id": delivery.id})
    assert doc is not None
    return doc


async def make_due(business: Business, delivery: InboundDelivery) -> None:
    await business.ctx.resources.db["inbound_deliveries"].update_one({"_id": delivery.id}, {"$set": {"due": 0}})


async def read_types(business: Business) -> list[str]:
    return sorted(
        event.type for event in (await business.ctx.workspace.events.page(EventQuery(), PageRequest(9))).items
    )


async def test_refund_that_arrives_before_its_purchase_is_recorded_by_a_worker(business: Business) -> None:
    hook = await open_hook(business)
    refund = await receive(business, hook)
    assert (refund.status, refund.reruns, refund.events) == (DeliveryStatus.FAILED, 0, 1)
    assert refund.rerun_at is not None
    await business.record({"external_id": "p1", "source": "till", "amount": 30, "occurred_at": "2025-01-01T00:00:00Z"})
    sweep = Sweep(business.worker, GUARDED)
    await sweep.rerun()
    assert (await read(business, refund)).status is DeliveryStatus.FAILED, "the message is not due yet"
    await make_due(business, refund)
    await sweep.rerun()
    done = await read(business, refund)
    assert (done.status, done.attempts, done.events, done.rerun_at, done.body) == (
        DeliveryStatus.PROCESSED, 2, 2, None, None,
    )  # fmt: skip
    assert await read_types(business) == ["purchase", "refund", "visit"]
    await business.run_worker()
    assert (await business.read_pass("ann")).aggregates["refund", "USD"].sum == 30
    assert await business.worker.rerun_queries.waiting(10**14, 10) == []


async def test_time_between_reruns_grows_and_the_message_expires_as_before(business: Business) -> None:
    refund = await receive(business, await open_hook(business))
    expires_at = (await read_doc(business, refund))["expires_at"]
    delays = []
    for reruns in range(1, 12):
        await make_due(business, refund)
        before_ms = system_ms()
        await rerun(business.worker, refund.id)
        doc = await read_doc(business, refund)
        assert (doc["reruns"], doc["attempts"], doc["expires_at"]) == (reruns, reruns + 1, expires_at)
        delays.append((doc["due"] - before_ms) // 1_000)
        assert delays[-1] >= rerun_delay_seconds(reruns)
    assert [rerun_delay_seconds(reruns) for reruns in range(10)] == [
        10, 30, 90, 270, 810, 2_430, 7_290, 21_870, 65_610, 86_400,
    ]  # fmt: skip
    assert rerun_delay_seconds(10**9) == 86_400


async def test_other_failures_wait_for_an_operator(business: Business) -> None:
    hook = await open_hook(business)
    failed = await receive(business, hook, REFUND.replace(b'"of": "p1"', b'"paid": "a lot"'))
    assert (failed.status, failed.rerun_at) == (DeliveryStatus.FAILED, None)
    assert await business.worker.rerun_queries.waiting(10**14, 10) == []


async def test_message_that_fails_for_another_reason_is_no_longer_run_again(business: Business) -> None:
    hook = await open_hook(business)
    refund = await receive(business, hook)
    fields = {**MAPPING["fields"], "amount": {"value": "a lot"}}  # type: ignore[dict-item]
    await update_inbound_hook(business.ctx, hook.id, mapping={**MAPPING, "fields": fields})
    await make_due(business, refund)
    await rerun(business.worker, refund.id)
    assert (await read(business, refund)).rerun_at is None
    assert "due" not in await read_doc(business, refund)


async def test_message_of_an_archived_hook_is_not_run_again(business: Business) -> None:
    hook = await open_hook(business)
    refund = await receive(business, hook)
    await archive_inbound_hook(business.ctx, hook.id)
    await make_due(business, refund)
    await rerun(business.worker, refund.id)
    found = await read(business, refund)
    assert (found.status, found.attempts, found.rerun_at) == (DeliveryStatus.FAILED, 1, None)


async def test_message_that_makes_workers_crash_is_run_less_and_less_often(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    refund = await receive(business, await open_hook(business))

    async def crash(*_: object) -> None:
        raise Crash

    monkeypatch.setattr(stage, "rerun_waiting_delivery", crash)
    for reruns in (1, 2):
        await make_due(business, refund)
        before_ms = system_ms()
        with pytest.raises(Crash):
            await rerun(business.worker, refund.id)
        doc = await read_doc(business, refund)
        assert (doc["reruns"], doc["due"] >= before_ms + 1_000 * rerun_delay_seconds(reruns)) == (reruns, True)


async def test_rerun_is_claimed_once_by_two_workers(business: Business) -> None:
    refund = await receive(business, await open_hook(business))
    await make_due(business, refund)
    now_ms = system_ms()
    claims = [await business.worker.rerun_queries.claim(refund.id, now_ms) for _ in range(2)]
    assert [claim is not None for claim in claims] == [True, False]
    later_ms = now_ms + int(timedelta(days=1) / timedelta(milliseconds=1))
    assert await business.worker.rerun_queries.claim(refund.id, later_ms) == replace(claims[0], reruns=2)  # type: ignore[type-var]
