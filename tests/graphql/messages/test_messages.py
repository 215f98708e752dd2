"""Channels, consents and messages by GraphQL: what answers, what is refused, and what nobody sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.clock import FixedClock
from app.resources import Resources
from tests.business import open_business
from tests.graphql.serving import Api, list_codes, run_api
from tests.mail_server import MailServer, run_mail_server

ERRORS = "userErrors { code field message }"
CHANNEL = """id key name kind provider consentKey frequencyCap { count within { days } calendar }
  quietHours { from to timezone } archived hasSecret settings awaySince"""
CREATE = (
    f"mutation ($i: CreateChannelInput!) {{ createChannel(input: $i) {{ channel {{ {CHANNEL} }} secret {ERRORS} }} }}"
)
UPDATE = f"mutation ($i: UpdateChannelInput!) {{ updateChannel(input: $i) {{ channel {{ {CHANNEL} }} {ERRORS} }} }}"
ARCHIVE = f"mutation ($i: ArchiveChannelInput!) {{ archiveChannel(input: $i) {{ channel {{ archived }} {ERRORS} }} }}"
MESSAGE = "id status reason error origin validUntil nextAttemptAt sentAt attempts { statusCode error }"
TEST = f"mutation ($i: TestChannelInput!) {{ testChannel(input: $i) {{ message {{ {MESSAGE} }} {ERRORS} }} }}"
CONSENT = f"""mutation ($i: RecordConsentInput!) {{ recordConsent(input: $i) {{
  event {{ id type metadata }} receipt {{ token }} {ERRORS} }} }}"""
SEND = f"""mutation ($i: SendOneMessageInput!) {{ sendMessage(input: $i) {{
  message {{ {MESSAGE} channel {{ key }} pass {{ externalId }} job {{ id }} }} {ERRORS} }} }}"""
RETRY = f"mutation ($i: RetryMessagesInput!) {{ retryMessages(input: $i) {{ count {ERRORS} }} }}"
BROADCAST = f"mutation ($i: BroadcastMessageInput!) {{ broadcastMessage(input: $i) {{ job {{ id }} {ERRORS} }} }}"
SMTP = {"key": "mail", "name": "Mail", "kind": "EMAIL", "provider": "SMTP"}


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    """Run a local mail server."""
    async with run_mail_server() as server:
        yield server


@pytest.fixture
async def api(resources: Resources, clock: FixedClock) -> AsyncIterator[Api]:
    """Run the API of a business with one pass."""
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    business = await open_business(replace(resources, settings=settings), clock)
    await business.create_passes("ann")
    async with run_api(business) as running:
        yield running


async def call(api: Api, query: str, **sent: Any) -> Any:
    """Run a mutation and return its payload."""
    return next(iter((await api.fetch_data(query, i=sent)).values()))


async def create(api: Api, port: int = 2525, **changes: Any) -> Any:
    """Create the channel `mail` and return the payload."""
    settings = {"host": "127.0.0.1", "port": port, "security": "NONE", "from": "a@b.test"}
    return await call(api, CREATE, **{**SMTP, "settings": settings, **changes})


async def test_channel_is_created_changed_and_archived(api: Api) -> None:
    created = await create(
        api, consentKey="news", frequencyCap={"count": 2, "within": {"days": 7}},
        quietHours={"from": "22:00", "to": "08:00"}, secret="hunter2",
    )  # fmt: skip
    assert (created["userErrors"], created["secret"]) == ([], None)
    channel = created["channel"]
    assert (channel["key"], channel["consentKey"], channel["hasSecret"]) == ("mail", "news", True)
    assert channel["frequencyCap"] == {"count": 2, "within": {"days": 7}, "calendar": None}
    assert channel["quietHours"] == {"from": "22:00", "to": "08:00", "timezone": "UTC"}
    changed = await call(api, UPDATE, id=channel["id"], name="Mails", consentKey=None, frequencyCap=None)
    assert changed["channel"] == {**channel, "name": "Mails", "consentKey": None, "frequencyCap": None}
    assert (await call(api, ARCHIVE, id=channel["id"]))["channel"] == {"archived": True}
    refused = await call(api, UPDATE, id=channel["id"], name="Again")
    assert list_codes(refused["userErrors"]) == [("CONFLICT", ["id"])]
    [listed] = (await api.fetch_data("{ channels { totalCount nodes { key archived } } }"))["channels"]["nodes"]
    assert listed == {"key": "mail", "archived": True}
    found = await api.fetch_data("query ($id: ID!) { node(id: $id) { ... on Channel { name } } }", id=channel["id"])
    assert found["node"] == {"name": "Mails"}


async def test_secret_of_a_channel_is_never_shown(api: Api) -> None:
    await create(api, secret="hunter2-secret")
    answer = await api.execute(f"{{ channels {{ nodes {{ {CHANNEL} }} }} auditLog {{ nodes {{ details }} }} }}")
    assert "errors" not in answer
    assert "hunter2" not in str(answer)


async def test_channel_that_signs_gets_a_secret_once(api: Api) -> None:
    sms = {
        "key": "sms",
        "name": "SMS",
        "kind": "SMS",
        "provider": "HTTP",
        "settings": {"url": "https://sms.example.com/x"},
    }
    created = await call(api, CREATE, **sms)
    assert created["userErrors"] == []
    assert created["secret"].startswith("whsec_")
    assert created["channel"]["settings"]["authentication"] == "SIGNATURE"


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"key": "Mail!"}, "INVALID", ["key"]),
        ({"kind": "SMS"}, "UNSUPPORTED", ["provider"]),
        ({"provider": "MAILBOX", "settings": {"from": "a@b.test"}}, "UNSUPPORTED", ["provider"]),
        ({"provider": "HTTP", "settings": {"url": "http://10.0.0.1/x"}}, "INVALID", ["settings", "url"]),
        ({"provider": "HTTP", "settings": {"url": "http://example.com/x"}}, "INVALID", ["settings", "url"]),
        ({"provider": "BRAZE", "settings": {"url": "https://x.example", "campaignId": "c"}}, "REQUIRED", ["secret"]),
        ({"settings": {"host": "h", "from": "a@b.test\r\nX: y"}}, "INVALID", ["settings", "from"]),
        ({"settings": {"host": "h", "from": "a@b.test", "port": 70_000}}, "OUT_OF_RANGE", ["settings", "port"]),
        ({"frequencyCap": {"count": 1}}, "INVALID", ["frequencyCap", "within"]),
        ({"quietHours": {"from": "08:00", "to": "08:00"}}, "INVALID", ["quietHours", "to"]),
    ],
)
async def test_wrong_channel_is_refused_with_the_path_of_the_value(
    api: Api, changes: dict[str, Any], code: str, field: list[str]
) -> None:
    payload = await create(api, **changes)
    assert payload["channel"] is None
    assert list_codes(payload["userErrors"]) == [(code, field)]


async def test_second_channel_with_a_key_is_refused(api: Api) -> None:
    await create(api)
    assert list_codes((await create(api))["userErrors"]) == [("TAKEN", ["key"])]


async def test_test_message_says_what_the_server_answered(api: Api, mail: MailServer) -> None:
    channel = (await create(api, mail.port))["channel"]
    sent = (await call(api, TEST, id=channel["id"]))["message"]
    assert (sent["status"], sent["origin"], sent["attempts"]) == ("SENT", "TEST", [{"statusCode": 250, "error": None}])
    assert mail.mails[0].recipients == ["a@b.test"]
    mail.answer_recipient = lambda _: "550 unknown"
    refused = (await call(api, TEST, id=channel["id"], to="me@b.test"))["message"]
    assert (refused["status"], refused["reason"], refused["error"]) == ("FAILED", "REFUSED", "unknown")
    wrong = await call(api, TEST, id=channel["id"], to="me@b.test\nBcc: x@y.test")
    assert list_codes(wrong["userErrors"]) == [("INVALID", ["to"])]
    assert (await api.fetch_data("{ messages { totalCount } }"))["messages"]["totalCount"] == 0


async def test_consent_is_recorded_and_shown_by_the_pass(api: Api) -> None:
    await create(api, consentKey="news")
    given = await call(api, CONSENT, passExternalId="ann", channelKey="mail", given=True, source="form")
    assert given["userErrors"] == []
    assert (given["event"]["type"], given["event"]["metadata"]) == (
        "consent_given", {"consent": "news", "channel": "mail", "how": "form"},
    )  # fmt: skip
    await api.business.run_worker()
    query = '{ pass(externalId: "ann") { consents { key given source eventId } activity { nodes { type } } } }'
    card = (await api.fetch_data(query))["pass"]
    assert card["consents"] == [{"key": "news", "given": True, "source": "form", "eventId": given["event"]["id"]}]
    assert card["activity"]["nodes"][-1] == {"type": "customer.consents.given"}
    await call(api, CONSENT, passExternalId="ann", channelKey="mail", given=False, at="2020-01-01T00:00:00Z")
    await api.business.run_worker()
    # The customer gave it later, so the earlier revocation changes nothing.
    assert (await api.fetch_data(query))["pass"]["consents"][0]["given"] is True


@pytest.mark.parametrize(
    ("sent", "code", "field"),
    [
        ({"channelKey": "nowhere"}, "UNKNOWN", ["channelKey"]),
        ({"channelKey": "plain"}, "UNSUPPORTED", ["channelKey"]),
        ({"passExternalId": "bob"}, "UNKNOWN", ["passExternalId"]),
        ({"passExternalId": None}, "INVALID", ["passId"]),
        ({"at": "2999-01-01T00:00:00Z"}, "OUT_OF_RANGE", ["at"]),
    ],
)
async def test_wrong_consent_is_refused(api: Api, sent: dict[str, Any], code: str, field: list[str]) -> None:
    await create(api, consentKey="news")
    await create(api, key="plain")
    payload = await call(api, CONSENT, **{"passExternalId": "ann", "channelKey": "mail", "given": True, **sent})
    assert list_codes(payload["userErrors"]) == [(code, field)]


async def test_events_of_consents_and_messages_are_refused_from_outside(api: Api) -> None:
    query = "mutation ($i: RecordEventInput!) { recordEvent(input: $i) { userErrors { code field } } }"
    for kind in ("consent_given", "consent_revoked", "message_sent", "message_failed"):
        payload = await call(api, query, type=kind, passExternalId="ann")
        assert payload["userErrors"] == [{"code": "INVALID", "field": ["type"]}]


async def test_message_is_queued_listed_and_found(api: Api) -> None:
    await create(api)
    sent = await call(
        api, SEND, passExternalId="ann", channelKey="mail", template="Hi", idempotencyKey="k", validForHours=2
    )
    assert sent["userErrors"] == []
    message = sent["message"]
    assert (message["status"], message["origin"], message["channel"], message["pass"], message["job"]) == (
        "QUEUED", "API", {"key": "mail"}, {"externalId": "ann"}, None,
    )  # fmt: skip
    again = await call(api, SEND, passExternalId="ann", channelKey="mail", template="Hi", idempotencyKey="k")
    assert again["message"]["id"] == message["id"]
    other = await call(api, SEND, passExternalId="ann", channelKey="mail", template="Other", idempotencyKey="k")
    assert list_codes(other["userErrors"]) == [("CONFLICT", ["idempotencyKey"])]
    listed = "query ($f: MessageFilter) { messages(filter: $f) { totalCount nodes { id } } }"
    for filter_, count in (
        (None, 1), ({"channelKey": "mail"}, 1), ({"channelKey": "sms"}, 0), ({"statuses": ["SENT"]}, 0),
        ({"statuses": ["QUEUED", "FAILED"], "channelKey": "mail"}, 1), ({"passId": "pass_none"}, 0),
        ({"jobId": "job_none"}, 0), ({"ruleId": "rule_none"}, 0),
    ):  # fmt: skip
        page = (await api.fetch_data(listed, f=filter_))["messages"]
        assert (page["totalCount"], len(page["nodes"])) == (count, count), filter_
    found = await api.fetch_data("query ($id: ID!) { node(id: $id) { ... on Message { status } } }", id=message["id"])
    assert found["node"] == {"status": "QUEUED"}


@pytest.mark.parametrize(
    ("query", "sent", "code", "field"),
    [
        (SEND, {"passExternalId": "ann", "channelKey": "mail", "template": "{{ x"}, "INVALID", ["template"]),
        (SEND, {"passExternalId": "ann", "channelKey": "mail", "template": "x" * 4_001}, "TOO_LONG", ["template"]),
        (SEND, {"passExternalId": "ann", "channelKey": "mail", "template": "x", "validForHours": 0}, "OUT_OF_RANGE",
         ["validForHours"]),
        (SEND, {"passExternalId": "bob", "channelKey": "mail", "template": "x"}, "UNKNOWN", ["passExternalId"]),
        (SEND, {"passExternalId": "ann", "channelKey": "sms", "template": "x"}, "UNKNOWN", ["channelKey"]),
        (RETRY, {}, "INVALID", ["ids"]),
        (RETRY, {"ids": []}, "REQUIRED", ["ids"]),
        (RETRY, {"ids": ["msg_none"]}, "UNKNOWN", ["ids", "0"]),
        (BROADCAST, {"segmentId": "seg_none", "channelKey": "mail", "template": "x", "key": "k"}, "UNKNOWN", ["segmentId"]),
        (BROADCAST, {"segmentId": "seg_none", "channelKey": "mail", "template": "x", "key": "K K"}, "INVALID", ["key"]),
    ],
)  # fmt: skip
async def test_wrong_call_is_refused(api: Api, query: str, sent: dict[str, Any], code: str, field: list[str]) -> None:
    await create(api)
    assert list_codes((await call(api, query, **sent))["userErrors"]) == [(code, field)]


async def test_key_of_another_broadcast_is_refused(api: Api) -> None:
    await create(api)
    first = await api.business.create_segment("a", {"list": True})
    sent = {"segmentId": first.id, "channelKey": "mail", "template": "x", "key": "k"}
    assert (await call(api, BROADCAST, **sent))["userErrors"] == []
    other = await call(api, BROADCAST, **{**sent, "template": "y"})
    assert list_codes(other["userErrors"]) == [("TAKEN", ["key"])]


async def test_key_without_the_scope_changes_and_sees_nothing(api: Api) -> None:
    channel = (await create(api))["channel"]
    api.secret = await api.create_key("read", "write")
    for query, sent in (
        (CREATE, {**SMTP, "key": "x"}), (UPDATE, {"id": channel["id"]}), (ARCHIVE, {"id": channel["id"]}),
        (TEST, {"id": channel["id"]}),
    ):  # fmt: skip
        assert (await api.fetch_error(query, i=sent))["extensions"]["code"] == "FORBIDDEN"
    assert (await api.fetch_error("{ channels { nodes { settings } } }"))["extensions"]["code"] == "FORBIDDEN"
    assert (await api.fetch_data("{ channels { nodes { key } } }"))["channels"]["nodes"] == [{"key": "mail"}]


async def test_another_workspace_sees_no_channel_and_no_message(
    api: Api, resources: Resources, clock: FixedClock
) -> None:
    await create(api)
    message = (await call(api, SEND, passExternalId="ann", channelKey="mail", template="Hi"))["message"]
    async with run_api(await open_business(resources, clock, "Other")) as other:
        found = await other.fetch_data(
            "query ($id: ID!) { node(id: $id) { id } channels { totalCount } messages { totalCount } }",
            id=message["id"],
        )
    assert found == {"node": None, "channels": {"totalCount": 0}, "messages": {"totalCount": 0}}
