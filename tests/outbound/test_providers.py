"""Messages over HTTP: what arrives at a URL, Braze, Mailchimp, Intercom and ActiveCampaign, and what their answers mean."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import md5
from typing import Any
from urllib.parse import parse_qs

import pytest

from app.clock import system_ms
from app.domain.messages.channels import Channel, ChannelKind, Provider
from app.domain.messages.rendering import Rendered
from app.domain.signatures import Verification, verify_signature
from app.outbound.addresses import Allowed
from app.outbound.message_sender import open_sender
from app.outbound.sending import SendOutcome, SendResult

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
LOCAL = Allowed.parse(["127.0.0.1"])
MESSAGE = Rendered(
    "msg_1", "Ann@Home.test", external_id="ann-7", text="Hello Ann", sent_for=AT, subject="Hi",
    html="<p>Hello</p>", names={"channel": "mail", "kind": "email", "rule": "welcome"},
)  # fmt: skip
PROPERTIES = {
    "message_id": "msg_1", "subject": "Hi", "text": "Hello Ann", "html": "<p>Hello</p>", "channel": "mail",
    "kind": "email", "rule": "welcome",
}  # fmt: skip


@dataclass(frozen=True)
class Got:
    """One request: its path, its headers by lower-case name, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed as JSON."""
        return json.loads(self.body)


@dataclass
class Service:
    """A server that stores each request and answers with a status and a body."""

    port: int = 0
    requests: list[Got] = field(default_factory=list)
    answer: Callable[[Got], tuple[int, object]] = lambda _: (200, {})

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                got = Got(first.split(" ")[1], headers, await reader.readexactly(int(headers["content-length"])))
                self.requests.append(got)
                status, content = self.answer(got)
                body = json.dumps(content).encode()
                head = f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
        writer.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """Run a server on a free port."""
    running = Service()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    yield running
    server.close()


async def send(
    provider: Provider, secret: str, kind: ChannelKind = ChannelKind.EMAIL, **settings: object
) -> SendResult:
    """Send the message over a channel with these settings."""
    channel = Channel(
        id="chan_1", workspace_id="ws_1", key="mail", name="The shop", kind=kind, provider=provider,
        created_at=AT, updated_at=AT, settings=settings,
    )  # fmt: skip
    async with open_sender(channel, secret, LOCAL) as sender:
        return await sender.send(MESSAGE, system_ms, 5)


async def test_url_gets_the_message_as_signed_json(service: Service) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    result = await send(Provider.HTTP, secret, url=f"{service.url}/sms?from=punchcard", authentication="SIGNATURE")
    assert (result.outcome, result.attempt.status_code) == (SendOutcome.ACCEPTED, 200)
    [got] = service.requests
    assert got.path == "/sms?from=punchcard"
    assert got.json == {
        "id": "msg_1", "timestamp": "2026-07-01T12:00:00.000Z", "channel": "mail", "kind": "EMAIL",
        "to": "Ann@Home.test", "passExternalId": "ann-7", "subject": "Hi", "text": "Hello Ann",
        "html": "<p>Hello</p>", "unsubscribeUrl": None,
    }  # fmt: skip
    assert (got.headers["webhook-id"], got.headers["idempotency-key"]) == ("msg_1", "msg_1")
    assert verify_signature(Verification(), [secret], got.headers, got.body) is not None


async def test_url_gets_a_bearer_token_if_the_channel_says_so(service: Service) -> None:
    await send(Provider.HTTP, "token-1", url=service.url, authentication="BEARER")
    [got] = service.requests
    assert got.headers["authorization"] == "Bearer token-1"
    assert "webhook-signature" not in got.headers


async def test_braze_triggers_a_campaign_for_the_external_id(service: Service) -> None:
    service.answer = lambda _: (201, {"dispatch_id": "d1", "message": "success"})
    result = await send(Provider.BRAZE, "key-1", url=f"{service.url}/", campaignId="c-1")
    assert result.outcome is SendOutcome.ACCEPTED
    [got] = service.requests
    assert (got.path, got.headers["authorization"]) == ("/campaigns/trigger/send", "Bearer key-1")
    recipient = {"external_user_id": "ann-7", "trigger_properties": PROPERTIES}
    assert got.json == {"campaign_id": "c-1", "recipients": [recipient]}


async def test_braze_that_accepts_with_errors_refuses_the_message(service: Service) -> None:
    service.answer = lambda _: (201, {"message": "success", "errors": ["unknown user"]})
    result = await send(Provider.BRAZE, "key-1", url=service.url, campaignId="c-1")
    assert result.outcome is SendOutcome.REFUSED
    assert "unknown user" in str(result.attempt.error)


async def test_mailchimp_gets_an_event_of_the_list_member(service: Service) -> None:
    service.answer = lambda _: (204, "")
    result = await send(Provider.MAILCHIMP, "abc-us21", url=service.url, listId="l 1", event="hello")
    assert result.outcome is SendOutcome.ACCEPTED
    [got] = service.requests
    assert got.path == f"/3.0/lists/l%201/members/{md5(b'ann@home.test').hexdigest()}/events"
    assert b64decode(got.headers["authorization"].removeprefix("Basic ")) == b"punchcard:abc-us21"
    assert got.json == {"name": "hello", "properties": PROPERTIES}


async def test_mailchimp_without_the_member_refuses_the_message(service: Service) -> None:
    service.answer = lambda _: (404, {"title": "Resource Not Found"})
    result = await send(Provider.MAILCHIMP, "abc-us21", url=service.url, listId="l1", event="hello")
    assert (result.outcome, result.attempt.status_code) == (SendOutcome.REFUSED, 404)


async def test_intercom_finds_the_contact_and_gets_a_message_of_the_admin(service: Service) -> None:
    def answer(got: Got) -> tuple[int, object]:
        return (200, {"data": [{"id": "c9", "role": "lead"}]}) if "search" in got.path else (200, {"id": "m1"})

    service.answer = answer
    result = await send(Provider.INTERCOM, "token", url=service.url, adminId="394051")
    assert result.outcome is SendOutcome.ACCEPTED
    search, message = service.requests
    assert search.json["query"] == {"field": "email", "operator": "=", "value": "Ann@Home.test"}
    assert (message.path, message.headers["authorization"]) == ("/messages", "Bearer token")
    assert message.json == {
        "message_type": "email", "subject": "Hi", "template": "plain", "body": "<p>Hello</p>",
        "from": {"type": "admin", "id": "394051"}, "to": {"type": "lead", "id": "c9"},
    }  # fmt: skip


async def test_intercom_shows_a_push_message_in_the_app(service: Service) -> None:
    service.answer = lambda got: (200, {"data": [{"id": "c9", "role": "user"}]})
    await send(Provider.INTERCOM, "token", ChannelKind.PUSH, url=service.url, adminId="394051")
    assert service.requests[1].json["message_type"] == "inapp"
    assert "subject" not in service.requests[1].json


async def test_intercom_without_the_contact_refuses_the_message(service: Service) -> None:
    service.answer = lambda _: (200, {"data": []})
    result = await send(Provider.INTERCOM, "token", url=service.url, adminId="394051")
    assert (result.outcome, len(service.requests)) == (SendOutcome.REFUSED, 1)


async def test_activecampaign_gets_an_event_of_the_contact(service: Service) -> None:
    service.answer = lambda _: (200, {"success": 1, "message": "Event spawned"})
    result = await send(Provider.ACTIVECAMPAIGN, "key-1", url=service.url, actid="42", event="hello")
    assert result.outcome is SendOutcome.ACCEPTED
    [got] = service.requests
    assert (got.path, got.headers["content-type"]) == ("/event", "application/x-www-form-urlencoded")
    form = {name: values[0] for name, values in parse_qs(got.body.decode()).items()}
    assert (form["actid"], form["key"], form["event"]) == ("42", "key-1", "hello")
    assert json.loads(form["visit"]) == {"email": "Ann@Home.test"}
    assert json.loads(form["eventdata"]) == PROPERTIES


async def test_activecampaign_that_answers_200_without_success_refuses_the_message(service: Service) -> None:
    service.answer = lambda _: (200, {"success": 0, "message": "No contact"})
    result = await send(Provider.ACTIVECAMPAIGN, "key-1", url=service.url, actid="42", event="hello")
    assert result.outcome is SendOutcome.REFUSED


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (202, SendOutcome.ACCEPTED),
        (302, SendOutcome.FAILED),
        (400, SendOutcome.REFUSED),
        (401, SendOutcome.FAILED),
        (404, SendOutcome.REFUSED),
        (422, SendOutcome.REFUSED),
        (429, SendOutcome.FAILED),
        (503, SendOutcome.FAILED),
    ],
)
async def test_status_says_whether_a_repeat_makes_sense(service: Service, status: int, outcome: SendOutcome) -> None:
    service.answer = lambda _: (status, {})
    result = await send(Provider.HTTP, "t", url=service.url, authentication="BEARER")
    assert result.outcome is outcome


async def test_port_without_a_server_is_a_failure(service: Service) -> None:
    result = await send(Provider.HTTP, "t", url="http://127.0.0.1:1", authentication="BEARER")
    assert (result.outcome, result.attempt.status_code) == (SendOutcome.FAILED, None)
