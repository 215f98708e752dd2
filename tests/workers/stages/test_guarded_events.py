"""Guarded events and corrections through the stages: decided once, in order, and declined ones count nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.commands.events.event_types import set_event_rules
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import remove_events
from app.domain.activities import CUSTOM_EVENT, EVENT_DECLINED, REDEMPTION_FAILED
from app.domain.errors import Code
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Category, Event
from app.domain.state.aggregates import fold_events
from app.domain.state.aggregations import Aggregation, Function
from tests.business import Business, purchases
from tests.crashes import Crash

START = datetime(2026, 1, 1, tzinfo=UTC)
SPEND = EventQuery(categories=(Category.TRANSACTION,))
TAKE = {"type": "point_sub", "guard": {"minBalance": 0}}


def day(number: float) -> datetime:
    return START + timedelta(days=number)


async def record_one(business: Business, **item: object) -> str:
    [result] = (await business.record(item)).results
    assert result.event is not None, result
    return result.event.id


async def take(business: Business, points: int, **item: object) -> str:
    """Record a guarded deduction one millisecond after what was recorded before it, and return its id."""
    business.clock.set(await business.clock.now() + timedelta(milliseconds=1))
    return await record_one(business, **TAKE, points=-points, **item)


async def read(business: Business, event_id: str) -> Event:
    return (await business.ctx.workspace.events.get_many([event_id]))[event_id]


async def outcomes(business: Business, *event_ids: str) -> list[str]:
    """Return the status of each event, or the codes of the reasons why it was declined."""
    found = await business.ctx.workspace.events.get_many(event_ids)
    return [
        ", ".join(reason.code for reason in outcome.reasons) or outcome.status.value
        for outcome in (found[each].outcome for each in event_ids)
    ]


async def check_rebuild(business: Business, name: str = "ann") -> None:
    """Assert that the pass equals the events that count."""
    card = await business.read_pass(name)
    [counted] = (await business.worker.fold_queries.histories([card])).values()
    assert card.points == sum((event.points for event in counted), Decimal(0))
    assert dict(card.aggregates) == dict(fold_events({}, [event for event in counted if not event.is_made]))


async def test_deduction_that_the_pass_cannot_afford_is_declined_and_counts_nowhere(business: Business) -> None:
    busy = await business.create_segment("busy", {"event": {"metric": "COUNT", "operator": "GTE", "value": 3}})
    await record_one(business, type="point_add", points=100)
    taken = [await take(business, 60, amount=5) for _ in range(2)]
    assert await outcomes(business, *taken) == ["UNDECIDED", "UNDECIDED"]
    await business.run_worker()
    assert await outcomes(business, *taken) == ["COUNTED", "INSUFFICIENT_POINTS"]
    [accepted, declined] = [(await read(business, each)).outcome for each in taken]
    assert (accepted.balance, declined.balance) == (Decimal(40), Decimal(40))
    assert declined.reasons[0].message == "The balance is 40 points; this needs 60."
    card = await business.read_pass()
    assert (card.points, card.event_count) == (Decimal(40), 2)
    await check_rebuild(business)
    assert await business.read_members(busy) == []
    log = await business.read_log()
    assert [a.type for a in log if a.cause.get("event") in taken] == [CUSTOM_EVENT, EVENT_DECLINED]
    assert log[-1].data["reasons"] == [
        {"code": "INSUFFICIENT_POINTS", "message": "The balance is 40 points; this needs 60."}
    ]
    assert log[-1].data["event"]["id"] == taken[1]  # type: ignore[index]
    aggregations = business.ctx.workspace.aggregations
    for function, field in ((Function.COUNT, None), (Function.SUM, "points"), (Function.SUM, "amount")):
        [group] = await aggregations.groups(EventQuery(types=("point_sub",)), Aggregation(function, field), 10)
        assert group.events == 1
    rows, _ = await aggregations.of_pass(card.id, START, day(9))
    assert rows["point_sub", "USD"].count == 1


async def test_two_hundred_deductions_at_once_take_exactly_what_the_pass_has(business: Business) -> None:
    await record_one(business, type="point_add", points=100)
    await business.run_worker()

    async def take_at(number: int) -> str:
        return await record_one(business, **TAKE, points=-10, external_id=f"till-{number}")

    ids = list(await asyncio.gather(*(take_at(number) for number in range(200))))
    await business.run_worker()
    found = await outcomes(business, *ids)
    assert (found.count("COUNTED"), found.count("INSUFFICIENT_POINTS")) == (10, 190)
    assert (await business.read_pass()).points == 0
    await check_rebuild(business)


async def test_workspace_says_whether_deductions_without_a_guard_may_leave_a_debt(business: Business) -> None:
    spent = [await record_one(business, type=kind, points=-5) for kind in ("redemption", "point_sub", "visit")]
    await business.run_worker()
    assert await outcomes(business, *spent) == ["INSUFFICIENT_POINTS", "INSUFFICIENT_POINTS", "COUNTED"]
    assert [a.type for a in await business.read_log() if a.cause.get("event") == spent[0]] == [REDEMPTION_FAILED]
    await set_event_rules(business.ctx, allow_negative_balance=True)
    later = await record_one(business, type="redemption", points=-5)
    guarded = await record_one(business, **TAKE, points=-5)
    await business.run_worker()
    assert await outcomes(business, later, guarded) == ["COUNTED", "INSUFFICIENT_POINTS"]
    assert (await business.read_pass()).points == -10


async def test_imported_deductions_are_not_guarded(business: Business) -> None:
    outcome = await business.record({"type": "redemption", "points": -5, "occurred_at": day(0)}, historical=True)
    event = outcome.results[0].event
    assert event is not None
    assert event.guard is None
    await business.run_worker()
    assert await outcomes(business, event.id) == ["COUNTED"]


async def test_guarded_event_is_decided_when_it_was_recorded_not_when_the_caller_says(business: Business) -> None:
    business.clock.set(day(5))
    await record_one(business, type="point_add", points=10, occurred_at=day(3))
    taken = await record_one(business, **TAKE, points=-10, occurred_at=day(1))
    await business.run_worker()
    event = await read(business, taken)
    assert (event.occurred_at, event.performed_at) == (day(5), day(1))
    assert await outcomes(business, taken) == ["COUNTED"]


async def test_events_of_the_same_instant_count_before_guarded_ones(business: Business) -> None:
    taken = await record_one(business, **TAKE, points=-10, external_id="first")
    added = await record_one(business, type="point_add", points=10)
    await business.run_worker()
    assert await outcomes(business, taken, added) == ["COUNTED", "COUNTED"]
    event = await read(business, taken)
    assert event.step > 1
    [activity] = [a for a in await business.read_log() if a.cause.get("event") == taken]
    assert activity.pass_sequence == event.step


async def stop_after_the_write(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold, and crash between the write of the passes and the clearing of their events."""

    async def crash(event_ids: Sequence[str], *_: object, **__: object) -> None:
        if event_ids:
            raise Crash("worker")

    with monkeypatch.context() as patch:
        patch.setattr(business.worker.fold_queries, "clear", crash)
        with pytest.raises(Crash):
            await business.run_worker()


