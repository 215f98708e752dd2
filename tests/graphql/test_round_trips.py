"""Reads of the store for each list: a list of many items needs no more reads than a list of one item.

The rule holds for any selection of fields, because loaders read the related objects of all items together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC

import pytest
from graphql import GraphQLObjectType
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from app.clock import FixedClock, system_ms
from app.commands.inbound.deliveries import Message, receive_message
from app.commands.inbound.hooks import create_inbound_hook
from app.commands.messages.channels import create_channel
from app.commands.messages.messages import send_message
from app.commands.rewards.rewards import create_reward
from app.commands.rules.rules import create_rule
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.domain.activity_queries import ActivityQuery
from app.domain.reactions.parked import ParkedReaction, Refusal
from app.domain.reactions.reactions import FreeUnits, Reaction
from app.graphql.schema import schema
from app.resources import Resources
from tests.business import Business, bought_within, open_business, purchases

from .serving import Api, run_api

READS = frozenset({"find", "aggregate", "count", "getMore"})
CAUSE = "cause { kind event { id pass { externalId } } }"
MEMBERSHIP = f"since {CAUSE} pass {{ externalId }} segment {{ key memberCount backfill {{ total judged done }} }}"
LISTS = {
    "passes": "passes(first: $n) { totalCount nodes { id pointsExpiring { points } memberships { totalCount nodes"
    f" {{ {MEMBERSHIP} }} }} }} }}",
    "events": "events(first: $n) { totalCount nodes { id label pass { id externalId } correctionOf { id pass { id } }"
    " pointsEarned effects { id } activities { id } } }",
    "segments": "segments(first: $n) { totalCount nodes { id key memberCount backfill { total judged done } } }",
    "rules": "rules(first: $n) { totalCount nodes { id key trigger { event { types } } effects { awardPoints { points } }"
    " warnings { code } } }",
    "ruleFirings": "ruleFirings(first: $n) { totalCount nodes { status pass { externalId } rule { key } event { id }"
    " effects { event { type } } } }",
    "rewards": "rewards(first: $n) { totalCount nodes { id key pointsCost } }",
    "channels": "channels(first: $n) { totalCount nodes { id key settings awaySince } }",
    "messages": "messages(first: $n) { totalCount nodes { id status channel { key awaySince } pass { externalId }"
    " job { id } } }",
    "parkedEffects": "parkedEffects(first: $n) { totalCount nodes { id event { type } pass { externalId } } }",
    "activity": f"activity(first: $n) {{ totalCount nodes {{ id data pass {{ id }} {CAUSE} correctionOf {{ id }} }} }}",
    "eventDefinitions": "eventDefinitions(first: $n) { totalCount nodes { id key attributes { name } } }",
    "apiKeys": "apiKeys(first: $n) { totalCount nodes { id name } }",
    "auditLog": "auditLog(first: $n) { totalCount nodes { subject action apiKey { name } } }",
    "jobs": "jobs(first: $n) { totalCount nodes { id progress { done } } }",
    "inboundHooks": "inboundHooks(first: $n) { totalCount nodes { id name source } }",
    "webhookEndpoints": "webhookEndpoints(first: $n) { totalCount nodes { id cursor behind awaySince"
    " filter { pass { externalId } segments { key } } } }",
    "webhookDeliveries": "webhookDeliveries(filter: {endpointId: $endpoint}, first: $n) { totalCount nodes { status"
    " endpoint { url } activity { id type pass { externalId } } } }",
    "inboundDeliveries": "inboundDeliveries(hookId: $hook, first: $n) { totalCount nodes { status hook { id name } } }",
}
"""Each list of the query root, with each relation of its items that is not a list of its own."""
EXTRA_READS = {"events": 3, "passes": 6, "segments": 2}
"""Further reads that a list may need.

