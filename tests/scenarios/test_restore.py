"""Restore of an older state: readers that saw more are told where to continue, and lost ids are not used again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from app.cli.main import main
from app.clock import SystemClock
from app.commands.insights.reading import read_rows
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.domain.errors import Unavailable
from app.domain.rollups.periods import SPEND
from app.domain.rollups.sealing import AT_ONCE
from app.domain.rollups.selections import Selection
from app.domain.values.cursors import FeedCursor, parse_feed_cursor
from app.domain.values.instants import to_ms
from app.resources import Resources
from app.store.cache import WorkspaceCache
from app.store.mongo.queries import Database
from app.store.operations.heartbeats import Heartbeats
from app.store.operations.restored import Restoration
from tests.business import Business
from tests.graphql.serving import Api, run_api
from tests.patience import PATIENCE_SECONDS
from tests.ranking import rank_passes
from tests.receiver import Receiver, run_receiver
from workers.stages.deliver import run_endpoint
from workers.stages.seal import seal
from workers.stages.seal_passes import seal_passes_once
from workers.worker import Worker

LIST = """query ($after: String, $before: String) { activity(after: $after, before: $before, first: 100) {
  edges { cursor node { id sequence data } } pageInfo { endCursor } } }"""
STREAM = """subscription ($after: String) { activity(after: $after) { __typename
  ... on ActivityEdge { cursor node { sequence } } ... on Heartbeat { cursor } ... on CursorExpired { oldestCursor } } }"""


async def copy_database(db: Database) -> dict[str, list[dict[str, Any]]]:
    """Return all documents: the state of one moment, as a backup has it."""
    names = await db.list_collection_names()
    return {name: await db[name].find().to_list(None) for name in names}


async def put_back(db: Database, backup: dict[str, list[dict[str, Any]]]) -> None:
    """Replace all documents by those of the backup."""
    for name in await db.list_collection_names():
        await db[name].delete_many({})
        if docs := backup.get(name):
            await db[name].insert_many(docs)


def restart(business: Business) -> Business:
    """Return the business as processes see it that have just started: with empty caches."""
    resources = replace(business.ctx.resources, cache=WorkspaceCache())
    context = replace(business.ctx, workspace=resources.workspace(business.ctx.workspace.id), resources=resources)
    return replace(business, ctx=context, worker=Worker.on(resources))


@dataclass
class Lost:
    """What readers saw before the restore: cursors by position, ids in the feed, and ids of webhooks."""

    cursors: dict[int, str]
    ids: set[str]
    webhook_ids: list[str]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Run a local receiver of webhooks."""
    async with run_receiver() as receiver:
        yield receiver


async def lose_three(business: Business, receiver: Receiver) -> tuple[Business, Lost, str]:
    """Publish two activities, take a backup, publish three more to all readers, and put the backup back."""
    resources = replace(
        business.ctx.resources, settings=replace(business.ctx.resources.settings, egress_allow=("127.0.0.1",))
    )
    business = replace(business, ctx=replace(business.ctx, resources=resources), worker=Worker.on(resources))
    endpoint, _ = await create_webhook_endpoint(business.ctx, receiver.url, after=0)
    await business.record({"external_id": "1"})
    await business.run_worker()
    await run_endpoint(business.worker, endpoint.id)
    backup = await copy_database(resources.db)
    await business.record(*({"external_id": f"lost-{number}"} for number in range(3)))
    await business.run_worker()
    await run_endpoint(business.worker, endpoint.id)
    async with run_api(business) as api:
        edges = (await api.fetch_data(LIST))["activity"]["edges"]
    await put_back(resources.db, backup)
    lost = Lost(
        {edge["node"]["sequence"]: edge["cursor"] for edge in edges},
        {edge["node"]["id"] for edge in edges if edge["node"]["sequence"] > 2},
        list(receiver.ids),
    )
    assert sorted(lost.cursors) == [1, 2, 3, 4, 5]
    return restart(business), lost, endpoint.id


async def record_others(business: Business) -> None:
    """Publish four activities after the restore: the log grows beyond what readers saw."""
    await business.record(*({"external_id": f"other-{number}"} for number in range(4)))
    await business.run_worker()


async def error_of(api: Api, **variables: str) -> dict[str, Any]:
    """Run the list and return its only error."""
    response = await api.post(json.dumps({"query": LIST, "variables": variables}))
    [error] = response.json()["errors"]
    return dict(error)


