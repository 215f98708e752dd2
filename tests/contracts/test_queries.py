"""Every named query is served by an index.

The test calls every query over real servers and stores each filter that is sent. Each filter is then compared with the
indexes of the product. MongoDB is also asked to explain the filters. The embedded servers are not: they report index
scans where they read the whole collection (for a condition outside the index), and the opposite.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from bson.decimal128 import Decimal128
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure
from pymongo.monitoring import CommandListener, CommandStartedEvent

import app.store
from app.auth import Keyring
from app.clock import FixedClock
from app.commands.events.consistency import wait_until_folded
from app.commands.events.event_types import event_type, set_event_rules, update_event_type
from app.commands.events.receipts import receipt_of, record_call
from app.commands.inbound.deliveries import Message, receive_message
from app.commands.inbound.hooks import (
    VerificationInput,
    create_inbound_hook,
    rotate_inbound_hook_secret,
    update_inbound_hook,
)
from app.commands.inbound.reruns import discard_inbound_delivery, rerun_inbound_deliveries, rerun_waiting_delivery
from app.commands.insights.customers import count_active
from app.commands.jobs.exports import export_activities, export_events
from app.commands.jobs.imports import import_events
from app.commands.jobs.jobs import cancel_job
from app.commands.messages.channels import create_channel, update_channel
from app.commands.messages.messages import retry_messages, send_message
from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import create_passes, update_pass
from app.commands.passes.removals import delete_events, erase_pass
from app.commands.passes.tokens import TokenInput, create_pass_token, revoke_pass_tokens, rotate_pass_token_key
from app.commands.points.transfers import read_transfer, transfer_points
from app.commands.rewards.stock import free_units
from app.commands.rules.rules import create_rule, set_rule_status
from app.commands.segments import archive_segment, update_segment
from app.commands.webhooks.endpoints import (
    create_webhook_endpoint,
    delete_webhook_endpoint,
    rotate_webhook_secret,
    update_webhook_endpoint,
)
from app.commands.webhooks.replays import Replay, replay_webhook_deliveries
from app.commands.workspaces.keys import create_api_key, revoke_api_key, rotate_api_key
from app.commands.workspaces.settings import set_local_time
from app.domain.activity_queries import ActivityQuery
from app.domain.errors import Conflict
from app.domain.events.event_queries import EventQuery
from app.domain.events.event_types import Acceptance
from app.domain.events.events import EventInput
from app.domain.events.guards import Decision, Reason
from app.domain.events.tombstones import tombstone_id
from app.domain.files.exports import ExportFormat
from app.domain.ids import dimension_job_id
from app.domain.jobs import JobStatus
from app.domain.messages.messages import MessageQuery, MessageStatus
from app.domain.passes.inputs import PassInput
from app.domain.passes.pass_queries import PassOrder, PassOrderField, PassQuery
from app.domain.passes.search_tokens import parse_search
from app.domain.reactions.parked import ParkedQuery, ParkedReaction, Refusal
from app.domain.reactions.reactions import Reaction, ReceivePoints
from app.domain.rollups.dimensions import Dimension
from app.domain.rollups.levels import Level
from app.domain.rollups.periods import COUNT, bounds_of
from app.domain.rollups.plans import Head, Period, plan_period
from app.domain.rollups.sealing import AT_ONCE
from app.domain.rollups.selections import Cells, Selection
from app.domain.rules.rules import RuleStatus
from app.domain.rules.statistics import FiringQuery, FiringStatus
from app.domain.segments.edits import ScheduledEdit
from app.domain.segments.history import Change
from app.domain.segments.segments import TIER_PROGRAM, DefinitionKind, Segment
from app.domain.signatures import Scheme
from app.domain.state.aggregations import METADATA, Aggregation, Function, GroupBy
from app.domain.state.measures import EventFilter, Measure
from app.domain.values.conditions import Condition, Operator
from app.domain.values.cursors import FeedCursor
from app.domain.values.instants import EARLIEST, to_ms
from app.domain.values.zones import UTC as UTC_ZONE
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDeliveryStatus
from app.domain.webhooks.endpoints import DisabledReason, EndpointStatus
from app.flow import SLOT_RANGES
from app.resources import Resources
from app.store.clock import MongoClock
from app.store.mongo.oplog import COMMAND_NOT_FOUND, FILLER_DATABASE
from app.store.mongo.paging import PageRequest
from app.store.mongo.queries import Database, ErrorTranslating
from app.store.operations.active_count_check import ActiveCountCheck
from app.store.operations.backlog import BacklogQueries
from app.store.operations.consistency import ConsistencyCheck, Finding
from app.store.operations.heartbeats import Heartbeats
from app.store.operations.history_check import HistoryCheck
from app.store.operations.indexes import INDEXES
from app.store.operations.migration import Migration
from app.store.operations.parked_passes import ParkedPasses
from app.store.operations.recomputation import DeepCheck
from app.store.operations.restored import Restoration
from app.store.operations.rollup_check import RollupCheck
from app.store.operations.rollup_rebuild import RollupRebuild
from app.store.operations.truncation import TruncationQueries
from app.store.operations.upgrades import Upgrades
from app.store.stages.job_leases import JobLeases
from app.store.stages.pending import BacklogPosition
from app.store.workspace.exports import Part
from app.store.workspace.pass_periods import PERIOD, TWELVE_BEFORE, TWELVE_ENDING, TWELVE_LATER, Ranking
from tests.business import Business, bought_within, open_business, spent
from tests.commands.rewards.shop import create, redeem, request, roll_back
from tests.mail_server import run_mail_server
from tests.ranking import rank_passes
from tests.receiver import run_receiver
from tests.workers.jobs.test_imports import File, run_to_end, sales_csv
from workers.main import STAGES
from workers.stages.deliver import run_endpoint
from workers.stages.due import next_due_ms
from workers.stages.restock import restock
from workers.stages.seal_passes import delete_doubted, seal_passes
from workers.stages.send import run_channel

MODULES = [importlib.import_module(found.name) for found in pkgutil.walk_packages(app.store.__path__, "app.store.")]
QUERIES = [cls for module in MODULES for cls in vars(module).values() if inspect.isclass(cls)
           and issubclass(cls, ErrorTranslating) and cls.__module__ == module.__name__]  # fmt: skip
RANGES = {"$gt", "$gte", "$lt", "$lte"}
SMALL_COLLECTIONS = {
    # A workspace has few segments, keys, jobs and files, and an installation has few workspaces.
    "segments", "rules", "rewards", "reward_stocks", "rule_counts",
    "definitions", "replaced_versions", "api_keys", "token_keys", "jobs", "job_files", "workspaces", "clock",
    "constants", "heartbeats", "inbound_hooks", "webhook_endpoints",
}  # fmt: skip
EXEMPT_QUERIES = {
    ("ParkedPasses.release", "find"),
    ("ParkedPasses.release", "update"),
    ("FoldQueries.count_failure", "update"),
    ("FoldQueries.clear", "update"),
    ("FoldQueries.passes_behind", "aggregate"),
    ("Upgrades.lacks_flags", "find"),
    ("Upgrades.flag_dirty_heads", "update"),
}
"""Queries that need no full index.

