"""Receipts in GraphQL: the outcome of each item, whether it is folded, and queries that wait until it is folded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.clock import FixedClock
from app.commands.events import consistency
from app.commands.workspaces.keys import create_api_key
from app.resources import Resources
from tests.business import create_business, purchases
from tests.graphql.serving import Api, list_codes

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
OUTCOMES = ["CREATED", "DUPLICATE", "CONFLICT", "REJECTED", "REJECTED", "CREATED"]


async def test_receipt_returns_the_outcome_of_each_item_and_whether_it_is_folded(
    api: Api, resources: Resources
) -> None:
    """WH2-02: a batch with all outcomes, in order, and read again later by the token of its receipt."""
    await api.business.create_passes("ann", "bob")
    await api.fetch_data(RECORD, input={"events": [BATCH[1]]})
    await api.business.run_worker()
    call = {"events": BATCH, "idempotencyKey": "monday"}
    answer = (await api.fetch_data(RECORD, input=call))["recordEvents"]
    assert [result["status"] for result in answer["results"]] == OUTCOMES
    assert (answer["receipt"]["folded"], answer["receipt"]["pending"]) == (False, 2)
    token = answer["receipt"]["token"]
    receipt = (await api.fetch_data(RECEIPT, token=token))["ingestReceipt"]
    assert (receipt["created"], receipt["duplicate"], receipt["failed"], receipt["pending"]) == (2, 1, 3, 2)
    assert [result["folded"] for result in receipt["results"]] == [False, True, False, False, False, False]
    await api.business.run_worker()
    receipt = (await api.fetch_data(RECEIPT, token=token))["ingestReceipt"]
    assert (receipt["folded"], receipt["pending"], receipt["recordedAt"]) == (True, 0, "2026-01-01T00:00:00.000Z")
    assert [result["status"] for result in receipt["results"]] == OUTCOMES
    assert [result["folded"] for result in receipt["results"]] == [True, True, False, False, False, True]
    assert [r["event"] and r["event"]["id"] for r in receipt["results"]] == [
        r["event"] and r["event"]["id"] for r in answer["results"]
    ]
    assert list_codes(receipt["results"][3]["userErrors"]) == [("INVALID", ["amount"])]
    query = "query ($t: String!) { ingestReceipt(token: $t) { results(statuses: [REJECTED]) { index } } }"
    rejected = (await api.fetch_data(query, t=token))["ingestReceipt"]["results"]
    assert [result["index"] for result in rejected] == [3, 4]

    repeated = (await api.fetch_data(RECORD, input=call))["recordEvents"]
    assert (repeated["created"], repeated["duplicate"], repeated["failed"]) == (0, 3, 3)
    assert repeated["receipt"]["token"] == token
    assert [r["event"] for r in repeated["results"]] == [r["event"] for r in answer["results"]]
    assert [r["userErrors"] for r in repeated["results"]] == [r["userErrors"] for r in answer["results"]]
    other = (await api.fetch_data(RECORD, input={**call, "events": BATCH[:2]}))["recordEvents"]
    assert list_codes(other["userErrors"]) == [("CONFLICT", ["idempotencyKey"])]
    assert (other["results"], other["receipt"]) == ([], None)

    stub = {"workspace": api.business.ctx.workspace.id, "pass": "pass_x", "removed": 1}
    event = (await resources.db["events"].find_one({"external_id": "new"})) or {}
    await resources.db["events"].replace_one({"_id": event["_id"]}, stub)
    receipt = (await api.fetch_data(RECEIPT, token=token))["ingestReceipt"]
    assert (receipt["results"][0]["event"], receipt["results"][0]["removed"]) == (None, True)


async def test_recordEvent_takes_an_idempotency_key_and_returns_a_receipt(api: Api) -> None:
    """WH2-01: a repeat with the same key returns the same event; a repeat with another body is a conflict."""
    await api.business.create_passes("ann")
    event = {"passExternalId": "ann", "type": "purchase", "amount": 1, "idempotencyKey": "k"}
    first = (await api.fetch_data(ONE, input=event))["recordEvent"]
    repeated = (await api.fetch_data(ONE, input=event))["recordEvent"]
    assert (first["status"], repeated["status"]) == ("CREATED", "DUPLICATE")
    assert first["event"] == repeated["event"]
    assert first["receipt"]["token"] == repeated["receipt"]["token"]
    assert repeated["receipt"]["results"] == [{"status": "CREATED"}]
    other = (await api.fetch_data(ONE, input={**event, "amount": 2}))["recordEvent"]
    assert (other["status"], list_codes(other["userErrors"])) == (None, [("CONFLICT", ["idempotencyKey"])])
    misplaced = (await api.fetch_data(RECORD, input={"events": [event]}))["recordEvents"]
    assert list_codes(misplaced["userErrors"]) == [("INVALID", ["events", "0", "idempotencyKey"])]


async def test_token_of_another_workspace_or_an_invalid_token_finds_no_receipt(
    api: Api, resources: Resources, clock: FixedClock
) -> None:
    other = await create_business(resources, clock, "Other")
    await api.business.create_passes("ann")
    token = (await api.fetch_data(ONE, input={"passExternalId": "ann", "type": "visit"}))["recordEvent"]["receipt"][
        "token"
    ]
    _, api.secret = await create_api_key(other.ctx, "theirs", ["admin"])
    for each in (token, "", "nonsense", "é", token[:-1], "A" * 5_000):
        assert (await api.fetch_data(RECEIPT, token=each))["ingestReceipt"] is None
        refusal = await api.fetch_error(
            "query ($t: String) { passes(consistency: AT_LEAST, token: $t) { nodes { id } } }", t=each
        )
        assert refusal["extensions"]["code"] == "BAD_USER_INPUT"
        assert refusal["extensions"]["problems"][0]["field"] == ["token"]


WAITING_QUERIES = {
    "pass": '{ pass(externalId: "ann", consistency: AT_LEAST, token: "%s") { statistics { eventCount } } }',
    "passes": '{ passes(consistency: AT_LEAST, token: "%s") { nodes { statistics { eventCount } } } }',
    "segment": '{ segment(key: "one", consistency: AT_LEAST, token: "%s") { memberCount } }',
    "segments": '{ segments(consistency: AT_LEAST, token: "%s") { nodes { memberCount } } }',
    "pass.activity": '{ pass(externalId: "ann") {'
    ' activity(last: 1, consistency: AT_LEAST, token: "%s") { nodes { type } } } }',
    "activity": '{ activity(last: 2, consistency: AT_LEAST, token: "%s") { nodes { type } } }',
}
FOLDED_ANSWERS = {
    "pass": {"statistics": {"eventCount": 1}},
    "passes": {"nodes": [{"statistics": {"eventCount": 1}}]},
    "segment": {"memberCount": 1},
    "segments": {"nodes": [{"memberCount": 1}]},
    "pass.activity": {"activity": {"nodes": [{"type": "customer.segment.entered"}]}},
    "activity": {"nodes": [{"type": "customer.custom_event"}, {"type": "customer.segment.entered"}]},
}


async def test_query_with_a_token_waits_until_the_recorded_event_is_folded(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With consistency AT_LEAST a client reads its own writes in statistics, segments and the activity feed."""
    await api.business.create_passes("ann")
    await api.business.create_segment("one", purchases(1), notify="EMIT")
    answer = await api.fetch_data(ONE, input={"passExternalId": "ann", "type": "purchase"})
    token = answer["recordEvent"]["receipt"]["token"]
    with monkeypatch.context() as patch:
        patch.setattr(consistency, "WAIT_TIMEOUT_SECONDS", 0.0)
        for name, query in WAITING_QUERIES.items():
            refusal = await api.fetch_error(query % token)
            assert (refusal["extensions"]["code"], refusal["path"]) == ("UNAVAILABLE", name.split("."))
    tasks = {name: asyncio.create_task(api.fetch_data(query % token)) for name, query in WAITING_QUERIES.items()}
    await api.fetch_data("{ viewer { workspace { name } } }")
    assert not any(task.done() for task in tasks.values())
    await api.business.run_worker()
    for name, task in tasks.items():
        assert (await task)[name.split(".")[0]] == FOLDED_ANSWERS[name]


async def test_events_and_aggregates_include_a_recorded_event_before_it_is_folded(api: Api) -> None:
    await api.business.create_passes("ann")
    answer = await api.fetch_data(ONE, input={"passExternalId": "ann", "type": "purchase", "amount": 5})
    token = answer["recordEvent"]["receipt"]["token"]
    for consistency_text in ("EVENTUAL", f'AT_LEAST, token: "{token}"', "STRONG"):
        data = await api.fetch_data(
            f"{{ events(consistency: {consistency_text}) {{ totalCount }}"
            f' aggregateEvents(input: {{function: SUM, field: "amount", consistency: {consistency_text}}})'
            " { value } }"
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
        [problem] = (await api.fetch_error(query))["extensions"]["problems"]
        assert (problem["code"], problem["field"]) == (code, field)
