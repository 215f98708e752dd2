"""An export holds every line once, whatever dies between its steps, and can be imported again."""

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
from app.domain.activities import ActivityQuery
from app.domain.events.events import EventQuery
from app.domain.files.exports import ExportFormat
from app.domain.jobs import Job, JobStatus
from app.domain.values.cursors import activity_position
from app.store.stages.job_leases import JobLeases
from app.store.workspace.events import EventQueries
from app.store.workspace.exports import ExportQueries, Part
from tests.business import Business, purchases
from tests.workers.jobs.test_imports import File, Killed, finished
from workers.jobs import exports as stage
from workers.stages.run_job import jobs

START = datetime(2025, 1, 1, tzinfo=UTC)


async def file_of(business: Business, job: Job) -> bytes:
    assert job.file is not None
    parts = [part async for part in business.ctx.workspace.exports.read(job.id, job.file.parts)]
    assert sum(map(len, parts)) == job.file.size
    return b"".join(parts)


async def lines_of(business: Business, job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await file_of(business, job)).splitlines()]


async def exported(business: Business, query: EventQuery | None = None) -> list[dict[str, Any]]:
    job = await export_events(business.ctx, query or EventQuery(), ExportFormat.JSONL)
    return await lines_of(business, await finished(business, job))


def sale(number: int) -> Mapping[str, object]:
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
    (EventQueries, "walk"),
    (ExportQueries, "put"),
    (ExportQueries, "keep"),
]


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS)
async def test_a_worker_that_dies_at_any_step_leaves_every_line_once(
    business: Business, monkeypatch: pytest.MonkeyPatch, owner: type, step: str, late: bool
) -> None:
    monkeypatch.setattr(stage, "PART_BYTES", 1_000)
    await business.record(*map(sale, range(30)))
    job = await export_events(business.ctx, EventQuery(), ExportFormat.JSONL)
    real = getattr(owner, step)
    calls = killed = 0

    async def dying(*args: Any, **kwargs: Any) -> Any:
        """Every other call is the last thing a worker does."""
        nonlocal calls
        calls += 1
        if calls % 2 and not late:
            raise Killed
        answer = await real(*args, **kwargs)
        if calls % 2:
            # Who comes next finds an event more, which was under way when the export was asked for.
            await business.record({"external_id": f"late-{calls}", "occurred_at": START + timedelta(hours=calls)})
            raise Killed
        return answer

    monkeypatch.setattr(owner, step, dying)
    found = await business.ctx.workspace.jobs.get(job.id)
    while found is not None and found.finished_at is None:
        try:
            await jobs(business.worker, job.id)
        except Killed:
            killed += 1
            await business.ctx.resources.db["jobs"].update_many({"open": 1}, {"$set": {"lease": 0}})
        found = await business.ctx.workspace.jobs.get(job.id)
    monkeypatch.undo()
    assert killed
    assert found is not None
    assert found.status is JobStatus.SUCCEEDED
    lines = await lines_of(business, found)
    assert found.tally.done == len(lines) == found.result["rows"]
    ids = [line["externalId"] for line in lines]
    assert len(set(ids)) == len(ids)
    assert [each for each in ids if each.isdigit()] == [str(number) for number in range(30)]


async def test_a_worker_that_was_overtaken_changes_no_part(business: Business) -> None:
    exports = business.ctx.workspace.exports
    now = datetime.now(UTC)
    first = await exports.put("job_1", 0, b"a\n", Part(1, {"at": 1}), now)
    late = await exports.put("job_1", 0, b"b\nc\n", Part(2, {"at": 2}), now)
    assert late == first
    assert [part async for part in exports.read("job_1", 1)] == [b"a\n"]
    await exports.drop("job_1")
    with pytest.raises(LookupError):
        _ = [part async for part in exports.read("job_1", 1)]


