"""node and nodes: everything with a global id, and nothing of anybody else."""

from __future__ import annotations

from app.graphql.types.ids import to_global_id
from tests.business import another_business
from tests.graphql.serving import Api

NODES = "query Nodes($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"


async def test_everything_with_an_id_is_found_by_it(api: Api) -> None:
    await api.business.segment("buyers", {"event": {"types": ["purchase"], "value": 1}}, notify="EMIT")
    await api.business.record({})
    await api.business.settle()
    data = await api.data(
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
    found = (await api.data(NODES, ids=ids))["nodes"]
    assert [node["id"] for node in found] == ids
    assert [node["__typename"] for node in found] == [
        "Workspace", "ApiKey", "Pass", "Membership", "Event", "Segment", "Activity",
    ]  # fmt: skip


async def test_what_is_not_there_is_null_in_its_place(api: Api) -> None:
    [card] = await api.business.join("ann")
    unknown = [
        "",
        "x",
        "pass_1",
        to_global_id("Nothing", "x"),
        to_global_id("Pass", "pass_none"),
        "\ud800",
        "A" * 9_999,
    ]
    found = (await api.data(NODES, ids=[*unknown, to_global_id("Pass", card.id)]))["nodes"]
    assert found[:-1] == [None] * len(unknown)
    assert found[-1]["__typename"] == "Pass"


async def test_nothing_of_another_workspace_exists(api: Api) -> None:
    stranger = await another_business(api.business.ctx.resources, api.business.clock, "Other")
    segment = await stranger.segment("theirs", {"event": {"types": ["purchase"], "value": 1}})
    [result] = (await stranger.record({})).results
    await stranger.settle()
    assert result.event is not None
    [entry, *_] = await stranger.feed()
    ids = [
        to_global_id("Workspace", stranger.ctx.workspace.id),
        to_global_id("Event", result.event.id),
        to_global_id("Pass", result.event.pass_id),
        to_global_id("Segment", segment.id),
        to_global_id("Membership", f"{result.event.pass_id}.{segment.id}"),
        to_global_id("Activity", entry.id),
    ]
    assert (await api.data(NODES, ids=ids))["nodes"] == [None] * len(ids)


async def test_at_most_250_at_once(api: Api) -> None:
    error = await api.refusal(NODES, ids=["x"] * 251)
    assert error["extensions"]["problems"][0]["code"] == "TOO_MANY"
