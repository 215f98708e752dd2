"""recordEvents beside bare inserts of the same documents, and a page of history beside a bare find."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Decimal128
from pymongo import DESCENDING

from app.commands.events.receipts import record_call
from app.domain.events.events import EventInput, EventQuery
from app.domain.events.receipts import RecordStatus
from app.domain.ids import event_id, slot_of
from app.domain.values.instants import truncate
from app.store.mongo.paging import PageRequest
from app.store.mongo.queries import Database, Doc

from .http import Client
from .stock import Stock
from .timing import Act, Processes, Side, compared

PAGE = 50
KNOWN = 1_000
_numbers = itertools.count(1)

RECORD = """mutation Record($events: [RecordEventInput!]!) {
  recordEvents(input: {events: $events}) { created duplicate failed results { status event { id } userErrors { code } } }
}"""
RECORD_ONE = """mutation Record($event: RecordEventInput!) {
  recordEvent(input: $event) { status event { id } userErrors { code } }
}"""
HISTORY = """query History($id: String!) {
  pass(externalId: $id) { events(first: 50) { edges { cursor node {
    id category type amount currency source externalId metadata occurredAt recordedAt } } pageInfo { hasNextPage } } }
}"""


def items(stock: Stock, count: int, passes: int, among: int | None = None) -> list[dict[str, object]]:
    """So many purchases never seen before, of the last moments, spread over so many passes, as a till would send them.

    The passes are chosen among the first `among` of the stock, or all.
    """
    run = next(_numbers)
    chance = random.Random(run)
    now = truncate(datetime.now(UTC))
    choice = stock.cards[:among]
    cards = chance.sample(choice, min(passes, count, len(choice)))
    return [
        {
            "passExternalId": cards[place % len(cards)][1],
            "type": "purchase",
            "amount": f"{chance.randrange(1, 200)}.{chance.randrange(100):02}",
            "occurredAt": (now - timedelta(milliseconds=count - place)).isoformat(),
            "externalId": f"run-{run}-{place}",
            "source": "till",
            "metadata": {"store": f"store-{chance.randrange(20)}", "items": chance.randrange(1, 9)},
        }
        for place in range(count)
    ]


_SPELT = {"passExternalId": "pass_external_id", "occurredAt": "occurred_at", "externalId": "external_id"}


def inputs(sent: Sequence[dict[str, object]]) -> list[EventInput]:
    """The same items as the command takes them."""
    return [EventInput(**{_SPELT.get(key, key): value for key, value in item.items()}) for item in sent]


async def cleaned(stock: Stock) -> None:
    """Takes what was recorded out again, on both sides."""
    for db in (stock.ctx.resources.db, stock.bare):
        await db["events"].delete_many({"pend": {"$gte": 0}})


async def recording(stock: Stock, processes: Processes, client: Client | None, count: int, rounds: int) -> list[Side]:
    """A batch of `count` events: bare, by the command in process, and with a client by HTTP.

    On passes that the process has seen before: the first batch, unmeasured, looks them up.
    """
    ctx, ids = stock.ctx, {external_id: pass_id for pass_id, external_id in stock.cards}
    events: Any = stock.bare["events"]
    now = truncate(await ctx.now())

    async def bare() -> Act:
        docs: list[Doc] = []
        for item, sent in zip(raw := items(stock, count, count, KNOWN), inputs(raw), strict=True):
            draft_pass = ids[str(item["passExternalId"])]
            docs.append(_document(stock, sent, draft_pass, now))
        if count == 1:
            return lambda: events.insert_one(docs[0])
        return lambda: events.insert_many(docs, ordered=False)

    async def in_process() -> Act:
        sent = inputs(items(stock, count, count, KNOWN))

        async def run() -> None:
            answer = await record_call(ctx, sent)
            assert all(result.status is RecordStatus.CREATED for result in answer.outcome.results)

        return run

    async def by_http() -> Act:
        assert client is not None
        sent = items(stock, count, count, KNOWN)
        name = "recordEvents" if count > 1 else "recordEvent"
        query, variables = (RECORD, {"events": sent}) if count > 1 else (RECORD_ONE, {"event": sent[0]})
        body = client.body(query, variables)

        async def run() -> None:
            answer = await client.send(body)
            done = answer["data"][name]
            assert (done["created"] == count) if count > 1 else (done["status"] == "CREATED"), answer

        return run

    sides = [Side("bare insert", bare, count), Side("in process", in_process, count)]
    if client is not None:
        sides.append(Side("by HTTP", by_http, count))

    async def clean() -> None:
        await cleaned(stock)

    await compared(sides, processes, rounds=rounds, runs=1 if count > 1 else 40, clean=clean)
    await clean()
    return sides


def _document(stock: Stock, sent: EventInput, pass_id: str, now: object) -> Doc:
    """What the command would store for the item, put together without it."""
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


async def history(stock: Stock, processes: Processes, client: Client | None, rounds: int) -> list[Side]:
    """The newest 50 events of a pass: bare, by the query in process, and with a client by HTTP."""
    chance = random.Random(1)
    names = dict(stock.cards)
    events: Any = _events(stock.ctx.resources.db)

    async def bare() -> Act:
        where = {"workspace": stock.ctx.workspace.id, "pass": chance.choice(stock.long)}
        order = [("occurred_at", DESCENDING), ("_id", DESCENDING)]

        async def run() -> None:
            assert len(await events.find(where).sort(order).limit(PAGE).to_list(None)) == PAGE

        return run

    async def in_process() -> Act:
        query = EventQuery(pass_id=chance.choice(stock.long))

        async def run() -> None:
            page = await stock.ctx.workspace.events.page(query, PageRequest(PAGE))
            assert len(page.items) == PAGE

        return run

    async def by_http() -> Act:
        assert client is not None
        body = client.body(HISTORY, {"id": names[chance.choice(stock.long)]})

        async def run() -> None:
            answer = await client.send(body)
            assert len(answer["data"]["pass"]["events"]["edges"]) == PAGE, answer

        return run

    sides = [Side("bare find", bare), Side("in process", in_process)]
    if client is not None:
        sides.append(Side("by HTTP", by_http))
    await compared(sides, processes, rounds=rounds, runs=40)
    return sides


def _events(db: Database) -> Any:
    return db["events"]
