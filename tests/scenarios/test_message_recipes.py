"""The recipes of docs/howto/send-messages.md: a mail server gets what the page says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.clock import FixedClock, system_ms
from app.domain.ids import channel_id
from app.resources import Resources
from tests.business import Business, open_business
from tests.graphql.serving import Api, run_api
from tests.mail_server import MailServer, run_mail_server
from tests.messaging import HOUR
from workers.main import STAGES
from workers.stages.react import run_workspace
from workers.stages.send import run_channel

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "send-messages.md"
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE.read_text(), re.M | re.S)
}
WEDNESDAY = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    """Run a local mail server."""
    async with run_mail_server() as server:
        yield server


@pytest.fixture
async def api(resources: Resources, clock: FixedClock, mail: MailServer) -> AsyncIterator[Api]:
    """Run the API of a business on a Wednesday, with the channels of the page, which lead to the local mail server."""
    clock.set(WEDNESDAY)
    settings = replace(resources.settings, egress_allow=("127.0.0.1",), public_url="https://loyalty.test")
    business = await open_business(replace(resources, settings=settings), clock)
    async with run_api(business) as running:
        for name in ("CreateMailChannel", "CreateServiceChannel"):
            local = f'host: "127.0.0.1", port: {mail.port}, security: "NONE"'
            text = OPERATIONS[name].replace('host: "smtp.example.com", username: "shop"', local)
            text = text.replace('host: "smtp.example.com"', local)
            assert next(iter((await running.fetch_data(text)).values()))["userErrors"] == []
        await run(running, "CreateCustomer")
        yield running


async def run(api: Api, name: str, **variables: Any) -> Any:
    """Run an operation of the page, then the stages. Time goes on by a second. Return what the first field answers."""
    answer = next(iter((await api.fetch_data(OPERATIONS[name], **variables)).values()))
    assert answer.get("userErrors", []) == []
    await go_on(api.business, timedelta(seconds=1))
    return answer


async def go_on(business: Business, duration: timedelta) -> None:
    """Run all stages, send what is queued, and move the clock."""
    workspace = business.ctx.workspace.id
    await business.run_worker()
    await run_workspace(business.worker, workspace, now_ms=lambda: system_ms() + HOUR)
    for key in ("newsletter", "service"):
        await run_channel(business.worker, channel_id(workspace, key), now_ms=lambda: system_ms() + HOUR)
    await business.run_worker()
    business.clock.set(await business.clock.now() + duration)


async def test_welcome_mail_arrives_after_the_consent(api: Api, mail: MailServer) -> None:
    await run(api, "WelcomeMail")
    await run(api, "GiveConsent")
    await run(api, "Register")
    [welcome] = mail.mails
    assert (welcome.recipients, welcome.message["Subject"]) == (["ann@example.com"], "Welcome, Ann")
    assert welcome.text().startswith("Good to have you. You registered on 2026-03-04.")
    assert "https://loyalty.test/unsubscribe/" in welcome.text()
    assert welcome.text("html") == "<h1>Welcome</h1><p>Good to have you, Ann.</p>\n"
    [message] = (await run(api, "Messages"))["nodes"]
    assert (message["status"], message["origin"], message["ruleKey"]) == ("SENT", "RULE", "welcome-mail")
    types = {each.type for each in await api.business.read_log()}
    assert {"customer.email.sent", "customer.consents.given"} <= types


async def test_welcome_mail_without_the_consent_is_suppressed(api: Api, mail: MailServer) -> None:
    await run(api, "WelcomeMail")
    await run(api, "Register")
    [message] = (await run(api, "Messages"))["nodes"]
    assert (message["status"], message["reason"], mail.mails) == ("SUPPRESSED", "NO_CONSENT", [])


async def test_win_back_leaves_a_control_group_and_counts_who_came_back(api: Api, mail: MailServer) -> None:
    """WH1-19: a segment of those who stay away, a message to them, and who returns."""
    segment = (await run(api, "SleepingCustomers"))["segment"]["id"]
    rule = (await run(api, "WinBack", segmentId=segment))["rule"]["id"]
    names = [f"c{number}" for number in range(30)]
    for name in names:
        created = OPERATIONS["CreateCustomer"].replace('"ann"', f'"{name}"').replace("ann@", f"{name}@")
        await api.fetch_data(created)
        await api.fetch_data(OPERATIONS["GiveConsent"].replace('"ann"', f'"{name}"'))
    await api.business.record(*({"pass_external_id": name, "amount": 1} for name in names))
    await go_on(api.business, timedelta(days=60, hours=1))
    await go_on(api.business, timedelta(days=1))
    reached = {mail.recipients[0].partition("@")[0] for mail in mail.mails}
    assert 20 <= len(reached) < 30
    await api.business.record(*({"pass_external_id": name, "amount": 1} for name in sorted(reached)[:5]))
    await go_on(api.business, timedelta(days=1))
    found = (await run(api, "WonBack", ruleId=rule))["statistics"]
    assert found["fired"] == 30
    treated = found["conversion"]["treated"]
    assert (treated["passes"], treated["converted"]) == (len(reached), 5)
    assert found["conversion"]["control"]["passes"] == 30 - len(reached)


async def test_broadcast_and_single_message_arrive(api: Api, mail: MailServer) -> None:
    await run(api, "GiveConsent")
    await api.business.record({"amount": 1, "pass_external_id": "ann"})
    segment = (await run(api, "SleepingCustomers"))["segment"]["id"]
    await go_on(api.business, timedelta(days=60))
    await go_on(api.business, timedelta(seconds=1))
    job = (await run(api, "SummerSale", segmentId=segment))["job"]
    again = (await run(api, "SummerSale", segmentId=segment))["job"]
    assert job["id"] == again["id"]
    [stored] = (await api.fetch_data("{ jobs { nodes { id kind } } }"))["jobs"]["nodes"]
    assert stored["kind"] == "BROADCAST"
    doc = await api.business.ctx.resources.db["jobs"].find_one({})
    assert doc is not None
    await STAGES["jobs"](api.business.worker, doc["_id"])
    await run(api, "Receipt")
    await run(api, "Receipt")
    assert sorted(str(each.message["Subject"]) for each in mail.mails) == ["Summer sale", "Your receipt"]


async def test_failed_messages_go_out_again(api: Api, mail: MailServer) -> None:
    await run(api, "WelcomeMail")
    await run(api, "GiveConsent")
    mail.answer_recipient = lambda _: "550 unknown"
    await run(api, "Register")
    assert mail.mails == []
    mail.answer_recipient = lambda _: "250 OK"
    assert (await run(api, "RetryFailed"))["count"] == 1
    assert len(mail.mails) == 1
