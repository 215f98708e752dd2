"""Webhooks are delivered: everything that is shown, at least once, in order within a pass, whatever fails (checklist 3.4).

Leases, retries and holds go by a clock of the test's own; nothing is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.clock import FixedClock, system_ms
from app.commands.webhooks.endpoints import create_webhook_endpoint, rotate_webhook_secret, update_webhook_endpoint
from app.domain.activities import CREATED, CUSTOM_EVENT, Activity, ActivityQuery
from app.domain.signatures import Verification, verify_signature
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDelivery, WebhookDeliveryStatus
from app.domain.webhooks.endpoints import DisabledReason, EndpointStatus, WebhookEndpoint
from app.domain.webhooks.partitions import DISABLED_AFTER_MS, PARTITIONS
from app.outbound.http_client import NOWHERE
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from tests.business import Business, open_business
from tests.receiver import Answer, Got, Receiver, receiving
from workers.delivery import dispatcher as courier
from workers.main import GUARDED
from workers.stages.deliver import run_endpoint
from workers.sweep import Sweep
from workers.worker import Worker

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
SUCCEEDED, PENDING, FAILED = WebhookDeliveryStatus
NEVER = 10**15


class Post:
    """A business with one endpoint; a round of its delivery is made when asked for, at an instant of its own clock."""

    def __init__(self, business: Business, receiver: Receiver) -> None:
        self.business, self.receiver = business, receiver
        self.endpoint_id = self.secret = ""
        # Far enough ahead of what publish says in system time, however long a test takes.
        self.now_ms = system_ms() + HOUR

    async def open(self, **options: Any) -> None:
        """Makes the endpoint."""
        endpoint, self.secret = await create_webhook_endpoint(self.business.ctx, self.receiver.url, **options)
        self.endpoint_id = endpoint.id

    async def record(self, count: int, passes: int, **item: object) -> list[Activity]:
        """So many events on so many passes, published; the log."""
        await self.business.record(*({"pass_external_id": f"p{n % passes}", **item} for n in range(count)))
        await self.business.settle()
        return await self.business.feed()

    async def round(self, later_ms: int = 0, **options: Any) -> None:
        """Delivers until there is nothing to do, so much later than the round before."""
        self.now_ms += later_ms
        options = {"worker": self.business.worker, "chance": lambda: 0.0, **options}
        await run_endpoint(endpoint_id=self.endpoint_id, now_ms=lambda: self.now_ms, **options)

    async def lanes(self) -> dict[str, Any]:
        """What is stored of its lanes."""
        found = await self.business.ctx.resources.db["webhook_lanes"].find_one({"_id": self.endpoint_id})
        assert found is not None
        return found

    async def endpoint(self) -> WebhookEndpoint:
        """The endpoint as stored."""
        return (await self.business.ctx.workspace.webhooks.get_many([self.endpoint_id]))[self.endpoint_id]

    async def deliveries(self, *statuses: WebhookDeliveryStatus) -> list[WebhookDelivery]:
        """What became of its messages, in order of the log."""
        query = DeliveryQuery(self.endpoint_id, statuses)
        page = await self.business.ctx.workspace.deliveries.page(query, PageRequest(100_000))
        return sorted(page.items, key=lambda each: each.position)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on this machine."""
    async with receiving() as found:
        yield found


@pytest.fixture
async def post(resources: Resources, clock: FixedClock, receiver: Receiver) -> Post:
    """A business that tells the receiver of everything."""
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    found = Post(await open_business(replace(resources, settings=settings), clock), receiver)
    await found.open()
    return found


def in_order(taken: list[str], feed: list[Activity]) -> bool:
    """Whether the activities of every pass were taken in the order of the log."""
    place = {activity.id: (activity.pass_id, activity.position) for activity in feed}
    seen: dict[str, int] = {}
    for each in taken:
        card, pos = place[each]
        if seen.get(card, 0) > pos:
            return False
        seen[card] = pos
    return True


def tries_of(post: Post, message_id: str) -> list[Got]:
    return [got for got in post.receiver.got if got.id == message_id]


async def test_every_activity_arrives_once_signed_and_in_order_within_its_pass(post: Post) -> None:
    feed = await post.record(200, 40)
    await post.round()
    assert len(feed) > 200
    assert sorted(post.receiver.ids) == sorted(activity.id for activity in feed)
    assert in_order(post.receiver.ids, feed)
    for got in post.receiver.got:
        assert verify_signature(Verification(), [post.secret], got.headers, got.body) is not None
        assert got.headers["user-agent"] == "Punchcard"
    assert post.receiver.connections <= PARTITIONS
    deliveries = await post.deliveries()
    assert [each.activity_id for each in deliveries] == [activity.id for activity in feed]
    assert {(each.status, each.attempt_count, each.attempts[0].status_code) for each in deliveries} == {
        (SUCCEEDED, 1, 200)
    }
    # A pass that goes on: nothing of before is told again, and there is nothing to do in between.
    assert "at" not in await post.lanes()
    more = await post.record(1, 1)
    await post.round()
    assert post.receiver.ids[len(feed) :] == [activity.id for activity in more[len(feed) :]]
    assert (await post.lanes())["next"] == [len(more) + 1] * PARTITIONS


