"""Imports: every row is recorded once at a crash of any step, and the report names every rejected row."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from app.commands.jobs.exports import export_events
from app.commands.jobs.imports import OTHER_FILE_WARNING, import_events
from app.commands.jobs.jobs import cancel_job
from app.domain.activities import CREATED, CUSTOM_EVENT, ENTERED, LEFT, REDEEMED
from app.domain.events.event_queries import EventQuery
from app.domain.files.columns import ColumnMapping
from app.domain.files.exports import ExportFormat
from app.domain.jobs import Job, JobStatus
from app.domain.state.aggregations import Aggregation, Function
from app.store.mongo.paging import PageRequest
from app.store.stages.job_leases import STUCK_AFTER, JobLeases
from app.store.workspace.events import EventQueries
from app.store.workspace.jobs import JobQueries
from app.store.workspace.passes import PassQueries
from tests.business import Business, create_business, purchases
from tests.crashes import Crash
from tests.grouping import aggregate_groups
from tests.patience import PATIENCE_SECONDS, running
from workers.jobs import imports, lease
from workers.main import GUARDED
from workers.stages import run_job
from workers.stages.run_job import jobs
from workers.sweep import Sweep
from workers.worker import Worker


class File:
    """An uploaded file."""

    def __init__(self, data: bytes | str, filename: str = "sales.csv") -> None:
        self.filename: str | None = filename
        self._data = io.BytesIO(data.encode() if isinstance(data, str) else data)

    async def read(self, size: int = -1) -> bytes:
        return self._data.read(size)


def sales_csv(count: int) -> str:
    rows = [f"c{i % 40},2025-11-{i % 28 + 1:02},{i % 90}.50,{i}" for i in range(count)]
    return "\n".join(["customer_id,date,amount,till", *rows, ""])


async def run_to_end(business: Business, job: Job) -> Job:
    """Run the job until it has ended, and return it as stored."""
    for _ in range(50):
        await jobs(business.worker, job.id)
        found = await business.ctx.workspace.jobs.get(job.id)
        assert found is not None
        if found.finished_at is not None:
            return found
    raise AssertionError("the job does not end")


async def import_file(business: Business, data: bytes | str, name: str = "sales.csv", **options: Any) -> Job:
    return await run_to_end(business, await import_events(business.ctx, File(data, name), **options))


async def read_report(business: Business, job: Job) -> list[list[str]]:
    return [line async for lines in business.ctx.workspace.jobs.report(job.id) for line in lines]


def row_counts(job: Job) -> tuple[int, int, int]:
    return job.tally.created, job.tally.duplicate, job.tally.failed


async def count_events(business: Business) -> int:
    return await business.ctx.resources.db["events"].count_documents({})


async def test_every_row_becomes_an_event_and_a_second_import_adds_none(business: Business) -> None:
    first = await import_file(business, sales_csv(50))
    assert (first.status, row_counts(first), first.total) == (JobStatus.SUCCEEDED, (50, 0, 0), 50)
    second = await import_file(business, sales_csv(50))
    assert (second.status, row_counts(second)) == (JobStatus.SUCCEEDED, (0, 50, 0))
    await business.run_worker()
    card = await business.read_pass("c7")
    assert card.aggregates["purchase", "USD"].sum == 2 * 7 + 40 + 1
    assert await business.ctx.resources.db["job_files"].count_documents({}) == 0


async def test_imported_event_has_its_source_and_channel_and_is_historical(business: Business) -> None:
    await import_file(business, sales_csv(1))
    [event] = (await business.ctx.workspace.events.page(EventQuery(), PageRequest(1_000))).items
    assert (event.source, event.external_id, event.origin.channel, event.historical) == (
        "import:sales.csv",
        "1",
        "IMPORT",
        True,
    )
    assert event.metadata == {"till": 0}


async def test_creation_of_passes_by_an_import_is_historical(business: Business) -> None:
    """Live subscribers and webhooks, which leave out what is historical, hear nothing of old customers."""
    never_redeemed = {"event": {"types": ["redemption"], "metric": "COUNT", "operator": "EQ", "value": 0}}
    segment = await business.create_segment("never-redeemed", never_redeemed)
    bought = await business.create_segment("bought", purchases(1))
    await import_file(business, sales_csv(50))
    await business.run_worker()
    assert len(await business.read_members(segment)) == len(await business.read_members(bought)) == 40
    assert await business.read_log(include_historical=False) == []
    feed = await business.read_log()
    assert Counter(a.type for a in feed) == {CREATED: 40, CUSTOM_EVENT: 50, ENTERED: 80}
    await business.record({"pass_external_id": "c0", "type": "redemption"}, {"pass_external_id": "new"})
    await business.run_worker()
    live = await business.read_log(include_historical=False)
    assert Counter(a.type for a in live) == {CREATED: 1, CUSTOM_EVENT: 1, REDEEMED: 1, ENTERED: 2, LEFT: 1}


STEPS = [
    ("runs", "claim"),
    ("runs", "is_backlogged"),
    ("runs", "commit"),
    ("runs", "finish"),
    ("events", "insert"),
    ("events", "stored"),
    ("passes", "insert"),
    ("jobs", "input"),
    ("jobs", "put_report"),
    ("jobs", "drop_input"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("where", "step"), STEPS)
async def test_crash_at_any_step_leaves_exact_counts(
    business: Business, monkeypatch: pytest.MonkeyPatch, where: str, step: str, after: bool
) -> None:
    monkeypatch.setattr(imports, "IMPORT_BATCH_SIZE", 10)
    owner = {"runs": JobLeases, "events": EventQueries, "passes": PassQueries, "jobs": JobQueries}[where]
    original = getattr(owner, step)
    rows = sales_csv(35) + "c1,2025-11-01,1,2\nc2,never,3,4\n" + sales_csv(8).split("\n", 1)[1]
    columns = [
        ColumnMapping("passExternalId", "customer_id"),
        ColumnMapping("type", None, "purchase"),
        ColumnMapping("occurredAt", "date"),
        ColumnMapping("amount", "amount"),
        ColumnMapping("externalId", "till"),
    ]
    # Row 36 contradicts row 3, row 37 has no date, and the last eight repeat the first eight with the same ids.
    job = await import_events(business.ctx, File(rows), columns=columns)
    calls = 0

    def crash_every_other_call(*args: Any, **kwargs: Any) -> Any:
        """Crash at every other call, before or after the step."""
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            return original(*args, **kwargs)
        if not after or step == "input":
            raise Crash

        async def crash_after() -> None:
            await original(*args, **kwargs)
            raise Crash

        return crash_after()

    monkeypatch.setattr(owner, step, crash_every_other_call)
    crashes = 0
    for _ in range(60):
        try:
            await jobs(business.worker, job.id)
        except Crash:
            crashes += 1
        await business.ctx.resources.db["jobs"].update_many({"open": 1}, {"$set": {"lease": 0}})
    assert crashes
    monkeypatch.setattr(owner, step, original)
    done = await run_to_end(business, job)
    assert (done.status, row_counts(done), await count_events(business)) == (JobStatus.SUCCEEDED, (35, 8, 2), 35)
    assert [(line[0], line[1]) for line in await read_report(business, done)] == [("36", "CONFLICT"), ("37", "INVALID")]


async def test_concurrent_workers_record_and_count_every_row_once(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "IMPORT_BATCH_SIZE", 10)
    monkeypatch.setattr("app.store.stages.job_leases.LEASE_MS", -1)
    job = await import_events(business.ctx, File(sales_csv(200)))
    others = [Worker.on(business.ctx.resources) for _ in range(3)]
    await asyncio.gather(*(jobs(worker, job.id) for worker in [business.worker, *others]))
    done = await run_to_end(business, job)
    assert (row_counts(done), await count_events(business)) == ((200, 0, 0), 200)


async def test_invalid_rows_are_reported_and_valid_rows_recorded(business: Business) -> None:
    data = (
        "customer_id,date,amount\n"
        "ann,2025-11-01,10\n"
        "ann,2025-11-02\n"
        'ann,"2025-11-03,11\n'
        "ann,2025-11-04,12\n"
        "\n"
        ",2025-11-05,13\n"
        "ann,someday,free\n"
        "ann,2025-11-06,-5\n"
        "a\x00nn,2025-11-07,5\n"
        "ann,2199-01-01,5\n"
        "bob,2025-11-08,1e3\n" + "x" * 200_000 + "\n"
        "bob,2025-11-09,14"
    )
    job = await import_file(business, data)
    assert row_counts(job) == (3, 0, 9)
    lines = await read_report(business, job)
    assert [tuple(line[:3]) for line in lines] == [
        ("2", "INVALID", ""),
        ("3", "INVALID", ""),
        ("5", "REQUIRED", "passExternalId"),
        ("6", "INVALID", "occurredAt"),
        ("6", "INVALID", "amount"),
        ("7", "OUT_OF_RANGE", "amount"),
        ("8", "INVALID", "passExternalId"),
        ("9", "OUT_OF_RANGE", "occurredAt"),
        ("10", "INVALID", "amount"),
        ("11", "TOO_LONG", ""),
    ]
    assert lines[0][4] == "ann,2025-11-02"


async def test_dry_run_writes_nothing_and_predicts_the_counts(business: Business) -> None:
    await import_file(business, sales_csv(3))
    before = {name: await business.ctx.resources.db[name].count_documents({}) for name in ("events", "passes")}
    job = await import_file(business, sales_csv(10) + "c1,x,1,1\n", dry_run=True)
    assert (job.status, job.dry_run, row_counts(job)) == (JobStatus.SUCCEEDED, True, (7, 3, 1))
    assert before == {name: await business.ctx.resources.db[name].count_documents({}) for name in before}


async def test_cancelled_job_stops_after_the_batch_and_keeps_its_counts(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "IMPORT_BATCH_SIZE", 10)
    job = await import_events(business.ctx, File(sales_csv(100)))
    commits = 0
    original = business.worker.job_leases.commit

    async def commit(*args: Any) -> Any:
        nonlocal commits
        commits += 1
        if commits == 3:
            assert (await cancel_job(business.ctx, job.id)).is_cancelling
        return await original(*args)

    monkeypatch.setattr(business.worker.job_leases, "commit", commit)
    done = await run_to_end(business, job)
    assert (done.status, row_counts(done), await count_events(business)) == (JobStatus.CANCELLED, (30, 0, 0), 30)
    assert (await cancel_job(business.ctx, job.id)).status is JobStatus.CANCELLED


async def test_job_cancelled_before_its_start_records_nothing(business: Business) -> None:
    job = await import_events(business.ctx, File(sales_csv(5)))
    await cancel_job(business.ctx, job.id)
    # A worker crashed after it deleted the input and before it ended the job.
    await business.ctx.workspace.jobs.drop_input(job.id)
    done = await run_to_end(business, job)
    assert (done.status, await count_events(business)) == (JobStatus.CANCELLED, 0)


async def test_job_that_fails_five_times_in_a_row_ends_as_failed(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await import_events(business.ctx, File(sales_csv(5)))

    async def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(business.worker.job_leases, "commit", fail)
    for _ in range(5):
        with pytest.raises(RuntimeError):
            await jobs(business.worker, job.id)
        await business.ctx.resources.db["jobs"].update_many({"open": 1}, {"$set": {"lease": 0}})
    found = await business.ctx.workspace.jobs.get(job.id)
    assert found is not None
    assert (found.status, found.error) == (JobStatus.FAILED, run_job.INTERNAL_FAILURE)


async def test_import_waits_while_too_many_events_are_pending(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "IMPORT_BATCH_SIZE", 10)
    monkeypatch.setattr(lease, "BACKLOG_CHECK_INTERVAL_BATCHES", 1)
    monkeypatch.setattr(lease, "MAX_PENDING_EVENTS", 12)
    now = 0.0

    async def pause(seconds: float) -> None:
        nonlocal now
        now += seconds

    # Time passes only in the pauses of the lease, so the slice ends while the import waits for the fold.
    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(lease, "asyncio", SimpleNamespace(sleep=pause))
    job = await import_events(business.ctx, File(sales_csv(300)))
    await jobs(business.worker, job.id)
    current = await business.ctx.workspace.jobs.get(job.id)
    assert current is not None
    assert current.finished_at is None
    assert 10 <= current.tally.done <= 4 * 22
    assert now >= lease.JOB_SLICE_SECONDS
    monkeypatch.setattr(lease, "MAX_PENDING_EVENTS", 1_000)
    assert row_counts(await run_to_end(business, job)) == (300, 0, 0)


async def test_import_checks_a_long_backlog_seldom(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the embedded servers, a check takes the longer the more events are pending."""
    monkeypatch.setattr(imports, "IMPORT_BATCH_SIZE", 10)
    monkeypatch.setattr(lease, "BACKLOG_CHECK_INTERVAL_BATCHES", 1)
    now, checks = 0.0, []

    async def check_for_a_second(*_: Any) -> bool:
        nonlocal now
        checks.append(now)
        now += 1.0
        return False

    async def commit(*args: Any) -> Any:
        nonlocal now
        now += 0.5
        return await original(*args)

    original = business.worker.job_leases.commit
    monkeypatch.setattr(business.worker.job_leases, "commit", commit)
    monkeypatch.setattr(business.worker.job_leases, "is_backlogged", check_for_a_second)
    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: now))
    job = await import_events(business.ctx, File(sales_csv(300)))
    assert row_counts(await run_to_end(business, job)) == (300, 0, 0)
    assert checks == [0.0, 9.0]


