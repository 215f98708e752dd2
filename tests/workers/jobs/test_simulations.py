"""simulateRule: a simulation over the past equals what the rule does when it is in force from the beginning."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.commands.rules.rules import create_rule, set_rule_status
from app.commands.rules.simulations import simulate_rule
from app.domain.errors import Code, Refused
from app.domain.jobs import JobStatus
from app.domain.rules.rules import RuleStatus
from app.store.mongo.paging import PageRequest
from tests.business import Business, purchases
from tests.workers.jobs.test_imports import run_to_end

POINTS: dict[str, Any] = {
    "key": "points",
    "name": "Points",
    "trigger": {"event": {"types": ["purchase"]}},
    "effects": [{"awardPoints": {"perAmount": {"points": 1, "each": 1}, "expiresAfterDays": 30}}],
    "limits": {"perPass": {"count": 2, "within": {"days": 2}}},
    "controlGroupPercent": 20,
}
EARLY = "2000-01-01T00:00:00Z"


async def play(business: Business) -> None:
    """Record purchases, refunds and changes of 12 passes over some weeks."""
    refunded: list[str] = []
    for day in range(12):
        items: list[dict[str, Any]] = [
            {"pass_external_id": f"guest-{number}", "amount": 10 + number, "external_id": f"{day}-{number}"}
            for number in range(12)
            if (number + day) % 3
        ]
        results = (await business.record(*items)).results
        await business.run_worker()
        refunded += [result.event.id for result in results[:2] if result.event is not None]
        business.clock.set(await business.clock.now() + timedelta(hours=9))
    for event_id in refunded:
        event = (await business.ctx.workspace.events.get_many([event_id]))[event_id]
        await business.record({"type": "refund", "amount": 3, "correction_of": event_id, "pass_id": event.pass_id,
                               "pass_external_id": None})  # fmt: skip
    await business.run_worker()
    business.clock.set(await business.clock.now() + timedelta(hours=1))


async def simulate(business: Business, **options: Any) -> dict[str, Any]:
    options = {"rule": None, "rule_id": None, "start": EARLY, "end": None, **options}
    job = await simulate_rule(business.ctx, **options)
    found = await run_to_end(business, job)
    assert found.status is JobStatus.SUCCEEDED, found.error
    return found.result


async def what_happened(business: Business, rule_id: str) -> tuple[int, int, str]:
    store = business.ctx.workspace.firings
    firings = await store.brief(rule_id, None, None)
    points = await store.points_awarded(rule_id, None, None)
    return len(firings), sum(firing.is_control for firing in firings), str(points)


async def test_simulation_equals_a_rule_that_was_in_force(business: Business) -> None:
    """The control group depends on the ids of pass and rule, so the rule is simulated in its own workspace."""
    await business.create_passes("guest-0")
    rule = await create_rule(business.ctx, POINTS)
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    await play(business)
    documents = await count_documents(business)
    found = await simulate(business, rule_id=rule.id)
    assert found["passes"] == 12
    assert (found["fired"], found["control"], found["pointsAwarded"]) == await what_happened(business, rule.id)
    assert found["matched"] == found["fired"] + found["skipped"][0]["count"]
    assert [each["reason"] for each in found["skipped"]] == ["LIMIT"]
    await set_rule_status(business.ctx, rule.id, RuleStatus.PAUSED, "pauseRule")
    assert await simulate(business, rule_id=rule.id) == found
    assert await count_documents(business) == documents


async def count_documents(business: Business) -> dict[str, int]:
    db = business.ctx.resources.db
    return {name: await db[name].count_documents({}) for name in ("events", "passes", "activities", "rules")}


async def test_rule_that_does_not_exist_is_simulated_for_a_period(business: Business) -> None:
    await play(business)
    everything = await simulate(business, rule={**POINTS, "controlGroupPercent": 0})
    half = (await business.clock.now() - timedelta(hours=50)).isoformat()
    before = await simulate(business, rule={**POINTS, "controlGroupPercent": 0}, end=half)
    after = await simulate(business, rule={**POINTS, "controlGroupPercent": 0}, start=half)
    assert 0 < before["fired"] < everything["fired"]
    assert before["fired"] + after["fired"] == everything["fired"]
    assert before["matched"] + after["matched"] == everything["matched"] > everything["fired"]
    assert await business.ctx.workspace.rules.count() == 0


async def test_batches_hold_a_bounded_number_of_events_and_large_passes_are_left_out(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play(business)
    rule = {**POINTS, "controlGroupPercent": 0}
    everything = await simulate(business, rule=rule)
    monkeypatch.setattr("workers.jobs.simulations.MAX_SIMULATED_EVENTS", 16)
    found = await simulate(business, rule=rule)
    assert found == everything
    monkeypatch.setattr("workers.jobs.simulations.MAX_SIMULATED_EVENTS", 8)
    found = await simulate(business, rule=rule)
    assert found["passesLeftOut"]
    assert found["passes"] + found["passesLeftOut"] == everything["passes"]


async def test_segments_of_today_are_entered_at_the_instant_at_which_they_would_have_been(business: Business) -> None:
    await business.record(*({"amount": 1} for _ in range(3)))
    business.clock.set(await business.clock.now() + timedelta(hours=1))
    await business.run_worker()
    segment = await business.create_segment("three", purchases(3))
    entered = {"trigger": {"segmentEntered": {"segmentId": segment.id}}, "effects": [{"awardPoints": {"points": 7}}]}
    found = await simulate(business, rule={"key": "hello", "name": "Hello", **entered})
    assert (found["fired"], found["pointsAwarded"]) == (1, "7")


@pytest.mark.parametrize(
    ("options", "code", "field"),
    [
        ({}, Code.INVALID, "rule"),
        ({"rule": POINTS, "rule_id": "rule_1"}, Code.INVALID, "rule"),
        ({"rule_id": "rule_none"}, Code.UNKNOWN, "ruleId"),
        ({"rule": POINTS, "start": "2100-01-01T00:00:00Z"}, Code.OUT_OF_RANGE, "from"),
        ({"rule": {**POINTS, "controlGroupPercent": 101}}, Code.OUT_OF_RANGE, "rule.controlGroupPercent"),
        ({"rule": {**POINTS, "conditions": {"segment": {"id": "seg_none"}}}}, Code.UNKNOWN, "rule.conditions"),
    ],
)
async def test_simulation_that_cannot_run_is_refused(
    business: Business, options: dict[str, Any], code: Code, field: str
) -> None:
    with pytest.raises(Refused) as refused:
        await simulate_rule(business.ctx, **{"rule": None, "rule_id": None, "start": EARLY, "end": None, **options})
    [problem] = refused.value.problems
    assert (problem.code, ".".join(problem.field)) == (code, field)
    assert (await business.ctx.workspace.jobs.page(PageRequest())).items == []
