"""The queries `node` and `nodes`: they find each object with a global id, but none of another workspace."""

from __future__ import annotations

from app.clock import system_ms
from app.commands.events.event_types import define_event_type
from app.commands.inbound.deliveries import Message, receive_message
from app.commands.inbound.hooks import create_inbound_hook
from app.commands.passes.removals import delete_events
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.domain.events.event_queries import EventQuery
from app.graphql.types.ids import from_global_id, to_global_id
from tests.business import create_business
from tests.graphql.serving import Api

NODES = "query Nodes($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"


async def test_nodes_finds_objects_of_each_type_by_global_id(api: Api) -> None:
    await api.business.create_segment("buyers", {"event": {"types": ["purchase"], "value": 1}}, notify="EMIT")
    await api.business.record({})
    await api.business.run_worker()
    data = await api.fetch_data(
        """{ viewer { workspace { id } apiKey { id } } passes { nodes { id memberships { nodes { id } } } }
        events { nodes { id } } segments { nodes { id } } activity { nodes { id } } }"""
    )
    [card] = data["passes"]["nodes"]
    ids = [
        data["viewer"]["workspace"]["id"],
        data["viewer"]["apiKey"]["id"],
        card["id"],
        card["memberships"]["nodes"][0]["id"],
        data["events"]["nodes"][0]["id"],
        data["segments"]["nodes"][0]["id"],
        data["activity"]["nodes"][0]["id"],
    ]
    found = (await api.fetch_data(NODES, ids=ids))["nodes"]
    assert [node["id"] for node in found] == ids
    assert [node["__typename"] for node in found] == [
        "Workspace", "ApiKey", "Pass", "Membership", "Event", "Segment", "Activity",
    ]  # fmt: skip


async def test_nodes_finds_objects_of_each_type_by_database_id(api: Api) -> None:
    """Activities, webhooks and exports contain database ids. Every field that takes an id takes both forms."""
    await api.business.create_segment("buyers", {"event": {"types": ["purchase"], "value": 1}}, notify="EMIT")
    await api.business.record({})
    await api.business.run_worker()
    ctx = api.business.ctx
    await define_event_type(ctx, "tasting", label="Tasting")
    hook, _ = await create_inbound_hook(ctx, "Shop", "shop", {"fields": {"passExternalId": "who", "type": "kind"}})
    await receive_message(ctx.resources, Message(hook, "1", b"{}", {}))
    endpoint, _ = await create_webhook_endpoint(ctx, "https://example.com/")
    log = await api.business.read_log()
    await ctx.workspace.deliveries.requeue(endpoint.id, log[:1], system_ms())
    await delete_events(ctx, EventQuery(types=["visit"]))
    db = ctx.resources.db
    ids = [log[0].id, f"{log[0].pass_id}.{(await db['segments'].find_one({}) or {})['_id']}", f"{endpoint.id}:1"]
    for name in (
        "workspaces", "api_keys", "passes", "events", "segments", "jobs", "inbound_hooks", "inbound_deliveries",
        "webhook_endpoints", "webhook_deliveries", "audit", "event_types",
    ):  # fmt: skip
        doc = await db[name].find_one({})
        assert doc is not None, name
        ids.append(doc["_id"])
    found = (await api.fetch_data(NODES, ids=ids))["nodes"]
    assert [node["__typename"] for node in found] == [
        "Activity", "Membership", "WebhookDelivery", "Workspace", "ApiKey", "Pass", "Event", "Segment", "Job",
        "InboundHook", "InboundDelivery", "WebhookEndpoint", "WebhookDelivery", "AuditEntry", "EventDefinition",
    ]  # fmt: skip
    assert [from_global_id(node["id"]) for node in found] == [
        (node["__typename"], database_id) for node, database_id in zip(found, ids, strict=True)
    ]
    assert (await api.fetch_data("query ($id: ID!) { node(id: $id) { id } }", id=ids[0]))["node"] == {
        "id": to_global_id("Activity", ids[0])
    }


async def test_nodes_returns_null_at_the_place_of_an_unknown_id(api: Api) -> None:
    [card] = await api.business.create_passes("ann")
    unknown = [
        "",
        "x",
        "pass_1",
        "act_1:2",
        "wh_:",
        "nothing_1",
        "pass_é",
        f"pass_{'1' * 600}",
        to_global_id("Nothing", "x"),
        to_global_id("Pass", "pass_none"),
        "\ud800",
        "A" * 9_999,
    ]
    found = (await api.fetch_data(NODES, ids=[*unknown, to_global_id("Pass", card.id)]))["nodes"]
    assert found[:-1] == [None] * len(unknown)
    assert found[-1]["__typename"] == "Pass"


async def test_nodes_returns_null_for_ids_of_another_workspace(api: Api) -> None:
    stranger = await create_business(api.business.ctx.resources, api.business.clock, "Other")
    segment = await stranger.create_segment("theirs", {"event": {"types": ["purchase"], "value": 1}})
    [result] = (await stranger.record({})).results
    await stranger.run_worker()
    assert result.event is not None
    [activity, *_] = await stranger.read_log()
    ids = [
        to_global_id("Workspace", stranger.ctx.workspace.id),
        to_global_id("Event", result.event.id),
        to_global_id("Pass", result.event.pass_id),
        to_global_id("Segment", segment.id),
        to_global_id("Membership", f"{result.event.pass_id}.{segment.id}"),
        to_global_id("Activity", activity.id),
    ]
    ids += [stranger.ctx.workspace.id, result.event.id, result.event.pass_id, segment.id, activity.id]
    assert (await api.fetch_data(NODES, ids=ids))["nodes"] == [None] * len(ids)


async def test_nodes_rejects_more_than_250_ids(api: Api) -> None:
    error = await api.fetch_error(NODES, ids=["x"] * 251)
    assert error["extensions"]["problems"][0]["code"] == "TOO_MANY"
