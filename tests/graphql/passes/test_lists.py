"""addToSegment and removeFromSegment in GraphQL."""

from __future__ import annotations

from typing import Any

from app.graphql.types.ids import to_global_id
from tests.graphql.serving import Api, list_codes

CHANGE = """mutation Change($input: SegmentListInput!) { %s(input: $input) {
  results { pass { externalId } userErrors { code field } } userErrors { code field } } }"""
ADD, REMOVE = CHANGE % "addToSegment", CHANGE % "removeFromSegment"
MEMBERS = """query Members($key: String!) { segment(key: $key) { criteria { list } memberCount
  members { nodes { since cause { kind } pass { externalId } } } } }"""
CREATE = """mutation { createSegment(input: { key: "vip", name: "VIP", criteria: { list: true } }) {
  segment { id criteria { list } } userErrors { code } } }"""


async def create_static(api: Api) -> str:
    created: dict[str, Any] = (await api.fetch_data(CREATE))["createSegment"]["segment"]
    assert created["criteria"] == {"list": True}
    return str(created["id"])


async def test_passes_named_by_either_id_are_put_on_the_list_and_taken_off_it(api: Api) -> None:
    segment_id = await create_static(api)
    [ann, _] = await api.business.create_passes("ann", "bob")
    sent = {"segmentId": segment_id, "passIds": [to_global_id("Pass", ann.id)], "passExternalIds": ["bob", "nobody"]}
    payload = (await api.fetch_data(ADD, input=sent))["addToSegment"]
    assert payload["userErrors"] == []
    assert [each["pass"] for each in payload["results"]] == [{"externalId": "ann"}, {"externalId": "bob"}, None]
    assert list_codes(payload["results"][2]["userErrors"]) == [("UNKNOWN", ["passExternalIds", "1"])]
    await api.business.run_worker()
    members = (await api.fetch_data(MEMBERS, key="vip"))["segment"]
    assert members["memberCount"] == 2
    assert {node["cause"]["kind"] for node in members["members"]["nodes"]} == {"MANUAL"}
    removed = await api.fetch_data(REMOVE, input={"segmentId": segment_id, "passExternalIds": ["bob"]})
    assert removed["removeFromSegment"]["userErrors"] == []
    await api.business.run_worker()
    assert (await api.fetch_data(MEMBERS, key="vip"))["segment"]["memberCount"] == 1


async def test_problems_of_the_input_as_a_whole_are_named(api: Api) -> None:
    segment_id = await create_static(api)
    payload = (await api.fetch_data(ADD, input={"segmentId": segment_id}))["addToSegment"]
    assert (payload["results"], list_codes(payload["userErrors"])) == ([], [("REQUIRED", ["passIds"])])
    payload = (await api.fetch_data(ADD, input={"segmentId": "x", "passExternalIds": ["ann"]}))["addToSegment"]
    assert list_codes(payload["userErrors"]) == [("UNKNOWN", ["segmentId"])]
