"""Truncation of the log's front: readers are told, nothing that is still needed goes, and the rest stays as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result

from app.cli.main import main
from app.commands.jobs.exports import export_activities
from app.commands.webhooks.endpoints import create_webhook_endpoint, update_webhook_endpoint
from app.domain.activity_queries import ActivityQuery
from app.domain.errors import Unavailable
from app.domain.files.exports import ExportFormat
from app.domain.jobs import JobKind
from app.domain.values.cursors import activity_cursor
from app.domain.webhooks.endpoints import EndpointStatus
from app.feed.tailer import Feed, FeedEntries, FeedExpired
from app.graphql.types.ids import to_global_id
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from app.store.operations import truncation
from app.store.operations.truncation import TruncationPlan, TruncationQueries
from tests.business import Business, purchases
from tests.graphql.serving import run_api
from tests.receiver import Receiver, run_receiver
from tests.store.operations.test_consistency import find_all
from workers.main import STAGES
from workers.stages.deliver import run_endpoint
from workers.stages.retain import retain
from workers.sweep import Sweep
from workers.worker import Worker

LIST = "query ($after: String) { activity(after: $after, first: 100) { nodes { sequence } } }"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Run a local receiver of webhooks."""
    async with run_receiver() as receiver:
        yield receiver


@pytest.fixture
async def shop(business: Business) -> Business:
    """Return a business with ten activities, one each day; it may send webhooks to this machine."""
    settings = replace(business.ctx.resources.settings, egress_allow=("127.0.0.1",))
    resources = replace(business.ctx.resources, settings=settings)
    shop = replace(business, ctx=replace(business.ctx, resources=resources), worker=Worker.on(resources))
    await shop.create_passes("ann")
    for day in range(9):
        await shop.run_worker()
        shop.clock.set(datetime(2026, 1, 2 + day, tzinfo=UTC))
        await shop.record({"external_id": str(day), "amount": 1})
    await shop.run_worker()
    return shop


def queries_of(business: Business) -> TruncationQueries:
    return TruncationQueries(business.ctx.resources.db, 100)


async def truncate(business: Business, upto: int) -> TruncationPlan:
    """Truncate as far as possible up to a position, and return the plan."""
    queries, workspace_id = queries_of(business), business.ctx.workspace.id
    plan = await queries.plan(workspace_id, upto=upto)
    await queries.move_front(workspace_id, plan)
    await queries.delete_before_front(workspace_id)
    business.ctx.resources.cache._histories.clear()
    return plan


async def positions(business: Business) -> list[int]:
    return [activity.position for activity in await business.read_log()]


async def test_age_removes_what_was_recorded_before(shop: Business) -> None:
    """The first two activities are of 1 and 2 January, and so on to the tenth."""
    queries, workspace_id = queries_of(shop), shop.ctx.workspace.id
    for day in (1, 2, 5, 10):
        plan = await queries.plan(workspace_id, before=datetime(2026, 1, day, tzinfo=UTC))
        assert (plan.cut, plan.last) == (day - 1, 10)
    plan = await queries.plan(workspace_id, before=datetime(2027, 1, 1, tzinfo=UTC))
    assert plan.cut == 9, "the last activity stays: the next position follows from it"


async def test_readers_before_the_front_are_told_and_the_rest_goes_on(shop: Business) -> None:
    segment = await shop.create_segment("buyers", purchases(1))
    before = await shop.read_pass("ann")
    await truncate(shop, 4)
    await shop.record({"external_id": "later", "amount": 1})
    await shop.run_worker()
    log = await shop.read_log(include_silent=True)
    assert [activity.position for activity in log] == list(range(5, log[-1].position + 1))
    assert await shop.read_members(segment) == ["ann"]
    after = await shop.read_pass("ann")
    assert after.aggregates["purchase", "USD"].count == before.aggregates["purchase", "USD"].count + 1
    assert await find_all(shop) == [], "punchcard check accepts the front"
    async with run_api(shop) as api:
        assert (await api.fetch_data(LIST))["activity"]["nodes"][0] == {"sequence": 5}
        assert (await api.fetch_data(LIST, after=activity_cursor(4)))["activity"]["nodes"][0] == {"sequence": 5}
        response = await api.post(json.dumps({"query": LIST, "variables": {"after": activity_cursor(3)}}))
        [error] = response.json()["errors"]
        assert error["extensions"]["problems"][0]["code"] == "CURSOR_EXPIRED"
        assert error["extensions"]["oldestCursor"] == activity_cursor(4)
        async with api.open_socket() as socket:
            query = (
                "subscription ($after: String) { activity(after: $after) { ... on CursorExpired { oldestCursor } } }"
            )
            await socket.subscribe(query, after=activity_cursor(3))
            assert await socket.receive_data() == {"activity": {"oldestCursor": activity_cursor(4)}}


