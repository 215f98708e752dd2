"""Payloads of recording mutations: the pass with the event, or the statement that it is not counted yet, and remarks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.commands.events import consistency
from app.domain.errors import Unavailable
from app.store.workspace.receipts import FoldStateQueries
from tests.graphql.serving import Api, list_codes

PASS = "pass { externalId pointsBalance statistics { eventCount } }"
ONE = f"""mutation ($input: RecordEventInput!) {{ recordEvent(input: $input) {{
  status folded {PASS} event {{ id {PASS} }} warnings {{ code message field }} userErrors {{ code field }} }} }}"""
MANY = f"""mutation ($input: RecordEventsInput!) {{ recordEvents(input: $input) {{ folded userErrors {{ code field }}
  results {{ status folded {PASS} event {{ id {PASS} }} warnings {{ code field }} }} }} }}"""
SHORT_FORMS: dict[str, dict[str, object]] = {
    "recordPurchase": {"amount": 1},
    "recordRefund": {"amount": 1},
    "recordCheckIn": {},
    "recordActivity": {"type": "scan"},
    "recordFieldChange": {"fieldName": "size", "newValue": "L"},
}


def shown(payload: dict[str, Any]) -> list[tuple[bool, str, int]]:
    """Return (folded, balance, number of events) as `pass` shows it, and as `event.pass` shows it."""
    cards = (payload["pass"], payload["event"]["pass"])
    return [(payload["folded"], card["pointsBalance"], card["statistics"]["eventCount"]) for card in cards]


async def answer_while_the_worker_runs(api: Api, query: str, **sent: Any) -> dict[str, Any]:
    """Send a mutation that waits, let it record, then run the worker, and return the payload."""
    task = asyncio.create_task(api.fetch_data(query, input=sent))
    events, before = api.business.ctx.resources.db["events"], 0
    while not task.done() and not before:
        before = await events.count_documents({"pend": {"$gte": 0}})
    await api.business.run_worker()
    [payload] = (await task).values()
    found: dict[str, Any] = payload
    return found


async def test_answer_shows_the_pass_with_the_event_or_says_that_it_is_not_folded(api: Api) -> None:
    await api.business.create_passes("ann")
    event = {"passExternalId": "ann", "type": "visit", "points": 100, "externalId": "a"}
    first = (await api.fetch_data(ONE, input=event))["recordEvent"]
    assert (first["status"], shown(first)) == ("CREATED", [(False, "0", 0)] * 2)
    await api.business.run_worker()
    repeated = (await api.fetch_data(ONE, input=event))["recordEvent"]
    assert (repeated["status"], shown(repeated)) == ("DUPLICATE", [(True, "100", 1)] * 2)
    waited = await answer_while_the_worker_runs(api, ONE, **{**event, "externalId": "b"}, wait="FOLDED")
    assert (waited["status"], shown(waited)) == ("CREATED", [(True, "200", 2)] * 2)


async def test_every_short_form_waits_until_its_event_is_folded(api: Api) -> None:
    await api.business.create_passes("ann")
    for number, (name, values) in enumerate(SHORT_FORMS.items(), start=1):
        kind = f"{name[0].upper()}{name[1:]}Input"
        query = f"mutation ($input: {kind}!) {{ {name}(input: $input) {{ folded {PASS} event {{ {PASS} }} }} }}"
        payload = await answer_while_the_worker_runs(
            api, query, passExternalId="ann", points=10, wait="FOLDED", **values
        )
        assert shown(payload) == [(True, str(number * 10), number)] * 2, name


async def test_recordEvents_waits_for_all_its_events(api: Api) -> None:
    await api.business.create_passes("ann", "bob")
    events: list[dict[str, object]] = [
        {"passExternalId": "ann", "type": "visit", "points": 5},
        {"passExternalId": "bob", "type": "visit", "points": 7},
        {"passExternalId": "nobody", "type": "visit"},
    ]
    not_waited = (await api.fetch_data(MANY, input={"events": events}))["recordEvents"]
    assert (not_waited["folded"], [r["folded"] for r in not_waited["results"]]) == (False, [False, False, False])
    await api.business.run_worker()
    waited = await answer_while_the_worker_runs(api, MANY, events=events, wait="FOLDED")
    assert (waited["folded"], [r["folded"] for r in waited["results"]]) == (True, [True, True, False])
    assert [shown(result) for result in waited["results"][:2]] == [[(True, "10", 2)] * 2, [(True, "14", 2)] * 2]
    assert (waited["results"][2]["status"], waited["results"][2]["pass"]) == ("REJECTED", None)
    misplaced = (await api.fetch_data(MANY, input={"events": [{**events[0], "wait": "FOLDED"}]}))["recordEvents"]
    assert list_codes(misplaced["userErrors"]) == [("INVALID", ["events", "0", "wait"])]


async def test_event_is_recorded_although_nobody_folds_it_in_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.business.create_passes("ann")
    monkeypatch.setattr(consistency, "WAIT_TIMEOUT_SECONDS", 0.0)
    event = {"passExternalId": "ann", "type": "visit", "points": 5, "wait": "FOLDED"}
    payload = (await api.fetch_data(ONE, input=event))["recordEvent"]
    assert (payload["status"], shown(payload)) == ("CREATED", [(False, "0", 0)] * 2)


async def test_event_is_recorded_although_the_store_stops_answering_while_it_waits(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.business.create_passes("ann")

    async def fail(*_: object) -> None:
        raise Unavailable("store")

    monkeypatch.setattr(FoldStateQueries, "read", fail)
    for wait in ("FOLDED", "NONE"):
        event = {"passExternalId": "ann", "type": "visit", "wait": wait}
        payload = (await api.fetch_data(ONE, input=event))["recordEvent"]
        assert (payload["status"], payload["folded"]) == ("CREATED", False)


async def test_second_mutation_of_an_operation_reads_the_pass_anew(api: Api) -> None:
    """The first mutation reads the pass, and a worker counts its event before the second one is executed."""
    await api.business.create_passes("ann")
    await api.fetch_data(ONE, input={"passExternalId": "ann", "type": "visit", "points": 5})
    worker = asyncio.create_task(run_worker_when_recorded(api, "second"))
    query = f"""mutation ($one: RecordEventInput!, $two: RecordEventInput!) {{
      one: recordEvent(input: $one) {{ {PASS} }}
      two: recordEvent(input: $two) {{ folded {PASS} event {{ {PASS} }} }} }}"""
    base = {"passExternalId": "ann", "type": "visit", "points": 5}
    data = await api.fetch_data(query, one=base, two={**base, "externalId": "second", "wait": "FOLDED"})
    await worker
    assert data["one"]["pass"]["pointsBalance"] == "0"
    assert shown(data["two"]) == [(True, "15", 3)] * 2


async def run_worker_when_recorded(api: Api, external_id: str) -> None:
    while not await api.business.ctx.resources.db["events"].count_documents({"external_id": external_id}):
        await asyncio.sleep(0)
    await api.business.run_worker()


async def test_refund_that_keeps_the_points_says_so(api: Api) -> None:
    """A whole refund takes back the money of the purchase. Points are taken back by negative points only."""
    await api.business.create_passes("ann")
    purchase = {"passExternalId": "ann", "type": "purchase", "amount": 40, "points": 100, "externalId": "sale"}
    bought = (await api.fetch_data(ONE, input=purchase))["recordEvent"]
    assert bought["warnings"] == []
    refund = {"passExternalId": "ann", "type": "refund", "correctionOf": bought["event"]["id"], "externalId": "back"}
    for status in ("CREATED", "DUPLICATE"):
        payload = (await api.fetch_data(ONE, input=refund))["recordEvent"]
        [warning] = payload["warnings"]
        assert (payload["status"], warning["code"], warning["field"]) == (status, "POINTS_KEPT", ["points"])
        assert "added 100" in warning["message"]
    batch = [{**refund, "externalId": "again"}, {**refund, "externalId": "with points", "points": -100}]
    results = (await api.fetch_data(MANY, input={"events": batch}))["recordEvents"]["results"]
    assert [result["warnings"] for result in results] == [
        [{"code": "POINTS_KEPT", "field": ["events", "0", "points"]}],
        [],
    ]
    # Neither a correction that is no refund, nor a refund of a purchase without points, leaves points behind.
    without = (await api.fetch_data(ONE, input={**purchase, "externalId": "plain", "points": 0}))["recordEvent"]
    for correction in (
        {**refund, "externalId": "x", "correctionOf": without["event"]["id"]},
        {**refund, "externalId": "y", "type": "visit"},
        {**refund, "externalId": "z", "type": "purchase", "amount": 1},
    ):
        assert (await api.fetch_data(ONE, input=correction))["recordEvent"]["warnings"] == []
