"""Sizes of a segment on past days, and previews of the past: they equal what a replay counted day by day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.commands import preview_runs
from app.commands.previews import parse_order, preview_segment
from app.commands.segment_sizes import size_by_day
from app.commands.segments import archive_segment
from app.domain.errors import Refused
from tests.business import Business, bought_within, no_purchase_for, purchases

DAYS = 14


async def replay(business: Business, segments: dict[str, Any]) -> dict[str, list[int]]:
    """Record purchases of ten passes for some days, and return the members at the end of each day, by key.

    A pass buys on each day that its number divides. Some get a field, and points that expire.
    """
    sizes: dict[str, list[int]] = {key: [] for key in segments}
    for day in range(DAYS):
        now = await business.clock.now()
        items: list[dict[str, Any]] = [
            {"pass_external_id": f"p{n}", "amount": n, "points": 1} for n in range(1, 11) if day % n == 0
        ]
        items += [
            {"pass_external_id": f"p{day}", "type": "field_updated", "field_name": "city", "new_value": "Bonn"}
            for _ in range(1 <= day < 5)
        ]
        await business.record(*items)
        business.clock.set(now + timedelta(days=1, milliseconds=-1))
        await business.run_worker()
        for key, segment in segments.items():
            sizes[key].append(len(await business.read_members(segment)))
        business.clock.set(now + timedelta(days=1))
    return sizes


async def test_size_of_each_day_equals_the_members_counted_day_by_day(business: Business) -> None:
    """Criteria are previewed with the size of each day (V1-07). The last day has just begun: nothing has happened on it."""
    recent = await business.create_segment("recent", bought_within(3))
    criteria: dict[str, Any] = {
        "recent": bought_within(3),
        "away": no_purchase_for(2),
        "third": purchases(3),
        "field": {"pass": {"field": "fields.city", "value": "Bonn"}},
        "points": {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 4}},
        "nested": {"all": [purchases(2), {"segment": {"id": recent.id}}]},
    }
    others = {key: await business.create_segment(key, tree) for key, tree in criteria.items() if key != "recent"}
    counted = await replay(business, {"recent": recent, **others})
    for key, tree in criteria.items():
        order = await parse_order(business.ctx, tree, None, None, "SILENT")
        found = await size_by_day(business.ctx, order, DAYS + 1)
        assert [each.size.count for each in found][:-1] == counted[key], key
        assert all(each.size.exact for each in found)
        assert len({*counted[key]}) > 2, key
        past = await business.clock.now() - timedelta(days=4, milliseconds=1)
        order = await parse_order(business.ctx, tree, None, None, "SILENT", at=past)
        previewed = await preview_segment(business.ctx, order)
        assert (previewed.estimate.count, previewed.estimate.exact) == (counted[key][-5], True), key
        assert previewed.tally.entering == previewed.tally.count == len(previewed.sample)


async def test_sizes_beyond_the_limits_are_estimates_or_refused(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record(*({"pass_external_id": f"p{n}"} for n in range(30) for _ in range(1 + n % 2)))
    await business.run_worker()
    order = await parse_order(business.ctx, purchases(2), None, None, "SILENT")
    monkeypatch.setattr(preview_runs, "CHUNK", 5)
    for constant, value in (("MAX_DRAWN_PASSES", 10), ("MAX_PREVIEWED_EVENTS", 20)):
        with monkeypatch.context() as patch:
            patch.setattr(preview_runs, constant, value)
            *before, today = await size_by_day(business.ctx, order, 3)
        assert not today.size.exact
        assert today.size.low <= today.size.count <= today.size.high <= 30
        assert [each.size.count for each in before] == [0, 0]
    monkeypatch.setattr(preview_runs, "MAX_PREVIEWED_EVENTS", 4)
    with pytest.raises(Refused):
        await size_by_day(business.ctx, order, 3)


async def test_preview_of_the_past_compares_with_the_members_of_now(business: Business) -> None:
    segment = await business.create_segment("regular", purchases(2))
    start = await business.clock.now()
    await business.record({"pass_external_id": "ann"}, {"pass_external_id": "bob"}, {"pass_external_id": "bob"})
    await business.run_worker()
    business.clock.set(start + timedelta(days=1))
    await business.record({"pass_external_id": "ann"}, {"pass_external_id": "cleo"})
    await business.run_worker()
    assert await business.read_members(segment) == ["ann", "bob"]
    order = await parse_order(business.ctx, purchases(1), None, segment.id, "EMIT", at=start)
    tally = (await preview_segment(business.ctx, order)).tally
    assert (tally.count, tally.entering, tally.leaving, tally.staying, tally.activities) == (2, 0, 0, 2, 0)
    order = await parse_order(business.ctx, purchases(2), None, segment.id, "EMIT", at=start)
    tally = (await preview_segment(business.ctx, order)).tally
    assert (tally.count, tally.entering, tally.leaving, tally.staying) == (1, 0, 1, 1)
    with pytest.raises(Refused):
        await parse_order(business.ctx, purchases(1), None, None, "SILENT", at=start + timedelta(days=2))
    await archive_segment(business.ctx, segment.id)