Events and passes read more ranges of time to find the end (`store/mongo/time_ranges.py`). `memberCount` counts the index
entries of each segment, and there are three: one query for several segments would read the documents of all members. The
segments of memberships are read in three steps: labels, the numbers of the latest versions, and those versions.
"""
PAGES = {
    "events": "passes(first: $n) { nodes { events(first: $m) { nodes { id pass { id } correctionOf { id } } } } }",
    "activity": f"passes(first: $n) {{ nodes {{ activity(first: $m) {{ nodes {{ id pass {{ id }} {CAUSE} }} }} }} }}",
    "deliveries": "webhookEndpoints(first: $n) { nodes { pendingCount failedCount deliveries(first: $m) { nodes { status"
    " activity { id } } } } }",
    "firings": "rules(first: $n) { nodes { firings(first: $m) { totalCount nodes { id event { id } pass { id } } } } }",
    "versions": "rules(first: $n) { nodes { versions(first: $m) { totalCount nodes { version } } } }",
    "redemptions": "passes(first: $n) { nodes { redemptions(first: $m) { totalCount nodes { id status } } } }",
    "membershipHistory": "passes(first: $n) { nodes { membershipHistory(first: $m) { totalCount nodes { from to versions"
    " segment { key } } } } }",
    "members": f"segments(first: $n) {{ nodes {{ members(first: $m) {{ totalCount nodes {{ {MEMBERSHIP} }} }} }} }}",
}
"""Lists inside lists: each inner list is one read, served by an index, and all run at the same time. A short list in order
of id is two reads.

The cost of the operation counts each of them. One read for all inner lists was ten times slower.
"""


class ReadCounter(CommandListener):
    """Counter of the read commands that one client sends."""

    def __init__(self) -> None:
        self.count = 0

    def started(self, event: CommandStartedEvent) -> None:
        """Count the command if it reads."""
        self.count += event.command_name in READS

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Do nothing: the command was counted when it started."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Do nothing: the command was counted when it started."""


@pytest.fixture
async def reads() -> ReadCounter:
    """Return the counter for the client that the API uses."""
    return ReadCounter()


@pytest.fixture
async def business(resources: Resources, clock: FixedClock, reads: ReadCounter) -> AsyncIterator[Business]:
    """Create a workspace with items in each list.

    It has eight passes with events and a corrected purchase, three segments, eight failed deliveries of a hook and four
    webhook endpoints. Its database client reports each command to the counter.
    """
    settings = resources.settings
    client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(
        settings.mongodb_uri, tz_aware=True, tzinfo=UTC, event_listeners=[reads]
    )
    business = await open_business(dataclasses.replace(resources, db=client[settings.database]), clock)
    segments = [
        await business.create_segment(key, criteria, notify="EMIT")
        for key, criteria in (("one", purchases(1)), ("two", purchases(2)), ("lately", bought_within(9)))
    ]
    for number in range(8):
        trigger = {"event": {"types": ["purchase", "unknown"]}}
        effects = [{"awardPoints": {"points": 1}}]
        await create_rule(
            business.ctx,
            {"key": f"r{number}", "name": "Rule", "trigger": trigger, "effects": effects, "status": "PAUSED"},
        )
    for number in range(8):
        base = {"pass_external_id": f"guest-{number}", "source": "till"}
        first, _ = (await business.record({**base, "external_id": f"{number}"}, base)).results
        assert first.event is not None
        await business.record({**base, "type": "refund", "correction_of": first.event.id})
    mapping = {"fields": {"passExternalId": "who", "type": {"value": "visit"}}}
    hook, _ = await create_inbound_hook(business.ctx, "Shop", "shop", mapping, create_missing_passes=True)
    for number in range(8):
        await receive_message(business.ctx.resources, Message(hook, str(number), b"{}", {}))
    await business.run_worker()
    for number in range(4):
        await create_reward(business.ctx, {"key": f"reward-{number}", "name": "Coffee", "pointsCost": 5})
        server = {"host": "smtp.example.com", "from": "shop@example.com"}
        sent = {"key": f"c{number}", "name": "Mail", "kind": "EMAIL", "provider": "SMTP", "settings": server}
        await create_channel(business.ctx, sent)
        content = {"channelKey": f"c{number}", "template": "Hi"}
        for guest in ("guest-0", "guest-1"):
            await send_message(business.ctx, content, pass_id=None, external_id=guest, idempotency_key=None)
    log = await business.read_log()
    at = await business.clock.now()
    await business.ctx.workspace.reactions.park(
        ParkedReaction(
            Reaction(
                event_id=str(each.cause.get("event", each.id)),
                index=0,
                pass_id=each.pass_id,
                activity_id=each.id,
                body=FreeUnits("event_none"),
            ),
            Refusal("NO", "Not."),
            attempt_count=1,
            at=at,
        )
        for each in log[:8]
    )
    for activity in log[:4]:
        query = ActivityQuery(pass_id=activity.pass_id, segment_ids=[each.id for each in segments])
        endpoint, _ = await create_webhook_endpoint(business.ctx, "https://example.com/", filter=query)
        await business.ctx.workspace.deliveries.requeue(endpoint.id, log[:8], system_ms())
    yield business
    client.close()


