"""A call under a key is answered again, its receipt tells its fates later, and no death in between loses or doubles."""

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
from tests.business import Business, another_business

MIXED: list[dict[str, object]] = [
    {"external_id": "new", "amount": "12.50"},
    {"external_id": "old", "amount": 5},
    {"external_id": "old", "amount": 6},
    {"amount": "NaN", "metadata": {"secret": "value"}},
    {"pass_external_id": None, "pass_id": "pass_nobody"},
    {"amount": 1},
]
FATES = ["CREATED", "DUPLICATE", "CONFLICT", "REJECTED", "REJECTED", "CREATED"]
AGAIN = ["DUPLICATE", "DUPLICATE", "CONFLICT", "REJECTED", "REJECTED", "DUPLICATE"]


async def sent(
    business: Business, *items: Mapping[str, object], **options: object
) -> tuple[BatchOutcome, IssuedReceipt]:
    inputs = [EventInput(**{"pass_external_id": "ann", "type": "purchase", **item}) for item in items]
    options.setdefault("create_missing_passes", True)
    answer = await record_call(business.ctx, inputs, **options)  # type: ignore[arg-type]
    return answer.outcome, await receipt_of(business.ctx, answer)


def fates(outcome: BatchOutcome) -> list[str]:
    return [result.status.value for result in outcome.results]


async def count(business: Business, collection: str = "events") -> int:
    return await business.ctx.resources.db[collection].count_documents({})


async def test_the_same_call_under_the_same_key_is_answered_again(business: Business, clock: FixedClock) -> None:
    """2.14, 3.1, 3.3: each item's own fate in order, twice the same; what was created then says DUPLICATE."""
    await business.record({"external_id": "old", "amount": 5})
    first, issued = await sent(business, *MIXED, idempotency_key="k")
    assert fates(first) == FATES
    stored = await count(business)
    await business.join("pass_nobody")
    clock.set(datetime(2026, 1, 1, 23, tzinfo=UTC))
    again, same = await sent(business, *MIXED, idempotency_key="k")
    assert fates(again) == AGAIN
    assert same.token == issued.token
    assert [r.event for r in again.results] == [r.event for r in first.results]
    for before, after in zip(first.results, again.results, strict=True):
        assert [(p.code, p.field) for p in before.problems] == [(p.code, p.field) for p in after.problems]
    assert await count(business) == stored
    found = await find_receipt(business.ctx, issued.token)
    assert found is not None
    assert [fate.status for fate in found.receipt.outcomes] == FATES


async def test_another_call_under_the_same_key_is_refused_whole(business: Business) -> None:
    """3.1: another body under the key of the last 24 hours."""
    await sent(business, {"amount": 1}, idempotency_key="k")
    for other in (
        sent(business, {"amount": 2}, idempotency_key="k"),
        sent(business, {"amount": 1}, idempotency_key="k", atomic=True),
        sent(business, {"amount": 1}, {"external_id": "x"}, idempotency_key="k"),
    ):
        with pytest.raises(Refused) as refused:
            await other
        assert [(p.code, p.field) for p in refused.value.problems] == [(Code.CONFLICT, ("idempotencyKey",))]
    assert await count(business) == 1
    await sent(business, {"amount": 2}, idempotency_key="other")
    assert await count(business) == 2


@pytest.mark.parametrize(("key", "code"), [("x" * 256, Code.TOO_LONG), ("", Code.INVALID), (7, Code.INVALID)])
async def test_a_key_is_a_text_of_up_to_255_characters(business: Business, key: object, code: Code) -> None:
    with pytest.raises(Refused) as refused:
        await sent(business, {"amount": 1}, idempotency_key=key)
    assert [(p.code, p.field) for p in refused.value.problems] == [(code, ("idempotencyKey",))]
    await sent(business, {"amount": 1}, idempotency_key="x" * 255)


async def test_a_call_of_which_nothing_was_recorded_lets_go_of_its_key(business: Business) -> None:
    refused, issued = await sent(business, {"amount": "a lot"}, idempotency_key="k")
    assert fates(refused) == ["REJECTED"]
    found = await find_receipt(business.ctx, issued.token)
    assert found is not None
    assert [(p.code, p.field) for p in found.receipt.outcomes[0].problems] == [(Code.INVALID, ("amount",))]
    with pytest.raises(Refused):
        await sent(business, *[{"amount": 1}] * 1_001, idempotency_key="k")
    corrected, _ = await sent(business, {"amount": 2}, idempotency_key="k")
    assert fates(corrected) == ["CREATED"]