@pytest.mark.parametrize("between", ["nothing", "due", "backfill", "merge"])
async def test_decision_holds_if_the_worker_crashes_before_it_clears_the_event(
    business: Business, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    """A new segment builds its measure from the history while the declined event is not cleared."""
    await record_one(business, type="point_add", points=10)
    await business.create_passes("bob")
    await business.run_worker()
    taken = [await take(business, 10) for _ in range(2)]
    await stop_after_the_write(business, monkeypatch)
    card = await business.read_pass()
    assert [card.decisions[each].is_declined for each in taken] == [False, True]
    if between in ("due", "backfill"):
        lately = {
            "event": {"types": ["point_sub"], "metric": "COUNT", "operator": "GTE", "value": 2, "within": {"days": 5}}
        }
        segment = await business.create_segment("lately", lately)
    if between == "merge":
        ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
        await merge_passes(business.ctx, ids["bob"], ids["ann"])
    await record_one(business, type="point_add", points=50)
    await business.run_worker()
    assert await outcomes(business, *taken) == ["COUNTED", "INSUFFICIENT_POINTS"]
    if between in ("due", "backfill"):
        assert await business.read_members(segment) == []
    name = "bob" if between == "merge" else "ann"
    assert (await business.read_pass(name)).points == 50
    await check_rebuild(business, name)


async def test_removal_takes_outcomes_as_they_were_decided(business: Business) -> None:
    """A later removal may leave a debt; what was accepted stays accepted, and what was declined stays declined."""
    added = await record_one(business, type="point_add", points=10)
    await business.run_worker()
    taken = [await take(business, 10) for _ in range(2)]
    await business.run_worker()
    card = await business.read_pass()
    await remove_events(business.ctx, [(card.id, added)])
    await business.run_worker()
    assert await outcomes(business, *taken) == ["COUNTED", "INSUFFICIENT_POINTS"]
    assert (await business.read_pass()).points == -10
    await check_rebuild(business)


async def test_merge_moves_decided_events_as_decided(business: Business) -> None:
    await record_one(business, type="point_add", points=10)
    await business.run_worker()
    taken = [await take(business, 10) for _ in range(2)]
    await business.run_worker()
    await record_one(business, type="visit", points=-7, pass_external_id="bob")
    undecided = await take(business, 5)
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    await merge_passes(business.ctx, ids["bob"], ids["ann"])
    await business.run_worker()
    assert await outcomes(business, *taken, undecided) == ["COUNTED", "INSUFFICIENT_POINTS", "INSUFFICIENT_POINTS"]
    assert {(await read(business, each)).pass_id for each in taken} == {ids["bob"]}
    card = await business.read_pass("bob")
    assert card.points == -7
    await check_rebuild(business, "bob")
    log = await business.read_log()
    assert sorted(a.type for a in log if a.cause.get("event") in taken) == [CUSTOM_EVENT, EVENT_DECLINED]


async def test_corrections_together_take_back_no_more_than_the_event_has(business: Business) -> None:
    bought = await record_one(business, amount=100, external_id="order")
    first = await record_one(business, type="refund", amount=70, correction_of=bought)
    business.clock.set(day(1))
    second = await record_one(business, type="refund", amount=40, correction_of=bought)
    rest = await record_one(business, type="credit", correction_of=bought)
    await business.run_worker()
    assert await outcomes(business, first, second, rest) == ["COUNTED", "OVER_CORRECTED", "COUNTED"]
    event = await read(business, rest)
    assert (event.amount, event.currency, event.outcome.amount) == (Decimal(30), "USD", Decimal(30))
    assert (await read(business, second)).outcome.reasons[0].message == (
        "The amount 40 exceeds 30, which is left of the corrected event."
    )
    aggregates = (await business.read_pass()).aggregates
    assert (aggregates["refund", "USD"].sum, aggregates["credit", "USD"].sum) == (Decimal(70), Decimal(30))
    await check_rebuild(business)
    [group] = await business.ctx.workspace.aggregations.groups(EventQuery(), Aggregation(Function.SUM, "amount"), 1)
    assert group.value == 0


async def test_correction_of_a_declined_event_is_declined_or_refused(business: Business) -> None:
    taken = await record_one(business, **TAKE, points=-10)
    back = await record_one(business, type="custom", points=10, correction_of=taken)
    await business.run_worker()
    assert await outcomes(business, taken, back) == ["INSUFFICIENT_POINTS", "NOT_COUNTED"]
    assert (await business.read_pass()).points == 0
    [refused] = (await business.record({"type": "custom", "points": 10, "correction_of": taken})).results
    assert [(problem.code, problem.field) for problem in refused.problems] == [(Code.NOT_COUNTED, ("correctionOf",))]


async def test_checkout_is_not_lowered_below_what_was_refunded(business: Business) -> None:
    bought = await record_one(business, type="checkout", amount=100)
    raised = await record_one(business, type="checkout_update", amount=150, correction_of=bought)
    refund = await record_one(business, type="refund", amount=120, correction_of=bought)
    business.clock.set(day(1))
    lowered = await record_one(business, type="checkout_update", amount=110, correction_of=bought)
    too_much = await record_one(business, type="refund", amount=31, correction_of=bought)
    rejected = await record_one(business, type="checkout_reject", correction_of=bought)
    await business.run_worker()
    assert await outcomes(business, raised, refund, lowered, too_much, rejected) == [
        "COUNTED", "COUNTED", "OVER_CORRECTED", "OVER_CORRECTED", "COUNTED",
    ]  # fmt: skip
    [group] = await business.ctx.workspace.aggregations.groups(SPEND, Aggregation(Function.SUM, "amount"), 1)
    assert group.value == 0


async def test_correction_waits_for_its_original(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    """The corrections are dated before the purchase, and a round reads only them."""
    monkeypatch.setattr("workers.stages.fold.FOLD_BATCH_SIZE", 3)
    business.clock.set(day(9))
    bought = await record_one(business, amount=100, occurred_at=day(8))
    refunds = [
        await record_one(business, type="refund", amount=30, correction_of=bought, occurred_at=day(1 + i))
        for i in range(5)
    ]
    await business.run_worker()
    assert sorted(await outcomes(business, *refunds)) == ["COUNTED"] * 3 + ["OVER_CORRECTED"] * 2
    await check_rebuild(business)


async def test_fold_reads_nothing_more_for_events_without_guard_and_correction(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.create_segment("regular", purchases(3))

    async def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a read that no event needs")

    for name in ("families", "pending_by_ids"):
        monkeypatch.setattr(business.worker.fold_queries, name, refuse)
    for _ in range(2):
        await business.record(*({"amount": 1, "pass_external_id": f"pass-{i}"} for i in range(9)))
        await business.run_worker()
    assert (await business.read_pass("pass-8")).event_count == 2
