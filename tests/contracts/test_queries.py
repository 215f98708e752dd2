"""Every named query is served by an index.

A story drives all of them over real servers and notes what is sent; each filter is then held against the indexes we
make. MongoDB is also asked to explain. The embedded servers are not: they tell of index scans where they read the
collection (for a condition that the index does not hold), and of the opposite.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

import app.store
from app.auth import Keyring
from app.clock import FixedClock
from app.commands.events.consistency import wait_until_folded
from app.commands.events.event_types import accept_event_types, event_type, update_event_type
from app.commands.events.receipts import receipt_of, record_call
from app.commands.inbound.deliveries import Message, discard_inbound_delivery, receive_message, rerun_inbound_deliveries
from app.commands.inbound.hooks import (
    VerificationInput,
    create_inbound_hook,
    rotate_inbound_hook_secret,
    update_inbound_hook,
)
from app.commands.jobs.exports import export_activities, export_events
from app.commands.jobs.imports import import_events
from app.commands.jobs.jobs import cancel_job
from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import create_passes, update_pass
from app.commands.passes.removals import delete_events, erase_pass
from app.commands.segments import archive_segment, update_segment
from app.commands.webhooks.endpoints import (
    create_webhook_endpoint,
    delete_webhook_endpoint,
    rotate_webhook_secret,
    update_webhook_endpoint,
)
from app.commands.webhooks.replays import Replay, replay_webhook_deliveries
from app.commands.workspaces.keys import create_api_key, revoke_api_key, rotate_api_key
from app.domain.activities import ActivityQuery
from app.domain.errors import Conflict
from app.domain.events.event_types import Acceptance
from app.domain.events.events import EventInput, EventQuery
from app.domain.files.exports import ExportFormat
from app.domain.jobs import JobStatus
from app.domain.passes.passes import PassInput
from app.domain.signatures import Scheme
from app.domain.state.aggregations import METADATA, Aggregation, Function, GroupBy
from app.domain.values.conditions import Condition, Operator
from app.domain.values.instants import to_ms
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDeliveryStatus
from app.domain.webhooks.endpoints import DisabledReason, EndpointStatus
from app.resources import Resources
from app.store.clock import MongoClock
from app.store.mongo.paging import PageRequest
from app.store.mongo.queries import ErrorTranslating
from app.store.operations.backlog import BacklogQueries
from app.store.operations.heartbeats import Heartbeats
from app.store.operations.indexes import INDEXES
from app.store.operations.parked_passes import ParkedPasses
from app.store.stages.job_leases import JobLeases
from app.store.workspace.exports import Part
from tests.business import Business, bought_within, open_business, spent
from tests.receiver import receiving
from tests.workers.jobs.test_imports import File, finished, sales
from workers.stages.deliver import run_endpoint
from workers.stages.due import next_due_ms

MODULES = [importlib.import_module(found.name) for found in pkgutil.walk_packages(app.store.__path__, "app.store.")]
QUERIES = [cls for module in MODULES for cls in vars(module).values() if inspect.isclass(cls)
           and issubclass(cls, ErrorTranslating) and cls.__module__ == module.__name__]  # fmt: skip
RANGES = {"$gt", "$gte", "$lt", "$lte"}
SHORT = {
    # Few documents by their nature: a workspace has some segments, keys, jobs and files, an installation some workspaces.
    "segments", "definitions", "api_keys", "jobs", "job_files", "workspaces", "clock", "constants", "heartbeats",
    "inbound_hooks", "webhook_endpoints",
}  # fmt: skip
BY_HAND = {("ParkedPasses.release", "update"), ("FoldQueries.clear", "update")}
"""Run by an operator for one pass: reading that pass's events whole is all right. And the fold's marks, which look at
whether an event has moved: measured on both embedded servers, an update by ids takes as long with that as without."""

_running: ContextVar[str] = ContextVar("_running", default="-")


@dataclass(frozen=True)
class Sent:
    """One filter that was sent: by which named query, for what, to which collection."""

    query: str
    verb: str
    collection: str
    filter: Mapping[str, Any]
    explainable: Mapping[str, Any] | None

    @property
    def shape(self) -> str:
        """The same for all filters that differ only in their values."""
        parts = (
            f"{name}:{','.join(sorted(c)) if isinstance(c, dict) else '='}" for name, c in sorted(self.filter.items())
        )
        return f"{self.query} {self.verb} {self.collection} {{{' '.join(parts)}}}"


class Listener(CommandListener):
    """Notes every filter."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}

    def started(self, event: CommandStartedEvent) -> None:
        command, verb = event.command, event.command_name
        if _running.get() == "-" and verb == "find":
            return  # the test's own looking
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
            sent = Sent(_running.get(), verb, command[verb], dict(each), explainable)
            self.sent.setdefault(sent.shape, sent)

    def succeeded(self, event: object) -> None:
        """Nothing to note."""

    def failed(self, event: object) -> None:
        """Nothing to note."""


