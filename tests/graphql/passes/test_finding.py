"""Finding passes in GraphQL: searches, filters, orders, and what changes, merges and erasures do to them."""

from __future__ import annotations

from typing import Any

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import create_passes, update_pass
from app.commands.passes.removals import erase_pass
from app.domain.passes.inputs import PassInput
from app.graphql.types.ids import to_global_id
from tests.business import Business
from tests.graphql.serving import Api

LIST = """query List($filter: PassFilter, $orderBy: PassOrder, $first: Int, $after: String, $last: Int, $before: String) {
  passes(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
    totalCount nodes { externalId } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
FEED = """query Feed($order: ActivityOrder!, $first: Int, $after: String, $last: Int, $before: String) {
  whole: activity(first: 100) { nodes { sequence cursor } }
  activity(orderBy: $order, first: $first, after: $after, last: $last, before: $before) {
    nodes { sequence } pageInfo { endCursor startCursor hasNextPage hasPreviousPage } }
  pass(externalId: "ann") { activity(orderBy: $order, first: $first) { nodes { passSequence } } } }"""


async def find(api: Api, **variables: Any) -> list[str]:
    passes = (await api.fetch_data(LIST, **variables))["passes"]
    return [node["externalId"] for node in passes["nodes"]]


async def create_customers(business: Business) -> None:
    await create_passes(
        business.ctx,
        [
            PassInput("ann", holder={"name": "Ann Smith", "email": "ann@mail.example"}, fields={"city": "Bern"}),
            PassInput("bob", holder={"name": "Bob Smith"}, fields={"utm.source": "mail"}),
            PassInput("cyd", holder={"phone": "0170 1234567"}),
        ],
    )
    await business.record(
        {"points": 5, "occurred_at": "2025-12-01T00:00:00Z"},
        {"pass_external_id": "bob", "points": 9, "occurred_at": "2025-06-01T00:00:00Z"},
    )
    await business.run_worker()


async def test_passes_are_found_by_words_and_filters_in_every_order(api: Api) -> None:
    """V1-07: several filters in one query show the matching customers."""
    await create_customers(api.business)
    away = {"event": {"metric": "DAYS_SINCE_LAST", "operator": "GTE", "value": 100, "never": "FAILS"}}
    segment = await api.business.create_segment("away", away)
    segment_id = to_global_id("Segment", segment.id)
    selected: list[tuple[dict[str, Any], list[str]]] = [
        ({"search": "smi"}, ["ann", "bob"]),
        ({"search": "smith mail.example"}, ["ann"]),
        ({"search": "+49 170 1234567"}, ["cyd"]),
        ({"search": "---"}, ["ann", "bob", "cyd"]),
        ({"externalIds": ["bob", "none"]}, ["bob"]),
        ({"ids": []}, []),
        ({"segmentIds": [segment_id]}, ["bob"]),
        ({"notInSegmentIds": [segment_id], "search": "smith"}, ["ann"]),
        ({"segmentIds": ["Pass:x"]}, []),
        ({"status": "ACTIVE", "pointsMin": 5, "pointsMax": "5.0"}, ["ann"]),
        ({"fields": [{"path": "city", "value": "Bern"}]}, ["ann"]),
        ({"fields": [{"path": "utm.source", "value": "mail"}]}, ["bob"]),
        ({"fields": [{"path": "utm.source", "operator": "NOT_EXISTS"}]}, ["ann", "cyd"]),
        ({"lastEventBefore": "2025-07-01T00:00:00Z"}, ["bob"]),
        ({"lastEventAfter": "2025-07-01T00:00:00Z"}, ["ann"]),
        ({"createdAfter": "2027-01-01T00:00:00Z"}, []),
        ({"pointsMin": 6, "pointsMax": 5}, []),
        ({"tierKeys": ["gold"]}, []),
        ({"consent": "news"}, []),
    ]
    for wanted, expected in selected:
        passes = (await api.fetch_data(LIST, filter=wanted))["passes"]
        assert sorted(node["externalId"] for node in passes["nodes"]) == expected, wanted
        assert passes["totalCount"] == len(expected), wanted
    orders = {"LAST_EVENT": ["cyd", "bob", "ann"], "NAME": ["ann", "bob", "cyd"], "POINTS": ["cyd", "ann", "bob"]}
    for field, ascending in orders.items():
        for direction, expected in (("ASC", ascending), ("DESC", ascending[::-1])):
            order, found, cursor = {"field": field, "direction": direction}, list[str](), None
            for _ in range(3):
                page = (await api.fetch_data(LIST, orderBy=order, first=1, after=cursor))["passes"]
                found += [node["externalId"] for node in page["nodes"]]
                cursor = page["pageInfo"]["endCursor"]
            assert (found, page["pageInfo"]["hasNextPage"]) == (expected, False), order
            assert await find(api, orderBy=order, last=2, before=cursor) == expected[:2]


async def test_performers_of_an_event_are_in_the_segment_and_in_the_filtered_list(api: Api) -> None:
    """V1-05, V1-08: a segment by the days since the last event updates itself, and `segmentIds` selects its members."""
    await create_customers(api.business)
    recent = {"event": {"types": ["purchase"], "metric": "DAYS_SINCE_LAST", "operator": "LT", "value": 60}}
    segment = await api.business.create_segment("recent", recent)
    wanted = {"segmentIds": [to_global_id("Segment", segment.id)]}
    assert await find(api, filter=wanted) == ["ann"]
    await api.business.record({"pass_external_id": "bob"})
    await api.business.run_worker()
    assert sorted(await find(api, filter=wanted)) == ["ann", "bob"]


async def test_search_follows_changes_merges_and_erasures(api: Api) -> None:
    business = api.business
    await create_customers(business)
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob", "cyd"])
    await update_pass(business.ctx, ids["bob"], holder={"name": "Robert Jones"})
    await business.run_worker()
    assert [await find(api, filter={"search": text}) for text in ("bob", "robert", "smith")] == [
        ["bob"],
        ["bob"],
        ["ann"],
    ]
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await business.run_worker()
    assert [await find(api, filter={"search": text}) for text in ("ann", "jones")] == [["ann"], []]
    assert await find(api, filter={"ids": [to_global_id("Pass", ids["bob"])]}) == ["ann"]
    assert await find(api, filter={"externalIds": ["bob"]}) == ["ann"]
    await erase_pass(business.ctx, pass_id=ids["cyd"])
    await business.run_worker()
    assert await find(api, filter={"search": "1234567"}) == []
    left = await business.ctx.resources.db["passes"].count_documents({"tokens": {"$exists": True}})
    assert left == 1, "only the survivor has tokens"


async def test_searchable_fields_are_found_after_the_next_backfill(api: Api) -> None:
    query = """mutation ($paths: [String!]) { updateWorkspace(input: { searchableFields: $paths }) {
      workspace { searchableFields } userErrors { code field } } }"""
    business = api.business
    await create_passes(business.ctx, [PassInput("ann", fields={"car": {"plate": "M-XY 12"}}), PassInput("bob")])
    await business.run_worker()
    assert await find(api, filter={"search": "mxy"}) == []
    for _ in range(2):
        changed = (await api.fetch_data(query, paths=["car.plate", "car.plate"]))["updateWorkspace"]
        assert changed == {"workspace": {"searchableFields": ["car.plate"]}, "userErrors": []}
    await business.run_worker()
    assert await find(api, filter={"search": "mxy"}) == ["ann"]
    await create_passes(business.ctx, [PassInput("cyd", fields={"car": {"plate": "M-XY 77"}})])
    await business.record(
        {"pass_external_id": "dan", "type": "field_updated", "field_name": "car", "new_value": "M-XY"}
    )
    await business.run_worker()
    assert sorted(await find(api, filter={"search": "mxy"})) == ["ann", "cyd"]
    await api.fetch_data(query, paths=[])
    await business.run_worker()
    assert await find(api, filter={"search": "mxy"}) == []
    for paths, path in ((["$a"], ["searchableFields", "0"]), (list("abcdef"), ["searchableFields"])):
        refused = (await api.fetch_data(query, paths=paths))["updateWorkspace"]
        assert [error["field"] for error in refused["userErrors"]] == [path]
    revisions = await business.ctx.workspace.passes.revisions()
    assert revisions == {2: 4}, "two changes, and a repeat that changes nothing"


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ({"search": "x" * 10_000}, ["filter", "search"]),
        ({"externalIds": ["x"] * 51}, ["filter", "externalIds"]),
        ({"createdAfter": "soon"}, ["filter", "createdAfter"]),
        ({"pointsMin": "many"}, ["filter", "pointsMin"]),
        ({"fields": [{"path": "$where", "value": 1}]}, ["filter", "fields", "0", "path"]),
    ],
)
async def test_wrong_value_of_a_filter_is_refused_with_its_path(
    api: Api, wanted: dict[str, Any], path: list[str]
) -> None:
    error = await api.fetch_error(LIST, filter=wanted)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert [problem["field"] for problem in error["extensions"]["problems"]] == [path]


async def test_cursor_of_another_order_is_refused(api: Api) -> None:
    await create_customers(api.business)
    by_points = {"field": "POINTS"}
    page = (await api.fetch_data(LIST, orderBy=by_points, first=1))["passes"]
    error = await api.fetch_error(LIST, orderBy={"field": "NAME"}, after=page["pageInfo"]["endCursor"])
    assert error["extensions"]["problems"][0]["field"] == ["after"]


async def test_feed_is_listed_newest_first_and_cursors_work_in_both_orders(api: Api) -> None:
    """A1-25: the history of a customer, newest first."""
    await create_customers(api.business)
    newest = await api.fetch_data(FEED, order="NEWEST_FIRST", first=100)
    sequences = [node["sequence"] for node in newest["whole"]["nodes"]]
    assert [node["sequence"] for node in newest["activity"]["nodes"]] == sequences[::-1]
    of_pass = [node["passSequence"] for node in newest["pass"]["activity"]["nodes"]]
    assert of_pass == sorted(of_pass, reverse=True) != []
    cursors = [node["cursor"] for node in newest["whole"]["nodes"]]
    found, cursor, has_next = list[str](), None, True
    while has_next:
        page = (await api.fetch_data(FEED, order="NEWEST_FIRST", first=2, after=cursor))["activity"]
        found += [node["sequence"] for node in page["nodes"]]
        cursor, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert found == sequences[::-1]
    older = (await api.fetch_data(FEED, order="NEWEST_FIRST", first=2, after=cursors[3]))["activity"]
    later = (await api.fetch_data(FEED, order="OLDEST_FIRST", first=2, after=cursors[3]))["activity"]
    assert [node["sequence"] for node in older["nodes"]] == sequences[1:3][::-1]
    assert [node["sequence"] for node in later["nodes"]] == sequences[4:6]
    bounds = {"last": 2, "after": cursors[2], "before": cursors[0]}
    between = (await api.fetch_data(FEED, order="NEWEST_FIRST", **bounds))["activity"]
    assert [node["sequence"] for node in between["nodes"]] == sequences[1:2]


async def test_statistics_answer_any_past_period_and_aggregations_one_pass(api: Api) -> None:
    await api.business.record(
        {"amount": 3, "occurred_at": "2025-03-01T00:00:00Z"},
        {"amount": 4, "occurred_at": "2025-04-01T00:00:00Z"},
        {"pass_external_id": "bob", "amount": 8, "occurred_at": "2025-03-01T00:00:00Z"},
    )
    await api.business.run_worker()
    query = """query ($id: ID, $from: DateTime, $to: DateTime, $window: TimeWindow) {
      pass(externalId: "ann") { statistics(from: $from, to: $to, timeWindow: $window) { eventCount spend { net } } }
      aggregateEvents(input: { passId: $id, function: SUM }) { value count } }"""
    ids = await api.business.ctx.workspace.passes.ids_of(["ann"])
    pass_id = to_global_id("Pass", ids["ann"])
    for bounds, expected in (
        ({"from": "2025-03-01T00:00:00Z", "to": "2025-04-01T00:00:00Z"}, (1, ["3"])),
        ({"from": "2025-03-01T00:00:00.001Z"}, (1, ["4"])),
        ({"to": "2025-03-01T00:00:00Z"}, (0, [])),
        ({}, (2, ["7"])),
    ):
        data = await api.fetch_data(query, id=pass_id, **bounds)
        found = data["pass"]["statistics"]
        assert (found["eventCount"], [row["net"] for row in found["spend"]]) == expected
        assert data["aggregateEvents"] == {"value": "7", "count": 2}
    unknown = await api.fetch_data(query, id=to_global_id("Pass", "pass_none"))
    assert unknown["aggregateEvents"] == {"value": None, "count": 0}
    assert (await api.fetch_data(query))["aggregateEvents"] == {"value": "15", "count": 3}
    for wrong in (
        {"from": "2025-03-01T00:00:00Z", "window": {"allTime": True}},
        {"from": "2025-03-01T00:00:00Z", "to": "2025-02-01T00:00:00Z"},
    ):
        assert (await api.fetch_error(query, **wrong))["extensions"]["code"] == "BAD_USER_INPUT"
