"""Event types at the edge: defined, changed, archived, listed; and what they make of events."""

from __future__ import annotations

from typing import Any

from tests.business import another_business
from tests.graphql.serving import Api, codes

DEFINITION = """key label category description version status builtIn createdAt
  attributes { name type required list description allowedValues }"""
DEFINE = f"""mutation M($input: DefineEventTypeInput!) {{ defineEventType(input: $input) {{
  eventDefinition {{ id {DEFINITION} }} userErrors {{ code field }} }} }}"""
UPDATE = f"""mutation M($input: UpdateEventTypeInput!) {{ updateEventType(input: $input) {{
  eventDefinition {{ id {DEFINITION} }} userErrors {{ code field }} }} }}"""
ARCHIVE = """mutation M($input: ArchiveEventTypeInput!) { archiveEventType(input: $input) {
  eventDefinition { key status version } userErrors { code field } } }"""
STRICT = """mutation M($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) {
  workspace { eventTypes name } userErrors { code } } }"""
RECORD = """mutation M($input: RecordEventsInput!) { recordEvents(input: $input) {
  results { status event { type label category definitionVersion } userErrors { code field } } } }"""


async def defined(api: Api, key: str, **values: Any) -> dict[str, Any]:
    sent = {"key": key, "label": key.title(), **values}
    payload: dict[str, Any] = (await api.data(DEFINE, input=sent))["defineEventType"]
    return payload


async def recorded(api: Api, *events: dict[str, Any]) -> list[dict[str, Any]]:
    items = [{"passExternalId": "ann", **event} for event in events]
    data = await api.data(RECORD, input={"events": items, "createMissingPasses": True})
    results: list[dict[str, Any]] = data["recordEvents"]["results"]
    return results


async def test_a_type_is_defined_and_holds_for_events_from_then_on(api: Api) -> None:
    """A1-01, A1-02, A1-03, A1-04, V1-01, V1-02: what is sent becomes a checked, structured, immutable event."""
    attributes = [
        {"name": "store", "type": "TEXT", "required": True, "description": "Where it was."},
        {"name": "sizes", "type": "ENUM", "list": True, "allowedValues": ["S", "M"]},
    ]
    made = await defined(api, "lookbook", category="ACTIVITY", description="Seen.", attributes=attributes)
    definition = made["eventDefinition"]
    assert made["userErrors"] == []
    assert definition["attributes"] == [
        {**attributes[0], "list": False, "allowedValues": []},
        {**attributes[1], "required": False, "description": None},
    ]
    assert (definition["version"], definition["status"], definition["builtIn"]) == (1, "ACTIVE", False)
    results = await recorded(
        api,
        {"type": "lookbook", "metadata": {"store": "north", "sizes": ["S"]}},
        {"type": "purchase"},
        {"type": "lookbook", "metadata": {"store": "north", "sizes": ["S", "XL"]}},
        {"type": "lookbook", "metadata": {}, "label": "Mine"},
        {"type": "lookbook", "metadata": {"store": "north"}, "label": "Mine"},
    )
    assert [each["status"] for each in results] == ["CREATED", "CREATED", "REJECTED", "REJECTED", "CREATED"]
    assert results[0]["event"] == {
        "type": "lookbook", "label": "Lookbook", "category": "ACTIVITY", "definitionVersion": 1,
    }  # fmt: skip
    assert results[4]["event"]["label"] == "Mine"
    assert codes(results[2]["userErrors"]) == [("UNKNOWN", ["events", "2", "metadata", "sizes", "1"])]
    assert codes(results[3]["userErrors"]) == [("REQUIRED", ["events", "3", "metadata", "store"])]
    # A built-in type is extended just so; a label that changes changes for events recorded before.
    changed = await api.data(UPDATE, input={"key": "purchase", "label": "Sale", "attributes": attributes[:1]})
    assert changed["updateEventType"]["eventDefinition"]["version"] == 2
    [refused] = await recorded(api, {"type": "purchase"})
    assert codes(refused["userErrors"]) == [("REQUIRED", ["events", "0", "metadata", "store"])]
    data = await api.data('{ events(filter: {types: ["purchase"]}) { nodes { label definitionVersion } } }')
    assert data["events"]["nodes"] == [{"label": "Sale", "definitionVersion": None}]
    data = await api.data(
        """query ($id: ID!) { a: eventDefinition(key: "purchase", version: 1) { label version builtIn createdAt }
        b: eventDefinition(key: "purchase") { label version } c: eventDefinition(key: "none") { key }
        node(id: $id) { id ... on EventDefinition { key } } }""",
        id=definition["id"],
    )
    assert data["a"] == {"label": "Purchase", "version": 1, "builtIn": True, "createdAt": None}
    assert (data["b"], data["c"]) == ({"label": "Sale", "version": 2}, None)
    assert data["node"] == {"id": definition["id"], "key": "lookbook"}


