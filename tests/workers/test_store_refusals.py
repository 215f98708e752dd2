"""What a worker does if the store refuses a command for good: it parks the pass, or ends the job, and goes on."""

from __future__ import annotations

import logging

import pytest

from app.commands.jobs.imports import import_events
from app.domain.errors import StoreRefused
from app.domain.jobs import JobStatus
from app.store.operations.parked_passes import ParkedPasses
from tests.business import Business
from tests.store_proxy import StoreProxy
from tests.workers.jobs.test_imports import File, sales_csv
from workers.failures import log_failures
from workers.stages import run_job
from workers.stages.fold import fold_once
from workers.stages.run_job import jobs


async def test_pass_whose_write_the_store_refuses_is_parked_and_others_are_counted(
    proxied: Business, proxy: StoreProxy, caplog: pytest.LogCaptureFixture
) -> None:
    await proxied.record({"amount": 1, "pass_external_id": "ann"})
    refused = proxy.fail_writes("update", "passes", code=17419, times=5)
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            await fold_once(proxied.worker, "0-63")
    assert refused.met == 5, "a parked pass is written no more"
    [parked] = await ParkedPasses(proxied.ctx.resources.db).passes()
    assert parked.failure == "The store refused the write: BSONObjectTooLarge (code 17419)"
    first, last = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert first == (
        "store refused a command: BSONObjectTooLarge (code 17419) command=update collection=passes pass=" + parked.id
    )
    assert "is parked" in last
    assert "secret" not in caplog.text
    await proxied.record({"amount": 2, "pass_external_id": "bob"})
    await proxied.run_worker()
    assert (await proxied.read_pass("bob")).aggregates["purchase", "USD"].sum == 2
    await ParkedPasses(proxied.ctx.resources.db).release(parked, await proxied.clock.now())
    await proxied.run_worker()
    assert (await proxied.read_pass("ann")).aggregates["purchase", "USD"].sum == 1


async def test_write_refused_as_a_whole_refuses_only_the_pass_at_fault(proxied: Business, proxy: StoreProxy) -> None:
    """The store may refuse the whole command for one document. Then the fold writes each pass alone."""
    await proxied.create_passes("ann", "bob")
    await proxied.run_worker()
    await proxied.record({"amount": 1, "pass_external_id": "ann"}, {"amount": 2, "pass_external_id": "bob"})
    proxy.fail("update", "passes", code=15, code_name="Overflow", times=2)
    await fold_once(proxied.worker, "0-63")
    docs = await proxied.ctx.resources.db["passes"].find({}, {"fails": 1, "external_id": 1}).to_list(None)
    assert sorted(doc.get("fails", 0) for doc in docs) == [0, 1]
    await proxied.run_worker()
    sums = {name: (await proxied.read_pass(name)).aggregates["purchase", "USD"].sum for name in ("ann", "bob")}
    assert sums == {"ann": 1, "bob": 2}


@pytest.mark.parametrize("code", [13, 18])
async def test_refusal_that_is_not_about_the_document_parks_no_pass(
    proxied: Business, proxy: StoreProxy, code: int
) -> None:
    await proxied.record({"amount": 1})
    for _ in range(6):
        proxy.fail("update", "passes", code=code)
        with pytest.raises(StoreRefused):
            await proxied.run_worker()
    assert await ParkedPasses(proxied.ctx.resources.db).passes() == []
    await proxied.run_worker()
    assert (await proxied.read_pass()).aggregates["purchase", "USD"].count == 1


async def test_job_that_the_store_refuses_ends_failed_after_five_refusals(
    proxied: Business, proxy: StoreProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_job, "RETRY_DELAY_MS", 0)
    job = await import_events(proxied.ctx, File(sales_csv(3)))
    refused = proxy.fail_writes("insert", "events", code=121, times=None)
    for _ in range(5):
        with pytest.raises(StoreRefused):
            await jobs(proxied.worker, job.id)
    await jobs(proxied.worker, job.id)
    found = await proxied.ctx.workspace.jobs.get(job.id)
    assert found is not None
    assert (found.status, refused.met) == (JobStatus.FAILED, 5)
    assert found.error is not None
    assert found.error.startswith("The store refused a command: DocumentValidationFailure (code 121).")


async def test_stage_that_the_store_refuses_is_paused_and_the_refusal_is_logged_once(
    proxied: Business, proxy: StoreProxy, caplog: pytest.LogCaptureFixture
) -> None:
    fold = log_failures("fold", _read_pending)
    proxy.fail("find", "events", code=13, code_name="Unauthorized", times=None)
    before = proxy.count("find", "events")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await fold(proxied.worker, "0-15")
    assert proxy.count("find", "events") == before + 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "codeName=Unauthorized command=find collection=events" in line


async def _read_pending(worker: object, _key: str) -> None:
    await worker.fold_queries.pending(0, 63, None, 10)  # type: ignore[attr-defined]
