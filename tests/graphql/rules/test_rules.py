"""Rules in GraphQL: input and output, versions, changes and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from app.graphql.types.ids import to_global_id
from tests.business import purchases
from tests.graphql.serving import Api, list_codes

CONTENT = """version status trigger { event { types sources categories currency amountMin amountMax }
  segmentEntered { segmentId } segmentLeft { segmentId } tier { changes tierKey } balance { pointsReach earnedTotalReach } }
  conditions { all { event { types value } segment { id } } } eventMetadata { path operator value } nth { equals every }
  when { weekdays from to } limits { perPass { count within { days } calendar } } active { from to } timezone priority group
  effects { awardPoints { points perAmount { points each rounding decimals } multiplier expiresAt expiresAfterDays
  expiresAfterInactiveDays expiresAtEndOf { unit plus } pendingDays label } deductPoints { points label }
  recordEvent { type amount currency points metadata } updatePass { fields metadata } addToSegment { segmentId }
  removeFromSegment { segmentId } } onCorrection historical controlGroupPercent"""
RULE = f"id key name description {CONTENT} createdAt updatedAt"
ERRORS = "userErrors { code message field }"
CREATE = (
    f"mutation Create($input: CreateRuleInput!) {{ createRule(input: $input) {{ rule {{ {RULE} }}"
    f" warnings {{ code field }} {ERRORS} }} }}"
)
UPDATE = (
    f"mutation Update($input: UpdateRuleInput!) {{ updateRule(input: $input) {{ rule {{ {RULE} }}"
    f" warnings {{ code field }} {ERRORS} }} }}"
)
SIMPLE = {
    "key": "welcome",
    "name": "Welcome",
    "trigger": {"event": {"types": ["pass_registered"]}},
    "effects": [{"awardPoints": {"points": 50}}],
}


async def create(api: Api, **changes: Any) -> dict[str, Any]:
    payload: dict[str, Any] = (await api.fetch_data(CREATE, input={**SIMPLE, **changes}))["createRule"]
    return payload


async def test_rule_is_returned_as_given_with_defaults_filled_in(api: Api) -> None:
    segment = await api.business.create_segment("loyal", purchases(3))
    segment_id = to_global_id("Segment", segment.id)
    rule = (await create(api))["rule"]
    assert rule["trigger"]["event"] == {
        "types": ["pass_registered"], "sources": [], "categories": [], "currency": None, "amountMin": None,
        "amountMax": None,
    }  # fmt: skip
    assert [rule[name] for name in ("conditions", "nth", "when", "limits", "active", "group")] == [None] * 6
    assert (rule["version"], rule["status"], rule["onCorrection"], rule["historical"]) == (
        1,
        "ACTIVE",
        "REVERSE",
        "IGNORE",
    )
    given = {
        "key": "bonus",
        "trigger": {"event": {"types": ["purchase"], "categories": ["TRANSACTION"], "amountMin": "9.50"}},
        "conditions": {"all": [{"segment": {"id": segment_id}}, {"event": {"types": ["visit"], "value": 2}}]},
        "eventMetadata": [{"path": "store", "operator": "IN", "value": ["a"]}],
        "nth": {"every": 10},
        "when": {"weekdays": ["SATURDAY", "SUNDAY"], "from": "09:00"},
        "limits": {"perPass": {"count": 2, "within": {"days": 7}}},
        "active": {"from": "2026-01-01T00:00:00+01:00"},
        "timezone": "Europe/Berlin",
        "priority": 7,
        "group": "weekend",
        "effects": [
            {
                "awardPoints": {
                    "perAmount": {"points": 1, "each": "2.00"},
                    "expiresAtEndOf": {"unit": "YEAR", "plus": 1},
                }
            },
            {"deductPoints": {"points": "1.5", "label": "fee"}},
            {"recordEvent": {"type": "gift", "amount": "5.00", "metadata": {"to": "{{ pass.externalId }}"}}},
            {"updatePass": {"fields": {"last": "{{ today }}"}}},
        ],
        "onCorrection": "KEEP",
        "historical": "FIRE",
        "controlGroupPercent": 20,
    }
    rule = (await create(api, **given))["rule"]
    for name in ("eventMetadata", "timezone", "priority", "group", "onCorrection", "historical", "controlGroupPercent"):
        assert rule[name] == given[name]
    assert rule["trigger"]["event"]["currency"] == "USD"
    assert rule["conditions"]["all"][0]["segment"]["id"] == segment_id
    assert rule["when"] == {"weekdays": ["SATURDAY", "SUNDAY"], "from": "09:00", "to": "24:00"}
    assert rule["limits"] == {"perPass": {"count": 2, "within": {"days": 7}, "calendar": None}}
    assert rule["active"] == {"from": "2025-12-31T23:00:00.000Z", "to": None}
    award, deduction, event, change = rule["effects"]
    assert award["awardPoints"]["perAmount"] == {"points": "1", "each": "2", "rounding": "DOWN", "decimals": 0}
    assert award["awardPoints"]["expiresAtEndOf"] == {"unit": "YEAR", "plus": 1}
    assert deduction["deductPoints"] == {"points": "1.5", "label": "fee"}
    assert event["recordEvent"]["metadata"] == {"to": "{{ pass.externalId }}"}
    assert change["updatePass"] == {"fields": {"last": "{{ today }}"}, "metadata": {}}
    listed = await api.fetch_data(f'{{ rules {{ totalCount nodes {{ {RULE} }} }} rule(key: "bonus") {{ {RULE} }} }}')
    assert listed["rules"]["totalCount"] == 2
    assert listed["rule"] == rule
    assert rule in listed["rules"]["nodes"]


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ({"tier": {"changes": ["UPGRADED"], "tierKey": "gold"}}, {"changes": ["UPGRADED"], "tierKey": "gold"}),
        ({"balance": {"pointsReach": 100}}, {"pointsReach": "100", "earnedTotalReach": None}),
        ({"balance": {"earnedTotalReach": 100}}, {"pointsReach": None, "earnedTotalReach": "100"}),
    ],
)
async def test_other_triggers_are_returned_as_given(api: Api, trigger: dict[str, Any], expected: Any) -> None:
    [kind] = trigger
    rule = (await create(api, trigger=trigger))["rule"]
    assert rule["trigger"][kind] == expected


async def test_update_changes_what_was_sent_and_null_sets_the_default(api: Api) -> None:
    rule = (await create(api, group="a", limits={"perPass": {"count": 1}}, description="First"))["rule"]
    payload = (await api.fetch_data(UPDATE, input={"id": rule["id"], "limits": None, "priority": 3}))["updateRule"]
    changed = payload["rule"]
    assert (changed["limits"], changed["priority"], changed["group"], changed["version"]) == (None, 3, "a", 2)
    assert changed["description"] == "First"
    payload = (await api.fetch_data(UPDATE, input={"id": rule["id"], "description": None}))["updateRule"]
    assert (payload["rule"]["description"], payload["rule"]["version"]) == (None, 2)
    payload = (await api.fetch_data(UPDATE, input={"id": rule["id"], "effects": None}))["updateRule"]
    assert list_codes(payload["userErrors"]) == [("REQUIRED", ["effects"])]
    query = f"query ($id: ID!) {{ rule(id: $id) {{ versions {{ totalCount nodes {{ {CONTENT} createdAt }} }} }} }}"
    versions = (await api.fetch_data(query, id=rule["id"]))["rule"]["versions"]
    assert (versions["totalCount"], [each["version"] for each in versions["nodes"]]) == (2, [2, 1])
    assert versions["nodes"][1]["limits"] == rule["limits"]


async def test_rule_is_paused_resumed_archived_and_copied(api: Api) -> None:
    rule = (await create(api))["rule"]
    for mutation, status in (("pauseRule", "PAUSED"), ("resumeRule", "ACTIVE"), ("archiveRule", "ARCHIVED")):
        query = f"mutation ($id: ID!) {{ {mutation}(input: {{id: $id}}) {{ rule {{ status }} {ERRORS} }} }}"
        payload = (await api.fetch_data(query, id=rule["id"]))[mutation]
        assert payload == {"rule": {"status": status}, "userErrors": []}
    query = f'mutation ($id: ID!) {{ duplicateRule(input: {{id: $id, key: "copy"}}) {{ rule {{ name status }} {ERRORS} }} }}'
    payload = (await api.fetch_data(query, id=rule["id"]))["duplicateRule"]
    assert payload["rule"] == {"name": "Welcome (copy)", "status": "PAUSED"}
    query = "query ($id: ID!) { node(id: $id) { ... on Rule { key warnings { code } } } }"
    assert (await api.fetch_data(query, id=rule["id"]))["node"] == {"key": "welcome", "warnings": []}


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"effects": [{"sendMessage": {"channelKey": "mail", "template": "Hi {{ x"}}]}, "INVALID",
         ["effects", "0", "sendMessage", "template"]),
        ({"effects": [{"issueReward": {"rewardKey": "coffee"}}]}, "UNKNOWN", ["effects", "0", "issueReward", "rewardKey"]),
        ({"effects": [{"awardPoints": {"points": "9" * 30}}]}, "OUT_OF_RANGE", ["effects", "0", "awardPoints", "points"]),
        ({"effects": [{"updatePass": {"fields": {"a": "{{ b"}}}]}, "INVALID",
         ["effects", "0", "updatePass", "fields", "a"]),
        ({"effects": [{"recordEvent": {"type": "pass_registered"}}]}, "CYCLE", ["effects", "0"]),
        ({"controlGroupPercent": 101}, "OUT_OF_RANGE", ["controlGroupPercent"]),
        ({"trigger": {"segmentEntered": {"segmentId": "nonsense"}}}, "UNKNOWN", ["trigger", "segmentEntered", "segmentId"]),
    ],
)  # fmt: skip
async def test_invalid_rule_is_refused_with_the_path_of_the_field(
    api: Api, changes: dict[str, Any], code: str, field: list[str]
) -> None:
    payload = await create(api, **changes)
    assert payload["rule"] is None
    assert list_codes(payload["userErrors"]) == [(code, field)]


async def test_warnings_name_what_looks_like_a_mistake(api: Api) -> None:
    payload = await create(api, trigger={"event": {"types": ["regstered"]}})
    assert payload["warnings"] == [{"code": "UNKNOWN", "field": ["trigger", "event", "types", "0"]}]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"active": {"from": "2019-01-01T00:00:00Z", "to": "2020-01-01T00:00:00Z"}}, ["active", "to"]),
        ({"effects": [{"awardPoints": {"points": 5, "expiresAt": "2020-01-01T00:00:00Z"}}]},
         ["effects", "0", "awardPoints", "expiresAt"]),
        ({"trigger": {"tier": {"changes": ["JOINED"]}}}, ["trigger", "tier"]),
    ],
)  # fmt: skip
async def test_rule_that_cannot_do_what_it_says_is_created_with_a_warning(
    api: Api, changes: dict[str, Any], field: list[str]
) -> None:
    payload = await create(api, **changes)
    assert payload["userErrors"] == []
    assert [warning["field"] for warning in payload["warnings"]] == [field]


async def test_rule_on_a_tier_that_the_program_lacks_is_created_with_a_warning(api: Api) -> None:
    reach = {"event": {"types": ["purchase"], "value": 1}}
    program = {"period": {"forever": True}, "tiers": [{"key": "gold", "name": "Gold", "reach": reach}]}
    set_program = "mutation ($input: SetTierProgramInput!) { setTierProgram(input: $input) { userErrors { message } } }"
    await api.fetch_data(set_program, input=program)
    assert (await create(api, key="a", trigger={"tier": {"tierKey": "gold"}}))["warnings"] == []
    payload = await create(api, key="b", trigger={"tier": {"tierKey": "golden"}})
    assert payload["warnings"] == [{"code": "UNKNOWN", "field": ["trigger", "tier", "tierKey"]}]
