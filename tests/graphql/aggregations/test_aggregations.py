"""The query aggregateEvents (WH2-06, WH2-27, WH2-28, WH2-29)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.graphql.serving import Api

AGGREGATE = """query Aggregate($input: AggregateInput!, $first: Int, $after: String) { aggregateEvents(input: $input) {
  value count currency from to timezone freshness { exact pendingEvents asOf computedThrough }
  groups(first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor }
    nodes { value count type category source currency from to pass { externalId } } } } }"""
RECORD = """mutation Record($input: RecordEventsInput!) { recordEvents(input: $input) { created } }"""


def sale(customer: str, amount: str, on: str, kind: str = "purchase", **fields: Any) -> dict[str, Any]:
    return {"passExternalId": customer, "type": kind, "amount": amount, "occurredAt": f"{on}T12:00:00Z", **fields}


@pytest.fixture
async def shop(api: Api) -> Api:
    """Record four purchases and a refund in USD, a purchase in JPY and a visit. None of the events is folded."""
    events = [
        sale("ann", "10.10", "2025-12-29", metadata={"guests": 2}),
        sale("ann", "20.20", "2025-12-30", metadata={"guests": "3"}),
        sale("bob", "5", "2025-12-30", metadata={"guests": True}),
        sale("bob", "7.50", "2025-11-30", source="till"),
        sale("ann", "5.05", "2025-12-30", "refund"),
        sale("cas", "1000", "2025-12-30", currency="JPY"),
        {"passExternalId": "cas", "type": "visit", "occurredAt": "2025-12-31T23:30:00Z"},
    ]
    events = [{**event, "externalId": f"e{index}"} for index, event in enumerate(events)]
    data = await api.fetch_data(RECORD, input={"events": events, "createMissingPasses": True})
    assert data["recordEvents"]["created"] == len(events)
    return api


async def aggregate(api: Api, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.fetch_data(AGGREGATE, input=fields))["aggregateEvents"]
    return answer


async def test_sum_subtracts_refunds_and_never_mixes_currencies(shop: Api) -> None:
    spent = await aggregate(shop, function="SUM")
    assert (spent["value"], spent["count"], spent["currency"]) == ("37.75", 5, "USD")
    assert spent["freshness"] == {
        "exact": True,
        "pendingEvents": 0,
        "asOf": "2026-01-01T00:00:00.000Z",
        "computedThrough": "2026-01-01T00:00:00.000Z",
    }
    assert (await aggregate(shop, function="SUM", gross=True))["value"] == "47.85"
    assert (await aggregate(shop, function="SUM", currency="JPY"))["value"] == "1000"
    by_currency = await aggregate(shop, function="SUM", groupBy=["CURRENCY"])
    assert by_currency["value"] is None
    assert [(g["currency"], g["value"]) for g in by_currency["groups"]["nodes"]] == [("JPY", "1000"), ("USD", "37.75")]


async def test_groups_are_paged_forwards_and_backwards(shop: Api) -> None:
    query = """query ($first: Int, $last: Int, $before: String) {
      aggregateEvents(input: {function: COUNT, groupBy: [TYPE], first: 2}) {
        groups(first: $first, last: $last, before: $before) {
          pageInfo { hasPreviousPage startCursor } nodes { type } } } }"""

    async def read_page(**variables: Any) -> tuple[list[str], Any]:
        found = (await shop.fetch_data(query, **variables))["aggregateEvents"]["groups"]
        return [group["type"] for group in found["nodes"]], found["pageInfo"]

    assert (await read_page())[0] == ["purchase", "refund"]
    latest, info = await read_page(last=1)
    assert (latest, info["hasPreviousPage"]) == (["visit"], True)
    assert (await read_page(last=2, before=info["startCursor"]))[0] == ["purchase", "refund"]


async def test_each_aggregate_function_returns_its_value(shop: Api) -> None:
    purchases = {"types": ["purchase"], "currency": "USD"}
    values = {
        name: (await aggregate(shop, function=name, **purchases))["value"] for name in ("COUNT", "AVG", "MIN", "MAX")
    }
    assert values == {"COUNT": "4", "AVG": "10.700000", "MIN": "5", "MAX": "20.20"}
    assert (await aggregate(shop, function="COUNT_PASSES"))["value"] == "3"
    assert (await aggregate(shop, function="COUNT", sources=["till"]))["value"] == "1"
    assert (await aggregate(shop, function="COUNT", categories=["ACTIVITY"]))["value"] == "1"
    assert (await aggregate(shop, function="MAX", types=["dance"]))["value"] is None


async def test_calendar_window_follows_the_time_zone_of_the_query(shop: Api) -> None:
    year = await aggregate(shop, function="COUNT", timeWindow={"calendar": "YEAR"}, timezone="Europe/Berlin")
    assert (year["value"], year["from"], year["timezone"]) == ("1", "2025-12-31T23:00:00.000Z", "Europe/Berlin")
    assert (await aggregate(shop, function="COUNT", timeWindow={"calendar": "YEAR"}))["value"] == "0"
    assert (await aggregate(shop, function="COUNT", timeWindow={"rolling": {"days": 2}}))["value"] == "5"
    assert (await aggregate(shop, function="COUNT", timeWindow={"allTime": True}))["value"] == "7"
    november = {"from": "2025-11-01T00:00:00Z", "to": "2025-12-01T00:00:00Z"}
    assert (await aggregate(shop, function="COUNT", **november))["value"] == "1"


async def test_groups_ordered_by_value_start_with_the_highest_and_are_paged(shop: Api) -> None:
    best: list[tuple[str, str]] = []
    cursor = None
    for _ in range(2):
        data = await shop.fetch_data(
            AGGREGATE, input={"function": "SUM", "groupBy": ["PASS"], "orderBy": "VALUE"}, first=1, after=cursor
        )
        groups = data["aggregateEvents"]["groups"]
        assert groups["totalCount"] == 2
        best += [(node["pass"]["externalId"], node["value"]) for node in groups["nodes"]]
        cursor = groups["pageInfo"]["endCursor"]
    assert best == [("ann", "25.25"), ("bob", "12.50")]
    assert not groups["pageInfo"]["hasNextPage"]


async def test_group_by_month_has_the_start_and_the_end_of_the_month(shop: Api) -> None:
    answer = await aggregate(shop, function="COUNT", groupBy=["MONTH", "TYPE"], timezone="America/New_York")
    december = ("2025-12-01T05:00:00.000Z", "2026-01-01T05:00:00.000Z")
    assert [(g["from"], g["to"], g["type"], g["value"]) for g in answer["groups"]["nodes"]] == [
        ("2025-11-01T04:00:00.000Z", "2025-12-01T05:00:00.000Z", "purchase", "1"),
        (*december, "purchase", "4"),
        (*december, "refund", "1"),
        (*december, "visit", "1"),
    ]


async def test_metadata_field_counts_numbers_and_numeric_texts_but_no_booleans(shop: Api) -> None:
    guests = {"field": "metadata.guests", "types": ["purchase"]}
    assert (await aggregate(shop, function="SUM", **guests))["value"] == "5"
    assert (await aggregate(shop, function="AVG", **guests))["value"] == "2.500000"
    by_day = await aggregate(shop, function="MAX", groupBy=["DAY"], **guests)
    assert [group["value"] for group in by_day["groups"]["nodes"]] == ["2", "3"]


INVALID: tuple[dict[str, Any], ...] = (
    {"function": "SUM", "field": "colour"},
    {"function": "COUNT", "field": "amount"},
    {"function": "SUM", "groupBy": ["DAY", "WEEK"]},
    {"function": "SUM", "groupBy": ["PASS", "TYPE", "SOURCE", "DAY"]},
    {"function": "SUM", "timezone": "Nowhere/Town"},
    {"function": "SUM", "currency": "XYZ"},
    {"function": "SUM", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
    {"function": "SUM", "timeWindow": {"allTime": True}, "from": "2026-01-02T00:00:00Z"},
)


async def test_aggregation_with_invalid_or_contradictory_input_is_refused(api: Api) -> None:
    for fields in INVALID:
        error = await api.fetch_error(AGGREGATE, input=fields)
        assert error["extensions"]["code"] == "BAD_USER_INPUT", fields