async def test_a_key_is_free_again_after_a_day_and_its_receipt_stays(business: Business, resources: Resources) -> None:
    """The identities of items without an externalId stay taken for ever."""
    _, issued = await sent(business, {"amount": 1}, idempotency_key="k")
    over = {"$set": {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}}
    await resources.db["request_keys"].update_many({}, over)
    other, _ = await sent(business, {"amount": 1}, {"amount": 2, "external_id": "x"}, idempotency_key="k")
    assert fates(other) == ["DUPLICATE", "CREATED"]
    found = await find_receipt(business.ctx, issued.token)
    assert found is not None
    assert len(found.receipt.outcomes) == 1


@pytest.mark.parametrize(("step", "stored"), [(EventQueries, 0), (ReceiptQueries, 2)])
async def test_a_death_at_any_step_of_a_call_with_a_key_loses_and_doubles_nothing(
    business: Business, monkeypatch: pytest.MonkeyPatch, step: type, stored: int
) -> None:
    """3.1: what died holds its key for the same call alone."""
    key = f"died with {stored}"

    async def dies(*_: object) -> bool:
        raise Unavailable("store")

    items: list[dict[str, object]] = [{"amount": 1}, {"amount": 2, "external_id": key}, {"amount": "a lot"}]
    with monkeypatch.context() as patch:
        patch.setattr(step, "insert", dies)
        with pytest.raises(Unavailable):
            await sent(business, *items, idempotency_key=key)
    assert await count(business) == stored
    with pytest.raises(Refused):
        await sent(business, {"amount": 3}, idempotency_key=key)
    again, issued = await sent(business, *items, idempotency_key=key)
    assert fates(again) == (["DUPLICATE", "DUPLICATE", "REJECTED"] if stored else ["CREATED", "CREATED", "REJECTED"])
    assert (await sent(business, *items, idempotency_key=key))[1].token == issued.token
    assert await count(business) == 2


async def test_calls_at_the_same_time_record_once_and_have_one_receipt(business: Business) -> None:
    items = [{"amount": n} for n in range(20)]
    answers = await asyncio.gather(*(sent(business, *items, idempotency_key="k") for _ in range(4)))
    assert await count(business) == 20
    assert len({issued.token for _, issued in answers}) == 1
    for outcome, _ in answers:
        assert {result.status for result in outcome.results} <= {RecordStatus.CREATED, RecordStatus.DUPLICATE}


async def test_of_two_calls_at_the_same_time_under_one_key_one_is_refused_whole(business: Business) -> None:
    bodies = [[{"amount": n, "external_id": f"{body}-{n}"} for n in range(5)] for body in "ab"]
    answers = await asyncio.gather(
        *(sent(business, *body, idempotency_key="k") for body in bodies), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "tuple"]
    assert await count(business) == 5


async def test_a_removed_event_is_not_answered_again(business: Business, resources: Resources) -> None:
    outcome, _ = await sent(business, {"amount": 1}, idempotency_key="k")
    event = outcome.results[0].event
    assert event is not None
    stub = {"_id": event.id, "workspace": business.ctx.workspace.id, "pass": event.pass_id, "removed": 1}
    await resources.db["events"].replace_one({"_id": event.id}, stub)
    again, _ = await sent(business, {"amount": 1}, idempotency_key="k")
    assert [(r.status, r.problems[0].code) for r in again.results] == [("REJECTED", Code.EVENT_REMOVED)]


async def test_a_token_is_of_one_workspace(business: Business, resources: Resources, clock: FixedClock) -> None:
    other = await another_business(resources, clock, "Other")
    _, small = await sent(business, {"amount": 1})
    _, keyed = await sent(business, {"amount": 1}, idempotency_key="k")
    for issued in (small, keyed):
        assert (found := await find_receipt(business.ctx, issued.token)) is not None
        assert dataclasses.replace(found, receipt=issued.receipt) == issued
        assert await find_receipt(other.ctx, issued.token) is None
    outcome, _ = await sent(other, {"amount": 2}, idempotency_key="k")
    assert fates(outcome) == ["CREATED"]


async def test_a_large_receipt_is_stored_and_a_small_one_is_not(business: Business) -> None:
    await sent(business, *({"amount": n} for n in range(40)))
    assert await count(business, "receipts") == 0
    _, issued = await sent(business, *({"amount": n, "external_id": f"private-{n}"} for n in range(100)))
    assert await count(business, "receipts") == 1
    found = await find_receipt(business.ctx, issued.token)
    assert found is not None
    assert found.receipt == issued.receipt
    assert "private" not in str(await business.ctx.resources.db["receipts"].find_one())
