"""Passes in GraphQL: creation, update, statistics, lists and merges."""

from __future__ import annotations

import json

import pytest

from app.commands.inbound.deliveries import Message, receive_message
from app.commands.inbound.hooks import create_inbound_hook
from app.commands.jobs.imports import import_events
from app.graphql.types.ids import to_global_id
from app.store.workspace import aggregations, events
from tests.graphql.serving import Api, list_codes
from tests.workers.jobs.test_imports import File, run_to_end

CREATE = """mutation Create($input: CreatePassInput!) { createPass(input: $input) {
  pass { id externalId holder { name email } fields metadata status installedAt } userErrors { code field } } }"""
UPDATE = """mutation Update($input: UpdatePassInput!) { updatePass(input: $input) {
  pass { holder { name email } fields metadata status } userErrors { code field } } }"""
ANN = {
    "externalId": "ann",
    "holder": {"name": "Ann"},
    "fields": {"size": 1.5},
    "installedAt": "2025-01-01T00:00:00.000Z",
}


async def test_createPass_returns_the_existing_pass_if_it_is_repeated(api: Api) -> None:
    first = (await api.fetch_data(CREATE, input=ANN))["createPass"]
    assert first["userErrors"] == []
    assert first["pass"] | {"id": ""} == {
        "id": "",
        "externalId": "ann",
        "holder": {"name": "Ann", "email": None},
        "fields": {"size": 1.5},
        "metadata": {},
        "status": "ACTIVE",
        "installedAt": "2025-01-01T00:00:00.000Z",
    }
    assert (await api.fetch_data(CREATE, input=ANN))["createPass"] == first
    other = (await api.fetch_data(CREATE, input={**ANN, "fields": {}}))["createPass"]
    assert list_codes(other["userErrors"]) == [("TAKEN", ["externalId"])]
    assert other["pass"] is None


async def test_createPasses_returns_the_outcome_of_each_pass(api: Api) -> None:
    data = await api.fetch_data(
        """mutation ($input: CreatePassesInput!) { createPasses(input: $input) { created duplicate failed
        results { index status pass { externalId } userErrors { code field } } userErrors { code } } }""",
        input={"passes": [ANN, ANN, {"externalId": ""}, {"externalId": "bob", "installedAt": "soon"}]},
    )
    payload = data["createPasses"]
    assert (payload["created"], payload["duplicate"], payload["failed"]) == (1, 1, 2)
    assert [result["status"] for result in payload["results"]] == ["CREATED", "DUPLICATE", "REJECTED", "REJECTED"]
    assert list_codes(payload["results"][3]["userErrors"]) == [("INVALID", ["passes", "3", "installedAt"])]


async def test_updatePass_sets_the_given_fields_and_removes_those_given_as_null(api: Api) -> None:
    created = (await api.fetch_data(CREATE, input=ANN))["createPass"]["pass"]
    change = {"id": created["id"], "holder": {"name": None, "email": "a@b.c"}, "fields": {"colour": "red"}}
    updated = (await api.fetch_data(UPDATE, input={**change, "status": "EXPIRED"}))["updatePass"]
    assert updated["pass"] == {
        "holder": {"name": None, "email": "a@b.c"},
        "fields": {"size": 1.5, "colour": "red"},
        "metadata": {},
        "status": "EXPIRED",
    }
    await api.business.run_worker()
    data = await api.fetch_data('{ pass(externalId: "ann") { status holder { email } } }')
    assert data["pass"] == {"status": "EXPIRED", "holder": {"email": "a@b.c"}}
    for unknown in ("pass_none", "x", to_global_id("Event", "event_1")):
        refused = (await api.fetch_data(UPDATE, input={"id": unknown, "status": "ACTIVE"}))["updatePass"]
        assert list_codes(refused["userErrors"]) == [("UNKNOWN", ["id"])]


