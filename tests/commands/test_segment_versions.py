"""Versions of segments: they stay readable, a segment goes back to one, and the key of an archived segment is free."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.commands.rules.rules import create_rule, find_rule, set_rule_status
from app.commands.scheduled_edits import schedule_segment_edit
from app.commands.segment_versions import revert_segment, unarchive_segment
from app.commands.segments import archive_segment, create_segment, find_segment, update_segment
from app.commands.tiers import set_tier_program
from app.domain.errors import Code, Refused
from app.domain.rules.rules import RuleStatus
from app.domain.segments.segments import Segment, SegmentVersion
from app.store.mongo.paging import PageRequest
from app.store.workspace.labels import LabelQueries
from app.store.workspace.segments import SegmentQueries
from tests.business import Business, list_transitions, purchases, spent
from workers.stages.backfill import backfill_once


async def read_versions(business: Business, segment: Segment, **span: object) -> list[SegmentVersion]:
    page = await business.ctx.workspace.segments.versions(segment.id, PageRequest(**span))  # type: ignore[arg-type]
    return page.items


async def test_version_has_its_maker_and_the_members_before_and_after(business: Business) -> None:
    """Versions can be read, and a segment goes back to one (WH3-01)."""
    await business.record({"amount": 1}, {"amount": 1}, {"amount": 1, "pass_external_id": "bob"})
    segment = await business.create_segment("loyal", purchases(2))
    await update_segment(business.ctx, segment.id, criteria=purchases(1), notify="EMIT")
    await business.run_worker()
    reverted = await revert_segment(business.ctx, segment.id, 1)
    assert (reverted.version, reverted.criteria) == (3, segment.criteria)
    await business.run_worker()
    assert await business.read_members(segment) == ["ann"]
    assert (await revert_segment(business.ctx, segment.id, 1)).version == 3
    found = await read_versions(business, segment)
    counts = [(each.version.version, each.version.origin, each.members_after) for each in found]
    assert [
        (number, origin.created_by, origin.members_before, after) for number, origin, after in counts if origin
    ] == [(3, "key_test", 2, 1), (2, "key_test", 1, 2), (1, "key_test", 0, 1)]
    with pytest.raises(Refused) as refused:
        await revert_segment(business.ctx, segment.id, 4)
    assert refused.value.problems[0].field == ("version",)


async def test_versions_stay_readable_after_workers_dropped_them(business: Business) -> None:
    segment = await business.create_segment("loyal", purchases(1))
    for count in (2, 3, 4):
        await update_segment(business.ctx, segment.id, criteria=purchases(count))
        await business.run_worker()
    business.clock.set(await business.clock.now() + timedelta(days=2))
    other = await business.create_segment("other", purchases(1))
    definitions = business.ctx.workspace.definitions
    kept = [(each.subject_id, each.version) for each in await definitions.summaries()]
    assert kept == [(segment.id, 4), (other.id, 1)]
    assert [each.version.version for each in await read_versions(business, segment)] == [4, 3, 2, 1]
    [third, second] = await read_versions(business, segment, limit=2, after=(4,))
    assert (third.version.version, second.version.version, second.members_after) == (3, 2, 0)
    last = await read_versions(business, segment, limit=2, before=(1,), backward=True)
    assert [each.version.version for each in last] == [3, 2]
    assert await business.ctx.workspace.segments.first_version(segment.id) == 1
    assert (await revert_segment(business.ctx, segment.id, 1)).criteria == segment.criteria


async def test_revert_during_a_backfill_leaves_the_members_of_the_earlier_version(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record(*({"amount": 10 * n, "pass_external_id": f"p{n:02}"} for n in range(20)))
    segment = await business.create_segment("rich", spent(100))
    before = await business.read_members(segment)
    await update_segment(business.ctx, segment.id, criteria=purchases(1), notify="EMIT")
    with monkeypatch.context() as patch:
        patch.setattr("workers.stages.backfill.BACKFILL_BATCH_SIZE", 12)
        assert await backfill_once(business.worker, business.ctx.workspace.id)
    reverted = await revert_segment(business.ctx, segment.id, 1, notify="EMIT")
    assert await business.read_members(segment) != before
    await business.run_worker()
    assert await business.read_members(segment) == before
    moves = list_transitions(await business.read_log(include_silent=True), segment)
    by_pass: dict[str, list[bool]] = {}
    for pass_id, _, entered in moves:
        by_pass.setdefault(pass_id, []).append(entered)
    assert sorted(by_pass.values()) == [[True]] * 10 + [[True, False]] * 10
    [newest, middle, _] = await read_versions(business, segment)
    assert (newest.version.version, newest.members_after, middle.members_after) == (reverted.version, 10, None)


async def test_key_of_an_archived_segment_is_free(business: Business) -> None:
    ctx, store = business.ctx, business.ctx.workspace.segments
    first = await business.create_segment("loyal", purchases(1))
    await business.record({"amount": 1})
    await archive_segment(ctx, first.id)
    assert await store.by_key("loyal")
    second = await create_segment(ctx, "loyal", "Loyal again", purchases(2))
    assert second.id != first.id
    labels = await store.by_key("loyal")
    assert labels is not None
    assert labels.id == second.id
    assert (await find_segment(ctx, first.id)).key == "loyal"
    with pytest.raises(Refused) as refused:
        await unarchive_segment(ctx, first.id)
    assert [(each.code, each.field) for each in refused.value.problems] == [(Code.TAKEN, ("key",))]
    again = await unarchive_segment(ctx, first.id, key="loyal-2", notify="EMIT")
    assert (again.key, again.version, again.archived) == ("loyal-2", 3, False)
    assert (await unarchive_segment(ctx, first.id)).version == 3
    await business.run_worker()
    assert await business.read_members(first) == ["ann"]
    for segment in (first, second):
        await archive_segment(ctx, segment.id)
    assert (await unarchive_segment(ctx, first.id, key="loyal")).key == "loyal"
    with pytest.raises(Refused):
        await unarchive_segment(ctx, second.id)


async def test_key_of_a_segment_that_is_unarchived_at_once_is_not_free(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other call comes between the two writes of unarchiveSegment."""
    segment = await business.create_segment("loyal", purchases(1))
    await archive_segment(business.ctx, segment.id)

    async def take_key() -> None:
        with pytest.raises(Refused) as refused:
            await create_segment(business.ctx, "loyal", "Loyal again", purchases(2))
        assert refused.value.problems[0].code is Code.TAKEN

    hold = LabelQueries.hold_key

    async def hold_key(store: LabelQueries, object_id: str, key: str, version: int) -> bool:
        held = await hold(store, object_id, key, version)
        await take_key()
        return held

    with monkeypatch.context() as patch:
        patch.setattr(LabelQueries, "hold_key", hold_key)
        assert (await unarchive_segment(business.ctx, segment.id)).key == "loyal"
    await archive_segment(business.ctx, segment.id)
    assert (await create_segment(business.ctx, "loyal", "Loyal again", purchases(2))).version == 1