async def test_large_file_in_several_parts_is_read_completely(business: Business) -> None:
    notes = [f"é{number}" * 5_000 for number in range(120)]
    rows = [f'ann,2025-11-01,1,"{note}\nand more"\n' for note in notes]
    job = await import_file(business, "customer_id,date,amount,note\n" + "".join(rows))
    assert (job.status, row_counts(job)) == (JobStatus.SUCCEEDED, (120, 0, 0))
    page = await business.ctx.workspace.events.page(EventQuery(), PageRequest(1_000))
    assert {event.metadata["note"] for event in page.items} == {f"{note}\nand more" for note in notes}


async def test_sweep_starts_a_job_without_wake_up_and_stops_it_with_the_worker(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "IMPORT_BATCH_SIZE", 10)
    job = await import_events(business.ctx, File(sales_csv(30)))
    begun, original = asyncio.Event(), business.worker.job_leases.commit

    async def commit_and_hang(*args: Any) -> Any:
        await original(*args)
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(business.worker.job_leases, "commit", commit_and_hang)
    stopping = asyncio.Event()
    async with asyncio.timeout(PATIENCE_SECONDS), running(Sweep(business.worker, GUARDED).run(stopping), stopping):
        await begun.wait()
    monkeypatch.setattr(business.worker.job_leases, "commit", original)
    # The stopped worker released its lease, so the job can go on at once.
    await jobs(business.worker, job.id)
    done = await business.ctx.workspace.jobs.get(job.id)
    assert done is not None
    assert (done.status, row_counts(done)) == (JobStatus.SUCCEEDED, (30, 0, 0))


