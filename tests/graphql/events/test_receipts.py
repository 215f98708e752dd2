"""Receipts at the edge: each item's fate later, whether it counts, and queries that wait until it does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.clock import FixedClock
from app.commands.events import consistency
from app.commands.workspaces.keys import create_api_key
from app.resources import Resources
from tests.business import another_business, purchases
from tests.graphql.serving import Api, codes

RECORD = """mutation ($input: RecordEventsInput!) { recordEvents(input: $input) { created duplicate failed
  results { index status event { id } userErrors { code field } } receipt { token folded pending }
  userErrors { code field } } }"""
ONE = """mutation ($input: RecordEventInput!) { recordEvent(input: $input) {
  status event { id } receipt { token folded results { status } } userErrors { code field } } }"""
RECEIPT = """query ($token: String!) { ingestReceipt(token: $token) {
  token recordedAt created duplicate failed pending folded
  results { index status folded removed event { id externalId } userErrors { code field } } } }"""
BATCH: list[dict[str, Any]] = [
    {"passExternalId": "ann", "type": "purchase", "amount": "5.00", "externalId": "new"},
    {"passExternalId": "ann", "type": "purchase", "amount": 7, "externalId": "old"},
    {"passExternalId": "ann", "type": "purchase", "amount": 8, "externalId": "old"},
    {"passExternalId": "ann", "type": "purchase", "amount": "a lot"},
    {"passExternalId": "nobody", "type": "visit"},
    {"passExternalId": "bob", "type": "visit"},
]
FATES = ["CREATED", "DUPLICATE", "CONFLICT", "REJECTED", "REJECTED", "CREATED"]


async def test_a_receipt_tells_each_items_fate_later_and_whether_it_counts(api: Api, resources: Resources) -> None:
    """WH2-02, 2.14, 3.3: a mixed batch, its fates in order, asked again by the token of its receipt."""
    await api.business.join("ann", "bob")
    await api.data(RECORD, input={"events": [BATCH[1]]})
    await api.business.settle()
    call = {"events": BATCH, "idempotencyKey": "monday"}
    answer = (await api.data(RECORD, input=call))["recordEvents"]
    assert [result["status"] for result in answer["results"]] == FATES
    assert (answer["receipt"]["folded"], answer["receipt"]["pending"]) == (False, 2)
    token = answer["receipt"]["token"]
    told = (await api.data(RECEIPT, token=token))["ingestReceipt"]
    assert (told["created"], told["duplicate"], told["failed"], told["pending"]) == (2, 1, 3, 2)
    assert [result["folded"] for result in told["results"]] == [False, True, False, False, False, False]
    await api.business.settle()
    told = (await api.data(RECEIPT, token=token))["ingestReceipt"]
    assert (told["folded"], told["pending"], told["recordedAt"]) == (True, 0, "2026-01-01T00:00:00.000Z")
    assert [result["status"] for result in told["results"]] == FATES
    assert [result["folded"] for result in told["results"]] == [True, True, False, False, False, True]
    assert [r["event"] and r["event"]["id"] for r in told["results"]] == [
        r["event"] and r["event"]["id"] for r in answer["results"]
    ]
    assert codes(told["results"][3]["userErrors"]) == [("INVALID", ["amount"])]
    query = "query ($t: String!) { ingestReceipt(token: $t) { results(statuses: [REJECTED]) { index } } }"
    some = (await api.data(query, t=token))["ingestReceipt"]["results"]
    assert [result["index"] for result in some] == [3, 4]

    again = (await api.data(RECORD, input=call))["recordEvents"]
    assert (again["created"], again["duplicate"], again["failed"]) == (0, 3, 3)
    assert again["receipt"]["token"] == token
    assert [r["event"] for r in again["results"]] == [r["event"] for r in answer["results"]]
    assert [r["userErrors"] for r in again["results"]] == [r["userErrors"] for r in answer["results"]]
    other = (await api.data(RECORD, input={**call, "events": BATCH[:2]}))["recordEvents"]
    assert codes(other["userErrors"]) == [("CONFLICT", ["idempotencyKey"])]
    assert (other["results"], other["receipt"]) == ([], None)

    stub = {"workspace": api.business.ctx.workspace.id, "pass": "pass_x", "removed": 1}
    event = (await resources.db["events"].find_one({"external_id": "new"})) or {}
    await resources.db["events"].replace_one({"_id": event["_id"]}, stub)
    told = (await api.data(RECEIPT, token=token))["ingestReceipt"]
    assert (told["results"][0]["event"], told["results"][0]["removed"]) == (None, True)


async def test_a_single_event_has_a_key_and_a_receipt_too(api: Api) -> None:
    """WH2-01, 3.1."""
    await api.business.join("ann")
    event = {"passExternalId": "ann", "type": "purchase", "amount": 1, "idempotencyKey": "k"}
    first = (await api.data(ONE, input=event))["recordEvent"]
    again = (await api.data(ONE, input=event))["recordEvent"]
    assert (first["status"], again["status"]) == ("CREATED", "DUPLICATE")
    assert first["event"] == again["event"]
    assert first["receipt"]["token"] == again["receipt"]["token"]
    assert again["receipt"]["results"] == [{"status": "CREATED"}]
    other = (await api.data(ONE, input={**event, "amount": 2}))["recordEvent"]
    assert (other["status"], codes(other["userErrors"])) == (None, [("CONFLICT", ["idempotencyKey"])])
    misplaced = (await api.data(RECORD, input={"events": [event]}))["recordEvents"]
    assert codes(misplaced["userErrors"]) == [("INVALID", ["events", "0", "idempotencyKey"])]


async def test_a_token_of_another_workspace_or_of_nobody_finds_nothing(
    api: Api, resources: Resources, clock: FixedClock
) -> None:
    other = await another_business(resources, clock, "Other")
    await api.business.join("ann")
    token = (await api.data(ONE, input={"passExternalId": "ann", "type": "visit"}))["recordEvent"]["receipt"]["token"]
    _, api.secret = await create_api_key(other.ctx, "theirs", ["admin"])
    for each in (token, "", "nonsense", "é", token[:-1], "A" * 5_000):
        assert (await api.data(RECEIPT, token=each))["ingestReceipt"] is None
        refusal = await api.refusal(
            "query ($t: String) { passes(consistency: AT_LEAST, token: $t) { nodes { id } } }", t=each
        )
        assert refusal["extensions"]["code"] == "BAD_USER_INPUT"
        assert refusal["extensions"]["problems"][0]["field"] == ["token"]


WAITING = {
    "pass": '{ pass(externalId: "ann", consistency: AT_LEAST, token: "%s") { statistics { eventCount } } }',
    "passes": '{ passes(consistency: AT_LEAST, token: "%s") { nodes { statistics { eventCount } } } }',
    "segment": '{ segment(key: "one", consistency: AT_LEAST, token: "%s") { memberCount } }',
    "segments": '{ segments(consistency: AT_LEAST, token: "%s") { nodes { memberCount } } }',
    "pass.activity": '{ pass(externalId: "ann") {'
    ' activity(last: 1, consistency: AT_LEAST, token: "%s") { nodes { type } } } }',
    "activity": '{ activity(last: 2, consistency: AT_LEAST, token: "%s") { nodes { type } } }',
}
SEEN = {
    "pass": {"statistics": {"eventCount": 1}},
    "passes": {"nodes": [{"statistics": {"eventCount": 1}}]},
    "segment": {"memberCount": 1},
    "segments": {"nodes": [{"memberCount": 1}]},
    "pass.activity": {"activity": {"nodes": [{"type": "customer.segment.entered"}]}},
    "activity": {"nodes": [{"type": "customer.custom_event"}, {"type": "customer.segment.entered"}]},
}


async def test_a_query_may_wait_for_what_was_just_written(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """2.7: consistency AT_LEAST: read your writes, in statistics, segments and the feed."""
    await api.business.join("ann")
    await api.business.segment("one", purchases(1), notify="EMIT")
    answer = await api.data(ONE, input={"passExternalId": "ann", "type": "purchase"})
    token = answer["recordEvent"]["receipt"]["token"]
    with monkeypatch.context() as patch:
        patch.setattr(consistency, "WAIT_TIMEOUT_SECONDS", 0.0)
        for name, query in WAITING.items():
            refusal = await api.refusal(query % token)
            assert (refusal["extensions"]["code"], refusal["path"]) == ("UNAVAILABLE", name.split("."))
    asked = {name: asyncio.create_task(api.data(query % token)) for name, query in WAITING.items()}
    await api.data("{ viewer { workspace { name } } }")
    assert not any(task.done() for task in asked.values())
    await api.business.settle()
    for name, task in asked.items():
        assert (await task)[name.split(".")[0]] == SEEN[name]


async def test_events_and_what_is_worked_out_of_them_show_everything_at_once(api: Api) -> None:
    await api.business.join("ann")
    answer = await api.data(ONE, input={"passExternalId": "ann", "type": "purchase", "amount": 5})
    token = answer["recordEvent"]["receipt"]["token"]
    for asked in ("EVENTUAL", f'AT_LEAST, token: "{token}"', "STRONG"):
        data = await api.data(
            f"{{ events(consistency: {asked}) {{ totalCount }}"
            f' aggregateEvents(input: {{function: SUM, field: "amount", consistency: {asked}}}) {{ value }} }}'
        )
        assert data == {"events": {"totalCount": 1}, "aggregateEvents": {"value": "5"}}

    for query, code, field in (
        ('{ pass(externalId: "ann", consistency: AT_LEAST) { id } }', "REQUIRED", ["token"]),
        ('{ pass(externalId: "ann", consistency: STRONG) { id } }', "UNSUPPORTED", ["consistency"]),
        ('{ events(consistency: AT_LEAST, token: "x") { nodes { id } } }', "UNKNOWN", ["token"]),
        (
            '{ aggregateEvents(input: {function: COUNT, consistency: AT_LEAST, token: "x"}) { value } }',
            "UNKNOWN",
            ["input", "token"],
        ),
    ):
        [problem] = (await api.refusal(query))["extensions"]["problems"]
        assert (problem["code"], problem["field"]) == (code, field)
