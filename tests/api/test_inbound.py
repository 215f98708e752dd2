"""Inbound hooks by HTTP (A1-17): signed by the standard's own text, mapped, recorded once; what fails is kept and mended."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import UTC, datetime
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
from tests.graphql.serving import Api, codes, serving

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
TRY = f"""mutation Try($input: TestInboundHookInput!) {{ testInboundHook(input: $input) {{
  results {{ index event status userErrors {{ code field }} }} {ERRORS} }} }}"""
SALE = {"fields": {"passExternalId": "who", "type": {"path": "what", "map": {"sale": "purchase"}}, "amount": "paid"}}
BOUGHT = {"who": "ann", "what": "sale", "paid": "2.50"}


@dataclass
class Sender:
    """A foreign system that signs by Standard Webhooks, in the words of its specification."""

    api: Api
    path: str
    secret: str
    sent: list[httpx.Response] = field(default_factory=list)

    def headers(self, raw: bytes, message_id: str, at: int) -> dict[str, str]:
        key = base64.b64decode(self.secret[len("whsec_") :])
        content = f"{message_id}.{at}.".encode() + raw
        signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        named = {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}
        return {"content-type": "application/json", **named}

    async def send(
        self, body: object, message_id: str = "msg_1", at: int | None = None, **headers: str
    ) -> tuple[int, Any]:
        """The status and the answer to a message; `headers` in place of what would be right."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        right = self.headers(raw, message_id, int(time.time()) if at is None else at)
        return await self.post(raw, {**right, **{name.replace("_", "-"): text for name, text in headers.items()}})

    async def post(self, raw: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        """The status and the answer to these bytes under these headers."""
        address = self.api.address.removesuffix("/graphql") + self.path
        response = await self.api.http.post(address, content=raw, headers=headers)
        self.sent.append(response)
        return response.status_code, response.json()


@pytest.fixture
async def api(resources: Resources, clock: FixedClock) -> AsyncIterator[Api]:
    async with serving(await open_business(resources, clock)) as running:
        yield running


async def hooked(api: Api, **given: Any) -> tuple[dict[str, Any], Sender]:
    """A new hook, and who sends to it."""
    wanted = {"name": "Shop", "source": "shop", "mapping": SALE, "createMissingPasses": True, **given}
    made = (await api.data(CREATE, input=wanted))["createInboundHook"]
    assert made["userErrors"] == []
    return made["hook"], Sender(api, made["hook"]["url"], made["secret"])


async def recorded(api: Api) -> list[tuple[Any, ...]]:
    """(source, externalId, type, amount) of every event, in an order of its own."""
    nodes = (await api.data("{ events { nodes { source externalId type amount origin { channel actor } } } }"))[
        "events"
    ]
    assert {node["origin"]["channel"] for node in nodes["nodes"]} <= {"WEBHOOK"}
    return sorted((n["source"], n["externalId"], n["type"], n["amount"]) for n in nodes["nodes"])


def tally(recorded: int = 0, duplicate: int = 0, failed: int = 0, skipped: int = 0) -> dict[str, int]:
    return {"recorded": recorded, "duplicate": duplicate, "failed": failed, "skipped": skipped}


async def test_a_message_is_recorded_once_however_often_it_is_sent(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hook, sender = await hooked(api)
    assert hook["url"].startswith("/hooks/hook_")
    assert hook["mapping"] == SALE
    assert hook["verification"] == {"scheme": "STANDARD", "header": None, "encoding": "HEX", "prefix": ""}
    assert await sender.send(BOUGHT) == (200, tally(recorded=1))
    # Replayed as it was, and sent again by the sender some time later.
    assert await sender.send(BOUGHT) == (200, tally(duplicate=1))
    assert await sender.send(BOUGHT, at=int(time.time()) - 200) == (200, tally(duplicate=1))
    # Even once the account of the delivery has expired, and another mapping is in force.
    await api.business.ctx.resources.db["inbound_deliveries"].delete_many({})
    assert await sender.send(BOUGHT) == (200, tally(duplicate=1))
    assert await sender.send(BOUGHT, "msg_2") == (200, tally(recorded=1))
    events = await recorded(api)
    assert [(source, kind, amount) for source, _, kind, amount in events] == [("shop", "purchase", "2.50")] * 2
    # They count like any other events.
    assert await api.business.members(await api.business.segment("regulars", purchases(2))) == ["ann"]
    assert await api.business.members(await api.business.segment("fans", purchases(3))) == []
    listed = (await api.data(DELIVERIES, id=hook["id"], status="PROCESSED"))["inboundDeliveries"]
    assert listed["totalCount"] == 2
    assert {(n["attempts"], n["events"], n["body"]) for n in listed["nodes"]} == {(1, 1, None)}
    ours = [repr(vars(line)) for line in caplog.records if line.name.startswith(("app", "punchcard"))]
    assert len(ours) > 5
    assert [line for line in ours if sender.secret in line or sender.path in line or "paid" in line] == []
    stored = await api.business.ctx.resources.db["events"].find_one({})
    assert stored is not None
    assert stored["origin"]["actor"] in sender.path


async def test_who_cannot_sign_is_told_nothing(api: Api) -> None:
    hook, sender = await hooked(api)
    _, other = await hooked(api, name="Other")
    raw, now = json.dumps(BOUGHT).encode(), int(time.time())
    right = sender.headers(raw, "msg_1", now)
    refusals = [
        await sender.post(raw + b" ", right),
        await sender.post(raw, {**right, "webhook-id": "msg_9"}),
        await sender.post(raw, {**right, "webhook-timestamp": str(now - 1)}),
        await sender.post(raw, {**right, "webhook-signature": right["webhook-signature"].replace("v1,", "v2,")}),
        await sender.post(raw, {"content-type": "application/json"}),
        await changed(sender, secret=other.secret).send(BOUGHT),
        await changed(sender, path=other.path).send(BOUGHT),
        await changed(sender, path="/hooks/hook_0123").send(BOUGHT),
        await changed(sender, path="/hooks/%00%ff").send(BOUGHT),
    ]
    await api.data(ARCHIVE, id=hook["id"])
    refusals.append(await sender.send(BOUGHT))
    assert {status for status, _ in refusals} == {401}
    assert len({json.dumps(answer) for _, answer in refusals}) == 1
    # A good signature of another time says so: a captured message is worth nothing later.
    for seconds in (-301, 320):
        status, answer = await other.send(BOUGHT, at=now + seconds)
        assert (status, answer["errors"][0]["extensions"]["code"]) == (400, "BAD_USER_INPUT")
    assert (await other.send(BOUGHT, content_type="text/plain"))[0] == 415
    assert (await other.send(b"x" * 1_048_577))[0] == 413
    assert (await api.http.get(api.address.removesuffix("/graphql") + other.path)).status_code == 405
    assert await recorded(api) == []


async def test_a_secret_is_replaced_without_a_message_lost(api: Api) -> None:
    hook, old = await hooked(api)
    rotated = (await api.data(ROTATE, id=hook["id"], grace=60))["rotateInboundHookSecret"]
    new = changed(old, secret=rotated["secret"])
    assert await old.send(BOUGHT, "a") == (200, tally(recorded=1))
    assert await new.send(BOUGHT, "b") == (200, tally(recorded=1))
    newest = changed(old, secret=(await api.data(ROTATE, id=hook["id"]))["rotateInboundHookSecret"]["secret"])
    assert [(await sender.send(BOUGHT, "c"))[0] for sender in (old, new, newest)] == [401, 401, 200]
    for grace in (-1, 30 * 86_400 + 1):
        wrong = (await api.data(ROTATE, id=hook["id"], grace=grace))["rotateInboundHookSecret"]
        assert codes(wrong["userErrors"]) == [("OUT_OF_RANGE", ["graceSeconds"])]
    assert rotated["secret"] not in json.dumps(await api.data(f"{{ inboundHooks {{ nodes {{ {HOOK} }} }} }}"))


async def test_what_fails_is_kept_and_recorded_once_the_mapping_is_mended(api: Api) -> None:
    mapping = {**SALE, "items": "lines"}
    hook, sender = await hooked(api, mapping=mapping)
    lines = [BOUGHT, {**BOUGHT, "what": "gift"}, {**BOUGHT, "paid": "-1"}, {"what": "sale"}]
    assert await sender.send({"lines": lines}, "msg_1") == (202, tally(recorded=1, failed=3))
    # The sender need not, but may: nothing is recorded twice.
    again = await sender.send(
        {"lines": lines}, "msg_1", x_topic="orders", x_token="hush", authorization="hush", x_signature="hush"
    )
    assert again == (202, tally(failed=3))
    assert await sender.send({"lines": 7}, "msg_2") == (202, tally(failed=1))
    assert await sender.send(b"not json", "msg_3") == (400, tally(failed=1))
    kept = {n["body"]: n for n in (await api.data(DELIVERIES, id=hook["id"]))["inboundDeliveries"]["nodes"]}
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

    # Mended also where it did not fail: what is recorded is not mapped again, and so never in conflict with itself.
    api.business.clock.set(datetime(2026, 1, 1, 1, tzinfo=UTC))
    mended = {
        "items": "lines",
        "fields": {**SALE["fields"], "type": {"path": "what", "map": {"sale": "purchase"}, "default": "custom"},
                   "amount": {"path": "none", "default": 3}, "passExternalId": {"path": "who", "default": "guest"}},
        "metadata": {"what": "what"},
    }  # fmt: skip
    updated = (await api.data(UPDATE, input={"id": hook["id"], "mapping": mended}))["updateInboundHook"]
    assert (updated["userErrors"], updated["hook"]["mapping"]) == ([], mended)
    done = (await api.data(RERUN, id=delivery["id"]))["rerunInboundDelivery"]["delivery"]
    assert (done["status"], done["attempts"], done["events"], done["problems"]) == ("PROCESSED", 3, 4, [])
    assert (done["body"], done["headers"]) == (None, {})
    same = (await api.data(RERUN, id=delivery["id"]))["rerunInboundDelivery"]["delivery"]
    assert (same["status"], same["attempts"]) == ("PROCESSED", 3)
    assert await sender.send({"lines": lines}, "msg_1") == (200, tally(duplicate=4))
    assert sorted(kind for _, _, kind, _ in await recorded(api)) == ["custom", "purchase", "purchase", "purchase"]
    # What was told at midnight happened then, whenever it was put right.
    occurred = (await api.data("{ events { nodes { occurredAt } } }"))["events"]["nodes"]
    assert {node["occurredAt"] for node in occurred} == {"2026-01-01T00:00:00.000Z"}

    some = (await api.data(RERUN_ALL, id=hook["id"], first=1))["rerunInboundDeliveries"]
    assert (some["processed"], some["failed"], some["hasNextPage"]) == (0, 1, True)
    rest = (await api.data(RERUN_ALL, id=hook["id"], first=1, after=some["endCursor"]))["rerunInboundDeliveries"]
    assert (rest["processed"], rest["failed"], rest["hasNextPage"]) == (0, 1, False)
    actions = (await api.data("{ auditLog { nodes { action } } }"))["auditLog"]["nodes"]
    assert {node["action"] for node in actions} == {
        "createInboundHook", "updateInboundHook", "rerunInboundDelivery", "rerunInboundDeliveries",
    }  # fmt: skip


async def test_what_failed_is_forgotten_with_the_pass_it_names_or_by_hand(api: Api) -> None:
    hook, sender = await hooked(api)
    await api.business.join("ann")
    for number, who in enumerate(("ann", "bob", "\ud800")):
        assert await sender.send({"who": who, "what": "\ud801"}, str(number)) == (202, tally(failed=1))
    pass_id = (await api.data('{ pass(externalId: "ann") { id } }'))["pass"]["id"]
    await api.data("mutation ($id: ID!) { erasePass(input: {id: $id}) { userErrors { code } } }", id=pass_id)
    kept = (await api.data(DELIVERIES, id=hook["id"]))["inboundDeliveries"]["nodes"]
    assert {json.loads(node["body"])["who"] for node in kept} == {"bob", "\ud800"}
    discard = f"mutation ($id: ID!) {{ discardInboundDelivery(input: {{id: $id}}) {{ discardedId {ERRORS} }} }}"
    for expected in ([], [("UNKNOWN", ["id"])]):
        gone = (await api.data(discard, id=kept[0]["id"]))["discardInboundDelivery"]
        assert codes(gone["userErrors"]) == expected
    assert (await api.data(DELIVERIES, id=hook["id"]))["inboundDeliveries"]["totalCount"] == 1
    # Put away, it lists what it kept, and runs nothing again.
    for _ in range(2):
        assert (await api.data(ARCHIVE, id=hook["id"]))["archiveInboundHook"]["hook"]["archivedAt"]
    for query, id_ in ((RERUN, kept[1]["id"]), (RERUN_ALL, hook["id"]), (ROTATE, hook["id"])):
        [payload] = (await api.data(query, id=id_)).values()
        assert [error["code"] for error in payload["userErrors"]] == ["CONFLICT"]


async def test_a_mapping_that_looks_elsewhere_begins_anew(api: Api) -> None:
    hook, sender = await hooked(api, mapping={**SALE, "items": "lines"})
    body = {"lines": [BOUGHT, {**BOUGHT, "what": "gift"}], **BOUGHT, "other": []}
    assert await sender.send(body) == (202, tally(recorded=1, failed=1))
    [kept] = (await api.data(DELIVERIES, id=hook["id"]))["inboundDeliveries"]["nodes"]
    for mapping, done in (
        ({**SALE, "items": "nowhere"}, ("FAILED", 1)),
        # The body itself: the second item, which is still to be recorded, is nowhere in it.
        ({"fields": {**SALE["fields"], "externalId": {"value": "whole"}}}, ("PROCESSED", 1)),
    ):
        await api.data(UPDATE, input={"id": hook["id"], "mapping": mapping})
        delivery = (await api.data(RERUN, id=kept["id"]))["rerunInboundDelivery"]["delivery"]
        assert (delivery["status"], delivery["events"]) == done
    assert ("shop", "whole", "purchase", "2.50") in await recorded(api)


async def test_other_senders_sign_in_their_own_way(api: Api) -> None:
    secret = "chosen by the other system"
    how = {"scheme": "HMAC_SHA256", "header": "X-Shopify-Hmac-Sha256", "encoding": "BASE64"}
    hook, sender = await hooked(api, mapping=SHOP_ORDER, verification=how, secret=secret)
    assert hook["verification"] == {**how, "header": "x-shopify-hmac-sha256", "prefix": ""}
    wrong = (await api.data(UPDATE, input={"id": hook["id"], "verification": {}}))["updateInboundHook"]
    assert codes(wrong["userErrors"]) == [("INVALID", ["verification", "scheme"])]
    order = {"id": 7, "email": "jo@example.com", "currency": "EUR", "financial_status": "paid",
             "processed_at": "2026-01-01T00:00:00.000Z", "line_items": [{"id": 1, "price": "3.10"}]}  # fmt: skip
    raw = json.dumps(order).encode()
    signature = base64.b64encode(hmac.new(secret.encode(), raw, hashlib.sha256).digest()).decode()
    headers = {"content-type": "application/json; charset=utf-8", "x-shopify-hmac-sha256": signature}
    shop = {"x-shopify-shop-domain": "kiosk.example"}
    assert await sender.post(raw, {**headers, **shop}) == (200, tally(recorded=1))
    assert await sender.post(raw, {**headers, **shop}) == (200, tally(duplicate=1))
    # The same body under other headers, which nobody signed, is no other event.
    assert await sender.post(raw, {**headers, "x-shopify-shop-domain": "x"}) == (202, tally(failed=1))
    assert (await sender.post(raw + b" ", headers))[0] == 401
    assert await recorded(api) == [("shop", "7/1", "purchase", "3.10")]

    _, wallet = await hooked(api, name="Wallet", source="google-wallet", mapping=GOOGLE_WALLET)
    for message_id in ("relayed-1", "relayed-2"):
        message = {"objectId": "ann", "eventType": "save", "nonce": "f0a1"}
        body = {"signedMessage": json.dumps(message), "receivedTimeMillis": 1_767_225_600_000}
        assert (await wallet.send(body, message_id))[0] == 200
    assert ("google-wallet", "f0a1", "pass_installed", None) in await recorded(api)
    assert len(await recorded(api)) == 2


async def test_a_mapping_is_tried_before_it_is_used(api: Api) -> None:
    await api.business.join("ann")
    body = {
        "lines": [{**BOUGHT, "paid": 2.5}, {**BOUGHT, "what": "gift"}, {**BOUGHT, "who": "bob"}, {**BOUGHT, "x": 1}]
    }
    mapping = {**SALE, "items": "lines", "when": [{"path": "x", "operator": "NOT_EXISTS"}]}
    tried = (await api.data(TRY, input={"mapping": mapping, "body": body}))["testInboundHook"]
    assert tried["userErrors"] == []
    assert [(r["index"], r["status"], codes(r["userErrors"])) for r in tried["results"]] == [
        (0, "CREATED", []),
        (1, None, [("UNKNOWN", ["body", "1", "type"])]),
        (2, "REJECTED", [("UNKNOWN", ["body", "2", "passExternalId"])]),
        (3, None, []),
    ]
    assert tried["results"][0]["event"] == {
        "passExternalId": "ann", "type": "purchase", "amount": "2.5", "externalId": "test.0",
    }  # fmt: skip
    wrong: tuple[tuple[dict[str, Any], list[tuple[str, list[str]]]], ...] = (
        ({"body": body}, [("REQUIRED", ["mapping"])]),
        ({"body": {}, "mapping": mapping}, [("REQUIRED", ["body", "items"])]),
        ({"body": {}, "mapping": {"fields": {"type": 1}}}, [
            ("INVALID", ["mapping", "fields", "type"]), ("REQUIRED", ["mapping", "fields", "passExternalId"])]),
        ({"body": {}, "hookId": "hook_none"}, [("UNKNOWN", ["hookId"])]),
    )  # fmt: skip
    for given, expected in wrong:
        refused = (await api.data(TRY, input=given))["testInboundHook"]
        assert codes(refused["userErrors"]) == expected
    faulty: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({"name": ""}, ["name"]),
        ({"source": "x" * 101}, ["source"]),
        ({"mapping": {"fields": {}}}, ["mapping", "fields", "passExternalId"]),
        ({"verification": {"scheme": "HMAC_SHA256"}}, ["verification", "header"]),
        ({"secret": "short"}, ["secret"]),
    )
    for given, path in faulty:
        wanted = {"name": "Shop", "source": "shop", "mapping": SALE, **given}
        made = (await api.data(CREATE, input=wanted))["createInboundHook"]
        assert (made["hook"], made["userErrors"][0]["field"]) == (None, path)
    assert await recorded(api) == []
    assert (await api.data("{ inboundHooks { totalCount } }"))["inboundHooks"]["totalCount"] == 0


async def test_a_sender_is_asked_to_repeat_what_could_not_be_taken(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    _, sender = await hooked(api)

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("store")

    async def spent(*_: object) -> None:
        raise Throttled(2.4)

    for patched, name, instead, answered, seconds in (
        (PassQueries, "ids_of", away, (503, "UNAVAILABLE"), "5"),
        (Budget, "spend", spent, (429, "THROTTLED"), "2"),
        (app.api.inbound, "MAX_CONCURRENT_REQUESTS", 0, (503, "UNAVAILABLE"), "5"),
        # It died between recording and the account of it: the repeat finds the event.
        (InboundQueries, "save", away, (503, "UNAVAILABLE"), "5"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(patched, name, instead)
            status, answer = await sender.send(BOUGHT)
        assert (status, answer["errors"][0]["extensions"]["code"]) == answered
        assert sender.sent[-1].headers["retry-after"] == seconds
        assert len(await recorded(api)) == int(name == "save")
    assert await sender.send(BOUGHT) == (200, tally(duplicate=1))
    # Ten at once, of which none waits for another.
    told = await asyncio.gather(*(sender.send(BOUGHT, "msg_2") for _ in range(10)))
    assert sum(answer["recorded"] for _, answer in told) == 1
    assert {status for status, _ in told} == {200}
    assert len(await recorded(api)) == 2


async def test_a_refund_names_the_order_as_its_sender_knows_it(api: Api) -> None:
    mapping = {"fields": {**SALE["fields"], "type": "what", "externalId": "id", "correctionOf": "order"}}
    _, sender = await hooked(api, mapping=mapping)
    refund = {"who": "ann", "what": "refund", "id": "r1", "order": "o1", "paid": 1}
    # It overtook its order: kept, and mended by sending both again.
    assert await sender.send(refund, "msg_2") == (202, tally(failed=1))
    assert await sender.send({**BOUGHT, "what": "purchase", "id": "o1"}) == (200, tally(recorded=1))
    assert await sender.send(refund, "msg_2") == (200, tally(recorded=1))
    nodes = (await api.data("{ events { nodes { externalId correctionOf { externalId } } } }"))["events"]["nodes"]
    assert {"externalId": "r1", "correctionOf": {"externalId": "o1"}} in nodes