async def test_events_are_exported_by_filter_with_the_names_of_record_events_input(business: Business) -> None:
    """A1-24: events and attribute filters are chosen, and the export is a job."""
    await business.record(
        {"amount": "29.30", "external_id": "o-1", "source": "pos", "metadata": {"store": {"city": "Bern"}}},
        {"type": "visit", "points": "-2.5", "occurred_at": START},
        {"type": "field_updated", "field_name": "fields.tier", "new_value": "gold", "external_id": "f"},
    )
    [change, sale, visit] = sorted(await exported(business), key=lambda line: str(line["type"]))
    assert change["fieldName"] == "fields.tier"
    assert {name: value for name, value in sale.items() if name not in ("id", "occurredAt", "recordedAt")} == {
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
    assert [line["type"] for line in await exported(business, EventQuery(sources=("pos",)))] == ["purchase"]


async def test_a_table_of_events_is_harmless_to_spreadsheets(business: Business) -> None:
    await business.record({"amount": 1, "points": -2, "external_id": "=1+1", "metadata": {"x": "y,z"}})
    job = await finished(business, await export_events(business.ctx, EventQuery(), ExportFormat.CSV))
    header, row = csv.reader(io.StringIO((await file_of(business, job)).decode("utf-8-sig")))
    found = dict(zip(header, row, strict=True))
    assert (found["passExternalId"], found["points"], found["externalId"], found["metadata"]) == (
        "ann",
        "-2",
        "'=1+1",
        '{"x":"y,z"}',
    )


async def test_activities_are_exported_up_to_a_cursor_from_which_the_next_export_goes_on(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V2-01 and checklist 2, row 10: one log, many doors, one cursor."""
    monkeypatch.setattr(stage, "POSITIONS_PER_QUERY", 3)
    monkeypatch.setattr(stage, "EXPORT_BATCH_SIZE", 2)
    await business.segment("regulars", purchases(2), notify="EMIT")
    await business.record(*({"external_id": str(number)} for number in range(3)))
    await business.settle()
    whole = await business.feed()
    job = await finished(business, await export_activities(business.ctx, ActivityQuery(), ExportFormat.JSONL))
    lines = await lines_of(business, job)
    assert [line["id"] for line in lines] == [activity.id for activity in whole]
    assert lines[-1].keys() == {"id", "type", "created_at", "data", "passId", "passExternalId", "cursor"}
    await business.record({"external_id": "more"})
    await business.settle()
    after = activity_position(str(job.result["cursor"]))
    job = await finished(business, await export_activities(business.ctx, ActivityQuery(), ExportFormat.JSONL, after))
    more = await lines_of(business, job)
    assert [line["id"] for line in more] == [activity.id for activity in (await business.feed())[len(whole) :]]
    entered = ActivityQuery(types=("customer.segment.entered",))
    job = await finished(business, await export_activities(business.ctx, entered, ExportFormat.JSONL))
    assert [line["data"]["member"] for line in await lines_of(business, job)] == [True]


async def test_no_file_keeps_what_is_known_of_an_erased_pass(business: Business) -> None:
    """WH1-22: exports go whole and can be made again, reports lose the rows that name the pass."""
    await business.record(sale(1), {"pass_external_id": "ann the first"})
    job = await finished(business, await export_events(business.ctx, EventQuery(), ExportFormat.JSONL))
    rows = "customer_id,date,amount\nann the first,never,1\nbob,never,2\ncat,2025-01-01,1\ncat,2025-01-02,1\n"
    imported = await finished(business, await import_events(business.ctx, File(rows)))
    assert imported.tally.failed == 2
    await erase_pass(business.ctx, external_id="ann the first")
    with pytest.raises(LookupError):
        await file_of(business, job)
    [lines] = [part async for part in business.ctx.workspace.jobs.report(imported.id)]
    assert [line[-1] for line in lines] == ["", "bob,never,2"]
    assert "ann the first" not in str(await business.ctx.resources.db["job_files"].find({}).to_list(None))


async def test_what_is_cancelled_or_holds_nothing_leaves_no_lines(business: Business) -> None:
    assert await exported(business) == []
    await business.record(sale(1))
    job = await export_events(business.ctx, EventQuery(), ExportFormat.JSONL)
    await cancel_job(business.ctx, job.id)
    done = await finished(business, job)
    assert (done.status, done.file) == (JobStatus.CANCELLED, None)
    assert await business.ctx.resources.db["job_files"].count_documents({"job": job.id}) == 0
