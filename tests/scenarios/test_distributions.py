"""Messages by rules: when a customer did something, entered a segment or left one (V1-09 to 12)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.clock import FixedClock
from app.commands.passes.passes import update_pass
from app.commands.passes.removals import erase_pass
from app.commands.rules.rules import create_rule, create_rule_with_job, update_rule
from app.domain.errors import Refused
from app.domain.messages.messages import MessageOrigin, MessageQuery, MessageStatus
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from tests.business import no_purchase_for, purchases
from tests.messaging import Harness, open_harness
from workers.stages.run_job import jobs

START = datetime(2026, 1, 10, 9, tzinfo=UTC)


@pytest.fixture
async def harness(resources: Resources, clock: FixedClock) -> AsyncIterator[Harness]:
    """Open a business with a channel to a local mail server."""
    async with open_harness(resources, clock) as opened:
        clock.set(START)
        yield opened


def effect(**content: object) -> list[dict[str, object]]:
    """Return the effects of a rule that sends a mail."""
    return [{"sendMessage": {"channelKey": "mail", "subject": "Hi", "template": "Hello", **content}}]


async def rule_of(harness: Harness, trigger: Mapping[str, object], **options: Any) -> str:
    """Create a rule a moment ago, so that it is in force, and return its id."""
    content = {"key": "mails", "name": "Mails", "trigger": trigger, "effects": effect(), **options}
    rule = await create_rule(harness.business.ctx, content)
    harness.business.clock.set(await harness.business.ctx.now() + timedelta(seconds=1))
    return rule.id


async def test_mail_follows_an_event_with_its_values(harness: Harness) -> None:
    """V1-09: triggered by a custom event."""
    await harness.customer()
    template = "{{ pass.holder.name }}, you rated {{ event.metadata.product }} with {{ event.metadata.stars }} stars."
    rule_id = await rule_of(
        harness, {"event": {"types": ["new_review"]}}, effects=effect(template=template, html=f"<p>{template}</p>")
    )
    await harness.business.record({"type": "new_review", "metadata": {"product": "Tea & Co", "stars": 5}})
    await harness.react()
    await harness.react()
    [mail] = harness.mail.mails
    assert mail.text() == "ann, you rated Tea & Co with 5 stars.\n"
    assert mail.text("html") == "<p>ann, you rated Tea &amp; Co with 5 stars.</p>\n"
    messages = (await harness.business.ctx.workspace.messages.page(MessageQuery(rule_id=rule_id), PageRequest(9))).items
    [message] = messages
    assert (message.status, message.cause.origin, message.cause.rule_key) == (
        MessageStatus.SENT, MessageOrigin.RULE, "mails",
    )  # fmt: skip
    [activity] = await harness.outcomes()
    event = activity.data["event"]
    assert isinstance(event, Mapping)
    assert event["metadata"]["rule"] == "mails"


async def test_mail_follows_the_entry_into_a_segment(harness: Harness) -> None:
    """V1-10: triggered by entering a segment."""
    segment = await harness.business.create_segment("regulars", purchases(2))
    await harness.customer()
    await rule_of(harness, {"segmentEntered": {"segmentId": segment.id}})
    await harness.business.record({"amount": 1})
    await harness.react()
    assert harness.mail.mails == []
    await harness.business.record({"amount": 1})
    await harness.react()
    assert len(harness.mail.mails) == 1


async def test_mail_follows_the_exit_from_a_segment_by_time_alone(harness: Harness) -> None:
    """V1-11: triggered by leaving a segment."""
    recent = {"event": {**purchases(1)["event"], "within": {"days": 30}}}  # type: ignore[dict-item]
    segment = await harness.business.create_segment("recent", recent)
    await harness.customer()
    await rule_of(harness, {"segmentLeft": {"segmentId": segment.id}})
    await harness.business.record({"amount": 1})
    await harness.react()
    assert harness.mail.mails == []
    harness.business.clock.set(await harness.business.ctx.now() + timedelta(days=30))
    await harness.react()
    assert len(harness.mail.mails) == 1


async def test_rules_on_segment_customer_and_event_metadata_decide(harness: Harness) -> None:
    """V1-12: the customer is in a segment and not in another, customer metadata and event metadata satisfy conditions."""
    vip = await harness.business.create_segment(
        "vip", {"pass": {"field": "metadata.vip", "operator": "EQ", "value": True}}
    )
    gone = await harness.business.create_segment("gone", no_purchase_for(300))
    customers = {"ann": (True, "Bern"), "bob": (False, "Bern"), "cleo": (True, "Rome")}
    for name, (is_vip, city) in customers.items():
        card = await harness.customer(name)
        await update_pass(harness.business.ctx, card.id, metadata={"vip": is_vip, "city": city})
    await harness.business.run_worker()
    conditions = {
        "all": [
            {"segment": {"id": vip.id, "member": True}},
            {"segment": {"id": gone.id, "member": False}},
            {"pass": {"field": "metadata.city", "operator": "EQ", "value": "Bern"}},
        ]
    }
    await rule_of(
        harness, {"event": {"types": ["new_review"]}}, conditions=conditions,
        eventMetadata=[{"path": "stars", "operator": "GTE", "value": 4}],
    )  # fmt: skip
    await harness.business.record(
        *({"type": "new_review", "pass_external_id": name, "metadata": {"stars": stars}}
          for name in ("ann", "bob", "cleo") for stars in (3, 5))
    )  # fmt: skip
    await harness.react()
    assert [mail.recipients for mail in harness.mail.mails] == [["ann@home.test"]]


async def test_control_group_gets_no_mail(harness: Harness) -> None:
    for number in range(20):
        await harness.customer(f"c{number}")
    await rule_of(harness, {"event": {"types": ["visit"]}}, controlGroupPercent=50)
    await harness.business.record(*({"type": "visit", "pass_external_id": f"c{number}"} for number in range(20)))
    await harness.react()
    assert 3 < len(harness.mail.mails) < 17


async def test_rule_that_changes_its_text_sends_the_one_of_its_firing(harness: Harness) -> None:
    await harness.customer()
    rule_id = await rule_of(harness, {"event": {"types": ["visit"]}}, effects=effect(template="Old"))
    await harness.business.record({"type": "visit"})
    await harness.business.run_worker()
    await update_rule(harness.business.ctx, rule_id, {"effects": effect(template="New")})
    harness.business.clock.set(await harness.business.ctx.now() + timedelta(seconds=1))
    await harness.business.record({"type": "visit"})
    await harness.react()
    assert sorted(mail.text() for mail in harness.mail.mails) == ["New\n", "Old\n"]


async def test_pass_erased_between_firing_and_sending_gets_no_mail(harness: Harness) -> None:
    card = await harness.customer()
    await rule_of(harness, {"event": {"types": ["visit"]}})
    await harness.business.record({"type": "visit"})
    await harness.business.run_worker()
    await erase_pass(harness.business.ctx, pass_id=card.id)
    await harness.react()
    await harness.react()
    assert harness.mail.mails == []


@pytest.mark.parametrize(
    "content",
    [
        {"channelKey": "nowhere"},
        {"template": "Hello {{ pass.holder.name"},
        {"template": "{{ 'x' | shuffle }}"},
        {"html": "{% include 'x' %}"},
    ],
)
async def test_rule_with_a_missing_channel_or_a_broken_template_is_refused(
    harness: Harness, content: Mapping[str, object]
) -> None:
    with pytest.raises(Refused) as refused:
        await rule_of(harness, {"event": {"types": ["visit"]}}, effects=effect(**content))
    [problem] = refused.value.problems
    assert problem.field == ("effects", "0", "sendMessage", next(iter(content)))


async def test_mail_goes_to_those_who_are_members_already_and_to_those_who_enter_later(harness: Harness) -> None:
    """`includeMembers`: each member gets one mail, with the values of the pass, also if the job is repeated."""
    segment = await harness.business.create_segment("buyers", purchases(1))
    for name in ("ann", "bob", "cleo"):
        await harness.customer(name)
    await harness.business.record({"amount": 1}, {"amount": 1, "pass_external_id": "bob"})
    await harness.business.run_worker()
    harness.business.clock.set(await harness.business.ctx.now() + timedelta(seconds=1))
    rule = {"key": "mails", "name": "Mails", "trigger": {"segmentEntered": {"segmentId": segment.id}}}
    template = effect(template="Hello {{ pass.holder.name }}")
    _, job = await create_rule_with_job(harness.business.ctx, {**rule, "effects": template, "includeMembers": True})
    assert job is not None
    harness.business.clock.set(await harness.business.ctx.now() + timedelta(seconds=1))
    for _ in range(2):
        await jobs(harness.business.worker, job.id)
        await harness.react()
    assert sorted(mail.text() for mail in harness.mail.mails) == ["Hello ann\n", "Hello bob\n"]
    await harness.business.record({"amount": 1, "pass_external_id": "cleo"}, {"amount": 2})
    await harness.react()
    assert sorted(mail.text() for mail in harness.mail.mails) == ["Hello ann\n", "Hello bob\n", "Hello cleo\n"]
