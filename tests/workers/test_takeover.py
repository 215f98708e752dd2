"""Leases of a worker that has ended: another worker takes them over when its heartbeat has ended."""

from __future__ import annotations

import asyncio

from app.commands.jobs.exports import export_events
from app.domain.events.event_queries import EventQuery
from app.domain.files.exports import ExportFormat
from app.domain.jobs import MAX_RUNNING_JOBS
from app.store.operations.heartbeats import MAX_CLOCK_SKEW_MS
from tests.business import Business
from tests.patience import PATIENCE_SECONDS
from tests.workers.stages.test_deliver import DeliveryHarness, harness, receiver
from tests.workers.test_sharing import Times, open_workers
from workers.main import GUARDED
from workers.sharing import HOLD_TTL_MS
from workers.stages.deliver import run_endpoint
from workers.sweep import Sweep
from workers.worker import Worker

__all__ = ["harness", "receiver"]
GONE_AFTER_MS = HOLD_TTL_MS + MAX_CLOCK_SKEW_MS
NOW = 10**13


async def open_two_workers(business: Business) -> tuple[Times, Worker, Worker]:
    """Return two workers that know each other, and their time."""
    times = Times()
    first, second = await open_workers(business, 2, times)
    return times, first, second


async def test_endpoint_of_a_crashed_worker_is_delivered_when_its_heartbeat_has_ended(
    harness: DeliveryHarness,
) -> None:
    times, first, second = await open_two_workers(harness.business)
    feed = await harness.record(3, 2)
    harness.receiver.may_respond.clear()
    crashed = asyncio.create_task(run_endpoint(first, harness.endpoint_id))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not harness.receiver.requests:
            await asyncio.sleep(0.01)
    crashed.cancel()
    await asyncio.gather(crashed, return_exceptions=True)
    assert (await harness.read_progress())["tok"].endswith(f"@{first.id}")
    harness.receiver.may_respond.set()
    sweep = Sweep(second, GUARDED)
    times.ms += GONE_AFTER_MS - 1
    await second.sharing.beat()
    await sweep.deliver()
    assert not second.dispatchers, "the heartbeat of the first worker still protects its lease"
    times.ms += 1
    await sweep.deliver()
    await asyncio.gather(*second.tasks)
    assert set(harness.receiver.ids) >= {activity.id for activity in feed}
    assert "tok" not in await harness.read_progress()


async def test_worker_continues_with_an_endpoint_that_an_earlier_run_could_not_release(
    harness: DeliveryHarness,
) -> None:
    _, first, _ = await open_two_workers(harness.business)
    feed = await harness.record(1, 1)
    assert await first.endpoint_leases.claim(harness.endpoint_id, harness.now_ms, first.sharing.holder) is not None
    await run_endpoint(first, harness.endpoint_id, lambda: harness.now_ms)
    assert harness.receiver.ids == [activity.id for activity in feed]


async def test_lease_without_heartbeat_lasts_until_its_end(harness: DeliveryHarness) -> None:
    times, first, second = await open_two_workers(harness.business)
    await harness.record(1, 1)
    assert await first.endpoint_leases.claim(harness.endpoint_id, harness.now_ms) is not None
    times.ms += 2 * GONE_AFTER_MS
    await run_endpoint(second, harness.endpoint_id, lambda: harness.now_ms)
    assert harness.receiver.requests == []


async def test_slow_worker_sends_a_heartbeat_before_it_sends_anything_else(harness: DeliveryHarness) -> None:
    times, first, second = await open_two_workers(harness.business)
    feed = await harness.record(1, 1)
    times.ms += HOLD_TTL_MS
    assert first.sharing.has_lapsed
    await run_endpoint(first, harness.endpoint_id, lambda: harness.now_ms)
    assert harness.receiver.ids == [activity.id for activity in feed]
    assert not first.sharing.has_lapsed
    assert await second.sharing.find_gone({first.id}) == set()


async def test_slow_worker_sends_nothing_to_an_endpoint_that_another_one_took_over(
    harness: DeliveryHarness,
) -> None:
    times, first, second = await open_two_workers(harness.business)
    await harness.record(1, 1)
    times.ms += GONE_AFTER_MS
    original = first.sharing.beat

    async def beat_after_takeover() -> None:
        held = await second.endpoint_leases.lease_on(harness.endpoint_id)
        assert held is not None
        assert await second.sharing.find_gone([str(held.holder)]) == {first.id}
        assert await second.endpoint_leases.take_over(held, harness.now_ms, second.id) is not None
        await original()

    first.sharing.beat = beat_after_takeover  # type: ignore[method-assign]
    await run_endpoint(first, harness.endpoint_id, lambda: harness.now_ms)
    assert harness.receiver.requests == []
    assert (await harness.read_progress())["tok"].endswith(f"@{second.id}")


async def test_renewed_lease_is_not_taken_over(harness: DeliveryHarness) -> None:
    _, first, second = await open_two_workers(harness.business)
    await harness.record(1, 1)
    lease = await first.endpoint_leases.claim(harness.endpoint_id, harness.now_ms, first.id)
    held = await second.endpoint_leases.lease_on(harness.endpoint_id)
    assert lease is not None
    assert held is not None
    assert await first.endpoint_leases.save_progress(lease, harness.now_ms + 1) is not None
    assert await second.endpoint_leases.take_over(held, harness.now_ms, second.id) is None


async def test_jobs_of_a_crashed_worker_go_on_when_its_heartbeat_has_ended(business: Business) -> None:
    times, first, second = await open_two_workers(business)
    jobs = [await export_events(business.ctx, EventQuery(), ExportFormat.JSONL) for _ in range(MAX_RUNNING_JOBS)]
    leases = first.job_leases
    runs = [await leases.claim(job.id, NOW, first.sharing.holder) for job in jobs]
    find_gone = second.sharing.find_gone
    times.ms += GONE_AFTER_MS - 1
    assert await leases.open(NOW, find_gone=find_gone) == []
    assert await leases.claim(jobs[0].id, NOW, second.sharing.holder, find_gone) is None
    times.ms += 1
    assert {job.job_id for job in await leases.open(NOW, find_gone=find_gone)} == {job.id for job in jobs}
    # The other job of the crashed worker counts as running until it is taken over, too.
    taken = [await leases.claim(job.id, NOW, second.sharing.holder, find_gone) for job in jobs]
    assert all(taken)
    assert runs[0] is not None
    assert await leases.commit(runs[0], 1, runs[0].tally) is None, "the first worker has lost the job"


async def test_job_of_a_later_version_is_left_to_its_workers(business: Business) -> None:
    job = await export_events(business.ctx, EventQuery(), ExportFormat.JSONL)
    jobs = business.ctx.resources.db["jobs"]
    await jobs.update_one({"_id": job.id}, {"$set": {"kind": "LATER"}})
    assert await business.worker.job_leases.open(NOW) == []
    await GUARDED["jobs"](business.worker, job.id)
    stored = await jobs.find_one({"_id": job.id})
    assert stored is not None
    assert (stored["starts"], stored["status"]) == (0, "QUEUED")
