"""E-mail by SMTP: what a mail looks like, connections, TLS and logins, and addresses that are not allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.clock import system_ms
from app.domain.messages.channels import Channel, ChannelKind, Provider
from app.domain.messages.rendering import Rendered
from app.outbound.addresses import Allowed
from app.outbound.http_client import UNREACHABLE
from app.outbound.sending import SendOutcome
from app.outbound.smtp import compose, open_smtp
from tests.certificates import server_tls, trusting_tls
from tests.mail_server import MailServer, run_mail_server

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
LOCAL = Allowed.parse(["127.0.0.1"])
MAIL = Rendered("msg_1", "ann@home.test", external_id="ann", text="Hello Ann", sent_for=AT, subject="Hi")


def channel_to(port: int, **settings: object) -> Channel:
    """Return a channel to a local mail server."""
    sent = {"host": "127.0.0.1", "port": port, "security": "NONE", "from": "shop@shop.test", **settings}
    return Channel(
        id="chan_1", workspace_id="ws_1", key="mail", name="The shop", kind=ChannelKind.EMAIL, provider=Provider.SMTP,
        created_at=AT, updated_at=AT, settings=sent,
    )  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    """Run a local mail server."""
    async with run_mail_server() as running:
        yield running


async def test_mail_has_text_html_and_headers(server: MailServer) -> None:
    channel = channel_to(server.port, fromName="Café Ann", replyTo="help@shop.test")
    mail = replace(MAIL, html="<p>Hello</p>", unsubscribe_url="https://x.test/unsubscribe/abc")
    async with open_smtp(channel, None, LOCAL) as sender:
        result = await sender.send(mail, system_ms, 5)
    assert (result.outcome, result.attempt.status_code, result.attempt.error) == (SendOutcome.ACCEPTED, 250, None)
    [got] = server.mails
    assert (got.text(), got.text("html")) == ("Hello Ann\n", "<p>Hello</p>\n")
    headers = {name: str(got.message[name]) for name in ("From", "To", "Reply-To", "Subject", "Message-ID", "Date")}
    assert headers == {
        "From": "Café Ann <shop@shop.test>",
        "To": "ann@home.test",
        "Reply-To": "help@shop.test",
        "Subject": "Hi",
        "Message-ID": "<msg_1@shop.test>",
        "Date": "Wed, 01 Jul 2026 12:00:00 +0000",
    }
    assert got.message["List-Unsubscribe"] == "<https://x.test/unsubscribe/abc>"
    assert got.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert got.message["Auto-Submitted"] == "auto-generated"


async def test_letters_beyond_ascii_arrive_and_travel_as_ascii(server: MailServer) -> None:
    mail = replace(MAIL, subject="Grüße ☕", text="Schöne Grüße " * 200, html="<p>Größe 漢字</p>")
    async with open_smtp(channel_to(server.port, fromName="Café"), None, LOCAL) as sender:
        assert (await sender.send(mail, system_ms, 5)).outcome is SendOutcome.ACCEPTED
    [got] = server.mails
    assert got.raw.isascii()
    assert max(map(len, got.raw.split(b"\r\n"))) <= 998
    assert (got.message["Subject"], got.text("html")) == ("Grüße ☕", "<p>Größe 漢字</p>\n")
    assert got.text().strip() == ("Schöne Grüße " * 200).strip()


def test_equal_messages_give_equal_mails() -> None:
    mail = replace(MAIL, html="<p>Hello</p>")
    assert compose(channel_to(25), mail) == compose(channel_to(25), mail)


async def test_mails_share_a_connection(server: MailServer) -> None:
    async with open_smtp(channel_to(server.port), None, LOCAL) as sender:
        for number in range(5):
            await sender.send(replace(MAIL, message_id=f"msg_{number}"), system_ms, 5)
    assert (len(server.mails), server.connections) == (5, 1)


async def test_connection_that_the_server_closed_is_replaced(server: MailServer) -> None:
    async with open_smtp(channel_to(server.port), None, LOCAL) as sender:
        await sender.send(MAIL, system_ms, 5)
        server.abort()
        result = await sender.send(replace(MAIL, message_id="msg_2"), system_ms, 5)
    assert (result.outcome, len(server.mails), server.connections) == (SendOutcome.ACCEPTED, 2, 2)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("550 no such user", SendOutcome.REFUSED),
        ("452 full", SendOutcome.FAILED),
        ("421 closing", SendOutcome.FAILED),
    ],
)
async def test_answer_to_a_recipient_decides_the_outcome(server: MailServer, answer: str, outcome: SendOutcome) -> None:
    server.answer_recipient = lambda _: answer
    async with open_smtp(channel_to(server.port), None, LOCAL) as sender:
        result = await sender.send(MAIL, system_ms, 5)
    assert (result.outcome, result.attempt.status_code) == (outcome, int(answer[:3]))


@pytest.mark.parametrize(
    ("answer", "outcome"), [("554 spam", SendOutcome.REFUSED), ("451 try later", SendOutcome.FAILED)]
)
async def test_answer_to_the_content_decides_the_outcome(server: MailServer, answer: str, outcome: SendOutcome) -> None:
    server.answer_data = lambda _: answer
    async with open_smtp(channel_to(server.port), None, LOCAL) as sender:
        result = await sender.send(MAIL, system_ms, 5)
    assert result.outcome is outcome


@pytest.mark.parametrize("stage", ["recipient", "data"])
async def test_server_that_stalls_is_left_at_the_time_limit(server: MailServer, stage: str) -> None:
    setattr(server, f"answer_{stage}", lambda _: None)
    async with open_smtp(channel_to(server.port), None, LOCAL) as sender:
        result = await sender.send(MAIL, system_ms, 0.3)
    assert (result.outcome, result.attempt.status_code) == (SendOutcome.FAILED, None)
    assert result.attempt.error == "The server did not answer within 0.3 s."


async def test_port_without_a_server_is_a_failure() -> None:
    async with run_mail_server() as gone:
        port = gone.port
    async with open_smtp(channel_to(port), None, LOCAL) as sender:
        result = await sender.send(MAIL, system_ms, 5)
    assert result.outcome is SendOutcome.FAILED


async def test_host_that_is_not_allowed_gets_no_connection(server: MailServer) -> None:
    async with open_smtp(channel_to(server.port), None, Allowed()) as sender:
        result = await sender.send(MAIL, system_ms, 5)
    assert (result.outcome, result.attempt.error, server.connections) == (
        SendOutcome.FAILED, UNREACHABLE[:200], 0,
    )  # fmt: skip


@pytest.mark.parametrize("address", ["ann@home.test\r\nRCPT TO:<eve@evil.test>", "jösé@home.test", "a b@home.test"])
async def test_address_that_no_header_can_hold_is_refused_without_a_connection(
    server: MailServer, address: str
) -> None:
    async with open_smtp(channel_to(server.port), None, LOCAL) as sender:
        result = await sender.send(replace(MAIL, address=address), system_ms, 5)
    assert (result.outcome, server.connections) == (SendOutcome.REFUSED, 0)


async def test_domain_with_umlauts_is_sent_in_ascii(server: MailServer) -> None:
    async with open_smtp(channel_to(server.port), None, LOCAL) as sender:
        result = await sender.send(replace(MAIL, address="ann@bücher.test"), system_ms, 5)
    assert result.outcome is SendOutcome.ACCEPTED
    assert server.mails[0].recipients == ["ann@xn--bcher-kva.test"]


async def test_password_is_sent_over_tls() -> None:
    async with run_mail_server(tls=server_tls(), password="hunter2") as server:
        channel = channel_to(server.port, security="STARTTLS", username="shop")
        async with open_smtp(channel, "hunter2", LOCAL, trusting_tls()) as sender:
            assert (await sender.send(MAIL, system_ms, 5)).outcome is SendOutcome.ACCEPTED
        assert server.mails[0].user == "shop"
        async with open_smtp(channel, "wrong", LOCAL, trusting_tls()) as sender:
            result = await sender.send(MAIL, system_ms, 5)
        assert (result.outcome, len(server.mails)) == (SendOutcome.FAILED, 1)


async def test_certificate_that_is_not_trusted_is_a_failure() -> None:
    async with run_mail_server(tls=server_tls()) as server:
        async with open_smtp(channel_to(server.port, security="STARTTLS"), None, LOCAL) as sender:
            result = await sender.send(MAIL, system_ms, 5)
        assert (result.outcome, server.mails) == (SendOutcome.FAILED, [])


async def test_server_without_tls_gets_nothing_from_a_channel_that_requires_it(server: MailServer) -> None:
    async with open_smtp(channel_to(server.port, security="STARTTLS"), None, LOCAL) as sender:
        result = await sender.send(MAIL, system_ms, 5)
    assert (result.outcome, server.mails) == (SendOutcome.FAILED, [])
