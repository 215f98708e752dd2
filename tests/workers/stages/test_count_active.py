"""Stored numbers of active passes: they are used while they are right, and counted anew after each change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from unittest.mock import patch

import pytest

from app.clock import system_ms
from app.commands.insights.customers import count_active as count_active_passes
from app.commands.insights.sealed_customers import ActivePasses
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass, remove_events
from app.domain.events.event_queries import EventQuery
from app.domain.rollups.active_periods import ALL_PERIODS
from app.domain.rollups.periods import ALL_MONTHS, bounds_of
from app.domain.rollups.sealing import AT_ONCE
from app.store.codecs.recounts import recount_of_ended
from app.store.mongo.paging import PageRequest
from app.store.operations.active_count_check import check_active_counts
from app.store.operations.rollup_rebuild import RollupRebuild
from app.store.workspace.active_counts import ActiveCount
from app.store.workspace.pass_periods import PassPeriodReads
from tests.business import Business
from workers.stages import count_active
from workers.stages.seal import seal
from workers.stages.seal_passes import seal_passes

MARCH, YEAR = 202503, 2025


@pytest.fixture(autouse=True)
def without_delay() -> Iterator[None]:
    """Let numbers be counted as soon as they are marked, all in one round, however slow the machine is."""
    with patch.multiple(count_active, COUNT_DELAY_SECONDS=0.0, COUNT_SLICE_SECONDS=1e9, PAUSE_FACTOR=0):
        yield


async def sell(business: Business, *names: str, month: int = 3, year: int = 2025) -> None:
    """Record a purchase of each customer in a month, and fold it."""
    at = datetime(year, month, 5, tzinfo=UTC)
    await business.record(*({"pass_external_id": name, "amount": 1, "occurred_at": at} for name in names))
    await business.run_worker()


async def seal_months(business: Business) -> None:
    """Seal the months of passes, and count what is marked."""
    await seal_passes(business.worker, business.ctx.workspace.id)


async def read(business: Business, period: int = MARCH) -> ActiveCount | None:
    return await business.ctx.workspace.active_counts.read(period)


async def find_wrong(business: Business) -> list[str]:
    """Return what `punchcard check --deep` finds."""
    resources = business.ctx.resources
    return [str(each) for each in await check_active_counts(resources.db, [business.ctx.workspace.id], 100)]


async def test_a_question_about_a_month_or_a_year_reads_a_stored_number(business: Business) -> None:
    await sell(business, "ann", month=12, year=2024)
    await sell(business, "ann", "bob")
    await seal_months(business)
    with patch.object(PassPeriodReads, "count_active", side_effect=AssertionError("passes were counted")):
        for period in (MARCH, YEAR):
            assert await count_active_passes(business.ctx, *bounds_of(period)) == ActivePasses(2, 1, returning=1)
        # What is not sealed yet is added to the number.
        await sell(business, "cas")
        assert await count_active_passes(business.ctx, *bounds_of(MARCH)) == ActivePasses(3, 2, returning=1)
    after, before = bounds_of(202502)[0], bounds_of(MARCH)[1]
    assert await count_active_passes(business.ctx, after, before) == ActivePasses(3, 2, returning=1)


async def test_a_number_is_counted_once_its_mark_is_old_enough(business: Business) -> None:
    await sell(business, "ann")
    with patch.object(count_active, "COUNT_DELAY_SECONDS", 3_600.0):
        await seal_months(business)
        assert await read(business) is None
    workspace_id, looks = business.ctx.workspace.id, business.worker.looks
    assert workspace_id not in looks.unsealed
    assert looks.uncounted[workspace_id] > system_ms() + 3_000_000
    looks.uncounted[workspace_id] = 0
    with patch.object(count_active, "COUNT_SLICE_SECONDS", 0.0):
        await seal_months(business)
        assert await read(business) is None, "the round ends before it counts"
    await seal_months(business)
    assert await read(business) == ActiveCount(1, 1)
    assert workspace_id not in looks.uncounted


async def test_a_repeated_seal_of_a_month_leaves_its_number(business: Business) -> None:
    await sell(business, "ann")
    await seal_months(business)
    await sell(business, "ann")
    with patch.object(type(business.worker.active_count_queries), "mark", side_effect=AssertionError("marked")):
        await seal_months(business)
    assert await read(business) == ActiveCount(1, 1)


async def test_passes_that_leave_a_month_are_not_counted_any_more(business: Business) -> None:
    """The last event of Ann is removed, Bob is merged, and Cas is erased. Only Dan and Eva are left."""
    await sell(business, "ann", "bob", "cas", "dan", "eva")
    await seal_months(business)
    assert await read(business) == ActiveCount(5, 5)
    store = business.ctx.workspace
    ids = await store.passes.ids_of(["ann", "bob", "dan"])
    [event] = (await store.events.page(EventQuery(pass_id=ids["ann"]), PageRequest(9))).items
    await remove_events(business.ctx, [(event.pass_id, event.id)])
    await merge_passes(business.ctx, ids["dan"], ids["bob"])
    await erase_pass(business.ctx, external_id="cas")
    await business.run_worker()
    assert await count_active_passes(business.ctx, *bounds_of(MARCH)) == ActivePasses(2, 2, returning=0)
    await seal_months(business)
    assert await read(business) == ActiveCount(2, 2)
    assert await find_wrong(business) == []


async def test_numbers_of_an_earlier_version_are_counted(business: Business) -> None:
    await sell(business, "ann")
    await seal_months(business)
    business.worker.seals.timing = AT_ONCE
    await seal(business.worker, business.ctx.workspace.id)
    await business.ctx.resources.db["active_counts"].delete_many({})
    assert await read(business) is None
    business.worker.looks.has_counts.clear()
    await seal_months(business)
    assert (await read(business), await read(business, YEAR)) == (ActiveCount(1, 1), ActiveCount(1, 1))


async def test_a_wrong_number_is_found_and_counted_anew_on_request(business: Business) -> None:
    await sell(business, "ann")
    await seal_months(business)
    workspace, db = business.ctx.workspace, business.ctx.resources.db
    await db["active_counts"].update_one({"period": MARCH}, {"$set": {"active": 7}})
    assert await find_wrong(business) == [
        f"{workspace.id}  active passes  The passes give 1 for the number of active passes of 2025-03, stored is 7."
    ]
    low, high = bounds_of(MARCH)
    await RollupRebuild(db, 100).mark_all(workspace.id, int(low.timestamp()) * 1_000, int(high.timestamp()) * 1_000)
    assert await find_wrong(business) == []
    await seal_months(business)
    assert await read(business) == ActiveCount(1, 1)


def test_a_pass_that_was_read_in_another_version_changes_all_numbers() -> None:
    doc = {"fid": "one", "active": [2025, 202503], "recount": {"mark": 5, "periods": [2024, 202412]}}
    assert recount_of_ended(doc, "one", 9) == {"recount": {"mark": 9, "periods": [2024, 2025, 202412, 202503]}}
    for unsure in (None, {**doc, "fid": "two"}, {**doc, "dirty_months": [ALL_MONTHS]}):
        assert ALL_PERIODS in recount_of_ended(unsure, "one", 9)["recount"]["periods"]