An operator runs the first for one pass, so reading all events of the pass is acceptable. The next three update by ids and
also compare whether an event has moved. On both embedded servers such an update takes as long as one by ids alone.
`passes_behind` leaves out parked passes, which are few: the index {workspace, slot, rev} serves the rest of its filter.
`Upgrades` asks for any head, and reads all of them once.
"""

ONLY_EMBEDDED = {"EraseQueries.prune_oplog"}
"""Queries that no other store gets."""
ONLY_SHARDED = {"Sharding.divide", "Sharding.is_balanced"}
"""Commands that only the router of a sharded MongoDB takes."""

_running: ContextVar[str] = ContextVar("_running", default="-")


@dataclass(frozen=True)
class SentFilter:
    """One filter that was sent: by which named query, with which command, to which collection."""

    query: str
    verb: str
    collection: str
    filter: Mapping[str, Any]
    explainable: Mapping[str, Any] | None

    @property
    def shape(self) -> str:
        """The filter without its values: equal for all filters that differ only in them and use the same indexes."""
        parts = (
            f"{name}:{','.join(sorted(c)) if isinstance(c, dict) else '='}{'' if implies_lower_bound(c) else '?'}"
            for name, c in sorted(self.filter.items())
        )
        return f"{self.query} {self.verb} {self.collection} {{{' '.join(parts)}}}"


class FilterListener(CommandListener):
    """Listener that stores each filter."""

    def __init__(self) -> None:
        self.sent: dict[str, SentFilter] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """Store the filters of a command."""
        command, verb = event.command, event.command_name
        if _running.get() == "-" and verb == "find":
            return  # This find is the test's own.
        if event.database_name in {"local", FILLER_DATABASE}:
            return  # The oplog of a local store is empty but for the newest writes.
        if verb not in {"find", "aggregate", "update", "delete", "findAndModify"}:
            return
        explainable = None
        if verb == "find":
            filters = [command["filter"]]
            explainable = {k: v for k, v in command.items() if k in ("find", "filter", "sort", "limit", "projection")}
        elif verb == "aggregate":
            filters = [command["pipeline"][0]["$match"]]
            explainable = {k: command[k] for k in ("aggregate", "pipeline")} | {"cursor": {}}
        elif verb == "findAndModify":
            filters = [command["query"]]
        else:
            filters = [change["q"] for change in command[{"update": "updates", "delete": "deletes"}[verb]]]
        for each in filters:
            sent = SentFilter(_running.get(), verb, command[verb], filter=dict(each), explainable=explainable)
            self.sent.setdefault(sent.shape, sent)

    def succeeded(self, event: object) -> None:
        """Ignore the event."""

    def failed(self, event: object) -> None:
        """Ignore the event."""


@pytest.fixture
async def observed(resources: Resources) -> AsyncIterator[tuple[Business, FilterListener]]:
    """Yield a business and the listener of its store."""
    listener = FilterListener()
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
        resources.settings.mongodb_uri, tz_aware=True, tzinfo=UTC, event_listeners=[listener], w="majority",
        readConcernLevel="majority", retryWrites=False,
    )  # fmt: skip
    fixed = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    resources = replace(resources, db=client[settings.database], clock=fixed, settings=settings)
    yield await open_business(resources, fixed), listener
    client.close()


def observe(calls: set[str], cls: type, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method, changed so that it counts as the running query while it runs."""
    title = f"{cls.__name__}.{name}"

    async def as_query(*args: Any, **kwargs: Any) -> Any:
        calls.add(title)
        token = _running.set(title)
        try:
            return await method(*args, **kwargs)
        finally:
            _running.reset(token)

    async def as_stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        calls.add(title)
        async for item in method(*args, **kwargs):
            yield item

    return as_query if inspect.iscoroutinefunction(method) else as_stream


