"""Pages: they follow each other without a gap or a repeat in both directions, also among items of one instant."""

from __future__ import annotations

import pytest

from app.domain.activity_queries import ActivityQuery
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Event
from app.domain.values.conditions import Condition, Operator
from app.store.mongo.paging import Page, PageRequest
from tests.business import Business


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("by_pass", [False, True])
@pytest.mark.parametrize("filtered", [False, True])
async def test_pages_of_events_follow_each_other_in_both_directions(
    business: Business, limit: int, oldest_first: bool, by_pass: bool, filtered: bool
) -> None:
    await business.record(
        *(
            {"external_id": f"e{i}", "occurred_at": f"2025-12-{1 + i // 4:02}T00:00:00Z", "metadata": {"odd": i % 2}}
            for i in range(14)
        ),
        *({"pass_external_id": "bob", "occurred_at": "2025-12-02T00:00:00Z"} for _ in range(0 if by_pass else 3)),
    )
    metadata = (Condition("odd", Operator.EQ, 1),) if filtered else ()
    pass_id = (await business.ctx.workspace.passes.ids_of(["ann"]))["ann"] if by_pass else None
    query = EventQuery(pass_id=pass_id, metadata=metadata)
    events = business.ctx.workspace.events
    whole = (await events.page(query, PageRequest(1_000), oldest_first)).items
    assert len(whole) == (7 if filtered else 14 if by_pass else 17)
    assert whole == sorted(whole, key=lambda e: (e.occurred_at, e.id), reverse=not oldest_first)

    def key(page: Page[Event], index: int) -> tuple[int, str]:
        item = page.items[index]
        return item.occurred_ms, item.id

    forward: list[Event] = []
    span = PageRequest(limit)
    while True:
        page = await events.page(query, span, oldest_first)
        forward += page.items
        if not page.has_more:
            break
        span = PageRequest(limit, after=key(page, -1))
    assert forward == whole
    backward: list[Event] = []
    span = PageRequest(limit, backward=True)
    while True:
        page = await events.page(query, span, oldest_first)
        backward = page.items + backward
        if not page.has_more:
            break
        span = PageRequest(limit, before=key(page, 0), backward=True)
    assert backward == whole


async def test_page_can_be_bounded_on_both_sides(business: Business) -> None:
    await business.record(*({"external_id": f"e{i}"} for i in range(9)))
    await business.run_worker()
    activities = business.ctx.workspace.activities
    query = ActivityQuery(types=("customer.custom_event",))
    assert [a.position for a in (await activities.page(query, PageRequest(50, after=(3,), before=(7,)))).items] == [
        4,
        5,
        6,
    ]
    assert [a.position for a in (await activities.page(query, PageRequest(2, after=(3,), before=(9,)))).items] == [4, 5]
    backward = await activities.page(query, PageRequest(2, after=(3,), before=(9,), backward=True))
    assert ([a.position for a in backward.items], backward.has_more) == ([7, 8], True)
