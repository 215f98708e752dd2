"""Exports: every row is in the file once at a crash of any step, and the file can be imported again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.commands.jobs.exports import export_activities, export_events
from app.commands.jobs.imports import import_events
from app.commands.jobs.jobs import cancel_job
from app.commands.passes.removals import erase_pass
from app.domain.activity_queries import ActivityQuery
from app.domain.events.event_queries import EventQuery
from app.domain.files.exports import ExportFormat
from app.domain.jobs import Job, JobStatus
from app.domain.values.cursors import parse_feed_cursor
from app.store.stages.job_leases import JobLeases
from app.store.workspace.events import EventQueries
from app.store.workspace.exports import ExportQueries, Part
from tests.business import Business, purchases
from tests.crashes import Crash
from tests.workers.jobs.test_imports import File, run_to_end
from workers.jobs import exports
from workers.stages.run_job import jobs

START = datetime(2025, 1, 1, tzinfo=UTC)


async def read_file(business: Business, job: Job) -> bytes:
    assert job.file is not None
    parts = [part async for part in business.ctx.workspace.exports.read(job.id, job.file.parts)]
    assert sum(map(len, parts)) == job.file.size
    return b"".join(parts)


async def read_lines(business: Business, job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await read_file(business, job)).splitlines()]


async def export_lines(business: Business, query: EventQuery | None = None) -> list[dict[str, Any]]:
    job = await export_events(business.ctx, query or EventQuery(), ExportFormat.JSONL)
    return await read_lines(business, await run_to_end(business, job))


def sale_item(number: int) -> Mapping[str, object]:
    return {
        "external_id": str(number),
        "pass_external_id": f"c{number % 7}",
        "amount": f"{number}.50",
        "occurred_at": START + timedelta(hours=number * number),
        "metadata": {"till": number % 3},
    }


STEPS = [
    (JobLeases, "claim"),
    (JobLeases, "commit"),
    (JobLeases, "finish"),
    (EventQueries, "scan"),
    (ExportQueries, "put"),
    (ExportQueries, "keep"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS)
async def test_crash_at_any_step_leaves_every_row_once(
    business: Business, monkeypatch: pytest.MonkeyPatch, owner: type, step: str, after: bool
) -> None:
    monkeypatch.setattr(exports, "PART_BYTES", 1_000)
    await business.record(*map(sale_item, range(30)))
    job = await export_events(business.ctx, EventQuery(), ExportFormat.JSONL)
    original = getattr(owner, step)
    calls = crashes = 0

    async def crash_every_other_call(*args: Any, **kwargs: Any) -> Any:
        """Crash at every other call, before or after the step."""
        nonlocal calls
        calls += 1
        if calls % 2 and not after:
            raise Crash
        answer = await original(*args, **kwargs)
        if calls % 2:
            # The next worker finds one more event, which was being recorded when the export was created.
            await business.record({"external_id": f"late-{calls}", "occurred_at": START + timedelta(hours=calls)})
            raise Crash
        return answer

    monkeypatch.setattr(owner, step, crash_every_other_call)
    found = await business.ctx.workspace.jobs.get(job.id)
    while found is not None and found.finished_at is None:
        try:
            await jobs(business.worker, job.id)
        except Crash:
            crashes += 1
            await business.ctx.resources.db["jobs"].update_many({"open": 1}, {"$set": {"lease": 0}})
        found = await business.ctx.workspace.jobs.get(job.id)
    monkeypatch.undo()
    assert crashes
    assert found is not None
    assert found.status is JobStatus.SUCCEEDED
    lines = await read_lines(business, found)
    assert found.tally.done == len(lines) == found.result["rows"]
    ids = [line["externalId"] for line in lines]
    assert len(set(ids)) == len(ids)
    assert [each for each in ids if each.isdigit()] == [str(number) for number in range(30)]


async def test_slow_worker_without_lease_changes_no_part(business: Business) -> None:
    queries = business.ctx.workspace.exports
    now = datetime.now(UTC)
    first = await queries.put("job_1", 0, b"a\n", Part(1, {"at": 1}), now)
    second = await queries.put("job_1", 0, b"b\nc\n", Part(2, {"at": 2}), now)
    assert second == first
    assert [part async for part in queries.read("job_1", 1)] == [b"a\n"]
    await queries.drop("job_1")
    with pytest.raises(LookupError):
        _ = [part async for part in queries.read("job_1", 1)]


async def test_export_filters_events_and_names_fields_as_record_events_does(business: Business) -> None:
    """A1-24: a filter of attributes chooses the events, and the export is a job."""
    await business.record(
        {"amount": "29.30", "external_id": "o-1", "source": "pos", "metadata": {"store": {"city": "Bern"}}},
        {"type": "visit", "points": "-2.5", "occurred_at": START},
        {"type": "field_updated", "field_name": "fields.tier", "new_value": "gold", "external_id": "f"},
    )
    [change, sale_item, visit] = sorted(await export_lines(business), key=lambda line: str(line["type"]))
    assert change["fieldName"] == "fields.tier"
    assert {name: value for name, value in sale_item.items() if name not in ("id", "occurredAt", "recordedAt")} == {
        "passExternalId": "ann",
        "category": "TRANSACTION",
        "type": "purchase",
        "amount": "29.30",
        "currency": "USD",
        "source": "pos",
        "externalId": "o-1",
        "metadata": {"store": {"city": "Bern"}},
    }
    assert (visit["points"], visit["occurredAt"], visit["externalId"]) == (
        "-2.5",
        "2025-01-01T00:00:00.000Z",
        visit["id"],
    )
    assert [line["type"] for line in await export_lines(business, EventQuery(sources=("pos",)))] == ["purchase"]


async def test_csv_export_escapes_formulas_for_spreadsheets(business: Business) -> None:
    await business.record({"amount": 1, "points": -2, "external_id": "=1+1", "metadata": {"x": "y,z"}})
    job = await run_to_end(business, await export_events(business.ctx, EventQuery(), ExportFormat.CSV))
    header, row = csv.reader(io.StringIO((await read_file(business, job)).decode("utf-8-sig")))
    found = dict(zip(header, row, strict=True))
    assert (found["passExternalId"], found["points"], found["externalId"], found["metadata"]) == (
        "ann",
        "-2",
        "'=1+1",
        '{"x":"y,z"}',
    )


async def test_export_of_activities_continues_from_the_cursor_of_the_last_one(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V2-01: query, subscription, export and webhook share one log and one cursor."""
    monkeypatch.setattr(exports, "POSITIONS_PER_QUERY", 3)
    monkeypatch.setattr(exports, "EXPORT_BATCH_SIZE", 2)
    await business.create_segment("regulars", purchases(2), notify="EMIT")
    await business.record(*({"external_id": str(number)} for number in range(3)))
    await business.run_worker()
    log = await business.read_log()
    job = await run_to_end(business, await export_activities(business.ctx, ActivityQuery(), ExportFormat.JSONL))
    lines = await read_lines(business, job)
    assert [line["id"] for line in lines] == [activity.id for activity in log]
    assert lines[-1].keys() == {"id", "type", "created_at", "data", "passId", "passExternalId", "cursor"}
    await business.record({"external_id": "more"})
    await business.run_worker()
    after = parse_feed_cursor(str(job.result["cursor"])).position
    job = await run_to_end(business, await export_activities(business.ctx, ActivityQuery(), ExportFormat.JSONL, after))
    new_lines = await read_lines(business, job)
    assert [line["id"] for line in new_lines] == [activity.id for activity in (await business.read_log())[len(log) :]]
    entered = ActivityQuery(types=("customer.segment.entered",))
    job = await run_to_end(business, await export_activities(business.ctx, entered, ExportFormat.JSONL))
    assert [line["data"]["member"] for line in await read_lines(business, job)] == [True]


