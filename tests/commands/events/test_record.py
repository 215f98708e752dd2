"""recordEvents: each item has its own outcome, in the order sent, and a repeated batch gets the same ones."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clock import FixedClock
from app.commands.rules.rules import create_rule, update_rule
from app.domain.activities import REWARDED_POINTS
from app.domain.errors import Code, Refused
from app.domain.values.decimals import canonical, parse_decimal, plain
from app.resources import Resources
from app.store.workspace.definitions import DefinitionQueries
from tests.business import Business, create_business


def statuses_of(outcome: object) -> list[str]:
    return [result.status.value for result in outcome.results]  # type: ignore[attr-defined]


async def test_mixed_batch_gives_each_item_its_own_outcome_and_a_repeat_the_same(business: Business) -> None:
    await business.record({"external_id": "old", "amount": 5})
    batch: list[dict[str, object]] = [
        {"external_id": "new", "amount": "12.50"},
        {"external_id": "old", "amount": "5.000"},
        {"external_id": "old", "amount": 6},
        {"external_id": "bad", "amount": "NaN"},
        {"external_id": "lost", "pass_external_id": None, "pass_id": "pass_missing"},
        {"external_id": "new", "amount": "12.5"},
        {"external_id": "new", "amount": 13},
    ]
    first = await business.record(*batch)
    assert statuses_of(first) == ["CREATED", "DUPLICATE", "CONFLICT", "REJECTED", "REJECTED", "DUPLICATE", "CONFLICT"]
    second = await business.record(*batch)
    assert statuses_of(second) == [
        "DUPLICATE",
        "DUPLICATE",
        "CONFLICT",
        "REJECTED",
        "REJECTED",
        "DUPLICATE",
        "CONFLICT",
    ]
    assert (first.created, first.duplicate, first.failed) == (1, 2, 4)
    assert first.results[5].event == first.results[0].event == second.results[0].event
    assert [r.problems[0].field for r in first.results if r.problems] == [
        ("externalId",), ("amount",), ("passId",), ("externalId",),
    ]  # fmt: skip


async def test_same_external_id_on_another_pass_is_a_conflict(business: Business) -> None:
    await business.record({"external_id": "e", "amount": 5})
    outcome = await business.record({"external_id": "e", "amount": 5, "pass_external_id": "bob"})
    assert statuses_of(outcome) == ["CONFLICT"]


async def test_same_external_id_from_another_source_is_another_event(business: Business) -> None:
    outcome = await business.record({"external_id": "e"}, {"external_id": "e", "source": "till-2"})
    assert statuses_of(outcome) == ["CREATED", "CREATED"]


async def test_idempotency_key_makes_a_batch_without_external_ids_repeatable(business: Business) -> None:
    batch = [{"amount": 1}, {"amount": 1}]
    assert statuses_of(await business.record(*batch, idempotency_key="k")) == ["CREATED", "CREATED"]
    assert statuses_of(await business.record(*batch, idempotency_key="k")) == ["DUPLICATE", "DUPLICATE"]
    assert statuses_of(await business.record(*batch)) == ["CREATED", "CREATED"]


@pytest.mark.parametrize(
    ("item", "field", "code"),
    [
        ({"amount": "1" * 30}, "amount", Code.OUT_OF_RANGE),
        ({"amount": "1.1234567"}, "amount", Code.TOO_LONG),
        ({"amount": float("inf")}, "amount", Code.INVALID),
        ({"amount": -1}, "amount", Code.OUT_OF_RANGE),
        ({"amount": True}, "amount", Code.INVALID),
        ({"amount": "-0"}, "amount", Code.INVALID),
        ({"currency": "ABC"}, "currency", Code.UNKNOWN),
        ({"currency": "eur"}, "currency", Code.UNKNOWN),
        ({"metadata": {"x": "y" * 1_000_000}}, "metadata", Code.TOO_LONG),
        ({"metadata": [1]}, "metadata", Code.INVALID),
        ({"metadata": {"x": float("nan")}}, "metadata", Code.INVALID),
        ({"metadata": {"$where": 1}}, "metadata", Code.INVALID),
        ({"occurred_at": "2027-01-01T00:00:00Z"}, "occurredAt", Code.OUT_OF_RANGE),
        ({"occurred_at": "yesterday"}, "occurredAt", Code.INVALID),
        ({"occurred_at": "2026-01-01T00:00:00"}, "occurredAt", Code.INVALID),
        ({"occurred_at": "0001-01-01T00:00:00Z"}, "occurredAt", Code.OUT_OF_RANGE),
        ({"occurred_at": 7}, "occurredAt", Code.INVALID),
        ({"type": ""}, "type", Code.INVALID),
        ({"type": "pass_updated"}, "type", Code.INVALID),
        ({"type": "purchase", "category": "ACTIVITY"}, "category", Code.INVALID),
        ({"category": "NONE"}, "category", Code.UNKNOWN),
        ({"external_id": "x" * 256}, "externalId", Code.TOO_LONG),
        ({"external_id": "\ud800"}, "externalId", Code.INVALID),
        ({"source": "a\x00b"}, "source", Code.INVALID),
        ({"type": "field_updated"}, "fieldName", Code.REQUIRED),
        ({"pass_id": "pass_1"}, "passId", Code.INVALID),
        ({"pass_external_id": None}, "passId", Code.REQUIRED),
    ],
)
async def test_invalid_item_is_rejected_with_code_and_path_and_others_are_recorded(
    business: Business, item: dict[str, object], field: str, code: Code
) -> None:
    outcome = await business.record({"external_id": "good"}, item)
    assert statuses_of(outcome) == ["CREATED", "REJECTED"]
    [problem] = outcome.results[1].problems
    assert (problem.code, problem.field[0]) == (code, field)
    assert problem.message
    assert await business.ctx.resources.db["events"].count_documents({}) == 1


@pytest.mark.parametrize(("count", "code"), [(0, Code.REQUIRED), (1001, Code.TOO_MANY)])
async def test_empty_or_too_large_batch_is_rejected_before_any_write(
    business: Business, count: int, code: Code
) -> None:
    with pytest.raises(Refused) as refused:
        await business.record(*({"external_id": str(i)} for i in range(count)))
    assert [p.code for p in refused.value.problems] == [code]
    assert await business.ctx.resources.db["passes"].count_documents({}) == 0


async def test_unknown_pass_is_rejected_and_created_only_on_request(business: Business) -> None:
    rejected = await business.record({"amount": 1}, create_missing_passes=False)
    assert [(p.code, p.field) for p in rejected.results[0].problems] == [(Code.UNKNOWN, ("passExternalId",))]
    assert statuses_of(await business.record({"amount": 1})) == ["CREATED"]
    assert statuses_of(await business.record({"amount": 1}, create_missing_passes=False)) == ["CREATED"]


async def test_atomic_batch_with_one_invalid_item_writes_nothing(business: Business) -> None:
    await business.record({"external_id": "old", "amount": 5, "pass_external_id": "bob"})
    for bad in ({"external_id": "x", "amount": "NaN"}, {"external_id": "old", "amount": 5}, {"amount": 1}):
        outcome = await business.record({"external_id": "a", "amount": 1}, bad, atomic=True)
        assert outcome.created == 0
        assert outcome.failed == 2
        assert await business.ctx.resources.db["events"].count_documents({}) == 1
        assert await business.ctx.resources.db["passes"].count_documents({}) == 1


async def test_atomic_batch_is_repeatable(business: Business) -> None:
    batch = [{"external_id": "a", "amount": 1}, {"external_id": "b", "amount": 2, "pass_external_id": "bob"}]
    assert statuses_of(await business.record(*batch, atomic=True)) == ["CREATED", "CREATED"]
    assert statuses_of(await business.record(*batch, atomic=True)) == ["DUPLICATE", "DUPLICATE"]


async def test_values_that_the_server_fills_in_cause_no_conflict(business: Business, clock: FixedClock) -> None:
    await business.record({"external_id": "a", "amount": "1.50", "metadata": {"b": 1, "a": 2}})
    clock.set((await clock.now()).replace(day=2))
    repeated = await business.record({"external_id": "a", "amount": 1.5, "metadata": {"a": 2, "b": 1}})
    assert statuses_of(repeated) == ["DUPLICATE"]
    assert repeated.results[0].event is not None
    assert repeated.results[0].event.occurred_at.day == 1


async def test_no_workspace_reaches_passes_or_events_of_another(
    business: Business, resources: Resources, clock: FixedClock
) -> None:
    other = await create_business(resources, clock, "Other")
    recorded = await business.record({"external_id": "a", "amount": 5})
    event = recorded.results[0].event
    assert event is not None
    assert statuses_of(await other.record({"pass_id": event.pass_id, "pass_external_id": None})) == ["REJECTED"]
    assert statuses_of(await other.record({"external_id": "a", "amount": 6})) == ["CREATED"]
    assert await other.ctx.workspace.events.get_many([event.id]) == {}
    assert await other.ctx.workspace.passes.get(event.pass_id) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=0, max_value=10**12))
def test_decimals_keep_their_value_in_text_form(value: Decimal) -> None:
    assert parse_decimal(plain(value)) == value
    assert Decimal(canonical(value)) == value


async def test_currency_without_an_amount_adds_no_sum(business: Business) -> None:
    await business.record({"currency": "EUR"}, {"amount": 3, "currency": "EUR"})
    await business.run_worker()
    assert {key: row.count for key, row in (await business.read_pass()).aggregates.items()} == {
        ("purchase", None): 1,
        ("purchase", "EUR"): 1,
    }


async def test_event_that_creates_a_pass_ignores_what_was_defined_after_its_instant(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = {"awardPoints": {"points": "1"}}
    rule = {"key": "r", "name": "r", "trigger": {"event": {"types": ["purchase"]}}, "effects": [reward]}
    rule_id = (await create_rule(business.ctx, rule)).id
    began = await business.clock.now() + timedelta(seconds=1)
    business.clock.set(began)
    read = DefinitionQueries.highest_rev

    async def change_the_rule_first(queries: DefinitionQueries, at: datetime | None = None) -> int:
        monkeypatch.undo()
        business.clock.set(began + timedelta(seconds=1))
        await update_rule(business.ctx, rule_id, {"effects": [{"awardPoints": {"points": "5"}}]})
        return await read(queries, at)

    monkeypatch.setattr(DefinitionQueries, "highest_rev", change_the_rule_first)
    await business.record({"amount": 1})
    business.clock.set(began + timedelta(seconds=2))
    await business.record({"amount": 2})
    await business.run_worker()
    awards = [each for each in await business.read_log() if each.type == REWARDED_POINTS]
    assert [each.data["rule"] for each in awards] == [{"id": rule_id, "key": "r", "version": n} for n in (1, 2)]
    assert [each.occurred_at - began for each in awards] == [timedelta(0), timedelta(seconds=2)]
