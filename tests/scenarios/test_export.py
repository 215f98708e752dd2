"""What is exported can be imported again: into an empty workspace with equal aggregates, into its own with nothing new."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.commands.jobs.exports import export_events
from app.commands.jobs.imports import import_events
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import remove_events
from app.domain.events.events import EventQuery
from app.domain.files.exports import ExportFormat
from app.domain.files.imports import ImportFormat
from app.domain.jobs import JobStatus
from app.domain.passes.passes import Pass
from app.store.stages.job_leases import JobLeases
from tests.business import Business, another_business
from tests.workers.jobs.test_exports import file_of
from tests.workers.jobs.test_imports import File, Killed, counts, finished, report
from workers.stages.run_job import jobs

START = datetime(2025, 3, 1, tzinfo=UTC)


async def written(business: Business) -> bytes:
    """The events of a workspace, as a file."""
    job = await finished(business, await export_events(business.ctx, EventQuery(), ExportFormat.JSONL))
    return await file_of(business, job)


async def a_year(business: Business) -> None:
    """Something of every kind: sources, currencies, points with ends, fields, corrections, events without an id."""
    outcome = await business.record(
        {"amount": "500.00", "external_id": "o-1", "source": "pos", "occurred_at": START, "points": 50, "label": "Shoes"},
        {"amount": "12.345678", "currency": "EUR", "occurred_at": START + timedelta(days=2)},
        {"type": "visit", "pass_external_id": "bob", "occurred_at": START + timedelta(days=3), "metadata": {"x": [1.5]}},
        {"type": "Purchase", "amount": 1, "external_id": "own type"},
        {"type": "custom", "points": "-3", "external_id": "p", "occurred_at": START + timedelta(days=4)},
        {
            "type": "custom", "points": 9, "external_id": "q", "occurred_at": START + timedelta(days=5),
            "points_expire_after_days": 4_0,
        },
        {"type": "custom", "points": 7, "external_id": "r", "points_expire_at": START + timedelta(days=900)},
        {"type": "field_updated", "field_name": "fields.tier", "new_value": "gold", "external_id": "f"},
    )  # fmt: skip
    assert outcome.failed == 0, outcome
    sale, second = (outcome.results[place].event for place in (0, 1))
    assert sale is not None
    assert second is not None
    outcome = await business.record(
        {
            "type": "refund",
            "correction_of": sale.id,
            "external_id": "o-1-back",
            "occurred_at": START + timedelta(days=9),
        },
        {"type": "refund", "amount": 2, "correction_of": second.id, "occurred_at": START + timedelta(days=9)},
    )
    assert outcome.failed == 0, outcome
    await business.settle()


async def test_what_is_exported_and_imported_into_an_empty_workspace_gives_equal_aggregates(business: Business) -> None:
    """A1-24, A1-18 and the issue's judged line: corrections, points and events without an id included."""
    await a_year(business)
    data = await written(business)
    assert len(data.splitlines()) == 10
    other = await another_business(business.ctx.resources, business.clock, "Second")
    for expected in ((10, 0, 0), (0, 10, 0)):
        job = await import_events(other.ctx, File(data, "events.jsonl"), kind=ImportFormat.JSONL)
        job = await finished(other, job)
        assert (job.status, counts(job)) == (JobStatus.SUCCEEDED, expected), await report(other, job)
        await other.settle()
    for name in ("ann", "bob"):
        assert _derived(await other.card(name)) == _derived(await business.card(name))
    assert (await other.card("ann")).aggregates["purchase", "USD"].sum == Decimal("500.00")
    # Ids are given anew, and with them the order within an instant.
    assert sorted(map(_same, (await written(other)).splitlines())) == sorted(map(_same, data.splitlines()))


async def test_a_merged_pass_is_exported_under_the_name_of_the_one_that_answers_for_it(business: Business) -> None:
    await business.record(
        {"external_id": "1", "amount": 5}, {"external_id": "2", "amount": 7, "pass_external_id": "anna"}
    )
    await business.settle()
    await merge_passes(business.ctx, (await business.card("ann")).id, (await business.card("anna")).id)
    await business.settle()
    data = await written(business)
    assert [json.loads(line)["passExternalId"] for line in data.splitlines()] == ["ann", "ann"]
    other = await another_business(business.ctx.resources, business.clock, "Second")
    await finished(other, await import_events(other.ctx, File(data, "events.jsonl"), kind=ImportFormat.JSONL))
    await other.settle()
    assert _derived(await other.card("ann")) == _derived(await business.card("ann"))


async def test_what_is_imported_where_it_comes_from_is_there_already(business: Business) -> None:
    await a_year(business)
    data = await written(business)
    job = await finished(business, await import_events(business.ctx, File(data, "mine.jsonl"), kind=ImportFormat.JSONL))
    assert (job.status, counts(job)) == (JobStatus.SUCCEEDED, (0, 10, 0))


async def test_what_was_removed_is_not_brought_back_by_an_import_and_what_was_lost_is_counted_once(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1-09: who imports an old export of a workspace brings back what it lost, and nothing that it removed."""
    outcome = await business.record(*({"external_id": name, "amount": 1} for name in ("a", "b", "c")))
    first, _, third = (result.event for result in outcome.results)
    data = await written(business)
    assert first is not None
    assert third is not None
    await remove_events(business.ctx, [(first.pass_id, first.id)])
    await business.settle()
    await business.ctx.resources.db["events"].delete_one({"_id": third.id})
    job = await import_events(business.ctx, File(data, "old.jsonl"), kind=ImportFormat.JSONL)
    commit = JobLeases.commit

    async def dying(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(JobLeases, "commit", dying)
    with pytest.raises(Killed):
        await jobs(business.worker, job.id)
    monkeypatch.setattr(JobLeases, "commit", commit)
    await business.ctx.resources.db["jobs"].update_many({"open": 1}, {"$set": {"lease": 0}})
    job = await finished(business, job)
    assert counts(job) == (1, 1, 1)
    assert [line[1:3] for line in await report(business, job)] == [["EVENT_REMOVED", "id"]]


def _derived(card: Pass) -> object:
    lots = (
        None
        if card.lots is None
        else sorted((lot.remaining, lot.granted_ms, lot.end.ms(0)) for lot in card.lots.values())
    )
    return card.aggregates, card.points, card.profile.fields, lots


def _same(line: bytes) -> str:
    """A line without what the second workspace gives anew."""
    new = ("id", "recordedAt", "correctionOf")
    return json.dumps({name: value for name, value in json.loads(line).items() if name not in new}, sort_keys=True)