async def test_job_that_starts_too_often_without_progress_ends_as_failed(business: Business) -> None:
    job = await import_events(business.ctx, File(sales_csv(5)))
    await business.ctx.resources.db["jobs"].update_one({"_id": job.id}, {"$set": {"starts": STUCK_AFTER}})
    done = await run_to_end(business, job)
    assert (done.status, done.error) == (JobStatus.FAILED, run_job.NO_PROGRESS_FAILURE)


async def test_all_problems_of_a_row_are_reported_in_order(business: Business) -> None:
    columns = [
        ColumnMapping("passExternalId", "who"),
        ColumnMapping("type", None, "purchase"),
        ColumnMapping("occurredAt", "when"),
        ColumnMapping("amount", "price"),
    ]
    job = await import_file(business, "who,when,price\n" + ",never,free\n" * 1_400, columns=columns)
    lines = await read_report(business, job)
    assert job.tally.failed == 1_400
    assert [(int(line[0]), line[2]) for line in lines] == [
        (row, name) for row in range(1, 1_401) for name in ("passExternalId", "occurredAt", "amount")
    ]


SHOP = "customer,date,amount\n"


@pytest.mark.parametrize("batch_size", [1, 2, 1_000])
async def test_rows_of_another_file_under_the_same_source_are_not_recorded(
    business: Business, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    """Row 1 is new, so each row has moved: row 4 would count the purchase of cat twice."""
    monkeypatch.setattr(imports, "IMPORT_BATCH_SIZE", batch_size)
    rows = ["ann,2025-01-01,1\n", "bob,2025-01-02,2\n", "cat,2025-01-03,3\n"]
    await import_file(business, SHOP + "".join(rows))
    other = SHOP + "".join(["new,2025-01-04,4\n", *rows])
    for dry_run in (True, False):
        job = await import_file(business, other, dry_run=dry_run)
        assert (job.status, row_counts(job), job.warnings) == (JobStatus.SUCCEEDED, (0, 0, 4), (OTHER_FILE_WARNING,))
        report = await read_report(business, job)
        assert [line[:3] for line in report] == [[str(row), "CONFLICT", "externalId"] for row in range(1, 5)]
    assert await count_events(business) == 3
    assert await business.ctx.workspace.passes.ids_of(["new"]) == {}
    job = await import_file(business, other, source="export of February")
    assert (row_counts(job), job.warnings) == ((4, 0, 0), ())


async def test_file_that_grew_and_whose_rejected_rows_were_corrected_is_recorded(business: Business) -> None:
    job = await import_file(business, SHOP + "ann,2025-01-01,1\nbob,never,2\n")
    assert row_counts(job) == (1, 0, 1)
    job = await import_file(business, SHOP + "ann,2025-01-01,1\nbob,2025-01-02,2\ncat,2025-01-03,3\n")
    assert (row_counts(job), job.warnings) == ((2, 1, 0), ())


async def test_row_with_an_id_may_conflict_without_affecting_other_rows(business: Business) -> None:
    header = "customer,date,amount,order_id\n"
    await import_file(business, f"{header}ann,2025-01-01,1,a\nann,2025-01-01,1,b\n")
    job = await import_file(business, f"{header}ann,2025-01-01,9,a\nann,2025-01-01,1,c\n")
    assert (row_counts(job), job.warnings) == ((1, 0, 1), ())


async def test_crash_between_batches_of_another_file_records_nothing(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "IMPORT_BATCH_SIZE", 1)
    await import_file(business, f"{SHOP}ann,2025-01-01,1\n")
    job = await import_events(business.ctx, File(f"{SHOP}bob,2025-01-01,1\nann,2025-01-01,1\n"))
    original = business.worker.job_leases.commit
    calls = 0

    async def commit(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (1, 3):
            raise Crash
        return await original(*args)

    monkeypatch.setattr(business.worker.job_leases, "commit", commit)
    for _ in range(2):
        with pytest.raises(Crash):
            await jobs(business.worker, job.id)
        await business.ctx.resources.db["jobs"].update_many({"open": 1}, {"$set": {"lease": 0}})
    assert row_counts(await run_to_end(business, job)) == (0, 0, 2)
    assert await count_events(business) == 1


async def test_details_keep_their_digits_and_can_be_summed(business: Business) -> None:
    text = "customer,date,amount,version,weight\nann,2025-01-01,1,1.10,2.50\nann,2025-01-01,1,1.1,3.75\n"
    await import_file(business, text)
    page = await business.ctx.workspace.events.page(EventQuery(), PageRequest(10))
    assert [event.metadata for event in sorted(page.items, key=lambda event: event.external_id or "")] == [
        {"version": "1.10", "weight": "2.50"},
        {"version": "1.1", "weight": "3.75"},
    ]
    weights = Aggregation(Function.SUM, "metadata.weight")
    [group] = aggregate_groups(weights, page.items)
    assert (group.events, group.value) == (2, Decimal("6.25"))


async def test_rows_stay_repeats_when_a_later_row_changes_what_details_become(business: Business) -> None:
    header = "customer,date,amount,version\n"
    assert row_counts(await import_file(business, f"{header}ann,2025-01-01,1,1.1\n")) == (1, 0, 0)
    job = await import_file(business, f"{header}ann,2025-01-01,1,1.1\nann,2025-01-01,1,1.10\n")
    assert row_counts(job) == (1, 1, 0)


async def test_csv_export_imported_again_records_nothing_twice(business: Business) -> None:
    text = "customer,date,amount,note,order_id\n'+4915,2025-01-01,1.50,a;'=1,1\nann,2025-01-02,2,,=2\n"
    await import_file(business, text)
    job = await run_to_end(business, await export_events(business.ctx, EventQuery(), ExportFormat.CSV))
    assert job.file is not None
    data = b"".join([part async for part in business.ctx.workspace.exports.read(job.id, job.file.parts)])
    again = await import_file(business, data, "events.csv")
    assert (again.status, row_counts(again)) == (JobStatus.SUCCEEDED, (0, 2, 0))
    # Another workspace gets the same events.
    other = await create_business(business.ctx.resources, business.clock, "Branch")
    assert row_counts(await import_file(other, data, "events.csv")) == (2, 0, 0)
    found = []
    for workspace in (business.ctx.workspace, other.ctx.workspace):
        page = await workspace.events.page(EventQuery(), PageRequest(10))
        names = await workspace.passes.external_ids({event.pass_id for event in page.items})
        found.append({(names[e.pass_id], e.amount, e.external_id, e.source, str(e.metadata)) for e in page.items})
    assert found[0] == found[1]
    assert {name for name, *_ in found[0]} == {"+4915", "ann"}