@pytest.fixture
async def listened(resources: Resources) -> AsyncIterator[tuple[Business, Listener]]:
    listener = Listener()
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
        resources.settings.mongodb_uri, tz_aware=True, tzinfo=UTC, event_listeners=[listener], w="majority",
        readConcernLevel="majority", retryWrites=False,
    )  # fmt: skip
    fixed = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    settings = replace(resources.settings, egress_allow=("127.0.0.1",))
    again = replace(resources, db=client[settings.database], clock=fixed, settings=settings)
    yield await open_business(again, fixed), listener
    client.close()


def named(calls: set[str], cls: type, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, known as the query that is running while it does."""
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


def public(cls: type) -> dict[str, Callable[..., Any]]:
    return {
        name: method
        for name, method in vars(cls).items()
        if not name.startswith("_") and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
    }


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The named queries called so far."""
    calls: set[str] = set()
    for cls in QUERIES:
        for name, method in public(cls).items():
            monkeypatch.setattr(cls, name, named(calls, cls, name, method))
    return calls


async def story(business: Business) -> None:
    """Everything that the store is ever asked."""
    ctx, worker = business.ctx, business.worker
    store = ctx.workspace
    recent = await business.segment("recent", bought_within(30))
    business.clock.set(datetime(2026, 1, 2, tzinfo=UTC))
    await business.join("ann", "bob")
    await business.record(*({"amount": n, "pass_external_id": f"p{n % 5}", "external_id": str(n)} for n in range(40)))
    await business.record({"amount": 1, "pass_external_id": "p1", "external_id": "1"})
    await business.settle()
    ann = await business.card("p1")
    await business.record({"amount": 2, "pass_id": ann.id, "pass_external_id": None})
    ctx.resources.cache.__init__()  # type: ignore[misc]  # a process that has seen nothing yet
    await business.record({"amount": 2, "pass_id": ann.id, "pass_external_id": None})
    await update_pass(ctx, ann.id, fields={"tier": "gold"})
    await business.settle()
    rich = await business.segment("rich", spent(20, days=30))
    await update_segment(ctx, rich.id, criteria=spent(30, days=30), name="Richer")
    await business.settle()
    business.clock.set(datetime(2026, 1, 31, 23, 59, 59, 900_000, tzinfo=UTC))
    await next_due_ms(worker, to_ms(await ctx.now()), 1_500)
    business.clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    await business.settle()
    await archive_segment(ctx, rich.id)
    with pytest.raises(Conflict):
        await business.segment("recent", bought_within(30))
    many = ({"amount": 1, "occurred_at": f"2026-02-20T00:{n // 60:02}:{n % 60:02}Z"} for n in range(150))
    await business.record(*({"pass_external_id": "many", **item} for item in many))
    await business.settle()
    business.clock.set(datetime(2026, 4, 1, tzinfo=UTC))
    await business.settle()

    full = PageRequest(2)
    for query in (EventQuery(), EventQuery(types=("purchase",)), EventQuery(pass_id=ann.id), EventQuery(
        pass_id=ann.id, types=("purchase",), metadata=(Condition("x", Operator.EQ, 1),),
        occurred_after=datetime(2025, 1, 1, tzinfo=UTC), recorded_before=datetime(2027, 1, 1, tzinfo=UTC),
    )):  # fmt: skip
        first = (await store.events.page(query, full)).items
        await store.events.count(query)
        await store.events.count(query, 1_000)
        await store.events.walk(query)
        if first:
            key = first[-1].occurred_ms, first[-1].id
            await store.events.page(query, PageRequest(2, after=key))
            await store.events.page(query, PageRequest(2, before=key, backward=True), oldest_first=True)
    await store.events.get_many([event.id for event in first])
    assert await store.events.count(EventQuery(external_id="1", sources=("api", "till"))) == 1
    async for _ in store.events.of_pass(ann.id, datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)):
        pass
    for feed in (
        ActivityQuery(), ActivityQuery(pass_id=ann.id), ActivityQuery(segment_ids=(recent.id,)),
        ActivityQuery(types=("customer.created",)), ActivityQuery(types=("customer.created", "customer.updated")),
        ActivityQuery(category="EFFECT", include_historical=False, include_silent=True),
    ):  # fmt: skip
        await store.activities.page(feed, PageRequest(2, after=(1,)))
        await store.activities.count(feed)
    await store.activities.after(3, 5)
    await store.activities.get_many(["act_none:1"])
    await store.audit.get_many(["audit_none"])
    for page in (store.passes.page, store.segments.page, store.keys.page, store.jobs.page, store.audit.page):
        await page(full)
        await page(PageRequest(2, after=(to_ms(await ctx.now()), "z")))
    await update_event_type(ctx, "purchase", label="Sale")
    await update_event_type(ctx, "purchase", label="Purchase")
    assert await event_type(ctx, "purchase", 2)
    await accept_event_types(ctx, Acceptance.STRICT)
    await accept_event_types(ctx, Acceptance.OPEN)
    assert await store.vocabulary.types() == ["purchase"]
    assert await store.vocabulary.sources() == ["api"]
    await store.passes.by_external_id("p1")
    await store.passes.get(ann.id)
    await store.passes.lots([ann.id])
    await store.passes.get_by_external_ids(["p1"])
    await store.passes.members(recent.id, PageRequest(2, after=("pass_0",)))
    await store.segments.members(recent.id, full)
    await store.segments.member_counts([recent.id])
    await store.segments.member_counts([recent.id, "none"])
    await store.segments.evaluated_counts([recent.revision])
    for number in (store.passes.count, store.segments.count, store.keys.count, store.jobs.count, store.audit.count):
        await number()

    till, secret = await create_api_key(ctx, "Till", ("read",))
    keyring = Keyring(ctx.resources)
    await keyring.actor(f"Bearer {secret}")
    await keyring.aclose()
    await rotate_api_key(ctx, till.id)
    await revoke_api_key(ctx, till.id)
    await added_up_and_removed(business)
    await told_by_hooks(business)
    await told_to_endpoints(business)
    await receipts_and_keys(business)
    await imports_and_operations(business)


