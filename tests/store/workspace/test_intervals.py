"""Pages of members cost the same however many members a segment has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.passes.passes import Membership
from app.domain.segments.history import Interval
from app.domain.values.instants import to_ms
from app.store.codecs import intervals
from app.store.codecs.pass_parts import memberships_to_docs
from app.store.mongo.paging import PageRequest
from tests.backlogs import ExaminedCollection, insert_passes
from tests.business import Business

SEGMENT = "seg_test"
ENTERED = datetime(2025, 6, 1, tzinfo=UTC)
MEMBERS = 2_000


@pytest.fixture
async def member_ids(business: Business, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Store 2,000 members, each with one stay. Their ids are spread evenly, as many random ids are on average."""
    workspace, db = business.ctx.workspace, business.ctx.resources.db
    numbers = iter(range(MEMBERS))
    monkeypatch.setattr("tests.backlogs.new_id", lambda prefix: f"{prefix}_{next(numbers) * 16**24 // MEMBERS:024x}")
    ids = await insert_passes(business, MEMBERS)
    membership = Membership(SEGMENT, to_ms(ENTERED), 1, cause={"kind": "TIME"}, number=1)
    await db["passes"].update_many({}, {"$set": {"memberships": memberships_to_docs({SEGMENT: membership})}})
    stay = Interval("", SEGMENT, None, 1, ENTERED, cause={"kind": "TIME"}, version=1)
    stays = [replace(stay, id=f"act_{each}:1", pass_id=each) for each in ids]
    await db["intervals"].insert_many([intervals.to_doc(each, workspace.id) for each in stays])
    return sorted(ids)


@pytest.mark.parametrize("instant", [None, ENTERED])
async def test_page_of_members_examines_a_part_of_them(
    business: Business, member_ids: list[str], instant: datetime | None
) -> None:
    """The embedded server examines the whole range of a query, whatever its limit is."""
    workspace = business.ctx.workspace
    store: Any = workspace.passes if instant is None else workspace.intervals
    store._collection = counted = ExaminedCollection(store._collection)

    async def read(span: PageRequest) -> list[str]:
        if instant is None:
            return [card.id for card in (await workspace.passes.members(SEGMENT, span)).items]
        return [stay.pass_id for stay in (await workspace.intervals.members(SEGMENT, instant, span)).items]

    for span, expected in (
        (PageRequest(20), member_ids[:20]),
        (PageRequest(20, after=(member_ids[999],)), member_ids[1_000:1_020]),
        (PageRequest(20, before=(member_ids[1_000],), backward=True), member_ids[980:1_000]),
    ):
        counted.examined.clear()
        assert await read(span) == expected
        assert sum(counted.examined) <= 400
    assert await read(PageRequest(5_000)) == member_ids
