"""`app/flow.py` says what the code does: who wakes whom, and who reads and writes what."""

from __future__ import annotations

import ast
import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from app.bus import Bus
from app.clock import FixedClock
from app.commands.events.receipts import record_call
from app.commands.inbound.deliveries import receive_message, verify_message
from app.commands.inbound.hooks import create_inbound_hook
from app.commands.jobs.exports import export_activities, export_events
from app.commands.jobs.imports import import_events
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.commands.segments import create_segment
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.commands.webhooks.replays import Replay, replay_webhook_deliveries
from app.domain.activities import ActivityQuery
from app.domain.events.events import EventInput, EventQuery
from app.domain.files.exports import ExportFormat
from app.domain.webhooks.deliveries import WebhookDeliveryStatus
from app.flow import FLOW, SLOT_RANGES, bounds_of, range_of
from app.resources import Resources
from tests.business import Business, bought_within, nothing_for, open_business
from tests.domain.test_signatures import standard
from tests.receiver import Receiver, receiving
from tests.workers.jobs.test_imports import File, sales
from workers.main import STAGES

ROOT = Path(__file__).parents[2]
BY_NAME = {stage.name: stage for stage in FLOW}
WRITES = {"insert", "update", "delete", "findAndModify"}
READS = {"find", "aggregate", "findAndModify"}
SETTINGS = {"workspaces", "clock", "constants", "event_types", "words"}
"""Read by everybody, or noted beside: no part of the flow."""

HEARD = {"fields": {"passExternalId": "who", "type": {"value": "visit"}}}


def named(tree: ast.AST) -> Iterator[str]:
    """The stages whose wake-ups a module writes out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "wake":
            [first, *_] = node.args
            assert isinstance(first, ast.Constant), f"the stage woken is not written out: {ast.unparse(node)}"
            yield str(first.value)


def test_nobody_wakes_what_is_not_a_stage() -> None:
    for folder in ("app", "workers"):
        for path in (ROOT / folder).rglob("*.py"):
            assert set(named(ast.parse(path.read_text()))) <= set(BY_NAME), path


def test_the_worker_runs_exactly_the_stages_of_the_table() -> None:
    ours = {stage.name: stage for stage in FLOW if stage.module.startswith("workers.")}
    assert set(STAGES) == set(ours)
    for name, run in STAGES.items():
        assert run.__module__ == ours[name].module
        assert run is getattr(importlib.import_module(ours[name].module), name)


def test_the_flow_goes_one_way() -> None:
    """Events come in at the front, activities out at the end; only publish writes the log, and only erase empties lines."""
    assert {stage.name for stage in FLOW if "activities" in stage.writes} == {"publish", "erase"}
    assert {stage.name for stage in FLOW if "activities" in stage.reads} == {
        "feed",
        "erase",
        "export",
        "jobs",
        "deliver",
    }
    assert not BY_NAME["feed"].writes
    assert not BY_NAME["feed"].wakes
    # Backwards goes only the word that there is room again, or that somebody's events come first.
    order = [stage.name for stage in FLOW]
    back = {(s.name, w) for s in FLOW for w in s.wakes if order.index(w) < order.index(s.name)}
    assert back == {
        ("due", "fold"), ("backfill", "fold"), ("publish", "fold"), ("merge", "fold"), ("erase", "publish"),
        ("erase", "merge"), ("jobs", "fold"),
    }  # fmt: skip


def test_every_slot_belongs_to_one_range() -> None:
    slots = [slot for key in SLOT_RANGES for slot in range(bounds_of(key)[0], bounds_of(key)[1] + 1)]
    assert slots == list(range(64))
    assert all(bounds_of(range_of(slot))[0] <= slot <= bounds_of(range_of(slot))[1] for slot in slots)


class Listener(CommandListener):
    """Notes which collections are read and written."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.written: set[str] = set()

    def started(self, event: CommandStartedEvent) -> None:
        verb = event.command_name
        if verb in WRITES | READS:
            for verbs, noted in ((WRITES, self.written), (READS, self.read)):
                if verb in verbs:
                    noted.add(event.command[verb])

    def succeeded(self, event: object) -> None:
        """Nothing to note."""

    def failed(self, event: object) -> None:
        """Nothing to note."""