async def test_follower_that_is_overtaken_by_a_truncation_is_told(shop: Business) -> None:
    feed = Feed(shop.ctx.resources.bus, tick_seconds=0.01, max_buffered=1)
    with patch("app.feed.tailer.REPLAY_BATCH_SIZE", 2), patch("app.feed.tailer.MIN_BUFFERED_ENTRIES", 1):
        messages = feed.follow(shop.ctx.workspace, 0, lambda _: True, 10.0)
        assert await anext(messages) == FeedEntries(0)
        assert (await anext(messages)).pos == 2
        await truncate(shop, 3)
        assert await anext(messages) == FeedExpired(3)
        with pytest.raises(StopAsyncIteration):
            await anext(messages)


async def test_enabled_endpoint_keeps_what_it_has_not_delivered(shop: Business, receiver: Receiver) -> None:
    endpoint, _ = await create_webhook_endpoint(shop.ctx, receiver.url, after=2)
    plan = await truncate(shop, 8)
    assert plan.cut == 2
    assert plan.holder == f"the webhook endpoint {endpoint.id}, which has not delivered them"
    assert await positions(shop) == list(range(3, 11))
    await run_endpoint(shop.worker, endpoint.id)
    assert len(receiver.ids) == 8
    assert (await truncate(shop, 8)).cut == 8


async def test_endpoint_keeps_a_message_that_it_retries(shop: Business, receiver: Receiver) -> None:
    endpoint, _ = await create_webhook_endpoint(shop.ctx, receiver.url, after=0)
    await run_endpoint(shop.worker, endpoint.id)
    deliveries = shop.ctx.resources.db["webhook_deliveries"]
    await deliveries.update_one({"pos": 6}, {"$set": {"status": "PENDING", "due": 0}})
    plan = await truncate(shop, 8)
    assert (plan.cut, plan.holder) == (5, f"the webhook endpoint {endpoint.id}, which retries them")


async def test_disabled_endpoint_continues_at_the_front_when_it_is_enabled(shop: Business, receiver: Receiver) -> None:
    endpoint, _ = await create_webhook_endpoint(shop.ctx, receiver.url, after=0)
    await update_webhook_endpoint(shop.ctx, endpoint.id, status=EndpointStatus.DISABLED)
    await run_endpoint(shop.worker, endpoint.id)
    assert (await truncate(shop, 7)).cut == 7
    await update_webhook_endpoint(shop.ctx, endpoint.id, status=EndpointStatus.ENABLED)
    await run_endpoint(shop.worker, endpoint.id)
    assert [got.payload["sequence"] for got in receiver.accepted] == [8, 9, 10]


async def test_running_export_keeps_what_it_has_not_read(shop: Business) -> None:
    job = await export_activities(shop.ctx, ActivityQuery(), ExportFormat.JSONL, 3)
    plan = await truncate(shop, 8)
    assert (plan.cut, plan.holder) == (3, f"the job {job.id}, which has not read them")


async def test_open_jobs_that_read_no_activities_keep_nothing(shop: Business, resources: Resources) -> None:
    """Their positions have other forms than those of an export: a number of bytes, or a document without `at`."""
    jobs: dict[JobKind, object] = {JobKind.IMPORT: 29, JobKind.DELETE_EVENTS: {"hand": [], "words": [], "over": False}}
    jobs[JobKind.REPLAY_WEBHOOKS] = {"at": None}
    for number, (kind, position) in enumerate(jobs.items()):
        job = {"_id": f"job_{number}", "workspace": shop.ctx.workspace.id, "kind": kind, "open": 1}
        await resources.db["jobs"].insert_one({**job, "position": position})
    plan = await truncate(shop, 8)
    assert (plan.cut, plan.holder) == (8, None)


