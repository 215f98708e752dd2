"""Segments are defined, edited and archived; each change says where its input is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from app.commands.segments import archive_segment, create_segment, duplicate_segment, update_segment
from app.domain.errors import Code, Refused
from tests.business import Business, nothing_for, purchases, spent


async def test_an_edit_moves_members_and_is_told_when_asked(business: Business) -> None:
    segment = await business.segment("loyal", purchases(2))
    await business.record({"amount": 1}, {"amount": 1}, {"amount": 1, "pass_external_id": "bob"})
    await business.settle()
    assert await business.members(segment) == ["ann"]
    edited = await update_segment(business.ctx, segment.id, criteria=purchases(1), notify="EMIT")
    await business.settle()
    assert (edited.version, await business.members(segment)) == (2, ["ann", "bob"])
    last = (await business.feed(segment_ids=[segment.id]))[-1]
    assert (last.cause["kind"], last.silent, last.data["before"], last.data["after"]) == (
        "DEFINITION_CHANGED", False, [1], [1],
    )  # fmt: skip
    assert (await update_segment(business.ctx, segment.id, criteria=purchases(1))).version == 2
    assert (await update_segment(business.ctx, segment.id, name="Loyal ones")).version == 2


async def test_an_archived_segment_loses_its_members(business: Business) -> None:
    segment = await business.segment("loyal", purchases(1))
    await business.record({"amount": 1})
    await business.settle()
    assert (await archive_segment(business.ctx, segment.id)).status == "ARCHIVED"
    await business.settle()
    assert await business.members(segment) == []
    await archive_segment(business.ctx, segment.id)
    with pytest.raises(Refused):
        await update_segment(business.ctx, segment.id, criteria=purchases(3))


async def test_a_segment_of_segments_is_judged_after_those_it_names(business: Business) -> None:
    loyal = await business.segment("loyal", purchases(2))
    away = await business.segment("away", nothing_for(60))
    both = await business.segment(
        "lost", {"all": [{"segment": {"id": loyal.id, "member": True}}, {"segment": {"id": away.id}}]}
    )
    await business.record({"amount": 1}, {"amount": 1})
    await business.settle()
    business.clock.set((await business.clock.now()).replace(month=6))
    await business.settle()
    assert await business.members(both) == ["ann"]
    with pytest.raises(Refused) as refused:
        await update_segment(business.ctx, loyal.id, criteria={"not": {"segment": {"id": both.id}}})
    assert refused.value.problems[0].code is Code.CYCLE
    with pytest.raises(Refused) as refused:
        await archive_segment(business.ctx, loyal.id)
    assert refused.value.problems[0].code is Code.CONFLICT


async def test_a_key_is_taken_once_and_an_interrupted_creation_is_finished(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = business.ctx.workspace.segments

    async def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(store, "insert_version", killed)
        with pytest.raises(KeyboardInterrupt):
            await create_segment(business.ctx, "loyal", "Loyal", purchases(2))
    made = await create_segment(business.ctx, "loyal", "Loyal", purchases(2))
    assert made.version == 1
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "loyal", "Loyal", purchases(2))
    assert refused.value.problems[0].code is Code.TAKEN
    copy = await duplicate_segment(business.ctx, made.id, "loyal-2")
    assert copy.criteria == made.criteria


@pytest.mark.parametrize(
    ("criteria", "path", "code"),
    [
        ({}, ("criteria",), Code.INVALID),
        ({"all": []}, ("criteria", "all"), Code.REQUIRED),
        ({"all": [purchases(1), {"event": {}}]}, ("criteria", "all", "1", "event", "value"), Code.REQUIRED),
        ({"event": {"metric": "MEDIAN", "value": 1}}, ("criteria", "event", "metric"), Code.UNKNOWN),
        ({"event": {"operator": "IN", "value": 1}}, ("criteria", "event", "operator"), Code.UNSUPPORTED),
        ({"event": {"value": "NaN"}}, ("criteria", "event", "value"), Code.INVALID),
        ({"event": {"value": 1, "within": {"days": 0}}}, ("criteria", "event", "within", "days"), Code.OUT_OF_RANGE),
        ({"event": {"value": 1, "calendar": "MONTH"}}, ("criteria", "event", "calendar"), Code.UNSUPPORTED),
        ({"event": {"metric": "SUM", "value": 1, "currency": "ZZZ"}}, ("criteria", "event", "currency"), Code.UNKNOWN),
        ({"pass": {"field": "shoe", "operator": "EQ", "value": 1}}, ("criteria", "pass", "field"), Code.UNKNOWN),
        ({"segment": {"id": "seg_nobody"}}, ("criteria",), Code.UNKNOWN),
    ],
)  # fmt: skip
async def test_criteria_that_cannot_be_judged_are_refused_at_their_path(
    business: Business, criteria: dict[str, object], path: tuple[str, ...], code: Code
) -> None:
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "s", "S", criteria)
    assert [(p.code, p.field) for p in refused.value.problems] == [(code, path)]


async def test_a_backfill_goes_on_after_the_worker_died(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    await business.record(*({"amount": 300, "pass_external_id": f"p{i}"} for i in range(20)))
    await business.settle()
    made = await create_segment(business.ctx, "rich", "Rich", spent(200))
    with monkeypatch.context() as dying:
        dying.setattr("workers.stages.backfill.BACKFILL_BATCH_SIZE", 7)
        from workers.stages.backfill import backfill_once

        assert await backfill_once(business.worker, business.ctx.workspace.id)
    assert await business.ctx.workspace.segments.evaluated_counts([made.revision]) == {made.revision: (20, 7)}
    await business.settle()
    assert await business.ctx.workspace.segments.evaluated_counts([made.revision]) == {made.revision: (20, 20)}
    assert len(await business.members(made)) == 20
