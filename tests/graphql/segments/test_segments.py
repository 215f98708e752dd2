"""Segments in GraphQL: criteria as input and output, members, changes and refusals."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from app.graphql.types.ids import to_global_id
from tests.graphql.serving import Api, list_codes

CRITERIA = """{ all { event { types categories metadata { path operator value } metric field currency operator value
  within { days hours } between { from to } never } pass { field operator value } segment { id member } not { event
  { metric value } } any { pass { field value } } } event { metric value within { days } } }"""
CREATE = (
    "mutation Create($input: CreateSegmentInput!) { createSegment(input: $input) { segment { id key name version status"
    f" timezone memberCount criteria {CRITERIA} }} userErrors {{ code field }} }} }}"
)
FIVE = {"event": {"types": ["purchase"], "value": 5}}


async def create(api: Api, key: str, criteria: Any, **fields: Any) -> dict[str, Any]:
    data = await api.fetch_data(CREATE, input={"key": key, "name": key, "criteria": criteria, **fields})
    payload: dict[str, Any] = data["createSegment"]
    return payload


async def test_criteria_are_returned_as_given_with_defaults_filled_in(api: Api) -> None:
    other = (await create(api, "five", FIVE))["segment"]
    tree = {
        "all": [
            {
                "event": {
                    "types": ["purchase"], "categories": ["TRANSACTION"], "metric": "SUM", "operator": "GT",
                    "metadata": [{"path": "store", "operator": "IN", "value": ["a", "b"]}], "value": "12.50",
                    "within": {"hours": 36},
                }
            },
            {"event": {"value": 1, "calendar": {"unit": "DAY"}}},
            {"event": {"value": 1, "between": {"from": "2025-01-01T00:00:00+01:00"}}},
            {"pass": {"field": "fields.size", "operator": "GTE", "value": 2}},
            {"segment": {"id": other["id"], "member": False}},
            {"not": {"event": {"metric": "DAYS_SINCE_LAST", "value": 60}}},
            {"any": [{"pass": {"field": "externalId", "value": "gold"}}]},
        ]
    }  # fmt: skip
    created = (await create(api, "tree", tree, timezone="Europe/Berlin"))["segment"]
    event, _, between, of_pass, segment, negated, any_of = created["criteria"]["all"]
    assert event["event"] == {
        "types": ["purchase"], "categories": ["TRANSACTION"], "metric": "SUM", "field": "amount", "currency": "USD",
        "metadata": [{"path": "store", "operator": "IN", "value": ["a", "b"]}], "operator": "GT", "value": "12.5",
        "within": {"days": None, "hours": 36}, "between": None, "never": "SINCE_JOINED",
    }  # fmt: skip
    assert between["event"]["between"] == {"from": "2024-12-31T23:00:00.000Z", "to": None}
    assert of_pass["pass"] == {"field": "fields.size", "operator": "GTE", "value": 2}
    assert segment["segment"] == {"id": other["id"], "member": False}
    assert negated["not"] == {"event": {"metric": "DAYS_SINCE_LAST", "value": "60"}}
    assert any_of["any"] == [{"pass": {"field": "externalId", "value": "gold"}}]
    assert created["timezone"] == "Europe/Berlin"


@pytest.mark.parametrize(
    ("criteria", "code", "field"),
    [
        ({"all": []}, "REQUIRED", ["criteria", "all"]),
        ({"event": {"value": "many"}}, "INVALID", ["criteria", "event", "value"]),
        ({"event": {"value": 1, "operator": "CONTAINS"}}, "UNSUPPORTED", ["criteria", "event", "operator"]),
        ({"not": {"event": {"value": 1, "within": {"days": -1}}}}, "OUT_OF_RANGE",
         ["criteria", "not", "event", "within", "days"]),
        ({"pass": {"field": "shoe", "value": 1}}, "UNKNOWN", ["criteria", "pass", "field"]),
        ({"segment": {"id": "nonsense"}}, "UNKNOWN", None),
    ],
)  # fmt: skip
async def test_invalid_criteria_are_refused_with_the_path_of_the_field(
    api: Api, criteria: Any, code: str, field: list[str] | None
) -> None:
    [(found, path)] = list_codes((await create(api, "bad", criteria))["userErrors"])
    assert found == code
    assert field is None or path == field


async def test_criteria_with_none_or_several_fields_at_a_level_fail_validation(api: Api) -> None:
    """The input type takes exactly one field, so GraphQL itself rejects the operation."""
    choices: list[dict[str, Any]] = [{}, {"all": [], "any": []}, {"event": None}]
    for criteria in choices:
        answer = await api.execute(CREATE, input={"key": "a", "name": "a", "criteria": criteria})
        assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        assert "data" not in answer


async def test_deeply_nested_criteria_are_refused_with_a_coded_error(api: Api) -> None:
    criteria: Any = FIVE
    for _ in range(9):
        criteria = {"not": criteria}
    assert list_codes((await create(api, "deep", criteria))["userErrors"])[0][0] == "LIMIT"
    for _ in range(400):
        criteria = {"not": criteria}
    answer = await api.execute(CREATE, input={"key": "a", "name": "a", "criteria": criteria})
    assert answer["errors"][0]["extensions"]["code"] in ("BAD_USER_INPUT", "BAD_REQUEST")


async def test_members_are_counted_and_paged_with_the_cause_of_each_membership(api: Api) -> None:
    segment = (await create(api, "buyer", {"event": {"types": ["purchase"], "value": 1}}))["segment"]
    await api.business.record(*({"pass_external_id": f"p{n}"} for n in range(5)))
    await api.business.run_worker()
    query = """query ($after: String) { segment(key: "buyer") { memberCount backfill { total judged done }
      members(first: 3, after: $after) { totalCount nodes { id since pass { externalId } segment { key }
      cause { kind event { type } segmentVersion } } pageInfo { hasNextPage endCursor } } } }"""
    first = (await api.fetch_data(query))["segment"]
    assert first["memberCount"] == first["members"]["totalCount"] == 5
    assert first["backfill"] == {"total": 5, "judged": 5, "done": True}
    membership = first["members"]["nodes"][0]
    assert membership["cause"] == {"kind": "EVENT", "event": {"type": "purchase"}, "segmentVersion": None}
    assert (membership["since"], membership["segment"]) == ("2026-01-01T00:00:00.000Z", {"key": "buyer"})
    second_page = (await api.fetch_data(query, after=first["members"]["pageInfo"]["endCursor"]))["segment"]["members"]
    names = [node["pass"]["externalId"] for node in (*first["members"]["nodes"], *second_page["nodes"])]
    assert sorted(names) == ["p0", "p1", "p2", "p3", "p4"]
    membership_data = await api.fetch_data(
        "query ($id: ID!) { node(id: $id) { ... on Membership { since } } }", id=membership["id"]
    )
    assert membership_data["node"] == {"since": "2026-01-01T00:00:00.000Z"}
    data = await api.fetch_data(
        '{ pass(externalId: "p0") { memberships(first: 1) { totalCount nodes { segment { id } } } } }'
    )
    assert data["pass"]["memberships"] == {"totalCount": 1, "nodes": [{"segment": {"id": segment["id"]}}]}


async def test_segment_is_updated_duplicated_and_archived(api: Api) -> None:
    created = (await create(api, "five", FIVE))["segment"]
    repeated = await create(api, "five", FIVE)
    assert list_codes(repeated["userErrors"]) == [("TAKEN", ["key"])]
    data = await api.fetch_data(
        """mutation ($id: ID!) {
        updateSegment(input: {id: $id, name: "Six", criteria: {event: {types: ["purchase"], value: 6}}, notify: EMIT})
          { segment { name version criteria { event { value } } } userErrors { code } }
        duplicateSegment(input: {id: $id, key: "copy"}) { segment { key name version } userErrors { code } }
        archiveSegment(input: {id: $id}) { segment { status version } userErrors { code } } }""",
        id=created["id"],
    )
    changed = {"name": "Six", "version": 2, "criteria": {"event": {"value": "6"}}}
    assert data["updateSegment"]["segment"] == changed
    assert data["duplicateSegment"]["segment"] == {"key": "copy", "name": "Six (copy)", "version": 1}
    assert data["archiveSegment"]["segment"] == {"status": "ARCHIVED", "version": 3}
    listed = (await api.fetch_data("{ segments { totalCount nodes { key status } } }"))["segments"]
    assert listed["totalCount"] == 2
    refused = await api.fetch_data(
        'mutation ($id: ID!) { updateSegment(input: {id: $id, name: "x"}) { userErrors { code field } } }',
        id=created["id"],
    )
    assert list_codes(refused["updateSegment"]["userErrors"]) == [("CONFLICT", ["id"])]


async def test_visibility_to_passes_is_set_changed_and_kept(api: Api) -> None:
    """It makes no version, and a change that leaves it out keeps it."""
    segment = (await create(api, "five", FIVE, visibleToPasses=True))["segment"]
    update = (
        "mutation ($input: UpdateSegmentInput!) { updateSegment(input: $input)"
        " { segment { name version visibleToPasses } userErrors { code } } }"
    )
    for change, expected in (
        ({"name": "Five"}, ("Five", True)),
        ({"visibleToPasses": False}, ("Five", False)),
        ({"visibleToPasses": True}, ("Five", True)),
    ):
        changed = (await api.fetch_data(update, input={"id": segment["id"], **change}))["updateSegment"]
        assert changed == {
            "segment": {"name": expected[0], "version": 1, "visibleToPasses": expected[1]},
            "userErrors": [],
        }
    hidden = (await create(api, "six", FIVE))["segment"]
    found = await api.fetch_data("query ($id: ID!) { segment(id: $id) { visibleToPasses } }", id=hidden["id"])
    assert found["segment"]["visibleToPasses"] is False


async def test_versions_of_a_segment_are_listed_and_used_again(api: Api) -> None:
    """Mutations of one operation run one after the other. Each is in the audit log."""
    created = (await create(api, "five", FIVE))["segment"]
    data = await api.fetch_data(
        """mutation ($id: ID!) {
        updateSegment(input: {id: $id, criteria: {event: {types: ["purchase"], value: 6}}, notify: EMIT})
          { userErrors { code } }
        archiveSegment(input: {id: $id}) { userErrors { code } }
        unarchiveSegment(input: {id: $id}) { segment { status version key } userErrors { code } }
        revertSegment(input: {id: $id, version: 1}) { segment { version criteria { event { value } } } userErrors { code } }
        again: revertSegment(input: {id: $id, version: 9}) { segment { version } userErrors { code field } } }""",
        id=created["id"],
    )
    assert data["unarchiveSegment"]["segment"] == {"status": "ACTIVE", "version": 4, "key": "five"}
    assert data["revertSegment"]["segment"] == {"version": 5, "criteria": {"event": {"value": "5"}}}
    assert list_codes(data["again"]["userErrors"]) == [("UNKNOWN", ["version"])]
    read = await api.fetch_data(
        """query ($id: ID!) { segment(id: $id) { versions(first: 4) { totalCount pageInfo { hasNextPage } nodes {
        version criteria { event { value } } timezone archived notify fireRules memberCountBefore memberCountAfter
        createdBy { name } } } } auditLog(first: 5) { nodes { action } } }""",
        id=created["id"],
    )
    versions = read["segment"]["versions"]
    assert (versions["totalCount"], versions["pageInfo"]["hasNextPage"]) == (5, True)
    assert [(each["version"], each["criteria"]["event"]["value"], each["archived"]) for each in versions["nodes"]] == [
        (5, "5", False), (4, "6", False), (3, "6", True), (2, "6", False),
    ]  # fmt: skip
    second = versions["nodes"][-1]
    assert (second["notify"], second["fireRules"], second["memberCountBefore"], second["memberCountAfter"]) == (
        "EMIT", False, 0, None,
    )  # fmt: skip
    assert second["createdBy"]["name"]
    assert [each["action"] for each in read["auditLog"]["nodes"]][:4] == [
        "revertSegment", "unarchiveSegment", "archiveSegment", "updateSegment",
    ]  # fmt: skip


async def test_version_has_its_own_zone_field_and_a_revert_brings_it_back(api: Api) -> None:
    today = {"event": {"types": ["purchase"], "value": 1, "calendar": {"unit": "DAY"}}}
    created = (await create(api, "today", today, zoneField="fields.timezone"))["segment"]
    data = await api.fetch_data(
        """mutation ($id: ID!) {
        updateSegment(input: {id: $id, zoneField: ""}) { segment { zoneField } }
        revertSegment(input: {id: $id, version: 1}) { segment { zoneField versions { nodes { zoneField } } } } }""",
        id=created["id"],
    )
    assert data["updateSegment"]["segment"] == {"zoneField": None}
    assert data["revertSegment"]["segment"] == {
        "zoneField": "fields.timezone",
        "versions": {"nodes": [{"zoneField": each} for each in ("fields.timezone", None, "fields.timezone")]},
    }


async def test_edit_is_scheduled_shown_and_withdrawn(api: Api) -> None:
    created = (await create(api, "five", FIVE))["segment"]
    at = (await api.business.clock.now() + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    scheduled = """segment { version scheduledEdit { scheduledAt criteria { event { value } } timezone notify fireRules
      name description visibleToPasses zoneField retryAt createdBy { name } problem { code } } } userErrors { code field }"""
    data = await api.fetch_data(
        f"""mutation ($id: ID!, $at: DateTime!) {{
        zoned: updateSegment(input: {{id: $id, name: "Six", timezone: "Asia/Tokyo", scheduledAt: $at}}) {{ {scheduled} }}
        updateSegment(input: {{id: $id, scheduledAt: $at, notify: EMIT, fireRules: true, name: "Six", description: "New.",
          visibleToPasses: true, zoneField: "",
          criteria: {{event: {{types: ["purchas"], value: 6}}}}}}) {{ {scheduled} warnings {{ code }} }}
        withdrawSegmentEdit(input: {{id: $id}}) {{ {scheduled} }} }}""",
        id=created["id"], at=at,
    )  # fmt: skip
    assert list_codes(data["zoned"]["userErrors"]) == [("INVALID", ["timezone"])]
    segment = data["updateSegment"]["segment"]
    edit = segment["scheduledEdit"]
    assert (segment["version"], len(data["updateSegment"]["warnings"])) == (1, 1)
    assert datetime.fromisoformat(edit["scheduledAt"]) == datetime.fromisoformat(at)
    assert (edit["criteria"], edit["timezone"], edit["notify"], edit["fireRules"], edit["problem"]) == (
        {"event": {"value": "6"}}, None, "EMIT", True, None,
    )  # fmt: skip
    assert edit["createdBy"]["name"]
    labels = [edit[name] for name in ("name", "description", "visibleToPasses", "zoneField", "retryAt")]
    assert labels == ["Six", "New.", True, "", None]
    assert data["withdrawSegmentEdit"]["segment"]["scheduledEdit"] is None


@pytest.mark.parametrize("unknown", ["seg_none", "nonsense", "", to_global_id("Pass", "pass_1"), "\ud800"])
async def test_unknown_segment_is_refused_by_mutations_and_null_in_queries(api: Api, unknown: str) -> None:
    mutation = "mutation ($id: ID!) { archiveSegment(input: {id: $id}) { userErrors { code field } } }"
    [(code, field)] = list_codes((await api.fetch_data(mutation, id=unknown))["archiveSegment"]["userErrors"])
    assert code in ("UNKNOWN", "INVALID")
    assert field == ["id"]
    assert await api.fetch_data("query ($id: ID!) { segment(id: $id) { id } node(id: $id) { id } }", id=unknown) == {
        "segment": None,
        "node": None,
    }


WARN = """mutation Warn($input: UpdateSegmentInput!) { updateSegment(input: $input) { segment { version criteria { event {
  metadata { value } } } } warnings { code message field } userErrors { code } } }"""


async def test_likely_mistakes_are_answered_as_warnings(api: Api) -> None:
    types = {"types": ["purchas"], "metadata": [{"path": "day", "operator": "GT", "value": "today"}]}
    created = await api.fetch_data(
        CREATE.replace("userErrors", "warnings { code message field } userErrors"),
        input={"key": "typo", "name": "Typo", "criteria": {"event": {"value": 1, **types}}},
    )
    warnings = created["createSegment"]["warnings"]
    assert [(each["code"], ".".join(each["field"])) for each in warnings] == [
        ("UNKNOWN", "criteria.event.types.0"),
        ("UNSUPPORTED", "criteria.event.metadata.0.value"),
    ]
    assert "purchas" in warnings[0]["message"]
    segment_id = created["createSegment"]["segment"]["id"]
    await api.business.record({"type": "purchas"})
    exact = {"path": "n", "operator": "IN", "value": [0.5, 7, "7", True, 0.30000000000000004]}
    changed = {"id": segment_id, "criteria": {"event": {"value": 1, "types": ["purchas"], "metadata": [exact]}}}
    updated = (await api.fetch_data(WARN, input=changed))["updateSegment"]
    assert (updated["warnings"], updated["userErrors"], updated["segment"]["version"]) == ([], [], 2)
    [condition] = updated["segment"]["criteria"]["event"]["metadata"]
    assert [type(value) for value in condition["value"]] == [float, int, str, bool, float]
    assert condition["value"] == exact["value"]
    renamed = (await api.fetch_data(WARN, input={"id": segment_id, "name": "Typos"}))["updateSegment"]
    assert (renamed["warnings"], renamed["segment"]["version"]) == ([], 2)


@pytest.mark.parametrize(
    ("criteria", "code", "field"),
    [
        ({"event": {"value": 0, "operator": "LT"}}, "INVALID", "criteria.event.value"),
        ({"event": {"value": 0}}, "INVALID", "criteria.event.value"),
        ({"pass": {"field": "createdAt", "operator": "LTE", "value": "-365d"}}, "INVALID", "criteria.pass.value"),
        ({"pass": {"field": "tier", "value": "gold"}}, "INVALID", "criteria.pass.value"),
        ({"all": [{"event": {"value": 5}}, {"event": {"value": 3, "operator": "LT"}}]}, "INVALID", "criteria.all"),
        (
            {"event": {"value": 1, "metadata": [{"path": "a", "operator": "CONTAINS", "value": "x" * 1_001}]}},
            "TOO_LONG", "criteria.event.metadata.0.value",
        ),
        ({"pass": {"field": "fields.a", "value": "x" * 1_001}}, "TOO_LONG", "criteria.pass.value"),
    ],
)  # fmt: skip
async def test_criteria_without_effect_are_refused_with_their_path(
    api: Api, criteria: dict[str, Any], code: str, field: str
) -> None:
    payload = await create(api, "none", criteria)
    assert (payload["segment"], list_codes(payload["userErrors"])) == (None, [(code, field.split("."))])
