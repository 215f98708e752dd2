"""Delivery to webhook endpoints: every matching activity arrives at least once, in order within its pass.

Leases, retries and pauses use a clock of the test, so no test waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.clock import FixedClock, system_ms
from app.commands.webhooks.endpoints import create_webhook_endpoint, rotate_webhook_secret, update_webhook_endpoint
from app.domain.activities import CREATED, CUSTOM_EVENT, Activity
from app.domain.activity_queries import ActivityQuery
from app.domain.signatures import Verification, verify_signature
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDelivery, WebhookDeliveryStatus
from app.domain.webhooks.endpoints import DisabledReason, EndpointStatus, WebhookEndpoint
from app.domain.webhooks.partitions import DISABLED_AFTER_MS, PARTITIONS
from app.outbound.http_client import UNREACHABLE
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from tests.business import Business, open_business
from tests.patience import PATIENCE_SECONDS, running
from tests.receiver import Answer, ReceivedRequest, Receiver, run_receiver
from workers.delivery import dispatcher, runs
from workers.main import GUARDED
from workers.stages.deliver import run_endpoint
from workers.sweep import Sweep
from workers.worker import Worker

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
SUCCEEDED, PENDING, FAILED = WebhookDeliveryStatus
NEVER = 10**15


class DeliveryHarness:
    """A business with one endpoint. Its delivery runs when a test asks, at the instant of the harness's own clock."""

    def __init__(self, business: Business, receiver: Receiver) -> None:
        self.business, self.receiver = business, receiver
        self.endpoint_id = self.secret = ""
        # One hour ahead, so that work that publish announces in system time is always due.
        self.now_ms = system_ms() + HOUR

    async def create_endpoint(self, **options: Any) -> None:
        """Create the endpoint."""
        endpoint, self.secret = await create_webhook_endpoint(self.business.ctx, self.receiver.url, **options)
        self.endpoint_id = endpoint.id

    async def record(self, count: int, passes: int, **item: object) -> list[Activity]:
        """Record so many events on so many passes, publish them, and return the log."""
        await self.business.record(*({"pass_external_id": f"p{n % passes}", **item} for n in range(count)))
        await self.business.run_worker()
        return await self.business.read_log()

    async def deliver(self, later_ms: int = 0, **options: Any) -> None:
        """Deliver until there is nothing to do, so many milliseconds after the last delivery."""
        self.now_ms += later_ms
        options = {"worker": self.business.worker, "chance": lambda: 0.0, **options}
        await run_endpoint(endpoint_id=self.endpoint_id, now_ms=lambda: self.now_ms, **options)

    async def read_progress(self) -> dict[str, Any]:
        """Return the document with the progress of the endpoint's partitions."""
        found = await self.business.ctx.resources.db["webhook_lanes"].find_one({"_id": self.endpoint_id})
        assert found is not None
        return found

    async def read_endpoint(self) -> WebhookEndpoint:
        """Return the endpoint as stored."""
        return (await self.business.ctx.workspace.webhooks.get_many([self.endpoint_id]))[self.endpoint_id]

    async def read_deliveries(self, *statuses: WebhookDeliveryStatus) -> list[WebhookDelivery]:
        """Return the endpoint's deliveries, in order of the log."""
        query = DeliveryQuery(self.endpoint_id, statuses)
        page = await self.business.ctx.workspace.deliveries.page(query, PageRequest(100_000))
        return sorted(page.items, key=lambda each: each.position)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Run a local receiver."""
    async with run_receiver() as receiver:
        yield receiver


@pytest.fixture
async def harness(resources: Resources, clock: FixedClock, receiver: Receiver) -> DeliveryHarness:
    """Create a business whose endpoint delivers everything to the receiver."""
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    harness = DeliveryHarness(await open_business(replace(resources, settings=settings), clock), receiver)
    await harness.create_endpoint()
    return harness


def is_in_order(accepted: list[str], feed: list[Activity]) -> bool:
    """Return whether the activities of every pass were accepted in the order of the log."""
    log = {activity.id: (activity.pass_id, activity.position) for activity in feed}
    last_positions: dict[str, int] = {}
    for activity_id in accepted:
        pass_id, position = log[activity_id]
        if last_positions.get(pass_id, 0) > position:
            return False
        last_positions[pass_id] = position
    return True


def attempts_of(harness: DeliveryHarness, message_id: str) -> list[ReceivedRequest]:
    return [request for request in harness.receiver.requests if request.id == message_id]


async def test_every_activity_arrives_once_signed_and_in_order_within_its_pass(harness: DeliveryHarness) -> None:
    feed = await harness.record(200, 40)
    await harness.deliver()
    assert len(feed) > 200
    assert sorted(harness.receiver.ids) == sorted(activity.id for activity in feed)
    assert is_in_order(harness.receiver.ids, feed)
    for request in harness.receiver.requests:
        assert verify_signature(Verification(), [harness.secret], request.headers, request.body) is not None
        assert request.headers["user-agent"] == "Punchcard"
    assert harness.receiver.connections <= PARTITIONS
    deliveries = await harness.read_deliveries()
    assert [each.activity_id for each in deliveries] == [activity.id for activity in feed]
    assert {(each.status, each.attempt_count, each.attempts[0].status_code) for each in deliveries} == {
        (SUCCEEDED, 1, 200)
    }
    # A later event of a pass sends only its own activity, and an idle endpoint has no work.
    assert "at" not in await harness.read_progress()
    more = await harness.record(1, 1)
    await harness.deliver()
    assert harness.receiver.ids[len(feed) :] == [activity.id for activity in more[len(feed) :]]
    assert (await harness.read_progress())["next"] == [len(more) + 1] * PARTITIONS


async def test_filter_selects_messages_and_a_changed_filter_applies_at_once(
    harness: DeliveryHarness,
) -> None:
    feed = await harness.record(3, 3)
    seen: list[str] = []

    def note_type(request: ReceivedRequest) -> Answer:
        seen.append(request.payload["type"])
        return 200

    harness.receiver.respond = note_type
    ctx = harness.business.ctx
    await update_webhook_endpoint(ctx, harness.endpoint_id, filter=ActivityQuery(types=(CREATED,)))
    await harness.deliver()
    assert seen == [CREATED] * 3
    assert (await harness.read_progress())["next"] == [len(feed) + 1] * PARTITIONS
    await update_webhook_endpoint(ctx, harness.endpoint_id, filter=ActivityQuery(types=(CUSTOM_EVENT,)))
    await harness.record(2, 1)
    await harness.deliver()
    assert seen[3:] == [CUSTOM_EVENT] * 2


async def test_first_retry_sends_the_same_body_with_a_new_signature(harness: DeliveryHarness) -> None:
    feed = await harness.record(1, 1)
    answers = iter((500, 200, 200))

    def answer(request: ReceivedRequest) -> Answer:
        harness.now_ms += 2_000
        return next(answers)

    harness.receiver.respond = answer
    await harness.deliver()
    assert harness.receiver.ids == [activity.id for activity in feed]
    first, second = attempts_of(harness, feed[0].id)
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) == int(first.headers["webhook-timestamp"]) + 2
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    delivery, *_ = await harness.read_deliveries()
    assert (delivery.status, delivery.attempt_count) == (SUCCEEDED, 2)
    assert [(each.status_code, each.error) for each in delivery.attempts] == [
        (500, "The endpoint answered 500."),
        (200, None),
    ]


async def test_message_that_keeps_failing_is_deferred_and_its_partition_continues(
    harness: DeliveryHarness,
) -> None:
    """The message is FAILED after ten retries, and each attempt sends the same bytes."""
    feed = await harness.record(6, 1)
    poison = feed[2].id
    harness.receiver.respond = lambda request: 422 if request.id == poison else 200
    await harness.deliver()
    assert harness.receiver.ids == [feed[0].id, feed[1].id]
    progress = await harness.read_progress()
    assert progress["at"] == harness.now_ms + 5 * SECOND
    await harness.deliver(5 * SECOND - 1)
    assert len(attempts_of(harness, poison)) == 2
    await harness.deliver(1)
    await harness.deliver(5 * MINUTE)
    assert harness.receiver.ids == [activity.id for activity in feed if activity.id != poison]
    [deferred] = await harness.read_deliveries(PENDING)
    assert (deferred.activity_id, deferred.attempt_count, len(deferred.attempts)) == (poison, 4, 4)
    assert (await harness.read_progress())["at"] == harness.now_ms + 30 * MINUTE
    for number, hours in enumerate((0.5, 2, 5, 10, 14, 20, 24), start=5):
        # Other messages succeed in between, so the circuit stays closed.
        await harness.record(1, 1)
        await harness.deliver()
        await harness.deliver(int(hours * HOUR))
        assert len(attempts_of(harness, poison)) == number
    [failed] = await harness.read_deliveries(FAILED)
    assert (failed.activity_id, failed.attempt_count, failed.due_at, len(failed.attempts)) == (poison, 11, None, 10)
    assert len({request.body for request in attempts_of(harness, poison)}) == 1
    assert "at" not in await harness.read_progress()
    assert not await harness.read_deliveries(PENDING)


async def test_failing_endpoint_gets_probes_only_and_later_everything_in_order(
    harness: DeliveryHarness,
) -> None:
    feed = await harness.record(60, 30)
    harness.receiver.respond = lambda request: 503
    await harness.deliver()
    await harness.deliver(5 * SECOND)
    await harness.deliver(5 * MINUTE)
    assert (await harness.read_progress())["away_since"] == harness.now_ms
    sent = len(harness.receiver.requests)
    for pause in (5, 10, 20, 40, 80, 160, 300, 300):
        progress = await harness.read_progress()
        assert progress["at"] == progress["free"] == harness.now_ms + pause * SECOND
        # New activities do not shorten the pause.
        feed = await harness.record(1, 1)
        await harness.deliver(pause * SECOND - 1)
        assert len(harness.receiver.requests) == sent
        await harness.deliver(1)
        sent += 1
        assert len(harness.receiver.requests) == sent
    assert not await harness.read_deliveries()
    assert len({request.id for request in harness.receiver.requests[-8:]}) > 1
    harness.receiver.respond = lambda request: 200
    await harness.deliver(5 * MINUTE)
    assert sorted(harness.receiver.ids) == sorted(activity.id for activity in feed)
    assert is_in_order(harness.receiver.ids, feed)
    assert {each.status for each in await harness.read_deliveries()} == {SUCCEEDED}
    progress = await harness.read_progress()
    assert "away_since" not in progress
    assert (progress["failures"], progress["heads"]) == (0, {})


async def test_endpoint_failing_for_three_days_is_disabled_and_resumes_when_enabled(
    harness: DeliveryHarness,
) -> None:
    feed = await harness.record(20, 20)
    harness.receiver.respond = lambda request: 500
    for later in (0, 5 * SECOND, 5 * MINUTE, DISABLED_AFTER_MS):
        await harness.deliver(later)
    endpoint = await harness.read_endpoint()
    assert (endpoint.status, endpoint.reason) == (EndpointStatus.DISABLED, DisabledReason.FAILING)
    assert "on" not in await harness.read_progress()
    harness.receiver.respond = lambda request: 200
    await harness.record(1, 1)
    await harness.deliver(HOUR)
    assert not harness.receiver.accepted
    await update_webhook_endpoint(harness.business.ctx, harness.endpoint_id, status=EndpointStatus.ENABLED)
    await harness.deliver()
    feed = await harness.business.read_log()
    assert sorted(harness.receiver.ids) == sorted(activity.id for activity in feed)
    assert is_in_order(harness.receiver.ids, feed)


async def test_endpoint_is_not_disabled_before_one_more_probe_failed(harness: DeliveryHarness) -> None:
    """The time without an attempt may be the fault of stopped workers."""
    feed = await harness.record(20, 20)
    harness.receiver.respond = lambda request: 500
    for later in (0, 5 * SECOND, 5 * MINUTE):
        await harness.deliver(later)
    harness.receiver.respond = lambda request: 200
    await harness.deliver(2 * DISABLED_AFTER_MS)
    assert len(harness.receiver.accepted) == len(feed)
    assert (await harness.read_endpoint()).reason is None


async def test_endpoint_that_answers_410_is_disabled_at_once_and_misses_nothing(harness: DeliveryHarness) -> None:
    feed = await harness.record(3, 1)
    harness.receiver.respond = lambda request: 410
    await harness.deliver()
    assert (await harness.read_endpoint()).reason is DisabledReason.GONE
    assert len(harness.receiver.requests) == 1
    harness.receiver.respond = lambda request: 200
    ctx = harness.business.ctx
    await update_webhook_endpoint(ctx, harness.endpoint_id, status=EndpointStatus.ENABLED)
    # An administrator disables the endpoint before it got anything, so it gets nothing.
    await update_webhook_endpoint(ctx, harness.endpoint_id, status=EndpointStatus.DISABLED)
    await harness.deliver()
    assert len(harness.receiver.requests) == 1
    await update_webhook_endpoint(ctx, harness.endpoint_id, status=EndpointStatus.ENABLED)
    await harness.deliver()
    assert harness.receiver.ids == [activity.id for activity in feed]


async def test_redirects_timeouts_and_private_addresses_are_failures_with_a_reason(harness: DeliveryHarness) -> None:
    """The worker follows no redirect, waits for no answer without end, and connects to no private address."""
    await harness.record(1, 1)
    harness.receiver.respond = lambda request: (302, {"location": harness.receiver.url})
    await harness.deliver()
    assert {request.id for request in harness.receiver.requests} == {harness.receiver.requests[0].id}
    harness.receiver.respond = lambda request: None
    await harness.deliver(5 * SECOND, timeout_seconds=0.05)
    resources = harness.business.ctx.resources
    without_allowance = replace(resources, settings=replace(resources.settings, egress_allow=()))
    worker = replace(harness.business.worker, resources=without_allowance)
    await harness.deliver(5 * MINUTE, worker=worker, timeout_seconds=0.05)
    deferred, *_ = await harness.read_deliveries(PENDING)
    assert [each.error for each in deferred.attempts] == [
        *["The endpoint answered 302; redirects are not followed."] * 2,
        "The server did not answer within 0.05 s.",
        UNREACHABLE,
    ]
    assert len(harness.receiver.requests) == 3


async def test_retry_after_delays_the_next_attempt(harness: DeliveryHarness) -> None:
    """An endpoint may ask for a delay of up to an hour."""
    await harness.record(1, 1)
    harness.receiver.respond = lambda request: (429, {"retry-after": "90"})
    await harness.deliver()
    assert (await harness.read_progress())["at"] == harness.now_ms + 90 * SECOND
    await harness.deliver(90 * SECOND)
    assert len(harness.receiver.requests) == 2


async def test_both_secrets_sign_messages_during_a_rotation(harness: DeliveryHarness) -> None:
    _, newer = await rotate_webhook_secret(harness.business.ctx, harness.endpoint_id, grace_seconds=2 * 3_600)
    await harness.record(1, 1)
    await harness.deliver()
    request = harness.receiver.requests[0]
    assert all(
        verify_signature(Verification(), [each], request.headers, request.body) for each in (harness.secret, newer)
    )
    await harness.record(1, 1)
    await harness.deliver(2 * HOUR)
    request = harness.receiver.requests[-1]
    assert [
        bool(verify_signature(Verification(), [each], request.headers, request.body))
        for each in (harness.secret, newer)
    ] == [
        False,
        True,
    ]


async def test_wake_up_starts_a_delivery_and_so_does_the_sweep_without_one(harness: DeliveryHarness) -> None:
    worker, stopping = harness.business.worker, asyncio.Event()
    accepted = asyncio.Event()

    def answer(request: ReceivedRequest) -> Answer:
        accepted.set()
        return 200

    harness.receiver.respond = answer
    await harness.record(1, 1)
    await GUARDED["deliver"](worker, harness.business.ctx.workspace.id)
    await asyncio.gather(*worker.tasks)
    assert len(harness.receiver.accepted) == 2
    assert not worker.dispatchers
    await harness.record(1, 1)
    accepted.clear()
    async with asyncio.timeout(PATIENCE_SECONDS), running(Sweep(worker, GUARDED).run(stopping), stopping):
        await accepted.wait()
        stopping.set()
        # The worker stores the result of a request that is under way before it stops.
        await worker.stop()
    assert "tok" not in await harness.read_progress()
    assert len(await harness.read_deliveries(SUCCEEDED)) == 3


async def test_hanging_endpoint_delays_no_other_endpoint(harness: DeliveryHarness) -> None:
    worker, ctx = harness.business.worker, harness.business.ctx
    async with run_receiver() as other:
        other.may_respond.clear()
        await create_webhook_endpoint(ctx, other.url)
        feed = await harness.record(20, 10)
        await GUARDED["deliver"](worker, ctx.workspace.id)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while harness.endpoint_id in worker.dispatchers or not other.requests:
                await asyncio.sleep(0.005)
        assert len(harness.receiver.accepted) == len(feed)
        assert not other.accepted
        other.may_respond.set()
        await asyncio.gather(*worker.tasks)
        assert len(other.accepted) == len(feed)


async def test_more_deferred_messages_than_one_batch_are_all_retried(
    harness: DeliveryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay queues a whole log, and every first attempt fails."""
    monkeypatch.setattr(dispatcher, "DEFERRED_BATCH_SIZE", 3)
    feed = await harness.record(12, 12)
    await harness.deliver()
    harness.receiver.requests.clear()
    deliveries = harness.business.ctx.workspace.deliveries
    await deliveries.requeue(harness.endpoint_id, feed, harness.now_ms)
    await harness.business.ctx.workspace.partitions.announce_work(harness.now_ms, harness.endpoint_id)
    harness.receiver.respond = lambda request: 200 if len(attempts_of(harness, request.id)) == 3 else 500
    await harness.deliver(1)
    await harness.deliver(6 * SECOND)
    assert {len(attempts_of(harness, activity.id)) for activity in feed} == {3}
    assert {(each.status, each.attempt_count) for each in await harness.read_deliveries()} == {(SUCCEEDED, 3)}