async def test_a_filter_shows_what_it_would_show_a_subscriber_and_a_change_of_it_is_heeded(post: Post) -> None:
    feed = await post.record(3, 3)
    seen: list[str] = []

    def only_created(got: Got) -> Answer:
        seen.append(got.said["type"])
        return 200

    post.receiver.answers = only_created
    ctx = post.business.ctx
    await update_webhook_endpoint(ctx, post.endpoint_id, filter=ActivityQuery(types=(CREATED,)))
    await post.round()
    assert seen == [CREATED] * 3
    assert (await post.lanes())["next"] == [len(feed) + 1] * PARTITIONS
    await update_webhook_endpoint(ctx, post.endpoint_id, filter=ActivityQuery(types=(CUSTOM_EVENT,)))
    await post.record(2, 1)
    await post.round()
    assert seen[3:] == [CUSTOM_EVENT] * 2


async def test_a_message_that_fails_first_is_tried_again_at_once_and_is_the_same(post: Post) -> None:
    feed = await post.record(1, 1)
    answers = iter((500, 200, 200))

    def answer(got: Got) -> Answer:
        post.now_ms += 2_000
        return next(answers)

    post.receiver.answers = answer
    await post.round()
    assert post.receiver.ids == [activity.id for activity in feed]
    first, again = tries_of(post, feed[0].id)
    assert first.body == again.body
    assert int(again.headers["webhook-timestamp"]) == int(first.headers["webhook-timestamp"]) + 2
    assert first.headers["webhook-signature"] != again.headers["webhook-signature"]
    delivery, *_ = await post.deliveries()
    assert (delivery.status, delivery.attempt_count) == (SUCCEEDED, 2)
    assert [(each.status_code, each.error) for each in delivery.attempts] == [(500, "It answered 500."), (200, None)]


async def test_a_message_that_goes_on_failing_is_set_aside_and_the_rest_of_its_lane_goes_on(post: Post) -> None:
    """Ten retries in all, then FAILED; at each the same bytes."""
    feed = await post.record(6, 1)
    poison = feed[2].id
    post.receiver.answers = lambda got: 422 if got.id == poison else 200
    await post.round()
    assert post.receiver.ids == [feed[0].id, feed[1].id]
    lanes = await post.lanes()
    assert lanes["at"] == post.now_ms + 5 * SECOND
    await post.round(5 * SECOND - 1)
    assert len(tries_of(post, poison)) == 2
    await post.round(1)
    await post.round(5 * MINUTE)
    assert post.receiver.ids == [activity.id for activity in feed if activity.id != poison]
    [aside] = await post.deliveries(PENDING)
    assert (aside.activity_id, aside.attempt_count, len(aside.attempts)) == (poison, 4, 4)
    assert (await post.lanes())["at"] == post.now_ms + 30 * MINUTE
    for number, hours in enumerate((0.5, 2, 5, 10, 14, 20, 24), start=5):
        # In between the endpoint is well: others' success says so.
        await post.record(1, 1)
        await post.round()
        await post.round(int(hours * HOUR))
        assert len(tries_of(post, poison)) == number
    [failed] = await post.deliveries(FAILED)
    assert (failed.activity_id, failed.attempt_count, failed.due_at, len(failed.attempts)) == (poison, 11, None, 10)
    assert len({got.body for got in tries_of(post, poison)}) == 1
    assert "at" not in await post.lanes()
    assert not await post.deliveries(PENDING)


