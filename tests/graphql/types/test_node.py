"""The queries `node` and `nodes`: they find each object with a global id, but none of another workspace."""

from __future__ import annotations

from app.graphql.types.ids import to_global_id
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


async def test_nodes_returns_null_at_the_place_of_an_unknown_id(api: Api) -> None:
    [card] = await api.business.create_passes("ann")
    unknown = [
        "",
        "x",
        "pass_1",
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
    assert (await api.fetch_data(NODES, ids=ids))["nodes"] == [None] * len(ids)


async def test_nodes_rejects_more_than_250_ids(api: Api) -> None:
    error = await api.fetch_error(NODES, ids=["x"] * 251)
    assert error["extensions"]["problems"][0]["code"] == "TOO_MANY"