async def test_statistics_cover_all_time_or_a_time_window(api: Api) -> None:
    await api.business.record(
        {"amount": "100.50", "occurred_at": "2025-03-01T00:00:00Z"},
        {"amount": 200, "occurred_at": "2025-12-31T00:00:00Z"},
        {"amount": 30, "type": "refund", "occurred_at": "2025-12-31T12:00:00Z"},
        {"type": "visit", "occurred_at": "2026-01-01T00:00:00Z"},
    )
    await api.business.run_worker()
    data = await api.fetch_data(
        """{ pass(externalId: "ann") {
        all: statistics { eventCount firstEventAt spend { currency gross refunded net orders }
          byType { type count average } }
        days: statistics(timeWindow: {rolling: {days: 1}}) { eventCount }
        year: statistics(timeWindow: {calendar: YEAR}, timezone: "America/New_York", types: ["visit", "refund"])
          { eventCount }
        none: statistics(timeWindow: {rolling: {hours: 1}}) { spend { net } }
        every: statistics(timeWindow: {allTime: true}) { eventCount } } }"""
    )
    found = data["pass"]
    assert found["all"] == {
        "eventCount": 4,
        "firstEventAt": "2025-03-01T00:00:00.000Z",
        "spend": [{"currency": "USD", "gross": "300.50", "refunded": "30", "net": "270.50", "orders": 2}],
        "byType": [
            {"type": "purchase", "count": 2, "average": "150.250000"},
            {"type": "refund", "count": 1, "average": "30.000000"},
            {"type": "visit", "count": 1, "average": None},
        ],
    }
    # The window is (now - 1 day, now]. The purchase lies exactly at its start, which is excluded.
    assert found["days"] == {"eventCount": 2}
    # It is still 2025 in New York.
    assert found["year"] == {"eventCount": 2}
    assert found["none"] == {"spend": []}
    assert found["every"] == {"eventCount": 4}


