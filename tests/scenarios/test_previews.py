"""Previews of the sample: they equal the members after saving, and what an edit then causes."""

from __future__ import annotations

from typing import Any

import pytest

from app.commands.previews import Previewed, parse_order, preview_segment
from app.commands.segments import update_segment
from app.domain.activities import ENTERED, LEFT
from tests import sample
from tests.business import Business, bought_within, purchases
from tests.explained import CRITERIA, open_explained

BASE = {key: CRITERIA[key] for key in ("recent", "points", "tier")}


async def preview(business: Business, criteria: object, segment_id: str | None = None) -> Previewed:
    return await preview_segment(business.ctx, await parse_order(business.ctx, criteria, None, segment_id, "SILENT"))


@pytest.mark.timeout(3_600 if sample.ALL_CUSTOMERS else 900)
async def test_preview_equals_the_members_after_saving_for_criteria_of_every_kind(business: Business) -> None:
    """Every 120th customer is recorded, or all of them with WHOLE_SAMPLE. A preview before saving (V1-07, WH3-01)."""
    explained = await open_explained(business, every=120, criteria=BASE)
    recent = explained.segments["recent"].id
    added: dict[str, dict[str, Any]] = {
        "in_recent_too": {"segment": {"id": recent}},
        "not_recent": {"not": {"segment": {"id": recent}}},
    }
    criteria: dict[str, dict[str, Any]] = {**{key: tree for key, tree in CRITERIA.items() if key not in BASE}, **added}
    assert len(criteria) >= 20
    sizes = set()
    for key, tree in criteria.items():
        found = await preview(business, tree)
        tally = found.tally
        assert (tally.passes, tally.leaving, tally.staying) == (len(explained.passes), 0, 0)
        before = len(await business.read_log(include_silent=True))
        segment = await business.create_segment(key, tree)
        members = await business.read_members(segment)
        assert tally.count == tally.entering == len(members), key
        names = {pass_id: customer for customer, pass_id in explained.passes.items()}
        assert sorted(names[pass_id] for pass_id in found.sample) == members, key
        assert len(await business.read_log(include_silent=True)) - before == tally.activities, key
        sizes.add(tally.count)
    assert len(sizes) > 5


@pytest.mark.timeout(900)
async def test_preview_of_an_edit_says_who_moves_and_what_the_edit_causes(business: Business) -> None:
    """Another segment and a rule depend on the edited segment. The lists of a segment win over its criteria."""
    explained = await open_explained(business, every=120, criteria={**BASE, "regulars": purchases(3)})
    for key, tree in (("recent", bought_within(300)), ("recent", purchases(4)), ("regulars", purchases(1))):
        segment = explained.segments[key]
        before = set(await business.read_members(segment))
        found = await preview(business, tree, segment.id)
        tally, log = found.tally, await business.read_log(include_silent=True)
        await update_segment(business.ctx, segment.id, criteria=tree)
        await business.run_worker()
        after = set(await business.read_members(segment))
        assert (tally.count, tally.entering, tally.leaving, tally.staying) == (
            len(after), len(after - before), len(before - after), len(after & before)
        ), key  # fmt: skip
        assert tally.entering + tally.leaving > 0
        caused = (await business.read_log(include_silent=True))[len(log) :]
        assert tally.activities == len(caused) >= tally.entering + tally.leaving
        assert tally.firings == sum(activity.type not in (ENTERED, LEFT) for activity in caused) == 0
        unchanged = await preview(business, tree, segment.id)
        assert (unchanged.tally.entering, unchanged.tally.leaving, unchanged.tally.activities) == (0, 0, 0)