async def test_first_of_two_calls_that_unarchive_a_segment_with_different_keys_wins(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call comes between the two writes of the first one, and has read the segment before it."""
    segment = await business.create_segment("loyal", purchases(1))
    archived = await archive_segment(business.ctx, segment.id)
    hold, get, codes = LabelQueries.hold_key, SegmentQueries.get, list[Code]()

    async def get_as_before(*_: object) -> Segment:
        return archived

    async def hold_key(store: LabelQueries, object_id: str, key: str, version: int) -> bool:
        held = await hold(store, object_id, key, version)
        if key == "first":
            with monkeypatch.context() as patch:
                patch.setattr(SegmentQueries, "get", get_as_before)
                with pytest.raises(Refused) as refused:
                    await unarchive_segment(business.ctx, segment.id, key="second")
            codes.append(refused.value.problems[0].code)
        return held

    with monkeypatch.context() as patch:
        patch.setattr(LabelQueries, "hold_key", hold_key)
        assert (await unarchive_segment(business.ctx, segment.id, key="first")).key == "first"
    assert SegmentQueries.get is get
    assert codes == [Code.CONFLICT]
    assert (await unarchive_segment(business.ctx, segment.id, key="second")).key == "first"
    assert (await create_segment(business.ctx, "second", "Second", purchases(1))).version == 1
    await archive_segment(business.ctx, segment.id)
    assert (await unarchive_segment(business.ctx, segment.id, key="third")).key == "third"


async def test_refused_unarchiving_leaves_the_key_free(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = await business.create_segment("loyal", purchases(1))
    await archive_segment(business.ctx, segment.id)
    other = await business.create_segment("other", purchases(1))
    monkeypatch.setattr("app.commands.segments.MAX_LIVE_SEGMENTS", 1)
    with pytest.raises(Refused) as refused:
        await unarchive_segment(business.ctx, segment.id)
    assert refused.value.problems[0].code is Code.LIMIT
    await archive_segment(business.ctx, other.id)
    assert (await create_segment(business.ctx, "loyal", "Loyal again", purchases(2))).id != segment.id


async def test_refused_creation_takes_no_key_from_an_archived_segment(business: Business) -> None:
    segment = await business.create_segment("loyal", purchases(1))
    await archive_segment(business.ctx, segment.id)
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "loyal", "Loyal again", {"segment": {"id": "seg_none"}})
    assert refused.value.problems[0].code is Code.UNKNOWN
    assert (await unarchive_segment(business.ctx, segment.id)).key == "loyal"


async def test_segment_does_not_go_back_to_a_tier_that_is_gone(business: Business) -> None:
    """Neither does a scheduled edit bring criteria that no pass can meet any more."""
    ctx, gold = business.ctx, {"pass": {"field": "tier", "value": "gold"}}
    tier = {"key": "gold", "name": "Gold", "reach": purchases(5)}
    await set_tier_program(ctx, {"tiers": [tier], "period": {"days": 30}})
    reverted = await business.create_segment("reverted", gold)
    await update_segment(ctx, reverted.id, criteria=purchases(1))
    edited = await business.create_segment("edited", purchases(1))
    at = await business.clock.now() + timedelta(days=1)
    await schedule_segment_edit(ctx, edited.id, at, criteria=gold)
    await set_tier_program(ctx, {"tiers": [{**tier, "key": "silver"}], "period": {"days": 30}})
    with pytest.raises(Refused) as refused:
        await revert_segment(ctx, reverted.id, 1)
    assert "the tiers of this workspace are silver" in refused.value.problems[0].message
    business.clock.set(at)
    await business.run_worker()
    assert (await find_segment(ctx, edited.id)).version == 1
    edit = await ctx.workspace.scheduled_edits.get(edited.id)
    assert edit is not None
    assert edit.problem is not None


async def test_key_of_an_archived_rule_is_free(business: Business) -> None:
    trigger, effects = {"event": {"types": ["visit"]}}, [{"awardPoints": {"points": 1}}]
    sent = {"key": "gift", "name": "Gift", "trigger": trigger, "effects": effects}
    first = await create_rule(business.ctx, sent)
    await set_rule_status(business.ctx, first.id, RuleStatus.ARCHIVED, "archiveRule")
    second = await create_rule(business.ctx, sent)
    assert second.id != first.id
    assert (await find_rule(business.ctx, first.id)).key == "gift"