async def test_activity_that_is_still_in_an_outbox_stays_and_is_not_appended_again(shop: Business) -> None:
    async def lose_reply(*_: object, **__: object) -> None:
        raise Unavailable("store")

    await shop.record({"external_id": "last", "amount": 1}, {"pass_external_id": "bob", "amount": 1})
    with patch.object(shop.worker.publish_queries, "published", lose_reply), pytest.raises(Unavailable):
        await shop.run_worker()
    end = (await positions(shop))[-1]
    plan = await truncate(shop, end)
    assert plan.cut == 10
    assert plan.holder == "passes whose activities are being published"
    await shop.run_worker()
    assert await positions(shop) == list(range(11, end + 1))
    with patch("app.store.operations.truncation.MAX_UNPUBLISHED", 0):
        await shop.record({"external_id": "more", "amount": 1})
        await Sweep(shop.worker, STAGES).fold()
        assert (await queries_of(shop).plan(shop.ctx.workspace.id, upto=end)).cut == 10


async def test_truncation_that_crashed_is_completed_by_the_next_one(
    shop: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truncation, "DELETED_AT_ONCE", 2)
    queries, workspace_id = queries_of(shop), shop.ctx.workspace.id
    await queries.move_front(workspace_id, await queries.plan(workspace_id, upto=7))
    assert (await shop.ctx.workspace.read_log_history()).front == 7, "the front is stored before the first deletion"
    assert await queries.delete_before_front(workspace_id, max_parts=1) == 2
    assert await positions(shop) == list(range(3, 11))
    async with run_api(shop) as api:
        page = (await api.fetch_data("{ activity(first: 1) { nodes { sequence } pageInfo { hasPreviousPage } } }"))[
            "activity"
        ]
        assert page == {"nodes": [{"sequence": 8}], "pageInfo": {"hasPreviousPage": False}}, (
            "a list begins at the front"
        )
        page = (await api.fetch_data("{ activity(last: 9) { nodes { sequence } pageInfo { hasPreviousPage } } }"))[
            "activity"
        ]
        assert page == {"nodes": [{"sequence": n} for n in (8, 9, 10)], "pageInfo": {"hasPreviousPage": False}}
    assert await queries.delete_before_front(workspace_id) == 5
    assert await positions(shop) == [8, 9, 10]
    assert await queries.delete_before_front(workspace_id) == 0