async def count_reads(api: Api, reads: ReadCounter, query: str, n: int, m: int = 1) -> int:
    """Execute a query twice, with `n` items in the outer and `m` in the inner list, and count the reads of the second.

    The first execution fills the caches of the process.
    """
    variables: dict[str, object] = {"n": n, "m": m}
    if "$hook" in query:
        [hook] = (await api.fetch_data("{ inboundHooks { nodes { id } } }"))["inboundHooks"]["nodes"]
        variables["hook"] = hook["id"]
    if "$endpoint" in query:
        data = await api.fetch_data("{ webhookEndpoints(first: 1) { nodes { id } } }")
        variables["endpoint"] = data["webhookEndpoints"]["nodes"][0]["id"]
    kinds = (("n", "Int"), ("m", "Int"), ("hook", "ID!"), ("endpoint", "ID!"))
    declared = (f"${name}: {kind}" for name, kind in kinds if f"${name}" in query)
    document = f"query ({', '.join(declared)}) {{ {query} }}"
    await api.fetch_data(document, **variables)
    reads.count = 0
    await api.fetch_data(document, **variables)
    return reads.count


async def test_list_of_many_items_needs_no_more_reads_than_a_list_of_one(
    business: Business, reads: ReadCounter
) -> None:
    async with run_api(business) as api:
        for name, query in LISTS.items():
            one, many = [await count_reads(api, reads, query, n) for n in (1, 50)]
            assert many <= max(one, 3) + 2 + EXTRA_READS.get(name, 0), (
                f"{name}: {one} reads for one item, {many} for many"
            )
            assert many <= 8 + EXTRA_READS.get(name, 0), f"{name}: {many} reads"


async def test_inner_list_needs_a_few_reads_for_each_parent_and_any_number_of_items(
    business: Business, reads: ReadCounter
) -> None:
    async with run_api(business) as api:
        for name, query in PAGES.items():
            one, three = [await count_reads(api, reads, query, n, 8) for n in (1, 3)]
            assert one <= 8, f"{name}: {one} reads for a page of one parent"
            assert three <= 3 * one, f"{name}: {one} reads for a page of one parent, {three} for those of three"


EQUAL_READS = {
    "pages of one pass": 'events(first: $n, filter: {passExternalId: "guest-0"}) { nodes { pass { events(first: 8) {'
    " totalCount nodes { id } } activity(first: 8) { totalCount nodes { id } } } } }",
    "pages under aliases": "events(first: $n) { totalCount } b: events(first: $n) { totalCount }",
    "passes under aliases": 'pass(externalId: "guest-0") { memberships(first: $n) { totalCount } }'
    ' b: pass(externalId: "guest-0") { memberships(first: $n) { nodes { since } } }',
}
"""Queries that ask for the same page, count or pass several times."""


async def test_equal_reads_of_one_query_are_one_read(business: Business, reads: ReadCounter) -> None:
    async with run_api(business) as api:
        one, three = [await count_reads(api, reads, EQUAL_READS["pages of one pass"], n) for n in (1, 3)]
        assert three == one
        for name in ("pages under aliases", "passes under aliases"):
            query = EQUAL_READS[name]
            once, twice = [await count_reads(api, reads, text, 1) for text in (query.partition(" b:")[0], query)]
            assert twice == once, name


async def test_later_field_of_a_mutation_reads_anew(business: Business) -> None:
    selection = "{ event { pass { events(first: 1) { totalCount } } } }"
    field = f'recordEvent(input: {{passExternalId: "guest-0", type: "visit"}}) {selection}'
    async with run_api(business) as api:
        data = await api.fetch_data(f"mutation {{ a: {field} b: {field} }}")
        first, second = (data[name]["event"]["pass"]["events"]["totalCount"] for name in "ab")
        assert second == first + 1


def test_each_list_of_the_schema_is_in_the_tables_above() -> None:
    root = schema.query_type
    assert root is not None
    assert {name for name, field in root.fields.items() if "first" in field.args} == set(LISTS)
    inner = {
        name
        for kind in schema.type_map.values()
        if isinstance(kind, GraphQLObjectType) and kind is not root
        for name, field in kind.fields.items()
        if "first" in field.args
    }
    # The other lists need no read of their own: they are read with the pass, or belong to one answer. Those of `segmentDiff`
    # are of one segment. `passes` are those of `topPasses`: its answer is one order.
    of_diff = {"entered", "left", "stayed"}
    assert inner == {*PAGES, *of_diff, "memberships", "passes", "pointsExpiring", "expiring", "groups", "sample"}
