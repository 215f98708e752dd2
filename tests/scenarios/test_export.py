"""An export can be imported: an empty workspace gets equal aggregates, and the exporting workspace gets nothing new."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.commands.jobs.exports import export_events
from app.commands.jobs.imports import import_events
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import delete_events, remove_events
from app.commands.rules.rules import create_rule
from app.domain.events.event_queries import EventQuery
from app.domain.files.exports import ExportFormat
from app.domain.files.imports import ImportFormat
from app.domain.jobs import JobStatus
from app.domain.passes.passes import Pass
from app.store.stages.job_leases import JobLeases
from tests.business import Business, create_business
from tests.commands.rewards.shop import create as create_reward
from tests.commands.rewards.shop import give_points, redeem, roll_back
from tests.crashes import Crash
from tests.workers.jobs.test_exports import read_file
from tests.workers.jobs.test_imports import File, read_report, row_counts, run_to_end
from workers.stages.run_job import jobs

START = datetime(2025, 3, 1, tzinfo=UTC)


async def export_all(business: Business) -> bytes:
    """Export all events of a workspace and return the file."""
    job = await run_to_end(business, await export_events(business.ctx, EventQuery(), ExportFormat.JSONL))
    return await read_file(business, job)


async def record_a_year(business: Business) -> None:
    """Record events of every kind, with points that expire, corrections, and events without an external id."""
    outcome = await business.record(
        {
            "amount": "500.00", "external_id": "o-1", "source": "pos", "occurred_at": START, "points": 50,
            "label": "Shoes",
        },
        {"amount": "12.345678", "currency": "EUR", "occurred_at": START + timedelta(days=2)},
        {
            "type": "visit", "pass_external_id": "bob", "occurred_at": START + timedelta(days=3),
            "metadata": {"x": [1.5]},
        },
        {"type": "Purchase", "amount": 1, "external_id": "own type"},
        {"type": "custom", "points": "-3", "external_id": "p", "occurred_at": START + timedelta(days=4)},
        {
            "type": "custom", "points": 9, "external_id": "q", "occurred_at": START + timedelta(days=5),
            "points_expire_after_days": 40,
        },
        {"type": "custom", "points": 7, "external_id": "r", "points_expire_at": START + timedelta(days=900)},
        {"type": "field_updated", "field_name": "fields.tier", "new_value": "gold", "external_id": "f"},
    )  # fmt: skip
    assert outcome.failed == 0, outcome
    sale, second = (outcome.results[index].event for index in (0, 1))
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
    await business.run_worker()


async def test_exported_file_gives_equal_aggregates_in_an_empty_workspace(business: Business) -> None:
    """A1-24, A1-18: the file contains corrections, points, and events without an external id."""
    await record_a_year(business)
    data = await export_all(business)
    assert len(data.splitlines()) == 10
    other = await create_business(business.ctx.resources, business.clock, "Second")
    for expected in ((10, 0, 0), (0, 10, 0)):
        job = await import_events(other.ctx, File(data, "events.jsonl"), kind=ImportFormat.JSONL)
        job = await run_to_end(other, job)
        assert (job.status, row_counts(job)) == (JobStatus.SUCCEEDED, expected), await read_report(other, job)
        await other.run_worker()
    for name in ("ann", "bob"):
        assert _derived_values(await other.read_pass(name)) == _derived_values(await business.read_pass(name))
    assert (await other.read_pass("ann")).aggregates["purchase", "USD"].sum == Decimal("500.00")
    # The import assigns new ids, and with them a new order within one instant.
    assert sorted(map(_comparable, (await export_all(other)).splitlines())) == sorted(
        map(_comparable, data.splitlines())
    )


async def test_exported_redemptions_and_rollbacks_give_equal_points_in_an_empty_workspace(business: Business) -> None:
    await create_reward(business)
    await give_points(business, 250, "ann")
    kept, rolled = await redeem(business, external_id="till 1"), await redeem(business)
    await roll_back(business, rolled.id)
    failed = await redeem(business, quantity=9)
    assert [kept.status.value, failed.status.value] == ["SUCCEEDED", "FAILED"]
    data = await export_all(business)
    other = await create_business(business.ctx.resources, business.clock, "Second")
    await run_to_end(other, await import_events(other.ctx, File(data, "events.jsonl"), kind=ImportFormat.JSONL))
    await other.run_worker()
    assert (await other.read_pass()).points == (await business.read_pass()).points == 150
    again = await import_events(business.ctx, File(data, "events.jsonl"), kind=ImportFormat.JSONL)
    again = await run_to_end(business, again)
    await business.run_worker()
    assert row_counts(again) == (0, 5, 0), await read_report(business, again)
    assert (await business.read_pass()).points == 150


async def test_events_of_a_merged_pass_are_exported_under_the_survivor(business: Business) -> None:
    await business.record(
        {"external_id": "1", "amount": 5}, {"external_id": "2", "amount": 7, "pass_external_id": "anna"}
    )
    await business.run_worker()
    await merge_passes(business.ctx, (await business.read_pass("ann")).id, (await business.read_pass("anna")).id)
    await business.run_worker()
    data = await export_all(business)
    assert [json.loads(line)["passExternalId"] for line in data.splitlines()] == ["ann", "ann"]
    other = await create_business(business.ctx.resources, business.clock, "Second")
    await run_to_end(other, await import_events(other.ctx, File(data, "events.jsonl"), kind=ImportFormat.JSONL))
    await other.run_worker()
    assert _derived_values(await other.read_pass("ann")) == _derived_values(await business.read_pass("ann"))


async def test_import_into_the_exporting_workspace_finds_only_duplicates(business: Business) -> None:
    await record_a_year(business)
    data = await export_all(business)
    job = await run_to_end(
        business, await import_events(business.ctx, File(data, "mine.jsonl"), kind=ImportFormat.JSONL)
    )
    assert (job.status, row_counts(job)) == (JobStatus.SUCCEEDED, (0, 10, 0))


async def test_import_of_an_old_export_restores_lost_events_but_not_removed_ones(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1-09. The restored event counts once, although the first worker crashes."""
    outcome = await business.record(*({"external_id": name, "amount": 1} for name in ("a", "b", "c")))
    first, _, third = (result.event for result in outcome.results)
    data = await export_all(business)
    assert first is not None
    assert third is not None
    await remove_events(business.ctx, [(first.pass_id, first.id)])
    await business.run_worker()
    await business.ctx.resources.db["events"].delete_one({"_id": third.id})
    job = await import_events(business.ctx, File(data, "old.jsonl"), kind=ImportFormat.JSONL)
    commit = JobLeases.commit

    async def crash(*_: object) -> None:
        raise Crash

    monkeypatch.setattr(JobLeases, "commit", crash)
    with pytest.raises(Crash):
        await jobs(business.worker, job.id)
    monkeypatch.setattr(JobLeases, "commit", commit)
    await business.ctx.resources.db["jobs"].update_many({"open": 1}, {"$set": {"lease": 0}})
    job = await run_to_end(business, job)
    assert row_counts(job) == (1, 1, 1)
    assert [line[1:3] for line in await read_report(business, job)] == [["EVENT_REMOVED", "id"]]


