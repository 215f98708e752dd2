"""The table of stages in `app/flow.py` equals what the code reads, writes and wakes."""

from __future__ import annotations

import ast
import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from app.bus import Bus
from app.clock import FixedClock
from app.commands.events.event_types import update_event_type
from app.commands.events.receipts import record_call
from app.commands.inbound.deliveries import Message, receive_message, verify_message
from app.commands.inbound.hooks import create_inbound_hook, update_inbound_hook
from app.commands.jobs.exports import export_activities, export_events
from app.commands.jobs.imports import import_events
from app.commands.messages.channels import create_channel
from app.commands.messages.messages import broadcast_message, send_message
from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import update_pass
from app.commands.passes.removals import erase_pass
from app.commands.points.transfers import transfer_points
from app.commands.rules.rules import create_rule
from app.commands.scheduled_edits import schedule_segment_edit
from app.commands.segments import create_segment, update_segment
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.commands.webhooks.replays import Replay, replay_webhook_deliveries
from app.domain.activity_queries import ActivityQuery
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import EventInput
from app.domain.files.exports import ExportFormat
from app.domain.ids import dimension_job_id
from app.domain.reactions.parked import ParkedReaction, Refusal
from app.domain.reactions.reactions import IssueReward, Reaction
from app.domain.rollups.sealing import AT_ONCE
from app.domain.webhooks.deliveries import WebhookDeliveryStatus
from app.flow import FLOW, SLOT_RANGES, bounds_of, range_of
from app.resources import Resources
from app.store.mongo.oplog import FILLER_DATABASE
from tests.business import Business, bought_within, no_purchase_for, open_business
from tests.commands.rewards.shop import create, request
from tests.domain.test_signatures import standard_headers
from tests.receiver import Receiver, run_receiver
from tests.workers.jobs.test_imports import File, sales_csv
from workers.main import STAGES

ROOT = Path(__file__).parents[2]
BY_NAME = {stage.name: stage for stage in FLOW}
WRITES = {"insert", "update", "delete", "findAndModify"}
READS = {"find", "aggregate", "findAndModify"}
SETTINGS = {"workspaces", "clock", "constants", "event_types", "words"}
"""Collections that any stage may read, or write on the side. The table does not list them."""

