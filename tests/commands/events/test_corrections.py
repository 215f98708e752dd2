"""Corrections are events of their own: the original stays, and everything derived follows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.clock import FixedClock
from app.commands.passes.merges import merge_passes
from app.domain.errors import Code
from app.domain.state.statistics import statistics
from app.resources import Resources
from tests.business import Business, another_business, bought_within, flips

SPENT = {
    "event": {"types": ["purchase", "refund", "charge"], "metric": "SUM", "operator": "GTE", "value": 500},
}


async def recorded(business: Business, **item: object) -> str:
    [result] = (await business.record(item)).results
    assert result.event is not None, result
    return result.event.id


async def test_corrections_compensate_and_the_original_stays(business: Business, clock: FixedClock) -> None:
    """A1-09, A1-10, WH2-11, WH2-21: "over 500 spent" is left by a refund and entered again by a charge."""
    rich = await business.segment("rich", SPENT, notify="EMIT")
    first = await recorded(business, amount=480, external_id="order-1")
    second = await recorded(business, amount=40, external_id="order-2", currency="USD")
    await business.settle()
    assert await business.members(rich) == ["ann"]
    before = (await business.ctx.workspace.events.get_many([first]))[first]
    clock.set(datetime(2026, 1, 2, tzinfo=UTC))
    refund = await recorded(business, type="refund", correction_of=second, external_id="return-2")
    await business.settle()
    assert await business.members(rich) == []
    clock.set(datetime(2026, 1, 3, tzinfo=UTC))
    await recorded(business, type="charge", amount="20.01", correction_of=first)
    await recorded(business, type="charge", amount=3, correction_of=refund)
    await business.settle()
    assert flips(await business.feed(), rich) == [
        (before.pass_id, datetime(2026, 1, day, tzinfo=UTC), entered) for day, entered in ((1, True), (2, False), (3, True))
    ]  # fmt: skip
    assert (await business.ctx.workspace.events.get_many([first]))[first] == before
    [spend] = statistics((await business.card()).aggregates).spend
    assert [str(each) for each in (spend.gross, spend.refunded, spend.net)] == ["520", "40", "480"]
    assert spend.orders == 2


async def test_each_correction_is_judged_beside_its_original_and_a_repeat_stays_a_repeat(
    business: Business, resources: Resources, clock: FixedClock
) -> None:
    other = await another_business(resources, clock, "Other")
    theirs = await recorded(other, amount=9)
    mine = await recorded(business, amount=9, external_id="1")
    gone = await recorded(business, amount=7, external_id="gone")
    whole: dict[str, object] = {"type": "refund", "correction_of": gone, "external_id": "r-1"}
    part: dict[str, object] = {"type": "refund", "correction_of": mine, "amount": 4, "external_id": "r-2"}
    first = await business.record(whole, part)
    assert [r.status for r in first.results] == ["CREATED", "CREATED"]
    assert first.results[0].event is not None
    assert first.results[0].event.amount == 7
    stub = {"_id": gone, "workspace": business.ctx.workspace.id, "pass": first.results[0].event.pass_id, "removed": 1}
    await resources.db["events"].replace_one({"_id": gone}, stub)
    batch: list[dict[str, object]] = [
        whole,
        part,
        {"type": "refund", "correction_of": gone},
        {"type": "refund", "correction_of": gone, "external_id": "r-2"},
        {"type": "refund", "correction_of": theirs},
        {"type": "refund", "correction_of": mine, "pass_external_id": "bob"},
        {"type": "refund", "correction_of": "event_nobody", "pass_external_id": None, "pass_id": "pass_nobody"},
        {"type": "refund", "correction_of": mine, "amount": 10},
        {"amount": 1, "external_id": "good"},
    ]
    outcome = await business.record(*batch)
    assert [(r.status, *((p.code, p.field) for p in r.problems)) for r in outcome.results] == [
        ("DUPLICATE",),
        ("DUPLICATE",),
        ("REJECTED", (Code.EVENT_REMOVED, ("correctionOf",))),
        ("CONFLICT", (Code.CONFLICT, ("externalId",))),
        ("REJECTED", (Code.UNKNOWN, ("correctionOf",))),
        ("REJECTED", (Code.UNKNOWN, ("correctionOf",))),
        ("REJECTED", (Code.UNKNOWN, ("passId",))),
        ("REJECTED", (Code.OUT_OF_RANGE, ("amount",))),
        ("CREATED",),
    ]
    again = await business.record(whole, {"amount": 2, "external_id": "also"}, atomic=True)
    assert [r.status for r in again.results] == ["DUPLICATE", "CREATED"]


async def test_a_backdated_event_and_its_correction_land_in_the_windows_they_belong_to(
    business: Business, clock: FixedClock
) -> None:
    """Late and backdated events count by when they occurred (issue 4, point 5)."""
    lately = await business.segment("lately", bought_within(10), notify="EMIT")
    await business.join("ann")
    now = await clock.now()
    clock.set(now + timedelta(days=5))
    await recorded(business, amount=1, occurred_at=(now - timedelta(days=8)).isoformat())
    await business.settle()
    assert await business.members(lately) == []
    await recorded(business, amount=1, occurred_at=(now - timedelta(days=3)).isoformat())
    await business.settle()
    assert await business.members(lately) == ["ann"]
    clock.set(now + timedelta(days=7))
    await business.settle()
    assert await business.members(lately) == []
    assert [at for _, at, entered in flips(await business.feed(), lately) if not entered] == [now + timedelta(days=7)]


async def test_what_was_recorded_on_a_merged_pass_is_corrected_on_the_one_that_answers(business: Business) -> None:
    event_id = await recorded(business, pass_external_id="bob", amount=9)
    await recorded(business, pass_external_id="ann", amount=1)
    await business.settle()
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await business.settle()
    for name in ("ann", "bob"):
        await recorded(business, pass_external_id=name, type="refund", amount=2, correction_of=event_id)
        await business.settle()
    # Another process has not heard of the merge yet.
    business.ctx.resources.cache.remember_pass(business.ctx.workspace.id, ids["bob"], "bob")
    await recorded(business, pass_external_id="bob", type="refund", amount=2, correction_of=event_id)
    await business.settle()
    [spend] = statistics((await business.card()).aggregates).spend
    assert str(spend.net) == "4"