async def test_an_endpoint_that_is_down_is_left_alone_and_then_told_of_everything_in_order(post: Post) -> None:
    feed = await post.record(60, 30)
    post.receiver.answers = lambda got: 503
    await post.round()
    await post.round(5 * SECOND)
    await post.round(5 * MINUTE)
    assert (await post.lanes())["away_since"] == post.now_ms
    sent = len(post.receiver.got)
    for hold in (5, 10, 20, 40, 80, 160, 300, 300):
        lanes = await post.lanes()
        assert lanes["at"] == lanes["free"] == post.now_ms + hold * SECOND
        # Nobody shortens that.
        feed = await post.record(1, 1)
        await post.round(hold * SECOND - 1)
        assert len(post.receiver.got) == sent
        await post.round(1)
        sent += 1
        assert len(post.receiver.got) == sent
    assert not await post.deliveries()
    assert len({got.id for got in post.receiver.got[-8:]}) > 1
    post.receiver.answers = lambda got: 200
    await post.round(5 * MINUTE)
    assert sorted(post.receiver.ids) == sorted(activity.id for activity in feed)
    assert in_order(post.receiver.ids, feed)
    assert {each.status for each in await post.deliveries()} == {SUCCEEDED}
    lanes = await post.lanes()
    assert "away_since" not in lanes
    assert (lanes["failures"], lanes["heads"]) == (0, {})


async def test_an_endpoint_that_is_away_for_three_days_is_disabled_and_goes_on_where_it_stood(post: Post) -> None:
    feed = await post.record(20, 20)
    post.receiver.answers = lambda got: 500
    for later in (0, 5 * SECOND, 5 * MINUTE, DISABLED_AFTER_MS):
        await post.round(later)
    endpoint = await post.endpoint()
    assert (endpoint.status, endpoint.reason) == (EndpointStatus.DISABLED, DisabledReason.FAILING)
    assert "on" not in await post.lanes()
    post.receiver.answers = lambda got: 200
    await post.record(1, 1)
    await post.round(HOUR)
    assert not post.receiver.taken
    await update_webhook_endpoint(post.business.ctx, post.endpoint_id, status=EndpointStatus.ENABLED)
    await post.round()
    feed = await post.business.feed()
    assert sorted(post.receiver.ids) == sorted(activity.id for activity in feed)
    assert in_order(post.receiver.ids, feed)


async def test_an_endpoint_is_not_given_up_before_it_was_tried_once_more(post: Post) -> None:
    """It may be the workers that were away."""
    feed = await post.record(20, 20)
    post.receiver.answers = lambda got: 500
    for later in (0, 5 * SECOND, 5 * MINUTE):
        await post.round(later)
    post.receiver.answers = lambda got: 200
    await post.round(2 * DISABLED_AFTER_MS)
    assert len(post.receiver.taken) == len(feed)
    assert (await post.endpoint()).reason is None


async def test_an_endpoint_that_is_gone_is_disabled_at_once_and_misses_nothing(post: Post) -> None:
    feed = await post.record(3, 1)
    post.receiver.answers = lambda got: 410
    await post.round()
    assert (await post.endpoint()).reason is DisabledReason.GONE
    assert len(post.receiver.got) == 1
    post.receiver.answers = lambda got: 200
    ctx = post.business.ctx
    await update_webhook_endpoint(ctx, post.endpoint_id, status=EndpointStatus.ENABLED)
    # Switched off by hand before it got anything, and nothing is sent to it.
    await update_webhook_endpoint(ctx, post.endpoint_id, status=EndpointStatus.DISABLED)
    await post.round()
    assert len(post.receiver.got) == 1
    await update_webhook_endpoint(ctx, post.endpoint_id, status=EndpointStatus.ENABLED)
    await post.round()
    assert post.receiver.ids == [activity.id for activity in feed]


async def test_redirects_silence_and_closed_doors_are_failures_that_say_what_they_are(post: Post) -> None:
    """Nothing is followed anywhere, no answer is waited for without end, and nowhere private is connected to."""
    await post.record(1, 1)
    post.receiver.answers = lambda got: (302, {"location": post.receiver.url})
    await post.round()
    assert {got.id for got in post.receiver.got} == {post.receiver.got[0].id}
    post.receiver.answers = lambda got: None
    await post.round(5 * SECOND, seconds=0.05)
    shut = replace(post.business.ctx.resources, settings=replace(post.business.ctx.resources.settings, egress_allow=()))
    await post.round(5 * MINUTE, worker=replace(post.business.worker, resources=shut), seconds=0.05)
    aside, *_ = await post.deliveries(PENDING)
    assert [each.error for each in aside.attempts] == [
        *["It answered 302; redirects are not followed."] * 2, "It did not answer within 0.05 s.", NOWHERE,
    ]  # fmt: skip
    assert len(post.receiver.got) == 3


async def test_a_wish_to_be_left_alone_is_honoured(post: Post) -> None:
    """Retry-After, up to an hour."""
    await post.record(1, 1)
    post.receiver.answers = lambda got: (429, {"retry-after": "90"})
    await post.round()
    assert (await post.lanes())["at"] == post.now_ms + 90 * SECOND
    await post.round(90 * SECOND)
    assert len(post.receiver.got) == 2