REFUNDS = {
    "items": "$body",
    "fields": {"passExternalId": "who", "type": "what", "correctionOf": "of", "externalId": "what"},
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RETENTION = ("activities=30", "jobs=30", "audit=30")
MAILS = {"key": "mail", "name": "Mail", "kind": "EMAIL", "provider": "SMTP"}
TEXT = {"channelKey": "mail", "template": "Hello"}
MAPPING = {"fields": {"passExternalId": "who", "type": {"value": "visit"}}}


def woken_stages(tree: ast.AST) -> Iterator[str]:
    """Yield the stages that a module wakes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "wake":
            [first, *_] = node.args
            assert isinstance(first, ast.Constant), f"write out the name of the stage: {ast.unparse(node)}"
            yield str(first.value)


def test_only_stages_are_woken() -> None:
    for folder in ("app", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            if path == ROOT / "workers/worker.py":
                continue  # A run that ends before its work wakes its own stage.
            assert set(woken_stages(ast.parse(path.read_text()))) <= set(BY_NAME), path


def test_worker_runs_exactly_the_stages_of_the_table() -> None:
    in_worker = {stage.name: stage for stage in FLOW if stage.module.startswith("workers.")}
    assert set(STAGES) == set(in_worker)
    for name, run in STAGES.items():
        assert run.__module__ == in_worker[name].module
        assert run is getattr(importlib.import_module(in_worker[name].module), name)


def test_flow_has_one_direction() -> None:
    """Only publish appends to the log, erase empties activities, retain truncates, and the feed writes and wakes nothing."""
    assert {stage.name for stage in FLOW if "activities" in stage.writes} == {"publish", "erase", "retain"}
    assert {stage.name for stage in FLOW if "activities" in stage.reads} == {
        "feed",
        "erase",
        "export",
        "jobs",
        "deliver",
        "react",
        "retain",
    }
    assert not BY_NAME["feed"].writes
    assert not BY_NAME["feed"].wakes
    # A stage wakes an earlier one only for events that must be folded first, or when the outbox has room again.
    order = [stage.name for stage in FLOW]
    backward = {(s.name, w) for s in FLOW for w in s.wakes if order.index(w) < order.index(s.name)}
    assert backward == {
        ("due", "fold"), ("backfill", "fold"), ("publish", "fold"), ("merge", "fold"), ("erase", "publish"),
        ("erase", "merge"), ("jobs", "fold"), ("react", "fold"), ("send", "fold"),
    }  # fmt: skip


def test_every_slot_belongs_to_one_range() -> None:
    slots = [slot for key in SLOT_RANGES for slot in range(bounds_of(key)[0], bounds_of(key)[1] + 1)]
    assert slots == list(range(64))
    assert all(bounds_of(range_of(slot))[0] <= slot <= bounds_of(range_of(slot))[1] for slot in slots)


class CollectionListener(CommandListener):
    """Listener that stores which collections are read and written."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.written: set[str] = set()

    def started(self, event: CommandStartedEvent) -> None:
        """Store the collection of a command. The oplog of a local store, and what pushes entries out of it, do not count."""
        verb = event.command_name
        if verb in WRITES | READS and event.database_name not in {"local", FILLER_DATABASE}:
            for verbs, collections in ((WRITES, self.written), (READS, self.read)):
                if verb in verbs:
                    collections.add(event.command[verb])

    def succeeded(self, event: object) -> None:
        """Ignore the event."""

    def failed(self, event: object) -> None:
        """Ignore the event."""


@pytest.fixture
async def observed(resources: Resources) -> AsyncIterator[tuple[Business, CollectionListener]]:
    """Yield a business and the listener of its store."""
    listener = CollectionListener()
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
        resources.settings.mongodb_uri, tz_aware=True, tzinfo=UTC, event_listeners=[listener], retryWrites=False
    )
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    resources = replace(
        resources, db=client[settings.database], essential_client=client, clock=clock, settings=settings
    )
    yield await open_business(resources, clock), listener
    client.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Run a local receiver of webhooks."""
    async with run_receiver() as receiver:
        yield receiver


class StageObserver:
    """What each stage read, wrote and woke while it was observed."""

    def __init__(self, listener: CollectionListener, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: dict[str, set[str]] = {}
        self.written: dict[str, set[str]] = {}
        self.woken: dict[str, set[str]] = {}
        self._listener = listener
        self._wakes: set[str] = set()

        def wake(_: Bus, stage: str, *keys: object) -> None:
            self._wakes.update({stage} if keys else ())

        async def publish(_: Bus, topic: str, message: object) -> None:
            self._wakes.add(topic.partition(":")[0])

        monkeypatch.setattr(Bus, "wake", wake)
        monkeypatch.setattr(Bus, "publish", publish)

    async def observe(self, stage: str, run: Awaitable[object]) -> None:
        """Run the stage and store what it reads, writes and wakes."""
        self._listener.read, self._listener.written, self._wakes = set(), set(), set()
        await run
        self.read.setdefault(stage, set()).update(self._listener.read - SETTINGS)
        self.written.setdefault(stage, set()).update(self._listener.written - SETTINGS)
        self.woken.setdefault(stage, set()).update(self._wakes)


async def refuse(*_: object) -> Refusal:
    """Refuse a reaction for good, so that it is parked."""
    return Refusal("REFUSED", "Refused by the test.")


async def test_stages_read_write_and_wake_what_the_table_says(
    observed: tuple[Business, CollectionListener], monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    business, listener = observed
    ctx, worker = business.ctx, business.worker
    await business.create_segment("recent", bought_within(30))
    endpoint, _ = await create_webhook_endpoint(ctx, receiver.url)
    observer = StageObserver(listener, monkeypatch)

    async def run_all_ranges(name: str) -> None:
        for key in SLOT_RANGES:
            await STAGES[name](worker, key)

    many = [{"amount": 1, "external_id": str(n)} for n in range(450)]
    await observer.observe("record", business.record(*many))
    await observer.observe("record", business.record(many[0], {"amount": 1, "pass_external_id": "bob"}))
    await observer.observe(
        "record", record_call(ctx, [EventInput("visit", pass_external_id="ann")], idempotency_key="k")
    )
    await observer.observe("fold", run_all_ranges("fold"))
    await observer.observe("publish", STAGES["publish"](worker, ctx.workspace.id))
    await observer.observe("feed", ctx.workspace.activities.after(0, 10))
    business.clock.set(datetime(2026, 6, 1, tzinfo=UTC))
    await business.record({"amount": 1})
    await observer.observe("due", run_all_ranges("due"))
    lost = await create_segment(ctx, "lost", "Lost", no_purchase_for(7))
    await observer.observe("backfill", STAGES["backfill"](worker, ctx.workspace.id))
    at = await ctx.now() + timedelta(seconds=1)
    await schedule_segment_edit(ctx, lost.id, at, criteria=no_purchase_for(8))
    business.clock.set(at)
    await observer.observe("schedule", STAGES["schedule"](worker, f"{ctx.workspace.id}/{lost.id}"))
    await observer.observe("publish", STAGES["publish"](worker, ctx.workspace.id))
    ids = await ctx.workspace.passes.ids_of(["ann", "bob"])
    await observer.observe("fold", run_all_ranges("fold"))
    await merge_passes(ctx, ids["ann"], ids["bob"])
    await observer.observe("fold", run_all_ranges("fold"))
    await create_channel(ctx, {**MAILS, "settings": {"host": "127.0.0.1", "from": "a@b.test"}})
    await send_message(ctx, TEXT, pass_id=ids["ann"], external_id=None, idempotency_key=None)
    erased = (await erase_pass(ctx, external_id="ann")).pass_id
    gift = Reaction("event_x", 0, pass_id=erased, activity_id="act_x", body=IssueReward("coffee", "x"))
    sold_out = ParkedReaction(gift, Refusal("SOLD_OUT", "Sold out."), attempt_count=1, at=await ctx.now())
    await ctx.workspace.reactions.park([sold_out])
    await observer.observe("fold", run_all_ranges("fold"))
    await observer.observe("publish", STAGES["publish"](worker, ctx.workspace.id))
    await observer.observe("erase", STAGES["erase"](worker, erased))
    await observer.observe("merge", STAGES["merge"](worker, ids["bob"]))
    await observer.observe("fold", run_all_ranges("fold"))
    [dora] = await business.create_passes("dora")
    await erase_pass(ctx, pass_id=dora.id)
    await observer.observe("fold", run_all_ranges("fold"))
    await observer.observe("erase", STAGES["erase"](worker, dora.id))
    await observer.observe("publish", STAGES["publish"](worker, ctx.workspace.id))
    await observer.observe("erase", STAGES["erase"](worker, erased))
    await observer.observe("publish", STAGES["publish"](worker, ctx.workspace.id))
    await observer.observe("erase", STAGES["erase"](worker, erased))
    jobs = []

    async def upload() -> None:
        jobs.append(await import_events(ctx, File(sales_csv(3) + "c1,never,1,1\n")))

    await observer.observe("import", upload())
    hook, secret = await create_inbound_hook(ctx, "Shop", "shop", MAPPING, create_missing_passes=True)
    body = b'{"who": "cleo"}'
    headers = standard_headers(secret, at=int(time.time()), body=body)

    async def receive() -> None:
        await receive_message(ctx.resources, await verify_message(ctx.resources, hook.id, headers, body))

    await observer.observe("hook", receive())
    # The refund waits for its purchase. Its second item needs a pass, which only the rerun may create.
    shop, _ = await create_inbound_hook(ctx, "Till", "till", REFUNDS, create_missing_passes=False)
    body = b'[{"who": "cleo", "what": "refund", "of": "sale"}, {"who": "dan", "what": "visit"}]'
    waiting = (await receive_message(ctx.resources, Message(shop, "refund", body, headers={}))).delivery
    await update_inbound_hook(ctx, shop.id, create_missing_passes=True)
    await business.record({"pass_external_id": "cleo", "source": "till", "external_id": "sale", "amount": 1})
    await ctx.resources.db["inbound_deliveries"].update_one({"_id": waiting.id}, {"$set": {"due": 0}})
    await observer.observe("rerun", STAGES["rerun"](worker, waiting.id))
    await observer.observe("jobs", STAGES["jobs"](worker, jobs[0].id))

    async def export() -> None:
        jobs.append(await export_events(ctx, EventQuery(), ExportFormat.JSONL))
        jobs.append(await export_activities(ctx, ActivityQuery(), ExportFormat.JSONL))

    await observer.observe("export", export())
    for job in jobs[1:]:
        await observer.observe("jobs", STAGES["jobs"](worker, job.id))
    sold = await update_event_type(ctx, "purchase", attributes=[{"name": "size", "type": "TEXT", "dimension": True}])
    await observer.observe("jobs", STAGES["jobs"](worker, dimension_job_id(sold.id, sold.version)))

    async def deliver() -> None:
        await STAGES["deliver"](worker, ctx.workspace.id)
        await asyncio.gather(*worker.tasks)

    await observer.observe("deliver", deliver())
    await observe_messages(business, observer)

    async def react() -> None:
        await STAGES["react"](worker, ctx.workspace.id)
        await asyncio.gather(*worker.tasks)

    await business.record({"type": "point_add", "points": 5, "pass_external_id": "giver"})
    givers = await ctx.workspace.passes.ids_of(["giver", "dan"])
    for points in (2, 3):
        await transfer_points(ctx, givers["giver"], givers["dan"], points)
        await observer.observe("fold", run_all_ranges("fold"))
        await observer.observe("publish", STAGES["publish"](worker, ctx.workspace.id))
        if points == 3:
            await erase_pass(ctx, external_id="giver")
            await observer.observe("fold", run_all_ranges("fold"))
            await observer.observe("publish", STAGES["publish"](worker, ctx.workspace.id))
            await observer.observe("erase", STAGES["erase"](worker, givers["giver"]))
        with patch("workers.reactions.performing.receive_points", refuse) if points == 2 else nullcontext():
            await observer.observe("react", react())
    receiver.respond = lambda _: 410
    for replay in (Replay(), Replay(statuses=tuple(WebhookDeliveryStatus))):
        replay_job, _ = await replay_webhook_deliveries(ctx, endpoint.id, replay)
        assert replay_job is not None
        await observer.observe("jobs", STAGES["jobs"](worker, replay_job.id))
    await observer.observe("deliver", deliver())
    await business.run_worker()
    await update_segment(ctx, lost.id, criteria=no_purchase_for(8))
    with patch("workers.stages.backfill.SUPERSEDED_TTL_MS", 0):
        await observer.observe("backfill", STAGES["backfill"](worker, ctx.workspace.id))

    await observer.observe("seal_passes", STAGES["seal_passes"](worker, ctx.workspace.id))
    await ctx.workspace.vocabulary.doubt({("source", "till")})
    await create(business, pointsCost=0, limits={"total": 2})
    await request(business, "dan")
    stock = ctx.workspace.stock
    await stock.insert("reward_1", [1], redemption_id="red_never", pass_id="pass_none", system_ms=1)
    await ctx.workspace.codes.claim("A-1", "red_never", "pass_none", system_ms=1)
    await ctx.resources.db["reward_units"].update_many({}, {"$set": {"open": 1}})
    await observer.observe("restock", STAGES["restock"](worker, ctx.workspace.id))
    await observer.observe("forget", STAGES["forget"](worker, ctx.workspace.id))
    worker.seals.timing = AT_ONCE
    await observer.observe("seal", STAGES["seal"](worker, ctx.workspace.id))

    worker.resources = replace(worker.resources, settings=replace(worker.resources.settings, retention_days=RETENTION))
    old_job = {"_id": "job_old", "workspace": ctx.workspace.id, "created_at": EPOCH, "finished_at": EPOCH}
    await ctx.resources.db["jobs"].insert_one(old_job)
    await ctx.resources.db["audit"].update_many({"workspace": ctx.workspace.id}, {"$set": {"at": EPOCH}})
    await ctx.resources.db["webhook_lanes"].update_many({}, {"$set": {"on": 1, "next": [1_000_000] * 16}})
    await ctx.resources.db["webhook_deliveries"].update_many({}, {"$unset": {"due": ""}})
    business.clock.set(datetime(2030, 1, 1, tzinfo=UTC))
    for _ in range(2):
        await observer.observe("retain", STAGES["retain"](worker, ctx.workspace.id))

    assert observer.woken == {stage.name: set(stage.wakes) for stage in FLOW}
    assert observer.written == {stage.name: set(stage.writes) for stage in FLOW}
    for stage in FLOW:
        # A stage may also read what it writes, and segments are read together with their definitions.
        allowed = {*stage.reads, *stage.writes, *(["definitions"] if "segments" in stage.reads else [])}
        assert set(stage.reads) <= observer.read[stage.name] <= allowed, stage.name


async def observe_messages(business: Business, observer: StageObserver) -> None:
    """Observe a broadcast, a rule that sends a message, and the stage that sends."""
    ctx, worker = business.ctx, business.worker
    segment = await business.create_segment("all", bought_within(3_000))
    job = await broadcast_message(ctx, {**TEXT, "key": "news"}, segment_id=segment.id)
    await observer.observe("jobs", STAGES["jobs"](worker, job.id))
    effects = [{"sendMessage": TEXT}]
    await create_rule(ctx, {"key": "r", "name": "R", "trigger": {"event": {"types": ["scan"]}}, "effects": effects})
    business.clock.set(await ctx.now() + timedelta(seconds=1))
    await business.record({"type": "scan", "pass_external_id": "cleo"})
    cleo = (await ctx.workspace.passes.ids_of(["cleo"]))["cleo"]
    await update_pass(ctx, cleo, holder={"email": "cleo@example.com"})
    for key in SLOT_RANGES:
        await STAGES["fold"](worker, key)
    await STAGES["publish"](worker, ctx.workspace.id)

    async def run(stage: str) -> None:
        await STAGES[stage](worker, ctx.workspace.id)
        await asyncio.gather(*worker.tasks)

    await observer.observe("react", run("react"))
    await observer.observe("send", run("send"))
