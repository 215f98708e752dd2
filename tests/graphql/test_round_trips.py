"""How often a list asks the store: as often for many items as for one, whatever is selected of each."""

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
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.domain.activities import ActivityQuery
from app.graphql.schema import schema
from app.resources import Resources
from tests.business import Business, bought_within, open_business, purchases

from .serving import Api, serving

READS = frozenset({"find", "aggregate", "count", "getMore"})
CAUSE = "cause { kind event { id pass { externalId } } }"
MEMBERSHIP = f"since {CAUSE} pass {{ externalId }} segment {{ key memberCount backfill {{ total judged done }} }}"
LISTS = {
    "passes": "passes(first: $n) { totalCount nodes { id pointsExpiring { points } memberships { totalCount nodes"
    f" {{ {MEMBERSHIP} }} }} }} }}",
    "events": "events(first: $n) { totalCount nodes { id label pass { id externalId } correctionOf { id pass { id } } } }",
    "segments": "segments(first: $n) { totalCount nodes { id key memberCount backfill { total judged done } } }",
    "activity": f"activity(first: $n) {{ totalCount nodes {{ id data pass {{ id }} {CAUSE} }} }}",
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
"""Every list of the query root, with every relation of its items that is not a page itself."""
STRIDES = {"events": 3}
"""So many more ranges of time are asked before a list is known to have ended (`store/mongo/time_ranges.py`)."""
PAGES = {
    "events": "passes(first: $n) { nodes { events(first: $m) { nodes { id pass { id } correctionOf { id } } } } }",
    "activity": f"passes(first: $n) {{ nodes {{ activity(first: $m) {{ nodes {{ id pass {{ id }} {CAUSE} }} }} }} }}",
    "deliveries": "webhookEndpoints(first: $n) { nodes { pendingCount failedCount deliveries(first: $m) { nodes { status"
    " activity { id } } } } }",
    "members": f"segments(first: $n) {{ nodes {{ members(first: $m) {{ totalCount nodes {{ {MEMBERSHIP} }} }} }} }}",
}
"""Pages inside pages: each is a read of its own, served by an index, at once with the others, and priced so. (One read for
all of them was ten times slower.)"""


class Reads(CommandListener):
    """Counts the reads of one client."""

    def __init__(self) -> None:
        self.count = 0

    def started(self, event: CommandStartedEvent) -> None:
        """A command is on its way."""
        self.count += event.command_name in READS

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Of no interest."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Of no interest."""


@pytest.fixture
async def reads() -> Reads:
    """The reads of the API's client."""
    return Reads()


@pytest.fixture
async def business(resources: Resources, clock: FixedClock, reads: Reads) -> AsyncIterator[Business]:
    """Eight members of three segments, each with events, one of them corrected; what a hook could not take; endpoints."""
    settings = resources.settings
    client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(
        settings.mongodb_uri, tz_aware=True, tzinfo=UTC, event_listeners=[reads]
    )
    business = await open_business(dataclasses.replace(resources, db=client[settings.database]), clock)
    segments = [
        await business.segment(key, criteria, notify="EMIT")
        for key, criteria in (("one", purchases(1)), ("two", purchases(2)), ("lately", bought_within(9)))
    ]
    for number in range(8):
        at = {"pass_external_id": f"guest-{number}", "source": "till"}
        first, _ = (await business.record({**at, "external_id": f"{number}"}, at)).results
        assert first.event is not None
        await business.record({**at, "type": "refund", "correction_of": first.event.id})
    mapping = {"fields": {"passExternalId": "who", "type": {"value": "visit"}}}
    hook, _ = await create_inbound_hook(business.ctx, "Shop", "shop", mapping, create_missing_passes=True)
    for number in range(8):
        await receive_message(business.ctx.resources, Message(hook, str(number), b"{}", {}))
    await business.settle()
    feed = await business.feed()
    for activity in feed[:4]:
        shown = ActivityQuery(pass_id=activity.pass_id, segment_ids=[each.id for each in segments])
        endpoint, _ = await create_webhook_endpoint(business.ctx, "https://example.com/", filter=shown)
        await business.ctx.workspace.deliveries.requeue(endpoint.id, feed[:8], system_ms())
    yield business
    client.close()


async def counted(api: Api, reads: Reads, query: str, n: int, m: int = 1) -> int:
    variables: dict[str, object] = {"n": n, "m": m}
    if "$hook" in query:
        [hook] = (await api.data("{ inboundHooks { nodes { id } } }"))["inboundHooks"]["nodes"]
        variables["hook"] = hook["id"]
    if "$endpoint" in query:
        told = (await api.data("{ webhookEndpoints(first: 1) { nodes { id } } }"))["webhookEndpoints"]["nodes"]
        variables["endpoint"] = told[0]["id"]
    kinds = (("n", "Int"), ("m", "Int"), ("hook", "ID!"), ("endpoint", "ID!"))
    declared = (f"${name}: {kind}" for name, kind in kinds if f"${name}" in query)
    asked = f"query ({', '.join(declared)}) {{ {query} }}"
    await api.data(asked, **variables)
    reads.count = 0
    await api.data(asked, **variables)
    return reads.count


async def test_a_list_of_many_asks_the_store_no_more_often_than_a_list_of_one(business: Business, reads: Reads) -> None:
    async with serving(business) as api:
        for name, query in LISTS.items():
            one, many = [await counted(api, reads, query, n) for n in (1, 50)]
            assert many <= max(one, 3) + 2 + STRIDES.get(name, 0), f"{name}: {one} reads for one item, {many} for many"
            assert many <= 8, f"{name}: {many} reads"


async def test_a_page_inside_a_list_is_a_few_reads_however_many_items_it_has(business: Business, reads: Reads) -> None:
    async with serving(business) as api:
        for name, query in PAGES.items():
            one, three = [await counted(api, reads, query, n, 8) for n in (1, 3)]
            assert one <= 6, f"{name}: {one} reads for a page of one parent"
            assert three <= 3 * one, f"{name}: {one} reads for a page of one parent, {three} for those of three"


def test_every_list_is_among_them() -> None:
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
    # Of one answer only, or read together with the passes.
    assert inner == {*PAGES, "memberships", "pointsExpiring", "groups"}