async def test_reader_of_lost_activities_is_told_and_misses_no_later_one(
    business: Business, receiver: Receiver
) -> None:
    business, lost, endpoint_id = await lose_three(business, receiver)
    resources = business.ctx.resources
    counts = await Restoration(resources.db, resources.in_chunk).begin_epoch(await SystemClock().now())
    assert (counts.workspaces, counts.endpoints) == (1, 0)
    await record_others(business)
    async with run_api(business, heartbeat_seconds=0.1) as api:
        for position in (3, 5):
            error = await error_of(api, after=lost.cursors[position])
            assert error["extensions"]["problems"][0]["code"] == "CURSOR_EXPIRED"
            assert error["extensions"]["problems"][0]["field"] == ["after"]
            assert error["extensions"]["oldestCursor"] == lost.cursors[2]
            assert lost.cursors[2] in error["message"]
            async with api.open_socket() as socket:
                await socket.subscribe(STREAM, after=lost.cursors[position])
                message = (await socket.receive_data())["activity"]
                assert message == {"__typename": "CursorExpired", "oldestCursor": lost.cursors[2]}
                assert (await socket.receive())["type"] == "complete"
        assert (await error_of(api, before=lost.cursors[5]))["extensions"]["problems"][0]["field"] == ["before"]
        headers = {**api.headers, "accept": "text/event-stream", "last-event-id": lost.cursors[5]}
        streamed = await api.http.post(api.url, json={"query": STREAM}, headers=headers)
        assert lost.cursors[2] in streamed.text
        # Readers that were not ahead of the backup notice nothing.
        for position in (1, 2):
            edges = (await api.fetch_data(LIST, after=lost.cursors[position]))["activity"]["edges"]
            assert [edge["node"]["sequence"] for edge in edges] == list(range(position + 1, 7))
        again = edges
        assert {edge["node"]["id"] for edge in again}.isdisjoint(lost.ids)
        assert all(edge["node"]["data"]["event"]["externalId"].startswith("other") for edge in again)
        assert [parse_feed_cursor(edge["cursor"]) for edge in again] == [
            FeedCursor(position, counts.epoch) for position in (3, 4, 5, 6)
        ]
        # The new cursors are valid, and ids of lost activities name nothing.
        edges = (await api.fetch_data(LIST, after=again[0]["cursor"]))["activity"]["edges"]
        assert edges == again[1:]
        for query, ids in (("new", [again[0]["node"]["id"]]), ("lost", sorted(lost.ids)[:1])):
            data = await api.fetch_data("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)
            assert [node is not None for node in data["nodes"]] == [query == "new"]
    await run_endpoint(business.worker, endpoint_id)
    later_ids = receiver.ids[len(lost.webhook_ids) :]
    assert len(later_ids) == 4
    assert set(later_ids).isdisjoint(lost.webhook_ids)
    assert all(each.startswith(f"act_{counts.epoch}_") for each in later_ids)
    deliveries = await business.ctx.resources.db["webhook_deliveries"].find({"pos": 6}).to_list(None)
    assert [doc["activity"] for doc in deliveries] == [again[3]["node"]["id"] and later_ids[3]]


async def test_stream_that_runs_during_a_restore_ends_with_CursorExpired(
    business: Business,
) -> None:
    await business.record({"external_id": "1"})
    await business.run_worker()
    async with run_api(business, heartbeat_seconds=0.05) as api, api.open_socket() as socket:
        backup = await copy_database(business.ctx.resources.db)
        await business.record({"external_id": "lost"})
        await business.run_worker()
        await socket.subscribe(STREAM)
        started = (await socket.receive_data())["activity"]
        assert parse_feed_cursor(started["cursor"]) == FeedCursor(3)
        await put_back(business.ctx.resources.db, backup)
        await Restoration(business.ctx.resources.db, 100).begin_epoch(await SystemClock().now())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (message := (await socket.receive_data())["activity"])["__typename"] == "Heartbeat":
                pass
    assert message == {"__typename": "CursorExpired", "oldestCursor": str(FeedCursor(2))}


async def test_entry_that_was_published_before_the_backup_enters_the_log_once(business: Business) -> None:
    """A backup may lie between the append to the log and the emptying of the outbox."""
    db = business.ctx.resources.db
    await business.record({"external_id": "1"})

    async def lose_reply(*_: object, **__: object) -> None:
        raise Unavailable("store")

    queries = business.worker.publish_queries
    with patch.object(queries, "published", lose_reply), pytest.raises(Unavailable):
        await business.run_worker()
    before = await business.read_log()
    await Restoration(db, 100).begin_epoch(await SystemClock().now())
    await business.run_worker()
    assert await business.read_log() == before


async def test_endpoint_beyond_the_end_of_the_log_steps_back(business: Business, receiver: Receiver) -> None:
    """Collections of different moments do not fit together; the endpoint continues nevertheless."""
    business, lost, endpoint_id = await lose_three(business, receiver)
    lanes = business.ctx.resources.db["webhook_lanes"]
    change = {"next": [3] * 15 + [9], "heads": {"15": {"tries": 1, "at": 0, "since": 0}}}
    await lanes.update_one({"_id": endpoint_id}, {"$set": change})
    counts = await Restoration(business.ctx.resources.db, 100).begin_epoch(await SystemClock().now())
    assert counts.endpoints == 1
    [doc] = await lanes.find({"_id": endpoint_id}).to_list(None)
    assert (doc["next"], doc["heads"]) == ([3] * 16, {})
    await record_others(business)
    await run_endpoint(business.worker, endpoint_id)
    assert len(receiver.ids) == len(lost.webhook_ids) + 4


async def test_command_begins_an_epoch_and_empties_redis_unless_a_worker_runs(
    business: Business, resources: Resources
) -> None:
    settings = resources.settings
    environment = {**settings.to_env(), "PUNCHCARD_DATABASE": settings.database}

    async def run() -> Result:
        return await asyncio.to_thread(lambda: CliRunner().invoke(main, ["restored"], env=environment))

    await resources.redis.set(f"{settings.database}:budget:x", 1)
    await resources.redis.set(f"arq:job:{settings.database}:fold:0-15:1", 1)
    await resources.redis.set("other:budget:x", 1)
    heartbeats, now = Heartbeats(resources.db), await SystemClock().now()
    await heartbeats.beat("w1", now, now.replace(year=now.year + 1))
    refused = await run()
    assert refused.exit_code == 1
    assert f"1 worker alive on the database {settings.database}. Stop all workers" in refused.output
    await heartbeats.remove("w1")
    epoch_before = (await business.ctx.workspace.epochs()).erasures
    done = await run()
    assert done.exit_code == 0, done.output
    assert f"begins in 1 workspace of the database {settings.database}." in done.output
    assert "Deleted in Redis: 2 keys." in done.output
    assert await resources.redis.keys() == [b"other:budget:x"]
    assert (await business.ctx.workspace.epochs()).erasures != epoch_before
    stored = await resources.db["constants"].find_one({"_id": "epoch"})
    assert stored is not None
    assert f"Epoch {stored['value']} begins" in done.output


async def test_sums_follow_the_restored_events_although_the_backup_is_not_of_one_moment(business: Business) -> None:
    """The events were copied before a purchase was recorded, rollups and passes after it was sealed."""
    resources, workspace_id = business.ctx.resources, business.ctx.workspace.id
    business.worker.seals.timing = AT_ONCE

    async def read_sums() -> tuple[int, list[int]]:
        """Seal all, and return the purchases of January and the values of its best passes."""
        await seal(business.worker, workspace_id)
        await seal_passes_once(business.worker, workspace_id)
        assert await resources.db["rollup_heads"].count_documents({"dirty": {"$gte": 0}}) == 0
        january, february = (datetime(2025, month, 1, tzinfo=UTC) for month in (1, 2))
        reading = await read_rows(business.ctx, Selection(to_ms(january), to_ms(february)), ZoneInfo("UTC"))
        best = await rank_passes(business.ctx, SPEND + "EUR", january, february, 9)
        return sum(row.totals.count for row in reading.rows), [int(each.value) for each in best]

    purchase = {"amount": 10, "currency": "EUR", "occurred_at": "2025-01-01T00:30:00Z"}
    await business.record(purchase)
    await business.run_worker()
    events = await resources.db["events"].find().to_list(None)
    await business.record({**purchase, "occurred_at": "2025-01-02T00:30:00Z"})
    await business.run_worker()
    assert await read_sums() == (2, [20])
    await put_back(resources.db, {**await copy_database(resources.db), "events": events})
    assert await read_sums() == (2, [20]), "without the command, nothing shows that an event is missing"
    environment = {**resources.settings.to_env(), "PUNCHCARD_DATABASE": resources.settings.database}
    done = await asyncio.to_thread(lambda: CliRunner().invoke(main, ["restored"], env=environment))
    assert "Marked to be computed anew: 1 hour with events and 1 pass." in done.output
    assert await read_sums() == (1, [10])