async def added_up_and_removed(business: Business) -> None:
    ctx, store = business.ctx, business.ctx.workspace
    for query in (EventQuery(), EventQuery(types=("purchase",)), EventQuery(pass_id="pass_none")):
        await store.aggregations.groups(query, Aggregation(Function.COUNT, None, (GroupBy.TYPE,)), 10)
        await store.aggregations.counted(query, Aggregation(Function.SUM, f"{METADATA}x"), 10)
    job, _ = await delete_events(ctx, EventQuery(external_id="39", sources=("api",)))
    assert job is not None
    await finished(business, job)
    await store.removals.batches(["event_none"])
    await create_passes(ctx, [PassInput("two", {"name": "Two"})])
    await business.record({"pass_external_id": "gone"}, {"pass_external_id": "one"}, {"pass_external_id": "two"})
    ids = await store.passes.ids_of(["one", "two"])
    await merge_passes(ctx, ids["one"], ids["two"])
    await business.settle()
    assert await store.passes.aliases([ids["one"]]) == {ids["one"]: (ids["two"],)}
    assert await store.passes.survivor_id(ids["two"]) == ids["one"]
    gone = (await business.card("gone")).id
    await erase_pass(ctx, pass_id=gone)
    await business.settle()
    assert await business.worker.erase_queries.erased_among([gone]) == {gone}
    await business.settle()