async def test_failed_message_that_no_longer_matches_the_filter_is_dropped(harness: DeliveryHarness) -> None:
    await harness.record(1, 1)
    harness.receiver.respond = lambda request: 500 if request.payload["type"] == CREATED else 200
    await harness.deliver()
    assert (await harness.read_progress())["heads"]
    only = ActivityQuery(types=(CUSTOM_EVENT,))
    await update_webhook_endpoint(harness.business.ctx, harness.endpoint_id, filter=only)
    await harness.deliver()
    assert len(harness.receiver.accepted) == 1
    progress = await harness.read_progress()
    assert progress["heads"] == {}
    assert "at" not in progress


async def test_stopping_worker_stores_finished_messages_and_drops_a_hanging_one(
    harness: DeliveryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "STOP_GRACE_SECONDS", 0.3)
    feed = await harness.record(6, 6)
    hanging = feed[-1].id
    harness.receiver.respond = lambda request: None if request.id == hanging else 200
    run = asyncio.create_task(harness.deliver())
    async with asyncio.timeout(PATIENCE_SECONDS):
        # On a busy machine the other messages may be accepted after the hanging one was sent.
        while not attempts_of(harness, hanging) or len(harness.receiver.accepted) < len(feed) - 1:
            await asyncio.sleep(0.005)
        await harness.business.worker.stop()
        await run
    progress = await harness.read_progress()
    assert "tok" not in progress
    assert min(progress["next"]) == feed[-1].position
    harness.receiver.respond = lambda request: 200
    await harness.deliver(worker=Worker.on(harness.business.ctx.resources))
    assert sorted(harness.receiver.ids) == sorted(activity.id for activity in feed)
