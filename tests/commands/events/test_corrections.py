"""Corrections are events of their own: the original stays, and all derived values follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.clock import FixedClock
from app.commands.passes.merges import merge_passes
from app.domain.errors import Code
from app.domain.state.statistics import build_statistics
from app.resources import Resources
from tests.business import Business, bought_within, create_business, list_transitions

SPENT = {
    "event": {"types": ["purchase", "refund", "charge"], "metric": "SUM", "operator": "GTE", "value": 500},
}


async def record_one(business: Business, **item: object) -> str:
    [result] = (await business.record(item)).results
    assert result.event is not None, result
    return result.event.id


async def test_corrections_compensate_and_the_original_stays(business: Business, clock: FixedClock) -> None:
    """A1-09, A1-10, WH2-11, WH2-21: a refund ends the membership "over 500 spent", and a charge restores it."""
    rich = await business.create_segment("rich", SPENT, notify="EMIT")
    first = await record_one(business, amount=480, external_id="order-1")
    second = await record_one(business, amount=40, external_id="order-2", currency="USD")
    await business.run_worker()
    assert await business.read_members(rich) == ["ann"]
    before = (await business.ctx.workspace.events.get_many([first]))[first]
    clock.set(datetime(2026, 1, 2, tzinfo=UTC))
    refund = await record_one(business, type="refund", correction_of=second, external_id="return-2")
    await business.run_worker()
    assert await business.read_members(rich) == []
    clock.set(datetime(2026, 1, 3, tzinfo=UTC))
    await record_one(business, type="charge", amount="20.01", correction_of=first)
    await record_one(business, type="charge", amount=3, correction_of=refund)
    await business.run_worker()
    assert list_transitions(await business.read_log(), rich) == [
        (before.pass_id, datetime(2026, 1, day, tzinfo=UTC), entered)
        for day, entered in ((1, True), (2, False), (3, True))
    ]  # fmt: skip
    assert (await business.ctx.workspace.events.get_many([first]))[first] == before
    [spend] = build_statistics((await business.read_pass()).aggregates).spend
    assert [str(each) for each in (spend.gross, spend.refunded, spend.net)] == ["543.01", "40", "503.01"]
    assert spend.orders == 2


async def test_each_correction_is_checked_against_its_original_and_a_repeat_is_a_duplicate(
    business: Business, resources: Resources, clock: FixedClock
) -> None:
    other = await create_business(resources, clock, "Other")
    of_other_workspace = await record_one(other, amount=9)
    original = await record_one(business, amount=9, external_id="1")
    removed = await record_one(business, amount=7, external_id="removed")
    whole: dict[str, object] = {"type": "refund", "correction_of": removed, "external_id": "r-1"}
    part: dict[str, object] = {"type": "refund", "correction_of": original, "amount": 4, "external_id": "r-2"}
    first = await business.record(whole, part)
    assert [r.status for r in first.results] == ["CREATED", "CREATED"]
    assert first.results[0].event is not None
    # What is left of the original is known when the refund counts.
    assert (first.results[0].event.amount, first.results[0].event.currency) == (None, "USD")
    stub = {
        "_id": removed,
        "workspace": business.ctx.workspace.id,
        "pass": first.results[0].event.pass_id,
        "removed": 1,
    }
    await resources.db["events"].replace_one({"_id": removed}, stub)
    batch: list[dict[str, object]] = [
        whole,
        part,
        {"type": "refund", "correction_of": removed},
        {"type": "refund", "correction_of": removed, "external_id": "r-2"},
        {"type": "refund", "correction_of": of_other_workspace},
        {"type": "refund", "correction_of": original, "pass_external_id": "bob"},
        {"type": "refund", "correction_of": "event_missing", "pass_external_id": None, "pass_id": "pass_missing"},
        {"type": "refund", "correction_of": original, "amount": 10},
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
    repeated = await business.record(whole, {"amount": 2, "external_id": "also"}, atomic=True)
    assert [r.status for r in repeated.results] == ["DUPLICATE", "CREATED"]


async def test_late_events_count_in_the_windows_in_which_they_occurred(business: Business, clock: FixedClock) -> None:
    """Late and backdated events count by the instant at which they occurred."""
    lately = await business.create_segment("lately", bought_within(10), notify="EMIT")
    await business.create_passes("ann")
    now = await clock.now()
    clock.set(now + timedelta(days=5))
    await record_one(business, amount=1, occurred_at=(now - timedelta(days=8)).isoformat())
    await business.run_worker()
    assert await business.read_members(lately) == []
    await record_one(business, amount=1, occurred_at=(now - timedelta(days=3)).isoformat())
    await business.run_worker()
    assert await business.read_members(lately) == ["ann"]
    clock.set(now + timedelta(days=7))
    await business.run_worker()
    assert await business.read_members(lately) == []
    transitions = list_transitions(await business.read_log(), lately)
    assert [at for _, at, entered in transitions if not entered] == [now + timedelta(days=7)]


async def test_event_of_a_merged_pass_is_corrected_on_the_survivor(business: Business) -> None:
    event_id = await record_one(business, pass_external_id="bob", amount=9)
    await record_one(business, pass_external_id="ann", amount=1)
    await business.run_worker()
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await business.run_worker()
    for name in ("ann", "bob"):
        await record_one(business, pass_external_id=name, type="refund", amount=2, correction_of=event_id)
        await business.run_worker()
    # The cache of another process predates the merge.
    business.ctx.resources.cache.remember_pass(business.ctx.workspace.id, ids["bob"], "bob")
    await record_one(business, pass_external_id="bob", type="refund", amount=2, correction_of=event_id)
    await business.run_worker()
    [spend] = build_statistics((await business.read_pass()).aggregates).spend
    assert str(spend.net) == "4"
