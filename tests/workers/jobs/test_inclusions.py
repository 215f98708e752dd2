"""includeMembers: a new rule is asked about each present member of its segment, once, whatever crashes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from app.commands.rules.inclusions import start_inclusion
from app.commands.rules.rules import create_rule_with_job
from app.commands.segments import create_segment
from app.domain.errors import Code, Refused
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import RULE_INCLUDED
from app.domain.jobs import Job, JobStatus
from app.store.mongo.paging import PageRequest
from tests.business import Business, purchases
from workers.jobs import inclusions
from workers.stages.run_job import jobs

NAMES = [f"guest-{number}" for number in range(5)]


def rule_on(segment_id: str, **fields: object) -> Mapping[str, object]:
    return {
        "key": "welcome",
        "name": "Welcome",
        "trigger": {"segmentEntered": {"segmentId": segment_id}},
        "effects": [{"awardPoints": {"points": 5}}],
        "includeMembers": True,
        **fields,
    }


async def tick(business: Business) -> None:
    business.clock.set(await business.clock.now() + timedelta(seconds=1))


async def play(business: Business, *names: str) -> None:
    """Let each pass purchase once, a second later, and run the worker."""
    await tick(business)
    await business.record(*({"pass_external_id": name} for name in names))
    await business.run_worker()


async def points(business: Business) -> list[int]:
    return [int((await business.read_pass(name)).points) for name in NAMES]


async def run(business: Business, job: Job | None, rounds: int = 20) -> Job:
    assert job is not None
    found: Job | None = job
    for _ in range(rounds):
        await jobs(business.worker, job.id)
        found = await business.ctx.workspace.jobs.get(job.id)
        if found is not None and found.finished_at is not None:
            await business.run_worker()
            break
    assert found is not None
    return found


async def define(business: Business, **fields: Any) -> tuple[str, Job | None]:
    """Create a segment of buyers whose backfill is done, and a rule for it a second later."""
    segment = await business.create_segment("buyers", purchases(1))
    await tick(business)
    rule, job = await create_rule_with_job(business.ctx, rule_on(segment.id, **fields))
    await tick(business)
    return rule.id, job


async def test_members_are_asked_about_once_and_those_who_enter_later_by_their_entry(business: Business) -> None:
    await business.create_passes(*NAMES)
    await play(business, *NAMES[:3])
    _, job = await define(business)
    await play(business, NAMES[3])
    done = await run(business, job)
    assert (done.status, done.result) == (JobStatus.SUCCEEDED, {"asked": 3, "warnings": []})
    assert await points(business) == [5, 5, 5, 5, 0]
    await play(business, NAMES[4])
    assert await points(business) == [5] * 5


async def test_repeat_of_the_job_after_a_crash_asks_about_nobody_twice(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.create_passes(*NAMES)
    await play(business, *NAMES)
    _, job = await define(business)
    monkeypatch.setattr(inclusions, "INCLUSION_BATCH_SIZE", 2)
    stored, leases = 0, business.worker.job_leases
    commit = leases.commit

    async def crash_before_the_third_commit(*args: Any) -> Any:
        nonlocal stored
        stored += 1
        if stored == 3:
            raise ConnectionError("crashed")
        return await commit(*args)

    monkeypatch.setattr(leases, "commit", crash_before_the_third_commit)
    assert job is not None
    with pytest.raises(ConnectionError):
        await jobs(business.worker, job.id)
    await business.run_worker()
    assert sum(await points(business)) == 20
    await business.ctx.resources.db["jobs"].update_one({"_id": job.id}, {"$set": {"lease": 0}})
    assert (await run(business, job)).result["asked"] == 5
    assert await points(business) == [5] * 5
    page = await business.ctx.workspace.events.page(EventQuery(types=[RULE_INCLUDED]), PageRequest(10))
    assert len(page.items) == 5


async def test_passes_that_a_backfill_still_brings_in_are_asked_about_each_once(business: Business) -> None:
    await business.create_passes(*NAMES)
    await play(business, *NAMES)
    await tick(business)
    segment = await create_segment(business.ctx, "buyers", "Buyers", purchases(1))
    await tick(business)
    _, job = await create_rule_with_job(business.ctx, rule_on(segment.id))
    await tick(business)
    waiting = await run(business, job, rounds=2)
    assert waiting.status is JobStatus.RUNNING, "the job waits for the backfill"
    await business.run_worker()
    assert (await run(business, job)).result["asked"] == 5
    assert await points(business) == [5] * 5


async def test_events_that_were_recorded_before_the_rule_are_counted_first(business: Business) -> None:
    await business.create_passes(*NAMES)
    segment = await business.create_segment("buyers", purchases(1))
    await tick(business)
    await business.record(*({"pass_external_id": name} for name in NAMES))
    await tick(business)
    _, job = await create_rule_with_job(business.ctx, rule_on(segment.id))
    await tick(business)
    assert (await run(business, job, rounds=2)).status is JobStatus.RUNNING
    await business.run_worker()
    assert (await run(business, job)).result["asked"] == 5
    assert await points(business) == [5] * 5


async def test_job_of_a_rule_that_was_never_created_ends_with_a_warning(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await inclusions_of_nothing(business)
    assert (await run(business, job, rounds=2)).status is JobStatus.RUNNING
    monkeypatch.setattr(inclusions, "UNCREATED_TTL_SECONDS", -1)
    done = await run(business, job)
    assert (done.status, done.result["warnings"]) == (JobStatus.SUCCEEDED, ["The rule of this job was not created."])


async def inclusions_of_nothing(business: Business) -> Job:
    """Start the job, and crash before the rule is stored."""
    return await start_inclusion(business.ctx, "rule_of_a_crash")


@pytest.mark.parametrize(
    "fields", [{"trigger": {"event": {"types": ["purchase"]}}}, {"status": "PAUSED"}, {"trigger": None}]
)
async def test_members_of_no_segment_and_of_a_paused_rule_are_refused(
    business: Business, fields: dict[str, Any]
) -> None:
    segment = await business.create_segment("buyers", purchases(1))
    if "trigger" in fields and fields["trigger"] is None:
        fields = {"trigger": {"segmentLeft": {"segmentId": segment.id}}}
    with pytest.raises(Refused) as refused:
        await create_rule_with_job(business.ctx, rule_on(segment.id, **fields))
    assert [(each.code, each.field) for each in refused.value.problems] == [(Code.UNSUPPORTED, ("includeMembers",))]


async def test_job_of_a_refused_rule_is_cancelled(business: Business) -> None:
    with pytest.raises(Refused):
        await create_rule_with_job(business.ctx, rule_on("seg_unknown"))
    [job] = (await business.ctx.workspace.jobs.page(PageRequest(5))).items
    assert (await run(business, job)).status is JobStatus.CANCELLED
