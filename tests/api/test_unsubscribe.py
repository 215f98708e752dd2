"""Links in mails by which customers take a consent back: one click, signed, and safe to read."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.clock import FixedClock
from app.commands.messages.channels import update_channel
from app.commands.messages.consents import record_consent
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.domain.passes.passes import Pass
from app.resources import Resources
from tests.graphql.serving import Api, run_api
from tests.messaging import Harness, open_harness


@pytest.fixture
async def harness(resources: Resources, clock: FixedClock) -> AsyncIterator[Harness]:
    """Open a business with a channel that needs a consent."""
    async with open_harness(resources, clock) as opened:
        await update_channel(opened.business.ctx, opened.channel.id, {"consentKey": "marketing", "name": "A <b> & co"})
        yield opened


@pytest.fixture
async def api(harness: Harness) -> AsyncIterator[Api]:
    """Run the API of the business."""
    async with run_api(harness.business) as running:
        yield running


async def send_mail(harness: Harness, api: Api) -> tuple[Pass, str]:
    """Send a mail to a customer who gave the consent, and return the pass and the link of the mail at this API."""
    card = await harness.customer()
    await record_consent(harness.business.ctx, pass_id=card.id, external_id=None, channel_key="mail", given=True)
    await harness.queue(card, template="{{ unsubscribeUrl }}")
    await harness.send()
    mail = harness.mail.mails[-1]
    link = str(mail.message["List-Unsubscribe"])[1:-1]
    assert mail.text() == f"{link}\n"
    return card, link.replace("https://loyalty.test/punchcard", api.url.removesuffix("/graphql"))


async def is_given(harness: Harness) -> bool:
    await harness.business.run_worker()
    return (await harness.business.read_pass()).profile.consents["marketing"].given


async def test_one_click_takes_the_consent_back(harness: Harness, api: Api) -> None:
    _, link = await send_mail(harness, api)
    answer = await api.http.post(link, data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    assert not await is_given(harness)
    consent = (await harness.business.read_pass()).profile.consents["marketing"]
    assert consent.how == "one-click unsubscribe"
    assert [each.type for each in await harness.business.read_log() if "consents" in each.type] == [
        "customer.consents.given",
        "customer.consents.revoked",
    ]


async def test_reading_the_page_changes_nothing(harness: Harness, api: Api) -> None:
    _, link = await send_mail(harness, api)
    page = await api.http.get(link)
    assert page.status_code == 200
    assert "A &lt;b&gt; &amp; co" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert await is_given(harness)


async def test_second_click_records_no_second_event(harness: Harness, api: Api) -> None:
    _, link = await send_mail(harness, api)
    for _ in range(3):
        assert (await api.http.post(link)).status_code == 200
    assert not await is_given(harness)
    assert len([each for each in await harness.business.read_log() if each.type == "customer.consents.revoked"]) == 1


async def test_link_that_was_changed_does_nothing(harness: Harness, api: Api) -> None:
    _, link = await send_mail(harness, api)
    base, _, token = link.rpartition("/")
    for changed in (token[:-2] + "xx", token[1:], "x" * 600, "é", "AAAA"):
        answer = await api.http.post(f"{base}/{changed}")
        assert (answer.status_code, "not valid" in answer.text) == (404, True)
    assert await is_given(harness)


async def test_link_of_a_merged_pass_works_for_the_one_that_answers(harness: Harness, api: Api) -> None:
    card, link = await send_mail(harness, api)
    survivor = await harness.customer("bob")
    await merge_passes(harness.business.ctx, survivor.id, card.id)
    await harness.business.run_worker()
    assert (await api.http.post(link)).status_code == 200
    await harness.business.run_worker()
    assert not (await harness.business.read_pass("bob")).profile.consents["marketing"].given


async def test_link_of_an_erased_pass_is_not_valid(harness: Harness, api: Api) -> None:
    card, link = await send_mail(harness, api)
    await erase_pass(harness.business.ctx, pass_id=card.id)
    await harness.business.run_worker()
    assert (await api.http.post(link)).status_code == 404
