"""Event types in GraphQL: definition, change, archiving and listing, and the checks of events against them."""

from __future__ import annotations

from typing import Any

from tests.business import create_business
from tests.graphql.serving import Api, list_codes

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


async def define(api: Api, key: str, **values: Any) -> dict[str, Any]:
    fields = {"key": key, "label": key.title(), **values}
    payload: dict[str, Any] = (await api.fetch_data(DEFINE, input=fields))["defineEventType"]
    return payload


async def record(api: Api, *events: dict[str, Any]) -> list[dict[str, Any]]:
    items = [{"passExternalId": "ann", **event} for event in events]
    data = await api.fetch_data(RECORD, input={"events": items, "createMissingPasses": True})
    results: list[dict[str, Any]] = data["recordEvents"]["results"]
    return results


async def test_defined_type_applies_to_events_that_are_recorded_afterwards(api: Api) -> None:
    """A1-01, A1-02, A1-03, A1-04, V1-01, V1-02: an item of the client becomes a checked, structured, immutable event."""
    attributes = [
        {"name": "store", "type": "TEXT", "required": True, "description": "Where it was."},
        {"name": "sizes", "type": "ENUM", "list": True, "allowedValues": ["S", "M"]},
    ]
    payload = await define(api, "lookbook", category="ACTIVITY", description="Seen.", attributes=attributes)
    definition = payload["eventDefinition"]
    assert payload["userErrors"] == []
    assert definition["attributes"] == [
        {**attributes[0], "list": False, "allowedValues": []},
        {**attributes[1], "required": False, "description": None},
    ]
    assert (definition["version"], definition["status"], definition["builtIn"]) == (1, "ACTIVE", False)
    results = await record(
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
    assert list_codes(results[2]["userErrors"]) == [("UNKNOWN", ["events", "2", "metadata", "sizes", "1"])]
    assert list_codes(results[3]["userErrors"]) == [("REQUIRED", ["events", "3", "metadata", "store"])]
    # An update extends a built-in type too. Its new label also appears on events recorded before.
    changed = await api.fetch_data(UPDATE, input={"key": "purchase", "label": "Sale", "attributes": attributes[:1]})
    assert changed["updateEventType"]["eventDefinition"]["version"] == 2
    [refused] = await record(api, {"type": "purchase"})
    assert list_codes(refused["userErrors"]) == [("REQUIRED", ["events", "0", "metadata", "store"])]
    data = await api.fetch_data('{ events(filter: {types: ["purchase"]}) { nodes { label definitionVersion } } }')
    assert data["events"]["nodes"] == [{"label": "Sale", "definitionVersion": None}]
    data = await api.fetch_data(
        """query ($id: ID!) { a: eventDefinition(key: "purchase", version: 1) { label version builtIn createdAt }
        b: eventDefinition(key: "purchase") { label version } c: eventDefinition(key: "none") { key }
        node(id: $id) { id ... on EventDefinition { key } } }""",
        id=definition["id"],
    )
    assert data["a"] == {"label": "Purchase", "version": 1, "builtIn": True, "createdAt": None}
    assert (data["b"], data["c"]) == ({"label": "Sale", "version": 2}, None)
    assert data["node"] == {"id": definition["id"], "key": "lookbook"}


async def test_types_and_sources_are_listed_and_a_strict_workspace_rejects_other_types(api: Api) -> None:
    """WH2-07, WH2-08: the lists have each type and each source once. Events of an archived type are rejected."""
    stranger = await create_business(api.business.ctx.resources, api.business.clock, "Other")
    await stranger.record({"type": "secret", "source": "elsewhere"})
    await record(api, {"type": "visit", "source": "mobile-app"}, {"type": "wishlist"})
    for key in ("lookbook", "outdated"):
        await define(api, key)
    archived = (await api.fetch_data(ARCHIVE, input={"key": "outdated"}))["archiveEventType"]
    assert archived["eventDefinition"] == {"key": "outdated", "status": "ARCHIVED", "version": 2}
    strict = (await api.fetch_data(STRICT, input={"eventTypes": "STRICT"}))["updateWorkspace"]
    assert strict == {"workspace": {"eventTypes": "STRICT", "name": "Kiosk"}, "userErrors": []}
    results = await record(api, {"type": "visit"}, {"type": "lookbook"}, {"type": "wishlist"}, {"type": "outdated"})
    assert [each["status"] for each in results] == ["CREATED", "CREATED", "REJECTED", "REJECTED"]
    assert list_codes(results[2]["userErrors"]) == [("UNKNOWN", ["events", "2", "type"])]
    assert list_codes(results[3]["userErrors"]) == [("UNSUPPORTED", ["events", "3", "type"])]
    data = await api.fetch_data("{ eventTypes eventSources viewer { workspace { eventTypes } } }")
    assert data["eventTypes"] == ["lookbook", "visit", "wishlist"]
    assert data["eventSources"] == ["api", "mobile-app"]
    assert data["viewer"]["workspace"] == {"eventTypes": "STRICT"}
    found: list[str] = []
    after = None
    while True:
        page = (
            await api.fetch_data(
                """query ($after: String) { eventDefinitions(first: 9, after: $after) { totalCount nodes { key }
                pageInfo { hasNextPage endCursor } } }""",
                after=after,
            )
        )["eventDefinitions"]
        assert page["totalCount"] == 40
        found += [node["key"] for node in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert found == sorted(found)
    assert len(found) == 40
    assert {"lookbook", "outdated", "purchase"} < set(found)
    log = await api.fetch_data("{ auditLog(first: 4) { nodes { action subject } } }")
    assert [node["action"] for node in log["auditLog"]["nodes"]] == [
        "updateWorkspace", "archiveEventType", "defineEventType", "defineEventType",
    ]  # fmt: skip


async def test_invalid_definition_is_refused_with_the_path_of_the_field(api: Api) -> None:
    """A1-22: a client cannot define an internal type."""
    no_values = {"name": "size", "type": "ENUM"}
    for key, values, code, field in (
        ("purchase", {}, "TAKEN", ["key"]),
        ("event_removed", {}, "INVALID", ["key"]),
        ("new", {"category": "FIELD_CHANGE"}, "UNSUPPORTED", ["category"]),
        (
            "new",
            {"attributes": [{"name": "a", "type": "TEXT"}, no_values]},
            "REQUIRED",
            ["attributes", "1", "allowedValues"],
        ),
        ("new", {"label": " "}, "INVALID", ["label"]),
    ):
        payload = await define(api, key, **values)
        assert (payload["eventDefinition"], list_codes(payload["userErrors"])) == (None, [(code, field)])
    assert (await api.fetch_data("{ eventTypes }"))["eventTypes"] == []


async def test_a_dimension_is_shown_and_limited_to_three_single_texts_numbers_and_enums(api: Api) -> None:
    update = """mutation M($input: UpdateEventTypeInput!) { updateEventType(input: $input) {
      eventDefinition { attributes { name dimension } } warnings userErrors { code field } } }"""

    async def mark(*attributes: dict[str, Any]) -> dict[str, Any]:
        marked = [{"type": "TEXT", "dimension": True, **each} for each in attributes]
        data = await api.fetch_data(update, input={"key": "purchase", "attributes": marked})
        payload: dict[str, Any] = data["updateEventType"]
        return payload

    payload = await mark(
        {"name": "store.city"}, {"name": "size", "type": "NUMBER"}, {"name": "note", "dimension": False}
    )
    assert payload["eventDefinition"]["attributes"] == [
        {"name": "store.city", "dimension": "ACTIVE"},
        {"name": "size", "dimension": "ACTIVE"},
        {"name": "note", "dimension": None},
    ]
    assert (payload["warnings"], payload["userErrors"]) == ([], [])
    kinds = (await api.fetch_data("{ jobs { nodes { kind status } } }"))["jobs"]["nodes"]
    assert [job["kind"] for job in kinds] == ["PREPARE_DIMENSIONS"]
    refused = await mark({"name": "tags", "list": True}, {"name": "at", "type": "DATE"})
    field = ["attributes"]
    assert list_codes(refused["userErrors"]) == [
        ("UNSUPPORTED", [*field, "0", "dimension"]), ("UNSUPPORTED", [*field, "1", "dimension"]),
    ]  # fmt: skip
    refused = await mark(*({"name": name} for name in "abcd"))
    assert list_codes(refused["userErrors"]) == [("LIMIT", field)]
    db, where = api.business.ctx.resources.db, {"workspace": api.business.ctx.workspace.id, "key": "purchase"}
    await db["event_types"].update_one(where, {"$set": {"attributes.1.overflowing": True, "rev": 9}})
    payload = await mark({"name": "size", "type": "NUMBER"})
    assert payload["eventDefinition"]["attributes"] == [{"name": "size", "dimension": "OVERFLOWING"}]
    assert "more than 1,000 values" in payload["warnings"][0]
