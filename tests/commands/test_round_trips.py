"""The few round trips to the store that recording takes, whatever a batch contains and however long it is."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from app.clock import FixedClock
from app.commands.events import event_types
from app.commands.events.outcomes import BatchOutcome
from app.commands.events.receipts import receipt_of, record_call
from app.domain.events.events import EventInput
from app.resources import Resources
from app.store.cache import WorkspaceCache
from tests.business import Business, open_business
from tests.commands.rewards.shop import create, request

COUNTED_VERBS = frozenset({"find", "aggregate", "getMore", "insert", "update", "delete", "findAndModify"})


class CommandCounter(CommandListener):
    """Counter of the commands that one client sends to the store."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def started(self, event: CommandStartedEvent) -> None:
        """Count the command by verb and collection."""
        verb = event.command_name
        if verb in COUNTED_VERBS:
            self.sent[f"{verb} {event.command.get(verb) if verb != 'getMore' else event.command['collection']}"] += 1

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Ignore the event."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Ignore the event."""


@pytest.fixture
async def commands() -> CommandCounter:
    """Return the counter of the commands sent to the store."""
    return CommandCounter()


@pytest.fixture
async def business(
    resources: Resources, clock: FixedClock, commands: CommandCounter, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Business]:
    """Return a business whose store takes 1,000 values at once, as MongoDB does, and whose caches stay valid."""
    monkeypatch.setattr(event_types, "EVENT_TYPES_TTL_SECONDS", 60.0)
    monkeypatch.setattr("app.store.cache.EPOCH_TTL_SECONDS", 60.0)
    settings = resources.settings
    client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(
        settings.mongodb_uri, tz_aware=True, tzinfo=UTC, event_listeners=[commands]
    )
    business = await open_business(dataclasses.replace(resources, db=client[settings.database], in_chunk=1_000), clock)
    await event_types.update_event_type(
        business.ctx, "visit", attributes=[{"name": "store", "type": "TEXT", "required": True}]
    )
    yield business
    client.close()


