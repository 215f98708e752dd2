"""Sending of messages: each is sent once as far as the receiver can tell, only where it may be, and its outcome is recorded.

Leases, retries and pauses use a clock of the test, so no test waits for them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.clock import FixedClock, system_ms
from app.commands.messages.channels import archive_channel, update_channel
from app.commands.messages.consents import record_consent
from app.commands.messages.messages import broadcast_message, retry_messages
from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import update_pass
from app.commands.passes.removals import erase_pass
from app.domain.events.events import MESSAGE_SENT
from app.domain.messages.messages import MessageQuery, MessageReason, MessageStatus
from app.domain.webhooks.deliveries import RETRY_DELAYS_SECONDS
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from tests.messaging import HOUR, MINUTE, SECOND, Harness, open_harness
from workers.main import STAGES
from workers.sweep import Sweep

QUEUED, SENT, FAILED, SUPPRESSED = MessageStatus


@pytest.fixture
async def harness(resources: Resources, clock: FixedClock) -> AsyncIterator[Harness]:
    """Open a business with a channel to a local mail server."""
    async with open_harness(resources, clock) as opened:
        yield opened


async def test_mail_arrives_once_and_is_reported_as_an_activity(harness: Harness) -> None:
    card = await harness.customer()
    message = await harness.queue(card)
    await harness.send()
    await harness.send()
    [mail] = harness.mail.mails
    assert (mail.sender, mail.recipients, mail.text()) == ("shop@shop.test", ["ann@home.test"], "Hello ann\n")
    assert mail.id == f"{message.id}@shop.test"
    stored = await harness.read(message)
    assert (stored.status, stored.due_at, stored.sent_at) == (SENT, None, await harness.business.ctx.now())
    [activity] = await harness.outcomes()
    assert (activity.type, activity.category) == ("customer.email.sent", "EFFECT")
    event = activity.data["event"]
    assert isinstance(event, Mapping)
    assert event["metadata"] == {
        "message": message.id, "channel": "mail", "via": "email", "status": "SENT", "origin": "API",
    }  # fmt: skip


async def test_stored_message_has_neither_text_nor_address(harness: Harness) -> None:
    card = await harness.customer("melusine")
    message = await harness.queue(card, template="Dear {{ pass.holder.name }}")
    await harness.send()
    doc = await harness.business.ctx.resources.db["messages"].find_one({"_id": message.id})
    assert "melusine" not in str(doc)
    assert "Dear" not in str(doc)


async def test_repeated_call_with_the_same_key_sends_nothing_more(harness: Harness) -> None:
    card = await harness.customer()
    first, second = await harness.queue(card, key="order-7"), await harness.queue(card, key="order-7")
    await harness.send()
    third = await harness.queue(card, key="order-7")
    await harness.send()
    assert first.id == second.id == third.id
    assert (third.status, len(harness.mail.mails)) == (SENT, 1)


async def test_message_without_consent_is_suppressed_until_it_is_given(harness: Harness) -> None:
    await update_channel(harness.business.ctx, harness.channel.id, {"consentKey": "marketing"})
    card = await harness.customer()
    refused = await harness.queue(card)
    await harness.send()
    await record_consent(harness.business.ctx, pass_id=card.id, external_id=None, channel_key="mail", given=True)
    # The consent is not counted yet, but recorded: the message follows it.
    allowed = await harness.queue(card)
    await harness.send()
    assert [(await harness.read(each)).status for each in (refused, allowed)] == [SUPPRESSED, SENT]
    assert (await harness.read(refused)).reason is MessageReason.NO_CONSENT
    [mail] = harness.mail.mails
    assert mail.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail.message["List-Unsubscribe"].startswith("<https://loyalty.test/punchcard/unsubscribe/")
    await record_consent(harness.business.ctx, pass_id=card.id, external_id=None, channel_key="mail", given=False)
    late = await harness.queue(card)
    await harness.send()
    assert (await harness.read(late)).reason is MessageReason.NO_CONSENT


@pytest.mark.parametrize(
    ("email", "reason"),
    [
        ("", MessageReason.NO_ADDRESS),
        ("nobody", MessageReason.BAD_ADDRESS),
        ("ann@home.test, bob@home.test", MessageReason.BAD_ADDRESS),
        ('"ann" <ann@home.test>', MessageReason.BAD_ADDRESS),
        ("ann@home.test>\u2028Bcc: eve@evil.test", MessageReason.BAD_ADDRESS),
    ],
)
async def test_message_to_an_unusable_address_is_not_sent(harness: Harness, email: str, reason: MessageReason) -> None:
    [card] = await harness.business.create_passes("ann")
    await update_pass(harness.business.ctx, card.id, holder={"email": email or None, "name": "Ann"})
    message = await harness.queue(card)
    await harness.send()
    assert (await harness.read(message)).reason is reason
    assert harness.mail.connections == 0


async def test_values_with_line_breaks_add_no_header_and_no_recipient(harness: Harness) -> None:
    card = await harness.customer()
    fields = {"title": "Hi\r\nBcc: eve@evil.test\r\n\r\nOther text"}
    await update_pass(harness.business.ctx, card.id, fields=fields)
    message = await harness.queue(card, subject="{{ pass.fields.title }}", template=".\nQUIT\n.")
    await harness.send()
    assert (await harness.read(message)).status is SENT
    [mail] = harness.mail.mails
    assert mail.recipients == ["ann@home.test"]
    assert mail.message["Bcc"] is None
    assert mail.message["Subject"] == "Hi Bcc: eve@evil.test Other text"
    assert mail.text() == ".\nQUIT\n.\n"


async def test_values_in_the_html_part_are_escaped(harness: Harness) -> None:
    card = await harness.customer()
    await update_pass(harness.business.ctx, card.id, fields={"note": "<script>alert(1)</script>"})
    await harness.queue(card, template="{{ pass.fields.note }}", html="<p>{{ pass.fields.note }}</p>")
    await harness.send()
    [mail] = harness.mail.mails
    assert mail.text() == "<script>alert(1)</script>\n"
    assert mail.text("html") == "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n"


async def test_third_message_of_a_day_waits_for_no_one_and_is_suppressed(harness: Harness, clock: FixedClock) -> None:
    await update_channel(harness.business.ctx, harness.channel.id, {"frequencyCap": {"count": 2, "calendar": "DAY"}})
    card, other = await harness.customer(), await harness.customer("bob")
    messages = [await harness.queue(card) for _ in range(3)]
    await harness.queue(other)
    await harness.send()
    stored = [await harness.read(each) for each in messages]
    assert sorted(each.status for each in stored) == [SENT, SENT, SUPPRESSED]
    assert {each.reason for each in stored} == {None, MessageReason.FREQUENCY_CAP}
    assert len(harness.mail.mails) == 3
    clock.set(await harness.business.ctx.now() + timedelta(days=1))
    later = await harness.queue(card)
    await harness.send()
    assert (await harness.read(later)).status is SENT


async def test_message_waits_for_the_end_of_quiet_hours(harness: Harness, clock: FixedClock) -> None:
    quiet = {"from": "22:00", "to": "08:00", "timezone": "Europe/Berlin"}
    await update_channel(harness.business.ctx, harness.channel.id, {"quietHours": quiet})
    card = await harness.customer()
    clock.set(datetime(2026, 7, 1, 21, 30, tzinfo=UTC))  # 23:30 in Berlin
    message = await harness.queue(card)
    await harness.send()
    stored = await harness.read(message)
    assert (stored.status, stored.held_until) == (QUEUED, datetime(2026, 7, 2, 6, tzinfo=UTC))
    assert stored.due_at is not None
    assert stored.due_at.timestamp() * 1000 - harness.now_ms == 8.5 * HOUR
    clock.set(datetime(2026, 7, 2, 6, tzinfo=UTC))
    await harness.send(later_ms=int(8.5 * HOUR))
    assert (await harness.read(message)).status is SENT


async def test_manual_clock_releases_what_waits_for_quiet_hours(harness: Harness, clock: FixedClock) -> None:
    await update_channel(harness.business.ctx, harness.channel.id, {"quietHours": {"from": "00:00", "to": "08:00"}})
    card = await harness.customer()
    clock.set(datetime(2026, 7, 1, 1, tzinfo=UTC))
    message = await harness.queue(card)
    await harness.send()
    clock.set(datetime(2026, 7, 1, 8, tzinfo=UTC))
    worker = harness.business.worker
    worker.resources = replace(worker.resources, settings=replace(worker.resources.settings, clock="manual"))
    await Sweep(worker, STAGES).send()
    await harness.send()
    assert (await harness.read(message)).status is SENT


async def test_message_that_is_not_valid_any_more_is_not_sent(harness: Harness, clock: FixedClock) -> None:
    card = await harness.customer()
    message = await harness.queue(card, validForHours=2)
    clock.set(await harness.business.ctx.now() + timedelta(hours=2))
    await harness.send()
    stored = await harness.read(message)
    assert (stored.status, stored.reason) == (SUPPRESSED, MessageReason.EXPIRED)
    [activity] = await harness.outcomes()
    assert activity.type == "customer.email.failed"


async def test_recipient_that_the_server_refuses_fails_alone(harness: Harness) -> None:
    card, other = await harness.customer(), await harness.customer("bob")
    harness.mail.answer_recipient = lambda to: f"550 <{to}> is unknown" if "ann" in to else "250 OK"
    refused, taken = await harness.queue(card), await harness.queue(other)
    await harness.send()
    stored = await harness.read(refused)
    assert (stored.status, stored.reason, stored.attempts[-1].status_code) == (FAILED, MessageReason.REFUSED, 550)
    assert stored.error == "<…> is unknown"
    assert (await harness.read(taken)).status is SENT


async def test_template_that_fails_for_one_customer_fails_alone(harness: Harness) -> None:
    card, other = await harness.customer(), await harness.customer("bob")
    await update_pass(harness.business.ctx, other.id, fields={"visits": 3})
    template = "Visit {{ pass.fields.visits | plus: 1 }}{{ pass.fields.visits.first.second }}"
    bad, good = await harness.queue(card, template=template), await harness.queue(other, template="Visit")
    await harness.send()
    stored = await harness.read(bad)
    assert (stored.status, stored.reason) == (FAILED, MessageReason.TEMPLATE)
    assert (await harness.read(good)).status is SENT


async def test_server_that_fails_gets_the_message_again_by_the_schedule(harness: Harness) -> None:
    card = await harness.customer()
    harness.mail.answer_data = lambda _: "451 try later"
    message = await harness.queue(card)
    await harness.send()
    # The first retry follows at once.
    assert (await harness.read(message)).failures == 2
    for failures, seconds in enumerate(RETRY_DELAYS_SECONDS[1:4], start=3):
        await harness.send(later_ms=seconds * SECOND - 1)
        assert (await harness.read(message)).failures == failures - 1
        await harness.send(later_ms=1)
        assert (await harness.read(message)).failures == failures
    harness.mail.answer_data = lambda _: "250 OK"
    await harness.send(later_ms=RETRY_DELAYS_SECONDS[4] * SECOND)
    assert (await harness.read(message)).status is SENT
    assert len(await harness.outcomes()) == 1


async def test_failed_messages_are_sent_after_retry_messages(harness: Harness) -> None:
    card = await harness.customer()
    harness.mail.answer_data = lambda _: "554 spam"
    message = await harness.queue(card)
    await harness.send()
    harness.mail.answer_data = lambda _: "250 OK"
    assert await retry_messages(harness.business.ctx, ids=None, channel_key="mail") == 1
    await harness.send()
    assert (await harness.read(message)).status is SENT
    assert await retry_messages(harness.business.ctx, ids=[message.id], channel_key=None) == 0
    assert [each.type for each in await harness.outcomes()] == ["customer.email.failed", "customer.email.sent"]


async def test_server_that_is_down_for_a_day_gets_single_probes_and_then_everything_valid(
    harness: Harness, clock: FixedClock
) -> None:
    cards = [await harness.customer(f"c{number}") for number in range(12)]
    harness.mail.answer_recipient = lambda _: "421 closing"
    short = [await harness.queue(card, validForHours=2) for card in cards[:6]]
    long = [await harness.queue(card, validForHours=48) for card in cards[6:]]
    start, opened_at = await harness.business.ctx.now(), 0
    for passed_ms in range(0, 24 * HOUR, 15 * MINUTE):
        clock.set(start + timedelta(milliseconds=passed_ms))
        await harness.send(later_ms=15 * MINUTE)
        opened_at = opened_at or (passed_ms if await _is_circuit_open(harness) else 0)
    assert opened_at
    assert [(await harness.read(each)).reason for each in short] == [MessageReason.EXPIRED] * 6
    assert [(await harness.read(each)).status for each in long] == [QUEUED] * 6
    harness.mail.answer_recipient = lambda _: "250 OK"
    await harness.send(later_ms=10 * MINUTE)
    assert [(await harness.read(each)).status for each in long] == [SENT] * 6
    assert not await _is_circuit_open(harness)
    assert sorted(mail.id for mail in harness.mail.mails) == sorted(f"{each.id}@shop.test" for each in long)


async def _is_circuit_open(harness: Harness) -> bool:
    doc = await harness.business.ctx.resources.db["channel_lanes"].find_one({"_id": harness.channel.id})
    assert doc is not None
    return "away_since" in doc


async def test_server_that_stalls_holds_up_no_other_pass(harness: Harness) -> None:
    card, other = await harness.customer(), await harness.customer("bob")
    harness.mail.answer_recipient = lambda address: None if "ann" in address else "250 OK"
    stalled, taken = await harness.queue(card), await harness.queue(other)
    await harness.send(timeout_seconds=2)  # on a busy machine, the other message takes a part of it
    assert (await harness.read(taken)).status is SENT
    stored = await harness.read(stalled)
    assert stored.status is QUEUED
    assert stored.attempts[-1].error == "The server did not answer within 2 s."


async def test_crash_after_the_outcome_was_recorded_sends_nothing_again(harness: Harness) -> None:
    card = await harness.customer()
    message = await harness.queue(card)
    await harness.send()
    # As the worker leaves it that crashes between the two writes.
    before = {"status": "QUEUED", "due": harness.now_ms, "generation": 0}
    await harness.business.ctx.resources.db["messages"].update_one({"_id": message.id}, {"$set": before})
    await harness.business.ctx.workspace.messages.work.announce_work(harness.now_ms, harness.channel.id)
    await harness.send()
    assert ((await harness.read(message)).status, len(harness.mail.mails)) == (SENT, 1)
    assert len(await harness.outcomes()) == 1


async def test_crash_after_the_mail_was_sent_sends_it_with_the_same_id(harness: Harness) -> None:
    card = await harness.customer()
    message = await harness.queue(card)
    events = harness.business.ctx.resources.db["events"]
    await harness.send()
    await events.delete_many({"type": MESSAGE_SENT})
    before = {"status": "QUEUED", "due": harness.now_ms, "generation": 0}
    await harness.business.ctx.resources.db["messages"].update_one({"_id": message.id}, {"$set": before})
    await harness.business.ctx.workspace.messages.work.announce_work(harness.now_ms, harness.channel.id)
    await harness.send()
    first, second = harness.mail.mails
    assert first.raw == second.raw


async def test_message_of_a_merged_pass_goes_to_the_one_that_answers(harness: Harness) -> None:
    card, survivor = await harness.customer(), await harness.customer("bob")
    message = await harness.queue(card)
    await merge_passes(harness.business.ctx, survivor.id, card.id)
    await harness.business.run_worker()
    await harness.send()
    assert [mail.recipients for mail in harness.mail.mails] == [["bob@home.test"]]
    [activity] = await harness.outcomes()
    assert activity.pass_id == survivor.id
    assert (await harness.read(message)).status is SENT


async def test_erased_pass_gets_no_message_and_keeps_none(harness: Harness) -> None:
    card = await harness.customer()
    sent = await harness.queue(card, key="first")
    await harness.send()
    waiting = await harness.queue(card, key="second")
    await erase_pass(harness.business.ctx, pass_id=card.id)
    await harness.business.run_worker()
    await harness.send()
    assert len(harness.mail.mails) == 1
    workspace, db = harness.business.ctx.workspace, harness.business.ctx.resources.db
    assert await workspace.messages.get_many([sent.id, waiting.id]) == {}
    assert await db["message_templates"].count_documents({}) == 0
    # A late insert under the same id is refused. The store would delete a stub that expires before its own time.
    assert await workspace.messages.insert([waiting]) == {0}
    stubs = await db["messages"].find({"_id": {"$in": [sent.id, waiting.id]}}).to_list(None)
    assert [stub["expires_at"] > datetime.now(UTC) for stub in stubs] == [True, True]
    assert await workspace.messages.get_many([waiting.id]) == {}


async def test_message_queued_for_a_pass_just_erased_is_dropped(harness: Harness) -> None:
    card = await harness.customer()
    message = await harness.queue(card)
    await harness.business.ctx.resources.db["messages"].update_one({"_id": message.id}, {"$set": {"due": 10**15}})
    doc = await harness.business.ctx.resources.db["messages"].find_one({"_id": message.id})
    await erase_pass(harness.business.ctx, pass_id=card.id)
    await harness.business.run_worker()
    assert doc is not None
    late = doc | {"due": harness.now_ms}
    await harness.business.ctx.resources.db["messages"].replace_one({"_id": message.id}, late)
    await harness.send()
    assert harness.mail.mails == []
    assert await harness.business.ctx.workspace.messages.get_many([message.id]) == {}


async def test_archived_channel_fails_what_is_queued(harness: Harness) -> None:
    card = await harness.customer()
    message = await harness.queue(card)
    await archive_channel(harness.business.ctx, harness.channel.id)
    await harness.send()
    assert (await harness.read(message)).reason is MessageReason.CHANNEL_MISSING
    assert harness.mail.mails == []
    [activity] = await harness.outcomes()
    assert activity.type == "customer.email.failed"


async def test_message_whose_announcement_was_lost_is_found(harness: Harness) -> None:
    card = await harness.customer()
    message = await harness.queue(card)
    db = harness.business.ctx.resources.db
    await db["channel_lanes"].update_one({"_id": harness.channel.id}, {"$unset": {"at": ""}})
    await db["messages"].update_one({"_id": message.id}, {"$set": {"due": system_ms() - 120_000}})
    await Sweep(harness.business.worker, STAGES).send()
    lane = await db["channel_lanes"].find_one({"_id": harness.channel.id})
    assert lane is not None
    assert "at" in lane


async def test_two_workers_send_each_message_once(harness: Harness, resources: Resources) -> None:
    cards = [await harness.customer(f"c{number}") for number in range(20)]
    for card in cards:
        await harness.queue(card)
    await harness.send()
    assert sorted(mail.recipients[0] for mail in harness.mail.mails) == sorted(
        f"{card.external_id}@home.test" for card in cards
    )
    # One connection for each partition at most: later mails use those that are open.
    assert harness.mail.connections <= 16


async def test_broadcast_sends_one_message_to_each_member(harness: Harness) -> None:
    ctx = harness.business.ctx
    segment = await harness.business.create_segment(
        "all", {"event": {"types": ["purchase"], "metric": "COUNT", "operator": "GTE", "value": 1}}
    )
    ann, bob, cleo = [await harness.customer(name) for name in ("ann", "bob", "cleo")]
    await harness.business.record(*({"pass_external_id": name, "amount": 1} for name in ("ann", "bob", "cleo")))
    await harness.business.run_worker()
    await merge_passes(ctx, bob.id, cleo.id)
    await harness.business.run_worker()
    content = {"channelKey": "mail", "template": "News for {{ pass.holder.name }}", "key": "news-1"}
    job = await broadcast_message(ctx, content, segment_id=segment.id)
    again = await broadcast_message(ctx, content, segment_id=segment.id)
    assert job.id == again.id
    await STAGES["jobs"](harness.business.worker, job.id)
    await STAGES["jobs"](harness.business.worker, job.id)
    await harness.send()
    assert sorted(mail.text() for mail in harness.mail.mails) == ["News for ann\n", "News for cleo\n"]
    finished = await ctx.workspace.jobs.get(job.id)
    assert finished is not None
    assert finished.result == {"messages": 2, "warnings": []}
    page = await ctx.workspace.messages.page(MessageQuery(job_id=job.id), PageRequest(10))
    assert {each.pass_id for each in page.items} == {ann.id, bob.id}