async def test_erasure_deletes_exports_and_the_rows_of_the_pass_in_reports(business: Business) -> None:
    """WH1-22. Exports are deleted as a whole, because they can be created again."""
    await business.record(sale_item(1), {"pass_external_id": "ann the first"})
    job = await run_to_end(business, await export_events(business.ctx, EventQuery(), ExportFormat.JSONL))
    rows = "customer_id,date,amount\nann the first,never,1\nbob,never,2\ncat,2025-01-01,1\ncat,2025-01-02,1\n"
    job_of_import = await run_to_end(business, await import_events(business.ctx, File(rows)))
    assert job_of_import.tally.failed == 2
    await erase_pass(business.ctx, external_id="ann the first")
    with pytest.raises(LookupError):
        await read_file(business, job)
    [lines] = [part async for part in business.ctx.workspace.jobs.report(job_of_import.id)]
    assert [line[-1] for line in lines] == ["", "bob,never,2"]
    assert "ann the first" not in str(await business.ctx.resources.db["job_files"].find({}).to_list(None))


async def test_empty_export_has_no_rows_and_cancelled_export_has_no_file(business: Business) -> None:
    assert await export_lines(business) == []
    await business.record(sale_item(1))
    job = await export_events(business.ctx, EventQuery(), ExportFormat.JSONL)
    await cancel_job(business.ctx, job.id)
    done = await run_to_end(business, job)
    assert (done.status, done.file) == (JobStatus.CANCELLED, None)
    assert await business.ctx.resources.db["job_files"].count_documents({"job": job.id}) == 0
