"""Explanations read little, answer for one version of a pass, and cost what they read."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.commands import explanations
from app.commands.copies import CopyReader
from app.commands.explanations import explain, parse_draft
from app.domain.errors import Code, Refused, Unavailable
from app.domain.passes.passes import Pass
from app.store.workspace.passes import PassQueries
from tests.business import Business, bought_within, purchases

HOUR = timedelta(hours=1)


async def record_many(business: Business, count: int) -> str:
    """Record purchases on one pass, a minute apart, up to now; return the id of the pass."""
    now = await business.clock.now()
    await business.create_passes("ann")
    events = [{"occurred_at": now - timedelta(minutes=count - n)} for n in range(count)]
    await business.record(*events[:500])
    await business.record(*events[500:])
    await business.run_worker()
    return (await business.read_pass()).id


async def test_explanation_looks_as_far_ahead_as_it_may_read_events(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of the window has 100 instants. The next ones are read by index, 300 at once."""
    now = await business.clock.now()
    segment = await business.create_segment("keen", {"event": {"value": 300, "within": {"days": 2}}})
    pass_id = await record_many(business, 700)
    found = await explain(business.ctx, pass_id, segment.id)
    assert found is not None
    # 700 purchases, one a minute: the 401st to leave the window is that of 300 minutes ago.
    assert found.explanation.outlook.until_ms == int((now - 300 * HOUR / 60 + 48 * HOUR).timestamp() * 1000)
    monkeypatch.setattr(explanations, "MAX_EVENTS_AHEAD", 150)
    found = await explain(business.ctx, pass_id, segment.id)
    assert found is not None
    outlook = found.explanation.outlook
    assert (found.explanation.is_member, outlook.until_ms) == (True, None)
    assert outlook.stable_until_ms is not None
    assert outlook.stable_until_ms > int((now + 36 * HOUR).timestamp() * 1000)


async def test_criteria_of_no_segment_read_a_limited_history(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_id = await record_many(business, 510)
    draft = await parse_draft(business.ctx, bought_within(3), None)
    found = await explain(business.ctx, pass_id, draft)
    assert found is not None
    assert (found.explanation.is_member, found.explanation.tree.measured) == (True, 510)
    monkeypatch.setattr(explanations, "MAX_EVENTS_OF_CRITERIA", 500)
    with pytest.raises(Refused) as refused:
        await explain(business.ctx, pass_id, draft)
    assert [problem.code for problem in refused.value.problems] == [Code.LIMIT]
    counted = await parse_draft(business.ctx, purchases(500), None)
    found = await explain(business.ctx, pass_id, counted)
    assert found is not None
    assert found.explanation.is_member, "the aggregates of the pass answer this without reading events"


async def test_explanation_begins_anew_if_a_worker_writes_the_pass_meanwhile(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record({}, {})
    await business.run_worker()
    draft = await parse_draft(business.ctx, bought_within(30), None)
    pass_id = (await business.read_pass()).id
    complete, times = PassQueries.complete, list[str]()

    async def complete_then_write(self: PassQueries, wanted: str) -> Pass | None:
        card = await complete(self, wanted)
        if len(times) < writes:
            times.append(wanted)
            await business.record({})
            await business.run_worker()
        return card

    monkeypatch.setattr(PassQueries, "complete", complete_then_write)
    writes = 1
    found = await explain(business.ctx, pass_id, draft)
    assert found is not None
    assert (found.explanation.tree.measured, len(times)) == (3, 1)
    writes = 100
    with pytest.raises(Unavailable):
        await explain(business.ctx, pass_id, draft)


async def test_explanation_of_a_segment_takes_three_reads(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass, the revision of the definitions, and the names of segments. No event is read."""
    segment = await business.create_segment("recent", bought_within(30))
    await business.record({})
    await business.run_worker()
    pass_id = (await business.read_pass()).id
    assert await explain(business.ctx, pass_id, segment.id) is not None
    monkeypatch.setattr(CopyReader, "_read", None)
    monkeypatch.setattr(type(business.ctx.workspace.definitions), "versions", None)
    assert await explain(business.ctx, pass_id, segment.id) is not None
