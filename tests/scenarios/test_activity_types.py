"""Each type of activity follows from what a user does, and is seen in the feed, by webhook and by export (V2-02)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.clock import FixedClock
from app.commands.jobs.exports import export_activities
from app.commands.messages.channels import create_channel
from app.commands.messages.consents import record_consent
from app.commands.messages.messages import send_message
from app.commands.passes.passes import create_passes, update_pass
from app.commands.passes.referrals import confirm_pass, record_referral
from app.commands.passes.removals import erase_pass
from app.commands.points.transfers import transfer_points
from app.commands.rewards.redemptions import RedemptionInput, redeem_reward, rollback_redemption
from app.commands.rewards.rewards import create_reward
from app.commands.rules.rules import create_rule
from app.commands.tiers import set_tier_program
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.domain.activity_queries import ActivityQuery
from app.domain.files.exports import ExportFormat
from app.domain.passes.inputs import PassInput
from app.domain.passes.passes import GIFT_CARD, Pass
from app.resources import Resources
from reference_pages import payload_schema
from tests.business import Business, bought_within, open_business
from tests.contracts.test_reference import bought, deliver
from tests.mail_server import run_mail_server
from tests.outbound.test_providers import Service
from tests.receiver import run_receiver
from tests.workers.jobs.test_exports import read_lines
from tests.workers.jobs.test_imports import run_to_end
from workers.stages.send import run_channel

FIELD_TYPES = frozenset(
    """