async def test_each_write_of_a_truncation_deletes_few_activities_on_the_embedded_server(
    shop: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, the deletion of 1,000 activities takes up to 10 seconds, and a call may take 20."""
    in_chunk, deleted = 3, list[int]()
    queries, workspace_id = TruncationQueries(shop.ctx.resources.db, in_chunk), shop.ctx.workspace.id
    collection_class = type(shop.ctx.resources.db["activities"])
    delete_many = collection_class.delete_many

    async def observe(collection: Any, where: Any) -> Any:
        found = await delete_many(collection, where)
        deleted.append(found.deleted_count)
        return found

    monkeypatch.setattr(collection_class, "delete_many", observe)
    await queries.move_front(workspace_id, await queries.plan(workspace_id, upto=8))
    assert await queries.delete_before_front(workspace_id, max_parts=1) == 8
    assert deleted == [3, 3, 2]


async def test_worker_removes_what_the_settings_keep_no_longer(shop: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands at 10 January. Jobs and audit entries have system time."""
    monkeypatch.setattr(truncation, "DELETED_AT_ONCE", 1)
    monkeypatch.setattr("workers.stages.retain.MAX_PARTS", 2)
    db, workspace_id = shop.ctx.resources.db, shop.ctx.workspace.id
    now, days = datetime.now(UTC), timedelta(days=1)
    for name, age in (("old", 9), ("new", 3)):
        job = {"_id": f"job_{name}", "workspace": workspace_id, "created_at": now - age * days}
        await db["jobs"].insert_one({**job, "finished_at": now - age * days})
        await db["audit"].insert_one({"_id": f"audit_{name}", "workspace": workspace_id, "at": now - age * days})
    await db["jobs"].insert_one(
        {"_id": "job_open", "workspace": workspace_id, "created_at": now - 9 * days, "open": 1, "kind": "IMPORT"}
    )
    await retain(shop.worker, workspace_id)
    assert await positions(shop) == list(range(1, 11)), "nothing is removed unless the settings say so"
    kept = ("activities=5", "jobs=5", "audit=5")
    settings = replace(shop.ctx.resources.settings, retention_days=kept)
    shop.worker.resources = replace(shop.worker.resources, settings=settings)
    for first in (1, 3, 5, 5):
        await retain(shop.worker, workspace_id)
        assert (await positions(shop))[0] == first, (
            "each round removes a bounded part up to the front of the round before"
        )
    expiring = [doc["_id"] async for doc in db["jobs"].find({"expires_at": {"$lt": now}})]
    assert expiring == ["job_old"]
    old_entries = db["audit"].find({"workspace": workspace_id, "at": {"$lt": now - days}})
    assert [doc["_id"] async for doc in old_entries] == ["audit_new"]


async def test_sweep_retains_once_a_minute_in_every_workspace(shop: Business) -> None:
    seen: list[str] = []

    async def run(_: Worker, key: str) -> None:
        seen.append(key)

    sweep = Sweep(shop.worker, {**STAGES, "retain": run})
    await sweep.retain()
    assert seen == [], "without the setting, the sweep does not even list the workspaces"
    settings = replace(shop.ctx.resources.settings, retention_days=("activities=5",))
    shop.worker.resources = replace(shop.worker.resources, settings=settings)
    for _ in range(3):
        await sweep.retain()
    assert seen == [shop.ctx.workspace.id]


async def test_command_says_what_it_would_remove_and_removes_it_with_yes(
    shop: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, workspace_id = shop.ctx.resources.settings, shop.ctx.workspace.id
    environment = {**settings.to_env(), "PUNCHCARD_DATABASE": settings.database, "PUNCHCARD_CLOCK": "system"}
    monkeypatch.setattr("app.cli.truncate.READERS_WAIT_SECONDS", 0)

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(lambda: CliRunner().invoke(main, ["truncate", *arguments], env=environment))

    asked = await run("--workspace", workspace_id, "--up-to", "4")
    assert asked.stdout == f"{workspace_id}  4 of 10 activities would be removed, up to sequence 4.\n"
    assert asked.stderr == "Nothing was removed. Add --yes to remove these activities.\n"
    assert await positions(shop) == list(range(1, 11))
    assert (await run("--older-than", "9999")).stderr == "Nothing was removed.\n"
    assert {entry.action for entry in (await shop.ctx.workspace.audit.page(PageRequest(9))).items} == {"createPasses"}
    done = await run("--workspace", workspace_id, "--up-to", "4", "--yes")
    assert done.stdout == f"{workspace_id}  4 of 10 activities removed, up to sequence 4.\n"
    assert await positions(shop) == list(range(5, 11))
    async with run_api(shop) as api:
        fields = "action actor apiKey { id } subject details"
        log = (await api.fetch_data(f"{{ auditLog {{ nodes {{ {fields} }} }} }}"))["auditLog"]["nodes"]
    assert log[0] == {
        "action": "truncate", "actor": "COMMAND_LINE", "apiKey": None, "subject": to_global_id("Workspace", workspace_id),
        "details": {"front": "0", "upTo": "4"},
    }  # fmt: skip
    endpoint, _ = await create_webhook_endpoint(shop.ctx, "http://127.0.0.1:1/none", after=5)
    held = await run("--older-than", "1", "--yes")
    assert held.stdout.splitlines() == [
        f"{workspace_id}  1 of 6 activities removed, up to sequence 5.",
        f"{workspace_id}  Others stay for the webhook endpoint {endpoint.id}, which has not delivered them.",
    ]

    async def lose_reply(*_: object) -> None:
        raise Unavailable("store")

    with patch.object(TruncationQueries, "delete_before_front", lose_reply):
        interrupted = await run("--older-than", "1", "--yes")
    assert interrupted.exit_code == 1
    assert "Some of the activities may be removed already: run the same command again." in interrupted.stderr
    for wrong in ([], ["--older-than", "1", "--up-to", "4"], ["--up-to", "4"]):
        assert (await run(*wrong)).exit_code == 2
    assert "There is no workspace ws_none." in (await run("--workspace", "ws_none", "--up-to", "4")).output
