"""Segments: create, edit and archive them; invalid input is rejected with its path."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.commands.passes.passes import update_pass
from app.commands.segments import archive_segment, create_segment, duplicate_segment, update_segment
from app.domain.errors import Code, Refused
from tests.business import Business, list_transitions, no_purchase_for, purchases, spent
from tests.commands.interleaving import interleave
from workers.stages.backfill import backfill_once


async def test_edit_changes_memberships_and_is_published_if_requested(business: Business) -> None:
    segment = await business.create_segment("loyal", purchases(2))
    await business.record({"amount": 1}, {"amount": 1}, {"amount": 1, "pass_external_id": "bob"})
    await business.run_worker()
    assert await business.read_members(segment) == ["ann"]
    edited = await update_segment(business.ctx, segment.id, criteria=purchases(1), notify="EMIT")
    await business.run_worker()
    assert (edited.version, await business.read_members(segment)) == (2, ["ann", "bob"])
    last = (await business.read_log(segment_ids=[segment.id]))[-1]
    assert (last.cause["kind"], last.silent, last.data["before"], last.data["after"]) == (
        "DEFINITION_CHANGED", False, [1], [1],
    )  # fmt: skip
    assert (await update_segment(business.ctx, segment.id, criteria=purchases(1))).version == 2
    assert (await update_segment(business.ctx, segment.id, name="Loyal ones")).version == 2


async def test_archived_segment_loses_its_members(business: Business) -> None:
    segment = await business.create_segment("loyal", purchases(1))
    await business.record({"amount": 1})
    await business.run_worker()
    assert (await archive_segment(business.ctx, segment.id)).status == "ARCHIVED"
    await business.run_worker()
    assert await business.read_members(segment) == []
    await archive_segment(business.ctx, segment.id)
    with pytest.raises(Refused):
        await update_segment(business.ctx, segment.id, criteria=purchases(3))


async def test_segment_of_segments_is_evaluated_after_those_it_names(business: Business) -> None:
    loyal = await business.create_segment("loyal", purchases(2))
    away = await business.create_segment("away", no_purchase_for(60))
    both = await business.create_segment(
        "lost", {"all": [{"segment": {"id": loyal.id, "member": True}}, {"segment": {"id": away.id}}]}
    )
    await business.record({"amount": 1}, {"amount": 1})
    await business.run_worker()
    business.clock.set((await business.clock.now()).replace(month=6))
    await business.run_worker()
    assert await business.read_members(both) == ["ann"]
    with pytest.raises(Refused) as refused:
        await update_segment(business.ctx, loyal.id, criteria={"not": {"segment": {"id": both.id}}})
    [problem] = refused.value.problems
    assert (problem.code, "circle: loyal -> lost -> loyal." in problem.message) == (Code.CYCLE, True)
    with pytest.raises(Refused) as refused:
        await archive_segment(business.ctx, loyal.id)
    assert refused.value.problems[0].code is Code.CONFLICT


async def test_key_is_unique_and_an_interrupted_creation_is_finished(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = business.ctx.workspace.definitions

    async def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "insert", interrupt)
        with pytest.raises(KeyboardInterrupt):
            await create_segment(business.ctx, "loyal", "Loyal", purchases(2))
    created = await create_segment(business.ctx, "loyal", "Loyal", purchases(2))
    assert created.version == 1
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "loyal", "Loyal", purchases(2))
    assert refused.value.problems[0].code is Code.TAKEN
    copy = await duplicate_segment(business.ctx, created.id, "loyal-2")
    assert copy.criteria == created.criteria


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
        ({"event": {"value": 1, "calendar": "MONTH"}}, ("criteria", "event", "calendar"), Code.INVALID),
        ({"event": {"metric": "SUM", "value": 1, "currency": "ZZZ"}}, ("criteria", "event", "currency"), Code.UNKNOWN),
        ({"pass": {"field": "shoe", "operator": "EQ", "value": 1}}, ("criteria", "pass", "field"), Code.UNKNOWN),
        ({"segment": {"id": "seg_missing"}}, ("criteria",), Code.UNKNOWN),
    ],
)  # fmt: skip
async def test_invalid_criteria_are_rejected_at_their_path(
    business: Business, criteria: dict[str, object], path: tuple[str, ...], code: Code
) -> None:
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "s", "S", criteria)
    assert [(p.code, p.field) for p in refused.value.problems] == [(code, path)]


async def test_backfill_continues_after_a_crash(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    await business.record(*({"amount": 300, "pass_external_id": f"p{i}"} for i in range(20)))
    await business.run_worker()
    segment = await create_segment(business.ctx, "rich", "Rich", spent(200))
    with monkeypatch.context() as patch:
        patch.setattr("workers.stages.backfill.BACKFILL_BATCH_SIZE", 7)
        assert await backfill_once(business.worker, business.ctx.workspace.id)
    assert await business.ctx.workspace.segments.evaluated_counts([segment.revision]) == {segment.revision: (20, 7)}
    await business.run_worker()
    assert await business.ctx.workspace.segments.evaluated_counts([segment.revision]) == {segment.revision: (20, 20)}
    assert len(await business.read_members(segment)) == 20


async def test_two_edits_of_a_segment_at_once_are_both_stored(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = await business.create_segment("loyal", purchases(2, calendar={"unit": "MONTH"}))
    interleave(monkeypatch, lambda: update_segment(business.ctx, segment.id, timezone="Asia/Tokyo"))
    edited = await update_segment(business.ctx, segment.id, criteria=purchases(3, calendar={"unit": "MONTH"}))
    assert (edited.timezone, edited.version) == ("Asia/Tokyo", 3)


async def test_segment_that_is_archived_during_an_edit_stays_archived(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = await business.create_segment("loyal", purchases(2))
    interleave(monkeypatch, lambda: archive_segment(business.ctx, segment.id))
    with pytest.raises(Refused):
        await update_segment(business.ctx, segment.id, criteria=purchases(3))
    assert (await archive_segment(business.ctx, segment.id)).version == 2


async def test_segment_by_the_last_update_takes_a_pass_at_the_instant_of_its_update(business: Business) -> None:
    await business.create_passes("ann")
    criteria = {"pass": {"field": "updatedAt", "operator": "GT", "value": "2026-01-01T12:00:00Z"}}
    segment = await business.create_segment("updated", criteria)
    later = await business.clock.now() + timedelta(days=1)
    business.clock.set(later)
    card = await business.read_pass()
    await update_pass(business.ctx, card.id, fields={"city": "Bonn"})
    await business.run_worker()
    assert list_transitions(await business.read_log(include_silent=True), segment) == [(card.id, later, True)]
