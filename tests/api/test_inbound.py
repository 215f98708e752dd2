"""Inbound hooks over HTTP (A1-17): messages are verified, mapped and recorded once; failed ones are kept and rerun.

The tests sign by the text of the Standard Webhooks specification, not with the code of the application.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

import app.api.inbound
from app.clock import FixedClock
from app.domain.errors import Throttled, Unavailable
from app.rate_limits import Budget
from app.resources import Resources
from app.store.workspace.inbound import InboundQueries
from app.store.workspace.passes import PassQueries
from tests.business import open_business, purchases
from tests.domain.inbound.test_mappings import GOOGLE_WALLET, SHOP_ORDER
from tests.graphql.serving import Api, list_codes, run_api

HOOK = "id name source url createMissingPasses mapping archivedAt verification { scheme header encoding prefix }"
ERRORS = "userErrors { code field message }"
CREATE = f"""mutation Create($input: CreateInboundHookInput!) {{
  createInboundHook(input: $input) {{ hook {{ {HOOK} }} secret {ERRORS} }} }}"""
UPDATE = f"""mutation Update($input: UpdateInboundHookInput!) {{
  updateInboundHook(input: $input) {{ hook {{ {HOOK} }} {ERRORS} }} }}"""
ROTATE = f"""mutation Rotate($id: ID!, $grace: Int! = 0) {{
  rotateInboundHookSecret(input: {{id: $id, graceSeconds: $grace}}) {{ secret {ERRORS} }} }}"""
ARCHIVE = f"mutation ($id: ID!) {{ archiveInboundHook(input: {{id: $id}}) {{ hook {{ archivedAt }} {ERRORS} }} }}"
DELIVERY = "id status attempts events body headers receivedAt problems { index code field } hook { name }"
DELIVERIES = f"""query ($id: ID!, $status: InboundDeliveryStatus! = FAILED) {{
  inboundDeliveries(hookId: $id, status: $status) {{ totalCount nodes {{ {DELIVERY} }} }} }}"""
RERUN = f"""mutation ($id: ID!) {{
  rerunInboundDelivery(input: {{id: $id}}) {{ delivery {{ {DELIVERY} }} {ERRORS} }} }}"""
RERUN_ALL = f"""mutation ($id: ID!, $first: Int! = 100, $after: String) {{
  rerunInboundDeliveries(input: {{hookId: $id, first: $first, after: $after}}) {{
    processed failed hasNextPage endCursor {ERRORS} }} }}"""
TEST = f"""mutation Test($input: TestInboundHookInput!) {{ testInboundHook(input: $input) {{
  results {{ index event status userErrors {{ code field }} }} {ERRORS} }} }}"""
SALE = {"fields": {"passExternalId": "who", "type": {"path": "what", "map": {"sale": "purchase"}}, "amount": "paid"}}
ORDER = {"who": "ann", "what": "sale", "paid": "2.50"}


@dataclass
class Sender:
    """Another system that sends messages to a hook and signs them by Standard Webhooks.

    `responses` are the responses to all its messages.
    """

    api: Api
    path: str
    secret: str
    responses: list[httpx.Response] = field(default_factory=list)

    def sign(self, raw: bytes, message_id: str, sent_at: int) -> dict[str, str]:
        """Return the headers of a message, with its signature. `sent_at` is in Unix seconds."""
        key = base64.b64decode(self.secret[len("whsec_") :])
        content = f"{message_id}.{sent_at}.".encode() + raw
        signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(sent_at),
            "webhook-signature": f"v1,{signature}",
        }

    async def send(
        self, body: object, message_id: str = "msg_1", sent_at: int | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Sign and send a message, and return the status and the body of the response.

        `headers` replace the signed ones. An underscore in a name stands for a hyphen.
        """
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        signed = self.sign(raw, message_id, int(time.time()) if sent_at is None else sent_at)
        return await self.post(raw, {**signed, **{name.replace("_", "-"): text for name, text in headers.items()}})

    async def post(self, raw: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        """Post these bytes with these headers, and return the status and the body of the response."""
        url = self.api.url.removesuffix("/graphql") + self.path
        response = await self.api.http.post(url, content=raw, headers=headers)
        self.responses.append(response)
        return response.status_code, response.json()


@pytest.fixture
async def api(resources: Resources, clock: FixedClock) -> AsyncIterator[Api]:
    async with run_api(await open_business(resources, clock)) as running:
        yield running


async def create_hook(api: Api, **fields: Any) -> tuple[dict[str, Any], Sender]:
    """Create a hook, and return it with a sender that has its secret."""
    hook_input = {"name": "Shop", "source": "shop", "mapping": SALE, "createMissingPasses": True, **fields}
    payload = (await api.fetch_data(CREATE, input=hook_input))["createInboundHook"]
    assert payload["userErrors"] == []
    return payload["hook"], Sender(api, payload["hook"]["url"], payload["secret"])


async def list_events(api: Api) -> list[tuple[Any, ...]]:
    """Return (source, externalId, type, amount) of each event, sorted."""
    nodes = (await api.fetch_data("{ events { nodes { source externalId type amount origin { channel actor } } } }"))[
        "events"
    ]
    assert {node["origin"]["channel"] for node in nodes["nodes"]} <= {"WEBHOOK"}
    return sorted((n["source"], n["externalId"], n["type"], n["amount"]) for n in nodes["nodes"])


def counts(recorded: int = 0, duplicate: int = 0, failed: int = 0, skipped: int = 0) -> dict[str, int]:
    return {"recorded": recorded, "duplicate": duplicate, "failed": failed, "skipped": skipped}


async def test_message_that_is_sent_repeatedly_is_recorded_once(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hook, sender = await create_hook(api)
    assert hook["url"].startswith("/hooks/hook_")
    assert hook["mapping"] == SALE
    assert hook["verification"] == {"scheme": "STANDARD", "header": None, "encoding": "HEX", "prefix": ""}
    assert await sender.send(ORDER) == (200, counts(recorded=1))
    # The same request again, and the same message with another time and so another signature.
    assert await sender.send(ORDER) == (200, counts(duplicate=1))
    assert await sender.send(ORDER, sent_at=int(time.time()) - 200) == (200, counts(duplicate=1))
    # The event itself shows that the message was recorded, even after the document of the delivery has expired.
    await api.business.ctx.resources.db["inbound_deliveries"].delete_many({})
    assert await sender.send(ORDER) == (200, counts(duplicate=1))
    assert await sender.send(ORDER, "msg_2") == (200, counts(recorded=1))
    events = await list_events(api)
    assert [(source, kind, amount) for source, _, kind, amount in events] == [("shop", "purchase", "2.50")] * 2
    # The events count in segments like events of any other channel.
    assert await api.business.read_members(await api.business.create_segment("regulars", purchases(2))) == ["ann"]
    assert await api.business.read_members(await api.business.create_segment("fans", purchases(3))) == []
    listed = (await api.fetch_data(DELIVERIES, id=hook["id"], status="PROCESSED"))["inboundDeliveries"]
    assert listed["totalCount"] == 2
    assert {(n["attempts"], n["events"], n["body"]) for n in listed["nodes"]} == {(1, 1, None)}
    own_lines = [repr(vars(line)) for line in caplog.records if line.name.startswith(("app", "punchcard"))]
    assert len(own_lines) > 5
    assert [line for line in own_lines if sender.secret in line or sender.path in line or "paid" in line] == []
    stored = await api.business.ctx.resources.db["events"].find_one({})
    assert stored is not None
    assert stored["origin"]["actor"] in sender.path


async def test_message_without_a_valid_signature_gets_the_same_401_in_all_cases(api: Api) -> None:
    hook, sender = await create_hook(api)
    _, other = await create_hook(api, name="Other")
    raw, now = json.dumps(ORDER).encode(), int(time.time())
    signed = sender.sign(raw, "msg_1", now)
    refusals = [
        await sender.post(raw + b" ", signed),
        await sender.post(raw, {**signed, "webhook-id": "msg_9"}),
        await sender.post(raw, {**signed, "webhook-timestamp": str(now - 1)}),
        await sender.post(raw, {**signed, "webhook-signature": signed["webhook-signature"].replace("v1,", "v2,")}),
        await sender.post(raw, {"content-type": "application/json"}),
        await replace(sender, secret=other.secret).send(ORDER),
        await replace(sender, path=other.path).send(ORDER),
        await replace(sender, path="/hooks/hook_0123").send(ORDER),
        await replace(sender, path="/hooks/%00%ff").send(ORDER),
    ]
    await api.fetch_data(ARCHIVE, id=hook["id"])
    refusals.append(await sender.send(ORDER))
    assert {status for status, _ in refusals} == {401}
    assert len({json.dumps(answer) for _, answer in refusals}) == 1
    # A valid signature with a time out of range gets 400. An attacker cannot reuse a captured message later.
    for seconds in (-301, 320):
        status, answer = await other.send(ORDER, sent_at=now + seconds)
        assert (status, answer["errors"][0]["extensions"]["code"]) == (400, "BAD_USER_INPUT")
    assert (await other.send(ORDER, content_type="text/plain"))[0] == 415
    assert (await other.send(b"x" * 1_048_577))[0] == 413
    assert (await api.http.get(api.url.removesuffix("/graphql") + other.path)).status_code == 405
    assert await list_events(api) == []


async def test_both_secrets_are_accepted_during_the_grace_period_of_a_rotation(api: Api) -> None:
    hook, old = await create_hook(api)
    rotated = (await api.fetch_data(ROTATE, id=hook["id"], grace=60))["rotateInboundHookSecret"]
    new = replace(old, secret=rotated["secret"])
    assert await old.send(ORDER, "a") == (200, counts(recorded=1))
    assert await new.send(ORDER, "b") == (200, counts(recorded=1))
    newest = replace(old, secret=(await api.fetch_data(ROTATE, id=hook["id"]))["rotateInboundHookSecret"]["secret"])
    assert [(await sender.send(ORDER, "c"))[0] for sender in (old, new, newest)] == [401, 401, 200]
    for grace in (-1, 30 * 86_400 + 1):
        refused = (await api.fetch_data(ROTATE, id=hook["id"], grace=grace))["rotateInboundHookSecret"]
        assert list_codes(refused["userErrors"]) == [("OUT_OF_RANGE", ["graceSeconds"])]
    assert rotated["secret"] not in json.dumps(await api.fetch_data(f"{{ inboundHooks {{ nodes {{ {HOOK} }} }} }}"))


async def test_failed_items_are_kept_and_recorded_after_the_mapping_is_corrected(api: Api) -> None:
    mapping = {**SALE, "items": "lines"}
    hook, sender = await create_hook(api, mapping=mapping)
    lines = [ORDER, {**ORDER, "what": "gift"}, {**ORDER, "paid": "-1"}, {"what": "sale"}]
    assert await sender.send({"lines": lines}, "msg_1") == (202, counts(recorded=1, failed=3))
    # The sender may send the message again, although it need not: no event is recorded twice.
    repeated = await sender.send(
        {"lines": lines}, "msg_1", x_topic="orders", x_token="hush", authorization="hush", x_signature="hush"
    )
    assert repeated == (202, counts(failed=3))
    assert await sender.send({"lines": 7}, "msg_2") == (202, counts(failed=1))
    assert await sender.send(b"not json", "msg_3") == (400, counts(failed=1))
    kept = {n["body"]: n for n in (await api.fetch_data(DELIVERIES, id=hook["id"]))["inboundDeliveries"]["nodes"]}
    assert len(kept) == 3
    delivery = kept[json.dumps({"lines": lines})]
    assert (delivery["status"], delivery["attempts"], delivery["events"]) == ("FAILED", 2, 1)
    assert delivery["hook"] == {"name": "Shop"}
    assert set(delivery["headers"]) == {"content-type", "webhook-id", "webhook-timestamp", "x-topic"}
    assert delivery["receivedAt"] == "2026-01-01T00:00:00.000Z"
    assert [(p["index"], p["code"], p["field"]) for p in delivery["problems"]] == [
        (1, "UNKNOWN", ["type"]),
        (2, "OUT_OF_RANGE", ["amount"]),
        (3, "REQUIRED", ["passExternalId"]),
    ]
    assert [(p["index"], p["field"]) for p in kept['{"lines": 7}']["problems"]] == [(None, ["items"])]
    assert [(p["index"], p["field"]) for p in kept["not json"]["problems"]] == [(None, ["body"])]

    # The new mapping also differs for the item that is recorded. That item is not mapped again, so it cannot conflict
    # with its own event.
    api.business.clock.set(datetime(2026, 1, 1, 1, tzinfo=UTC))
    corrected = {
        "items": "lines",
        "fields": {**SALE["fields"], "type": {"path": "what", "map": {"sale": "purchase"}, "default": "custom"},
                   "amount": {"path": "none", "default": 3}, "passExternalId": {"path": "who", "default": "guest"}},
        "metadata": {"what": "what"},
    }  # fmt: skip
    updated = (await api.fetch_data(UPDATE, input={"id": hook["id"], "mapping": corrected}))["updateInboundHook"]
    assert (updated["userErrors"], updated["hook"]["mapping"]) == ([], corrected)
    rerun = (await api.fetch_data(RERUN, id=delivery["id"]))["rerunInboundDelivery"]["delivery"]
    assert (rerun["status"], rerun["attempts"], rerun["events"], rerun["problems"]) == ("PROCESSED", 3, 4, [])
    assert (rerun["body"], rerun["headers"]) == (None, {})
    same = (await api.fetch_data(RERUN, id=delivery["id"]))["rerunInboundDelivery"]["delivery"]
    assert (same["status"], same["attempts"]) == ("PROCESSED", 3)
    assert await sender.send({"lines": lines}, "msg_1") == (200, counts(duplicate=4))
    assert sorted(kind for _, _, kind, _ in await list_events(api)) == ["custom", "purchase", "purchase", "purchase"]
    # The mapping gives no time, so each event occurred when the message arrived, not when the delivery was rerun.
    occurred = (await api.fetch_data("{ events { nodes { occurredAt } } }"))["events"]["nodes"]
    assert {node["occurredAt"] for node in occurred} == {"2026-01-01T00:00:00.000Z"}

    first_page = (await api.fetch_data(RERUN_ALL, id=hook["id"], first=1))["rerunInboundDeliveries"]
    assert (first_page["processed"], first_page["failed"], first_page["hasNextPage"]) == (0, 1, True)
    second_page = (await api.fetch_data(RERUN_ALL, id=hook["id"], first=1, after=first_page["endCursor"]))[
        "rerunInboundDeliveries"
    ]
    assert (second_page["processed"], second_page["failed"], second_page["hasNextPage"]) == (0, 1, False)
    actions = (await api.fetch_data("{ auditLog { nodes { action } } }"))["auditLog"]["nodes"]
    assert {node["action"] for node in actions} == {
        "createInboundHook", "updateInboundHook", "rerunInboundDelivery", "rerunInboundDeliveries",
    }  # fmt: skip


async def test_failed_delivery_is_deleted_by_erasure_of_its_pass_or_by_discard(api: Api) -> None:
    hook, sender = await create_hook(api)
    await api.business.create_passes("ann")
    for number, who in enumerate(("ann", "bob", "\ud800")):
        assert await sender.send({"who": who, "what": "\ud801"}, str(number)) == (202, counts(failed=1))
    pass_id = (await api.fetch_data('{ pass(externalId: "ann") { id } }'))["pass"]["id"]
    await api.fetch_data("mutation ($id: ID!) { erasePass(input: {id: $id}) { userErrors { code } } }", id=pass_id)
    kept = (await api.fetch_data(DELIVERIES, id=hook["id"]))["inboundDeliveries"]["nodes"]
    assert {json.loads(node["body"])["who"] for node in kept} == {"bob", "\ud800"}
    discard = f"mutation ($id: ID!) {{ discardInboundDelivery(input: {{id: $id}}) {{ discardedId {ERRORS} }} }}"
    for expected in ([], [("UNKNOWN", ["id"])]):
        payload = (await api.fetch_data(discard, id=kept[0]["id"]))["discardInboundDelivery"]
        assert list_codes(payload["userErrors"]) == expected
    assert (await api.fetch_data(DELIVERIES, id=hook["id"]))["inboundDeliveries"]["totalCount"] == 1
    # An archived hook still lists its failed deliveries, but it cannot rerun them.
    for _ in range(2):
        assert (await api.fetch_data(ARCHIVE, id=hook["id"]))["archiveInboundHook"]["hook"]["archivedAt"]
    for query, id_ in ((RERUN, kept[1]["id"]), (RERUN_ALL, hook["id"]), (ROTATE, hook["id"])):
        [payload] = (await api.fetch_data(query, id=id_)).values()
        assert [error["code"] for error in payload["userErrors"]] == ["CONFLICT"]


async def test_rerun_with_another_item_path_maps_the_items_that_it_finds_there(api: Api) -> None:
    hook, sender = await create_hook(api, mapping={**SALE, "items": "lines"})
    body = {"lines": [ORDER, {**ORDER, "what": "gift"}], **ORDER, "other": []}
    assert await sender.send(body) == (202, counts(recorded=1, failed=1))
    [kept] = (await api.fetch_data(DELIVERIES, id=hook["id"]))["inboundDeliveries"]["nodes"]
    for mapping, expected in (
        ({**SALE, "items": "nowhere"}, ("FAILED", 1)),
        # Without `items` the body is the only item. The second item, which failed before, no longer exists.
        ({"fields": {**SALE["fields"], "externalId": {"value": "whole"}}}, ("PROCESSED", 1)),
    ):
        await api.fetch_data(UPDATE, input={"id": hook["id"], "mapping": mapping})
        delivery = (await api.fetch_data(RERUN, id=kept["id"]))["rerunInboundDelivery"]["delivery"]
        assert (delivery["status"], delivery["events"]) == expected
    assert ("shop", "whole", "purchase", "2.50") in await list_events(api)


async def test_hook_accepts_the_signature_scheme_of_the_other_system(api: Api) -> None:
    secret = "chosen by the other system"
    verification = {"scheme": "HMAC_SHA256", "header": "X-Shopify-Hmac-Sha256", "encoding": "BASE64"}
    hook, sender = await create_hook(api, mapping=SHOP_ORDER, verification=verification, secret=secret)
    assert hook["verification"] == {**verification, "header": "x-shopify-hmac-sha256", "prefix": ""}
    refused = (await api.fetch_data(UPDATE, input={"id": hook["id"], "verification": {}}))["updateInboundHook"]
    assert list_codes(refused["userErrors"]) == [("INVALID", ["verification", "scheme"])]
    order = {"id": 7, "email": "jo@example.com", "currency": "EUR", "financial_status": "paid",
             "processed_at": "2026-01-01T00:00:00.000Z", "line_items": [{"id": 1, "price": "3.10"}]}  # fmt: skip
    raw = json.dumps(order).encode()
    signature = base64.b64encode(hmac.new(secret.encode(), raw, hashlib.sha256).digest()).decode()
    headers = {"content-type": "application/json; charset=utf-8", "x-shopify-hmac-sha256": signature}
    shop = {"x-shopify-shop-domain": "kiosk.example"}
    assert await sender.post(raw, {**headers, **shop}) == (200, counts(recorded=1))
    assert await sender.post(raw, {**headers, **shop}) == (200, counts(duplicate=1))
    # The signature does not cover the headers. The same body with another header is no new event.
    assert await sender.post(raw, {**headers, "x-shopify-shop-domain": "x"}) == (202, counts(failed=1))
    assert (await sender.post(raw + b" ", headers))[0] == 401
    assert await list_events(api) == [("shop", "7/1", "purchase", "3.10")]

    _, wallet = await create_hook(api, name="Wallet", source="google-wallet", mapping=GOOGLE_WALLET)
    for message_id in ("relayed-1", "relayed-2"):
        message = {"objectId": "ann", "eventType": "save", "nonce": "f0a1"}
        body = {"signedMessage": json.dumps(message), "receivedTimeMillis": 1_767_225_600_000}
        assert (await wallet.send(body, message_id))[0] == 200
    assert ("google-wallet", "f0a1", "pass_installed", None) in await list_events(api)
    assert len(await list_events(api)) == 2


async def test_repeated_message_with_other_headers_is_one_delivery(api: Api) -> None:
    """The signature does not cover the headers: who captured a message can send it with others, as often as they want."""
    secret = "chosen by the other system"
    verification = {"scheme": "HMAC_SHA256", "header": "X-Signature", "encoding": "HEX"}
    mapping = {
        "fields": {"passExternalId": "who", "type": {"path": "$headers.x-topic", "map": {"orders/paid": "purchase"}}}
    }
    mapping["when"] = [{"path": "$headers.x-topic", "operator": "NE", "value": "orders/create"}]  # type: ignore[assignment]
    hook, sender = await create_hook(api, mapping=mapping, verification=verification, secret=secret)
    raw = b'{"who": "ann", "paid": "2.50"}'
    headers = {
        "content-type": "application/json",
        "x-signature": hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest(),
    }
    for number in range(5):
        assert await sender.post(raw, {**headers, "x-topic": f"forged/{number}"}) == (202, counts(failed=1))
    listed = (await api.fetch_data(DELIVERIES, id=hook["id"]))["inboundDeliveries"]
    assert (listed["totalCount"], listed["nodes"][0]["attempts"]) == (1, 5)
    # Some systems send one body under several topics. The mapping leaves one out, and the other one must not be lost.
    assert await sender.post(raw, {**headers, "x-topic": "orders/create"}) == (200, counts(skipped=1))
    assert await sender.post(raw, {**headers, "x-topic": "orders/paid"}) == (200, counts(recorded=1))
    assert await sender.post(raw, {**headers, "x-topic": "orders/paid"}) == (200, counts(duplicate=1))
    assert [event[2] for event in await list_events(api)] == ["purchase"]
    db = api.business.ctx.resources.db
    assert await db["inbound_deliveries"].count_documents({"hook": {"$exists": True}}) == 1


async def test_testInboundHook_returns_the_results_of_a_mapping_and_records_nothing(api: Api) -> None:
    await api.business.create_passes("ann")
    body = {"lines": [{**ORDER, "paid": 2.5}, {**ORDER, "what": "gift"}, {**ORDER, "who": "bob"}, {**ORDER, "x": 1}]}
    mapping = {**SALE, "items": "lines", "when": [{"path": "x", "operator": "NOT_EXISTS"}]}
    trial = (await api.fetch_data(TEST, input={"mapping": mapping, "body": body}))["testInboundHook"]
    assert trial["userErrors"] == []
    assert [(r["index"], r["status"], list_codes(r["userErrors"])) for r in trial["results"]] == [
        (0, "CREATED", []),
        (1, None, [("UNKNOWN", ["body", "1", "type"])]),
        (2, "REJECTED", [("UNKNOWN", ["body", "2", "passExternalId"])]),
        (3, None, []),
    ]
    assert trial["results"][0]["event"] == {
        "passExternalId": "ann", "type": "purchase", "amount": "2.5", "externalId": "test.0",
    }  # fmt: skip
    invalid_tests: tuple[tuple[dict[str, Any], list[tuple[str, list[str]]]], ...] = (
        ({"body": body}, [("REQUIRED", ["mapping"])]),
        ({"body": {}, "mapping": mapping}, [("REQUIRED", ["body", "items"])]),
        ({"body": {}, "mapping": {"fields": {"type": 1}}}, [
            ("INVALID", ["mapping", "fields", "type"]), ("REQUIRED", ["mapping", "fields", "passExternalId"])]),
        ({"body": {}, "hookId": "hook_none"}, [("UNKNOWN", ["hookId"])]),
    )  # fmt: skip
    for fields, expected in invalid_tests:
        refused = (await api.fetch_data(TEST, input=fields))["testInboundHook"]
        assert list_codes(refused["userErrors"]) == expected
    invalid_hooks: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({"name": ""}, ["name"]),
        ({"source": "x" * 101}, ["source"]),
        ({"mapping": {"fields": {}}}, ["mapping", "fields", "passExternalId"]),
        ({"verification": {"scheme": "HMAC_SHA256"}}, ["verification", "header"]),
        ({"secret": "short"}, ["secret"]),
    )
    for fields, path in invalid_hooks:
        hook_input = {"name": "Shop", "source": "shop", "mapping": SALE, **fields}
        payload = (await api.fetch_data(CREATE, input=hook_input))["createInboundHook"]
        assert (payload["hook"], payload["userErrors"][0]["field"]) == (None, path)
    assert await list_events(api) == []
    assert (await api.fetch_data("{ inboundHooks { totalCount } }"))["inboundHooks"]["totalCount"] == 0


async def test_message_that_cannot_be_recorded_now_gets_a_status_with_Retry_After(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sender = await create_hook(api)

    async def raise_unavailable(*_: object, **__: object) -> None:
        raise Unavailable("store")

    async def raise_throttled(*_: object) -> None:
        raise Throttled(2.4)

    for target, name, replacement, expected, seconds in (
        (PassQueries, "find_by_names", raise_unavailable, (503, "UNAVAILABLE"), "5"),
        (Budget, "spend", raise_throttled, (429, "THROTTLED"), "2"),
        (app.api.inbound, "MAX_CONCURRENT_REQUESTS", 0, (503, "UNAVAILABLE"), "5"),
        # The store fails after the event is recorded and before the delivery is saved. The repeat finds the event.
        (InboundQueries, "save", raise_unavailable, (503, "UNAVAILABLE"), "5"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, replacement)
            status, answer = await sender.send(ORDER)
        assert (status, answer["errors"][0]["extensions"]["code"]) == expected
        assert sender.responses[-1].headers["retry-after"] == seconds
        assert len(await list_events(api)) == int(name == "save")
    assert await sender.send(ORDER) == (200, counts(duplicate=1))
    # Of ten concurrent requests with the same message, one records the event.
    responses = await asyncio.gather(*(sender.send(ORDER, "msg_2") for _ in range(10)))
    assert sum(answer["recorded"] for _, answer in responses) == 1
    assert {status for status, _ in responses} == {200}
    assert len(await list_events(api)) == 2


async def test_mapping_links_a_refund_to_its_order_by_the_external_id_of_the_order(api: Api) -> None:
    mapping = {"fields": {**SALE["fields"], "type": "what", "externalId": "id", "correctionOf": "order"}}
    _, sender = await create_hook(api, mapping=mapping)
    refund = {"who": "ann", "what": "refund", "id": "r1", "order": "o1", "paid": 1}
    # The refund arrives before its order, so it fails and is kept. It is recorded when the sender sends it again.
    assert await sender.send(refund, "msg_2") == (202, counts(failed=1))
    assert await sender.send({**ORDER, "what": "purchase", "id": "o1"}) == (200, counts(recorded=1))
    assert await sender.send(refund, "msg_2") == (200, counts(recorded=1))
    nodes = (await api.fetch_data("{ events { nodes { externalId correctionOf { externalId } } } }"))["events"]["nodes"]
    assert {"externalId": "r1", "correctionOf": {"externalId": "o1"}} in nodes


async def test_delivery_that_waits_for_its_order_says_when_it_is_run_again(api: Api) -> None:
    mapping = {"fields": {"passExternalId": "who", "type": "what", "externalId": "id", "correctionOf": "order"}}
    hook, sender = await create_hook(api, mapping=mapping)
    before = datetime.now(UTC)
    refund = {"who": "ann", "what": "refund", "id": "r1", "order": "o1"}
    assert (await sender.send(refund))[0] == 202
    assert (await sender.send({"what": "visit", "id": "v1"}, "msg_2"))[0] == 202
    query = (
        """query ($id: ID!) { inboundDeliveries(hookId: $id) { nodes { nextAttemptAt problems { code field } } } }"""
    )
    nodes = (await api.fetch_data(query, id=hook["id"]))["inboundDeliveries"]["nodes"]
    assert {node["problems"][0]["field"][0]: node["nextAttemptAt"] is not None for node in nodes} == {
        "correctionOf": True,
        "passExternalId": False,
    }
    [next_attempt_at] = [node["nextAttemptAt"] for node in nodes if node["nextAttemptAt"] is not None]
    assert datetime.fromisoformat(next_attempt_at) >= before + timedelta(seconds=9)