@pytest.fixture
async def listened(resources: Resources) -> AsyncIterator[tuple[Business, Listener]]:
    listener = Listener()
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
        resources.settings.mongodb_uri, tz_aware=True, tzinfo=UTC, event_listeners=[listener], retryWrites=False
    )
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    again = replace(resources, db=client[settings.database], clock=clock, settings=settings)
    yield await open_business(again, clock), listener
    client.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on this machine."""
    async with receiving() as found:
        yield found


class Seen:
    """What stages did while they were watched."""

    def __init__(self, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
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

    async def watch(self, stage: str, run: Awaitable[object]) -> None:
        """Runs it and notes what it does."""
        self._listener.read, self._listener.written, self._wakes = set(), set(), set()
        await run
        self.read.setdefault(stage, set()).update(self._listener.read - SETTINGS)
        self.written.setdefault(stage, set()).update(self._listener.written - SETTINGS)
        self.woken.setdefault(stage, set()).update(self._wakes)


async def test_a_stage_reads_writes_and_wakes_what_the_table_says(
    listened: tuple[Business, Listener], monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    business, listener = listened
    ctx, worker = business.ctx, business.worker
    await business.segment("recent", bought_within(30))
    endpoint, _ = await create_webhook_endpoint(ctx, receiver.url)
    seen = Seen(listener, monkeypatch)

    async def whole(name: str) -> None:
        for key in SLOT_RANGES:
            await STAGES[name](worker, key)

    many = [{"amount": 1, "external_id": str(n)} for n in range(450)]
    await seen.watch("record", business.record(*many))
    await seen.watch("record", business.record(many[0], {"amount": 1, "pass_external_id": "bob"}))
    await seen.watch("record", record_call(ctx, [EventInput("visit", pass_external_id="ann")], idempotency_key="k"))
    await seen.watch("fold", whole("fold"))
    await seen.watch("publish", STAGES["publish"](worker, ctx.workspace.id))
    await seen.watch("feed", ctx.workspace.activities.after(0, 10))
    business.clock.set(datetime(2026, 6, 1, tzinfo=UTC))
    await business.record({"amount": 1})
    await seen.watch("due", whole("due"))
    await create_segment(ctx, "lost", "Lost", nothing_for(7))
    await seen.watch("backfill", STAGES["backfill"](worker, ctx.workspace.id))
    await seen.watch("publish", STAGES["publish"](worker, ctx.workspace.id))
    ids = await ctx.workspace.passes.ids_of(["ann", "bob"])
    await seen.watch("fold", whole("fold"))
    await merge_passes(ctx, ids["ann"], ids["bob"])
    await seen.watch("fold", whole("fold"))
    erased = (await erase_pass(ctx, external_id="ann")).pass_id
    await seen.watch("fold", whole("fold"))
    await seen.watch("publish", STAGES["publish"](worker, ctx.workspace.id))
    await seen.watch("erase", STAGES["erase"](worker, erased))
    await seen.watch("merge", STAGES["merge"](worker, ids["bob"]))
    await seen.watch("fold", whole("fold"))
    [dora] = await business.join("dora")
    await erase_pass(ctx, pass_id=dora.id)
    await seen.watch("fold", whole("fold"))
    await seen.watch("erase", STAGES["erase"](worker, dora.id))
    await seen.watch("publish", STAGES["publish"](worker, ctx.workspace.id))
    await seen.watch("erase", STAGES["erase"](worker, erased))
    await seen.watch("publish", STAGES["publish"](worker, ctx.workspace.id))
    await seen.watch("erase", STAGES["erase"](worker, erased))
    jobs = []

    async def upload() -> None:
        jobs.append(await import_events(ctx, File(sales(3) + "c1,never,1,1\n")))

    await seen.watch("import", upload())
    hook, secret = await create_inbound_hook(ctx, "Shop", "shop", HEARD, create_missing_passes=True)
    headers = standard(secret, at=int(time.time()), body=b'{"who": "cleo"}')

    async def heard() -> None:
        await receive_message(ctx.resources, await verify_message(ctx.resources, hook.id, headers, b'{"who": "cleo"}'))

    await seen.watch("hook", heard())
    await seen.watch("jobs", STAGES["jobs"](worker, jobs[0].id))

    async def ordered() -> None:
        jobs.append(await export_events(ctx, EventQuery(), ExportFormat.JSONL))
        jobs.append(await export_activities(ctx, ActivityQuery(), ExportFormat.JSONL))

    await seen.watch("export", ordered())
    for job in jobs[1:]:
        await seen.watch("jobs", STAGES["jobs"](worker, job.id))

    async def delivered() -> None:
        await STAGES["deliver"](worker, ctx.workspace.id)
        await asyncio.gather(*worker.tasks)

    await seen.watch("deliver", delivered())
    receiver.answers = lambda got: 410
    for replay in (Replay(), Replay(statuses=tuple(WebhookDeliveryStatus))):
        again, _ = await replay_webhook_deliveries(ctx, endpoint.id, replay)
        assert again is not None
        await seen.watch("jobs", STAGES["jobs"](worker, again.id))
    await seen.watch("deliver", delivered())

    assert seen.woken == {stage.name: set(stage.wakes) for stage in FLOW}
    assert seen.written == {stage.name: set(stage.writes) for stage in FLOW}
    for stage in FLOW:
        # What a stage writes it may look at; a segment is read together with its definitions.
        may = {*stage.reads, *stage.writes, *(["definitions"] if "segments" in stage.reads else [])}
        assert set(stage.reads) <= seen.read[stage.name] <= may, stage.name