def build_mixed_items(size: int, run: str, original: str) -> list[EventInput]:
    """Return so many items of ten kinds, one kind after the other."""
    kinds: list[dict[str, object]] = [
        {"external_id": "{}", "amount": 1},
        {"external_id": "old-{n}", "amount": 5},
        {"external_id": "old-{n}", "amount": 6},
        {"amount": "a lot"},
        {"pass_external_id": "new-{}"},
        {"pass_external_id": None, "pass_id": "pass_{}"},
        {"pass_external_id": "p0", "type": "refund", "external_id": "back-{}", "correction_of": original, "amount": 1},
        {
            "pass_external_id": "p0", "type": "refund", "external_id": "too-much-{}", "correction_of": original,
            "amount": 100,
        },
        {"type": "refund", "external_id": "nothing-{}", "correction_of": "event_{}"},
        {"type": "visit", "external_id": "visit-{}"},
    ]  # fmt: skip
    items = []
    for n in range(size):
        filled = {
            name: value.format(f"{run}-{n}", n=n // 10) if isinstance(value, str) else value
            for name, value in kinds[n % 10].items()
        }
        items.append(EventInput(**{"pass_external_id": f"p{n % 7}", "type": "purchase", **filled}))
    return items


EXPECTED = [
    "CREATED", "DUPLICATE", "CONFLICT", "REJECTED", "CREATED",
    "REJECTED", "CREATED", "REJECTED", "REJECTED", "REJECTED",
]  # fmt: skip


def statuses_of(outcome: BatchOutcome) -> list[str]:
    return [result.status.value for result in outcome.results]


async def test_mixed_batch_takes_12_round_trips_whatever_its_size(business: Business, commands: CommandCounter) -> None:
    """WH2-02: each item has its own outcome, in order."""
    [first] = (await business.record({"pass_external_id": "p0", "amount": 50})).results
    assert first.event is not None
    original = first.event.id
    await record_call(business.ctx, build_mixed_items(10, "words", original), create_missing_passes=True)
    sent = {}
    for size in (40, 1_000):
        old = (
            {"pass_external_id": f"p{n % 7}", "external_id": f"old-{n // 10}", "amount": 5} for n in range(1, size, 10)
        )
        await business.record(*old)
        commands.sent.clear()
        answer = await record_call(
            business.ctx,
            build_mixed_items(size, str(size), original),
            create_missing_passes=True,
            idempotency_key=str(size),
        )
        await receipt_of(business.ctx, answer)
        sent[size] = commands.sent.copy()
        assert statuses_of(answer.outcome) == EXPECTED * (size // 10)
    # One is for the key, one for the event types before a rejection. Five are for passes by id, names of passes, the
    # definitions for new passes, new names, and the new passes. Five are for the originals, stored copies of rejected items,
    # the events, the duplicates, and the receipt.
    assert sent[1_000] == sent[40]
    assert sent[40].total() == 12


async def test_ordinary_call_is_one_write_and_a_large_receipt_one_more(
    business: Business, commands: CommandCounter
) -> None:
    await business.record(*({"pass_external_id": f"p{n}"} for n in range(50)))
    for size, stored in ((1, {}), (1_000, {"insert receipts": 1})):
        items = [
            EventInput(type="purchase", pass_external_id=f"p{n % 50}", external_id=f"{size}-{n}") for n in range(size)
        ]
        commands.sent.clear()
        answer = await record_call(business.ctx, items)
        assert commands.sent == {"insert events": 1}
        commands.sent.clear()
        await receipt_of(business.ctx, answer)
        assert commands.sent == stored
        commands.sent.clear()
        await record_call(business.ctx, items, idempotency_key=f"k{size}")
        first_with_key = commands.sent.total()
        commands.sent.clear()
        await record_call(business.ctx, items, idempotency_key=f"k{size}")
        assert commands.sent == {"insert request_keys": 1, "find request_keys": 1, "find receipts": 1, "find events": 1}
        # One round trip each for the key, the events, the duplicates and the receipt.
        assert first_with_key == 4


async def test_second_look_at_an_external_id_is_one_round_trip(business: Business, commands: CommandCounter) -> None:
    """The first look of any process also reads the passes, and notes that they exist."""
    await business.record(*({"pass_external_id": f"p{n}"} for n in range(50)))
    items = [EventInput(type="purchase", pass_external_id=f"p{n % 50}") for n in range(1_000)]
    first = {"find pass_names": 1, "find passes": 1, "update pass_names": 1}
    for looks in (first, {"find pass_names": 1}):
        other = dataclasses.replace(business.ctx.resources, cache=WorkspaceCache())
        ctx = dataclasses.replace(business.ctx, resources=other)
        await record_call(ctx, [EventInput(type="purchase", pass_id="pass_none")])
        commands.sent.clear()
        await record_call(ctx, items)
        assert commands.sent == {**looks, "insert events": 1}


async def test_redemption_takes_few_round_trips_and_a_stock_two_more(
    business: Business, commands: CommandCounter
) -> None:
    """Until the fold decides: the reward is read, units are found and taken, the code is claimed, the event is recorded."""
    await create(business, pointsCost=0)
    full = {"limits": {"total": 10}, "code": {"pattern": "A-######"}}
    await create(business, key="bag", pointsCost=0, **full)
    await business.create_passes("ann")
    for reward in ("coffee", "bag"):
        await request(business, reward=reward)
    commands.sent.clear()
    await request(business)
    assert commands.sent == {"find definitions": 1, "insert events": 1}
    commands.sent.clear()
    await request(business, reward="bag")
    assert commands.sent == {
        "find definitions": 1, "findAndModify reward_stocks": 1, "insert reward_units": 1, "insert reward_codes": 1,
        "insert events": 1,
    }  # fmt: skip