async def test_types_and_sources_and_definitions_are_listed_and_a_strict_workspace_says_so(api: Api) -> None:
    """WH2-07, WH2-08: distinct types and sources; archived types are taken no more."""
    stranger = await another_business(api.business.ctx.resources, api.business.clock, "Other")
    await stranger.record({"type": "secret", "source": "elsewhere"})
    await recorded(api, {"type": "visit", "source": "mobile-app"}, {"type": "wishlist"})
    for key in ("lookbook", "outdated"):
        await defined(api, key)
    archived = (await api.data(ARCHIVE, input={"key": "outdated"}))["archiveEventType"]
    assert archived["eventDefinition"] == {"key": "outdated", "status": "ARCHIVED", "version": 2}
    strict = (await api.data(STRICT, input={"eventTypes": "STRICT"}))["updateWorkspace"]
    assert strict == {"workspace": {"eventTypes": "STRICT", "name": "Kiosk"}, "userErrors": []}
    results = await recorded(api, {"type": "visit"}, {"type": "lookbook"}, {"type": "wishlist"}, {"type": "outdated"})
    assert [each["status"] for each in results] == ["CREATED", "CREATED", "REJECTED", "REJECTED"]
    assert codes(results[2]["userErrors"]) == [("UNKNOWN", ["events", "2", "type"])]
    assert codes(results[3]["userErrors"]) == [("UNSUPPORTED", ["events", "3", "type"])]
    data = await api.data("{ eventTypes eventSources viewer { workspace { eventTypes } } }")
    assert data["eventTypes"] == ["lookbook", "visit", "wishlist"]
    assert data["eventSources"] == ["api", "mobile-app"]
    assert data["viewer"]["workspace"] == {"eventTypes": "STRICT"}
    found: list[str] = []
    after = None
    while True:
        page = (
            await api.data(
                """query ($after: String) { eventDefinitions(first: 9, after: $after) { totalCount nodes { key }
                pageInfo { hasNextPage endCursor } } }""",
                after=after,
            )
        )["eventDefinitions"]
        assert page["totalCount"] == 23
        found += [node["key"] for node in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert found == sorted(found)
    assert len(found) == 23
    assert {"lookbook", "outdated", "purchase"} < set(found)
    told = await api.data("{ auditLog(first: 4) { nodes { action subject } } }")
    assert [node["action"] for node in told["auditLog"]["nodes"]] == [
        "updateWorkspace", "archiveEventType", "defineEventType", "defineEventType",
    ]  # fmt: skip


async def test_what_cannot_be_defined_is_told_with_its_path(api: Api) -> None:
    """A1-22: internal types are nobody's."""
    bad = {"name": "size", "type": "ENUM"}
    for key, values, code, field in (
        ("purchase", {}, "TAKEN", ["key"]),
        ("event_removed", {}, "INVALID", ["key"]),
        ("new", {"category": "FIELD_CHANGE"}, "UNSUPPORTED", ["category"]),
        ("new", {"attributes": [{"name": "a", "type": "TEXT"}, bad]}, "REQUIRED", ["attributes", "1", "allowedValues"]),
        ("new", {"label": " "}, "INVALID", ["label"]),
    ):
        payload = await defined(api, key, **values)
        assert (payload["eventDefinition"], codes(payload["userErrors"])) == (None, [(code, field)])
    assert (await api.data("{ eventTypes }"))["eventTypes"] == []
