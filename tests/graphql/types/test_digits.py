"""Amounts and points come back with the digits that were sent, whatever the channel (decision 0040)."""

from __future__ import annotations

import json

import pytest

from app.commands.inbound.deliveries import Message, receive_message
from app.commands.inbound.hooks import create_inbound_hook
from app.commands.jobs.exports import export_events
from app.commands.jobs.imports import import_events
from app.domain.events.event_queries import EventQuery
from app.domain.files.exports import ExportFormat
from app.domain.files.imports import ImportFormat
from tests.graphql.serving import Api
from tests.workers.jobs.test_exports import read_lines
from tests.workers.jobs.test_imports import File, run_to_end

SENT = {"25.00": "25.00", "25": "25", "0.10": "0.10", "1e2": "100", "7.000000": "7.000000", "7.0000000": "7.000000"}
"""Numbers as they are sent, and as they come back. An exponent is written out, and 6 places are kept."""
EVENTS = "{ events(first: 250) { nodes { externalId amount points } } }"


async def read_amounts(api: Api) -> dict[str, tuple[str, str]]:
    nodes = (await api.fetch_data(EVENTS))["events"]["nodes"]
    return {node["externalId"]: (node["amount"], node["points"]) for node in nodes}


@pytest.mark.parametrize("as_text", [False, True], ids=["number", "text"])
async def test_amount_sent_by_the_api_comes_back_with_its_digits(api: Api, as_text: bool) -> None:
    await api.business.create_passes("ann")
    for sent in SENT:
        value = f'"{sent}"' if as_text else sent
        event = f'{{"type": "purchase", "passExternalId": "ann", "externalId": "{sent}", "amount": {value}'
        event += f', "points": {value}}}'
        query = "mutation ($e: [RecordEventInput!]!) { recordEvents(input: {events: $e}) { created } }"
        body = f'{{"query": {json.dumps(query)}, "variables": {{"e": [{event}]}}}}'
        assert (await api.post(body)).json()["data"]["recordEvents"]["created"] == 1
        literal = f'passExternalId: "ann", externalId: "inline {sent}", amount: {value}, points: {value}'
        data = await api.fetch_data(
            f"mutation {{ recordPurchase(input: {{{literal}}}) {{ event {{ amount points }} }} }}"
        )
        assert data["recordPurchase"]["event"] == {"amount": SENT[sent], "points": SENT[sent]}
    found = await read_amounts(api)
    assert {name.removeprefix("inline "): digits for name, (digits, _) in found.items()} == SENT
    assert all(amount == points for amount, points in found.values())


async def test_amount_of_a_hook_or_a_file_comes_back_with_its_digits(api: Api) -> None:
    business, ctx = api.business, api.business.ctx
    mapping = {
        "fields": {
            "passExternalId": "who", "externalId": "id", "amount": "paid", "type": {"value": "purchase"},
            "points": {"path": "points", "default": "25.00"},
        }
    }  # fmt: skip
    hook, _ = await create_inbound_hook(ctx, "Shop", "shop", mapping, create_missing_passes=True)
    for sent in SENT:
        body = f'{{"who": "ann", "id": "hook {sent}", "paid": {sent}}}'.encode()
        await receive_message(ctx.resources, Message(hook, sent, body, {}))
    lines = "".join(
        f'{{"passExternalId": "ann", "externalId": "line {sent}", "type": "purchase", "amount": {sent}}}\n'
        for sent in SENT
    )
    await run_to_end(business, await import_events(ctx, File(lines, "lines.jsonl"), kind=ImportFormat.JSONL))
    rows = [
        "customer_id,external_id,date,amount",
        *(f"ann,cell {sent},2025-12-01,{sent}" for sent in SENT if "e" not in sent),
    ]
    await run_to_end(business, await import_events(ctx, File("\n".join(rows), "rows.csv")))
    found = await read_amounts(api)
    assert {sent: found[f"hook {sent}"] for sent in SENT} == {sent: (digits, "25.00") for sent, digits in SENT.items()}
    assert {sent: found[f"line {sent}"][0] for sent in SENT} == SENT
    assert {sent: found[f"cell {sent}"][0] for sent in SENT if "e" not in sent} == {
        sent: digits for sent, digits in SENT.items() if "e" not in sent
    }
    job = await run_to_end(business, await export_events(ctx, EventQuery(), ExportFormat.JSONL))
    exported = {line["externalId"]: line["amount"] for line in await read_lines(business, job)}
    assert exported == {name: amount for name, (amount, _) in found.items()}


async def test_sum_has_as_many_places_as_its_most_precise_amount(api: Api) -> None:
    sales = [{"amount": "25.00"}, {"amount": "0.5"}, {"amount": "1.125"}, {"amount": "3", "type": "refund"}]
    await api.business.record(*sales)
    await api.business.run_worker()
    query = """{ aggregateEvents(input: {function: SUM}) { value }
      pass(externalId: "ann") { statistics { spend { gross refunded net } } } }"""
    data = await api.fetch_data(query)
    assert data["aggregateEvents"]["value"] == "23.625"
    assert data["pass"]["statistics"]["spend"] == [{"gross": "26.625", "refunded": "3", "net": "23.625"}]
