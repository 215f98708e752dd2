"""What a worker does at its start with the data of version 0.1.0: new versions of segments, and marks of hours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from app.config.settings import Settings
from app.domain.segments.criteria import EventCriterion, iter_leaves
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import DefinitionKind
from app.domain.segments.workspace_versions import WORKSPACE_SETTINGS, WorkspaceVersion
from app.resources import Resources, open_resources
from app.store.operations.upgrades import Upgrades
from tests.business import Business, purchases
from workers.definitions import DefinitionCache
from workers.main import run as run_worker

OLD = {
    "any": [
        {"event": {"value": 1, "types": ["visit"], "metadata": [{"path": "v", "operator": "GT", "value": 9}]}},
        {"pass": {"field": "fields.w", "operator": "GT", "value": "72.5"}},
    ]
}
"""Criteria as version 0.1.0 stored them: texts that hold numbers compared as numbers, and 72.5 was stored as text."""


async def store_as_before(business: Business, key: str, criteria: dict[str, Any]) -> str:
    """Create a segment, and store its definition and the measures of all passes in the form of version 0.1.0."""
    segment = await business.create_segment(key, purchases(99))
    db = business.ctx.resources.db
    stored = parse_criteria(criteria, "EUR", stored_meaning=1)
    keep = {"criteria": stored.to_dict()}
    await db["definitions"].update_one({"segment": segment.id}, {"$set": keep, "$unset": {"meaning": "", "digest": ""}})
    keys = [leaf.measure.key for leaf in iter_leaves(stored) if isinstance(leaf, EventCriterion)]
    membership = {"s": segment.id, "since": 0, "rev": segment.revision, "c": {}}
    await db["passes"].update_many(
        {}, {"$set": {"state": {each: {"t": 1} for each in keys}, "memberships": [membership], "rev": segment.revision}}
    )
    business.worker.definitions = DefinitionCache(business.worker.fold_queries)
    return segment.id


async def test_segment_that_means_something_else_is_evaluated_again(business: Business) -> None:
    ctx = business.ctx
    await business.record(
        {"type": "visit", "metadata": {"v": "10"}},
        {"type": "visit", "metadata": {"v": 10}, "pass_external_id": "bob"},
        {"type": "visit", "pass_external_id": "eve"},
    )
    await business.run_worker()
    await ctx.resources.db["passes"].update_one({"external_id": "eve"}, {"$set": {"profile.fields.w": 72.75}})
    segment_id = await store_as_before(business, "old", OLD)
    now = await business.clock.now()
    assert await Upgrades(ctx.resources.db, 100).restate_segments(now) == 1
    assert await Upgrades(ctx.resources.db, 100).restate_segments(now) == 0
    await business.run_worker()
    segment = await ctx.workspace.segments.get(segment_id)
    assert segment is not None
    assert await business.read_members(segment) == ["bob", "eve"], "texts are not numbers any more"
    left = (await business.read_log(segment_ids=[segment_id], include_silent=True))[-1]
    assert (left.cause["kind"], left.silent, left.type) == ("DEFINITION_CHANGED", True, "customer.segment.left")
    assert segment.version == 2
    assert segment.criteria.to_dict()["any"][1]["pass"]["value"] == 72.5  # type: ignore[index]


async def test_settings_of_workspaces_get_the_time_zone_data_of_the_process(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Definitions on local time are evaluated again, and no one sees what that changes."""
    ctx = business.ctx
    await business.record({}, {})
    segment = await business.create_segment("monthly", purchases(2, calendar={"unit": "MONTH"}))
    upgrades, now = Upgrades(ctx.resources.db, 100), await business.clock.now()
    monkeypatch.setattr("app.store.operations.upgrades.TZDATA_VERSION", "2099.1")
    assert await upgrades.renew_time_zones(now) >= 1
    assert await upgrades.renew_time_zones(now) == 0
    await business.run_worker()
    settings = await ctx.workspace.definitions.latest(DefinitionKind.WORKSPACE, WORKSPACE_SETTINGS)
    assert isinstance(settings, WorkspaceVersion)
    assert (settings.version, settings.tzdata, settings.is_silent) == (2, "2099.1", True)
    assert await business.read_members(segment) == ["ann"]
    assert (await business.read_pass()).revision == settings.revision


async def test_segment_without_conditions_keeps_its_version(business: Business) -> None:
    await business.record({"amount": 1})
    segment_id = await store_as_before(business, "plain", purchases(1))
    assert await Upgrades(business.ctx.resources.db, 100).restate_segments(await business.clock.now()) == 0
    segment = await business.ctx.workspace.segments.get(segment_id)
    assert segment is not None
    assert segment.version == 1


@pytest.mark.parametrize("is_embedded", [False, True])
async def test_only_on_an_embedded_store_does_a_worker_mark_the_hours_of_an_upgrade(
    business: Business, monkeypatch: pytest.MonkeyPatch, is_embedded: bool
) -> None:
    """Elsewhere, processes of the earlier version may still write. `punchcard migrate` is run after they have ended."""
    resources, workspace, stopping = business.ctx.resources, business.ctx.workspace, asyncio.Event()
    await resources.db["workspaces"].update_one({"_id": workspace.id}, {"$unset": {"marked": ""}})

    @asynccontextmanager
    async def open_as(settings: Settings) -> AsyncIterator[Resources]:
        async with open_resources(settings) as opened:
            yield replace(opened, is_embedded=is_embedded)

    monkeypatch.setattr("workers.main.open_resources", open_as)
    worker = asyncio.create_task(run_worker(resources.settings, stopping))
    while not await resources.db["heartbeats"].count_documents({}) and not worker.done():
        await asyncio.sleep(0.01)
    stopping.set()
    await worker
    assert await workspace.rollup_heads.are_complete() is is_embedded


async def test_marks_of_schema_version_4_are_found_after_the_upgrade(resources: Resources) -> None:
    """That version found heads by their marks."""
    heads, upgrades = resources.db["rollup_heads"], Upgrades(resources.db, 100)
    marked, clean = {"_id": "marked", "dirty": 7}, {"_id": "clean", "sealed": 7}
    assert not await upgrades.lacks_flags(), "there are no heads"
    await heads.insert_many([marked, clean])
    assert await upgrades.lacks_flags()
    await upgrades.flag_dirty_heads()
    assert await heads.find().sort("_id", 1).to_list(None) == [clean, {**marked, "is_dirty": 1}]
    assert not await upgrades.lacks_flags()