async def told_by_hooks(business: Business) -> None:
    ctx, store = business.ctx, business.ctx.workspace
    mapping = {"fields": {"passExternalId": "who", "type": {"value": "visit"}}}
    hook, _ = await create_inbound_hook(ctx, "Shop", "shop", mapping, create_missing_passes=True)
    await update_inbound_hook(ctx, hook.id, verification=VerificationInput(Scheme.TIMESTAMPED_HMAC_SHA256))
    await rotate_inbound_hook_secret(ctx, hook.id)
    await store.hooks.page(PageRequest(2, after=(to_ms(await ctx.now()), "z")))
    await store.hooks.count()
    for number, body in enumerate((b'{"who": "ann"}', b"{}", b"{}")):
        failed = (await receive_message(ctx.resources, Message(hook, str(number), body, {}))).delivery
    await rerun_inbound_deliveries(ctx, hook.id, limit=1)
    await discard_inbound_delivery(ctx, failed.id)
    await store.inbound.page(hook.id, failed.status, PageRequest(2, after=(to_ms(await ctx.now()), "z")))
    await store.inbound.count(hook.id, failed.status)
    await store.inbound.forget("ann")


async def told_to_endpoints(business: Business) -> None:
    ctx, store, runs = business.ctx, business.ctx.workspace, business.worker.endpoint_leases
    async with receiving() as receiver:
        url = receiver.url
        endpoint, _ = await create_webhook_endpoint(ctx, url)
        await business.record({"external_id": "told", "source": "endpoint"})
        await business.settle()
        receiver.answers = lambda got: 200 if receiver.got[1:] else 500
        await run_endpoint(business.worker, endpoint.id)
    await rotate_webhook_secret(ctx, endpoint.id)
    for query in (
        DeliveryQuery(endpoint.id),
        DeliveryQuery(endpoint.id, tuple(WebhookDeliveryStatus)[:2], ("a",), 1, 9),
    ):
        await store.deliveries.page(query, PageRequest(2, after=(to_ms(await ctx.now()), "z")))
        await store.deliveries.count(query)
    await store.deliveries.get_many([f"{endpoint.id}:1"])
    await store.deliveries.counts([endpoint.id])
    for replay in (Replay(), Replay(statuses=(WebhookDeliveryStatus.SUCCEEDED,))):
        await replay_webhook_deliveries(ctx, endpoint.id, replay, dry_run=True)
        job, _ = await replay_webhook_deliveries(ctx, endpoint.id, replay)
        assert job is not None
        await finished(business, job)
    # Nobody listens there any more.
    await run_endpoint(business.worker, endpoint.id)
    assert await store.partitions.states([endpoint.id])
    assert await store.partitions.positions(endpoint.id)
    assert await runs.of_workspace(store.id)
    assert await runs.waiting(10**14)
    hold = await runs.claim(endpoint.id, 10**14)
    assert hold is not None
    await runs.release(hold, 0)
    await update_webhook_endpoint(ctx, endpoint.id, status=EndpointStatus.DISABLED)
    await update_webhook_endpoint(ctx, endpoint.id, status=EndpointStatus.ENABLED)
    await store.webhooks.disable(endpoint.id, DisabledReason.GONE, await ctx.now())
    await run_endpoint(business.worker, endpoint.id, lambda: 2 * 10**14)
    await store.webhooks.page(PageRequest(2, after=(to_ms(await ctx.now()), "z")))
    await delete_webhook_endpoint(ctx, endpoint.id)


async def receipts_and_keys(business: Business) -> None:
    ctx = business.ctx
    many = [EventInput(type="purchase", pass_external_id="p1", external_id=f"r{n}") for n in range(100)]
    issued = await receipt_of(ctx, await record_call(ctx, many, idempotency_key="k"))
    await record_call(ctx, many, idempotency_key="k")
    await record_call(ctx, [EventInput(type="visit", pass_id="pass_none")], idempotency_key="free again")
    await business.settle()
    await wait_until_folded(ctx, issued.token, told=True)


