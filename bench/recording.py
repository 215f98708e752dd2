"""The parts `record` and `history`: recordEvents beside bare inserts, and a page of events beside a bare find."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Decimal128
from pymongo import DESCENDING

from app.commands.events.receipts import record_call
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import EventInput
from app.domain.events.receipts import RecordStatus
from app.domain.ids import event_id, slot_of
from app.domain.values.instants import truncate
from app.store.mongo.paging import PageRequest
from app.store.mongo.queries import Database, Doc

from .http import Client
from .stock import Stock
from .timing import Processes, Run, Side, compare

PAGE = 50
CACHED_PASSES = 1_000
_numbers = itertools.count(1)

RECORD = """mutation Record($events: [RecordEventInput!]!) {
  recordEvents(input: {events: $events}) {
    created duplicate failed results { status event { id } userErrors { code } }
  }
}"""
RECORD_ONE = """mutation Record($event: RecordEventInput!) {
  recordEvent(input: $event) { status event { id } userErrors { code } }
}"""
HISTORY = """query History($id: String!) {
  pass(externalId: $id) { events(first: 50) { edges { cursor node {
    id category type amount currency source externalId metadata occurredAt recordedAt } } pageInfo { hasNextPage } } }
}"""


def generate_items(stock: Stock, count: int, passes: int, among: int | None = None) -> list[dict[str, object]]:
    """Return `count` new purchases of the last seconds, spread over `passes` passes, as fields of RecordEventInput.

    The passes are a sample of the first `among` passes of the stock, or of all.
    """
    run = next(_numbers)
    chance = random.Random(run)
    now = truncate(datetime.now(UTC))
    candidates = stock.passes[:among]
    sample = chance.sample(candidates, min(passes, count, len(candidates)))
    return [
        {
            "passExternalId": sample[number % len(sample)][1],
            "type": "purchase",
            "amount": f"{chance.randrange(1, 200)}.{chance.randrange(100):02}",
            "occurredAt": (now - timedelta(milliseconds=count - number)).isoformat(),
            "externalId": f"run-{run}-{number}",
            "source": "till",
            "metadata": {"store": f"store-{chance.randrange(20)}", "items": chance.randrange(1, 9)},
        }
        for number in range(count)
    ]


_INPUT_NAMES = {"passExternalId": "pass_external_id", "occurredAt": "occurred_at", "externalId": "external_id"}


def to_inputs(sent: Sequence[dict[str, object]]) -> list[EventInput]:
    """Return the items as the inputs of the command."""
    return [EventInput(**{_INPUT_NAMES.get(key, key): value for key, value in item.items()}) for item in sent]


async def delete_pending(stock: Stock) -> None:
    """Delete the recorded events, which are still pending, from both databases."""
    for db in (stock.ctx.resources.db, stock.bare):
        await db["events"].delete_many({"pend": {"$gte": 0}})


async def measure_recording(
    stock: Stock, processes: Processes, client: Client | None, count: int, rounds: int
) -> list[Side]:
    """Measure a batch of `count` events: bare, by the command in process, and with a client over HTTP.

    The events are on passes that the process has cached: the first batch, which is not measured, reads them.
    """
    ctx, ids = stock.ctx, {external_id: pass_id for pass_id, external_id in stock.passes}
    events: Any = stock.bare["events"]
    now = truncate(await ctx.now())

    async def prepare_bare() -> Run:
        docs: list[Doc] = []
        for item, sent in zip(raw := generate_items(stock, count, count, CACHED_PASSES), to_inputs(raw), strict=True):
            docs.append(_event_document(stock, sent, ids[str(item["passExternalId"])], now))
        if count == 1:
            return lambda: events.insert_one(docs[0])
        return lambda: events.insert_many(docs, ordered=False)

    async def prepare_in_process() -> Run:
        sent = to_inputs(generate_items(stock, count, count, CACHED_PASSES))

        async def run() -> None:
            receipt = await record_call(ctx, sent)
            assert all(result.status is RecordStatus.CREATED for result in receipt.outcome.results)

        return run

    async def prepare_by_http() -> Run:
        assert client is not None
        sent = generate_items(stock, count, count, CACHED_PASSES)
        name = "recordEvents" if count > 1 else "recordEvent"
        query, variables = (RECORD, {"events": sent}) if count > 1 else (RECORD_ONE, {"event": sent[0]})
        body = client.body(query, variables)

        async def run() -> None:
            answer = await client.send(body)
            payload = answer["data"][name]
            assert (payload["created"] == count) if count > 1 else (payload["status"] == "CREATED"), answer

        return run

    sides = [Side("bare insert", prepare_bare, count), Side("in process", prepare_in_process, count)]
    if client is not None:
        sides.append(Side("by HTTP", prepare_by_http, count))

    async def clean() -> None:
        await delete_pending(stock)

    await compare(sides, processes, rounds=rounds, runs=1 if count > 1 else 40, clean=clean)
    await clean()
    return sides


def _event_document(stock: Stock, sent: EventInput, pass_id: str, now: object) -> Doc:
    """Return the document that the command would store for the item, without calling the command."""
    return {
        "_id": event_id(stock.ctx.workspace.id, str(sent.source), str(sent.external_id)),
        "workspace": stock.ctx.workspace.id,
        "pass": pass_id,
        "category": "TRANSACTION",
        "type": sent.type,
        "source": sent.source,
        "occurred_at": now,
        "recorded_at": now,
        "origin": {"channel": "API", "actor": "key_bench"},
        "ph": b"0123456789abcdef",
        "pend": slot_of(pass_id),
        "amount": Decimal128(str(sent.amount)),
        "metadata": sent.metadata,
        "currency": "USD",
        "external_id": sent.external_id,
    }


async def measure_history(stock: Stock, processes: Processes, client: Client | None, rounds: int) -> list[Side]:
    """Measure reading the newest 50 events of a pass: bare, by the query in process, and with a client over HTTP."""
    chance = random.Random(1)
    external_ids = dict(stock.passes)
    events: Any = _events(stock.ctx.resources.db)

    async def prepare_bare() -> Run:
        where = {"workspace": stock.ctx.workspace.id, "pass": chance.choice(stock.long_pass_ids)}
        order = [("occurred_at", DESCENDING), ("_id", DESCENDING)]

        async def run() -> None:
            assert len(await events.find(where).sort(order).limit(PAGE).to_list(None)) == PAGE

        return run

    async def prepare_in_process() -> Run:
        query = EventQuery(pass_id=chance.choice(stock.long_pass_ids))

        async def run() -> None:
            page = await stock.ctx.workspace.events.page(query, PageRequest(PAGE))
            assert len(page.items) == PAGE

        return run

    async def prepare_by_http() -> Run:
        assert client is not None
        body = client.body(HISTORY, {"id": external_ids[chance.choice(stock.long_pass_ids)]})

        async def run() -> None:
            answer = await client.send(body)
            assert len(answer["data"]["pass"]["events"]["edges"]) == PAGE, answer

        return run

    sides = [Side("bare find", prepare_bare), Side("in process", prepare_in_process)]
    if client is not None:
        sides.append(Side("by HTTP", prepare_by_http))
    await compare(sides, processes, rounds=rounds, runs=40)
    return sides


def _events(db: Database) -> Any:
    return db["events"]