async def test_while_a_secret_is_rotated_both_sign(post: Post) -> None:
    _, newer = await rotate_webhook_secret(post.business.ctx, post.endpoint_id, grace_seconds=2 * 3_600)
    await post.record(1, 1)
    await post.round()
    got = post.receiver.got[0]
    assert all(verify_signature(Verification(), [each], got.headers, got.body) for each in (post.secret, newer))
    await post.record(1, 1)
    await post.round(2 * HOUR)
    got = post.receiver.got[-1]
    assert [bool(verify_signature(Verification(), [each], got.headers, got.body)) for each in (post.secret, newer)] == [
        False,
        True,
    ]


async def test_a_wake_up_begins_a_run_and_the_sweep_one_that_no_wake_up_told_of(post: Post) -> None:
    worker, stopping = post.business.worker, asyncio.Event()
    taken = asyncio.Event()

    def answer(got: Got) -> Answer:
        taken.set()
        return 200

    post.receiver.answers = answer
    await post.record(1, 1)
    await GUARDED["deliver"](worker, post.business.ctx.workspace.id)
    await asyncio.gather(*worker.tasks)
    assert len(post.receiver.taken) == 2
    assert not worker.dispatchers
    await post.record(1, 1)
    taken.clear()
    sweeping = asyncio.create_task(Sweep(worker, GUARDED).run(stopping))
    async with asyncio.timeout(10):
        await taken.wait()
        stopping.set()
        # What is on the wire is noted before the worker stops.
        await worker.stop()
        await sweeping
    assert "tok" not in await post.lanes()
    assert len(await post.deliveries(SUCCEEDED)) == 3


async def test_an_endpoint_that_hangs_keeps_no_other_waiting(post: Post) -> None:
    worker, ctx = post.business.worker, post.business.ctx
    async with receiving() as other:
        other.opened.clear()
        await create_webhook_endpoint(ctx, other.url)
        feed = await post.record(20, 10)
        await GUARDED["deliver"](worker, ctx.workspace.id)
        async with asyncio.timeout(10):
            while post.endpoint_id in worker.dispatchers or not other.got:
                await asyncio.sleep(0.005)
        assert len(post.receiver.taken) == len(feed)
        assert not other.taken
        other.opened.set()
        await asyncio.gather(*worker.tasks)
        assert len(other.taken) == len(feed)


async def test_more_may_wait_for_another_try_than_is_read_at_once(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay of a log, and all of it fails at first."""
    monkeypatch.setattr(courier, "DEFERRED_BATCH_SIZE", 3)
    feed = await post.record(12, 12)
    await post.round()
    post.receiver.got.clear()
    deliveries = post.business.ctx.workspace.deliveries
    await deliveries.requeue(post.endpoint_id, feed, post.now_ms)
    await post.business.ctx.workspace.partitions.announce_work(post.now_ms, post.endpoint_id)
    post.receiver.answers = lambda got: 200 if len(tries_of(post, got.id)) == 3 else 500
    await post.round(1)
    await post.round(6 * SECOND)
    assert {len(tries_of(post, activity.id)) for activity in feed} == {3}
    assert {(each.status, each.attempt_count) for each in await post.deliveries()} == {(SUCCEEDED, 3)}


async def test_a_message_that_failed_and_is_shown_no_more_is_forgotten(post: Post) -> None:
    await post.record(1, 1)
    post.receiver.answers = lambda got: 500 if got.said["type"] == CREATED else 200
    await post.round()
    assert (await post.lanes())["heads"]
    only = ActivityQuery(types=(CUSTOM_EVENT,))
    await update_webhook_endpoint(post.business.ctx, post.endpoint_id, filter=only)
    await post.round()
    assert len(post.receiver.taken) == 1
    lanes = await post.lanes()
    assert lanes["heads"] == {}
    assert "at" not in lanes


async def test_a_worker_that_is_stopped_notes_what_is_done_and_lets_go_of_what_hangs(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "STOP_GRACE_SECONDS", 0.3)
    feed = await post.record(6, 6)
    hanging = feed[-1].id
    post.receiver.answers = lambda got: None if got.id == hanging else 200
    run = asyncio.create_task(post.round())
    async with asyncio.timeout(10):
        # On a busy machine the others may come after the one that hangs.
        while not tries_of(post, hanging) or len(post.receiver.taken) < len(feed) - 1:
            await asyncio.sleep(0.005)
        await post.business.worker.stop()
        await run
    lanes = await post.lanes()
    assert "tok" not in lanes
    assert min(lanes["next"]) == feed[-1].position
    post.receiver.answers = lambda got: 200
    await post.round(worker=Worker.on(post.business.ctx.resources))
    assert sorted(post.receiver.ids) == sorted(activity.id for activity in feed)