async def imports_and_operations(business: Business) -> None:
    ctx, worker, db = business.ctx, business.worker, business.ctx.resources.db
    await finished(business, await import_events(ctx, File(sales(5) + "c1,never,1,1\n")))
    job = await import_events(ctx, File(sales(5), "more.csv"))
    await cancel_job(ctx, job.id)
    await finished(business, job)
    assert [lines async for lines in ctx.workspace.jobs.report(job.id)] == []
    job = await finished(business, await export_events(ctx, EventQuery(), ExportFormat.JSONL))
    assert job.file is not None
    assert [part async for part in ctx.workspace.exports.read(job.id, job.file.parts)]
    await ctx.workspace.exports.put(job.id, 0, b"", Part(0, None), datetime.now(UTC))
    await finished(business, await export_activities(ctx, ActivityQuery(), ExportFormat.JSONL))
    await ctx.workspace.exports.drop(job.id)
    runs = JobLeases(db)
    job = await import_events(ctx, File(sales(5), "again.csv"))
    run = await runs.claim(job.id, 10**13)
    assert run is not None
    await runs.open(10**13)
    await runs.renew(run, 10**13)
    await runs.failed(run, 0)
    await runs.release(run)
    run = await runs.claim(job.id, 2 * 10**13)
    assert run is not None
    await runs.finish(run, JobStatus.FAILED, datetime(2026, 3, 1, tzinfo=UTC), "no")
    await ctx.workspace.jobs.get_many([job.id])

    ann = await business.card("p1")
    await business.record({"pass_external_id": "p1"})
    for _ in range(5):
        await worker.fold_queries.count_failure(ann.id, "Boom", 5)
    operators = ParkedPasses(db)
    for card in await operators.passes():
        await operators.release(card, await ctx.now())
    await business.settle()
    await BacklogQueries(db).measured(10**13)
    beats, at = Heartbeats(db), datetime.now(UTC)
    await beats.beat("w", at, at + timedelta(seconds=5))
    await beats.alive(at)
    await beats.gone("w")
    manual = MongoClock(db)
    await manual.set(datetime(2026, 1, 1, tzinfo=UTC))
    await manual.elapsed()


def problem(sent: Sent) -> str | None:
    """Why no index serves the filter; None where one does."""
    asked = sent.filter
    equal = {n for n, c in asked.items() if not isinstance(c, dict) or set(c) == {"$in"}}
    if "_id" in equal:
        listed = isinstance(asked["_id"], dict) and len(asked) > 1
        return "a list of ids is asked for together with something else" if listed else None
    ranged = {n for n, c in asked.items() if isinstance(c, dict) and set(c) <= RANGES}
    if other := set(asked) - equal - ranged:
        return f"no index holds the condition on {other}"
    for model in INDEXES[sent.collection]:
        names = list(model.document["key"])
        if names[0] in asked and set(asked) <= set(names):
            prefix = next((place for place, name in enumerate(names) if name not in equal), len(names))
            beyond = set(asked) - set(names[:prefix])
            if not beyond or names[prefix] in ranged:
                last = names[prefix] if beyond else ""
                if prefix and last != names[-1] and "$lte" in asked.get(last, {}):
                    return f"$lte on {last}: the embedded server loses what equals it, as the index goes on after it"
                return None
    return "no index begins with what is asked"


async def test_every_named_query_is_served_by_an_index(listened: tuple[Business, Listener], called: set[str]) -> None:
    business, listener = listened
    listener.sent.clear()
    await story(business)
    everything = {f"{cls.__name__}.{name}" for cls in QUERIES for name in public(cls)}
    assert everything - called == set()
    found = list(listener.sent.values())
    problems = [
        f"{sent.shape}: {why}"
        for sent in found
        if sent.collection not in SHORT and (sent.query, sent.verb) not in BY_HAND and (why := problem(sent))
    ]
    assert not problems, "\n".join(problems)
    assert len([sent for sent in found if sent.collection not in SHORT]) > 40
    db = business.ctx.resources.db
    if "secantusVersion" not in await db.command("buildInfo"):
        for sent in found:
            if sent.explainable is not None and sent.collection not in SHORT:
                assert "COLLSCAN" not in str(await db.command({"explain": dict(sent.explainable)})), sent.shape
