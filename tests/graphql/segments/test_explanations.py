"""explainMembership and the explanation of a membership in GraphQL."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from app.graphql.types.ids import to_global_id
from tests.business import bought_within, no_purchase_for, purchases
from tests.graphql.serving import Api

DAY = timedelta(days=1)
PART = """kind operator holds measured threshold windowFrom windowTo timezone until
  events(first: 2) { nodes { externalId } hasMore }"""
EXPLANATION = f"""member at since until stableUntil version list text cause {{ kind event {{ externalId }} }}
  tree {{ {PART} children {{ {PART} children {{ {PART} }} }} }}"""
QUERY = f"""query ($pass: String, $id: ID, $key: String, $criteria: CriteriaInput, $zone: String, $at: DateTime) {{
  explainMembership(passExternalId: $pass, segmentId: $id, segmentKey: $key, criteria: $criteria, timezone: $zone, at: $at)
  {{ {EXPLANATION} }} }}"""


async def explain(api: Api, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await api.fetch_data(QUERY, **{"pass": "ann", **variables}))["explainMembership"]
    return found


async def test_explanation_says_why_since_when_and_until_when_a_pass_is_in_a_segment(api: Api) -> None:
    """A support agent reads one sentence, and the tree has what each part measured."""
    business = api.business
    start = await business.clock.now()
    segment = await business.create_segment("keen", {"all": [bought_within(30), {"not": purchases(5)}]})
    await business.record({"external_id": "a"}, {"external_id": "b"}, {"external_id": "c"})
    await business.run_worker()
    business.clock.set(start + 2 * DAY)
    found = await explain(api, id=to_global_id("Segment", segment.id))
    assert (found["member"], found["since"], found["version"]) == (True, "2026-01-01T00:00:00.000Z", 1)
    assert (found["until"], found["stableUntil"]) == ("2026-01-31T00:00:00.000Z", None)
    assert (found["cause"]["kind"], found["list"], found["at"]) == ("EVENT", None, "2026-01-03T00:00:00.000Z")
    assert found["text"] == (
        "Pass ann is in the segment keen since 1 January 2026 at 00:00 (UTC), because it has 3 purchase events in "
        "the last 30 days (it takes at least 1) and it has 3 purchase events (it takes less than 5), and it leaves the "
        "segment on 31 January 2026 at 00:00 (UTC) if nothing happens."
    )
    tree = found["tree"]
    bought, negated = tree["children"]
    assert (tree["kind"], tree["holds"], tree["measured"]) == ("ALL", True, None)
    assert (bought["kind"], bought["operator"], bought["measured"], bought["threshold"]) == ("EVENT", "GTE", 3, "1")
    assert (bought["windowFrom"], bought["windowTo"]) == ("2025-12-04T00:00:00.001Z", "2026-01-03T00:00:00.000Z")
    assert (bought["timezone"], bought["until"]) == ("UTC", "2026-01-31T00:00:00.000Z")
    assert bought["events"]["hasMore"]
    assert len(bought["events"]["nodes"]) == 2
    [inner] = negated["children"]
    assert (negated["kind"], negated["holds"], inner["holds"], inner["windowFrom"]) == ("NOT", True, False, None)
    assert tree["events"] == {"nodes": [], "hasMore": False}


async def test_explanation_of_no_member_says_when_the_pass_enters(api: Api) -> None:
    await api.business.create_segment("away", no_purchase_for(60))
    await api.business.record({})
    await api.business.run_worker()
    found = await explain(api, key="away")
    assert (found["member"], found["since"], found["cause"]) == (False, None, None)
    assert found["until"] == "2026-03-02T00:00:00.000Z"
    assert found["text"] == (
        "Pass ann is not in the segment away, because the last of its purchase events was 0 days ago (it takes at least 60 "
        "days), and it enters the segment on 2 March 2026 at 00:00 (UTC) if nothing happens."
    )
    later = await explain(api, key="away", at="2026-03-02T00:00:00Z")
    assert (later["member"], later["since"], later["cause"]["kind"]) == (True, "2026-03-02T00:00:00.000Z", "TIME")
    assert (later["until"], later["stableUntil"]) == (None, "2031-03-02T00:00:00.000Z")


async def test_criteria_of_no_segment_are_explained_as_if_they_were_one(api: Api) -> None:
    await api.business.record({"amount": 3, "metadata": {"store": "north"}}, {"amount": 4})
    await api.business.run_worker()
    north = {"types": ["purchase"], "metadata": [{"path": "store", "operator": "EQ", "value": "north"}], "value": 1}
    criteria = {
        "all": [
            {"event": {**north, "within": {"days": 2}}},
            {"pass": {"field": "holder.name", "operator": "NOT_EXISTS"}},
        ]
    }
    found = await explain(api, criteria=criteria, zone="Asia/Kolkata")
    assert (found["member"], found["since"], found["version"], found["cause"]) == (True, None, None, None)
    assert found["until"] == "2026-01-03T00:00:00.000Z"
    assert found["text"] == (
        "Pass ann meets the criteria, because it has 1 purchase event that meets its conditions in the last 2 days "
        "(it takes at least 1) and its name has no value (it takes no value), and it stops meeting "
        "them on 3 January 2026 at 05:30 (Asia/Kolkata) if nothing happens."
    )
    refused = await api.execute(QUERY, **{"pass": "ann", "criteria": {"event": {"value": 0}}})
    [error] = refused["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_lists_of_a_segment_win_over_its_criteria_in_explanations(api: Api) -> None:
    segment = await api.business.create_segment("buyer", purchases(1))
    await api.business.create_passes("ann")
    change = """mutation ($input: SegmentListInput!) { addToSegment(input: $input) { userErrors { code } } }"""
    await api.fetch_data(change, input={"segmentId": segment.id, "passExternalIds": ["ann"], "list": "INCLUDE"})
    await api.business.run_worker()
    found = await explain(api, key="buyer")
    assert (found["member"], found["list"], found["tree"]["holds"]) == (True, "INCLUDE", False)
    assert "because it is on the list of passes that always belong to it" in found["text"]


async def test_membership_has_its_explanation_and_the_instant_at_which_it_ends(api: Api) -> None:
    await api.business.create_segment("recent", bought_within(30))
    await api.business.record({})
    await api.business.run_worker()
    query = (
        f"""{{ pass(externalId: "ann") {{ memberships {{ nodes {{ until explanation {{ {EXPLANATION} }} }} }} }} }}"""
    )
    [node] = (await api.fetch_data(query))["pass"]["memberships"]["nodes"]
    assert node["until"] == node["explanation"]["until"] == "2026-01-31T00:00:00.000Z"
    assert node["explanation"] == await explain(api, key="recent")


@pytest.mark.parametrize(
    ("arguments", "code", "field"),
    [
        ('passExternalId: "ann"', "INVALID", "segmentId"),
        ('segmentKey: "recent"', "INVALID", "passId"),
        ('passExternalId: "ann", passId: "pass_1", segmentKey: "recent"', "INVALID", "passId"),
        ('passExternalId: "ann", segmentKey: "recent", segmentId: "seg_1"', "INVALID", "segmentId"),
        ('passExternalId: "ann", segmentKey: "recent", at: "2025-01-01T00:00:00Z"', "UNSUPPORTED", "at"),
        ('passExternalId: "ann", segmentKey: "recent", at: "2041-01-01T00:00:00Z"', "OUT_OF_RANGE", "at"),
        ('passExternalId: "ann", criteria: {segment: {id: "seg_1"}}', "UNKNOWN", "criteria"),
    ],
)
async def test_explanations_refuse_what_names_nothing_or_too_much(
    api: Api, arguments: str, code: str, field: str
) -> None:
    await api.business.create_segment("recent", bought_within(30))
    await api.business.record({})
    await api.business.run_worker()
    error = await api.fetch_error(f"{{ explainMembership({arguments}) {{ member }} }}")
    [problem] = error["extensions"]["problems"]
    assert (problem["code"], problem["field"][0]) == (code, field)


async def test_explanation_is_null_without_the_pass_or_the_live_segment(api: Api) -> None:
    segment = await api.business.create_segment("recent", bought_within(30))
    await api.business.create_passes("ann")
    archive = "mutation ($id: ID!) { archiveSegment(input: {id: $id}) { userErrors { code } } }"
    assert await explain(api, key="recent") is not None
    assert await explain(api, **{"pass": "bob", "key": "recent"}) is None
    assert await explain(api, key="other") is None
    await api.fetch_data(archive, id=segment.id)
    await api.business.run_worker()
    assert await explain(api, key="recent") is None


async def test_explanations_need_the_scope_read(api: Api) -> None:
    secret = await api.create_key("write")
    query = '{ explainMembership(passExternalId: "ann", segmentKey: "recent") { member } }'
    response = await api.post(json.dumps({"query": query}), authorization=f"Bearer {secret}")
    assert response.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
