"""Receipts and idempotency keys: a repeated call gets the same outcomes, and a crash loses and doubles nothing."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from app.clock import FixedClock
from app.commands.events.outcomes import BatchOutcome
from app.commands.events.receipts import IssuedReceipt, find_receipt, receipt_of, record_call
from app.domain.errors import Code, Refused, Unavailable
from app.domain.events.events import EventInput
from app.domain.events.receipts import RecordStatus
from app.resources import Resources
from app.store.workspace.events import EventQueries
from app.store.workspace.receipts import ReceiptQueries
from tests.business import Business, create_business

MIXED: list[dict[str, object]] = [
    {"external_id": "new", "amount": "12.50"},
    {"external_id": "old", "amount": 5},
    {"external_id": "old", "amount": 6},
    {"amount": "NaN", "metadata": {"secret": "value"}},
    {"pass_external_id": None, "pass_id": "pass_missing"},
    {"amount": 1},
]
FIRST = ["CREATED", "DUPLICATE", "CONFLICT", "REJECTED", "REJECTED", "CREATED"]
REPEATED = ["DUPLICATE", "DUPLICATE", "CONFLICT", "REJECTED", "REJECTED", "DUPLICATE"]


async def record(
    business: Business, *items: Mapping[str, object], **options: object
) -> tuple[BatchOutcome, IssuedReceipt]:
    inputs = [EventInput(**{"pass_external_id": "ann", "type": "purchase", **item}) for item in items]
    options.setdefault("create_missing_passes", True)
    answer = await record_call(business.ctx, inputs, **options)  # type: ignore[arg-type]
    return answer.outcome, await receipt_of(business.ctx, answer)


def statuses_of(outcome: BatchOutcome) -> list[str]:
    return [result.status.value for result in outcome.results]


async def count_documents(business: Business, collection: str = "events") -> int:
    return await business.ctx.resources.db[collection].count_documents({})


async def test_repeated_call_with_a_key_gets_the_same_receipt(business: Business, clock: FixedClock) -> None:
    """Each item has its own outcome, in order. CREATED becomes DUPLICATE in the repeated call."""
    await business.record({"external_id": "old", "amount": 5})
    first, issued = await record(business, *MIXED, idempotency_key="k")
    assert statuses_of(first) == FIRST
    stored = await count_documents(business)
    await business.create_passes("pass_missing")
    clock.set(datetime(2026, 1, 1, 23, tzinfo=UTC))
    repeated, same = await record(business, *MIXED, idempotency_key="k")
    assert statuses_of(repeated) == REPEATED
    assert same.token == issued.token
    assert [r.event for r in repeated.results] == [r.event for r in first.results]
    for before, after in zip(first.results, repeated.results, strict=True):
        assert [(p.code, p.field) for p in before.problems] == [(p.code, p.field) for p in after.problems]
    assert await count_documents(business) == stored
    found = await find_receipt(business.ctx, issued.token)
    assert found is not None
    assert [outcome.status for outcome in found.receipt.outcomes] == FIRST


async def test_other_call_with_the_same_key_is_rejected_as_a_whole(business: Business) -> None:
    """A key is stored for 24 hours."""
    await record(business, {"amount": 1}, idempotency_key="k")
    for other in (
        record(business, {"amount": 2}, idempotency_key="k"),
        record(business, {"amount": 1}, idempotency_key="k", atomic=True),
        record(business, {"amount": 1}, {"external_id": "x"}, idempotency_key="k"),
    ):
        with pytest.raises(Refused) as refused:
            await other
        assert [(p.code, p.field) for p in refused.value.problems] == [(Code.CONFLICT, ("idempotencyKey",))]
    assert await count_documents(business) == 1
    await record(business, {"amount": 2}, idempotency_key="other")
    assert await count_documents(business) == 2


@pytest.mark.parametrize(("key", "code"), [("x" * 256, Code.TOO_LONG), ("", Code.INVALID), (7, Code.INVALID)])
async def test_key_is_a_text_of_up_to_255_characters(business: Business, key: object, code: Code) -> None:
    with pytest.raises(Refused) as refused:
        await record(business, {"amount": 1}, idempotency_key=key)
    assert [(p.code, p.field) for p in refused.value.problems] == [(code, ("idempotencyKey",))]
    await record(business, {"amount": 1}, idempotency_key="x" * 255)


async def test_call_that_records_nothing_releases_its_key(business: Business) -> None:
    rejected, issued = await record(business, {"amount": "a lot"}, idempotency_key="k")
    assert statuses_of(rejected) == ["REJECTED"]
    found = await find_receipt(business.ctx, issued.token)
    assert found is not None
    assert [(p.code, p.field) for p in found.receipt.outcomes[0].problems] == [(Code.INVALID, ("amount",))]
    with pytest.raises(Refused):
        await record(business, *[{"amount": 1}] * 1_001, idempotency_key="k")
    corrected, _ = await record(business, {"amount": 2}, idempotency_key="k")
    assert statuses_of(corrected) == ["CREATED"]


async def test_key_is_free_after_a_day_and_its_receipt_stays(business: Business, resources: Resources) -> None:
    """The ids of events without an external id depend on the key, and stay in use for ever."""
    _, issued = await record(business, {"amount": 1}, idempotency_key="k")
    expired = {"$set": {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}}
    await resources.db["request_keys"].update_many({}, expired)
    other, _ = await record(business, {"amount": 1}, {"amount": 2, "external_id": "x"}, idempotency_key="k")
    assert statuses_of(other) == ["DUPLICATE", "CREATED"]
    found = await find_receipt(business.ctx, issued.token)
    assert found is not None
    assert len(found.receipt.outcomes) == 1


@pytest.mark.parametrize(("step", "stored"), [(EventQueries, 0), (ReceiptQueries, 2)])
async def test_crash_at_any_step_of_a_call_with_a_key_loses_and_doubles_nothing(
    business: Business, monkeypatch: pytest.MonkeyPatch, step: type, stored: int
) -> None:
    """After the crash only the same call may use the key."""
    key = f"crashed with {stored}"

    async def fail(*_: object) -> bool:
        raise Unavailable("store")

    items: list[dict[str, object]] = [{"amount": 1}, {"amount": 2, "external_id": key}, {"amount": "a lot"}]
    with monkeypatch.context() as patch:
        patch.setattr(step, "insert", fail)
        with pytest.raises(Unavailable):
            await record(business, *items, idempotency_key=key)
    assert await count_documents(business) == stored
    with pytest.raises(Refused):
        await record(business, {"amount": 3}, idempotency_key=key)
    repeated, issued = await record(business, *items, idempotency_key=key)
    expected = ["DUPLICATE", "DUPLICATE", "REJECTED"] if stored else ["CREATED", "CREATED", "REJECTED"]
    assert statuses_of(repeated) == expected
    assert (await record(business, *items, idempotency_key=key))[1].token == issued.token
    assert await count_documents(business) == 2


async def test_concurrent_equal_calls_record_once_and_get_one_receipt(business: Business) -> None:
    items = [{"amount": n} for n in range(20)]
    answers = await asyncio.gather(*(record(business, *items, idempotency_key="k") for _ in range(4)))
    assert await count_documents(business) == 20
    assert len({issued.token for _, issued in answers}) == 1
    for outcome, _ in answers:
        assert {result.status for result in outcome.results} <= {RecordStatus.CREATED, RecordStatus.DUPLICATE}


async def test_one_of_two_concurrent_different_calls_with_one_key_is_rejected(business: Business) -> None:
    bodies = [[{"amount": n, "external_id": f"{body}-{n}"} for n in range(5)] for body in "ab"]
    answers = await asyncio.gather(
        *(record(business, *body, idempotency_key="k") for body in bodies), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "tuple"]
    assert await count_documents(business) == 5


async def test_repeated_call_does_not_return_a_removed_event(business: Business, resources: Resources) -> None:
    outcome, _ = await record(business, {"amount": 1}, idempotency_key="k")
    event = outcome.results[0].event
    assert event is not None
    stub = {"_id": event.id, "workspace": business.ctx.workspace.id, "pass": event.pass_id, "removed": 1}
    await resources.db["events"].replace_one({"_id": event.id}, stub)
    repeated, _ = await record(business, {"amount": 1}, idempotency_key="k")
    assert [(r.status, r.problems[0].code) for r in repeated.results] == [("REJECTED", Code.EVENT_REMOVED)]


async def test_token_is_valid_in_one_workspace(business: Business, resources: Resources, clock: FixedClock) -> None:
    other = await create_business(resources, clock, "Other")
    _, small = await record(business, {"amount": 1})
    _, keyed = await record(business, {"amount": 1}, idempotency_key="k")
    for issued in (small, keyed):
        assert (found := await find_receipt(business.ctx, issued.token)) is not None
        assert dataclasses.replace(found, receipt=issued.receipt) == issued
        assert await find_receipt(other.ctx, issued.token) is None
    outcome, _ = await record(other, {"amount": 2}, idempotency_key="k")
    assert statuses_of(outcome) == ["CREATED"]


async def test_large_receipt_is_stored_and_a_small_one_is_not(business: Business) -> None:
    await record(business, *({"amount": n} for n in range(40)))
    assert await count_documents(business, "receipts") == 0
    _, issued = await record(business, *({"amount": n, "external_id": f"private-{n}"} for n in range(100)))
    assert await count_documents(business, "receipts") == 1
    found = await find_receipt(business.ctx, issued.token)
    assert found is not None
    assert found.receipt == issued.receipt
    assert "private" not in str(await business.ctx.resources.db["receipts"].find_one())
