"""`punchcard check --deep` computes passes anew from their events: what the fold stored agrees, and damage is found."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from bson import Decimal128
from click.testing import CliRunner

from app.cli.main import main
from app.commands.passes.passes import update_pass
from app.domain.fold import recomputation
from app.domain.ids import slot_of
from app.store.operations import consistency
from app.store.operations.consistency import Finding, pass_ids
from app.store.operations.recomputation import DeepCheck, Recomputed
from tests.business import Business, bought_within, spent
from tests.store.operations.test_consistency import find_all, shop
from workers.stages.seal_passes import seal_passes

__all__ = ["shop"]


async def check_deep(business: Business) -> tuple[list[Finding], Recomputed]:
    """Run the deep check and return its findings and counts."""
    findings: list[Finding] = []
    done = await DeepCheck(business.ctx.resources.db, 100).check(findings.append, lambda done: None)
    return findings, done


async def test_nothing_is_found_in_what_the_fold_stores(shop: Business) -> None:
    """Merged, erased, late, pending and removed events, windows, points with an expiry, and changed profiles."""
    await shop.create_segment("month", bought_within(30))
    await shop.create_segment("rich", spent(3, days=30))
    await shop.record(
        {
            "pass_external_id": "dan",
            "amount": 7,
            "points": 5,
            "external_id": "late",
            "occurred_at": "2025-12-01T00:00:00Z",
        },
        {"pass_external_id": "dan", "type": "field_increment", "field_name": "visits", "amount": 2},
        *({"pass_external_id": "many", "amount": n, "external_id": f"m{n}"} for n in range(150)),
    )
    await shop.run_worker()
    dan = await shop.read_pass("dan")
    await update_pass(shop.ctx, dan.id, fields={"tier": "gold"})
    assert await check_deep(shop) == ([], Recomputed(passes=3, events=158))
    for days in (1, 20, 40):
        shop.clock.set(await shop.clock.now() + timedelta(days=days))
        await shop.run_worker()
        findings, done = await check_deep(shop)
        assert findings == []
    assert (done.passes, done.too_long, done.moving) == (3, 0, 0)


async def test_each_value_that_differs_is_found(shop: Business) -> None:
    await shop.create_segment("rich", spent(3))
    await shop.record({"pass_external_id": "dan", "amount": 7, "points": 5})
    await shop.run_worker()
    passes = shop.ctx.resources.db["passes"]
    dan = await passes.find_one({"external_id": "dan"})
    assert dan is not None
    [row] = dan["aggregates"]
    measure = next(iter(dan["state"]))
    damages: list[tuple[dict[str, Any], str]] = [
        (
            {f"aggregates.{row}.n": 99},
            "Its events give 3 with the sum 10 for purchase in USD, stored is 99 with the sum 10.",
        ),
        ({"points": Decimal128("6")}, "Its events give 5 for the points, stored is 6."),
        ({"profile.status": "REVOKED"}, "Its events give another value for the status than is stored."),
    ]
    for change, text in damages:
        await passes.update_one({"_id": dan["_id"]}, {"$set": change})
        [*findings], _ = await check_deep(shop)
        assert text in {finding.text for finding in findings}, change
        assert {finding.id for finding in findings} == {dan["_id"]}
        await passes.replace_one({"_id": dan["_id"]}, dan)
    await passes.update_one({"_id": dan["_id"]}, {"$unset": {f"state.{measure}": ""}})
    [finding], _ = await check_deep(shop)
    assert f"for the measure {measure}, stored is None" in finding.text


async def test_pass_with_too_many_events_for_the_memory_is_compared_by_its_aggregates(
    shop: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recomputation, "MAX_RECOMPUTED_EVENTS", 1)
    await shop.record({"pass_external_id": "dan", "amount": 7, "points": 5})
    await shop.run_worker()
    dan = await shop.read_pass("dan")
    await shop.ctx.resources.db["passes"].update_one({"_id": dan.id}, {"$set": {"points": Decimal128("6")}})
    findings, done = await check_deep(shop)
    assert (findings, done.too_long) == ([], done.passes)


async def test_pass_that_changes_at_each_look_is_counted_and_not_compared(
    shop: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DeepCheck._read_definitions

    async def write_meanwhile(self: DeepCheck, card: Any) -> Any:
        await shop.ctx.resources.db["passes"].update_one({"_id": card.id}, {"$inc": {"v": 1}})
        return await original(self, card)

    monkeypatch.setattr(DeepCheck, "_read_definitions", write_meanwhile)
    findings, done = await check_deep(shop)
    assert (findings, done.passes, done.moving) == ([], 0, 2)


async def test_parked_events_are_found_where_the_release_does_not_find_them(shop: Business) -> None:
    db, dan = shop.ctx.resources.db, await shop.read_pass("dan")
    await shop.record({"pass_external_id": "dan", "amount": 3, "external_id": "parked"})
    for _ in range(5):
        await shop.worker.fold_queries.count_failure(dan, "Boom", 5)
    assert await find_all(shop) == []
    assert (await check_deep(shop))[0] == []
    slot = slot_of(dan.id)
    await db["events"].update_one({"pass": dan.id, "pend": -1 - slot}, {"$set": {"pend": -99}})
    [finding] = await find_all(shop)
    assert finding.text == f"The event of a parked pass waits in slot -99 instead of {-1 - slot}."
    await db["events"].update_one({"pend": -99}, {"$set": {"pend": -1 - slot}})
    await db["passes"].update_one({"_id": dan.id}, {"$unset": {"parked": ""}})
    [finding] = (await check_deep(shop))[0]
    assert finding.text == "1 of its events are parked, but the pass is not: they never count."


@pytest.mark.parametrize("in_chunk", [100, 1_000])
async def test_ids_of_all_passes_are_read_in_short_lists(
    business: Business, monkeypatch: pytest.MonkeyPatch, in_chunk: int
) -> None:
    monkeypatch.setattr(consistency, "PASSES_READ", 7)
    created = await business.create_passes(*(f"p{n}" for n in range(40)))
    lists = [ids async for ids in pass_ids(business.ctx.resources.db, in_chunk)]
    assert sorted(each for ids in lists for each in ids) == sorted(each.id for each in created)
    assert max(map(len, lists)) <= 7


async def test_command_prints_the_counts(shop: Business) -> None:
    settings = shop.ctx.resources.settings
    environment = {**settings.to_env(), "PUNCHCARD_DATABASE": settings.database}
    result = await asyncio.to_thread(lambda: CliRunner().invoke(main, ["check", "--deep"], env=environment))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "2 passes were computed anew, from " in result.stderr


async def test_each_sealed_sum_of_a_pass_that_differs_is_found(shop: Business) -> None:
    """Values, rows and points of a month and its year, and the periods in which the pass was active."""
    await shop.record(
        {
            "pass_external_id": "dan",
            "amount": 7,
            "points": 5,
            "occurred_at": "2025-12-01T00:00:00Z",
            "type": "purchase",
        },
        {"pass_external_id": "dan", "type": "visit", "occurred_at": "2025-11-01T00:00:00Z"},
    )
    await shop.run_worker()
    assert (await check_deep(shop))[0] == [], "nothing is sealed"
    await seal_passes(shop.worker, shop.ctx.workspace.id)
    assert (await check_deep(shop))[0] == []
    db, dan = shop.ctx.resources.db, await shop.read_pass("dan")
    periods, passes, of_dan = db["pass_periods"], db["passes"], {"_id": dan.id}
    before = await periods.find({"pass": dan.id}).to_list(None)
    month = {"pass": dan.id, "period": 202512}
    await periods.update_one({**month, "measure": "SPEND:USD"}, {"$set": {"value": Decimal128("8")}})
    await periods.update_one({**month, "measure": "COUNT"}, {"$set": {"earned": Decimal128("6")}})
    await periods.delete_one({"pass": dan.id, "period": 2025, "measure": "POINTS"})
    await periods.update_one({"pass": dan.id, "period": 202511, "measure": "COUNT"}, {"$unset": {"rows": ""}})
    assert [each.text for each in (await check_deep(shop))[0]] == [
        "Its events give 5 for the value POINTS of 2025, stored is 0.",
        "Its events give 1 with the sum 0 for visit in 2025-11, stored is nothing.",
        "Its events give 5 for the points earned in 2025-12, stored is 6.",
        "Its events give 7 for the value SPEND:USD of 2025-12, stored is 8.",
    ]
    await periods.delete_many({"pass": dan.id})
    await periods.insert_many(before)
    last_month = {"pass": dan.id, "period": 202601, "measure": "SPEND:USD"}
    await periods.update_one(last_month, {"$set": {"twelve": Decimal128("9")}, "$unset": {"twelve_later": ""}})
    [finding] = (await check_deep(shop))[0]
    assert "for twelve months of SPEND:USD in 2026-01, stored is 9, " in finding.text
    await periods.delete_many({"pass": dan.id})
    await periods.insert_many(before)
    await passes.update_one(of_dan, {"$set": {"active": [2025, 2026, 202512, 202601], "first_active": 202512}})
    assert [each.text for each in (await check_deep(shop))[0]] == [
        "Its events give 2025, 2026, 2025-11, 2025-12, 2026-01 for the active periods,"
        " stored is 2025, 2026, 2025-12, 2026-01.",
        "Its events give 2025-11 for the first active month, stored is 2025-12.",
    ]
    await passes.update_one(of_dan, {"$set": {"dirty_months": [202511], "dirty_from": 202511}})
    assert (await check_deep(shop))[0] == [], "what is dirty is computed anew"