def public_methods(cls: type) -> dict[str, Callable[..., Any]]:
    return {
        name: method
        for name, method in vars(cls).items()
        if not name.startswith("_") and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
    }


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the set of the named queries called so far."""
    calls: set[str] = set()
    for cls in QUERIES:
        for name, method in public_methods(cls).items():
            monkeypatch.setattr(cls, name, observe(calls, cls, name, method))
    return calls


async def call_scheduled_edits(business: Business, segment: Segment) -> None:
    """Call the queries of edits that are scheduled, made, refused and withdrawn."""
    ctx, worker, store = business.ctx, business.worker, business.ctx.workspace
    recent = await store.segments.by_key("recent")
    assert recent is not None
    for segment_id in (recent.id, segment.id):
        edit = ScheduledEdit(
            id="edit", segment_id=segment_id, at=await ctx.now(), criteria=segment.criteria, timezone=None,
            zone_field=None, labels={"name": "Lately"}, notify="SILENT",
            fires_rules=False, created_at=await ctx.now(), created_by="key_test",
        )  # fmt: skip
        assert await store.scheduled_edits.put(edit)
        assert await worker.scheduled_edit_looks.due(to_ms(edit.at), 1) == [(store.id, segment_id)]
        await STAGES["schedule"](worker, f"{store.id}/{segment_id}")
    assert await store.scheduled_edits.withdraw(segment.id), "an archived segment is not edited"


async def call_all_queries(business: Business) -> None:
    """Call every named query of the product."""
    ctx, worker = business.ctx, business.worker
    store = ctx.workspace
    recent = await business.create_segment("recent", bought_within(30))
    business.clock.set(datetime(2026, 1, 2, tzinfo=UTC))
    await business.create_passes("ann", "bob")
    await business.record(*({"amount": n, "pass_external_id": f"p{n % 5}", "external_id": str(n)} for n in range(40)))
    await business.record({"amount": 1, "pass_external_id": "p1", "external_id": "1"})
    await business.run_worker()
    ann = await business.read_pass("p1")
    await business.record({"amount": 2, "pass_id": ann.id, "pass_external_id": None})
    ctx.resources.cache.__init__()  # type: ignore[misc]  # an empty cache, as in a process that has just started
    await business.record({"amount": 2, "pass_id": ann.id, "pass_external_id": None})
    await update_pass(ctx, ann.id, fields={"tier": "gold"})
    await business.run_worker()
    rich = await business.create_segment("rich", spent(20, days=30))
    await update_segment(ctx, rich.id, criteria=spent(30, days=30), name="Richer")
    await business.run_worker()
    business.clock.set(datetime(2026, 1, 31, 23, 59, 59, 900_000, tzinfo=UTC))
    await next_due_ms(worker, to_ms(await ctx.now()), 1_500)
    await store.deliveries.next_due_ms("endpoint", to_ms(await ctx.now()))
    for slot in (0, 1):
        await worker.fold_queries.passes_behind(store.id, 1, 1, slot)
    business.clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    await business.run_worker()
    await archive_segment(ctx, rich.id)
    with pytest.raises(Conflict):
        await business.create_segment("recent", bought_within(30))
    many = ({"amount": 1, "occurred_at": f"2026-02-20T00:{n // 60:02}:{n % 60:02}Z"} for n in range(150))
    await business.record(*({"pass_external_id": "many", **item} for item in many))
    await business.run_worker()
    business.clock.set(datetime(2026, 4, 1, tzinfo=UTC))
    await business.run_worker()

    full = PageRequest(2)
    for query in (EventQuery(), EventQuery(types=("purchase",)), EventQuery(pass_id=ann.id), EventQuery(
        pass_id=ann.id, types=("purchase",), metadata=(Condition("x", Operator.EQ, 1),),
        occurred_after=datetime(2025, 1, 1, tzinfo=UTC), recorded_before=datetime(2027, 1, 1, tzinfo=UTC),
    )):  # fmt: skip
        first = (await store.events.page(query, full)).items
        await store.events.count(query)
        await store.events.count(query, 1_000)
        await store.events.scan(query)
        if first:
            key = first[-1].occurred_ms, first[-1].id
            await store.events.page(query, PageRequest(2, after=key))
            await store.events.page(query, PageRequest(2, before=key, backward=True), oldest_first=True)
            await store.events.scan(query, [*key, 1], 2)
    await store.events.get_many([event.id for event in first])
    assert await store.events.count(EventQuery(external_id="1", sources=("api", "till"))) == 1
    await store.aggregations.of_pass(ann.id, datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    for feed in (
        ActivityQuery(), ActivityQuery(pass_id=ann.id), ActivityQuery(segment_ids=(recent.id,)),
        ActivityQuery(types=("customer.created",)), ActivityQuery(types=("customer.created", "customer.updated")),
        ActivityQuery(category="EFFECT", include_historical=False, include_silent=True),
        ActivityQuery(event_types=("purchase",), sources=("api",), causes=("EVENT",),
                      metadata=(Condition("store", Operator.EQ, "x"),)),
    ):  # fmt: skip
        await store.activities.page(feed, PageRequest(2, after=(1,)))
        await store.activities.count(feed)
    await store.activities.after(3, 5)
    await store.activities.after_of_passes([ann.id, "pass_none"], 1, 2)
    await store.current_last_position()
    await store.activities.get_many(["act_none:1"])
    await store.activities.by_numbers([(ann.id, 1)])
    for span in (PageRequest(2), PageRequest(2, after=("pass_0",)), PageRequest(2, before=("pass_z",), backward=True)):
        await store.intervals.members(recent.id, await ctx.now(), span)
        await store.intervals.changes(recent.id, Change.STAYED, EARLIEST, await ctx.now(), span=span)
    await store.intervals.count_members(recent.id, await ctx.now())
    await store.intervals.count_changes(recent.id, EARLIEST, await ctx.now())
    for span in (PageRequest(2), PageRequest(2, after=(to_ms(await ctx.now()), "z"))):
        await store.intervals.of_pass(ann.id, span)
        await store.intervals.of_pass(ann.id, span, recent.id)
    assert await store.intervals.count_of_pass(ann.id) > 0
    assert await store.intervals.count_of_pass(ann.id, recent.id) > 0
    await store.intervals.get("act_none:1")
    await store.intervals.days(recent.id, EARLIEST.date(), (await ctx.now()).date())
    assert await store.progress.computed_through(await ctx.now()) == await ctx.now()
    await store.audit.get_many(["audit_none"])
    for page in (
        store.passes.page,
        store.segments.page,
        store.rules.page,
        store.keys.page,
        store.jobs.page,
        store.audit.page,
    ):
        await page(full)
        await page(PageRequest(2, after=(to_ms(await ctx.now()), "z")))
    await update_event_type(ctx, "purchase", label="Sale")
    await update_event_type(ctx, "purchase", label="Purchase")
    dimension = {"name": "store", "type": "TEXT", "dimension": True}
    prepared = await update_event_type(ctx, "purchase", attributes=[dimension])
    await STAGES["jobs"](business.worker, dimension_job_id(prepared.id, prepared.version))
    assert await business.worker.seal_queries.dimensions(store.id)
    await business.worker.seal_queries.mark_overflowing(store.id, Dimension("purchase", "store"))
    assert await event_type(ctx, "purchase", 2)
    await set_event_rules(ctx, Acceptance.STRICT)
    await set_event_rules(ctx, Acceptance.OPEN)
    assert await store.vocabulary.types() == ["purchase"]
    assert await store.vocabulary.sources() == ["api"]
    await find_passes(business, recent.id)
    await store.passes.by_external_id("p1")
    await store.passes.get(ann.id)
    await store.passes.lots([ann.id])
    await store.passes.get_by_external_ids(["p1"])
    await store.passes.members(recent.id, PageRequest(2, after=("pass_0",)))
    await store.definitions.versions()
    assert await store.definitions.latest(DefinitionKind.TIERS, TIER_PROGRAM) is None
    assert await store.definitions.tier_programs([TIER_PROGRAM]) == {}
    await store.passes.measures([ann.id])
    card = await store.passes.complete(ann.id)
    assert card is not None
    await store.aggregations.points_of(card)
    assert await store.passes.version(ann.id) == card.version
    await store.counted_events.history(card)
    await store.counted_events.histories([card])
    assert [part async for part in store.evaluable_passes.all(["m1"], is_counted=True)]
    await store.evaluable_passes.page(PageRequest(2), ["m1"], is_counted=True)
    assert await store.pass_draws.ids(0, 3, 3)
    assert await store.evaluable_passes.drawn(3, 5, ["m1"], is_counted=True, is_replayed=True)
    span_ms = (to_ms(EARLIEST), to_ms(await ctx.now()))
    await store.counted_events.latest_matching(card, lambda event: True, span_ms, 5)
    await store.counted_events.latest_matching(card, lambda event: True, (None, None), 5)
    await store.counted_events.expiring(card, Measure(EventFilter(), within_ms=1), 0, 1_000)
    await store.segments.labels([recent.id])
    assert (await store.segments.versions(rich.id, PageRequest(2, after=(1_000_000,)))).has_more
    assert await store.segments.version(rich.id, 1)
    assert await store.segments.first_version(rich.id) == 1
    await call_scheduled_edits(business, rich)
    assert await store.segments.free_key(rich.id, "rich")
    assert await store.segments.hold_key(rich.id, "rich", 4)
    assert await store.segments.held_key(rich.id, 4) == "rich"
    trigger, effects = {"segmentEntered": {"segmentId": recent.id}}, [{"awardPoints": {"points": 1}}]
    rule = await create_rule(ctx, {"key": "rule", "name": "Rule", "trigger": trigger, "effects": effects})
    await set_rule_status(ctx, rule.id, RuleStatus.PAUSED, "pauseRule")
    assert await store.rules.by_key("rule")
    await store.rules.versions(rule.id, PageRequest(2, after=(rule.latest.revision,)))
    assert await store.rules.count_versions(rule.id) == 2
    assert await store.rules.first_revision(rule.id) == rule.latest.revision
    await store.passes.is_evaluated_until(rule.latest.revision, rule.latest.at)
    await store.passes.is_evaluated_until(0, EARLIEST)
    for firings in (
        FiringQuery(), FiringQuery(rule_id=rule.id), FiringQuery(pass_id=ann.id, status=FiringStatus.FAILED),
        FiringQuery(rule_id=rule.id, status=FiringStatus.SUCCEEDED, occurred_after=await ctx.now()),
    ):  # fmt: skip
        await store.firings.page(firings, PageRequest(2, after=(to_ms(await ctx.now()), "z")))
        await store.firings.count(firings)
    await store.firings.made_for(["event_none"])
    await store.firings.brief(rule.id, None, None)
    assert await store.firings.count_retried(rule.id, None, await ctx.now()) == 0
    await store.firings.first_firings(rule.id, [ann.id], None, await ctx.now())
    assert not await store.firings.has_converted(ann.id, ["none"], 0, 5)
    await store.firings.points_awarded(rule.id, None, await ctx.now())
    assert [each async for each in store.firings.conversions(["visit"], EARLIEST, await ctx.now())] == []
    await store.outboxes.entries([ann.id])
    await store.outboxes.evaluated([ann.id])
    await store.activities.of_events(["event_none"])
    worker.diagnostics.add(store.id, to_ms(await ctx.now()), {rule.id: 1}, {})
    await worker.diagnostics.store(0)
    assert (await store.rule_counts.read(rule.id, None, None)).matched == 1
    for workspaces in (("", None), ("", "ws_z")):
        for named in (None, await worker.fold_queries.workspaces()):
            assert await worker.fold_queries.pending_between(0, workspaces, 5, workspace_ids=named) == []
    for position in (None, BacklogPosition(0, store.id, "pass_z")):
        for named in (None, [store.id, "ws_z"]):
            assert await worker.fold_queries.pending(0, 15, position, 5, workspace_ids=named) == []
    await store.segments.members(recent.id, full)
    await store.segments.member_counts([recent.id])
    await store.segments.member_counts([recent.id, "none"])
    await store.segments.evaluated_counts([recent.revision])
    for number in (
        store.passes.count,
        store.segments.count,
        store.rules.count,
        store.keys.count,
        store.jobs.count,
        store.audit.count,
    ):
        await number()

    await set_local_time(ctx, "Europe/Berlin", "SUNDAY")
    till, secret = await create_api_key(ctx, "Till", ("read",))
    keyring = Keyring(ctx.resources)
    await keyring.actor(f"Bearer {secret}")
    await keyring.aclose()
    await rotate_api_key(ctx, till.id)
    await revoke_api_key(ctx, till.id)
    await make_and_revoke_tokens(business)
    await redeem_and_restock(business)
    await aggregate_remove_and_merge(business)
    await receive_and_rerun(business)
    await deliver_and_replay(business)
    await send_messages(business)
    await react_and_repeat(business)
    await record_with_keys(business)
    await run_jobs_and_operations(business)


async def make_and_revoke_tokens(business: Business) -> None:
    ctx, store = business.ctx, business.ctx.workspace
    [card] = await business.create_passes("holder")
    token, _ = await create_pass_token(ctx, TokenInput(pass_id=card.id, scopes=["READ"]))
    keyring = Keyring(ctx.resources)
    assert (await keyring.caller(f"Bearer {token}")).grant is not None
    await revoke_pass_tokens(ctx, card.id)
    await rotate_pass_token_key(ctx)
    await store.segments.visible_ids()
    await store.events.page(EventQuery(pass_id=card.id, except_types=("rule_fired",)), PageRequest(2))
    own = ActivityQuery(pass_id=card.id, among_segments=("seg_1",), except_event_types=("list_added",))
    await store.activities.page(own, PageRequest(2))


async def redeem_and_restock(business: Business) -> None:
    ctx, store = business.ctx, business.ctx.workspace
    reward = await create(business, pointsCost=0, limits={"total": 3}, code={"pattern": "A-######"})
    await business.create_passes("redeemer")
    done = await redeem(business, "redeemer", external_id="red-1", quantity=2)
    await request(business, "redeemer", external_id="red-1", quantity=2)
    await roll_back(business, done.id)
    await free_units(store.stock, done.id or "", keep=1)
    # React has freed both units of the redemption that was rolled back.
    assert len(await store.stock.recall(reward.id, 3, 1)) == 1
    assert [(await redeem(business, "redeemer")).status.value for _ in range(4)] == [*["SUCCEEDED"] * 3, "FAILED"]
    assert await store.stock.count_taken(reward.id, 1, 3) == 3
    assert await store.stock.taken(reward.id, 1, 3) == {1, 2, 3}
    assert await store.stock.next_numbers([reward.id]) == {reward.id: 4}
    card = await business.read_pass("redeemer")
    for span in (PageRequest(2), PageRequest(2, after=(to_ms(await ctx.now()), "z"))):
        await store.redemptions.page(card.id, span)
    assert await store.redemptions.count(card.id) == 5
    await store.outboxes.decisions([card.id])
    await ctx.resources.db["reward_units"].update_many({"open": {"$gte": 0}}, {"$set": {"open": 1}})
    assert await business.worker.restock_queries.waiting_workspaces(2) == [store.id]
    await store.stock.postpone(await store.stock.open_units(2, 1), 1)
    await restock(business.worker, store.id)
    await store.removals.stub_missing({"event_never": card.id}, 1)
    assert await store.removals.never_recorded(["event_never", "event_none"]) == {"event_never"}
    assert await store.codes.claim("A-1", "red_1", card.id, system_ms=1)
    assert not await store.codes.claim("A-1", "red_2", card.id, system_ms=1)
    assert await business.worker.restock_queries.waiting_workspaces(2) == [store.id]
    await store.codes.postpone(await store.codes.open_codes(2, 1), 1)
    await store.codes.close(await store.codes.open_codes(2, 1))
    await store.codes.free([(store.codes.id_of("A-1"), "red_1")])
    await store.rewards.page(PageRequest(2))
    assert await store.rewards.by_key("coffee")
    assert await store.rewards.count_versions(reward.id) == 1


async def aggregate_remove_and_merge(business: Business) -> None:
    ctx, store = business.ctx, business.ctx.workspace
    for query in (EventQuery(), EventQuery(types=("purchase",)), EventQuery(pass_id="pass_none")):
        await store.aggregations.groups(query, Aggregation(Function.COUNT, None, (GroupBy.TYPE,)), 10)
        await store.aggregations.read_counted(query, Aggregation(Function.SUM, f"{METADATA}x"), 10, lambda events: None)
        for cells in Cells:
            selection = Selection(to_ms(EARLIEST), to_ms(await ctx.now()), query.types, cells=cells)
            await store.rollups.rows_of_events(selection, UTC_ZONE)
        await store.rollups.pending_rows(selection)
        await store.rollups.parked(selection)
        await store.rollups.waiting(selection)
        await store.removals.are_same_customers(await store.removals.mark_customers())
        await store.uncounted.of_pass("pass_none")
        await store.uncounted.of_workspace()
        assert await store.rollups.fit_events(selection, 1_000)
        span = (selection.from_ms, selection.to_ms)
        await store.rollups.charge_spans(selection, [span])
        await store.rollups.rows_of_spans(selection, [span])
        assert await store.rollups.count_by_hour(selection, span, 1_000)
        by_value = replace(selection, types=("purchase",), dimension=Dimension("purchase", "store"))
        await store.rollups.rows_of_spans(by_value, [span])
        await store.rollups.pending_rows(by_value)
        await store.customers.active(query)
        await store.moments.read_moments(query, lambda _: None, 10_000, spend_in="USD")
        await store.moments.acted_before(["pass_none"], query.types, EARLIEST)
    await store.customers.active_before(["pass_none"], EARLIEST)
    for amount in (1, 2):
        await business.record({"pass_external_id": "39", "amount": amount, "occurred_at": await ctx.now()})
        await business.run_worker()
        await seal_passes(business.worker, store.id)
    with patch.multiple("workers.stages.count_active", COUNT_DELAY_SECONDS=0.0, COUNT_SLICE_SECONDS=1e9):
        business.worker.looks.uncounted.clear()
        await seal_passes(business.worker, store.id)
    counted = await store.pass_periods.count_active([2026]), await store.pass_periods.count_new(202601, 202612)
    assert await store.active_counts.read(2026) == counted
    await delete_doubted(business.worker, 2**42)
    await business.record({"pass_external_id": "39", "amount": 3, "occurred_at": await ctx.now()})
    for after, before in ((EARLIEST, await ctx.now() + timedelta(days=31)), (EARLIEST, EARLIEST + timedelta(days=3))):
        await rank_passes(ctx, COUNT, after, before, 3)
        for ranking in ((PERIOD, 2026), (TWELVE_ENDING, 202601), (TWELVE_BEFORE, 202601), (TWELVE_LATER, 2026)):
            await store.pass_periods.ranked(COUNT, Ranking(*ranking), None, 3, low=Decimal(1))
        await store.pass_periods.have_twelve_months()
        await store.pass_periods.with_contents(202602, 202612, 3)
        await store.pass_periods.has_contents(COUNT, 202602, 202612)
        await store.pass_periods.below_zero(COUNT, 202601, 3)
    await count_active(ctx, *bounds_of(202601))
    await store.rollups.first_cause_at(selection.to_ms)
    await store.rollups.first_made_at(selection.to_ms)
    month = Period(Level.MONTH, Level.MONTH.start_ms(selection.to_ms))
    await store.rollup_heads.are_complete()
    await store.rollup_heads.dirty(Level.HOUR, span, 10)
    await store.rollup_heads.heads([month])
    await store.rollup_heads.month_heads()
    plan = plan_period(selection, UTC_ZONE)
    assert plan is not None
    assert await store.rollup_contents.rows(plan, {month: Head(None, 1, (("purchase", 1),))}) is None
    worker = business.worker
    worker.seals.timing = AT_ONCE
    assert await worker.seal_queries.waiting_workspaces("", 2) == [store.id]
    for _ in range(2):
        await STAGES["seal"](worker, store.id)
        await business.record({"pass_external_id": "p1"})
        await business.run_worker()
    assert not await worker.seal_queries.drop_contents(to_ms(datetime(2100, 1, 1, tzinfo=UTC)), 1_000)
    job, _ = await delete_events(ctx, EventQuery(external_id="39", sources=("api",)))
    assert job is not None
    await run_to_end(business, job)
    await store.removals.batches(["event_none"])
    assert (await store.removals.pending()).number == 1
    assert not await store.removals.is_erasing()
    assert await business.worker.forget_queries.waiting_workspaces() == [store.id]
    doubted = await store.vocabulary.doubted()
    await store.vocabulary.keep(doubted)
    await store.vocabulary.delete(doubted)
    await create_passes(ctx, [PassInput("two", {"name": "Two"})])
    await business.record({"pass_external_id": "erased"}, {"pass_external_id": "one"}, {"pass_external_id": "two"})
    ids = await store.passes.ids_of(["one", "two"])
    await merge_passes(ctx, ids["one"], ids["two"])
    await business.run_worker()
    assert await store.passes.aliases([ids["one"]]) == {ids["one"]: (ids["two"],)}
    assert await store.passes.survivor_id(ids["two"]) == ids["one"]
    assert await business.worker.merge_queries.published_elsewhere({"event_none": ids["one"]}) == set()
    assert not await business.worker.merge_queries.holds_moved(ids["one"], store.id)
    await store.passes.free_names_of_erased(["one"])
    erased_id = (await business.read_pass("erased")).id
    await erase_pass(ctx, pass_id=erased_id)
    await business.run_worker()
    assert await business.worker.erase_queries.erased_among([erased_id]) == {erased_id}
    await business.run_worker()


async def receive_and_rerun(business: Business) -> None:
    ctx, store = business.ctx, business.ctx.workspace
    mapping = {"fields": {"passExternalId": "who", "type": {"value": "visit"}}}
    hook, _ = await create_inbound_hook(ctx, "Shop", "shop", mapping, create_missing_passes=True)
    await update_inbound_hook(ctx, hook.id, verification=VerificationInput(Scheme.TIMESTAMPED_HMAC_SHA256))
    await rotate_inbound_hook_secret(ctx, hook.id)
    await store.hooks.page(PageRequest(2, after=(to_ms(await ctx.now()), "z")))
    await store.hooks.count()
    for number, body in enumerate((b'{"who": "ann"}', b"{}", b"{}")):
        failed = (await receive_message(ctx.resources, Message(hook, str(number), body, headers={}))).delivery
    await rerun_inbound_deliveries(ctx, hook.id, limit=1)
    await discard_inbound_delivery(ctx, failed.id)
    refund = {"fields": {**mapping["fields"], "correctionOf": "of"}}
    hook = await update_inbound_hook(ctx, hook.id, mapping=refund)
    failed = (await receive_message(ctx.resources, Message(hook, "refund", b'{"who": "ann", "of": "1"}', {}))).delivery
    later_ms = to_ms(datetime.now(UTC)) + 60_000
    assert await business.worker.rerun_queries.waiting(later_ms, 1) == [failed.id]
    assert await business.worker.rerun_queries.claim(failed.id, later_ms)
    await rerun_waiting_delivery(ctx.resources, store.id, failed.id)
    await store.inbound.stop_reruns(failed.id)
    await store.inbound.page(hook.id, failed.status, PageRequest(2, after=(to_ms(await ctx.now()), "z")))
    await store.inbound.count(hook.id, failed.status)
    await store.inbound.forget(["ann", "#0123456789abcdef"])


async def deliver_and_replay(business: Business) -> None:
    ctx, store, leases = business.ctx, business.ctx.workspace, business.worker.endpoint_leases
    async with run_receiver() as receiver:
        url = receiver.url
        endpoint, _ = await create_webhook_endpoint(ctx, url)
        await business.record({"external_id": "delivered", "source": "endpoint"})
        await business.run_worker()
        receiver.respond = lambda _: 200 if receiver.requests[1:] else 500
        await run_endpoint(business.worker, endpoint.id)
    await rotate_webhook_secret(ctx, endpoint.id)
    for query in (
        DeliveryQuery(endpoint.id),
        DeliveryQuery(endpoint.id, tuple(WebhookDeliveryStatus)[:2], ("a",), after=1, upto=9),
    ):
        await store.deliveries.page(query, PageRequest(2, after=(to_ms(await ctx.now()), "z")))
        await store.deliveries.count(query)
    await store.deliveries.get_many([f"{endpoint.id}:1"])
    await store.deliveries.counts([endpoint.id])
    for replay in (Replay(), Replay(statuses=(WebhookDeliveryStatus.SUCCEEDED,))):
        await replay_webhook_deliveries(ctx, endpoint.id, replay, dry_run=True)
        job, _ = await replay_webhook_deliveries(ctx, endpoint.id, replay)
        assert job is not None
        await run_to_end(business, job)
    # The receiver is closed, so this delivery fails.
    await run_endpoint(business.worker, endpoint.id)
    assert await store.partitions.states([endpoint.id])
    assert await store.partitions.positions(endpoint.id)
    assert await leases.of_workspace(store.id)
    assert await leases.waiting(10**14)
    lease = await leases.claim(endpoint.id, 10**14, "w")
    assert lease is not None
    assert [holder for _, holder in await leases.held()] == ["w"]
    held = await leases.lease_on(endpoint.id)
    assert held is not None
    lease = await leases.take_over(held, 10**14)
    assert lease is not None
    await leases.release(lease, 0)
    await update_webhook_endpoint(ctx, endpoint.id, status=EndpointStatus.DISABLED)
    await update_webhook_endpoint(ctx, endpoint.id, status=EndpointStatus.ENABLED)
    await store.webhooks.disable(endpoint.id, DisabledReason.GONE, await ctx.now())
    await run_endpoint(business.worker, endpoint.id, lambda: 2 * 10**14)
    await store.webhooks.page(PageRequest(2, after=(to_ms(await ctx.now()), "z")))
    await delete_webhook_endpoint(ctx, endpoint.id)


async def send_messages(business: Business) -> None:
    ctx, store, worker = business.ctx, business.ctx.workspace, business.worker
    async with run_mail_server() as mail:
        settings = {"host": "127.0.0.1", "port": mail.port, "security": "NONE", "from": "a@b.test"}
        sent = {"key": "mail", "name": "Mail", "kind": "EMAIL", "provider": "SMTP", "settings": settings}
        sent["frequencyCap"] = {"count": 5, "calendar": "DAY"}
        channel, _ = await create_channel(ctx, sent)
        await update_channel(ctx, channel.id, {"name": "Mails"})
        [card] = await business.create_passes("mailed")
        await update_pass(ctx, card.id, holder={"email": "a@b.test"})
        content = {"channelKey": "mail", "template": "Hello"}
        message = await send_message(ctx, content, pass_id=card.id, external_id=None, idempotency_key="m")
        mail.answer_data = lambda _: "554 no"
        await run_channel(worker, channel.id)
        assert await retry_messages(ctx, ids=None, channel_key="mail") == 1
        mail.answer_data = lambda _: "250 OK"
        await run_channel(worker, channel.id)
    assert (await store.messages.get_many([message.id]))[message.id].status is MessageStatus.SENT
    now_ms = to_ms(datetime.now(UTC))
    for query in (
        MessageQuery(), MessageQuery(pass_ids=[card.id]), MessageQuery(channel_id=channel.id, rule_id="rule_none"),
        MessageQuery(pass_ids=[card.id, "pass_none"], statuses=(MessageStatus.SENT,), job_id="job_none"),
    ):  # fmt: skip
        await store.messages.page(query, PageRequest(2, after=(now_ms, "z")))
        await store.messages.count(query)
    await store.channels.page(PageRequest(2, after=(now_ms, "z")))
    await store.channels.count()
    await store.messages.work.states([channel.id])
    await store.messages.work.positions(channel.id)
    assert await worker.channel_leases.waiting(0) == []
    assert await worker.message_looks.overdue(now_ms) == set()
    assert await worker.message_looks.release_held(now_ms, now_ms) == set()
    assert await store.jobs.get_with_order("job_none") is None
    await store.messages.erase_of_pass(card.id, datetime.now(UTC))
    await store.messages.templates.delete_of_pass(card.id)
    await store.messages.insert_stubs(["msg_stub"], datetime.now(UTC))
    await store.messages.work.delete(channel.id)


async def find_passes(business: Business, segment_id: str) -> None:
    finding, now_ms = business.ctx.workspace.finding, to_ms(datetime(2027, 1, 1, tzinfo=UTC))
    for query in (
        PassQuery(), PassQuery(ids=["pass_none"]), PassQuery(search=parse_search("p1")),
        PassQuery(search=parse_search("p")), PassQuery(search=parse_search("an")),
        PassQuery(segment_ids=[segment_id]), PassQuery(segment_ids=[segment_id], statuses=("ACTIVE",)),
        PassQuery(created_after=datetime(2025, 1, 1, tzinfo=UTC)), PassQuery(points_min=Decimal(0), points_max=Decimal(9)),
        PassQuery(last_event_before=datetime(2027, 1, 1, tzinfo=UTC)), PassQuery(consent="news"),
    ):  # fmt: skip
        for field in PassOrderField:
            await finding.page(query, PageRequest(2), PassOrder(field), now_ms)
            await finding.page(query, PageRequest(2, backward=True), PassOrder(field, ascending=True), now_ms)
        await finding.count(query)


async def react_and_repeat(business: Business) -> None:
    ctx, reactions = business.ctx, business.ctx.workspace.reactions
    await business.record(
        {"pass_external_id": "giver", "type": "point_add", "points": 5}, {"pass_external_id": "taker"}
    )
    await business.run_worker()
    ids = await ctx.workspace.passes.ids_of(["giver", "taker"])
    sent = (await transfer_points(ctx, ids["giver"], ids["taker"], 5, "t1")).event
    await transfer_points(ctx, ids["giver"], ids["taker"], 5, "t1")
    await read_transfer(ctx, sent)
    await business.run_worker()
    [*_, last] = await business.read_log()
    body = ReceivePoints(sent.id, ids["taker"], Decimal(5))
    reaction = Reaction(event_id=sent.id, index=0, pass_id=sent.pass_id, activity_id=last.id, body=body)
    parked = ParkedReaction(reaction, Refusal("NO", "Not."), attempt_count=1, at=await ctx.now())
    await reactions.park([parked])
    assert await reactions.parked_among([sent.id]) == {sent.id}
    await reactions.requeue([sent.id], 0)
    for query in (
        ParkedQuery(),
        ParkedQuery(pass_ids=(sent.pass_id,)),
        ParkedQuery(kinds=("freeUnits",), codes=("NO",)),
    ):
        for span in (PageRequest(2), PageRequest(2, after=(to_ms(await ctx.now()), "z"))):
            await reactions.page(query, span)
        await reactions.count(query)
    assert await reactions.requeue_ids([reaction.id], 0) == 1
    assert await ctx.workspace.with_aliases(sent.pass_id) == (sent.pass_id,)
    assert len(await reactions.due(10)) == 1
    await reactions.complete([reaction])
    await reactions.forget_pass(sent.pass_id)
    assert await reactions.ending_with(sent.pass_id) == []
    assert await reactions.first_unread() is None
    assert not await reactions.has_unmade([sent.pass_id])
    await Upgrades(ctx.resources.db, ctx.resources.in_chunk).start_reactions(0)


async def record_with_keys(business: Business) -> None:
    ctx = business.ctx
    many = [EventInput(type="purchase", pass_external_id="p1", external_id=f"r{n}") for n in range(100)]
    issued = await receipt_of(ctx, await record_call(ctx, many, idempotency_key="k"))
    await record_call(ctx, many, idempotency_key="k")
    await record_call(ctx, [EventInput(type="visit", pass_id="pass_none")], idempotency_key="released")
    await business.run_worker()
    await wait_until_folded(ctx, issued.token, published=True)


async def run_jobs_and_operations(business: Business) -> None:
    ctx, worker, db = business.ctx, business.worker, business.ctx.resources.db
    await run_to_end(business, await import_events(ctx, File(sales_csv(5) + "c1,never,1,1\n")))
    job = await import_events(ctx, File(sales_csv(5), "more.csv"))
    await cancel_job(ctx, job.id)
    await run_to_end(business, job)
    assert [lines async for lines in ctx.workspace.jobs.report(job.id)] == []
    job = await run_to_end(business, await export_events(ctx, EventQuery(), ExportFormat.JSONL))
    assert job.file is not None
    assert [part async for part in ctx.workspace.exports.read(job.id, job.file.parts)]
    await ctx.workspace.exports.put(job.id, 0, b"", Part(0, None), datetime.now(UTC))
    await run_to_end(business, await export_activities(ctx, ActivityQuery(), ExportFormat.JSONL))
    await ctx.workspace.exports.drop(job.id)
    leases = JobLeases(db)
    job = await import_events(ctx, File(sales_csv(5), "again.csv"))
    run = await leases.claim(job.id, 10**13)
    assert run is not None
    await leases.open(10**13)
    await leases.renew(run, 10**13)
    await leases.record_failure(run, 0)
    await leases.release(run)
    run = await leases.claim(job.id, 2 * 10**13)
    assert run is not None
    await leases.finish(run, JobStatus.FAILED, datetime(2026, 3, 1, tzinfo=UTC), "no")
    await ctx.workspace.jobs.get_many([job.id])

    ann = await business.read_pass("p1")
    await business.record({"pass_external_id": "p1"})
    for _ in range(5):
        await worker.fold_queries.count_failure(ann, "Boom", 5)
    parked_passes = ParkedPasses(db)
    for card in await parked_passes.passes():
        await parked_passes.release(card, await ctx.now())
    await business.run_worker()
    await BacklogQueries(db).measure(10**13)
    heartbeats, at = Heartbeats(db), datetime.now(UTC)
    await heartbeats.beat("w", at, at + timedelta(seconds=5))
    await heartbeats.count_alive(at)
    await heartbeats.sharing(0)
    await worker.publish_queries.first_waiting(ctx.workspace.id)
    await worker.fold_queries.families([(ann, frozenset({"event_root"}))])
    await worker.fold_queries.pending_by_ids({"event_a": ctx.workspace.id})
    decided = {
        "event_a": Decision(balance=Decimal(1), step=2),
        "event_b": Decision((Reason("SOLD_OUT", "None is left."),)),
    }
    await worker.fold_queries.clear(
        list(decided), decisions=decided, workspace_ids=dict.fromkeys(decided, ctx.workspace.id)
    )
    event = (await ctx.workspace.events.page(EventQuery(), PageRequest(1))).items[0]
    named = {tombstone_id(event.id): ctx.workspace.id}
    await worker.rollup_marks.store_target_hours({tombstone_id(event.id): event.id}, workspace_ids=named)
    await db["workspaces"].update_one({"_id": ctx.workspace.id}, {"$unset": {"marked": ""}})
    await heartbeats.gone(["w"], 0)
    await heartbeats.remove("w")
    await Upgrades(db, 100).restate_segments(at)
    await Upgrades(db, 100).build_histories()
    await Upgrades(db, 100).mark_hours()
    assert await Upgrades(db, 100).lacks_flags()
    await Upgrades(db, 100).flag_dirty_heads()
    await ctx.workspace.history.follow(await ctx.workspace.activities.last_pos())
    await Upgrades(db, 100).renew_time_zones(at)
    await RollupRebuild(db, 100).mark_all(ctx.workspace.id, to_ms(EARLIEST), to_ms(at))
    assert (await RollupRebuild(db, 100).dirty(ctx.workspace.id)).number > 0
    await call_migration(Migration(db))
    await truncate_and_expire(business)
    await Restoration(db, 100).begin_epoch(at)
    await ctx.workspace.history.step_back(-1)
    await ctx.workspace.history.follow(await ctx.workspace.activities.last_pos())
    assert await check_all(business) == []
    assert await ctx.workspace.position_after(FeedCursor(2)) == 2
    await ctx.workspace.activities.find_appended((await business.read_log())[:2])
    manual = MongoClock(db)
    await manual.set(datetime(2026, 1, 1, tzinfo=UTC))
    await manual.elapsed()


async def truncate_and_expire(business: Business) -> None:
    db, workspace = business.ctx.resources.db, business.ctx.workspace
    queries, now = TruncationQueries(db, 100), datetime.now(UTC)
    assert workspace.id in await queries.workspaces()
    await create_webhook_endpoint(business.ctx, "http://127.0.0.1:1/none")
    await business.record({"pass_external_id": "late", "external_id": "late"})
    await _fold_only(business)
    plan = await queries.plan(workspace.id, before=await business.ctx.now())
    await queries.move_front(workspace.id, replace(plan, holds={}, wanted=2))
    assert await queries.delete_before_front(workspace.id) == 2
    assert await queries.expire_jobs(workspace.id, now + timedelta(days=1), timedelta(days=9)) > 0
    assert await queries.delete_audit(workspace.id, now + timedelta(days=1)) > 0


async def _fold_only(business: Business) -> None:
    for key in SLOT_RANGES:
        await STAGES["fold"](business.worker, key)


async def check_all(business: Business) -> list[Finding]:
    findings: list[Finding] = []
    checks = ConsistencyCheck(business.ctx.resources.db, business.ctx.resources.in_chunk)
    await checks.check_indexes(findings.append)
    for workspace_id in await checks.workspaces():
        await checks.check_log(workspace_id, findings.append)
        await checks.check_reactions(workspace_id, findings.append)
    await checks.check_pending(0, findings.append)
    await checks.check_passes(findings.append, lambda count: None)
    await checks.check_parked(findings.append)
    await DeepCheck(business.ctx.resources.db, business.ctx.resources.in_chunk).check(
        findings.append, lambda done: None
    )
    history = HistoryCheck(business.ctx.resources.db, business.ctx.resources.in_chunk)
    assert await history.check([business.ctx.workspace.id], findings.append) > 0
    counts = ActiveCountCheck(business.ctx.resources.db, business.ctx.workspace.id, business.ctx.resources.in_chunk)
    assert await counts.compare() == []
    rollups = RollupCheck(business.ctx.resources.db, business.ctx.workspace.id, business.ctx.resources.in_chunk)
    span = await rollups.span()
    assert span is not None
    await rollups.compare_day(
        Level.DAY.start_ms(span[1]), is_marked=await business.ctx.workspace.rollup_heads.are_complete()
    )
    await rollups.compare_month(Level.MONTH.start_ms(span[1]))
    await rollups.next_month(Level.MONTH.start_ms(span[0]), span[1])
    return findings


async def call_migration(migration: Migration) -> None:
    await migration.build_indexes("receipts", ["expires_at_1"], lambda progress: None)
    await migration.hide_index("receipts", "expires_at_1")
    await migration.drop_index("receipts", "expires_at_1")
    await migration.build_indexes("receipts", ["expires_at_1"], lambda progress: None)
    assert (await migration.compare_indexes()).lacking == ()


def implies_lower_bound(condition: Any) -> bool:
    """Return whether every value that meets the condition is a number of at least 0, or a text.

    The partial indexes contain only such values. MongoDB uses a partial index only if the filter implies its condition.
    """
    if isinstance(condition, dict):
        lower_bounds = [condition[name] for name in ("$gt", "$gte", "$eq") if name in condition]
        return any(map(is_indexed, lower_bounds)) or all(map(is_indexed, condition.get("$in", [None])))
    return is_indexed(condition)


def is_indexed(value: Any) -> bool:
    """Return whether the value is a number of at least 0, or a text."""
    if isinstance(value, Decimal128):
        return value.to_decimal() >= 0
    return isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0)


def find_problem(sent: SentFilter, *, is_embedded: bool = True) -> str | None:
    """Return why no index serves the filter, or None if one does.

    The embedded server does not use the index of ids for a list of them and another condition. MongoDB does.
    """
    conditions = sent.filter
    equal = {n for n, c in conditions.items() if not isinstance(c, dict) or {"$in"} <= set(c) <= {"$in", *RANGES}}
    if is_embedded and (index := find_misleading_index(sent)):
        return f"the embedded servers may use {index} and return too few documents"
    if "_id" in equal:
        is_list = is_embedded and isinstance(conditions["_id"], dict) and len(conditions) > 1
        return "a list of ids is combined with another condition" if is_list else None
    ranged = {n for n, c in conditions.items() if isinstance(c, dict) and set(c) <= RANGES}
    if ranged == conditions.keys() == {"_id"}:
        return None
    if other := set(conditions) - equal - ranged:
        return f"no index serves the condition on {other}"
    for model in INDEXES[sent.collection]:
        names, partial = list(model.document["key"]), model.document.get("partialFilterExpression", {})
        if not all(implies_lower_bound(sent.filter.get(name)) for name in partial):
            continue
        # An index whose condition is on another field holds only what meets it.
        conditions = {name: c for name, c in sent.filter.items() if name in names or name not in partial}
        if names[0] in conditions and set(conditions) <= set(names):
            prefix = next((index for index, name in enumerate(names) if name not in equal), len(names))
            beyond = set(conditions) - set(names[:prefix])
            if not beyond or names[prefix] in ranged:
                last = names[prefix] if beyond else ""
                if is_embedded and has_more_after_list(names, conditions):
                    return "the embedded servers do not use an index if more follows a list of values: match_by_index"
                if prefix and last != names[-1] and "$lte" in conditions.get(last, {}):
                    return f"$lte on {last}: the embedded server omits equal values if the index has further fields"
                return None
    return "no index begins with these conditions"


def has_more_after_list(names: Sequence[str], conditions: Mapping[str, Any]) -> bool:
    """Return whether a condition follows a list of values among the fields of an index."""
    used = [conditions[name] for name in names if name in conditions]
    return any(isinstance(condition, dict) and "$in" in condition for condition in used[:-1])


def find_misleading_index(sent: SentFilter) -> str | None:
    """Return an index with which an embedded server may answer the filter with too few documents; None without one.

    Both servers do (SecantusDB 0.7.0b3), if the filter has one value for the field on which a partial index depends. They do
    not if it also has one value for each field before that in the index. A filter with `_id` uses the index of ids.
    """
    single = {name for name, condition in sent.filter.items() if not isinstance(condition, dict)}
    for model in INDEXES[sent.collection] if "_id" not in sent.filter else ():
        names = list(model.document["key"])
        for name in model.document.get("partialFilterExpression", {}).keys() & single & set(names):
            if not single.issuperset(names[: names.index(name)]):
                return str(model.document["name"])
    return None


@pytest.mark.parametrize(
    ("conditions", "is_misled"),
    [
        ({"workspace": "w", "alias": 1}, True),
        ({"workspace": "w", "alias_of": {"$in": ["p"]}, "alias": 1}, True),
        ({"workspace": "w", "alias_of": "p", "alias": 1}, False),
        ({"workspace": "w", "alias": {"$gte": 0}}, False),
        ({"_id": "p", "alias": 1}, False),
    ],
)
def test_value_for_a_late_field_of_a_partial_index_needs_values_before_it(
    conditions: Mapping[str, object], is_misled: bool
) -> None:
    sent = SentFilter("-", "find", "passes", filter=conditions, explainable=None)
    assert (find_misleading_index(sent) is not None) is is_misled


@pytest.mark.parametrize(
    ("conditions", "is_served"),
    [
        ({"workspace": "w", "pass": {"$in": ["p"]}, "occurred_at": {"$gte": 1}}, False),
        ({"workspace": "w", "pass": "p", "occurred_at": {"$gte": 1}}, True),
        ({"workspace": "w", "pass": {"$in": ["p"]}}, True),
    ],
)
def test_no_index_serves_what_follows_a_list_of_values(conditions: Mapping[str, object], is_served: bool) -> None:
    sent = SentFilter("-", "find", "events", filter=conditions, explainable=None)
    assert (find_problem(sent) is None) is is_served
    assert find_problem(sent, is_embedded=False) is None


@pytest.mark.parametrize(
    ("condition", "is_served"),
    [
        (7, True),
        ({"$in": [0, 7]}, True),
        ({"$gte": 0, "$lt": 5}, True),
        ({"$gt": 3}, True),
        ({"$gte": Decimal128("0.1")}, True),
        ({"$gte": Decimal128("-1")}, False),
        ({"$lt": 5}, False),
        ({"$gte": -64, "$lt": 0}, False),
        ({"$in": [-1, 7]}, False),
        (-1, False),
        (None, False),
    ],
)
def test_a_partial_index_serves_only_filters_that_imply_its_condition(condition: object, is_served: bool) -> None:
    sent = SentFilter("-", "find", "events", filter={"pend": condition}, explainable=None)
    assert (find_problem(sent) is None) is is_served


async def test_every_named_query_is_served_by_an_index(
    observed: tuple[Business, FilterListener], called: set[str]
) -> None:
    business, listener = observed
    listener.sent.clear()
    await call_all_queries(business)
    all_queries = {f"{cls.__name__}.{name}" for cls in QUERIES for name in public_methods(cls)}
    if not business.ctx.resources.is_embedded:
        all_queries -= ONLY_EMBEDDED
    assert all_queries - ONLY_SHARDED - called == set()
    found = list(listener.sent.values())
    problems = [
        f"{sent.shape}: {why}"
        for sent in found
        if sent.collection not in SMALL_COLLECTIONS
        and (sent.query, sent.verb) not in EXEMPT_QUERIES
        and (why := find_problem(sent, is_embedded=business.ctx.resources.is_embedded))
    ]
    assert not problems, "\n".join(problems)
    assert len([sent for sent in found if sent.collection not in SMALL_COLLECTIONS]) > 40
    if not business.ctx.resources.is_embedded:
        await assert_no_collection_is_scanned(business.ctx.resources.db, found)


async def assert_no_collection_is_scanned(db: Database, found: Sequence[SentFilter]) -> None:
    """Let the store explain the filters. mongo-java-server cannot."""
    for sent in found:
        if sent.explainable is not None and sent.collection not in SMALL_COLLECTIONS:
            try:
                explained = await db.command({"explain": dict(sent.explainable)})
            except OperationFailure as error:
                if error.code == COMMAND_NOT_FOUND:
                    return
                raise
            assert "COLLSCAN" not in str(explained), sent.shape