async def test_statistics_of_a_window_read_no_event_into_the_process(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of 60,000 events took 60 MB. The store groups the events instead."""
    await api.business.record(*({"amount": "1.50", "occurred_at": "2025-12-31T00:00:00Z"} for _ in range(200)))
    monkeypatch.setattr(events, "from_doc", None)
    monkeypatch.setattr(aggregations, "from_doc", None)
    query = (
        '{ pass(externalId: "ann") { statistics(timeWindow: {rolling: {days: 3660}}) { eventCount spend { net } } } }'
    )
    found = (await api.fetch_data(query))["pass"]["statistics"]
    assert found == {"eventCount": 200, "spend": [{"net": "300.00"}]}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ("timeWindow: {rolling: {days: 0}}", ["timeWindow", "rolling", "days"]),
        ("timeWindow: {rolling: {hours: 2000000000}}", ["timeWindow", "rolling", "hours"]),
        ("timeWindow: {allTime: false}", ["timeWindow", "allTime"]),
        ('timeWindow: {calendar: DAY}, timezone: "Mars"', ["timezone"]),
        ('timeWindow: {calendar: DAY}, timezone: "../etc/passwd"', ["timezone"]),
        ('types: [""]', ["types", "0"]),
    ],
)
async def test_invalid_argument_of_statistics_is_refused_with_its_path(
    api: Api, arguments: str, field: list[str]
) -> None:
    await api.business.create_passes("ann")
    error = await api.fetch_error(f'{{ pass(externalId: "ann") {{ statistics({arguments}) {{ eventCount }} }} }}')
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["problems"][0]["field"] == field


async def test_query_for_a_pass_takes_exactly_one_of_id_and_external_id(api: Api) -> None:
    for arguments in ("", '(id: "pass_1", externalId: "ann")'):
        error = await api.fetch_error(f"{{ pass{arguments} {{ id }} }}")
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert await api.fetch_data('{ pass(id: "nonsense") { id } }') == {"pass": None}


async def test_passes_are_listed_newest_first_in_pages(api: Api) -> None:
    for number, name in enumerate(("a", "b", "c", "d")):
        api.business.clock.set(api.business.clock._instant.replace(second=number))
        await api.business.create_passes(name)
    page = """query ($after: String) { passes(first: 3, after: $after) {
      nodes { externalId } pageInfo { endCursor } totalCount } }"""
    first = (await api.fetch_data(page))["passes"]
    assert [node["externalId"] for node in first["nodes"]] == ["d", "c", "b"]
    assert first["totalCount"] == 4
    second = (await api.fetch_data(page, after=first["pageInfo"]["endCursor"]))["passes"]
    assert [node["externalId"] for node in second["nodes"]] == ["a"]


MERGE = """mutation Merge($survivor: ID!, $merged: ID!) { mergePasses(input: {survivorId: $survivor, mergedId: $merged}) {
  pass { id externalId } userErrors { code field } } }"""


async def test_merged_pass_is_found_by_both_ids_with_the_history_of_both(api: Api) -> None:
    """A1-15: the id of the merged pass finds the survivor, and each event of both passes counts once."""
    await api.business.record({"external_id": "a"}, {"external_id": "b", "pass_external_id": "bob"})
    await api.business.run_worker()
    ids = {}
    for name in ("ann", "bob"):
        ids[name] = (await api.fetch_data("query P($e: String!) { pass(externalId: $e) { id } }", e=name))["pass"]["id"]
    payload = (await api.fetch_data(MERGE, survivor=ids["ann"], merged=ids["bob"]))["mergePasses"]
    assert payload == {"pass": {"id": ids["ann"], "externalId": "ann"}, "userErrors": []}
    await api.business.run_worker()
    fields = "id statistics { eventCount } events { nodes { externalId pass { id } } } activity { nodes { type } }"
    by_id = (await api.fetch_data(f"query P($i: ID!) {{ pass(id: $i) {{ {fields} }} }}", i=ids["bob"]))["pass"]
    by_name = (await api.fetch_data(f'{{ pass(externalId: "bob") {{ {fields} }} }}'))["pass"]
    assert by_id == by_name
    assert (by_id["id"], by_id["statistics"]["eventCount"]) == (ids["ann"], 2)
    assert {(event["externalId"], event["pass"]["id"]) for event in by_id["events"]["nodes"]} == {
        ("a", ids["ann"]),
        ("b", ids["ann"]),
    }
    types = [activity["type"] for activity in by_id["activity"]["nodes"]]
    assert (types.count("customer.custom_event"), types.count("customer.deleted")) == (2, 1)
    found = await api.fetch_data("query E($i: ID!) { events(filter: {passId: $i}) { totalCount } }", i=ids["bob"])
    assert found["events"]["totalCount"] == 2
    feed = "query F($i: ID!) { activity(filter: {passId: $i}) { totalCount } }"
    assert [(await api.fetch_data(feed, i=ids[name]))["activity"]["totalCount"] for name in ids] == [len(types)] * 2
    refused = (await api.fetch_data(MERGE, survivor=ids["ann"], merged=ids["ann"]))["mergePasses"]
    assert refused == {"pass": None, "userErrors": [{"code": "INVALID", "field": ["mergedId"]}]}


@pytest.mark.parametrize("name", ["ann", " ann", "ann ", "\tann\u00a0"])
async def test_blanks_around_an_external_id_name_the_same_pass_in_all_channels(api: Api, name: str) -> None:
    """An import always left them out, so the API and hooks made another customer of the same name."""
    created = (await api.fetch_data(CREATE, input={"externalId": name}))["createPass"]
    assert created["pass"]["externalId"] == "ann"
    record = """mutation ($name: String!) { recordEvents(input: {
      createMissingPasses: true, events: [{passExternalId: $name, type: "visit"}]}) { created } }"""
    assert (await api.fetch_data(record, name=name))["recordEvents"] == {"created": 1}
    mapping = {"fields": {"passExternalId": "who", "type": {"value": "visit"}}}
    hook, _ = await create_inbound_hook(api.business.ctx, "Till", "till", mapping, create_missing_passes=True)
    body = json.dumps({"who": name}).encode()
    await receive_message(api.business.ctx.resources, Message(hook, "m", body, headers={}))
    file = File(f'customer,date,note\n"{name}",2025-01-01,x\n')
    await run_to_end(api.business, await import_events(api.business.ctx, file))
    found = await api.fetch_data(
        """query ($name: String!) { passes { nodes { externalId } } pass(externalId: $name) { externalId }
        events(filter: {passExternalId: $name}) { totalCount } }""",
        name=name,
    )
    assert found == {
        "passes": {"nodes": [{"externalId": "ann"}]}, "pass": {"externalId": "ann"}, "events": {"totalCount": 3},
    }  # fmt: skip
    erased = await api.fetch_data(
        "mutation ($name: String!) { erasePass(input: {externalId: $name}) { userErrors { code } } }", name=name
    )
    assert erased["erasePass"]["userErrors"] == []
