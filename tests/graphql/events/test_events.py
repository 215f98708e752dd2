"""Events in GraphQL: recordEvents with an outcome for each item, and the list `events` with filters and pages."""

from __future__ import annotations

from typing import Any

import pytest

from app.store.mongo.queries import WorkspaceQueries
from app.store.workspace.events import EventQueries
from tests.graphql.serving import Api, list_codes

RECORD = """mutation Record($input: RecordEventsInput!) { recordEvents(input: $input) { created duplicate failed
  results { index status event { id amount pass { externalId } } userErrors { code field } } userErrors { code field } } }"""
LIST = """query List($filter: EventFilter, $orderBy: EventOrder! = NEWEST_FIRST, $first: Int, $after: String, $last: Int,
  $before: String) { events(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before)
  { totalCount edges { cursor node { externalId } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


async def record(api: Api, *events: dict[str, Any], **options: Any) -> dict[str, Any]:
    items = [{"passExternalId": "ann", "type": "purchase", "amount": 5, **event} for event in events]
    data = await api.fetch_data(RECORD, input={"events": items, "createMissingPasses": True, **options})
    payload: dict[str, Any] = data["recordEvents"]
    return payload


async def record_ten(api: Api) -> None:
    await record(
        api,
        *(
            {
                "externalId": f"e{n}",
                "occurredAt": f"2025-12-0{n // 2 + 1}T00:00:00Z",
                "passExternalId": ("ann", "bob")[n % 2],
                "amount": n,
                "type": ("purchase", "refund")[n % 2],
                "metadata": {"store": {"city": ("Ulm", "Bonn")[n % 2]}},
            }
            for n in range(10)
        ),
    )


async def list_external_ids(api: Api, **variables: Any) -> list[str]:
    connection = (await api.fetch_data(LIST, **variables))["events"]
    return [edge["node"]["externalId"] for edge in connection["edges"]]


async def test_each_item_of_a_batch_has_its_own_outcome_in_input_order(api: Api) -> None:
    await record(api, {"externalId": "old"}, {"externalId": "other"})
    payload = await record(
        api, {"externalId": "new"}, {"externalId": "old"}, {"externalId": "other", "amount": 6}, {"amount": "x"},
        {"passId": "pass_none", "passExternalId": None},
    )  # fmt: skip
    assert [result["status"] for result in payload["results"]] == [
        "CREATED", "DUPLICATE", "CONFLICT", "REJECTED", "REJECTED",
    ]  # fmt: skip
    assert [result["index"] for result in payload["results"]] == [0, 1, 2, 3, 4]
    assert (payload["created"], payload["duplicate"], payload["failed"]) == (1, 1, 3)
    assert list_codes(payload["results"][3]["userErrors"]) == [("INVALID", ["events", "3", "amount"])]
    assert list_codes(payload["results"][4]["userErrors"]) == [("UNKNOWN", ["events", "4", "passId"])]
    assert payload["results"][1]["event"]["amount"] == "5"


async def test_batch_that_is_too_large_or_empty_gets_one_error_and_no_results(api: Api) -> None:
    for count, code in ((1_001, "TOO_MANY"), (0, "REQUIRED")):
        payload = await record(api, *[{}] * count)
        assert list_codes(payload["userErrors"]) == [(code, ["events"])]
        assert payload["results"] == []


async def test_recorded_event_is_found_by_id_and_by_node_and_its_repeat_is_a_duplicate(api: Api) -> None:
    """WH2-05: the query `event(id)`."""
    await api.fetch_data('mutation { createPass(input: {externalId: "ann"}) { userErrors { code } } }')
    mutation = """mutation { recordEvent(input: {passExternalId: "ann", type: "check_in", externalId: "1", points: 2.5,
      metadata: {gate: 4}, occurredAt: "2025-12-31T23:00:00+01:00"}) { status event { id } userErrors { code } } }"""
    first = (await api.fetch_data(mutation))["recordEvent"]
    repeated = (await api.fetch_data(mutation))["recordEvent"]
    assert (first["status"], repeated["status"]) == ("CREATED", "DUPLICATE")
    assert first["event"] == repeated["event"]
    data = await api.fetch_data(
        """query ($id: ID!) { node(id: $id) { id ... on Event { category type points metadata occurredAt recordedAt
        source origin { channel actor } pass { externalId } correctionOf { id } } } event(id: $id) { type } }""",
        id=first["event"]["id"],
    )
    actor = data["node"]["origin"].pop("actor")
    assert data["node"] == {
        "id": first["event"]["id"],
        "category": "ACTIVITY",
        "type": "check_in",
        "points": "2.5",
        "metadata": {"gate": 4},
        "occurredAt": "2025-12-31T22:00:00.000Z",
        "recordedAt": "2026-01-01T00:00:00.000Z",
        "source": "api",
        "origin": {"channel": "API"},
        "pass": {"externalId": "ann"},
        "correctionOf": None,
    }
    viewer = await api.fetch_data("{ viewer { apiKey { id } } }")
    assert actor == viewer["viewer"]["apiKey"]["id"]


async def test_pages_follow_each_other_in_both_directions_without_a_gap(api: Api) -> None:
    """WH2-03, WH2-26: a list takes a limit, which is the size of a page, and continues after a cursor."""
    await record_ten(api)
    everything = await list_external_ids(api)
    assert len(everything) == 10
    assert await list_external_ids(api, orderBy="OLDEST_FIRST") == everything[::-1]
    for paging, cursor, page_cursor in (("first", "after", "endCursor"), ("last", "before", "startCursor")):
        found: list[str] = []
        variables: dict[str, Any] = {paging: 3}
        while True:
            connection = (await api.fetch_data(LIST, **variables))["events"]
            page = [edge["node"]["externalId"] for edge in connection["edges"]]
            found = found + page if paging == "first" else page + found
            assert connection["totalCount"] == 10
            info = connection["pageInfo"]
            if not info["hasNextPage" if paging == "first" else "hasPreviousPage"]:
                break
            variables[cursor] = info[page_cursor]
        assert found == everything


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"passExternalId": "bob"}, {1, 3, 5, 7, 9}),
        ({"passExternalId": "nobody"}, set()),
        ({"passId": "pass_none"}, set()),
        ({"types": ["refund"], "amountMin": 5, "amountMax": "7"}, {5, 7}),
        ({"categories": ["TRANSACTION"], "sources": ["api"], "currency": "USD"}, set(range(10))),
        ({"occurredAfter": "2025-12-02T00:00:00Z", "occurredBefore": "2025-12-03T00:00:00Z"}, {2, 3}),
        ({"recordedBefore": "2026-01-01T00:00:00Z"}, set()),
        ({"externalId": "e4"}, {4}),
        ({"externalId": "e4", "sources": ["api", "till"], "types": ["purchase"], "amountMin": 4}, {4}),
        ({"externalId": "e4", "sources": ["till"]}, set()),
        ({"externalId": "e4", "passExternalId": "bob"}, set()),
        ({"metadata": [{"path": "store.city", "value": "Ulm"}], "amountMin": 3}, {4, 6, 8}),
    ],
)
async def test_filter_finds_the_events_that_match_all_its_fields(
    api: Api,
    filter: dict[str, Any],  # noqa: A002  # the API names the argument so
    expected: set[int],
) -> None:
    """WH2-26, A1-23: each field of the filter alone, and together with others."""
    await record_ten(api)
    assert set(await list_external_ids(api, filter=filter)) == {f"e{n}" for n in expected}


@pytest.mark.parametrize(
    ("variables", "field"),
    [
        ({"first": -1}, ["first"]),
        ({"first": 251}, ["first"]),
        ({"last": -1}, ["last"]),
        ({"first": 1, "last": 1}, ["last"]),
        ({"after": "nonsense"}, ["after"]),
        ({"before": "AVsiYWN0aXZpdHkiLDBd"}, ["before"]),
        ({"filter": {"occurredAfter": "yesterday"}}, ["filter", "occurredAfter"]),
        ({"filter": {"amountMin": "NaN"}}, ["filter", "amountMin"]),
        ({"filter": {"types": ["a"] * 51}}, ["filter", "types"]),
        ({"filter": {"types": ["\ud800"]}}, ["filter", "types", "0"]),
        ({"filter": {"currency": "XX"}}, ["filter", "currency"]),
        ({"filter": {"metadata": [{"path": "a\x00", "value": 1}]}}, ["filter", "metadata", "0", "path"]),
        ({"filter": {"metadata": [{"path": "a", "value": "\ud800"}]}}, ["filter", "metadata", "0", "value"]),
        (
            {"filter": {"metadata": [{"path": "a", "operator": "CONTAINS", "value": "x" * 40_000}]}},
            ["filter", "metadata", "0", "value"],
        ),
        ({"filter": {"metadata": [{"path": "a.$b", "value": 1}]}}, ["filter", "metadata", "0", "path"]),
        ({"filter": {"metadata": [{"path": "a", "value": 2**60}]}}, ["filter", "metadata", "0", "value"]),
        ({"filter": {"passId": "pass_1", "passExternalId": "a"}}, ["filter", "passExternalId"]),
    ],
)
async def test_invalid_argument_of_the_query_gets_an_error_with_its_path(
    api: Api, variables: dict[str, Any], field: list[str]
) -> None:
    error = await api.fetch_error(LIST, **variables)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["path"] == ["events"]
    assert error["extensions"]["problems"][0]["field"] == field


async def test_passes_of_fifty_events_are_read_in_one_query(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await record(api, *({"externalId": f"e{n}", "passExternalId": f"p{n}"} for n in range(60)))
    reads: list[int] = []
    by_ids = WorkspaceQueries._by_ids

    async def count_and_read(self: WorkspaceQueries, ids: Any, projection: Any = None) -> Any:
        id_list = list(ids)
        reads.append(len(id_list))
        return await by_ids(self, id_list, projection)

    monkeypatch.setattr(WorkspaceQueries, "_by_ids", count_and_read)
    data = await api.fetch_data("{ events(first: 50) { nodes { pass { externalId memberships { totalCount } } } } }")
    assert len({node["pass"]["externalId"] for node in data["events"]["nodes"]}) == 50
    assert reads == [50]


async def test_events_of_another_workspace_are_not_found(api: Api) -> None:
    from tests.business import create_business

    stranger = await create_business(api.business.ctx.resources, api.business.clock, "Other")
    [result] = (await stranger.record({"external_id": "theirs"})).results
    assert result.event is not None
    data = await api.fetch_data(
        """query ($id: ID!, $pass: ID!) { event(id: $id) { id } pass(id: $pass) { id }
        events(filter: {passId: $pass}) { totalCount } }""",
        id=result.event.id,
        **{"pass": result.event.pass_id},
    )
    assert data == {"event": None, "pass": None, "events": {"totalCount": 0}}


async def test_history_of_a_customer_is_newest_first_with_spend_and_number_of_orders(api: Api) -> None:
    """WH1-12, WH2-04, A1-23: each entry has date, type, amount and place; an entry may have no amount."""
    purchases = [("129.00", "2025-12-03"), ("32.50", "2025-12-01"), ("40.00", "2025-12-20"), ("60.00", "2025-12-11")]
    await record(
        api,
        *(
            {"amount": amount, "occurredAt": f"{day}T10:00:00Z", "metadata": {"store": "north"}}
            for amount, day in purchases
        ),
        {"type": "check_in", "amount": None, "occurredAt": "2025-12-12T10:00:00Z", "metadata": {"location": "gate 4"}},
        {"passExternalId": "bob", "occurredAt": "2025-12-12T10:00:00Z"},
    )
    await api.business.run_worker()
    history = """query ($filter: EventFilter, $orderBy: EventOrder!) { pass(externalId: "ann") {
      events(filter: $filter, orderBy: $orderBy) { totalCount nodes { occurredAt type amount metadata } }
      statistics(types: ["purchase"]) { spend { currency net orders } } } }"""
    card = (await api.fetch_data(history, orderBy="NEWEST_FIRST"))["pass"]
    assert [(e["occurredAt"][:10], e["type"], e["amount"]) for e in card["events"]["nodes"]] == [
        ("2025-12-20", "purchase", "40.00"), ("2025-12-12", "check_in", None), ("2025-12-11", "purchase", "60.00"),
        ("2025-12-03", "purchase", "129.00"), ("2025-12-01", "purchase", "32.50"),
    ]  # fmt: skip
    assert card["events"]["nodes"][1]["metadata"] == {"location": "gate 4"}
    assert card["statistics"]["spend"] == [{"currency": "USD", "net": "261.50", "orders": 4}]
    transactions = {"categories": ["TRANSACTION"], "occurredAfter": "2025-12-02T00:00:00Z"}
    filtered = (await api.fetch_data(history, orderBy="OLDEST_FIRST", filter=transactions))["pass"]["events"]
    assert ([e["amount"] for e in filtered["nodes"]], filtered["totalCount"]) == (["129.00", "60.00", "40.00"], 3)


async def test_list_that_would_examine_too_many_events_is_refused_with_advice(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1-23: a filter that no index serves gets an error with a narrower filter, instead of a timeout."""
    await record_ten(api)
    monkeypatch.setattr(EventQueries, "max_examined", 4)
    rare = {"metadata": [{"path": "store.city", "value": "Rome"}]}
    error = await api.fetch_error(
        "query ($filter: EventFilter) { events(filter: $filter) { nodes { id } } }", filter=rare
    )
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert list_codes(error["extensions"]["problems"]) == [("TOO_MANY", ["filter"])]
    assert 'name a pass or one type, or add occurredAfter: "2025-12-0' in error["message"]
    assert await list_external_ids(api, filter={**rare, "occurredAfter": "2025-12-05T00:00:00Z"}) == []
