"""Jobs run in turn by workspace, and each workspace has a few of them and a bounded size of files."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.commands.jobs.exports import export_events
from app.commands.passes.removals import delete_events
from app.domain.errors import Code, Refused
from app.domain.events.event_queries import EventQuery
from app.domain.files.exports import ExportFormat
from app.domain.jobs import MAX_OPEN_JOBS, MAX_RUNNING_JOBS
from tests.business import Business, create_business
from tests.workers.jobs.test_imports import run_to_end
from workers.jobs.lease import JOB_SLICE_SECONDS, JobLease

NOW = 10**13


async def export(business: Business) -> str:
    return (await export_events(business.ctx, EventQuery(), ExportFormat.JSONL)).id


async def test_job_of_a_workspace_without_running_jobs_comes_first(business: Business) -> None:
    other = await create_business(business.ctx.resources, business.clock, "Other")
    first = [await export(business) for _ in range(6)]
    last = await export(other)
    leases = business.worker.job_leases
    found = await leases.open(NOW)
    assert [job.job_id for job in found] == [first[0], last, first[1]]
    for job_id in first[:2]:
        assert await leases.claim(job_id, NOW) is not None
    assert await leases.claim(first[2], NOW) is None
    assert [job.job_id for job in await leases.open(NOW)] == [last]
    assert MAX_RUNNING_JOBS == 2


async def test_running_jobs_end_their_slices_when_another_workspace_waits(business: Business) -> None:
    await export(business)
    [(job_id, _)] = await business.worker.job_leases.open(NOW)
    run = await business.worker.job_leases.claim(job_id, NOW)
    assert run is not None
    lease = JobLease(business.worker, run, business.worker.last_election())
    business.worker.has_waiting_workspace = True
    assert await lease.can_continue()
    lease.deadline = time.monotonic() + JOB_SLICE_SECONDS - 2.5
    assert not await lease.can_continue()
    business.worker.has_waiting_workspace = False
    assert await lease.can_continue()


async def test_workspace_has_a_bounded_number_of_unfinished_jobs(business: Business) -> None:
    created = await asyncio.gather(*(export(business) for _ in range(MAX_OPEN_JOBS + 5)), return_exceptions=True)
    refused = [each for each in created if isinstance(each, Refused)]
    assert len(refused) >= 5
    assert {problem.code for each in refused for problem in each.problems} == {Code.LIMIT}
    while await business.ctx.workspace.jobs.count_open() < MAX_OPEN_JOBS:
        await export(business)
    with pytest.raises(Refused):
        await delete_events(business.ctx, EventQuery(types=("purchase",)))
    other = await create_business(business.ctx.resources, business.clock, "Other")
    await export(other)


async def test_files_of_exports_are_bounded_for_a_workspace(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.domain.jobs.MAX_KEPT_BYTES", 1_000)
    await business.record(*({"amount": n} for n in range(20)))
    await business.run_worker()
    job = await export_events(business.ctx, EventQuery(), ExportFormat.JSONL)
    await run_to_end(business, job)
    assert await business.ctx.workspace.jobs.kept_bytes(job.created_at) > 1_000
    with pytest.raises(Refused) as refused:
        await export(business)
    assert refused.value.problems[0].code is Code.LIMIT
