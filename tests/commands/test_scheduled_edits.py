"""Scheduled edits of segments: made once when their time has come, shown, replaced and withdrawn before."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from app.commands.scheduled_edits import make_scheduled_edit, schedule_segment_edit, withdraw_segment_edit
from app.commands.segments import archive_segment, create_segment, find_segment, update_segment
from app.commands.workspaces.settings import set_local_time
from app.domain.errors import Code, Refused
from app.domain.segments.segments import Segment, SegmentZone
from app.store.mongo.paging import PageRequest
from app.store.workspace.audit import AuditQueries
from app.store.workspace.scheduled_edits import ScheduledEditQueries
from tests.business import Business, list_transitions, purchases
from tests.crashes import Crash
from workers.main import STAGES
from workers.stages.backfill import backfill
from workers.sweep import Sweep

DAY = timedelta(days=1)


async def open_segment(business: Business) -> tuple[Segment, datetime]:
    """Create a segment of passes with two purchases, of which ann has one. Return it, and an instant a day ahead."""
    await business.record({"amount": 1})
    return await business.create_segment("loyal", purchases(2)), await business.clock.now() + DAY


async def list_versions(business: Business, segment: Segment) -> list[tuple[int, datetime]]:
    page = await business.ctx.workspace.segments.versions(segment.id, PageRequest())
    return [(each.version.version, each.version.at) for each in page.items]


async def test_edit_is_made_when_its_time_has_come(business: Business) -> None:
    """Checklist row WH3-01: an edit is scheduled, and the instant of its version is that of its insertion."""
    segment, at = await open_segment(business)
    this_year = purchases(1, calendar={"unit": "YEAR"})
    await schedule_segment_edit(business.ctx, segment.id, at, criteria=this_year, timezone="Asia/Tokyo", notify="EMIT")
    business.clock.set(at - timedelta(milliseconds=1))
    await business.run_worker()
    assert await business.read_members(segment) == []
    waiting = await business.ctx.workspace.scheduled_edits.get(segment.id)
    assert waiting is not None
    assert (waiting.at, waiting.created_by, waiting.problem) == (at, "key_test", None)
    inserted = at + timedelta(seconds=1)
    business.clock.set(inserted)
    await business.run_worker()
    assert await business.read_members(segment) == ["ann"]
    assert (await find_segment(business.ctx, segment.id)).timezone == "Asia/Tokyo"
    assert [moved for _, moved, _ in list_transitions(await business.read_log(), segment)] == [inserted]
    assert (await list_versions(business, segment))[0] == (2, inserted)
    assert await business.ctx.workspace.scheduled_edits.get(segment.id) is None
    log = await business.ctx.workspace.audit.page(PageRequest(2))
    assert [(each.action, each.key_id) for each in log.items] == [
        ("makeScheduledEdit", "key_test"), ("updateSegment", "key_test"),
    ]  # fmt: skip


async def test_edit_is_replaced_and_withdrawn_before_its_time(business: Business) -> None:
    segment, at = await open_segment(business)
    await schedule_segment_edit(business.ctx, segment.id, at, criteria=purchases(1))
    await schedule_segment_edit(business.ctx, segment.id, at + DAY, criteria=purchases(3))
    business.clock.set(at)
    await business.run_worker()
    assert (await find_segment(business.ctx, segment.id)).version == 1
    for _ in range(2):
        await withdraw_segment_edit(business.ctx, segment.id)
    business.clock.set(at + 2 * DAY)
    await business.run_worker()
    assert (await find_segment(business.ctx, segment.id)).version == 1


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (ScheduledEditQueries, "take"),
        (AuditQueries, "insert"),
        (ScheduledEditQueries, "remove"),
    ],
)
@pytest.mark.parametrize("is_before", [True, False])
async def test_edit_is_made_once_whenever_a_worker_crashes(
    business: Business, monkeypatch: pytest.MonkeyPatch, owner: type, step: str, is_before: bool
) -> None:
    """Another edit comes between the crash and the next worker. The scheduled edit takes nothing of it back twice."""
    segment, at = await open_segment(business)
    await schedule_segment_edit(business.ctx, segment.id, at, criteria=purchases(1))
    business.clock.set(at)
    method = getattr(owner, step)

    async def crash(*args: object, **options: object) -> None:
        if not is_before:
            await method(*args, **options)
        raise Crash(step)

    key = f"{business.ctx.workspace.id}/{segment.id}"
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, crash)
        with pytest.raises(Crash):
            await STAGES["schedule"](business.worker, key)
    is_made = (await find_segment(business.ctx, segment.id)).version == 2
    assert is_made == (step == "remove")
    if is_made:
        await update_segment(business.ctx, segment.id, criteria=purchases(5))
        business.clock.set(at + 3 * DAY)
        await backfill(business.worker, business.ctx.workspace.id)
    await Sweep(business.worker, STAGES).schedule()
    assert (await find_segment(business.ctx, segment.id)).version == (3 if is_made else 2)
    assert await business.ctx.workspace.scheduled_edits.get(segment.id) is None
    actions = [each.action for each in (await business.ctx.workspace.audit.page(PageRequest(9))).items]
    assert actions.count("makeScheduledEdit") == 1


async def test_edit_whose_making_has_begun_is_not_withdrawn(business: Business) -> None:
    segment, at = await open_segment(business)
    _, edit = await schedule_segment_edit(business.ctx, segment.id, at, criteria=purchases(1))
    assert await business.ctx.workspace.scheduled_edits.take(edit)
    for change in (
        lambda: withdraw_segment_edit(business.ctx, segment.id),
        lambda: schedule_segment_edit(business.ctx, segment.id, at, criteria=purchases(3)),
    ):
        with pytest.raises(Refused) as refused:
            await change()
        assert refused.value.problems[0].code is Code.CONFLICT


async def test_edit_that_does_not_fit_any_more_tells_why(business: Business) -> None:
    segment, at = await open_segment(business)
    other = await business.create_segment("other", purchases(1))
    await schedule_segment_edit(business.ctx, segment.id, at, criteria={"segment": {"id": other.id}})
    await archive_segment(business.ctx, other.id)
    business.clock.set(at)
    for _ in range(2):
        await make_scheduled_edit(business.ctx.resources, business.ctx.workspace.id, segment.id)
    edit = await business.ctx.workspace.scheduled_edits.get(segment.id)
    assert edit is not None
    assert edit.problem is not None
    assert edit.problem[0] == "UNKNOWN"
    assert (await find_segment(business.ctx, segment.id)).version == 1
    await schedule_segment_edit(business.ctx, segment.id, at + DAY, criteria=purchases(1))
    business.clock.set(at + DAY)
    await business.run_worker()
    assert await business.read_members(segment) == ["ann"]


async def test_edit_that_could_not_be_made_now_is_refused_at_once(business: Business) -> None:
    segment, at = await open_segment(business)
    now = await business.clock.now()
    for instant, fields, code in (
        (now, {"criteria": purchases(1)}, Code.OUT_OF_RANGE),
        (now + timedelta(days=367), {"criteria": purchases(1)}, Code.OUT_OF_RANGE),
        (at, {}, Code.REQUIRED),
        (at, {"criteria": {"segment": {"id": "seg_none"}}}, Code.UNKNOWN),
        (at, {"criteria": {"segment": {"id": segment.id}}}, Code.CYCLE),
    ):
        with pytest.raises(Refused) as refused:
            await schedule_segment_edit(business.ctx, segment.id, instant, **fields)
        assert refused.value.problems[0].code is code
    assert await business.ctx.workspace.scheduled_edits.get(segment.id) is None


async def test_edit_changes_labels_and_zone_when_its_time_has_come(business: Business) -> None:
    """The segment goes back to the zone of the workspace, which changes meanwhile."""
    this_year = purchases(1, calendar={"unit": "YEAR"})
    segment = await create_segment(
        business.ctx, "loyal", "Loyal", this_year, "Old.", "Asia/Tokyo", zone_field="fields.zone"
    )
    at = await business.clock.now() + DAY
    await schedule_segment_edit(
        business.ctx,
        segment.id,
        at,
        name="Faithful",
        description="New.",
        visible_to_passes=True,
        timezone="",
        zone_field="",
    )
    await business.run_worker()
    assert await find_segment(business.ctx, segment.id) == segment
    await set_local_time(business.ctx, "Europe/Berlin")
    business.clock.set(at)
    await business.run_worker()
    edited = await find_segment(business.ctx, segment.id)
    assert (edited.name, edited.description, edited.visible_to_passes) == ("Faithful", "New.", True)
    assert edited.zone == SegmentZone("Europe/Berlin", inherits=True)
    assert edited.version == 2


async def test_edit_of_a_name_makes_no_version(business: Business) -> None:
    segment, at = await open_segment(business)
    await schedule_segment_edit(business.ctx, segment.id, at, name="Faithful")
    business.clock.set(at)
    await business.run_worker()
    edited = await find_segment(business.ctx, segment.id)
    assert (edited.name, edited.version, edited.updated_at) == ("Faithful", 1, at)


async def test_name_of_an_edit_is_set_once_whenever_a_worker_crashes(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name changes once more between the crash and the next worker."""
    segment, at = await open_segment(business)
    await schedule_segment_edit(business.ctx, segment.id, at, criteria=purchases(1), name="Faithful")
    business.clock.set(at)
    remove = ScheduledEditQueries.remove

    async def crash(*_: object) -> None:
        raise Crash("remove")

    with monkeypatch.context() as patch:
        patch.setattr(ScheduledEditQueries, "remove", crash)
        with pytest.raises(Crash):
            await make_scheduled_edit(business.ctx.resources, business.ctx.workspace.id, segment.id)
    assert ScheduledEditQueries.remove is remove
    assert (await update_segment(business.ctx, segment.id, name="Later")).version == 2
    await business.run_worker()
    assert (await find_segment(business.ctx, segment.id)).name == "Later"
    assert await business.ctx.workspace.scheduled_edits.get(segment.id) is None


async def test_edit_that_meets_the_limit_of_a_day_is_made_when_there_is_room(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be scheduled while there is no room, because it counts on the day on which it is made."""
    segment, at = await open_segment(business)
    monkeypatch.setattr("app.domain.segments.limits.MAX_VERSIONS_A_DAY", 1)
    await schedule_segment_edit(business.ctx, segment.id, at - timedelta(hours=1), criteria=purchases(1))
    business.clock.set(at - timedelta(hours=1))
    await business.run_worker()
    edit = await business.ctx.workspace.scheduled_edits.get(segment.id)
    assert edit is not None
    assert edit.problem is not None
    assert (edit.problem[0], edit.retry_at) == ("LIMIT", at)
    assert (await find_segment(business.ctx, segment.id)).version == 1
    business.clock.set(at + timedelta(minutes=1))
    await business.run_worker()
    assert (await find_segment(business.ctx, segment.id)).version == 2
    assert await business.ctx.workspace.scheduled_edits.get(segment.id) is None
