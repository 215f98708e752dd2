"""Since when a member has met the criteria, whenever its events were recorded and the segment was made."""

from __future__ import annotations

from datetime import UTC, datetime

from app.commands.held_since import held_since
from app.commands.segments import archive_segment
from tests.business import Business, bought_within, purchases


def day(number: int, month: int = 1) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


async def test_segment_that_is_new_has_members_since_before_its_creation(business: Business) -> None:
    for number in (2, 5, 9):
        business.clock.set(day(number))
        await business.record({})
        await business.run_worker()
    business.clock.set(day(1, 2))
    regulars = await business.create_segment("regulars", purchases(2))
    fans = await business.create_segment("fans", {"segment": {"id": regulars.id}})
    ann = await business.read_pass()
    assert ann.memberships[regulars.id].since_ms == int(day(1, 2).timestamp() * 1_000)
    assert await held_since(business.ctx, ann.id, regulars.id) == day(5)
    assert await held_since(business.ctx, ann.id, fans.id) == day(5)
    await archive_segment(business.ctx, fans.id)
    assert await held_since(business.ctx, ann.id, fans.id) is None
    assert await held_since(business.ctx, "pass_none", regulars.id) is None


async def test_late_event_counts_when_it_occurred_and_a_gap_ends_the_time(business: Business) -> None:
    recent = await business.create_segment("recent", bought_within(10))
    for number in (2, 20):
        business.clock.set(day(number))
        await business.record({})
        await business.run_worker()
    ann = await business.read_pass()
    assert await held_since(business.ctx, ann.id, recent.id) == day(20), (
        "from 12 January to 20 January she was no member"
    )
    await business.record({"occurred_at": day(11)})
    await business.run_worker()
    assert (await business.read_pass()).memberships[recent.id].since_ms == int(day(20).timestamp() * 1_000)
    assert await held_since(business.ctx, ann.id, recent.id) == day(2), "the late purchase closes the gap"
    business.clock.set(day(1, 3))
    await business.run_worker()
    assert await held_since(business.ctx, ann.id, recent.id) is None
