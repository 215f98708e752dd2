"""The tier program: set as a whole, evaluated for all passes, and read by segments, merges and erasures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.commands.definitions import find_tier_program
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass, remove_events
from app.commands.segments import archive_segment, create_segment, update_segment
from app.commands.tiers import set_tier_program, warn_about_tiers
from app.domain.activities import (
    LOYALTY_UPDATED,
    TIER_CHANGES,
    TIER_JOINED,
    TIER_LEFT,
    TIER_UPGRADED,
    Activity,
)
from app.domain.errors import Code, Refused
from app.domain.passes.passes import PassTier
from app.domain.values.instants import format_instant, to_ms
from tests.business import Business, purchases, spent

DAY = timedelta(days=1)
YEAR = {"calendar": {"unit": "YEAR"}}


def program(*amounts: int, period: object = YEAR, **more: object) -> dict[str, object]:
    """Return the input of a program whose tiers t0, t1 and so on are reached with these amounts spent in 365 days."""
    tiers = [{"key": f"t{n}", "name": f"Tier {n}", "reach": spent(each, 365)} for n, each in enumerate(amounts)]
    return {"tiers": tiers, "period": period, **more}


async def read_changes(business: Business, **query: object) -> list[Activity]:
    return await business.read_log(types=tuple(TIER_CHANGES.values()), include_silent=True, **query)


async def refuse(business: Business, sent: dict[str, Any]) -> list[tuple[Code, tuple[str, ...]]]:
    with pytest.raises(Refused) as refused:
        await set_tier_program(business.ctx, sent)
    return [(problem.code, problem.field) for problem in refused.value.problems]


async def test_existing_passes_get_their_tiers_silently_and_later_events_upgrade_them(business: Business) -> None:
    await business.record({"amount": 600}, {"amount": 40, "pass_external_id": "bob"})
    await business.run_worker()
    stored = await set_tier_program(business.ctx, program(100, 500, 1000))
    assert stored is not None
    assert (stored.version, stored.timezone) == (1, "UTC")
    await business.run_worker()
    now = await business.clock.now()
    ann = await business.read_pass()
    assert ann.tier is not None
    assert (ann.tier.key, ann.tier.since_ms, ann.next_due_ms) == ("t1", to_ms(now), ann.next_due_ms)
    [joined] = await read_changes(business)
    assert (joined.type, joined.silent) == (TIER_JOINED, True)
    assert joined.cause == {"kind": "BACKFILL", "version": 1}
    business.clock.set(now + DAY)
    [result] = (await business.record({"amount": 500})).results
    await business.run_worker()
    [_, upgraded] = await read_changes(business)
    assert result.event is not None
    assert (upgraded.type, upgraded.occurred_at, upgraded.silent) == (TIER_UPGRADED, now + DAY, False)
    assert upgraded.cause == {"kind": "EVENT", "event": result.event.id}
    assert upgraded.data["before"] == {
        "key": "t1",
        "since": format_instant(now),
        "until": format_instant(
            now.replace(year=now.year + 2, month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
        ),
    }
    assert upgraded.data["change"] == "UPGRADED"
    assert [str(value) for value in upgraded.data["values"]] == ["1100"]  # type: ignore[attr-defined]
    updated = await business.read_log(types=[LOYALTY_UPDATED], include_silent=True)
    assert [each.data for each in updated] == [joined.data, upgraded.data]


async def test_tier_is_decided_at_the_end_of_its_period_whenever_a_worker_runs(business: Business) -> None:
    now = await business.clock.now()
    await set_tier_program(business.ctx, program(100, 500, period={"days": 30}))
    await business.record({"amount": 600, "occurred_at": format_instant(now)})
    await business.run_worker()
    business.clock.set(now + 500 * DAY)
    await business.run_worker()
    changes = await read_changes(business)
    kinds = [each.type.rpartition(".")[2] for each in changes]
    assert kinds == ["joined", *["prolonged"] * 12, "left"]
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    assert [each.occurred_at for each in changes[1:]] == [midnight + 30 * n * DAY for n in range(1, 14)]
    assert {each.cause["kind"] for each in changes[1:]} == {"TIME"}
    assert (await business.read_pass()).tier is None


async def test_equal_program_makes_no_version_and_an_empty_one_ends_all_tiers(business: Business) -> None:
    await business.record({"amount": 600})
    for _ in range(2):
        stored = await set_tier_program(business.ctx, program(100))
        assert stored is not None
        assert stored.version == 1
    await business.run_worker()
    ended = await set_tier_program(business.ctx, {"tiers": [], "notify": "EMIT"})
    assert ended is not None
    assert (ended.version, ended.tiers) == (2, ())
    await business.run_worker()
    [_, left] = await read_changes(business)
    assert (left.type, left.silent) == (TIER_LEFT, False)
    assert left.cause == {"kind": "DEFINITION_CHANGED", "version": 2}
    assert (await business.read_pass()).tier is None


async def test_program_that_never_was_is_not_ended(business: Business) -> None:
    assert await set_tier_program(business.ctx, {"tiers": []}) is None
    assert await find_tier_program(business.ctx) is None


async def test_segment_on_the_tier_follows_it_and_needs_a_tier_that_exists(business: Business) -> None:
    gold = {"pass": {"field": "tier", "value": "t1"}}
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "gold", "Gold", gold)
    assert "Call setTierProgram first" in refused.value.problems[0].message
    await set_tier_program(business.ctx, program(100, 500))
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "gold", "Gold", {"pass": {"field": "tier", "value": "platinum"}})
    assert "t0, t1" in refused.value.problems[0].message
    segment = await business.create_segment("gold", gold)
    await business.record({"amount": 600})
    await business.run_worker()
    assert await business.read_members(segment) == ["ann"]


async def test_circle_of_segments_and_tiers_is_refused_and_names_its_members(business: Business) -> None:
    await set_tier_program(business.ctx, program(100))
    segment = await business.create_segment("members", {"pass": {"field": "tier", "operator": "EXISTS"}})
    in_segment = {"tiers": [{"key": "t0", "name": "T", "reach": {"segment": {"id": segment.id}}}], "period": YEAR}
    with pytest.raises(Refused) as refused:
        await set_tier_program(business.ctx, in_segment)
    [problem] = refused.value.problems
    assert (problem.code, problem.field) == (Code.CYCLE, ("tiers", "0", "reach"))
    assert "circle: members -> tiers -> members." in problem.message
    own = {"tiers": [{"key": "t0", "name": "T", "reach": {"pass": {"field": "tier", "value": "t0"}}}], "period": YEAR}
    assert await refuse(business, own) == [(Code.CYCLE, ("tiers", "0", "reach"))]
    plain = await business.create_segment("plain", purchases(2))
    await set_tier_program(
        business.ctx, {"tiers": [{"key": "t0", "name": "T", "reach": {"segment": {"id": plain.id}}}], "period": YEAR}
    )
    with pytest.raises(Refused) as refused:
        await update_segment(business.ctx, plain.id, criteria={"pass": {"field": "tier", "value": "t0"}})
    assert refused.value.problems[0].code is Code.CYCLE
    with pytest.raises(Refused) as refused:
        await archive_segment(business.ctx, plain.id)
    assert refused.value.problems[0].code is Code.CONFLICT


async def test_all_problems_of_a_program_are_named(business: Business) -> None:
    tier = {"key": "Gold!", "reach": {"event": {"metric": "MEDIAN", "value": 1}}, "benefits": {"x": "y" * 5_000}}
    sent = {
        "tiers": [
            tier,
            {"key": "a", "name": "A", "reach": purchases(1)},
            {"key": "a", "name": "B", "reach": purchases(2)},
        ],
        "period": {"days": 0},
        "downgrade": "SIDEWAYS",
        "timezone": "Mars/Olympus",
    }
    assert await refuse(business, sent) == [
        (Code.INVALID, ("tiers", "0", "key")),
        (Code.REQUIRED, ("tiers", "0", "name")),
        (Code.UNKNOWN, ("tiers", "0", "reach", "event", "metric")),
        (Code.TOO_LONG, ("tiers", "0", "benefits")),
        (Code.TAKEN, ("tiers", "2", "key")),
        (Code.OUT_OF_RANGE, ("period", "days")),
        (Code.UNKNOWN, ("downgrade",)),
        (Code.UNKNOWN, ("timezone",)),
    ]
    many = [{"key": f"t{n}", "name": "T", "reach": purchases(n + 1)} for n in range(21)]
    assert await refuse(business, {"tiers": many, "period": YEAR}) == [(Code.TOO_MANY, ("tiers",))]
    assert await refuse(business, {**program(1), "period": None}) == [(Code.REQUIRED, ("period",))]
    two = {"days": 1, "forever": True}
    assert await refuse(business, {**program(1), "period": two}) == [(Code.INVALID, ("period",))]
    unknown = {"segment": {"id": "seg_none"}}
    foreign = {"tiers": [{"key": "a", "name": "A", "reach": purchases(1), "keep": unknown}], "period": YEAR}
    assert await refuse(business, foreign) == [(Code.UNKNOWN, ("tiers", "0", "keep"))]


async def test_warnings_name_the_criterion_of_the_tier(business: Business) -> None:
    tier = {"key": "a", "name": "A", "reach": {"event": {"types": ["coffe"], "value": 3}}}
    stored = await set_tier_program(business.ctx, {"tiers": [tier], "period": YEAR})
    assert stored is not None
    [warning] = await warn_about_tiers(business.ctx, stored)
    assert warning.field[:3] == ("tiers", "0", "reach")


async def test_survivor_of_a_merge_takes_the_higher_tier_and_the_later_end(business: Business) -> None:
    now = await business.clock.now()
    await set_tier_program(business.ctx, program(100, 500, period={"days": 100}))
    await business.record({"amount": 600}, {"amount": 150, "pass_external_id": "bob"})
    await business.run_worker()
    ann, bob = await business.read_pass(), await business.read_pass("bob")
    business.clock.set(now + DAY)
    await merge_passes(business.ctx, bob.id, ann.id)
    await business.run_worker()
    survivor = await business.read_pass("bob")
    assert survivor.tier == ann.tier == PassTier("t1", to_ms(now), ann.next_due_ms)
    [*_, left, upgraded] = await read_changes(business)
    assert (left.pass_id, left.type, left.cause) == (ann.id, TIER_LEFT, {"kind": "PASS_MERGED"})
    assert (upgraded.pass_id, upgraded.type, upgraded.cause) == (
        bob.id,
        TIER_UPGRADED,
        {"kind": "PASS_MERGED"},
    )


async def test_lower_tier_of_a_merged_pass_changes_nothing(business: Business) -> None:
    await set_tier_program(business.ctx, program(100, 500, 5000))
    await business.record({"amount": 600}, {"amount": 150, "pass_external_id": "bob"})
    await business.run_worker()
    ann, bob = await business.read_pass(), await business.read_pass("bob")
    await merge_passes(business.ctx, ann.id, bob.id)
    await business.run_worker()
    assert (await business.read_pass()).tier == ann.tier
    assert not (await business.read_pass()).outbox


async def test_erased_pass_leaves_its_tier_without_measured_values(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0.0)
    await set_tier_program(business.ctx, program(100))
    await business.record({"amount": 600})
    await business.run_worker()
    ann = await business.read_pass()
    await erase_pass(business.ctx, pass_id=ann.id)
    await business.run_worker()
    rest = await business.ctx.resources.db["passes"].find_one({"_id": ann.id})
    assert rest is not None
    assert rest["gone"] == 1
    assert ann.tier_key == "t0"
    assert "tier" not in rest
    assert {str(each.data) for each in await read_changes(business)} == {"{'erased': True}"}


async def test_removal_takes_the_tier_away_with_reverse(business: Business) -> None:
    await set_tier_program(business.ctx, program(100, 500, onCorrection="REVERSE"))
    [small, large] = (await business.record({"amount": 200}, {"amount": 400})).results
    await business.run_worker()
    assert (await business.read_pass()).tier_key == "t1"
    assert large.event is not None
    await remove_events(business.ctx, [(large.event.pass_id, large.event.id)])
    await business.run_worker()
    assert (await business.read_pass()).tier_key == "t0"
    [*_, down] = await read_changes(business)
    assert down.cause == {"kind": "EVENT_REMOVED", "event": large.event.id}
    assert down.data["late"] is True
    assert small.event is not None