customer.confirmed customer.created customer.updated customer.deleted customer.referred customer.custom_event
customer.segment.entered customer.segment.left
customer.sms.sent customer.sms.failed customer.email.sent customer.email.failed
customer.activecampaign.sent customer.activecampaign.failed customer.braze.sent customer.braze.failed
customer.mailchimp.sent customer.mailchimp.failed customer.intercom.sent customer.intercom.failed
customer.rewarded customer.rewarded.loyalty_points
customer.voucher.gift.balance_added customer.voucher.loyalty_card.points_added
customer.voucher.loyalty_card.points_transferred
customer.publication.succeeded customer.publication.failed
customer.redemption.succeeded customer.redemption.failed
customer.redemption.rollback.succeeded customer.redemption.rollback.failed
customer.consents.given customer.consents.revoked
customer.loyalty.updated customer.loyalty.tier.joined customer.loyalty.tier.left customer.loyalty.tier.upgraded
customer.loyalty.tier.downgraded customer.loyalty.tier.prolonged
""".split()
)
"""The 39 types of activities that the field has."""
VALIDATOR = Draft202012Validator(payload_schema.strict(payload_schema.schema()))


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """Create a workspace whose endpoints and channels may lie on this machine."""
    settings = replace(resources.settings, egress_allow=("127.0.0.1",), public_url="https://loyalty.test")
    return await open_business(replace(resources, settings=settings), clock)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """Run a server that accepts every message."""
    answer = {"success": 1, "message": "success", "id": "m1", "data": [{"id": "c9", "role": "user"}]}
    running = Service(answer=lambda _: (200, answer))
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    yield running
    server.close()


async def test_each_type_of_the_field_is_seen_in_the_feed_by_webhook_and_by_export(
    business: Business, clock: FixedClock, service: Service
) -> None:
    assert len(FIELD_TYPES) == 39
    await reach_tiers(business, clock)
    ann, bob, _ = await business.create_passes("ann", "bob", "eve")
    await update_pass(business.ctx, ann.id, holder={"email": "ann@home.test", "phone": "+41791234567"})
    await join(business, ann, bob)
    await earn_and_redeem(business, clock, ann, bob)
    await send_messages(business, service, ann)
    await business.run_worker()
    listed = {activity.type for activity in await business.read_log()}
    assert FIELD_TYPES - listed - {"customer.deleted"} == set()
    async with run_receiver() as receiver:
        endpoint, _ = await create_webhook_endpoint(
            business.ctx, receiver.url, filter=ActivityQuery(include_silent=True), after=0
        )
        # The erasure empties the data of eve only, after the webhook has seen it.
        await deliver(business, endpoint.id)
        await erase_pass(business.ctx, external_id="eve")
        await business.run_worker()
        await deliver(business, endpoint.id)
    bodies = [json.loads(request.body) for request in receiver.accepted]
    faults = [f"{body['type']}: {error.message}" for body in bodies for error in VALIDATOR.iter_errors(body)]
    assert faults == []
    job = await run_to_end(business, await export_activities(business.ctx, ActivityQuery(), ExportFormat.JSONL))
    exported = {line["type"] for line in await read_lines(business, job)}
    for seen in ({each.type for each in await business.read_log()}, {body["type"] for body in bodies}, exported):
        assert FIELD_TYPES - seen == set()
    check_snapshots(bodies, ann)


def check_snapshots(bodies: list[dict[str, Any]], ann: Pass) -> None:
    """Assert that the data shows customer, campaign, voucher and publication, as the objects of the field do."""
    last = {body["type"]: body["data"] for body in bodies if body["passId"] == ann.id}
    assert all("customer" in data for kind, data in last.items() if kind != "customer.deleted")
    assert last["customer.custom_event"]["customer"]["holder"]["email"] == "ann@home.test"
    assert last["customer.rewarded"]["redemption"]["rewardKey"] == "tea"
    assert last["customer.rewarded"]["campaign"]["kind"] == "RULE"
    assert last["customer.rewarded.loyalty_points"]["campaign"]["key"] == "welcome"
    assert last["customer.rewarded.loyalty_points"]["voucher"]["points"] == "300"
    assert last["customer.publication.succeeded"]["publication"]["result"] == "SUCCESS"
    assert last["customer.publication.succeeded"]["publication"]["code"].startswith("COFFEE-")
    assert last["customer.publication.failed"]["publication"]["failureCode"] == "INSUFFICIENT_POINTS"
    assert last["customer.email.sent"]["message"]["channel"] == "email-smtp"
    assert last["customer.consents.revoked"]["consent"]["given"] is False


async def reach_tiers(business: Business, clock: FixedClock) -> None:
    """Let a customer join, be upgraded, prolonged and downgraded, and leave; and enter and leave a segment."""
    tiers = [{"key": f"t{n}", "name": f"Tier {n}", "reach": bought(n)} for n in (1, 2)]
    await set_tier_program(business.ctx, {"tiers": tiers, "period": {"days": 4}})
    await business.create_segment("recent", bought_within(3), notify="EMIT")
    for name in ("a", "b"):
        await business.record({"pass_external_id": "tom", "external_id": f"tom-{name}", "amount": 10})
        await business.run_worker()
    for _ in range(6):
        clock.set(await clock.now() + timedelta(days=4))
        await business.run_worker()


async def join(business: Business, ann: Pass, bob: Pass) -> None:
    """Confirm a pass, record a referral, and fill a gift card."""
    ctx = business.ctx
    await confirm_pass(ctx, ann.id)
    await record_referral(ctx, ann.id, bob.id)
    await create_passes(ctx, [PassInput("card", kind=GIFT_CARD, currency="EUR")])
    await business.record({
        "type": "gift_balance_added", "amount": "50", "currency": "EUR", "pass_external_id": "card", "external_id": "g",
    })  # fmt: skip
    await business.run_worker()


async def earn_and_redeem(business: Business, clock: FixedClock, ann: Pass, bob: Pass) -> None:
    """Earn points and a reward by a rule, redeem, roll back, and transfer points."""
    ctx = business.ctx
    await create_reward(
        ctx, {"key": "coffee", "name": "Coffee", "pointsCost": 100, "code": {"pattern": "COFFEE-######"}}
    )
    await create_reward(ctx, {"key": "tea", "name": "Tea"})
    effects = [{"awardPoints": {"points": 300}}, {"issueReward": {"rewardKey": "tea"}}]
    trigger = {"event": {"types": ["pass_installed"]}}
    await create_rule(ctx, {"key": "welcome", "name": "Welcome", "trigger": trigger, "effects": effects})
    clock.set(await clock.now() + timedelta(seconds=1))
    await business.record({"type": "pass_installed", "external_id": "install"}, {"external_id": "purchase"})
    await business.run_worker()
    redeemed = [await redeem(business, "ann"), await redeem(business, "bob"), await redeem(business, "ann")]
    for redemption in redeemed[:2]:
        await rollback_redemption(ctx, redemption, max_seconds=0)
        await business.run_worker()
    await transfer_points(ctx, ann.id, bob.id, 150)
    await business.run_worker()
    await redeem(business, "ann")


async def redeem(business: Business, name: str) -> str:
    """Redeem a coffee, and return the id of the redemption after it is decided."""
    found = await redeem_reward(business.ctx, RedemptionInput("coffee", pass_external_id=name), wait_seconds=0)
    await business.run_worker()
    assert found.redemption.id is not None
    return found.redemption.id


async def send_messages(business: Business, service: Service, ann: Pass) -> None:
    """Send a message by each route, first without the consent and then with it."""
    url = {"url": service.url}
    async with run_mail_server() as mail:
        sms: Mapping[str, object] = {**url, "authentication": "BEARER"}
        smtp = {"host": "127.0.0.1", "port": mail.port, "security": "NONE", "from": "shop@shop.test"}
        routes: list[tuple[str, str, Mapping[str, object]]] = [
            ("EMAIL", "SMTP", smtp), ("SMS", "HTTP", sms), ("EMAIL", "BRAZE", {**url, "campaignId": "c"}),
            ("EMAIL", "MAILCHIMP", {**url, "listId": "l"}), ("EMAIL", "INTERCOM", {**url, "adminId": "1"}),
            ("EMAIL", "ACTIVECAMPAIGN", {**url, "actid": "1"}),
        ]  # fmt: skip
        channels = [await open_channel(business, *route) for route in routes]
        for given in (False, True):
            await record_consent(business.ctx, pass_id=ann.id, external_id=None, channel_key="email-smtp", given=given)
            await business.run_worker()
            for channel_id, key in channels:
                content: dict[str, object] = {"channelKey": key, "template": "Hello", "subject": "Hi"}
                if not key.startswith("email"):
                    del content["subject"]
                await send_message(business.ctx, content, pass_id=ann.id, external_id=None, idempotency_key=None)
                await run_channel(business.worker, channel_id, chance=lambda: 0.0)
                await business.run_worker()


async def open_channel(business: Business, kind: str, provider: str, settings: Mapping[str, object]) -> tuple[str, str]:
    """Create a channel that needs a consent, and return its id and key."""
    key = f"{kind}-{provider}".lower()
    sent = {
        "key": key, "name": key, "kind": kind, "provider": provider, "settings": dict(settings), "consentKey": "marketing",
        **({} if provider == "SMTP" else {"secret": "secret-1"}),
    }  # fmt: skip
    channel, _ = await create_channel(business.ctx, sent)
    return channel.id, key