def _derived_values(card: Pass) -> object:
    lots = (
        None
        if card.lots is None
        else sorted((lot.remaining, lot.granted_ms, lot.expiry.expires_ms(0)) for lot in card.lots.values())
    )
    return card.aggregates, card.points, card.profile.fields, lots


def _comparable(line: bytes) -> str:
    """Return the line without the values that the second workspace assigns anew."""
    assigned = ("id", "recordedAt", "correctionOf")
    return json.dumps({name: value for name, value in json.loads(line).items() if name not in assigned}, sort_keys=True)


@pytest.mark.parametrize("form", list(ExportFormat))
async def test_events_of_rules_stay_out_of_imports_and_deletions(business: Business, form: ExportFormat) -> None:
    """Another workspace has its own rules; and what a rule made follows its cause. Both jobs say how many they left."""
    effects = [{"awardPoints": {"points": 5}}, {"recordEvent": {"type": "gift"}}]
    trigger = {"event": {"types": ["purchase"]}}
    await create_rule(business.ctx, {"key": "five", "name": "Five", "trigger": trigger, "effects": effects})
    business.clock.set(await business.clock.now() + timedelta(seconds=1))
    await business.record(*({"external_id": str(number), "amount": 1} for number in range(3)))
    await business.run_worker()
    query = EventQuery(types=("purchase", "point_add", "gift"))
    data = await read_file(business, await run_to_end(business, await export_events(business.ctx, query, form)))
    other = await create_business(business.ctx.resources, business.clock, "Second")
    file = File(data, f"events.{form.value.lower()}")
    job = await run_to_end(other, await import_events(other.ctx, file, kind=ImportFormat(form.value)))
    assert (job.status, row_counts(job), job.result["leftOut"]) == (JobStatus.SUCCEEDED, (3, 0, 0), 6)
    assert (job.tally.done, job.total) == (9, 9)
    deletion, _ = await delete_events(business.ctx, EventQuery(types=("purchase", "gift")))
    assert deletion is not None
    result = (await run_to_end(business, deletion)).result
    assert (result["deleted"], result["leftOut"]) == (3, 3)
